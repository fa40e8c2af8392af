//! Readers of single values. Each error quotes the value, cleaned, and says what would be right.

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{clean, format_span, parse_size, parse_span};

/// No secret or PEM file is longer.
const LONGEST_FILE_BYTES: u64 = 256 * 1024;

fn quoted(text: &str) -> String {
    format!("{:?}", clean(text, 60))
}

/// `true` or `false`, and what people write for them.
pub fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("{} is neither true nor false", quoted(text))),
    }
}

/// A span of time within `range`.
pub fn span(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let span = parse_span(text).map_err(|e| e.to_string())?;
        if range.contains(&span) {
            Ok(span)
        } else {
            let (least, most) = (format_span(*range.start()), format_span(*range.end()));
            Err(format!("{} is out of range: give from {least} to {most}", quoted(text)))
        }
    }
}

/// From `least` to `most`, in milliseconds, as a range of spans.
pub const fn millis(least: u64, most: u64) -> RangeInclusive<Duration> {
    RangeInclusive::new(Duration::from_millis(least), Duration::from_millis(most))
}

/// A whole number within `range`.
pub fn count(range: RangeInclusive<u32>) -> impl Fn(&str) -> Result<u32, String> {
    move |text| match text.trim().parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "{} is not a count: give a whole number from {} to {}",
            quoted(text),
            range.start(),
            range.end()
        )),
    }
}

/// A number within `range`.
pub fn number(range: RangeInclusive<f64>) -> impl Fn(&str) -> Result<f64, String> {
    move |text| match text.trim().parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "{} is out of range: give a number from {} to {}",
            quoted(text),
            range.start(),
            range.end()
        )),
    }
}

/// Any value whose type reads itself, with its type's own error.
pub fn typed<T: std::str::FromStr<Err: fmt::Display>>(text: &str) -> Result<T, T::Err> {
    text.trim().parse()
}

/// One word of a closed set.
pub fn word<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&str) -> Result<T, String> {
    let words = words.to_vec();
    move |text| {
        let found = words.iter().find(|(word, _)| *word == text.trim());
        found.map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            format!("{} is not one of {}", quoted(text), known.join(", "))
        })
    }
}

/// A number of bytes: `1048576`, `10MiB`, `10MB`, `512m`.
pub fn size(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|error| error.to_string())
}

/// Any path.
pub fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("the path is empty".into()) } else { Ok(PathBuf::from(text)) }
}

/// A file that can be read.
pub fn readable(text: &str) -> Result<PathBuf, String> {
    let path = path(text)?;
    contents(&path).map(|_| path)
}

/// What a file holds, for files of keys and secrets.
pub fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let shown = clean(&path.display().to_string(), 200);
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|e| format!("{shown} cannot be read: {e}"))?;
    if bytes.len() as u64 > LONGEST_FILE_BYTES {
        return Err(format!("{shown} is longer than {} KiB", LONGEST_FILE_BYTES / 1024));
    }
    Ok(bytes)
}

/// A secret, read from a file; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The secret in the file named by `text`: one line.
pub fn secret(text: &str) -> Result<Secret, String> {
    let path = path(text)?;
    let wrong = |what: &str| format!("{} {what}", clean(&path.display().to_string(), 200));
    let text = String::from_utf8(contents(&path)?).map_err(|_| wrong("holds no text"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(wrong("is empty; it must hold the secret on one line")),
        line if line.chars().any(char::is_control) => {
            Err(wrong("must hold the secret on one line, and nothing else"))
        }
        line => Ok(Secret(line.to_owned())),
    }
}

/// A file that holds a secret, to be read by whoever uses it.
pub fn secret_file(text: &str) -> Result<PathBuf, String> {
    secret(text)?;
    path(text)
}

/// An address and port to listen on.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    let wrong = || {
        format!("{} is not an address and port: give for example 127.0.0.1:8930 or [::]:8930", quoted(text))
    };
    text.trim().parse().map_err(|_| wrong())
}

