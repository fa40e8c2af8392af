//! Whether what was done to a container helped: measured before and after, never taken for granted.

use serde::{Deserialize, Serialize};

use super::{ActionKind, Actor, LossPercent, OperationId, Timestamp};

/// What came of an action, by what was measured before and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// What ailed the container was gone.
    Helped,
    /// It was still there.
    NoChange,
    /// It was graver.
    Worse,
    /// It could not be measured: that is no word against the action.
    #[serde(other)]
    Unknown,
}

impl Effect {
    /// Every effect.
    pub const ALL: [Self; 4] = [Self::Helped, Self::NoChange, Self::Worse, Self::Unknown];

    /// The word in API, CLI and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Helped => "helped",
            Self::NoChange => "no_change",
            Self::Worse => "worse",
            Self::Unknown => "unknown",
        }
    }
}

/// What ails a container, without its figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AilmentKind {
    /// It does not run.
    Down,
    /// Its own HEALTHCHECK says so.
    Unhealthy,
    /// It lost its network namespace's owner.
    Detached,
    /// Packet loss above its threshold.
    Loss,
    /// Something this version does not know.
    #[serde(other)]
    Other,
}

/// What checks measured; null where none told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Figures {
    /// Packets lost, percent.
    #[schema(value_type = Option<f64>)]
    pub loss_percent: Option<LossPercent>,
    /// Median round trip, milliseconds.
    pub rtt_ms: Option<f64>,
}

/// One action, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Assessment {
    /// The action's id, as in events.
    #[schema(value_type = String)]
    pub op: OperationId,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// What was done.
    pub kind: ActionKind,
    /// Who wanted it.
    pub by: Actor,
    /// What ailed the container.
    pub ailment: AilmentKind,
    /// What came of it.
    pub effect: Effect,
    /// The last conclusive check before.
    pub before: Figures,
    /// The conclusive checks after, taken together.
    pub after: Figures,
}

/// How many actions had which effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct EffectCounts {
    /// What ailed the container was gone.
    pub helped: u64,
    /// It was still there.
    pub no_change: u64,
    /// It was graver.
    pub worse: u64,
    /// It could not be measured.
    pub unknown: u64,
}

impl EffectCounts {
    /// How many had this one.
    pub fn of(&self, effect: Effect) -> u64 {
        match effect {
            Effect::Helped => self.helped,
            Effect::NoChange => self.no_change,
            Effect::Worse => self.worse,
            Effect::Unknown => self.unknown,
        }
    }

    /// Counts one more.
    pub fn count(&mut self, effect: Effect) {
        let counter = match effect {
            Effect::Helped => &mut self.helped,
            Effect::NoChange => &mut self.no_change,
            Effect::Worse => &mut self.worse,
            Effect::Unknown => &mut self.unknown,
        };
        *counter = counter.saturating_add(1);
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        Effect::ALL.into_iter().fold(0, |sum, effect| sum.saturating_add(self.of(effect)))
    }
}

/// What healing has come to for one container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EfficacyReport {
    /// All actions that were assessed since a container of this name was first acted on.
    pub outcomes: EffectCounts,
    /// The last of them, newest last (at most 10).
    pub recent: Vec<Assessment>,
    /// Why it is not restarted for what ails it any more, in one plain sentence; null while it would be.
    #[serde(default)]
    pub futile: Option<String>,
}
