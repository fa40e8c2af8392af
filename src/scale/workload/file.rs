//! Traces from files: one burst a line, `SECOND,REQUESTS` or `SECOND,REQUESTS,SERVICE`, both in seconds.

use super::{Burst, Trace};
use crate::model::clean;
use crate::scale::control::Micros;

/// No trace has more requests.
pub const MOST_REQUESTS: u64 = 100_000;
/// No burst comes later, and no request takes longer: a week, seconds.
const LATEST_S: f64 = 7.0 * 86_400.0;

/// Why a text is no trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A line that cannot be read.
    #[error(
        "line {line}: {text:?} is no burst: write SECOND,REQUESTS or SECOND,REQUESTS,SERVICE, for example 40,20 or \
         40,20,13.5; times in seconds up to a week, at least one request"
    )]
    Line {
        /// Which, from 1.
        line: usize,
        /// What it says, shortened.
        text: String,
    },
    /// A burst before the one above it.
    #[error("line {0}: it lies before the line above it: write the bursts in order of time")]
    Order(usize),
    /// Too much.
    #[error("more than {MOST_REQUESTS} requests")]
    TooMany,
    /// Nothing.
    #[error("no burst in it: write lines of SECOND,REQUESTS")]
    Empty,
}

impl Trace {
    /// Reads a trace. Empty lines and those that begin with `#` do not count, nor does a first line without digits.
    pub fn parse(name: &str, text: &str) -> Result<Self, TraceError> {
        let mut bursts: Vec<Burst> = Vec::new();
        let mut requests = 0_u64;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let heading = index == 0 && !line.contains(|c: char| c.is_ascii_digit());
            if line.is_empty() || line.starts_with('#') || heading {
                continue;
            }
            let burst =
                burst(line).ok_or_else(|| TraceError::Line { line: index + 1, text: clean(line, 40) })?;
            if bursts.last().is_some_and(|last| burst.at < last.at) {
                return Err(TraceError::Order(index + 1));
            }
            requests += u64::from(burst.requests);
            if requests > MOST_REQUESTS {
                return Err(TraceError::TooMany);
            }
            bursts.push(burst);
        }
        if bursts.is_empty() { Err(TraceError::Empty) } else { Ok(Self { name: clean(name, 60), bursts }) }
    }
}

fn burst(line: &str) -> Option<Burst> {
    let mut fields = line.split(',').map(str::trim);
    let seconds =
        |text: &str| text.parse().ok().filter(|s| (0.0..=LATEST_S).contains(s)).map(Micros::from_seconds);
    let at = seconds(fields.next()?)?;
    let requests = fields.next()?.parse().ok().filter(|count| *count > 0)?;
    let service = match fields.next() {
        Some(text) => Some(seconds(text).filter(|service| *service > Micros::ZERO)?),
        None => None,
    };
    fields.next().is_none().then_some(Burst { at, requests, service })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_trace_is_read_and_what_is_wrong_is_named() {
        let trace = Trace::parse("x", "second,requests\n0,5\n\n# later\n 50.5 , 20 , 1.25\n").unwrap();
        let burst = |at, requests, service| Burst { at: Micros(at), requests, service };
        assert_eq!(trace.bursts, [burst(0, 5, None), burst(50_500_000, 20, Some(Micros(1_250_000)))]);
        for (text, wrong) in [
            ("", "no burst"),
            ("0,5\n1", "line 2: \"1\""),
            ("0,0", "line 1"),
            ("-1,5", "line 1"),
            ("nan,5\n1,1", "line 1"),
            ("0,5,0", "line 1"),
            ("0,5,1,1", "line 1"),
            ("5,5\n4,5", "line 2: it lies before"),
            ("0,100001", "more than 100000"),
        ] {
            let error = Trace::parse("x", text).unwrap_err().to_string();
            assert!(error.contains(wrong), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-z,.\\-#\n ]{0,80}") {
            let _ = Trace::parse("x", &text);
        }
    }
}
