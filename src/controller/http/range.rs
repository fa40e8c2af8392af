//! Which moments and which series a request is about.

use std::time::Duration;

use super::problem::{Problem, quoted};
use super::request::Query;
use crate::model::{METRICS, MetricScope, SeriesName, Timestamp, format_span, metric, parse_span};
use crate::store::{MAX_POINTS, RAW_SPAN, Statistic};

/// What is shown when nobody says from when.
const DEFAULT_SPAN: i64 = 3600;

/// The most points that are chosen by themselves.
const AUTO_POINTS: i64 = 300;

/// The longest step, seconds.
const MAX_STEP: u32 = 7 * 24 * 3600;

/// Steps that people like, seconds.
const NICE: [u32; 21] = [
    1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200,
    86_400,
];

/// Points in time, `step` seconds apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Points {
    /// The first, unix seconds: a multiple of `step`.
    pub(super) from: i64,
    /// None is later.
    pub(super) to: i64,
    pub(super) step: u32,
}

impl Points {
    /// The points from `from` to `to`; `step` is chosen where none is given, for samples `native` seconds apart.
    fn new(span: (i64, i64), step: Option<u32>, native: u32) -> Result<Self, String> {
        let (from, to) = span;
        if from >= to {
            return Err("from must be earlier than to".into());
        }
        let step = step.unwrap_or_else(|| auto_step(to - from, native));
        let width = i64::from(step);
        let first = from.div_euclid(width) * width;
        let first = if first < from { first + width } else { first };
        let points = Self { from: first, to, step };
        let count = points.count();
        if count > MAX_POINTS {
            let least = Duration::from_secs((to - from).unsigned_abs().div_ceil(MAX_POINTS as u64 - 1));
            let least = format_span(least);
            return Err(format!(
                "a step of {step} s makes {count} points, more than {MAX_POINTS}; give {least} or more"
            ));
        }
        Ok(points)
    }

    /// Every moment of `span`, at least `native` seconds apart and as many as may be asked for.
    pub(super) fn finest(span: (i64, i64), native: u32) -> Self {
        let least = (span.1 - span.0).unsigned_abs().div_ceil(MAX_POINTS as u64 - 1);
        let least = u32::try_from(least).unwrap_or(MAX_STEP).max(1);
        let native = native.clamp(1, MAX_STEP);
        let step = native.max(least.div_ceil(native) * native);
        let width = i64::from(step);
        Self { from: (span.0 + width - 1).div_euclid(width) * width, to: span.1, step }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        usize::try_from((self.to - self.from).div_euclid(i64::from(self.step)) + 1).unwrap_or(0)
    }
}

/// A step for at most [`AUTO_POINTS`] points, of which each holds equally many samples where that can be.
fn auto_step(span: i64, native: u32) -> u32 {
    let native = native.max(1);
    let least = u32::try_from((span / (AUTO_POINTS - 1)) + 1).unwrap_or(MAX_STEP).max(native);
    let nice = NICE.iter().copied().find(|nice| *nice >= least && nice % native == 0);
    nice.unwrap_or_else(|| least.div_ceil(native).saturating_mul(native))
}

/// `from`, `to` and `step` of a query, for samples `native` seconds apart.
pub(super) fn points(query: &Query, now: Timestamp, native: u32) -> Result<Points, Problem> {
    let now = now.millis().div_euclid(1000);
    let to = query.read("to", |text| moment(text, now))?.unwrap_or(now);
    let from = query.read("from", |text| moment(text, now))?.unwrap_or(to - DEFAULT_SPAN);
    let step = query.read("step", seconds)?;
    // Of what is older there is a mean and a maximum each minute.
    let raw = now - i64::try_from(RAW_SPAN.as_secs()).unwrap_or(i64::MAX);
    let native = if from < raw { native.max(60) } else { native };
    Points::new((from, to), step, native).map_err(|why| Problem::bad_request(format!("query: {why}")))
}

/// A moment, unix seconds: such a number, RFC 3339, `now`, or a span before it as `-1h`.
pub(super) fn moment(text: &str, now: i64) -> Result<i64, String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "{} is no moment: give unix seconds, RFC 3339 (2026-11-22T08:30:00Z), now, or a span before now as -1h",
            quoted(text)
        )
    };
    if text == "now" {
        return Ok(now);
    }
    if let Some(span) = text.strip_prefix('-') {
        let span = parse_span(span).map_err(|_| wrong())?;
        return Ok(now - i64::try_from(span.as_secs()).map_err(|_| wrong())?);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(seconds).filter(|s| (0..253_402_207_200).contains(s)).ok_or_else(wrong);
    }
    // An offset's + that was not percent-encoded reads as a space.
    let time: Timestamp = text.replace(' ', "+").parse().map_err(|_| wrong())?;
    Ok(time.millis().div_euclid(1000))
}

