//! What the long-running programs are told, typed and checked: plain values, ready to be wired.

pub(super) mod notify;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::settings::parse::{self, millis};
use super::settings::{Resolver, table as t};
use crate::bus::{NatsOptions, Role};
use crate::controller::NotifySettings;
use crate::docker::{AnonymousVolumes, EngineAddress};
use crate::model::Consent;
use crate::model::{HostName, OnStop, Rate, Threshold, clean, parse_span};
use crate::monitor::decide::{Detector, ErrorRates, Policy, RestartMode};
use crate::net::NetworkWish;
use crate::outbound::is_loopback;
use crate::store::{RemoteOptions, StoreCredentials};

/// The NATS server and how to log in there; the files were readable when they were named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatsConfig {
    /// Servers, tried in turn.
    pub urls: Vec<String>,
    /// User to log in as, together with the password.
    pub user: Option<String>,
    /// Holds the password.
    pub password_file: Option<PathBuf>,
    /// Holds a token to log in with.
    pub token_file: Option<PathBuf>,
    /// Credentials to log in with.
    pub creds_file: Option<PathBuf>,
    /// The authorities to trust (PEM); with them the connection must be TLS.
    pub tls_ca_file: Option<PathBuf>,
    /// The client's own certificate.
    pub tls_client: Option<CertFiles>,
}

impl NatsConfig {
    /// As the bus takes it, for the one who speaks.
    pub fn options(&self, role: Role) -> NatsOptions {
        NatsOptions {
            urls: self.urls.clone(),
            role,
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            token_file: self.token_file.clone(),
            creds_file: self.creds_file.clone(),
            tls_ca_file: self.tls_ca_file.clone(),
            tls_cert_file: self.tls_client.as_ref().map(|files| files.cert.clone()),
            tls_key_file: self.tls_client.as_ref().map(|files| files.key.clone()),
            name: None,
            inbox_prefix: None,
        }
    }
}

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertFiles {
    /// The chain.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// The process itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Threads that work, one at least.
    pub threads: usize,
}

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines are written.
    pub format: LogFormat,
    /// What is left out.
    pub level: tracing::Level,
    /// A file to log into besides standard error.
    pub file: Option<PathBuf>,
    /// The size in bytes at which that file is rotated.
    pub max_bytes: usize,
}

/// One agent.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The host's name; `None`: the engine's own.
    pub hostname: Option<HostName>,
    /// Where its state is kept.
    pub data_dir: PathBuf,
    /// Where the engine listens.
    pub docker_host: EngineAddress,
    /// Between two reports.
    pub report_interval: Duration,
    /// Between the starts of two sweeps.
    pub interval: Duration,
    /// How containers are checked, what is healed, and the brakes.
    pub policy: Policy,
    /// Overrides the containers' own stop timeouts.
    pub stop_timeout: Option<Duration>,
    /// What recreate does with anonymous volumes; `None`: a container that has some is not recreated.
    pub anonymous_volumes: Option<AnonymousVolumes>,
    /// Seconds between two samples; `None`: nothing is measured.
    pub metrics_interval: Option<NonZeroU32>,
    /// By what the containers' network is measured.
    pub network: NetworkWish,
    /// Names the clock that this host shares with others.
    pub network_clock: Option<String>,
    /// The most that metrics take that wait for the controller, bytes.
    pub outbox_max: u64,
    /// Whether campaigns of faults may be ordered over the bus.
    pub chaos: Consent,
    /// Whether pools may be ordered over the bus.
    pub pools: Consent,
}

/// The controller.
#[derive(Debug, Clone)]
pub struct ControllerConfig {
    /// Where its state is kept.
    pub data_dir: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The threshold until one is stored.
    pub threshold: Threshold,
    /// How long a list waits for the hosts' answers.
    pub response_window: Duration,
    /// Further names the server is reached by, in small letters.
    pub allowed_hosts: Vec<String>,
    /// Its certificate; `None`: plain HTTP.
    pub tls: Option<CertFiles>,
    /// Whether plain HTTP beyond loopback was agreed to.
    pub insecure_http: bool,
    /// The server that keeps metrics; `None`: they are kept in `controller.db`.
    pub remote_store: Option<RemoteOptions>,
    /// How long metrics are kept in `controller.db`.
    pub retention: Duration,
    /// Who is told of incidents.
    pub notify: NotifySettings,
    /// How many restarts all hosts together may do; `None`: as many as their own budgets allow.
    pub fleet_budget: Option<Rate>,
}

/// Bounds of `--outbox-max`, bytes.
const LEAST_OUTBOX: u64 = 1 << 20;
const MOST_OUTBOX: u64 = 1 << 40;

const DAY_MS: u64 = 86_400_000;

const LONGEST_MS: u64 = 7 * DAY_MS;

