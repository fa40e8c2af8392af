//! Reading a recording: what its samples come to, in memory that does not grow with their number.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::{Line, RecordedContainer, RecordedSample, RecordingHeader, VERSION};
use crate::metrics::spread::{Gather, Spread};
use crate::model::{ContainerName, SeriesName, Timestamp, clean};

/// The longest line that is read, bytes: a sample of more than 10,000 containers.
const LONGEST_LINE: u64 = 32 << 20;
/// The most containers that are read; a recording of more is refused.
const MOST_CONTAINERS: usize = 10_000;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    File(#[from] io::Error),
    /// It is something else.
    #[error("it is no recording: its first line must be a header, as `cpu-collect --output` writes it ({0})")]
    NoHeader(String),
    /// It is of a version that only later programs read.
    #[error(
        "it has version {0} of the format, and this program reads up to {VERSION}: read it with a newer one"
    )]
    Newer(u32),
    /// A line within it is broken.
    #[error("line {line} is broken: {why}")]
    Broken {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// What a recording comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// What it began with.
    pub header: RecordingHeader,
    /// The containers it tells of, as they were last.
    pub containers: BTreeMap<ContainerName, RecordedContainer>,
    /// What was measured of each, by series.
    pub series: BTreeMap<ContainerName, BTreeMap<SeriesName, Spread>>,
    /// All containers of a sample together, by those series that can be added up.
    pub total: BTreeMap<SeriesName, Spread>,
    /// How many samples it has.
    pub samples: u64,
    /// The time of the last; `None` where there is none.
    pub last: Option<Timestamp>,
    /// Whether it ended in order, and was not cut.
    pub whole: bool,
}

impl Recording {
    /// Reads the file at `path`, of each container the series that `wanted` says yes to.
    pub fn open(path: &Path, wanted: impl Fn(&SeriesName) -> bool) -> Result<Self, RecordingError> {
        Self::read(BufReader::new(File::open(path)?), wanted)
    }

    pub(super) fn read(
        mut from: impl BufRead,
        wanted: impl Fn(&SeriesName) -> bool,
    ) -> Result<Self, RecordingError> {
        let mut text = Vec::new();
        let first = match next(&mut from, &mut text)? {
            Next::Line(line) => line,
            Next::Broken(why) => Err(RecordingError::NoHeader(why))?,
            Next::Cut => Err(RecordingError::NoHeader("the file ends within it".to_owned()))?,
            Next::End => Err(RecordingError::NoHeader("the file is empty".to_owned()))?,
        };
        let Line::Header(header) = first else {
            Err(RecordingError::NoHeader("it is another line of one".to_owned()))?
        };
        if header.version > VERSION {
            Err(RecordingError::Newer(header.version))?;
        }
        let mut recording = Self {
            header,
            containers: BTreeMap::new(),
            series: BTreeMap::new(),
            total: BTreeMap::new(),
            samples: 0,
            last: None,
            whole: false,
        };
        for line in 2_u64.. {
            let broken = |why| RecordingError::Broken { line, why };
            match next(&mut from, &mut text)? {
                Next::Line(read) => recording.take(read, &wanted).map_err(broken)?,
                Next::Broken(why) => Err(broken(why))?,
                Next::Cut | Next::End => break,
            }
        }
        Ok(recording)
    }

    fn take(&mut self, line: Line, wanted: impl Fn(&SeriesName) -> bool) -> Result<(), String> {
        match line {
            Line::Header(_) => Err("a second header".to_owned())?,
            Line::Container(container) => {
                self.containers.insert(container.name.clone(), container);
            }
            Line::Sample(sample) => self.add(sample, wanted),
            Line::End(_) => self.whole = true,
            Line::Unknown => {}
        }
        if self.series.len() > MOST_CONTAINERS || self.containers.len() > MOST_CONTAINERS {
            Err(format!("more than {MOST_CONTAINERS} containers"))?;
        }
        Ok(())
    }

    fn add(&mut self, sample: RecordedSample, wanted: impl Fn(&SeriesName) -> bool) {
        let RecordedSample { time, containers } = sample;
        let mut total = BTreeMap::<SeriesName, f64>::new();
        for (container, values) in containers {
            let of = self.series.entry(container).or_default();
            for (name, value) in values {
                // A negative figure or none at all is no measurement.
                if !wanted(&name) || !value.is_finite() || value < 0.0 {
                    continue;
                }
                if can_be_added_up(name.as_str()) {
                    *total.entry(name.clone()).or_default() += value;
                }
                of.entry(name).or_default().add(value);
            }
        }
        for (name, value) in total {
            self.total.entry(name).or_default().add(value);
        }
        self.samples += 1;
        self.last = Some(time);
    }
}

/// Whether the sum over containers says something: not of shares of different wholes, limits and ages.
fn can_be_added_up(name: &str) -> bool {
    let memory = ["memory_bytes", "memory_cache_bytes", "memory_swap_bytes", "writable_layer_bytes"];
    let flows = name.starts_with("net_") || name.starts_with("block_");
    flows
        || memory.contains(&name)
        || ["cpu_percent", "cpu_host_percent", "pids", "oom_kills"].contains(&name)
}

enum Next {
    Line(Line),
    Broken(String),
    /// The last line has no end: what wrote it was killed.
    Cut,
    End,
}

fn next(from: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<Next> {
    text.clear();
    let read = from.by_ref().take(LONGEST_LINE).read_until(b'\n', text)?;
    if read == 0 {
        return Ok(Next::End);
    }
    if text.last() != Some(&b'\n') {
        let too_long = read as u64 == LONGEST_LINE;
        return Ok(if too_long { Next::Broken("it is too long".to_owned()) } else { Next::Cut });
    }
    Ok(match serde_json::from_slice(text) {
        Ok(line) => Next::Line(line),
        Err(error) => Next::Broken(clean(&error.to_string(), 200)),
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
