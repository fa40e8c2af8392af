//! The way to a metrics server: requests, credentials, and what its answers mean to the caller.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::HostTick;
use super::wire;
use crate::model::clean;
use crate::outbound;
use crate::store::StoreError;

/// How long one write may take: an agent waits 10 s for its acknowledgement.
const WRITE_WITHIN: Duration = Duration::from_secs(8);
/// How long one question may take.
const QUERY_WITHIN: Duration = Duration::from_secs(30);
/// No answer is longer, bytes: 20,000 containers' summaries are 12 MB.
const LONGEST_ANSWER: u64 = 64 * 1024 * 1024;
/// As much is read of what an error says.
const LONGEST_COMPLAINT: u64 = 4_096;

/// Where the metrics server is and how to come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteOptions {
    /// Where it is asked: `/api/v1/query_range` and the like follow.
    pub url: http::Uri,
    /// Where it is written to; `None`: `/api/v1/write` below `url`.
    pub write_url: Option<http::Uri>,
    /// How to come in.
    pub credentials: Option<StoreCredentials>,
    /// Authorities to trust instead of the public ones, PEM.
    pub ca_pem: Option<Vec<u8>>,
}

/// What goes into the `Authorization` header; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreCredentials(String);

impl StoreCredentials {
    /// Of `user:password`, or of a bearer token, which has no colon (RFC 6750).
    pub fn new(secret: &str) -> Self {
        if secret.contains(':') {
            Self(format!("Basic {}", BASE64_STANDARD.encode(secret)))
        } else {
            Self(format!("Bearer {secret}"))
        }
    }
}

impl fmt::Debug for StoreCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What came of a request that was not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It may be granted later: the server is away, busy, or does not let us in.
    Away(String),
    /// This very content is refused, now and later; the server's own words.
    Refused(String),
}

/// One metrics server, asked blocking.
pub(super) struct Server {
    agent: ureq::Agent,
    base: String,
    write_url: String,
    credentials: Option<StoreCredentials>,
    /// Whether the last request found it away, so that only the change is logged.
    away: AtomicBool,
}

impl Server {
    pub(super) fn new(options: RemoteOptions) -> Result<Self, String> {
        let agent = outbound::agent(&options.url, options.ca_pem.as_deref());
        let agent = agent.map_err(|why| format!("--store-ca-file: {why}"))?;
        let base = options.url.to_string().trim_end_matches('/').to_owned();
        let write_url =
            options.write_url.map_or_else(|| format!("{base}/api/v1/write"), |url| url.to_string());
        Ok(Self { agent, base, write_url, credentials: options.credentials, away: AtomicBool::new(false) })
    }

    /// Writes ticks by one request.
    pub(super) fn write(&self, ticks: &[HostTick], within: Duration) -> Result<(), Fault> {
        let body = wire::body(ticks).map_err(|error| Fault::Refused(error.to_string()))?;
        let request = http::Request::post(&self.write_url)
            .header("Content-Type", "application/x-protobuf")
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0");
        self.send(request, body, within.min(WRITE_WITHIN)).map(drop)
    }

    /// Asks `path`, below `/api/v1`, with the fields of a form, which may be long; returns the body.
    pub(super) fn ask(&self, path: &str, fields: &[(&str, String)]) -> Result<Vec<u8>, Fault> {
        let request = http::Request::post(format!("{}/api/v1/{path}", self.base))
            .header("Content-Type", "application/x-www-form-urlencoded");
        self.send(request, form(fields).into_bytes(), QUERY_WITHIN)
    }

    /// The same where Prometheus takes no form: in the address.
    pub(super) fn look_up(&self, path: &str, fields: &[(&str, String)]) -> Result<Vec<u8>, Fault> {
        let request = http::Request::get(format!("{}/api/v1/{path}?{}", self.base, form(fields)));
        self.send(request, (), QUERY_WITHIN)
    }

    fn send(
        &self,
        request: http::request::Builder,
        body: impl ureq::AsSendBody,
        within: Duration,
    ) -> Result<Vec<u8>, Fault> {
        let answer = self.exchange(request, body, within);
        match &answer {
            Err(Fault::Away(why)) if !self.away.swap(true, Ordering::Relaxed) => {
                tracing::warn!(
                    "the metrics server {} {why}; agents keep their samples until it answers",
                    self.base
                );
            }
            Ok(_) if self.away.swap(false, Ordering::Relaxed) => {
                tracing::info!("the metrics server {} answers again", self.base);
            }
            _ => {}
        }
        answer
    }