/// Reads the settings of [`t::NATS`].
pub fn nats(r: &mut Resolver) -> NatsConfig {
    let config = NatsConfig {
        urls: r.get(&t::NATS_URL, parse::nats_servers),
        user: r.opt(&t::NATS_USER, |text| Ok::<_, String>(text.to_owned())),
        password_file: r.opt(&t::NATS_PASSWORD_FILE, parse::secret_file),
        token_file: r.opt(&t::NATS_TOKEN_FILE, parse::secret_file),
        creds_file: r.opt(&t::NATS_CREDS_FILE, parse::readable),
        tls_ca_file: r.opt(&t::NATS_TLS_CA, parse::readable),
        tls_client: cert_files(r, &t::NATS_TLS_CERT, &t::NATS_TLS_KEY),
    };
    if r.is_given(&t::NATS_USER) != r.is_given(&t::NATS_PASSWORD_FILE) {
        let given = if config.user.is_some() { &t::NATS_USER } else { &t::NATS_PASSWORD_FILE };
        r.wrong(given, "nats-user and nats-password-file go together");
    }
    let logins = [&t::NATS_USER, &t::NATS_TOKEN_FILE, &t::NATS_CREDS_FILE];
    let given: Vec<_> = logins.into_iter().filter(|setting| r.is_given(setting)).collect();
    if let [_, second, ..] = given[..] {
        r.wrong(second, "give one way to log in: a user with its password, a token, or credentials");
    }
    config
}

fn cert_files(
    r: &mut Resolver,
    cert: &super::settings::Setting,
    key: &super::settings::Setting,
) -> Option<CertFiles> {
    let files = (r.opt(cert, parse::readable), r.opt(key, parse::readable));
    if r.is_given(cert) != r.is_given(key) {
        let given = if r.is_given(cert) { cert } else { key };
        r.wrong(given, format_args!("{} and {} go together", cert.name, key.name));
    }
    match files {
        (Some(cert), Some(key)) => Some(CertFiles { cert, key }),
        _ => None,
    }
}

/// Reads how the process runs, of [`t::COMMON`].
pub fn runtime(r: &mut Resolver) -> RuntimeConfig {
    RuntimeConfig {
        threads: r.get(&t::THREADS, |text| parse::count(1..=64)(text).map(|count| count as usize)),
    }
}

/// Reads the settings of [`t::LOG`].
pub fn log(r: &mut Resolver) -> LogConfig {
    use tracing::Level;
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    LogConfig {
        format: r.get(&t::LOG_FORMAT, parse::word(&[("text", LogFormat::Text), ("json", LogFormat::Json)])),
        level: r.get(&t::LOG_LEVEL, parse::word(&levels)),
        file: r.opt(&t::LOG_FILE, parse::path),
        max_bytes: r.get(&t::LOG_MAX_SIZE, |text| match parse::size(text)? {
            bytes @ 65_536..=0x4000_0000 => usize::try_from(bytes).map_err(|e| e.to_string()),
            _ => Err("out of range: give from 64KiB to 1GiB".to_owned()),
        }),
    }
}

fn detector(r: &mut Resolver) -> Detector {
    let rates = ErrorRates {
        false_restarts_per_year: r.get(&t::FALSE_RESTARTS, parse::number(1e-9..=1e3)),
        miss: r.get(&t::MISS, parse::number(1e-6..=0.5)),
        min_evidence: r.get(&t::MIN_EVIDENCE, parse::span(millis(1_000, 30_000))),
    };
    let words = [("fixed", Detector::Fixed), ("sprt", Detector::Sprt(rates))];
    let given = r.opt(&t::DETECTOR, parse::word(&words));
    let detector = given.unwrap_or(Detector::Fixed);
    let is_fixed = detector == Detector::Fixed && given.is_some() == r.is_given(&t::DETECTOR);
    for setting in [&t::FALSE_RESTARTS, &t::MISS, &t::MIN_EVIDENCE] {
        if is_fixed && r.is_given(setting) {
            r.wrong(setting, "it is about the other detector: give --detector sprt");
        }
    }
    detector
}

