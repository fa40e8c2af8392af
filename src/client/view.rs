//! What the command line shows of the API's answers. Only those fields are read, and words of closed sets stay
//! text, so that controllers of other versions are understood.

use serde::{Deserialize, Serialize};

use crate::bus::Capability;
use crate::model::{
    CheckRecord, ContainerName, EfficacyReport, Event, Freeze, HostIdentity, HostName, PoolDecision,
    PoolName, PoolSpec, PoolStatus, Timestamp,
};

/// One container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerView {
    /// Its host.
    pub hostname: HostName,
    /// Its name there.
    pub name: ContainerName,
    /// What the engine says it is doing.
    pub status: String,
    /// Whether it is on the list.
    pub monitored: bool,
    /// How it is.
    pub health: String,
    /// Loss of its last check, percent.
    pub loss_percent: Option<f64>,
    /// Round trip of its last check, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Restarts by dockhealth.
    pub restarts: Option<u64>,
    /// Its image.
    #[serde(default)]
    pub image: String,
    /// Why it is what it is.
    #[serde(default)]
    pub reason: String,
    /// Whether its host did not answer.
    #[serde(default)]
    pub stale: bool,
}

/// One freeze.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FreezeView {
    /// The host it holds; `None`: every host.
    pub hostname: Option<HostName>,
}

/// One container with all that explains it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct DetailsView {
    /// The container.
    pub container: ContainerView,
    /// The threshold that holds for it, percent.
    pub threshold: Option<f64>,
    /// Why it is on the list or not.
    pub monitored_by: Option<String>,
    /// Its last checks, newest last.
    #[serde(default)]
    pub checks: Vec<CheckRecord>,
    /// What was decided and done, newest last.
    #[serde(default)]
    pub events: Vec<Event>,
    /// What keeps it from being healed.
    #[serde(default)]
    pub brakes: Vec<String>,
    /// What actions on it have come to.
    #[serde(default)]
    pub efficacy: Option<EfficacyReport>,
    /// What of its network may explain lost probes.
    #[serde(default)]
    pub network: Option<NetworkHintsView>,
}

/// Drops and retransmits of a container's network.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NetworkHintsView {
    /// In plain sentences, the gravest first.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PoolView {
    /// Its host.
    pub hostname: HostName,
    /// Its name there.
    pub name: PoolName,
    /// How it is.
    pub health: String,
    /// What is wrong or still to come.
    pub detail: Option<String>,
    /// What it is to be; `None`: it is to end.
    pub spec: Option<PoolSpec>,
    /// How it is, as its host last said.
    pub status: Option<PoolStatus>,
}

/// One pool with all that explains it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PoolDetailsView {
    /// The pool.
    pub pool: PoolView,
    /// What its controller decided, newest first.
    #[serde(default)]
    pub decisions: Vec<PoolDecision>,
    /// What happened to it, newest first.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HostView {
    /// Its name.
    pub hostname: HostName,
    /// `live` or `silent`.
    pub presence: String,
    /// When it last spoke.
    pub last_seen: Timestamp,
    /// Who else claims its identity.
    pub conflict: Option<String>,
    /// How far its clock is ahead of the controller's, milliseconds.
    #[serde(default)]
    pub clock_offset_ms: Option<i64>,
    /// Whether that is too far.
    #[serde(default)]
    pub clock_skewed: bool,
    /// What its agent last said.
    pub agent: Option<AgentView>,
}

/// The agent of a host.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AgentView {
    /// Its version.
    pub version: String,
    /// Its engine.
    pub engine: EngineView,
    /// The freeze that holds there.
    pub freeze: Option<Freeze>,
    /// Whether it only observes.
    #[serde(default)]
    pub dry_run: bool,
    /// What works there and what does not.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// What the machine is.
    #[serde(default)]
    pub identity: Option<HostIdentity>,
    /// How many containers it has.
    pub containers: u64,
    /// How many of them are monitored.
    pub monitored: u64,
    /// How many of those are not well.
    pub failing: u64,
}

/// The engine of a host.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct EngineView {
    /// `reachable` or `unreachable`.
    pub status: String,
    /// Its version.
    pub version: Option<String>,
    /// Why it is not reachable.
    #[serde(default)]
    pub error: Option<String>,
}

/// One access token; never the secret.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TokenView {
    /// Names it when it is revoked.
    pub id: u64,
    /// What it is for.
    pub name: String,
    /// `read` or `write`.
    pub scope: String,
    /// When it was made.
    pub created: Timestamp,
}

/// Who is told of incidents, and what was told.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NotificationsView {
    /// The receivers.
    pub receivers: Vec<ReceiverView>,
    /// The last notifications, the newest first.
    pub notifications: Vec<NotificationView>,
}

/// One receiver of notifications.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ReceiverView {
    /// Template and server.
    pub receiver: String,
    /// How many notifications wait for it.
    pub waiting: u64,
    /// Since when attempts fail; `None` while none does.
    pub failing_since: Option<Timestamp>,
    /// What the last failure was.
    pub detail: Option<String>,
}

/// One notification.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NotificationView {
    /// `problem`, `recovery` or `test`.
    pub kind: String,
    /// When it was made.
    pub time: Timestamp,
    /// What it says, in one line.
    pub title: String,
    /// What became of it at each receiver.
    pub deliveries: Vec<DeliveryView>,
}

/// A notification on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct DeliveryView {
    /// The receiver.
    pub receiver: String,
    /// `waiting`, `delivered` or `failed`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u64,
    /// The HTTP status of the last answer.
    pub status: Option<u16>,
    /// What the last attempt came to.
    pub detail: String,
}
