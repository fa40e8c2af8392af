//! One page about one host: the machine, its containers, CPU and memory by the minute.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::StatusCode;
use serde::Serialize;

use super::dto::{Container, Freshness, Host};
use super::problem::Problem;
use super::range::{self, Points};
use super::request::Request;
use super::{Answer, Api, json};
use crate::model::{ContainerName, HostName, MetricSubject, SeriesName, Values};
use crate::store::{RangeQuery, SeriesRange, Statistic};

/// Seconds that are shown when nobody says; the least and the most.
const DEFAULT_SPAN: i64 = 600;
const SPANS: (i64, i64) = (60, 86_400);

/// Seconds between points.
const MINUTE: u32 = 60;

/// The most values of all containers.
const MAX_VALUES: usize = 500_000;

/// How many containers are read from the store at once.
const AT_ONCE: usize = 8;

static OF_HOST: [SeriesName; 4] = [
    SeriesName::of("cpu_percent"),
    SeriesName::of("cpu_host_percent"),
    SeriesName::of("memory_bytes"),
    SeriesName::of("memory_percent"),
];
static OF_CONTAINER: [SeriesName; 2] = [SeriesName::of("cpu_percent"), SeriesName::of("memory_bytes")];

/// A host, its containers, and what both used.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct HostPage {
    /// The host and its agent.
    host: Host,
    /// What its newest tick says of the machine; null when none has come since the controller began.
    #[schema(value_type = Option<BTreeMap<String, f64>>)]
    latest: Option<Values>,
    /// When that was, unix seconds by the host's clock.
    latest_time: Option<i64>,
    /// Seconds between two points.
    step: u32,
    /// The points, unix seconds, each the end of a whole minute.
    t: Vec<i64>,
    /// CPU and memory of the machine: means of each minute, null where there is no sample.
    #[schema(value_type = BTreeMap<String, Vec<Option<f64>>>)]
    series: BTreeMap<SeriesName, Vec<Option<f64>>>,
    /// Its containers, by name.
    containers: Vec<ContainerPage>,
}

/// One container of the page.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct ContainerPage {
    /// The container.
    container: Container,
    /// What the newest tick says of it; null when that has it not.
    #[schema(value_type = Option<BTreeMap<String, f64>>)]
    latest: Option<Values>,
    /// Its CPU and memory: means of each minute, null where there is no sample.
    #[schema(value_type = BTreeMap<String, Vec<Option<f64>>>)]
    series: BTreeMap<SeriesName, Vec<Option<f64>>>,
}

/// All about one host: the machine, its containers, and what they used by the minute.
#[utoipa::path(
    get, path = "/api/v1/hosts/{hostname}/report", tag = "metrics",
    params(
        ("hostname" = String, Path),
        ("span" = Option<String>, Query, description = "Over which span until now, 1m to 24h; 10m when absent"),
    ),
    responses(
        (status = 200, description = "The page", body = HostPage),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn report(api: Arc<Api>, request: Request) -> Answer {
    let name = request.host()?;
    let host = api.known_host(&name)?;
    let span = range::window(&request.query, "span", DEFAULT_SPAN, SPANS)?;
    let points = minutes(span, api.clock.now().wall.millis().div_euclid(1000));
    let freshness = if host.is_live() { Freshness::Fresh } else { Freshness::Stale };
    let reported = host.report.iter().flat_map(|report| &report.containers);
    let mut containers: Vec<Container> = reported.map(|c| Container::new(&name, c, freshness)).collect();
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    bounded(points, containers.len())?;

    let own = minutely(&api, &name, None, points).await?;
    let latest = api.ticks.of(&name);
    let tick = latest.as_ref().map(|latest| &latest.tick.tick);
    let pages = containers.into_iter().map(async |container| {
        let series = minutely(&api, &name, Some(container.name.clone()), points).await?.series;
        let latest = tick.and_then(|tick| tick.containers.get(&container.name).cloned());
        Ok::<_, Problem>(ContainerPage { container, latest, series })
    });
    let containers = stream::iter(pages).buffered(AT_ONCE).try_collect().await?;
    let page = HostPage {
        host: Host::new(&host),
        latest: tick.map(|tick| tick.host.clone()),
        latest_time: tick.map(|tick| tick.time),
        step: MINUTE,
        t: own.times,
        series: own.series,
        containers,
    };
    Ok(json(StatusCode::OK, &page))
}

/// The whole minutes of the last `span` seconds.
fn minutes(span: i64, now: i64) -> Points {
    let minute = i64::from(MINUTE);
    let to = now.div_euclid(minute) * minute;
    Points { from: to - (span / minute - 1) * minute, to, step: MINUTE }
}

fn bounded(points: Points, containers: usize) -> Result<(), Problem> {
    if points.count().saturating_mul(OF_CONTAINER.len() * containers) <= MAX_VALUES {
        return Ok(());
    }
    Err(Problem::bad_request(format!(
        "query parameter span: {} minutes of {containers} containers are more than {MAX_VALUES} values; give a \
         shorter span",
        points.count()
    )))
}

async fn minutely(
    api: &Api,
    host: &HostName,
    container: Option<ContainerName>,
    points: Points,
) -> Result<SeriesRange, Problem> {
    let names = if container.is_some() { OF_CONTAINER.to_vec() } else { OF_HOST.to_vec() };
    let query = RangeQuery {
        subject: MetricSubject { host: host.clone(), container },
        names,
        from: points.from,
        to: points.to,
        step: points.step,
        statistic: Statistic::Mean,
    };
    Ok(api.metrics.range(query).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_is_whole_minutes_until_now() {
        assert_eq!(minutes(600, 1199), Points { from: 600, to: 1140, step: 60 });
        assert_eq!(minutes(600, 1199).count(), 10);
        assert_eq!(minutes(60, 1200).count(), 1);
        assert!(bounded(minutes(86_400, 0), 170).is_ok());
        assert!(
            bounded(minutes(86_400, 0), 174).unwrap_err().detail.contains("1440 minutes of 174 containers")
        );
    }
}
