//! Where notifications go: a URL, which is a secret as a whole, and what is spoken there.

use std::fmt;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::model::clean;

/// Pieces of a URL shorter than this are not hidden in what others say: they are no secrets, and stand in plain words.
const SHORTEST_SECRET: usize = 6;

/// What a receiver understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// dockhealth's own JSON, as `docs/notifications.md` describes it.
    Json,
    /// An incoming webhook of Slack, or of what understands the same.
    Slack,
    /// A webhook of Discord.
    Discord,
    /// A topic of ntfy.
    Ntfy,
}

impl Template {
    /// Every template by its word.
    pub const WORDS: [(&'static str, Self); 4] =
        [("json", Self::Json), ("slack", Self::Slack), ("discord", Self::Discord), ("ntfy", Self::Ntfy)];

    /// The word in settings and views.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Ntfy => "ntfy",
        }
    }

    /// What the servers of these services speak; JSON of ours everywhere else.
    fn of(url: &http::Uri) -> Self {
        match (url.host().unwrap_or_default(), url.path()) {
            ("hooks.slack.com", _) => Self::Slack,
            ("discord.com" | "discordapp.com", path) if path.starts_with("/api/webhooks/") => Self::Discord,
            ("ntfy.sh", _) => Self::Ntfy,
            _ => Self::Json,
        }
    }
}

/// A receiver of notifications.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    template: Template,
    url: http::Uri,
    authorization: Option<String>,
    shown: String,
    /// Pieces of the URL that nobody else may read.
    secrets: Vec<String>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.shown).finish()
    }
}

impl Target {
    /// Reads `URL` or `TEMPLATE+URL`. Where no template stands before it, `otherwise` is meant, and without that, what the
    /// URL's server is known for. Errors never repeat the URL.
    pub fn parse(text: &str, otherwise: Option<Template>) -> Result<Self, String> {
        let wrong = || {
            "this is no URL to notify (it is not repeated here, since it may hold a secret): give for example \
             https://example.org/hook or slack+https://hooks.slack.com/services/..."
                .to_owned()
        };
        let text = text.trim();
        let scheme = text.split_once("://").ok_or_else(wrong)?.0;
        let (named, text) = match scheme.split_once('+') {
            None => (None, text),
            Some((word, _)) => {
                let named = Template::WORDS.iter().find(|(known, _)| *known == word);
                let unknown = || {
                    let known = Template::WORDS.map(|(known, _)| known).join(", ");
                    format!("{:?} is no template: give one of {known}", clean(word, 20))
                };
                (Some(named.ok_or_else(unknown)?.1), &text[word.len() + 1..])
            }
        };
        let (text, login) = without_login(text);
        let url: http::Uri = text.parse().map_err(|_| wrong())?;
        let known = matches!(url.scheme_str(), Some("http" | "https"));
        if !known || url.host().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        let template = named.or(otherwise).unwrap_or_else(|| Template::of(&url));
        if template == Template::Ntfy && topic(&url).is_none() {
            return Err("the URL of an ntfy receiver ends with a topic: https://ntfy.sh/TOPIC".into());
        }
        Ok(Self::new(template, url, login))
    }

    fn new(template: Template, url: http::Uri, login: Option<String>) -> Self {
        let authority = url.authority().map_or("", http::uri::Authority::as_str);
        let path = url.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let rest = if path.len() > 1 { "/..." } else { "" };
        let shown =
            format!("{} {}://{authority}{rest}", template.as_str(), url.scheme_str().unwrap_or_default());
        let pieces = path.split(['/', '?', '&', '=']).chain(login.iter().flat_map(|login| login.split(':')));
        let mut secrets: Vec<String> =
            pieces.filter(|piece| piece.len() >= SHORTEST_SECRET).map(str::to_owned).collect();
        // What is part of another must not go first and leave the rest standing.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let authorization = login.map(|login| format!("Basic {}", BASE64_STANDARD.encode(login)));
        Self { template, url, authorization, shown: clean(&shown, 200), secrets }
    }

    /// What is spoken there.
    pub fn template(&self) -> Template {
        self.template
    }

