//! Incidents: a span of time in which something was wrong, derived from events alone.

use serde::{Deserialize, Serialize};

use super::{ContainerName, Event, EventId, EventKind, HostName, PoolName, Timestamp};

/// An incident's id: that of the event which opened it.
pub type IncidentId = EventId;

/// A notification's id: a UUID version 7.
pub type NoticeId = uuid::Uuid;

/// What an incident is about. At most one of a kind is open for one host and subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// A container fails.
    Container,
    /// Much of a network fails at once.
    Network,
    /// Much that shares something else fails at once: a compose project, an image, a host, several hosts.
    Shared,
    /// A host's engine does not answer.
    Engine,
    /// A host is silent.
    Host,
    /// Two agents claim one identity.
    Identity,
    /// A host's clock is off.
    Clock,
    /// A pool is down, or its containers cannot be started.
    Pool,
}

/// What an event does to incidents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncidentMark {
    /// It opens one, or adds to the open one.
    Opens(IncidentKind),
    /// It adds to the open one, when there is one.
    Adds(IncidentKind),
    /// It closes the open one.
    Closes(IncidentKind),
}

impl IncidentMark {
    /// What `event` does to incidents; `None`: nothing.
    pub fn of(event: &Event) -> Option<Self> {
        use EventKind as E;
        use IncidentKind as I;
        // Breakers of agents before there were others are all about networks.
        let network = event.data.get("network").is_some() || event.data.get("shared").is_none();
        let breaker = if network { I::Network } else { I::Shared };
        Some(match event.kind {
            E::ContainerFailing | E::Quarantined | E::HealingFutile => Self::Opens(I::Container),
            E::ContainerStarted
            | E::ContainerRestarted
            | E::ContainerRecreated
            | E::ActionFailed
            | E::ActionInterrupted
            | E::ActionAssessed
            | E::WouldAct
            | E::Released => Self::Adds(I::Container),
            E::ContainerRecovered | E::ContainerLeft | E::ContainerRemoved | E::Unmonitored => {
                Self::Closes(I::Container)
            }
            E::BreakerOpened => Self::Opens(breaker),
            E::BreakerClosed => Self::Closes(breaker),
            E::EngineUnreachable => Self::Opens(I::Engine),
            E::EngineReachable => Self::Closes(I::Engine),
            E::HostSilent => Self::Opens(I::Host),
            E::HostLive | E::HostForgotten => Self::Closes(I::Host),
            E::IdentityConflict => Self::Opens(I::Identity),
            E::IdentityResolved => Self::Closes(I::Identity),
            E::ClockSkewed => Self::Opens(I::Clock),
            E::ClockAgrees => Self::Closes(I::Clock),
            E::PoolDegraded => Self::Opens(I::Pool),
            // Who begins knows of no trouble yet; the next word tells.
            E::PoolStarted | E::PoolRecovered | E::PoolEnded | E::PoolRemoved => Self::Closes(I::Pool),
            _ => return None,
        })
    }

    /// The kind it speaks of.
    pub fn kind(self) -> IncidentKind {
        match self {
            Self::Opens(kind) | Self::Adds(kind) | Self::Closes(kind) => kind,
        }
    }
}

/// A span of time in which something was wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Incident {
    /// The id of the event that opened it.
    #[schema(value_type = String, format = Uuid)]
    pub id: IncidentId,
    /// What it is about.
    pub kind: IncidentKind,
    /// The host.
    #[schema(value_type = String)]
    pub host: HostName,
    /// The container, or null where it is about more than one.
    #[schema(value_type = Option<String>)]
    pub container: Option<ContainerName>,
    /// The network, where it is about one.
    pub network: Option<String>,
    /// The pool, where it is about one.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub pool: Option<PoolName>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    /// When it ended; null while open.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_at: Option<Timestamp>,
    /// How many events belong to it.
    pub events: u64,
    /// The newest event's reason.
    pub reason: String,
    /// What was done about it last, e.g. `container_restarted`; null when nothing was.
    #[serde(default)]
    pub healed_by: Option<EventKind>,
    /// What ended it, e.g. `container_recovered`; null while open.
    #[serde(default)]
    pub ended_by: Option<EventKind>,
    /// The drill it is part of; such incidents are told to nobody.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub drill_id: Option<EventId>,
    /// The notification that told of it; null when none did.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub notification: Option<NoticeId>,
}

/// An incident with what decides whether a person is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackedIncident {
    /// The incident.
    pub incident: Incident,
    /// When the controller heard of it, by its own clock.
    pub seen: Timestamp,
    /// Whether it is about packet loss.
    pub lossy: bool,
    /// Whether its container was quarantined.
    pub quarantined: bool,
    /// Whether an action on its container failed.
    pub action_failed: bool,
}

impl TrackedIncident {
    /// Whether it is not over.
    pub fn is_open(&self) -> bool {
        self.incident.closed_at.is_none()
    }
}

impl IncidentKind {
    /// The word in API, CLI and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Network => "network",
            Self::Shared => "shared",
            Self::Engine => "engine",
            Self::Host => "host",
            Self::Identity => "identity",
            Self::Clock => "clock",
            Self::Pool => "pool",
        }
    }
}

impl Incident {
    /// The subject that, with kind and host, tells open incidents apart: container, network, pool, what else is shared,
    /// or nothing.
    pub fn subject_of(event: &Event) -> String {
        let text = |key: &str| event.data.get(key).and_then(|value| value.as_str());
        let shared = || {
            let name = text("name").map_or(String::new(), |name| format!(" {name}"));
            text("shared").map(|kind| format!("{kind}{name}"))
        };
        let named = event
            .container
            .as_ref()
            .map(ContainerName::as_str)
            .or(text("network"))
            .or(text("pool"))
            .map(str::to_owned);
        named.or_else(shared).unwrap_or_default()
    }
}