/// A span of whole seconds: `20s`, `1m`, or a plain number.
fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || {
        format!(
            "{} is no step: give from 1s to {} in whole seconds",
            quoted(text),
            span_text(MAX_STEP.into())
        )
    };
    let span = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => parse_span(text).map_err(|_| wrong())?,
    };
    let whole = u32::try_from(span.as_secs()).ok().filter(|s| (1..=MAX_STEP).contains(s));
    whole.filter(|_| span.subsec_nanos() == 0).ok_or_else(wrong)
}

/// A span of `least` to `most` seconds in the parameter `name`, or `default`.
pub(super) fn window(query: &Query, name: &str, default: i64, bounds: (i64, i64)) -> Result<i64, Problem> {
    let (least, most) = bounds;
    let read = |text: &str| {
        let span = parse_span(text).map_err(|error| error.to_string())?;
        let span = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        if (least..=most).contains(&span) {
            return Ok(span);
        }
        let (least, most) = (span_text(least.unsigned_abs()), span_text(most.unsigned_abs()));
        Err(format!("{} is out of range: give from {least} to {most}", quoted(text)))
    };
    Ok(query.read(name, read)?.unwrap_or(default))
}

/// Seconds as people write them.
pub(super) fn span_text(seconds: u64) -> String {
    format_span(Duration::from_secs(seconds))
}

/// What to make of several samples: `mean` or `max`.
pub(super) fn statistic(query: &Query) -> Result<Statistic, Problem> {
    let word = |statistic| match statistic {
        Statistic::Mean => "mean",
        Statistic::Max => "max",
    };
    let given = query.words("stat", &[Statistic::Mean, Statistic::Max], word)?;
    match given.as_deref() {
        None => Ok(Statistic::Mean),
        Some([one]) => Ok(*one),
        Some(_) => Err(Problem::bad_request("query parameter stat: give mean or max, not both")),
    }
}

/// The series that `names` asks for, all of metrics that a subject of `scope` has; empty: all there are.
pub(super) fn names(query: &Query, scope: MetricScope) -> Result<Vec<SeriesName>, Problem> {
    let read = |text: &str| text.split(',').map(|name| series(name.trim(), scope)).collect();
    Ok(query.read("names", read)?.unwrap_or_default())
}

/// The series that the query's `parameter` asks for, of hosts or containers; empty: all there are.
pub(super) fn any_names(query: &Query, parameter: &str) -> Result<Vec<SeriesName>, Problem> {
    let either =
        |name: &str| series(name, MetricScope::Host).or_else(|_| series(name, MetricScope::Container));
    let read = |text: &str| text.split(',').map(|name| either(name.trim())).collect();
    Ok(query.read(parameter, read)?.unwrap_or_default())
}

fn series(name: &str, scope: MetricScope) -> Result<SeriesName, String> {
    let has = |of: MetricScope| of == scope || of == MetricScope::Both;
    let series = name.parse::<SeriesName>().ok();
    match series.as_ref().and_then(|series| metric(series.metric())) {
        Some(metric) if !has(metric.scope) => {
            let others = if scope == MetricScope::Host { "containers" } else { "hosts" };
            Err(format!("{name} is of {others} only; valid here: {}", valid(scope)))
        }
        Some(metric) if metric.part.is_none() && name != metric.name => {
            Err(format!("{} has no parts: ask for {} alone", metric.name, metric.name))
        }
        Some(_) => series.ok_or_else(String::new),
        None => Err(format!("{} is unknown; valid: {}", quoted(name), valid(scope))),
    }
}