fn policy(r: &mut Resolver) -> Policy {
    let modes = [("restart", RestartMode::Restart), ("recreate", RestartMode::Recreate)];
    let policy = Policy {
        detector: detector(r),
        probes: r.get(&t::PROBES, parse::count(1..=1_000)),
        probe_spacing: r.get(&t::PROBE_SPACING, parse::span(millis(0, 60_000))),
        probe_timeout: r.get(&t::PROBE_TIMEOUT, parse::span(millis(1, 60_000))),
        confirm_probes: r.get(&t::CONFIRM_PROBES, parse::count(0..=1_000)),
        assume_pingable: r.switch(&t::ASSUME_PINGABLE),
        threshold: r.get(&t::THRESHOLD, parse::typed::<Threshold>),
        monitor_all: r.switch(&t::MONITOR_ALL),
        on_stop: r.opt(&t::ON_STOP, parse::word(&[("restart", OnStop::Restart), ("leave", OnStop::Leave)])),
        settle: r.get(&t::SETTLE, parse::span(millis(0, 60_000))),
        grace: r.get(&t::GRACE, parse::span(millis(0, LONGEST_MS))),
        restart_mode: r.get(&t::RESTART_MODE, parse::word(&modes)),
        budget: r.get(&t::BUDGET, rate),
        futile_after: r.get(&t::FUTILE_AFTER, parse::count(0..=100)),
        futile_retry: r.get(&t::FUTILE_RETRY, parse::span(millis(60_000, 30 * DAY_MS))),
        backoff: r.get(&t::BACKOFF, parse::span(millis(0, LONGEST_MS))),
        backoff_max: r.get(&t::BACKOFF_MAX, parse::span(millis(0, LONGEST_MS))),
        host_budget: r.get(&t::HOST_BUDGET, rate),
        dry_run: r.switch(&t::DRY_RUN),
        ..Policy::default()
    };
    if policy.backoff > policy.backoff_max {
        let setting = if r.is_given(&t::BACKOFF) { &t::BACKOFF } else { &t::BACKOFF_MAX };
        r.wrong(setting, "backoff must not be longer than backoff-max");
    }
    policy
}

fn rate(text: &str) -> Result<Rate, String> {
    match text.trim().parse::<Rate>() {
        Ok(rate) if (1..=10_000).contains(&rate.count) => Ok(rate),
        Ok(rate) => Err(format!("{:?} is out of range: give a count from 1 to 10000", rate.to_string())),
        Err(error) => Err(error.to_string()),
    }
}

/// Whole seconds, for samples are told at whole multiples of them; none when switched off.
fn metrics_interval(text: &str) -> Result<Option<NonZeroU32>, String> {
    if matches!(text.trim(), "off" | "0") {
        return Ok(None);
    }
    let span = parse_span(text).map_err(|error| error.to_string())?;
    let wrong = |how| Err(format!("{:?} is {how}: give from 1s to 1h, or off", clean(text, 40)));
    match u32::try_from(span.as_secs()) {
        _ if span.subsec_nanos() > 0 => wrong("not a whole number of seconds"),
        Ok(seconds @ 0..=3600) => Ok(NonZeroU32::new(seconds)),
        _ => wrong("out of range"),
    }
}

/// Whether campaigns of faults may be ordered of this host.
pub fn chaos(r: &mut Resolver) -> Consent {
    consent(r, &t::CHAOS)
}

/// Whether pools may be ordered of this host.
pub fn pools(r: &mut Resolver) -> Consent {
    consent(r, &t::POOLS)
}

fn consent(r: &mut Resolver, to: &super::settings::Setting) -> Consent {
    if r.switch(to) { Consent::Given } else { Consent::Refused }
}

/// The same for an agent, which changes no container in a dry run.
fn agents_consent(r: &mut Resolver, to: &super::settings::Setting) -> Consent {
    match consent(r, to) {
        Consent::Given if r.switch(&t::DRY_RUN) => {
            r.wrong(to, "a dry run changes no container: leave out this or --dry-run");
            Consent::Refused
        }
        consent => consent,
    }
}

/// By what the containers' network is to be measured.
pub fn network(r: &mut Resolver) -> NetworkWish {
    let words = &[
        ("auto", NetworkWish::Auto),
        ("classifiers", NetworkWish::Classifiers),
        ("proc", NetworkWish::Proc),
        ("off", NetworkWish::Off),
    ];
    r.get(&t::NETWORK, parse::word(words))
}

/// Reads the settings of [`t::COMMON`], [`t::HOST`], [`t::CHECKS`] and [`t::HEALING`].
pub fn agent(r: &mut Resolver) -> AgentConfig {
    AgentConfig {
        hostname: r.opt(&t::HOSTNAME, parse::typed::<HostName>),
        data_dir: data_dir(r),
        docker_host: r.get(&t::DOCKER_HOST, parse::typed::<EngineAddress>),
        // A host counts as silent 15 s after its last word, so one report may get lost.
        report_interval: r.get(&t::REPORT_INTERVAL, parse::span(millis(100, 7_000))),
        interval: r.get(&t::INTERVAL, parse::span(millis(100, 86_400_000))),
        policy: policy(r),
        stop_timeout: r.opt(&t::STOP_TIMEOUT, parse::span(millis(0, 3_600_000))),
        anonymous_volumes: r.get(
            &t::ANONYMOUS_VOLUMES,
            parse::word(&[("refuse", None), ("keep", Some(AnonymousVolumes::Keep))]),
        ),
        metrics_interval: r.get(&t::METRICS_INTERVAL, metrics_interval),
        network: network(r),
        network_clock: r.opt(&t::NETWORK_CLOCK, parse::typed::<HostName>).map(|name| name.to_string()),
        outbox_max: r.get(&t::OUTBOX_MAX, |text| match parse::size(text)? {
            bytes @ LEAST_OUTBOX..=MOST_OUTBOX => Ok(bytes),
            _ => Err("out of range: give from 1MiB to 1024GiB".to_owned()),
        }),
        chaos: agents_consent(r, &t::CHAOS),
        pools: agents_consent(r, &t::POOLS),
    }
}

