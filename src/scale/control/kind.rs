//! Which controllers there are, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::fixed::Fixed;
use super::francis::Francis;
use super::hpa::Hpa;
use super::kpa::Kpa;
use super::regulator::Regulator;
use super::{Bounds, ControlSettings, Controller, MOST_CONTAINERS};
use crate::model::clean;

/// A controller by its name: `fixed:5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ControllerKind {
    /// The model predictive controller.
    Francis,
    /// Its closed form.
    Regulator,
    /// As Kubernetes' horizontal pod autoscaler.
    Hpa,
    /// As Knative's pod autoscaler.
    Kpa,
    /// So many containers, always.
    Fixed(u32),
}

/// A text that names no controller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a controller: give francis, regulator, hpa, kpa or fixed:COUNT with 1 to {MOST_CONTAINERS} containers"
)]
pub struct KindError(String);

impl ControllerKind {
    /// The controller, with nothing seen yet.
    pub fn build(self, settings: &ControlSettings) -> Box<dyn Controller> {
        let settings = ControlSettings { bounds: self.bounds(settings.bounds), ..settings.clone() };
        match self {
            Self::Francis => Box::new(Francis::new(&settings)),
            Self::Regulator => Box::new(Regulator::new(&settings)),
            Self::Hpa => Box::new(Hpa::new(&settings)),
            Self::Kpa => Box::new(Kpa::new(&settings)),
            Self::Fixed(_) => Box::new(Fixed::new(settings.bounds)),
        }
    }

    /// The bounds it keeps to: those that are set, and for `fixed:COUNT` its own count, whatever is set. A pool begins with
    /// the least of them.
    pub fn bounds(self, set: Bounds) -> Bounds {
        match self {
            Self::Fixed(count) => Bounds::new(count, count).unwrap_or(set),
            _ => set,
        }
    }
}

impl FromStr for ControllerKind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let wrong = || KindError(clean(text, 40));
        Ok(match text.trim() {
            "francis" => Self::Francis,
            "regulator" => Self::Regulator,
            "hpa" => Self::Hpa,
            "kpa" => Self::Kpa,
            other => {
                let count =
                    other.strip_prefix("fixed:").and_then(|count| count.parse().ok()).ok_or_else(wrong)?;
                Bounds::new(count, count).map_err(|_| wrong())?;
                Self::Fixed(count)
            }
        })
    }
}

impl fmt::Display for ControllerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Francis => f.write_str("francis"),
            Self::Regulator => f.write_str("regulator"),
            Self::Hpa => f.write_str("hpa"),
            Self::Kpa => f.write_str("kpa"),
            Self::Fixed(count) => write!(f, "fixed:{count}"),
        }
    }
}

impl TryFrom<String> for ControllerKind {
    type Error = KindError;

    fn try_from(text: String) -> Result<Self, KindError> {
        text.parse()
    }
}

impl From<ControllerKind> for String {
    fn from(kind: ControllerKind) -> Self {
        kind.to_string()
    }
}