/// NATS servers: `nats://host:port` or `tls://host:port`, several separated by commas, without secrets.
pub fn nats_servers(text: &str) -> Result<Vec<String>, String> {
    let server = |one: &str| {
        let wrong =
            || format!("{} is not a NATS server: give for example nats://127.0.0.1:4222", quoted(one));
        let uri: http::Uri = one.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') {
            return Err(
                "a URL must hold no user or password: give --nats-user and --nats-password-file".into()
            );
        }
        match uri.scheme_str() {
            Some("nats" | "tls") if !authority.host().is_empty() && uri.path().len() <= 1 => {
                Ok(one.to_owned())
            }
            _ => Err(wrong()),
        }
    };
    text.split(',').map(|one| server(one.trim())).collect()
}

/// The controller's URL: `http://host:port` or `https://host:port`, without path and secrets.
pub fn server(text: &str) -> Result<http::Uri, String> {
    let wrong = || format!("{} is not a server: give for example http://127.0.0.1:8930", quoted(text));
    let uri: http::Uri = text.trim().trim_end_matches('/').parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    let plain = !authority.as_str().contains('@') && uri.path_and_query().is_none_or(|p| p.as_str() == "/");
    match uri.scheme_str() {
        Some("http" | "https") if plain && !authority.host().is_empty() => Ok(uri),
        _ => Err(wrong()),
    }
}

/// The URL of a metrics server, which may have a path, without secrets and query.
pub fn metrics_server(text: &str) -> Result<http::Uri, String> {
    let wrong =
        || format!("{} is not a metrics server: give for example http://127.0.0.1:8428", quoted(text));
    let uri: http::Uri = text.trim().parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    if authority.as_str().contains('@') {
        return Err("a URL must hold no user or password: give --store-credentials-file".into());
    }
    match uri.scheme_str() {
        Some("http" | "https") if uri.query().is_none() && !authority.host().is_empty() => Ok(uri),
        _ => Err(wrong()),
    }
}

/// `embedded` (`None`), or the URL of a metrics server.
pub fn metric_store(text: &str) -> Result<Option<http::Uri>, String> {
    if text.trim() == "embedded" { Ok(None) } else { metrics_server(text).map(Some) }
}

/// Where people reach the controller: `https://host` with or without a path, without secrets and query.
pub fn public_url(text: &str) -> Result<String, String> {
    let wrong = || format!("{} is no URL: give for example https://dockhealth.example.org", quoted(text));
    let uri: http::Uri = text.trim().parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.query().is_none() && !authority.as_str().contains('@') => {
            Ok(uri.to_string())
        }
        _ => Err(wrong()),
    }
}

/// A name the server is reached by: a host name or address, without port.
pub fn allowed_host(text: &str) -> Result<String, String> {
    let name = text.trim();
    let authority: Result<http::uri::Authority, _> = name.parse();
    match authority {
        Ok(a) if a.host() == name => Ok(name.to_ascii_lowercase()),
        _ => Err(format!("{} is not a host name: give for example dockhealth.example.org", quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_hold_no_secrets() {
        assert_eq!(nats_servers("nats://a:4222, tls://b").unwrap().len(), 2);
        assert!(nats_servers("nats://u:secret@a:4222").unwrap_err().contains("--nats-password-file"));
        assert!(!nats_servers("nats://u:secret@a:4222").unwrap_err().contains("u:secret"));
        assert!(nats_servers("a:4222").is_err() && nats_servers("").is_err());
        assert!(server("https://x:1").is_ok() && server("http://[::1]:8930/").is_ok());
        for bad in ["x", "ftp://x", "http://u:p@x", "http://x/path", ""] {
            assert!(server(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn metrics_are_kept_here_or_on_a_server_that_is_named_without_secrets() {
        assert_eq!(metric_store("embedded"), Ok(None));
        for good in ["http://[::1]:8428", "https://mimir.example.org/prometheus"] {
            assert_eq!(metric_store(good).unwrap().unwrap().to_string().trim_end_matches('/'), good);
        }
        let error = metric_store("http://me:hunter2@h").unwrap_err();
        assert!(error.contains("--store-credentials-file") && !error.contains("hunter2"), "{error}");
        for bad in ["", "elsewhere", "h:8428", "ftp://h", "http://h/?a=b"] {
            assert!(metric_store(bad).is_err(), "{bad:?} was taken");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = metric_store(&text);
            let _ = (switch(&text), size(&text), listen(&text), nats_servers(&text), server(&text));
            let _ = (allowed_host(&text), count(1..=5)(&text), span(millis(1, 5))(&text));
        }
    }
}
