//! Two clocks: wall time for people, monotonic time for decisions.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a text is no point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: give RFC 3339, for example 2026-11-22T08:30:00.000Z")]
pub struct TimestampError(String);

/// A point in wall time: milliseconds since 1970 UTC; RFC 3339 UTC with milliseconds in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970 UTC, clamped to the years 1 to 9999.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(-62_135_596_800_000, 253_402_207_200_000))
    }

    /// Milliseconds since 1970 UTC.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// The time the system's clock shows; for shells only, decisions are given theirs.
    pub fn now() -> Self {
        Self::from_millis(jiff::Timestamp::now().as_millisecond())
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This time moved later by `span`.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Local time with its offset, for people: `2026-11-22 09:30:00.000+01:00`.
    pub fn local(self) -> String {
        self.zoned(jiff::tz::TimeZone::system())
    }

    fn zoned(self, zone: jiff::tz::TimeZone) -> String {
        self.instant().to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S%.3f%:z").to_string()
    }

    fn instant(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).expect("clamped to jiff's range on construction")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.instant())
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        text.parse::<jiff::Timestamp>()
            .map(|time| Self::from_millis(time.as_millisecond()))
            .map_err(|_| TimestampError(super::clean(text, 60)))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;
    fn try_from(text: String) -> Result<Self, TimestampError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

/// Monotonic time: milliseconds from an origin chosen at start; negative for what a journal tells of the
/// time before. It never jumps with the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub i64);

impl Add<Duration> for Mono {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Mono {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Mono> for Mono {
    type Output = Duration;
    /// The span between the two; zero when `earlier` is not earlier.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// One moment on both clocks, handed to every decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For spans and deadlines.
    pub mono: Mono,
    /// For people, and for promises made in wall time (maintenance, freezes).
    pub wall: Timestamp,
}

impl Now {
    /// The monotonic time at which `wall` was or will be, as far as the two clocks agree now.
    pub fn mono_at(self, wall: Timestamp) -> Mono {
        Mono(self.mono.0.saturating_add(wall.0.saturating_sub(self.wall.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_rfc_3339_utc_with_milliseconds() {
        let time: Timestamp = "2026-11-22T09:30:00.1234+01:00".parse().unwrap();
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"2026-11-22T08:30:00.123Z\"");
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert!("yesterday".parse::<Timestamp>().unwrap_err().to_string().contains("RFC 3339"));
    }

    #[test]
    fn people_read_local_time_with_its_offset() {
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(Timestamp::from_millis(0).zoned(zone), "1970-01-01 01:00:00.000+01:00");
    }

    #[test]
    fn extremes_are_clamped_and_spans_never_negative() {
        for extreme in [i64::MIN, i64::MAX] {
            assert!(!Timestamp::from_millis(extreme).to_string().is_empty());
        }
        assert_eq!(Mono(1) - Mono(5), Duration::ZERO);
        let now = Now { mono: Mono(1000), wall: Timestamp::from_millis(10_000) };
        assert_eq!(now.mono_at(Timestamp::from_millis(4_000)), Mono(-5_000));
    }
}