    /// The template and the server, for people: `slack https://hooks.slack.com/...`.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Tells it from other receivers over restarts, without telling its secrets.
    pub fn id(&self) -> String {
        let whole = format!("{} {}", self.url, self.authorization.as_deref().unwrap_or_default());
        BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(whole)[..12])
    }

    /// The URL itself, for the one place that sends to it.
    pub(super) fn url(&self) -> &http::Uri {
        &self.url
    }

    /// The `Authorization` header, for the same place.
    pub(super) fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// Whether what is sent there crosses a network in plain text.
    pub fn is_in_the_clear(&self) -> bool {
        self.url.scheme_str() == Some("http") && !self.url.host().is_some_and(crate::outbound::is_loopback)
    }

    /// For ntfy: the server's root and the topic.
    pub(super) fn topic(&self) -> Option<(String, &str)> {
        let (before, topic) = topic(&self.url)?;
        let authority = self.url.authority()?;
        Some((format!("{}://{authority}{before}/", self.url.scheme_str()?), topic))
    }

    /// What others said, with the secrets of the URL made unreadable, in one line.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret, "...");
        }
        clean(text.trim(), 300)
    }
}

/// The path before a topic and the topic, where there is one.
fn topic(url: &http::Uri) -> Option<(&str, &str)> {
    url.path().trim_end_matches('/').rsplit_once('/').filter(|(_, topic)| !topic.is_empty())
}

/// A URL without the user and password before its host, and these, percent-decoded where they are encoded.
fn without_login(text: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = text.split_once("://") else { return (text.to_owned(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        None => (text.to_owned(), None),
        Some((login, host)) => (format!("{scheme}://{host}{}", &rest[end..]), Some(decoded(login))),
    }
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| char::from(*tail.get(at)?).to_digit(16);
        match (*first, digit(0).zip(digit(1))) {
            (b'%', Some((high, low))) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = &tail[2..];
            }
            (byte, _) => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str, otherwise: Option<Template>) -> Template {
        Target::parse(text, otherwise).unwrap().template()
    }

    #[test]
    fn the_template_is_named_set_or_known_by_the_server() {
        let hook = "https://hooks.slack.com/services/T000/B000/secretsecret";
        assert_eq!(template(hook, None), Template::Slack);
        assert_eq!(template("https://discord.com/api/webhooks/1/secretsecret", None), Template::Discord);
        assert_eq!(template("https://discord.com/other", None), Template::Json);
        assert_eq!(template("https://ntfy.sh/topic", None), Template::Ntfy);
        assert_eq!(template("https://example.org", None), Template::Json);
        assert_eq!(template(hook, Some(Template::Json)), Template::Json);
        assert_eq!(template(&format!("discord+{hook}"), Some(Template::Json)), Template::Discord);
        let error = Target::parse(&format!("teams+{hook}"), None).unwrap_err();
        assert_eq!(error, "\"teams\" is no template: give one of json, slack, discord, ntfy");
        assert!(Target::parse("ntfy+https://ntfy.example.org/", None).unwrap_err().contains("topic"));
    }

    #[test]
    fn nothing_that_is_shown_holds_the_secret() {
        let target =
            Target::parse("https://me:hunter22@example.org:8443/hook/s3cr3tpath?key=s3cr3tkey", None)
                .unwrap();
        assert_eq!(target.shown(), "json https://example.org:8443/...");
        assert_eq!(target.authorization(), Some("Basic bWU6aHVudGVyMjI="));
        let said = target.redact("Cannot POST /hook/s3cr3tpath?key=s3cr3tkey for hunter22\u{1b}[2J");
        assert_eq!(said, "Cannot POST /hook/...?key=... for ...?[2J");
        for text in [format!("{target:?}"), target.id()] {
            assert!(!text.contains("s3cr3t") && !text.contains("hunter22"), "{text}");
        }
        for bad in ["hunter22", "ftp://hunter22", "https://", "https:///hunter22", "http://a b/hunter22"] {
            let error = Target::parse(bad, None).unwrap_err();
            assert!(!error.contains("hunter22"), "{error}");
        }
    }

    #[test]
    fn a_topic_is_the_last_of_the_path() {
        let target = Target::parse("ntfy+http://127.0.0.1:80/base/topic/", None).unwrap();
        assert_eq!(target.topic(), Some(("http://127.0.0.1:80/base/".to_owned(), "topic")));
        assert!(!target.is_in_the_clear());
        assert!(Target::parse("http://example.org/x", None).unwrap().is_in_the_clear());
        assert_eq!(without_login("https://:tk%5Fa%zz@h/a@b").1.as_deref(), Some(":tk_a%zz"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", url in "(slack\\+)?https?://[a-z@:/?%0-9.]*") {
            for text in [text, url] {
                if let Ok(target) = Target::parse(&text, None) {
                    let _ = (target.topic(), target.redact(&text), target.id());
                }
            }
        }
    }
}
