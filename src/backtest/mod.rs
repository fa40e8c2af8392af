//! What another policy would have done: the agents' own decision core, fed with what was recorded, on a clock that
//! isn't there. Pure: no clock, socket, file or engine.

mod record;
mod replay;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::model::{ActionKind, ContainerName, HostName, Timestamp};

pub use record::{Change, ContainerRecord, HostRecord, Sample};
pub use replay::{Plan, replay};

/// What becomes of a container after a restart that was never made. Nobody knows; each assumption is as plain as can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assume {
    /// The restart heals it, until the record, having been well in between, shows the next trouble.
    #[default]
    Heals,
    /// It changes nothing: what was recorded goes on as it was.
    AsRecorded,
}

/// An action, made or only decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Deed {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// What.
    pub kind: ActionKind,
    /// Why, in one plain sentence.
    pub reason: String,
}

/// Something else the policy would have said of a container, e.g. that it is quarantined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Remark {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// What, in one plain sentence.
    pub text: String,
}

/// One container under the policy, beside what was done to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Replayed {
    /// Its host.
    #[schema(value_type = String)]
    pub hostname: HostName,
    /// Its name.
    #[schema(value_type = String)]
    pub name: ContainerName,
    /// Recorded figures of loss in the span; 0: nothing is known of it, and so nothing is said.
    pub samples: u64,
    /// What the policy would have done, oldest first (at most 1,000 are listed).
    pub would_restart: Vec<Deed>,
    /// What was done, oldest first (at most 1,000 are listed).
    pub did: Vec<Deed>,
    /// Quarantine and the end of futile restarts, as the policy would have decided them.
    pub remarks: Vec<Remark>,
    /// Actions that were made and that the policy would have made, within a minute.
    pub same: u64,
    /// Actions it would have made and nobody made.
    pub extra: u64,
    /// Actions that were made and it would not have made.
    pub prevented: u64,
}

/// All containers together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Totals {
    /// How many containers were replayed.
    pub containers: u64,
    /// How many actions the policy would have made.
    pub would_restart: u64,
    /// How many were made.
    pub did: u64,
    /// How many are the same.
    pub same: u64,
    /// How many are the policy's alone.
    pub extra: u64,
    /// How many it would have spared.
    pub prevented: u64,
}

impl Totals {
    /// The sum over containers.
    pub fn of(containers: &[Replayed]) -> Self {
        let mut totals = Self::default();
        for one in containers {
            totals.containers += 1;
            totals.would_restart += one.same + one.extra;
            totals.did += one.same + one.prevented;
            totals.same += one.same;
            totals.extra += one.extra;
            totals.prevented += one.prevented;
        }
        totals
    }
}
