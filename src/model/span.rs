//! Spans of time and rates as people write them: `500ms`, `10s`, `2m`, `1h`, `7d`; `5/1h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a text is no span or rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// Not a number with a unit.
    #[error("{0:?} is not a span of time: write a number and a unit, for example 500ms, 10s, 2m, 1h or 7d")]
    Span(String),
    /// Not a count per span.
    #[error("{0:?} is not a rate: write a count and a span, for example 5/1h")]
    Rate(String),
}

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads `500ms`, `10s`, `1.5m`, `1h`, `7d`, or `0`; at most 10 years.
pub fn parse_span(text: &str) -> Result<Duration, SpanError> {
    let wrong = || SpanError::Span(super::clean(text, 40));
    let trimmed = text.trim();
    if trimmed == "0" {
        return Ok(Duration::ZERO);
    }
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (digits, unit) = trimmed.split_at(split);
    let millis = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| *millis).ok_or_else(wrong)?;
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let total = (number * millis as f64).round();
    let ten_years = 10.0 * 365.0 * 86_400_000.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be 0 to ten years"
    )]
    if (0.0..=ten_years).contains(&total) { Ok(Duration::from_millis(total as u64)) } else { Err(wrong()) }
}

/// Writes a span in its largest whole unit: `90s`, `2m`, `500ms`.
pub fn format_span(span: Duration) -> String {
    let millis = span.as_millis();
    let unit = UNITS
        .iter()
        .rev()
        .find(|(_, size)| millis >= u128::from(*size) && millis.is_multiple_of(u128::from(*size)));
    match unit {
        Some((name, size)) => format!("{}{name}", millis / u128::from(*size)),
        None => format!("{millis}ms"),
    }
}

/// At most `count` in any `window`, written `5/1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// How many are allowed.
    pub count: u32,
    /// In which sliding span.
    pub window: Duration,
}

impl FromStr for Rate {
    type Err = SpanError;
    fn from_str(text: &str) -> Result<Self, SpanError> {
        let wrong = || SpanError::Rate(super::clean(text, 40));
        let (count, window) = text.split_once('/').ok_or_else(wrong)?;
        let count = count.trim().parse().map_err(|_| wrong())?;
        let window = parse_span(window).map_err(|_| wrong())?;
        if window.is_zero() { Err(wrong()) } else { Ok(Self { count, window }) }
    }
}

impl TryFrom<String> for Rate {
    type Error = SpanError;
    fn try_from(text: String) -> Result<Self, SpanError> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> String {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, format_span(self.window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_and_errors() {
        assert_eq!(parse_span("1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_span("0").unwrap(), Duration::ZERO);
        for bad in ["", "10", "s", "-1s", "1w", "1e9s", "99999d", "1..2s"] {
            assert!(parse_span(bad).is_err(), "{bad:?} was taken");
        }
        assert_eq!("5/1h".parse::<Rate>().unwrap().to_string(), "5/1h");
        for bad in ["5", "5/0", "x/1h", "5/"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 1_u64..300_000_000_000) {
            let span = Duration::from_millis(millis);
            prop_assert_eq!(parse_span(&format_span(span)).unwrap().as_millis(), span.as_millis());
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_span(&text);
            let _ = text.parse::<Rate>();
        }
    }
}
