//! Spans of time that a log keeps exactly.

use std::ops::{Add, AddAssign};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A span of time in whole microseconds; in JSON an integer, so that what is read is what was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// So many whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// The nearest span to `seconds`; what is negative or no number becomes none.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and NaN becomes 0"
    )]
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1e6).round() as u64)
    }

    /// In seconds.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// What is left of it after `other`; none when that is longer.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl From<Duration> for Micros {
    fn from(span: Duration) -> Self {
        Self(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Micros> for Duration {
    fn from(span: Micros) -> Self {
        Self::from_micros(span.0)
    }
}

impl Add for Micros {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Micros {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_whole_microseconds_and_never_wrap() {
        assert_eq!(Micros::from_seconds(1.5), Micros(1_500_000));
        assert_eq!(Micros::from_seconds(f64::NAN), Micros::ZERO);
        assert_eq!(Micros::from_seconds(-1.0), Micros::ZERO);
        assert_eq!(Micros::from(Duration::MAX), Micros(u64::MAX));
        assert_eq!(Micros(u64::MAX) + Micros(1), Micros(u64::MAX));
        assert_eq!(Micros(1).saturating_sub(Micros(2)), Micros::ZERO);
        assert!((Micros::from_secs(3).seconds() - 3.0).abs() < f64::EPSILON);
        assert_eq!(Duration::from(Micros(7)), Duration::from_micros(7));
        assert_eq!(serde_json::to_string(&Micros(12)).unwrap(), "12");
    }
}
