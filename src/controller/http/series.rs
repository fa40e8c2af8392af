//! Metrics over time, of a container and of a host.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use http::{StatusCode, header};
use serde::Serialize;

use super::problem::Problem;
use super::range::{self, Points};
use super::request::Request;
use super::{Answer, Api, json, typed};
use crate::controller::fleet::HostSnapshot;
use crate::model::{METRICS, MetricScope, MetricSubject, SeriesName, Values};
use crate::store::{RangeQuery, SeriesRange};

/// The most values of one answer: a host of many interfaces could have more series than points are good for.
const MAX_VALUES: usize = 1_000_000;

/// Seconds between samples of a host that has sent none to this controller process.
const USUAL_STEP: u32 = 10;

/// Metrics over time.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct SeriesPage {
    /// Seconds between two points.
    pub(crate) step: u32,
    /// The points, unix seconds. The value at a point is made of the samples after the point before it.
    pub(crate) t: Vec<i64>,
    /// The values of each series, one a point; null where there is no sample.
    #[schema(value_type = BTreeMap<String, Vec<Option<f64>>>)]
    pub(crate) series: BTreeMap<SeriesName, Vec<Option<f64>>>,
}

/// What both questions take, as the interface describes it.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "queries are read one parameter at a time, for errors that name it")]
struct MetricsQuery {
    /// Only these, separated by commas, e.g. cpu_percent,memory_bytes
    names: Option<String>,
    /// From when: unix seconds, RFC 3339, or a span before now as -1h; an hour before `to` when absent
    from: Option<String>,
    /// Until when; now when absent
    to: Option<String>,
    /// Between two points, e.g. 30s; chosen when absent
    step: Option<String>,
    /// What a point is of its samples: mean or max; mean when absent
    stat: Option<String>,
    /// json or csv; by the header Accept when absent
    format: Option<String>,
}

