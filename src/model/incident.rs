//! Incidents: a span of time in which something was wrong, derived from events alone.

use serde::{Deserialize, Serialize};

use super::{ContainerName, Event, EventId, EventKind, HostName, Timestamp};

/// An incident's id: that of the event which opened it.
pub type IncidentId = EventId;

/// What an incident is about. At most one of a kind is open for one host and subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// A container fails.
    Container,
    /// Much of a network fails at once.
    Network,
    /// A host's engine does not answer.
    Engine,
    /// A host is silent.
    Host,
    /// Two agents claim one identity.
    Identity,
    /// A host's clock is off.
    Clock,
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
    /// What an event of `kind` does to incidents; `None`: nothing.
    pub fn of(kind: EventKind) -> Option<Self> {
        use EventKind as E;
        use IncidentKind as I;
        Some(match kind {
            E::ContainerFailing | E::Quarantined | E::HealingFutile => Self::Opens(I::Container),
            E::ContainerStarted
            | E::ContainerRestarted
            | E::ContainerRecreated
            | E::ActionFailed
            | E::ActionInterrupted
            | E::ActionAssessed
            | E::WouldAct
            | E::Released => Self::Adds(I::Container),
            E::ContainerRecovered | E::ContainerLeft | E::Unmonitored => Self::Closes(I::Container),
            E::BreakerOpened => Self::Opens(I::Network),
            E::BreakerClosed => Self::Closes(I::Network),
            E::EngineUnreachable => Self::Opens(I::Engine),
            E::EngineReachable => Self::Closes(I::Engine),
            E::HostSilent => Self::Opens(I::Host),
            E::HostLive | E::HostForgotten => Self::Closes(I::Host),
            E::IdentityConflict => Self::Opens(I::Identity),
            E::IdentityResolved => Self::Closes(I::Identity),
            E::ClockSkewed => Self::Opens(I::Clock),
            E::ClockAgrees => Self::Closes(I::Clock),
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
}

impl Incident {
    /// The subject that, with kind and host, tells open incidents apart: container, network or nothing.
    pub fn subject_of(event: &Event) -> String {
        let network = event.data.get("network").and_then(|n| n.as_str());
        event.container.as_ref().map(ContainerName::as_str).or(network).unwrap_or_default().to_owned()
    }
}
