//! How to reach a NATS server, checked as a whole before anything is connected.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::ConnectOptions;

use crate::bus::encode_token;
use crate::model::HostName;

/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often the server is asked whether it lives; two missed answers end the connection.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How long one attempt to connect may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The agent of a host: reads what is desired of that host.
    Agent(HostName),
    /// The controller: creates the bucket of desired state and reads all of it.
    Controller,
}

impl Role {
    /// The last word of the inbox prefix: `agent-<token of the host>` or `controller`, never the same.
    fn word(&self) -> String {
        match self {
            Self::Agent(host) => format!("agent-{}", encode_token(host.as_str())),
            Self::Controller => "controller".into(),
        }
    }
}

/// How to reach a NATS server, as the command line gives it. Secrets come from files only.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// Servers: `nats://host:4222` or `tls://host:4222`; several are members of one cluster.
    pub urls: Vec<String>,
    /// Who speaks.
    pub role: Role,
    /// The user, together with `password_file`.
    pub user: Option<String>,
    /// The file that holds the user's password.
    pub password_file: Option<PathBuf>,
    /// The file that holds a token.
    pub token_file: Option<PathBuf>,
    /// A NATS credentials file (JWT and seed).
    pub creds_file: Option<PathBuf>,
    /// The authorities to trust, PEM; asks for TLS.
    pub tls_ca_file: Option<PathBuf>,
    /// Our certificate, PEM, together with `tls_key_file`; asks for TLS.
    pub tls_cert_file: Option<PathBuf>,
    /// Our key, PEM.
    pub tls_key_file: Option<PathBuf>,
    /// The name of the connection in the server's views; by default who speaks.
    pub name: Option<String>,
    /// Where answers to us arrive; by default `_INBOX_agent-<token of the host>` or `_INBOX_controller`, as
    /// `deploy/fleet/nats.conf` allows it.
    pub inbox_prefix: Option<String>,
}

/// Every reason why the options cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsOptionsError(pub Vec<String>);

impl fmt::Display for NatsOptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for NatsOptionsError {}

impl NatsOptions {
    /// The server at `url` without credentials or TLS.
    pub fn new(url: impl Into<String>, role: Role) -> Self {
        Self {
            urls: vec![url.into()],
            role,
            user: None,
            password_file: None,
            token_file: None,
            creds_file: None,
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            name: None,
            inbox_prefix: None,
        }
    }

    /// Every reason why they cannot be used; reads the secrets, connects to nobody.
    pub fn check(&self) -> Result<(), NatsOptionsError> {
        self.resolve().map(|_| ())
    }

    /// Checks everything and reads the secrets.
    pub(super) fn resolve(&self) -> Result<(Vec<String>, ConnectOptions), NatsOptionsError> {
        let mut problems = Vec::new();
        if self.urls.is_empty() {
            problems.push("no NATS server: give --nats nats://HOST:4222".into());
        }
        for url in &self.urls {
            problems.extend(url_problem(url));
        }
        let mut options = base_options();
        options = options.name(self.name.clone().unwrap_or_else(|| match &self.role {
            Role::Agent(host) => format!("dockhealth agent {host}"),
            Role::Controller => "dockhealth controller".into(),
        }));
        let prefix = self.inbox_prefix.clone().unwrap_or_else(|| format!("_INBOX_{}", self.role.word()));
        if inbox_is_valid(&prefix) {
            options = options.custom_inbox_prefix(prefix);
        } else {
            problems.push(format!(
                "the inbox prefix {prefix:?} must be _INBOX followed by letters, digits, '_', '-', '=' or inner dots"
            ));
        }
        options = self.with_credentials(options, &mut problems);
        options = self.with_tls(options, &mut problems);
        if problems.is_empty() { Ok((self.urls.clone(), options)) } else { Err(NatsOptionsError(problems)) }
    }

    fn with_credentials(&self, mut options: ConnectOptions, problems: &mut Vec<String>) -> ConnectOptions {
        let ways = [self.user.is_some(), self.token_file.is_some(), self.creds_file.is_some()];
        if ways.iter().filter(|given| **given).count() > 1 {
            problems.push("give one of --nats-user, --nats-token-file and --nats-creds-file".into());
        }
        match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => {
                if let Some(password) = secret(file, "--nats-password-file", problems) {
                    options = options.user_and_password(user.clone(), password);
                }
            }
            (Some(_), None) => problems.push("--nats-user needs --nats-password-file".into()),
            (None, Some(_)) => problems.push("--nats-password-file needs --nats-user".into()),
            (None, None) => {}
        }
        if let Some(file) = &self.token_file
            && let Some(token) = secret(file, "--nats-token-file", problems)
        {
            options = options.token(token);
        }
        let Some(file) = &self.creds_file else { return options };
        // Parsed by itself first: the builder is lost when it fails.
        match secret(file, "--nats-creds-file", problems) {
            Some(creds) if ConnectOptions::with_credentials(&creds).is_ok() => {
                options.credentials(&creds).expect("it was parsed just now")
            }
            Some(_) => {
                problems.push(format!("--nats-creds-file {}: not a credentials file", file.display()));
                options
            }
            None => options,
        }
    }

    fn with_tls(&self, mut options: ConnectOptions, problems: &mut Vec<String>) -> ConnectOptions {
        let files = [
            ("--nats-tls-ca", &self.tls_ca_file),
            ("--nats-tls-cert", &self.tls_cert_file),
            ("--nats-tls-key", &self.tls_key_file),
        ];
        for (option, file) in files {
            if let Some(file) = file
                && let Err(e) = std::fs::File::open(file)
            {
                problems.push(format!("{option} {}: {e}", file.display()));
            }
        }
        if let Some(file) = &self.tls_ca_file {
            options = options.add_root_certificates(file.clone()).require_tls(true);
        }
        match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(cert), Some(key)) => {
                options.add_client_certificate(cert.clone(), key.clone()).require_tls(true)
            }
            (None, None) => options,
            _ => {
                problems.push("--nats-tls-cert and --nats-tls-key go together".into());
                options
            }
        }
    }
}

