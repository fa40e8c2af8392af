//! Sending a notification, blocking, and what the answer means.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::Notice;
use super::target::Target;
use super::template::{Outgoing, outgoing};
use crate::model::Timestamp;
use crate::outbound;

/// How long one attempt may take, the connection included.
const WITHIN: Duration = Duration::from_secs(10);

/// As much is read of what a receiver says, bytes.
const LONGEST_ANSWER: u64 = 4_096;

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it means.
    pub verdict: PostVerdict,
    /// The HTTP status, where an answer came.
    pub status: Option<u16>,
    /// In plain words, without secrets.
    pub detail: String,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostVerdict {
    /// The receiver has it.
    Taken,
    /// Try again; not before this time has passed, where the receiver said so.
    Later(Option<Duration>),
    /// Trying again is in vain.
    Refused,
}

/// The way to the receivers.
#[derive(Debug, Default)]
pub struct Poster {
    ca_pem: Option<Vec<u8>>,
    agents: BTreeMap<String, ureq::Agent>,
}

impl Poster {
    /// A way to `targets`; `ca_pem` are the authorities to trust instead of the public ones. Nothing is sent yet.
    ///
    /// # Errors
    /// When `ca_pem` holds no certificate.
    pub fn new(targets: &[Target], ca_pem: Option<Vec<u8>>) -> Result<Self, String> {
        let mut agents = BTreeMap::new();
        for target in targets {
            agents.insert(target.id(), outbound::agent(target.url(), ca_pem.as_deref())?);
        }
        Ok(Self { ca_pem, agents })
    }

    /// Sends `notice` to `target` once.
    pub fn post(&self, notice: &Notice, target: &Target) -> Answer {
        let agent = match self.agents.get(&target.id()) {
            Some(agent) => Ok(agent.clone()),
            None => outbound::agent(target.url(), self.ca_pem.as_deref()),
        };
        match agent {
            Ok(agent) => post(&agent, notice, target),
            Err(why) => Answer { verdict: PostVerdict::Refused, status: None, detail: why },
        }
    }
}

fn post(agent: &ureq::Agent, notice: &Notice, target: &Target) -> Answer {
    let Outgoing { url, body } = outgoing(notice, target);
    let url = url.unwrap_or_else(|| target.url().to_string());
    let mut request = http::Request::post(url)
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", notice.id.to_string());
    if let Some(authorization) = target.authorization() {
        request = request.header("Authorization", authorization);
    }
    let failed = |verdict, detail: &str| Answer { verdict, status: None, detail: target.redact(detail) };
    let request = match request.body(body.to_string()) {
        Ok(request) => agent.configure_request(request).timeout_global(Some(WITHIN)).build(),
        Err(error) => return failed(PostVerdict::Refused, &error.to_string()),
    };
    let mut answer = match agent.run(request) {
        Ok(answer) => answer,
        Err(error) => {
            let why = error.to_string();
            let why = format!("cannot be reached: {}", why.strip_prefix("io: ").unwrap_or(&why));
            return failed(PostVerdict::Later(None), &why);
        }
    };
    let status = answer.status().as_u16();
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (retry_after, location) = (header("Retry-After"), header("Location"));
    let body = answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec().unwrap_or_default();
    let words = target.redact(&String::from_utf8_lossy(&body));
    let verdict = verdict(status, retry_after.as_deref(), Timestamp::now());
    let mut detail = match verdict {
        PostVerdict::Taken => format!("taken (HTTP status {status})"),
        _ if (300..400).contains(&status) => {
            let elsewhere = location.is_some().then_some("; redirects are not followed, give the URL itself");
            format!("redirects (HTTP status {status}){}", elsewhere.unwrap_or_default())
        }
        PostVerdict::Later(Some(pause)) => {
            format!("answers with HTTP status {status} and asks to wait {} s", pause.as_secs())
        }
        PostVerdict::Later(None) => format!("answers with HTTP status {status}"),
        PostVerdict::Refused => format!("refuses it (HTTP status {status})"),
    };
    if verdict != PostVerdict::Taken && !words.is_empty() {
        detail = format!("{detail}: {words}");
    }
    Answer { verdict, status: Some(status), detail }
}

/// What a status means. A receiver that is busy, slow or broken (408, 429, 5xx) may take it later; what else it says no to,
/// it will say no to again.
fn verdict(status: u16, retry_after: Option<&str>, now: Timestamp) -> PostVerdict {
    match status {
        200..=299 => PostVerdict::Taken,
        408 | 429 | 500..=599 => PostVerdict::Later(retry_after.and_then(|text| pause(text, now))),
        _ => PostVerdict::Refused,
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3); Discord gives fractions.
fn pause(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Timestamp::from_millis(date.as_millisecond()).since(now))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_may_pass_later_is_tried_again() {
        let now = Timestamp::from_millis(784_111_770_000);
        let verdict = |status, after| verdict(status, after, now);
        for status in [200, 202, 204] {
            assert_eq!(verdict(status, None), PostVerdict::Taken);
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 410, 413, 422] {
            assert_eq!(verdict(status, Some("5")), PostVerdict::Refused, "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(verdict(status, None), PostVerdict::Later(None), "{status}");
        }
        for (text, expected) in [
            ("2", Some(Duration::from_secs(2))),
            ("0.25", Some(Duration::from_millis(250))),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(Duration::from_secs(7))),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(Duration::ZERO)),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(verdict(429, Some(text)), PostVerdict::Later(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(text in ".*", number in any::<f64>()) {
            let _ = (pause(&text, Timestamp::now()), pause(&number.to_string(), Timestamp::now()));
        }
    }
}
