//! A pool: containers of one image behind one address, as many as its controller wants. What it is to be, and what it is.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{ContainerName, PoolName, Timestamp};

/// What a pool is to be; in JSON, what is left out is as in [`PoolSpec::default`]. It holds no environment: those of containers
/// stay on the host that starts them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct PoolSpec {
    /// The image its containers are made of.
    pub image: String,
    /// Arguments of each container; empty: the image's own.
    pub command: Vec<String>,
    /// Labels of each container besides ours; those that begin with `dockhealth.` are ours alone.
    pub labels: BTreeMap<String, String>,
    /// Who decides how many: `francis`, `regulator`, `hpa`, `kpa` or `fixed:N`.
    pub controller: String,
    /// Time between two decisions, milliseconds.
    pub period_ms: u64,
    /// The share of the host's free cores that the pool may load, above 0 and at most 1.
    pub load: f64,
    /// What a request takes, until some have ended, milliseconds.
    pub service_guess_ms: u64,
    /// What a container takes to be ready, until one was, milliseconds.
    pub boot_guess_ms: u64,
    /// Fewest containers.
    pub min: u32,
    /// Most containers.
    pub max: u32,
    /// Requests that a container is given at once.
    pub concurrency: u32,
    /// Where the pool is reached.
    #[schema(value_type = String)]
    pub listen: SocketAddr,
    /// The port that a container listens at.
    pub port: u16,
    /// The first port of the host's loopback that containers are published at; null: they are reached directly.
    pub port_base: Option<u16>,
    /// The engine's network they are in; null: its default.
    pub network: Option<String>,
    /// Most CPU of a container, cores; null: no limit.
    pub cpus: Option<f64>,
    /// Most memory of a container, bytes; null: no limit.
    pub memory_bytes: Option<u64>,
    /// A container counts as free only below this CPU use, percent of one core; null: as soon as it has no request.
    pub free_cpu_percent: Option<f64>,
    /// Where a container is asked whether it is ready; null: that it accepts a connection is enough.
    pub ready_path: Option<String>,
    /// How long a new container may take until it is ready, milliseconds.
    pub ready_timeout_ms: u64,
    /// How long a container may take to end once it is told to, milliseconds.
    pub stop_timeout_ms: u64,
    /// Requests that may wait.
    pub queue: u32,
    /// How long a request may wait, milliseconds.
    pub queue_timeout_ms: u64,
    /// How long a container may be silent in the middle of a request, milliseconds.
    pub request_timeout_ms: u64,
}

impl Default for PoolSpec {
    /// No image, which must be named, and all else as `dockhealth autoscale run` has it where nothing is said.
    fn default() -> Self {
        Self {
            image: String::new(),
            command: Vec::new(),
            labels: BTreeMap::new(),
            controller: "francis".to_owned(),
            period_ms: 2_000,
            load: 1.0,
            service_guess_ms: 5_000,
            boot_guess_ms: 1_500,
            min: 2,
            max: 16,
            concurrency: 1,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            port: 80,
            port_base: None,
            network: None,
            cpus: None,
            memory_bytes: None,
            free_cpu_percent: None,
            ready_path: Some("/".to_owned()),
            ready_timeout_ms: 30_000,
            stop_timeout_ms: 10_000,
            queue: 1_000,
            queue_timeout_ms: 300_000,
            request_timeout_ms: 300_000,
        }
    }
}

/// How a pool is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PoolStatus {
    /// Its name.
    #[schema(value_type = String)]
    pub name: PoolName,
    /// What it is to be.
    pub spec: PoolSpec,
    /// In a word.
    pub health: PoolHealth,
    /// What is wrong; null when nothing is.
    pub problem: Option<PoolProblem>,
    /// When its runner was started.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When this was so.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// How many containers the controller wants.
    pub wanted: u32,
    /// Its containers, by slot.
    pub containers: Vec<PoolContainer>,
    /// How many are in which state.
    pub counts: PoolCounts,
    /// Requests that wait now.
    pub waiting: u32,
    /// Requests that containers are working on now.
    pub in_flight: u32,
    /// What became of requests since the runner was started.
    pub totals: PoolTotals,
    /// The newest decision; null before the first.
    pub decision: Option<PoolDecision>,
}

/// How a pool is, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoolHealth {
    /// No container is ready yet.
    Starting,
    /// As it is to be.
    Serving,
    /// It serves, but containers cannot be started or the engine does not answer.
    Degraded,
    /// No container is ready, and none can be started.
    Down,
    /// It takes no more requests and ends when those accepted are through.
    Ending,
    /// A word this version does not know.
    #[serde(other)]
    Unknown,
}

impl PoolHealth {
    /// The word in API and CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Ending => "ending",
            Self::Unknown => "unknown",
        }
    }
}

