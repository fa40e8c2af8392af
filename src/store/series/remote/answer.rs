//! What Prometheus' HTTP API answers, as JSON: a matrix of ranges, a vector of values, a list of names.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::promql::{FIGURE, METRIC};
use super::wire::PREFIX;
use super::{SeriesRange, Summary};
use crate::model::{MetricSubject, SeriesName};

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Results<T> {
    result: Vec<T>,
}

#[derive(Deserialize)]
struct Ranged {
    metric: BTreeMap<String, String>,
    values: Vec<Point>,
}

#[derive(Deserialize)]
struct Single {
    metric: BTreeMap<String, String>,
    value: Point,
}

/// A time in seconds, and a number as text.
#[derive(Deserialize)]
struct Point(f64, String);

impl Point {
    /// The value; `None` where it is no finite number.
    fn value(&self) -> Option<f64> {
        self.1.parse().ok().filter(|value: &f64| value.is_finite())
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map(|answer: Answer<T>| answer.data).map_err(|error| error.to_string())
}

/// Puts the samples of a range query into `range`, at its `times`, which lie `shift` seconds later than the answer's.
pub(super) fn add_range(body: &[u8], shift: i64, range: &mut SeriesRange) -> Result<(), String> {
    let results: Results<Ranged> = read(body)?;
    for Ranged { metric, values } in results.result {
        let Some(name) = series_name(&metric) else { continue };
        let mut column = vec![None; range.times.len()];
        for point in &values {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "what is out of range saturates, and is at no time"
            )]
            let time = (point.0.round() as i64).saturating_add(shift);
            if let Ok(at) = range.times.binary_search(&time) {
                column[at] = point.value();
            }
        }
        if column.iter().any(Option::is_some) {
            range.series.insert(name, column);
        }
    }
    Ok(())
}

fn series_name(metric: &BTreeMap<String, String>) -> Option<SeriesName> {
    let name = metric.get(METRIC)?;
    match metric.get("part") {
        Some(part) => SeriesName::part_of(name, part),
        None => name.parse().ok(),
    }
}

/// The names of our metrics in a list of names.
pub(super) fn names(body: &[u8]) -> Result<Vec<SeriesName>, String> {
    let names: Vec<String> = read(body)?;
    Ok(names.iter().filter_map(|name| name.strip_prefix(PREFIX)?.parse().ok()).collect())
}

/// The summaries in the answer to a summary's query. A subject of which a figure is missing is left out.
pub(super) fn summaries(body: &[u8]) -> Result<Vec<(MetricSubject, Summary)>, String> {
    let results: Results<Single> = read(body)?;
    let mut figures = BTreeMap::<MetricSubject, BTreeMap<String, f64>>::new();
    for Single { mut metric, value } in results.result {
        let subject = subject(&metric);
        if let (Some(subject), Some(figure), Some(value)) = (subject, metric.remove(FIGURE), value.value()) {
            figures.entry(subject).or_default().insert(figure, value);
        }
    }
    let summary = |of: BTreeMap<String, f64>| {
        Some(Summary { mean: *of.get("mean")?, max: *of.get("max")?, last: *of.get("last")? })
    };
    Ok(figures.into_iter().filter_map(|(subject, of)| Some((subject, summary(of)?))).collect())
}

fn subject(metric: &BTreeMap<String, String>) -> Option<MetricSubject> {
    let container = match metric.get("container") {
        Some(name) => Some(name.parse().ok()?),
        None => None,
    };
    Some(MetricSubject { host: metric.get("host")?.parse().ok()?, container })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn empty() -> SeriesRange {
        SeriesRange { times: vec![3_610, 3_620, 3_630], series: BTreeMap::new() }
    }

    #[test]
    fn values_go_to_their_times_and_what_is_no_number_is_absent() {
        let body = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"x","metric":"load1","host":"h"},"values":[[10,"1.5"],[30.000,"2"]]},
            {"metric":{"metric":"disk_read_bytes_per_second","part":"a/b"},"values":[[20,"3"],[25,"4"],[99,"5"]]},
            {"metric":{"metric":"load5"},"values":[[10,"NaN"],[20,"+Inf"],[30,"x"]]},
            {"metric":{"host":"h"},"values":[[10,"1"]]}]}}"#;
        let mut range = empty();
        add_range(body.as_bytes(), 3_600, &mut range).unwrap();
        let expected = [
            ("disk_read_bytes_per_second/a/b", vec![None, Some(3.0), None]),
            ("load1", vec![Some(1.5), None, Some(2.0)]),
        ];
        let expected = expected.map(|(name, column)| (name.parse().unwrap(), column));
        assert_eq!(range.series, expected.into());
    }

    #[test]
    fn only_our_names_are_taken() {
        let body = br#"{"status":"success","data":["dockhealth_load1","up","dockhealth_","dockhealth_UP"]}"#;
        assert_eq!(names(body).unwrap(), ["load1".parse().unwrap()]);
    }

    #[test]
    fn half_a_summary_is_none() {
        let row = |labels: &str, figure: &str, value: &str| {
            format!(r#"{{"metric":{{{labels},"figure":"{figure}"}},"value":[1.5,"{value}"]}}"#)
        };
        let rows = [
            row(r#""host":"h","container":"web""#, "mean", "2"),
            row(r#""host":"h","container":"web""#, "max", "3"),
            row(r#""host":"h","container":"web""#, "last", "1"),
            row(r#""host":"h""#, "mean", "2"),
            row(r#""host":"h","container":"a b""#, "mean", "2"),
        ];
        let body = format!(r#"{{"status":"success","data":{{"result":[{}]}}}}"#, rows.join(","));
        let web = MetricSubject { host: "h".parse().unwrap(), container: Some("web".parse().unwrap()) };
        let summary = Summary { mean: 2.0, max: 3.0, last: 1.0 };
        assert_eq!(summaries(body.as_bytes()).unwrap(), [(web, summary)]);
    }

    proptest! {
        #[test]
        fn hostile_answers_are_errors_not_panics(
            head in proptest::sample::select(vec!["", "{\"data\":{\"result\":[", "{\"data\":["]),
            rest in ".{0,60}",
            time in any::<f64>(),
        ) {
            let text = format!("{head}{rest}");
            let _ = (names(text.as_bytes()), summaries(text.as_bytes()));
            let _ = add_range(text.as_bytes(), i64::MAX, &mut empty());
            let point = format!(
                r#"{{"data":{{"result":[{{"metric":{{"metric":"a"}},"values":[[{time:e},"1"]]}}]}}}}"#
            );
            let _ = add_range(point.as_bytes(), i64::MAX, &mut empty());
        }
    }
}
