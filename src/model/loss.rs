//! Packet loss and the threshold it is held against.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a number is no percentage.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0} is not a percentage: give a number from 0 to 100")]
pub struct PercentError(String);

/// A share of lost probes, 0 to 100 percent.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct LossPercent(f64);

impl LossPercent {
    /// No probe was lost.
    pub const NONE: Self = Self(0.0);
    /// Every probe was lost.
    pub const ALL: Self = Self(100.0);

    /// A percentage from 0 to 100; anything else, NaN included, is an error.
    pub fn new(percent: f64) -> Result<Self, PercentError> {
        if (0.0..=100.0).contains(&percent) {
            Ok(Self(percent))
        } else {
            Err(PercentError(percent.to_string()))
        }
    }

    /// The loss of `lost` probes out of `sent`; `None` when none was sent, since unknown is not zero.
    pub fn of(lost: u32, sent: u32) -> Option<Self> {
        (sent > 0 && lost <= sent).then(|| Self(f64::from(lost) * 100.0 / f64::from(sent)))
    }

    /// The number itself, 0 to 100.
    pub fn percent(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for LossPercent {
    type Error = PercentError;
    fn try_from(percent: f64) -> Result<Self, PercentError> {
        Self::new(percent)
    }
}

impl From<LossPercent> for f64 {
    fn from(loss: LossPercent) -> f64 {
        loss.0
    }
}

impl fmt::Display for LossPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = (self.0 * 10.0).round() / 10.0;
        write!(f, "{rounded} %")
    }
}

/// The loss a container may have and still be left alone, 0 to 100 percent: only loss *above* it fails a
/// check, so 100 never fails one.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Threshold(LossPercent);

impl Threshold {
    /// A threshold from 0 to 100 percent.
    pub fn new(percent: f64) -> Result<Self, PercentError> {
        LossPercent::new(percent).map(Self)
    }

    /// The number itself, 0 to 100.
    pub fn percent(self) -> f64 {
        self.0.percent()
    }

    /// Whether `loss` is above (never equal to) this threshold.
    pub fn is_exceeded_by(self, loss: LossPercent) -> bool {
        loss > self.0
    }
}

impl Default for Threshold {
    /// 50 percent.
    fn default() -> Self {
        Self(LossPercent(50.0))
    }
}

impl FromStr for LossPercent {
    type Err = PercentError;
    fn from_str(text: &str) -> Result<Self, PercentError> {
        let digits = text.trim().trim_end_matches('%').trim_end();
        let percent = digits.parse().map_err(|_| PercentError(format!("{:?}", super::clean(text, 40))))?;
        Self::new(percent)
    }
}

impl FromStr for Threshold {
    type Err = PercentError;
    fn from_str(text: &str) -> Result<Self, PercentError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_equal_to_the_threshold_is_not_above_it() {
        let half = Threshold::new(50.0).unwrap();
        assert!(!half.is_exceeded_by(LossPercent::of(5, 10).unwrap()));
        assert!(half.is_exceeded_by(LossPercent::of(6, 10).unwrap()));
        assert!(!Threshold::new(100.0).unwrap().is_exceeded_by(LossPercent::ALL));
    }

    #[test]
    fn no_probe_sent_is_unknown_not_zero() {
        assert_eq!(LossPercent::of(0, 0), None);
        assert_eq!(LossPercent::of(0, 5), Some(LossPercent::NONE));
    }

    #[test]
    fn only_percentages_are_taken() {
        for bad in ["-1", "100.1", "NaN", "inf", "", "fifty"] {
            let error = bad.parse::<Threshold>().unwrap_err().to_string();
            assert!(error.contains("from 0 to 100"), "{error}");
        }
        assert!((" 12.5 %".parse::<Threshold>().unwrap().percent() - 12.5).abs() < 1e-9);
        assert!(serde_json::from_str::<Threshold>("101").is_err());
    }
}
