//! The log: lines for people or JSON, to standard error and to a file rotated by size.
//!
//! A line is one event. Whatever control characters its fields hold (names and labels are hostile) leave here as
//! `\u001b` and the like, so nobody's terminal or log reader takes them for more than text.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Layer, Registry};

use super::Failure;
use super::config::{LogConfig, LogFormat};
use crate::model::Timestamp;

/// How many rotated files are kept beside the present one.
const OLDER_FILES: usize = 4;

/// Begins logging for the whole process; call it once. Fails when the file cannot be written.
pub fn init(config: &LogConfig) -> Result<(), Failure> {
    let file = config.file.as_deref().map(|path| RotatedFile::open(path, config.max_bytes)).transpose()?;
    let layers = vec![layer(config, Sanitized(io::stderr))];
    let layers = layers.into_iter().chain(file.map(|file| layer(config, Sanitized(file))));
    let layers: Vec<_> = layers.collect();
    tracing_subscriber::registry()
        .with(layers)
        .try_init()
        .map_err(|error| Failure::Failed(format!("the log was begun twice: {error}")))
}

fn layer<W>(config: &LogConfig, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Libraries are heard when something is wrong; the level is ours.
    let filter = Targets::new().with_default(tracing::Level::WARN).with_target("dockhealth", config.level);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false).with_timer(UtcMillis);
    match config.format {
        LogFormat::Text => lines.with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    }
}

/// Times as everywhere else: RFC 3339 UTC with milliseconds.
struct UtcMillis;

impl FormatTime for UtcMillis {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", Timestamp::now())
    }
}

/// Writes each event, which arrives as one piece ending in a line end, without control characters.
struct Sanitized<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Sanitized<W> {
    type Writer = SanitizedWriter<W::Writer>;
    fn make_writer(&'a self) -> Self::Writer {
        SanitizedWriter(self.0.make_writer())
    }
}

struct SanitizedWriter<W>(W);

impl<W: Write> Write for SanitizedWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(sanitize(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn sanitize(line: &str) -> String {
    let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
    let mut out = String::with_capacity(line.len());
    for c in body.chars() {
        // What `clean` replaces is what must not reach a terminal.
        if crate::model::clean(c.encode_utf8(&mut [0; 4]), 1) == "?" && c != '?' {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out + end
}

/// The log file.
struct RotatedFile {
    folder: PathBuf,
    file: Mutex<FileRotate<AppendCount>>,
}

impl RotatedFile {
    fn open(path: &Path, max_bytes: usize) -> Result<Self, Failure> {
        use std::os::unix::fs::OpenOptionsExt;

        let failed = |error: io::Error| Failure::Failed(format!("--log-file: {}: {error}", path.display()));
        let path = std::path::absolute(path).map_err(failed)?;
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let mut options = std::fs::OpenOptions::new();
        options.read(true).create(true).append(true).mode(0o640);
        // The rotating writer panics or keeps silent about a file it cannot open, so that is seen here.
        options.open(&path).map_err(failed)?;
        let file = FileRotate::new(
            path,
            AppendCount::new(OLDER_FILES),
            ContentLimit::BytesSurpassed(max_bytes),
            Compression::None,
            Some(options),
        );
        Ok(Self { folder, file: Mutex::new(file) })
    }
}

impl<'a> MakeWriter<'a> for RotatedFile {
    type Writer = &'a Self;
    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &RotatedFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The rotating writer panics when the folder went away and cannot be made again.
        if !self.folder.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path, format: LogFormat, max_bytes: usize) -> LogConfig {
        LogConfig { format, level: tracing::Level::INFO, file: Some(dir.join("logs/d.log")), max_bytes }
    }

    fn log(config: &LogConfig, events: impl FnOnce()) {
        let path = config.file.as_deref().unwrap();
        let file = RotatedFile::open(path, config.max_bytes).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer(config, Sanitized(file)));
        tracing::subscriber::with_default(subscriber, events);
    }

    #[test]
    fn hostile_names_stay_text_in_both_formats() {
        let dir = tempfile::tempdir().unwrap();
        for format in [LogFormat::Text, LogFormat::Json] {
            let config = config(dir.path(), format, 1 << 20);
            log(&config, || tracing::info!(name = "a\u{1b}[2J\u{202e}\nb", "seen {}", "x\u{9b}y\nfake line"));
        }
        let text = std::fs::read_to_string(dir.path().join("logs/d.log")).unwrap();
        assert_eq!(text.lines().count(), 2, "{text:?}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
        let json: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(json["name"], "a\u{1b}[2J\u{202e}\nb");
        assert_eq!(json["message"], "seen x\u{9b}y\nfake line");
    }

    #[test]
    fn below_the_level_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), LogFormat::Text, 1 << 20);
        log(&config, || {
            tracing::debug!("a check");
            tracing::info!("an action");
            tracing::info!(target: "async_nats", "a library's word");
        });
        let text = std::fs::read_to_string(dir.path().join("logs/d.log")).unwrap();
        assert!(text.contains("an action") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn the_file_is_rotated_and_few_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), LogFormat::Text, 2_000);
        log(&config, || (0..400).for_each(|n| tracing::info!("line {n}")));
        let sizes: Vec<u64> = std::fs::read_dir(dir.path().join("logs"))
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), OLDER_FILES + 1);
        assert!(sizes.iter().all(|size| *size < 2_200), "{sizes:?}");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let error = RotatedFile::open(Path::new("/proc/nowhere/d.log"), 1 << 20).err().unwrap();
        assert!(error.to_string().starts_with("--log-file: /proc/nowhere/d.log"), "{error}");
    }
}