/// Why containers cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PoolProblem {
    /// What, in the engine's words or ours; cleaned.
    pub what: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Starts that failed in a row.
    pub failures: u32,
    /// When the next is tried; null while one is under way.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub retry_at: Option<Timestamp>,
}

/// What a container of a pool is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoolContainerState {
    /// Being made, or not ready yet.
    Starting,
    /// Ready for requests or working on one.
    Ready,
    /// Given no more requests; removed when those it has are through.
    Draining,
    /// Being stopped and removed.
    Removing,
    /// A word this version does not know.
    #[serde(other)]
    Unknown,
}

impl PoolContainerState {
    /// The word in API and CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Removing => "removing",
            Self::Unknown => "unknown",
        }
    }
}

/// A container of a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PoolContainer {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ContainerName,
    /// Its number in the pool.
    pub slot: u32,
    /// What it is doing.
    pub state: PoolContainerState,
    /// Where it is reached; null until it runs.
    #[schema(value_type = Option<String>)]
    pub address: Option<SocketAddr>,
    /// When it was ordered.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Requests it is working on.
    pub in_flight: u32,
    /// Requests it answered.
    pub served: u64,
    /// CPU it used in the last period, percent of one core; null where that is not known.
    pub cpu_percent: Option<f64>,
}

/// How many containers are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PoolCounts {
    /// Being made, or not ready yet.
    pub starting: u32,
    /// Ready, working or not.
    pub ready: u32,
    /// Of those, working.
    pub busy: u32,
    /// Draining.
    pub draining: u32,
    /// Being removed.
    pub removing: u32,
}

/// What became of requests since the runner was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PoolTotals {
    /// That came.
    pub arrivals: u64,
    /// That a container answered.
    pub served: u64,
    /// Refused with 503, for the queue was full, the wait too long, or the pool was ending.
    pub refused: u64,
    /// Answered with 502 or 504: the container died or was silent.
    pub failed: u64,
    /// Whose client left before the answer was through.
    pub left: u64,
    /// Tries that were repeated with another container.
    pub retried: u64,
    /// Containers started.
    pub started: u64,
    /// Starts that failed.
    pub start_failures: u64,
    /// Containers removed since they were no longer wanted.
    pub removed: u64,
    /// Containers that ended by themselves or by somebody else.
    pub lost: u64,
}

/// What a controller was told for one decision, over one period. Times are seconds; null is what nobody knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PoolPeriod {
    /// How long the period was, seconds.
    pub seconds: f64,
    /// Requests that came.
    pub arrivals: u32,
    /// Requests that were found in the system, waiting or being worked on, by each that came: their mean.
    pub backlog_mean: Option<f64>,
    /// The same: the most.
    pub backlog_max: Option<u32>,
    /// Requests that were completed.
    pub completions: u32,
    /// Requests that wait at its end.
    pub waiting: u32,
    /// Requests being worked on at its end.
    pub in_flight: u32,
    /// Mean wait of those given to a container, seconds.
    pub wait_mean: Option<f64>,
    /// Mean time from arrival to the end of the answer, seconds.
    pub sojourn_mean: Option<f64>,
    /// Mean time a container took, seconds.
    pub service_mean: Option<f64>,
    /// Container-seconds in which containers worked on requests.
    pub busy_seconds: f64,
    /// CPU-seconds that the pool's containers used.
    pub cpu_seconds: Option<f64>,
    /// How busy the host's cores were, 0 to 1.
    pub host_utilisation: Option<f64>,
    /// Cores of the host that others used.
    pub others_cores: Option<f64>,
    /// Mean age of the containers that were started in the last 4 minutes, seconds.
    pub age_mean: Option<f64>,
    /// How long new containers take until they are ready, seconds, smoothed.
    pub boot_seconds: Option<f64>,
    /// Containers by state at its end.
    pub counts: PoolCounts,
}

/// One decision of a pool's controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PoolDecision {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// What it was told.
    pub period: PoolPeriod,
    /// How many containers there were, starting and ready.
    pub have: u32,
    /// How many it wants.
    pub want: u32,
    /// Why, in words.
    pub reason: String,
    /// Requests that it expects to come in the next period; null where it expects nothing.
    pub forecast: Option<f64>,
    /// Requests it had expected for the period that ended with this decision.
    pub forecast_was: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_specification_leaves_out_has_its_default() {
        let spec: PoolSpec = serde_json::from_str(r#"{"image":"shop","max":4,"later":1}"#).unwrap();
        assert_eq!(spec, PoolSpec { image: "shop".to_owned(), max: 4, ..PoolSpec::default() });
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<PoolSpec>(&text).unwrap(), spec);
    }
}
