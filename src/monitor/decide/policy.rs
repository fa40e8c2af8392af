//! The settings that decisions follow.

use std::time::Duration;

use crate::model::{OnStop, Rate, Threshold};

/// How a container that fails while running is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartMode {
    /// The engine's restart.
    Restart,
    /// Destroyed and created anew from the same description.
    Recreate,
}

/// How sure a sequential test must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ErrorRates {
    /// How often a year a container whose loss stays at its threshold may be called lossy.
    pub false_restarts_per_year: f64,
    /// The share of tests that may call a container sound that loses as much as the test looks for.
    pub miss: f64,
    /// Lost probes must span this long, for real loss comes in bursts.
    pub min_evidence: Duration,
}

impl Default for ErrorRates {
    fn default() -> Self {
        Self { false_restarts_per_year: 0.001, miss: 0.01, min_evidence: Duration::from_secs(1) }
    }
}

/// How a verdict on packet loss is reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Detector {
    /// A check of so many probes every so often, and a longer one to confirm a failure.
    Fixed,
    /// A sequential test on an unending stream of probes: see [`crate::monitor::detect`].
    Sprt(ErrorRates),
}

/// Everything an operator can set about checks, healing and its brakes. `docs/operations.md` lists the flags.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// How a verdict on loss is reached; [`Detector::Sprt`] makes no use of the counts and spacing of probes.
    pub detector: Detector,
    /// Echo requests per address in a regular check.
    pub probes: u32,
    /// Between two requests to one address.
    pub probe_spacing: Duration,
    /// How long an answer may take.
    pub probe_timeout: Duration,
    /// Echo requests in the check that confirms a failure; 0: failures are not confirmed.
    pub confirm_probes: u32,
    /// Count loss for addresses that never answered, too.
    pub assume_pingable: bool,
    /// The threshold while none is stored.
    pub threshold: Threshold,
    /// Monitor every container that nothing else says anything of.
    pub monitor_all: bool,
    /// What to do with containers that were told to stop, where neither entry nor label says.
    pub on_stop: Option<OnStop>,
    /// How long a container that was told to stop is given to come back or go for good.
    pub settle: Duration,
    /// How long after a start failed checks do not count (a longer healthcheck start period goes before).
    pub grace: Duration,
    /// How a running container is restarted.
    pub restart_mode: RestartMode,
    /// How often one container may be acted on before it is quarantined.
    pub budget: Rate,
    /// How many restarts in a row that did not help are enough; 0: they never are.
    pub futile_after: u32,
    /// How long after the last of them one more is tried.
    pub futile_retry: Duration,
    /// The wait after the first action on a container; doubles with each further one in the budget's window.
    pub backoff: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// How many running containers of this host may be restarted.
    pub host_budget: Rate,
    /// How many restarts run at once.
    pub restarts_at_once: usize,
    /// How many containers are started per second.
    pub starts_per_second: u32,
    /// Decide, say so, and do nothing.
    pub dry_run: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            detector: Detector::Fixed,
            probes: 5,
            probe_spacing: Duration::from_millis(100),
            probe_timeout: Duration::from_secs(1),
            confirm_probes: 20,
            assume_pingable: false,
            threshold: Threshold::default(),
            monitor_all: false,
            on_stop: None,
            settle: Duration::from_millis(500),
            grace: Duration::from_secs(10),
            restart_mode: RestartMode::Restart,
            budget: Rate { count: 5, window: Duration::from_hours(1) },
            futile_after: 3,
            futile_retry: Duration::from_hours(24),
            backoff: Duration::from_secs(10),
            backoff_max: Duration::from_mins(10),
            host_budget: Rate { count: 10, window: Duration::from_mins(10) },
            restarts_at_once: 2,
            starts_per_second: 4,
            dry_run: false,
        }
    }
}
