//! Subjects, and how names become tokens of them.

use std::fmt::{self, Write};

use crate::model::{HostName, IdError};

/// Everything that is said on the bus is said on one of these.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// One agent's regular report.
    Report(HostName),
    /// Every agent's reports.
    AllReports,
    /// The question that every agent answers with its report.
    List,
    /// One agent's events and metrics, acknowledged after commit.
    Outbox(HostName),
    /// Every agent's outbox.
    AllOutboxes,
    /// What one agent measured of its containers' network.
    Network(HostName),
    /// The same of every agent.
    AllNetworks,
    /// Commands for one agent.
    Command(HostName),
}

impl Subject {
    /// Reads a concrete subject (no wildcard).
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("dockhealth.v1.")?;
        let tokens: Vec<&str> = rest.split('.').collect();
        let host = |token: &str| HostName::new(decode_token(token)?).ok();
        match tokens[..] {
            ["list"] => Some(Self::List),
            ["report", token] => host(token).map(Self::Report),
            ["outbox", token] => host(token).map(Self::Outbox),
            ["net", token] => host(token).map(Self::Network),
            ["host", token, "cmd"] => host(token).map(Self::Command),
            _ => None,
        }
    }

    /// Whether what is sent to `sent` reaches a subscriber of this.
    pub fn matches(&self, sent: &Self) -> bool {
        match (self, sent) {
            (Self::AllReports, Self::Report(_))
            | (Self::AllOutboxes, Self::Outbox(_))
            | (Self::AllNetworks, Self::Network(_)) => true,
            _ => self == sent,
        }
    }

    /// The host it names.
    pub fn host(&self) -> Option<&HostName> {
        match self {
            Self::Report(host) | Self::Outbox(host) | Self::Network(host) | Self::Command(host) => Some(host),
            Self::AllReports | Self::List | Self::AllOutboxes | Self::AllNetworks => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dockhealth.v1.")?;
        match self {
            Self::Report(host) => write!(f, "report.{}", encode_token(host.as_str())),
            Self::AllReports => f.write_str("report.*"),
            Self::List => f.write_str("list"),
            Self::Outbox(host) => write!(f, "outbox.{}", encode_token(host.as_str())),
            Self::AllOutboxes => f.write_str("outbox.*"),
            Self::Network(host) => write!(f, "net.{}", encode_token(host.as_str())),
            Self::AllNetworks => f.write_str("net.*"),
            Self::Command(host) => write!(f, "host.{}.cmd", encode_token(host.as_str())),
        }
    }
}

/// Writes `text` as one token of a subject or key: bytes outside `[A-Za-z0-9_-]` become `=XX`.
pub fn encode_token(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "={byte:02X}");
        }
    }
    out
}

/// Reads a token back; `None` when it is not one that [`encode_token`] writes.
pub fn decode_token(token: &str) -> Option<String> {
    let mut out = Vec::with_capacity(token.len());
    let mut bytes = token.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'=' => {
                let hex = [bytes.next()?, bytes.next()?];
                let text = std::str::from_utf8(&hex).ok()?;
                out.push(u8::from_str_radix(text, 16).ok()?);
            }
            b'_' | b'-' => out.push(byte),
            _ if byte.is_ascii_alphanumeric() => out.push(byte),
            _ => return None,
        }
    }
    let text = String::from_utf8(out).ok()?;
    (encode_token(&text) == token).then_some(text)
}

/// Reads a token as a name of type `T`.
pub(super) fn name_of<T: std::str::FromStr<Err = IdError>>(token: &str) -> Option<T> {
    decode_token(token)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_with_dots_stay_one_token() {
        let host = HostName::new("web.example.org").unwrap();
        let subject = Subject::Command(host);
        assert_eq!(subject.to_string(), "dockhealth.v1.host.web=2Eexample=2Eorg.cmd");
        assert_eq!(Subject::parse(&subject.to_string()), Some(subject));
    }

    #[test]
    fn wildcards_match_every_host_of_their_kind() {
        let host = || HostName::new("web1").unwrap();
        assert!(Subject::AllReports.matches(&Subject::Report(host())));
        assert!(Subject::AllOutboxes.matches(&Subject::Outbox(host())));
        assert!(Subject::AllNetworks.matches(&Subject::Network(host())));
        assert!(!Subject::AllReports.matches(&Subject::Outbox(host())));
        assert!(Subject::Command(host()).matches(&Subject::Command(host())));
        assert!(!Subject::Command(host()).matches(&Subject::Command(HostName::new("web2").unwrap())));
    }

    proptest! {
        #[test]
        fn every_text_reads_back(text in ".*") {
            prop_assert_eq!(decode_token(&encode_token(&text)), Some(text));
        }

        #[test]
        fn each_token_has_one_spelling(token in "[A-Za-z0-9=_.-]{0,12}") {
            if let Some(text) = decode_token(&token) {
                prop_assert_eq!(encode_token(&text), token);
            }
        }

        #[test]
        fn no_subject_panics(text in ".*") {
            let _ = Subject::parse(&text);
        }
    }
}