/// A container's metrics over time.
///
/// Samples are kept for 24 h as they came, then as the mean and the maximum of each minute until they are as old as
/// the controller's `--retention` (7 days by default) allows; on a metrics server, as that has it. Steps are chosen for
/// at most 300 points; at most 11,000 can be asked for.
#[utoipa::path(
    get, path = "/api/v1/containers/{hostname}/{containerName}/metrics", tag = "metrics",
    params(
        ("hostname" = String, Path), ("containerName" = String, Path),
        MetricsQuery,
    ),
    responses(
        (status = 200, description = "The metrics", content((SeriesPage = "application/json"), (String = "text/csv"))),
        (status = 404, description = "No such host or container", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn of_container(api: Arc<Api>, request: Request) -> Answer {
    let key = request.container()?;
    let host = api.known_host(&key.host)?;
    let subject = MetricSubject { host: key.host.clone(), container: Some(key.name.clone()) };
    let reported = reports(&host, &key);
    let page = read(&api, &request, subject).await?;
    if page.series.is_empty() && !reported {
        let detail = format!(
            "host {} has no container {}, and no samples of one between these moments",
            key.host, key.name
        );
        return Err(Problem::not_found(detail));
    }
    answer(&request, &page)
}

fn reports(host: &HostSnapshot, key: &crate::model::ContainerKey) -> bool {
    host.report.iter().flat_map(|report| &report.containers).any(|container| container.name == key.name)
}

/// A host's metrics over time.
///
/// As those of containers. Of an interface, a disk, a mount or a sensor the series are named `name/part`; asking for
/// `name` gives them all.
#[utoipa::path(
    get, path = "/api/v1/hosts/{hostname}/metrics", tag = "metrics",
    params(
        ("hostname" = String, Path),
        MetricsQuery,
    ),
    responses(
        (status = 200, description = "The metrics", content((SeriesPage = "application/json"), (String = "text/csv"))),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn of_host(api: Arc<Api>, request: Request) -> Answer {
    let host = request.host()?;
    api.known_host(&host)?;
    let page = read(&api, &request, MetricSubject { host, container: None }).await?;
    answer(&request, &page)
}

async fn read(api: &Api, request: &Request, subject: MetricSubject) -> Result<SeriesPage, Problem> {
    let scope = if subject.container.is_some() { MetricScope::Container } else { MetricScope::Host };
    let names = range::names(&request.query, scope)?;
    let statistic = range::statistic(&request.query)?;
    // Read for its errors, before the store is asked.
    format(request)?;
    let latest = api.ticks.of(&subject.host);
    let native = latest.as_ref().map_or(USUAL_STEP, |latest| latest.tick.tick.step);
    let points = range::points(&request.query, api.clock.now().wall, native)?;
    let values = latest.as_ref().and_then(|latest| match &subject.container {
        Some(name) => latest.tick.tick.containers.get(name),
        None => Some(&latest.tick.tick.host),
    });
    bounded(points, series_of(values, &names))?;
    let query = RangeQuery { subject, names, from: points.from, to: points.to, step: points.step, statistic };
    let SeriesRange { times, series } = api.metrics.range(query).await?;
    Ok(SeriesPage { step: points.step, t: times, series })
}

/// How many series an answer will have, as far as the newest samples tell.
fn series_of(values: Option<&Values>, names: &[SeriesName]) -> usize {
    let asked = |series: &SeriesName| {
        names.iter().any(|name| name == series || (name.part().is_none() && name.metric() == series.metric()))
    };
    match (values, names) {
        (Some(values), []) => values.len(),
        (Some(values), _) => values.keys().filter(|series| asked(series)).count(),
        (None, []) => METRICS.len(),
        (None, names) => names.len(),
    }
}

fn bounded(points: Points, series: usize) -> Result<(), Problem> {
    if points.count().saturating_mul(series) <= MAX_VALUES {
        return Ok(());
    }
    Err(Problem::bad_request(format!(
        "{} points of {series} series are more than {MAX_VALUES} values; give fewer names or a longer step",
        points.count()
    )))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

fn format(request: &Request) -> Result<Format, Problem> {
    let word = |format| match format {
        Format::Json => "json",
        Format::Csv => "csv",
    };
    match request.query.words("format", &[Format::Json, Format::Csv], word)?.as_deref() {
        Some([one]) => Ok(*one),
        Some(_) => Err(Problem::bad_request("query parameter format: give json or csv, not both")),
        None => {
            let accept = request.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
            Ok(if accept.is_some_and(prefers_csv) { Format::Csv } else { Format::Json })
        }
    }
}

/// Whether the first type of the list that is served here is CSV.
fn prefers_csv(accept: &str) -> bool {
    let types = accept.split(',').map(|each| each.split(';').next().unwrap_or_default().trim());
    let served =
        types.filter(|each| matches!(*each, "text/csv" | "application/json" | "application/*" | "*/*"));
    served.take(1).any(|first| first == "text/csv")
}

fn answer(request: &Request, page: &SeriesPage) -> Answer {
    Ok(match format(request)? {
        Format::Json => json(StatusCode::OK, page),
        Format::Csv => typed("text/csv; charset=utf-8", csv(page)),
    })
}

/// A row a point, a column a series, as RFC 4180 has it; empty where there is no sample.
fn csv(page: &SeriesPage) -> String {
    let mut out = String::from("t");
    for name in page.series.keys() {
        out.push(',');
        out.push_str(&cell(name.as_str()));
    }
    out.push_str("\r\n");
    for (index, time) in page.t.iter().enumerate() {
        write!(out, "{time}").expect("a String takes all");
        for values in page.series.values() {
            out.push(',');
            if let Some(value) = values.get(index).copied().flatten() {
                write!(out, "{value}").expect("a String takes all");
            }
        }
        out.push_str("\r\n");
    }
    out
}

fn cell(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_a_column_a_series_and_quotes_what_must_be() {
        let series = [
            ("cpu_percent", vec![Some(1.5), None]),
            ("filesystem_used_bytes//mnt/a,\"b\"", vec![Some(2e9), Some(0.0)]),
        ];
        let series = series.map(|(name, values)| (name.parse().unwrap(), values)).into();
        let page = SeriesPage { step: 10, t: vec![10, 20], series };
        let expected =
            "t,cpu_percent,\"filesystem_used_bytes//mnt/a,\"\"b\"\"\"\r\n10,1.5,2000000000\r\n20,,0\r\n";
        assert_eq!(csv(&page), expected);
    }

    #[test]
    fn csv_is_what_is_asked_for_first() {
        for (accept, csv) in [
            ("text/csv", true),
            ("text/html, text/csv;q=0.9, */*", true),
            ("*/*", false),
            ("application/json, text/csv", false),
            ("", false),
        ] {
            assert_eq!(prefers_csv(accept), csv, "{accept}");
        }
    }

    #[test]
    fn an_answer_is_bounded_by_what_the_subject_has() {
        let points = Points { from: 0, to: 100_000, step: 10 };
        let names: Vec<SeriesName> = ["interface_rx_bytes_per_second".parse().unwrap()].into();
        let values: Values = (0..100)
            .filter_map(|n| SeriesName::part_of("interface_rx_bytes_per_second", &n.to_string()))
            .map(|n| (n, 1.0))
            .collect();
        assert_eq!(series_of(Some(&values), &names), 100);
        assert_eq!(series_of(Some(&values), &["load1".parse().unwrap()]), 0);
        assert!(bounded(points, 99).is_ok());
        assert!(bounded(points, 100).unwrap_err().detail.contains("10001 points of 100 series"));
    }
}
