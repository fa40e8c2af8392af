//! Which incidents a person is told of, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{IncidentKind, TrackedIncident};

/// A reason to tell somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A host is silent.
    Host,
    /// A host's engine does not answer.
    Engine,
    /// Much of a network fails at once.
    Network,
    /// Much that shares something else fails at once.
    Shared,
    /// Two agents claim one identity.
    Identity,
    /// A host's clock is off.
    Clock,
    /// A pool is down, or its containers cannot be started.
    Pool,
    /// A container is quarantined.
    Quarantined,
    /// An action on a container failed.
    ActionFailed,
    /// A container has been failing for longer than [`Policy::unhealed`].
    Unhealed,
    /// A container fails, however short that is.
    Failing,
}

impl Cause {
    /// Every cause by its word.
    pub const WORDS: [(&'static str, Self); 11] = [
        ("host", Self::Host),
        ("engine", Self::Engine),
        ("network", Self::Network),
        ("shared", Self::Shared),
        ("identity", Self::Identity),
        ("clock", Self::Clock),
        ("pool", Self::Pool),
        ("quarantined", Self::Quarantined),
        ("action_failed", Self::ActionFailed),
        ("unhealed", Self::Unhealed),
        ("failing", Self::Failing),
    ];
}

/// Which incidents are told, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What is told.
    pub on: BTreeSet<Cause>,
    /// How long what belongs together is collected; what is over by then is told to nobody.
    pub wait: Duration,
    /// For how long a container fails before that alone is told.
    pub unhealed: Duration,
}

impl Default for Policy {
    /// All but clocks and every short failure; 10 s; 5 min.
    fn default() -> Self {
        let all = Cause::WORDS.iter().map(|(_, cause)| *cause);
        Self {
            on: all.filter(|cause| !matches!(cause, Cause::Clock | Cause::Failing)).collect(),
            wait: Duration::from_secs(10),
            unhealed: Duration::from_mins(5),
        }
    }
}

/// When an incident is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Now.
    Now,
    /// In this time, unless it is over before.
    In(Duration),
    /// Not as it stands.
    Never,
}

impl Policy {
    /// When `tracked`, which is open and `age` old, is to be told.
    pub(super) fn due(&self, tracked: &TrackedIncident, age: Duration) -> Due {
        let has = |cause| self.on.contains(&cause);
        let now = |now: bool| if now { Due::Now } else { Due::Never };
        match tracked.incident.kind {
            IncidentKind::Host => now(has(Cause::Host)),
            IncidentKind::Engine => now(has(Cause::Engine)),
            IncidentKind::Network => now(has(Cause::Network)),
            IncidentKind::Shared => now(has(Cause::Shared)),
            IncidentKind::Identity => now(has(Cause::Identity)),
            IncidentKind::Clock => now(has(Cause::Clock)),
            IncidentKind::Pool => now(has(Cause::Pool)),
            IncidentKind::Container => {
                let at_once = has(Cause::Failing)
                    || (tracked.quarantined && has(Cause::Quarantined))
                    || (tracked.action_failed && has(Cause::ActionFailed));
                match (at_once, has(Cause::Unhealed)) {
                    (true, _) => Due::Now,
                    (false, true) if age >= self.unhealed => Due::Now,
                    (false, true) => Due::In(self.unhealed.saturating_sub(age)),
                    (false, false) => Due::Never,
                }
            }
        }
    }
}