fn valid(scope: MetricScope) -> String {
    let names = METRICS.iter().filter(|m| m.scope == scope || m.scope == MetricScope::Both).map(|m| m.name);
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_800_000_017;

    fn read(raw: &str, native: u32) -> Result<Points, String> {
        let query = Query::parse(raw, &["from", "to", "step"]).unwrap();
        points(&query, Timestamp::from_millis(NOW * 1000 + 700), native).map_err(|problem| problem.detail)
    }

    #[test]
    fn moments_are_read_in_every_form() {
        for (text, expected) in [
            ("0", 0),
            ("1800000000", 1_800_000_000),
            ("now", NOW),
            ("-90s", NOW - 90),
            ("-0", NOW),
            ("2027-01-15T08:00:00Z", 1_800_000_000),
            ("2027-01-15T09:00:00.9+01:00", 1_800_000_000),
            ("2027-01-15T09:00:00 01:00", 1_800_000_000),
        ] {
            assert_eq!(moment(text, NOW), Ok(expected), "{text}");
        }
        for bad in ["yesterday", "-1", "1h", "--1h", "1e9", "999999999999999", "", "-99999d"] {
            assert!(moment(bad, NOW).unwrap_err().contains("is no moment"), "{bad}");
        }
    }

    #[test]
    fn the_default_is_the_last_hour_in_at_most_300_points() {
        let points = read("", 10).unwrap();
        assert_eq!(points, Points { from: NOW - 3600 + 3, to: NOW, step: 20 });
        assert!(points.from % 20 == 0 && points.count() <= 300, "{points:?}");
        assert_eq!(read("from=-5m", 1).unwrap().step, 2);
        assert_eq!(read("from=-1m", 10).unwrap().step, 10);
        assert_eq!(read("from=-7d", 10).unwrap().step, 3600);
        assert_eq!(read("from=-2d&to=-47h", 10).unwrap().step, 60, "only minutes are left of that");
        assert_eq!(read("from=-1h", 7).unwrap().step, 14, "of 7 s no liked step is a multiple");
        assert_eq!(read("to=-1d", 10).unwrap().to, NOW - 86_400);
    }

    #[test]
    fn what_cannot_be_is_refused_and_says_what_can() {
        for (raw, says) in [
            ("from=-1h&to=-2h", "from must be earlier than to"),
            ("from=now", "from must be earlier than to"),
            ("from=-7d&step=10", "a step of 10 s makes 60480 points, more than 11000; give 55s or more"),
            ("step=0", "is no step: give from 1s to 7d"),
            ("step=1500ms", "whole seconds"),
            ("step=8d", "is no step"),
            ("from=soon", "query parameter from: \"soon\" is no moment"),
        ] {
            let detail = read(raw, 10).unwrap_err();
            assert!(detail.contains(says), "{raw}: {detail}");
        }
        assert_eq!(read("from=-7d&step=55", 10).unwrap().step, 55);
    }

    #[test]
    fn names_are_of_the_catalogue() {
        let read = |raw: &str, scope| {
            let query = Query::parse(raw, &["names"]).unwrap();
            names(&query, scope).map_err(|problem| problem.detail)
        };
        let both = read("names=cpu_percent,%20loss_percent", MetricScope::Container).unwrap();
        assert_eq!(both.iter().map(SeriesName::as_str).collect::<Vec<_>>(), ["cpu_percent", "loss_percent"]);
        assert_eq!(read("", MetricScope::Host), Ok(Vec::new()));
        assert!(read("names=filesystem_used_bytes//,filesystem_used_bytes", MetricScope::Host).is_ok());
        for (raw, scope, says) in [
            ("names=cpu", MetricScope::Container, "\"cpu\" is unknown; valid: cpu_percent, cpu_host_percent"),
            ("names=load1", MetricScope::Container, "load1 is of hosts only"),
            ("names=pids", MetricScope::Host, "pids is of containers only"),
            ("names=load1/x", MetricScope::Host, "load1 has no parts"),
            ("names=load1,,", MetricScope::Host, "\"\" is unknown"),
            ("names=%1b[2J", MetricScope::Host, "is unknown"),
        ] {
            let detail = read(raw, scope).unwrap_err();
            assert!(detail.contains(says), "{raw}: {detail}");
        }
    }

    proptest! {
        #[test]
        fn points_are_bounded_aligned_and_within(from in 0..NOW, length in 1_i64..700_000_000, step in proptest::option::of(1_u32..=MAX_STEP), native in 0_u32..4000) {
            let to = from + length;
            match Points::new((from, to), step, native) {
                Ok(points) => {
                    prop_assert!(points.count() <= MAX_POINTS);
                    prop_assert!((to - points.from) / i64::from(points.step) < i64::try_from(MAX_POINTS).unwrap());
                    prop_assert_eq!(points.from % i64::from(points.step), 0);
                    prop_assert!(points.from >= from && points.from < from + i64::from(points.step));
                    if step.is_none() {
                        prop_assert!(points.count() <= 300);
                        prop_assert!(points.step >= native);
                    }
                }
                Err(_) => prop_assert!(step.is_some()),
            }
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = moment(&text, NOW);
            let _ = seconds(&text);
            let _ = series(&text, MetricScope::Both);
        }
    }
}