/// Reads the settings of [`t::STORE`].
fn remote_store(r: &mut Resolver) -> Option<RemoteOptions> {
    let url = r.get(&t::STORE_URL, parse::metric_store);
    let write_url = r.opt(&t::STORE_WRITE_URL, parse::metrics_server);
    let secret = r.opt(&t::STORE_CREDENTIALS_FILE, parse::secret);
    let ca_pem = r.opt(&t::STORE_CA_FILE, |text| parse::contents(Path::new(text)));
    if url.is_none() && !r.is_given(&t::STORE_URL) {
        for setting in [&t::STORE_WRITE_URL, &t::STORE_CREDENTIALS_FILE, &t::STORE_CA_FILE] {
            if r.is_given(setting) {
                r.wrong(setting, "it is about a server, and none is named: give --store URL");
            }
        }
    }
    let url = url?;
    let in_the_clear =
        |url: &http::Uri| url.scheme_str() == Some("http") && !url.host().is_some_and(is_loopback);
    let exposed = in_the_clear(&url) || write_url.as_ref().is_some_and(in_the_clear);
    if secret.is_some() && exposed && !r.switch(&t::INSECURE_HTTP) {
        r.wrong(
            &t::STORE_CREDENTIALS_FILE,
            "the secret would go over the network in the clear: give https:// URLs, or --insecure-http",
        );
    }
    let credentials = secret.map(|secret| StoreCredentials::new(secret.expose()));
    if r.is_given(&t::RETENTION) {
        r.wrong(&t::RETENTION, "the server of --store has a retention of its own");
    }
    Some(RemoteOptions { url, write_url, credentials, ca_pem })
}

/// Reads the settings of [`t::COMMON`], [`t::DOOR`], [`t::STORE`] and [`t::NOTIFY`].
pub fn controller(r: &mut Resolver) -> ControllerConfig {
    let config = ControllerConfig {
        data_dir: data_dir(r),
        listen: r.get(&t::LISTEN, parse::listen),
        threshold: r.get(&t::THRESHOLD, parse::typed::<Threshold>),
        response_window: r.get(&t::RESPONSE_WINDOW, parse::span(millis(100, 60_000))),
        allowed_hosts: r.list(&t::ALLOWED_HOST, parse::allowed_host),
        tls: cert_files(r, &t::TLS_CERT, &t::TLS_KEY),
        insecure_http: r.switch(&t::INSECURE_HTTP),
        remote_store: remote_store(r),
        fleet_budget: None,
        retention: r.get(&t::RETENTION, parse::span(millis(DAY_MS, 366 * DAY_MS))),
        notify: notify::notify(r),
    };
    let has_tls = r.is_given(&t::TLS_CERT) || r.is_given(&t::TLS_KEY);
    if !config.listen.ip().is_loopback() && !has_tls && !config.insecure_http {
        r.wrong(
            &t::LISTEN,
            format_args!(
                "{} is reached from beyond this machine: give --tls-cert and --tls-key, or --insecure-http to do without",
                config.listen
            ),
        );
    }
    config
}

/// How many restarts all hosts of a fleet together may do.
pub fn fleet_budget(r: &mut Resolver) -> Option<Rate> {
    r.get(&t::FLEET_BUDGET, |text| match text.trim() {
        "off" => Ok(None),
        text => text.parse::<Rate>().map(Some).map_err(|error| format!("{error}, or off")),
    })
}

/// Where state is kept: as told, else [`default_data_dir`].
pub fn data_dir(r: &mut Resolver) -> PathBuf {
    r.opt(&t::DATA_DIR, parse::path).unwrap_or_else(default_data_dir)
}

/// `/var/lib/dockhealth` for root, else `$XDG_STATE_HOME/dockhealth` or `~/.local/state/dockhealth`.
pub fn default_data_dir() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // SAFETY: geteuid only reads the process's own id and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return "/var/lib/dockhealth".into();
    }
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    state.map_or_else(|| "/var/lib/dockhealth".into(), |path| path.join("dockhealth"))
}
