//! What a controller decides, and why.

use serde::{Deserialize, Serialize};

/// What a controller wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Containers more (positive) or fewer (negative) than [`super::Observation::containers`] now.
    pub delta: i32,
    /// Containers wanted in all: those that count now, and `delta`. Within the bounds.
    pub target: u32,
    /// What decided it.
    pub rule: Rule,
    /// Why, in one plain sentence.
    pub reason: String,
    /// What it expects; `None` from controllers that expect nothing.
    pub forecast: Option<Forecast>,
}

/// What decided a number of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The number is fixed.
    Fixed,
    /// The number there is serves best.
    Steady,
    /// More are needed for the requests that are here or expected.
    Grow,
    /// Fewer do.
    Shrink,
    /// Fewer would do, but more were wanted a moment ago.
    Stabilising,
    /// More would not be faster: those there are can use all cores that are left.
    Capacity,
    /// It must not be fewer.
    Minimum,
    /// It must not be more.
    Maximum,
}

impl Rule {
    /// The word for it, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Steady => "steady",
            Self::Grow => "grow",
            Self::Shrink => "shrink",
            Self::Stabilising => "stabilising",
            Self::Capacity => "capacity",
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
        }
    }
}

/// What a controller expects and what it takes the load to be. Rounded to millionths, which JSON keeps exactly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Arrivals expected in the next period, a mean; to be set beside the next observation's `arrivals`.
    pub arrivals: f64,
    /// Requests expected in the system when the next period ends, if the decision is carried out.
    pub requests: f64,
    /// What one request takes in a container that need not share its core, S, seconds.
    pub service_s: f64,
    /// Cores that one request at work uses, a.
    pub cores_per_request: f64,
    /// Containers that can be of use at once on the cores that are left; `None` when no CPU time is measured.
    pub useful: Option<f64>,
}

/// To millionths.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

impl Rule {
    /// Why `target` is what it is, of a controller that wanted `wanted` and knows no capacity.
    pub(super) fn between(there: u32, target: u32, wanted: u32) -> Self {
        match target.cmp(&there) {
            std::cmp::Ordering::Greater => Self::Grow,
            std::cmp::Ordering::Less => Self::Shrink,
            std::cmp::Ordering::Equal if wanted < target => Self::Stabilising,
            std::cmp::Ordering::Equal => Self::Steady,
        }
    }
}

impl Decision {
    /// To have `target` containers, from what is there now.
    pub(super) fn to(
        target: u32,
        seen: &super::Observation,
        rule: Rule,
        reason: String,
        forecast: Option<Forecast>,
    ) -> Self {
        let delta = i64::from(target) - i64::from(seen.containers());
        let delta = i32::try_from(delta).unwrap_or(if delta > 0 { i32::MAX } else { i32::MIN });
        Self { delta, target, rule, reason, forecast }
    }
}
