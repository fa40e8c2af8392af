//! Which controllers there are, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::fixed::Fixed;
use super::{Bounds, ControlSettings, Controller, MOST_CONTAINERS};
use crate::model::clean;

/// A controller by its name: `fixed:5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ControllerKind {
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
            Self::Fixed(_) => Box::new(Fixed::new(settings.bounds)),
        }
    }

    /// The bounds it keeps to: those that are set, and for `fixed:COUNT` its own count, whatever is set. A pool begins with
    /// the least of them.
    pub fn bounds(self, set: Bounds) -> Bounds {
        match self {
            Self::Fixed(count) => Bounds::new(count, count).unwrap_or(set),
        }
    }
}

impl FromStr for ControllerKind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let wrong = || KindError(clean(text, 40));
        match text.trim().split_once(':') {
            Some(("fixed", count)) => match count.parse() {
                Ok(count) if Bounds::new(count, count).is_ok() => Ok(Self::Fixed(count)),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for ControllerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
