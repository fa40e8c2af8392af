//! What happened: one record for log, bus, store, API and UI.

use serde::{Deserialize, Serialize};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

use super::{ContainerName, HostName, Timestamp};

/// An event's own id: a UUID version 7, made where the event is made.
pub type EventId = uuid::Uuid;

/// Who caused an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The agent's own decision.
    Agent,
    /// The controller.
    Controller,
    /// An administrator, by API or command line.
    Operator,
    /// The Docker engine.
    Engine,
    /// The antagonist.
    Antagonist,
    /// An author this version does not know.
    #[serde(other)]
    Other,
}

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// What kind of thing happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventKind {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
            /// A kind this version does not know.
            #[serde(rename = "other", other)]
            Other,
        }

        impl EventKind {
            /// Every kind with a name.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in API, CLI and metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other => "other",
                }
            }
        }
    };
}

event_kinds! {
    /// An agent began to work.
    AgentStarted = "agent_started",
    /// An agent ended in order.
    AgentStopped = "agent_stopped",
    /// The engine does not answer; containers are not blamed.
    EngineUnreachable = "engine_unreachable",
    /// The engine answers again.
    EngineReachable = "engine_reachable",
    /// A monitored container is down, too lossy or unhealthy.
    ContainerFailing = "container_failing",
    /// It passes its checks again.
    ContainerRecovered = "container_recovered",
    /// A monitored container that was told to stop is left down.
    ContainerLeft = "container_left",
    /// A container that failed or was quarantined was removed.
    ContainerRemoved = "container_removed",
    /// We started it.
    ContainerStarted = "container_started",
    /// We restarted it.
    ContainerRestarted = "container_restarted",
    /// We recreated it.
    ContainerRecreated = "container_recreated",
    /// An action of ours failed.
    ActionFailed = "action_failed",
    /// What came of an action of ours, measured before and after.
    ActionAssessed = "action_assessed",
    /// Restarting a container did not help several times in a row: it is left alone for a day, or until released.
    HealingFutile = "healing_futile",
    /// An agent ended during an action; what became of it is judged anew.
    ActionInterrupted = "action_interrupted",
    /// A dry run would have acted.
    WouldAct = "would_act",
    /// Its restart budget is spent.
    Quarantined = "quarantined",
    /// Quarantine was ended.
    Released = "released",
    /// Much that shares a network, project, image, host or fleet fails at once: loss-healing there waits.
    BreakerOpened = "breaker_opened",
    /// That is over.
    BreakerClosed = "breaker_closed",
    /// Healing is frozen.
    Frozen = "frozen",
    /// Healing goes on.
    Unfrozen = "unfrozen",
    /// A container was put on the list.
    Monitored = "monitored",
    /// A container was taken off the list.
    Unmonitored = "unmonitored",
    /// A threshold was changed.
    ThresholdChanged = "threshold_changed",
    /// The rules of network monitoring were changed.
    RulesChanged = "rules_changed",
    /// Maintenance of a container began or ended.
    MaintenanceChanged = "maintenance_changed",
    /// A host spoke for the first time, or again.
    HostLive = "host_live",
    /// A host has not spoken for 15 s.
    HostSilent = "host_silent",
    /// A host was forgotten by an administrator.
    HostForgotten = "host_forgotten",
    /// Two agents claim one name or one engine.
    IdentityConflict = "identity_conflict",
    /// The conflict is over.
    IdentityResolved = "identity_resolved",
    /// An access token was made or revoked.
    TokenChanged = "token_changed",
    /// Events were dropped because an outbox was full.
    EventsDropped = "events_dropped",
    /// Metrics are dropped because they wait longer than there is room for; told once until all is delivered.
    SamplesDropped = "samples_dropped",
    /// A host's clock and the controller's differ by more than 30 s.
    ClockSkewed = "clock_skewed",
    /// They agree again.
    ClockAgrees = "clock_agrees",
    /// A drill began: what it causes is marked, and told to nobody.
    DrillStarted = "drill_started",
    /// It is over.
    DrillEnded = "drill_ended",
    /// Notifications do not reach a receiver; told once until they do again.
    NotifyFailing = "notify_failing",
    /// They do again.
    NotifyWorks = "notify_works",
    /// An administrator said what a pool is to be.
    PoolSet = "pool_set",
    /// An administrator took a pool away.
    PoolRemoved = "pool_removed",
    /// A host runs a pool from now on, or again after its agent was started.
    PoolStarted = "pool_started",
    /// It does not any more.
    PoolEnded = "pool_ended",
    /// A pool is down, or its containers cannot be started.
    PoolDegraded = "pool_degraded",
    /// It is well again.
    PoolRecovered = "pool_recovered",
    /// An antagonist did something to a container on purpose.
    FaultInjected = "fault_injected",
    /// That is over.
    FaultEnded = "fault_ended",
}