    fn exchange(
        &self,
        mut request: http::request::Builder,
        body: impl ureq::AsSendBody,
        within: Duration,
    ) -> Result<Vec<u8>, Fault> {
        if let Some(StoreCredentials(value)) = &self.credentials {
            request = request.header("Authorization", value);
        }
        let request = request.body(body).map_err(|error| Fault::Away(error.to_string()))?;
        let request = self.agent.configure_request(request).timeout_global(Some(within)).build();
        let mut answer = self.agent.run(request).map_err(|error| unreachable(&error))?;
        let status = answer.status().as_u16();
        let success = answer.status().is_success();
        let limit = if success { LONGEST_ANSWER } else { LONGEST_COMPLAINT };
        let body = answer.body_mut().with_config().limit(limit).read_to_vec();
        if success {
            return body.map_err(|error| match error {
                ureq::Error::BodyExceedsLimit(_) => Fault::Refused("answers with more than 64 MiB".into()),
                other => unreachable(&other),
            });
        }
        Err(complaint(status, &body.unwrap_or_default()))
    }

    /// What the caller of the store is told.
    pub(super) fn error(&self, fault: Fault) -> StoreError {
        match fault {
            Fault::Away(why) => StoreError::Away { server: self.base.clone(), why },
            Fault::Refused(why) => StoreError::Refused(format!("the metrics server {} {why}", self.base)),
        }
    }

    /// An answer that cannot be read.
    pub(super) fn unreadable(&self, why: &str) -> StoreError {
        self.error(Fault::Away(format!("answers, but not as Prometheus does: {}", clean(why, 200))))
    }
}

/// What a status other than success means. Only those that are about the content itself mean that trying again is in
/// vain; the others (credentials, addresses, limits, faults) are mended by somebody, and nothing is lost until then.
fn complaint(status: u16, body: &[u8]) -> Fault {
    let words = clean(String::from_utf8_lossy(body).trim(), 300);
    let said = if words.is_empty() { String::new() } else { format!(": {words}") };
    match status {
        400 | 409 | 413 | 422 => Fault::Refused(format!("refuses it (HTTP status {status}){said}")),
        401 | 403 => Fault::Away(format!(
            "does not let us in (HTTP status {status}): see --store-credentials-file{said}"
        )),
        404 => Fault::Away(format!(
            "has no such interface (HTTP status 404): see --store and --store-write-url{said}"
        )),
        _ => Fault::Away(format!("answers with HTTP status {status}{said}")),
    }
}

fn unreachable(error: &ureq::Error) -> Fault {
    let why = error.to_string();
    Fault::Away(format!("cannot be reached: {}", clean(why.strip_prefix("io: ").unwrap_or(&why), 300)))
}

fn form(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", form_text(name), form_text(value))).collect();
    fields.join("&")
}

/// Text as a field of a form.
fn form_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].map(|digit| {
                char::from_digit(digit.into(), 16).expect("four bits are a digit").to_ascii_uppercase()
            }));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_makes_it_a_user_and_a_password() {
        assert_eq!(StoreCredentials::new("me:pass:word").0, "Basic bWU6cGFzczp3b3Jk");
        assert_eq!(StoreCredentials::new("abc.def==").0, "Bearer abc.def==");
        assert_eq!(format!("{:?}", StoreCredentials::new("abc")), "(secret)");
    }

    #[test]
    fn what_an_answer_means() {
        for refused in [400, 409, 413, 422] {
            assert!(
                matches!(complaint(refused, b"out of order"), Fault::Refused(why) if why.ends_with(": out of order"))
            );
        }
        for away in [301, 401, 403, 404, 405, 408, 429, 500, 503] {
            assert!(matches!(complaint(away, b"\x1b"), Fault::Away(_)), "{away}");
        }
    }

    #[test]
    fn forms_hold_any_text() {
        assert_eq!(form_text("a{b=\"ö\"} +&"), "a%7Bb%3D%22%C3%B6%22%7D%20%2B%26");
    }
}