fn base_options() -> ConnectOptions {
    ConnectOptions::new()
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(pause_before)
        .connection_timeout(CONNECT_WITHIN)
        .ping_interval(PING_EVERY)
        .client_capacity(256)
        .subscription_capacity(4096)
}

/// The pause before attempt number `attempt` (from 1): none, then doubling from about 50 ms to 2 s, each
/// shortened by up to a half at random, so a fleet does not return in one moment.
fn pause_before(attempt: usize) -> Duration {
    let Some(doublings) = attempt.checked_sub(2) else { return Duration::ZERO };
    let doublings = u32::try_from(doublings.min(16)).expect("at most 16");
    let pause = LONGEST_PAUSE.min(Duration::from_millis(50) * 2_u32.pow(doublings));
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

fn url_problem(url: &str) -> Option<String> {
    let shown = || match url.rsplit_once('@') {
        Some((_, rest)) => format!("(hidden)@{}", crate::model::clean(rest, 80)),
        None => crate::model::clean(url, 80),
    };
    if url.contains('@') {
        return Some(format!(
            "--nats {}: no secret may stand in an address, where every process can read it: give --nats-user and \
             --nats-password-file, or --nats-token-file",
            shown()
        ));
    }
    let scheme = url.split_once("://").map_or("nats", |(scheme, _)| scheme);
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let names_a_host = !rest.is_empty() && !rest.starts_with([':', '/']);
    if !matches!(scheme, "nats" | "tls") || !names_a_host || url.parse::<async_nats::ServerAddr>().is_err() {
        return Some(format!("--nats {}: write nats://HOST:4222 or tls://HOST:4222", shown()));
    }
    None
}

fn inbox_is_valid(prefix: &str) -> bool {
    let token = |t: &str| {
        !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'='))
    };
    prefix.starts_with("_INBOX") && prefix.split('.').all(token)
}

/// The one line in `file`; a problem when it cannot be read or is empty.
fn secret(file: &Path, option: &str, problems: &mut Vec<String>) -> Option<String> {
    match std::fs::read_to_string(file) {
        Ok(text) if !text.trim().is_empty() => return Some(text.trim().to_owned()),
        Ok(_) => problems.push(format!("{option} {}: the file is empty", file.display())),
        Err(e) => problems.push(format!("{option} {}: {e}", file.display())),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> NatsOptions {
        NatsOptions::new(url, Role::Agent("web.1".parse().unwrap()))
    }

    fn problems(options: &NatsOptions) -> String {
        options.resolve().unwrap_err().to_string()
    }

    #[test]
    fn secrets_in_addresses_are_refused_and_not_repeated() {
        for url in ["nats://me:hunter2@host:4222", "nats://hunter2@host", "me:hunter2@host"] {
            let text = problems(&options(url));
            assert!(text.contains("--nats-password-file") && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let mut bad = options("http://host");
        bad.urls.push("nats://".into());
        bad.user = Some("me".into());
        bad.token_file = Some("/nonexistent/token".into());
        bad.tls_cert_file = Some("/nonexistent/cert".into());
        bad.inbox_prefix = Some("_INBOX.>".into());
        let NatsOptionsError(all) = bad.resolve().unwrap_err();
        for part in [
            "http://host",
            "--nats nats://:",
            "--nats-user needs --nats-password-file",
            "one of --nats-user",
            "--nats-token-file /nonexistent/token",
            "--nats-tls-cert /nonexistent/cert",
            "go together",
            "inbox prefix",
        ] {
            assert!(all.iter().any(|problem| problem.contains(part)), "{part}: {all:?}");
        }
    }

    #[test]
    fn good_options_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "secret\n").unwrap();
        for url in ["nats://localhost", "tls://[::1]:4222", "localhost:4222"] {
            let mut good = options(url);
            (good.user, good.password_file) = (Some("me".into()), Some(file.clone()));
            let (urls, connect) = good.resolve().unwrap();
            assert_eq!(urls, [url]);
            let shown = format!("{connect:?}");
            assert!(shown.contains("_INBOX_agent-web=2E1"), "{shown}");
        }
    }

    #[test]
    fn a_host_called_controller_is_not_the_controller() {
        assert_ne!(Role::Agent("controller".parse().unwrap()).word(), Role::Controller.word());
    }

    #[test]
    fn pauses_are_bounded() {
        assert_eq!(pause_before(1), Duration::ZERO);
        for attempt in [0, 2, 5, 20, usize::MAX] {
            assert!(pause_before(attempt) <= LONGEST_PAUSE);
        }
        assert!(pause_before(20) >= LONGEST_PAUSE / 2);
    }
}