// By hand, since utoipa does not see words that a macro gives.
impl utoipa::PartialSchema for EventKind {
    fn schema() -> RefOr<Schema> {
        let words = Self::ALL.iter().chain([&Self::Other]).map(|kind| kind.as_str());
        let what = "What kind of thing happened; other: one that this version does not know.";
        ObjectBuilder::new().schema_type(Type::String).description(Some(what)).enum_values(Some(words)).into()
    }
}

impl utoipa::ToSchema for EventKind {}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// An event before the shell gives it id, time and host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventDraft {
    /// What kind of thing happened.
    pub kind: EventKind,
    /// The container it is about.
    pub container: Option<ContainerName>,
    /// Who caused it.
    pub by: Actor,
    /// The event that led to it.
    pub cause_id: Option<EventId>,
    /// The drill it is part of.
    #[serde(default)]
    pub drill_id: Option<EventId>,
    /// One plain sentence for people.
    pub reason: String,
    /// Figures and names for programs.
    pub data: serde_json::Value,
}

impl EventDraft {
    /// A draft with neither container nor data.
    pub fn new(kind: EventKind, by: Actor, reason: impl Into<String>) -> Self {
        Self {
            kind,
            container: None,
            by,
            cause_id: None,
            drill_id: None,
            reason: reason.into(),
            data: serde_json::Value::Null,
        }
    }

    /// The same about `container`.
    #[must_use]
    pub fn about(mut self, container: &ContainerName) -> Self {
        self.container = Some(container.clone());
        self
    }

    /// The same with figures for programs.
    #[must_use]
    pub fn with(mut self, data: serde_json::Value) -> Self {
        self.data = data;
        self
    }

    /// The same as part of `drill`.
    #[must_use]
    pub fn of_drill(mut self, drill: EventId) -> Self {
        self.drill_id = Some(drill);
        self
    }

    /// The event, made now by `host`; `seq` stays 0 until the controller stores it.
    pub fn stamp(self, host: &HostName, time: Timestamp) -> Event {
        Event {
            id: uuid::Uuid::now_v7(),
            seq: 0,
            time,
            host: host.clone(),
            container: self.container,
            kind: self.kind,
            by: self.by,
            cause_id: self.cause_id,
            drill_id: self.drill_id,
            reason: self.reason,
            data: self.data,
        }
    }
}

/// Something that happened, as it is stored and streamed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Event {
    /// Its own id, from where it was made.
    #[schema(value_type = String, format = Uuid)]
    pub id: EventId,
    /// Its place in the controller's history; the cursor of `GET /events`.
    #[serde(default)]
    pub seq: u64,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// The host it happened on.
    #[schema(value_type = String)]
    pub host: HostName,
    /// The container it is about.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub container: Option<ContainerName>,
    /// What kind of thing happened.
    pub kind: EventKind,
    /// Who caused it.
    pub by: Actor,
    /// The event that led to it.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub cause_id: Option<EventId>,
    /// The drill it is part of.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub drill_id: Option<EventId>,
    /// One plain sentence for people.
    pub reason: String,
    /// Figures and names for programs.
    #[serde(default)]
    pub data: serde_json::Value,
}
