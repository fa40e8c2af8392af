//! Which containers use the most.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::problem::Problem;
use super::range;
use super::request::Request;
use super::{Answer, Api, json};
use crate::controller::fleet::FleetView;
use crate::controller::ticks::LatestTicks;
use crate::model::{ContainerKey, HostName, SeriesName, Values};
use crate::store::{Subjects, Summarized, Summary, SummaryQuery};

/// How many containers are shown when nobody says, and at most.
const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 1000;

/// Seconds that are summed up when nobody says; the least and the most.
const DEFAULT_WINDOW: i64 = 600;
const WINDOWS: (i64, i64) = (10, 7 * 86_400);

/// What the newest sample of a container says, whatever the list is by.
static LATEST: [SeriesName; 10] = [
    SeriesName::of("cpu_percent"),
    SeriesName::of("memory_bytes"),
    SeriesName::of("memory_percent"),
    SeriesName::of("net_rx_bytes_per_second"),
    SeriesName::of("net_tx_bytes_per_second"),
    SeriesName::of("block_read_bytes_per_second"),
    SeriesName::of("block_write_bytes_per_second"),
    SeriesName::of("loss_percent"),
    SeriesName::of("rtt_ms"),
    SeriesName::of("pids"),
];

/// What containers are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TopBy {
    /// CPU time, percent of one core.
    Cpu,
    /// Memory in use, bytes.
    Memory,
    /// Bytes received and sent per second.
    Net,
    /// Packets lost, percent.
    Loss,
    /// Round trip, milliseconds.
    Rtt,
    /// Bytes read from and written to disks per second.
    Block,
}

impl TopBy {
    const ALL: [Self; 6] = [Self::Cpu, Self::Memory, Self::Net, Self::Loss, Self::Rtt, Self::Block];

    fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Net => "net",
            Self::Loss => "loss",
            Self::Rtt => "rtt",
            Self::Block => "block",
        }
    }

    /// The series whose means, summed, rank a container.
    fn series(self) -> &'static [SeriesName] {
        static CPU: [SeriesName; 1] = [SeriesName::of("cpu_percent")];
        static MEMORY: [SeriesName; 1] = [SeriesName::of("memory_bytes")];
        static NET: [SeriesName; 2] =
            [SeriesName::of("net_rx_bytes_per_second"), SeriesName::of("net_tx_bytes_per_second")];
        static LOSS: [SeriesName; 1] = [SeriesName::of("loss_percent")];
        static RTT: [SeriesName; 1] = [SeriesName::of("rtt_ms")];
        static BLOCK: [SeriesName; 2] =
            [SeriesName::of("block_read_bytes_per_second"), SeriesName::of("block_write_bytes_per_second")];
        match self {
            Self::Cpu => &CPU,
            Self::Memory => &MEMORY,
            Self::Net => &NET,
            Self::Loss => &LOSS,
            Self::Rtt => &RTT,
            Self::Block => &BLOCK,
        }
    }
}

/// The containers that use the most.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct Top {
    /// What they are ranked by.
    by: TopBy,
    /// Over which span until now, seconds.
    window_seconds: i64,
    /// The containers, the largest mean first.
    containers: Vec<TopRow>,
    /// How many more have samples in the window.
    left_out: usize,
}

/// One of them.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct TopRow {
    /// Its host.
    #[schema(value_type = String)]
    hostname: HostName,
    /// Its name.
    #[schema(value_type = String)]
    name: crate::model::ContainerName,
    /// Its compose project.
    project: Option<String>,
    /// Its compose service.
    service: Option<String>,
    /// The mean that ranks it: of two series, their sum.
    mean: f64,
    /// The series it is of, over the window.
    #[schema(value_type = BTreeMap<String, SummaryView>)]
    series: BTreeMap<SeriesName, SummaryView>,
    /// What its newest sample says; null when the newest tick of its host has it no more.
    #[schema(value_type = Option<BTreeMap<String, f64>>)]
    latest: Option<Values>,
}

/// What a series was over a span.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct SummaryView {
    /// The mean of its samples.
    mean: f64,
    /// The largest.
    max: f64,
    /// The last.
    last: f64,
}

impl From<Summary> for SummaryView {
    fn from(Summary { mean, max, last }: Summary) -> Self {
        Self { mean, max, last }
    }
}

/// The containers that use the most.
#[utoipa::path(
    get, path = "/api/v1/top", tag = "metrics",
    params(
        ("by" = Option<String>, Query, description = "cpu, memory, net, loss, rtt or block; cpu when absent"),
        ("window" = Option<String>, Query, description = "Over which span until now, 10s to 7d; 10m when absent"),
        ("host" = Option<String>, Query, description = "Only of this host"),
        ("limit" = Option<u64>, Query, description = "At most so many, 1 to 1000; 20 when absent"),
    ),
    responses(
        (status = 200, description = "The containers, the largest mean first", body = Top),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn top(api: Arc<Api>, request: Request) -> Answer {
    let query = &request.query;
    let by = match query.words("by", &TopBy::ALL, TopBy::as_str)?.as_deref() {
        None => TopBy::Cpu,
        Some([one]) => *one,
        Some(_) => return Err(Problem::bad_request("query parameter by: give one word")),
    };
    let window = range::window(query, "window", DEFAULT_WINDOW, WINDOWS)?;
    let host = query.read("host", HostName::from_str)?;
    if let Some(host) = &host {
        api.known_host(host)?;
    }
    let limit = query.limit(DEFAULT_LIMIT, MAX_LIMIT)?;
    let now = api.clock.now().wall.millis().div_euclid(1000);
    let query = SummaryQuery {
        subjects: host.map_or(Subjects::Containers, Subjects::ContainersOf),
        names: by.series().into(),
        from: now - window,
        // Samples of hosts whose clocks run ahead are of now too.
        to: now + AHEAD,
    };
    let mut containers = rank(api.metrics.summarize(query).await?);
    let left_out = containers.len().saturating_sub(limit);
    containers.truncate(limit);
    let (view, ticks) = (api.fleet.view(), api.ticks.all());
    let containers = containers.into_iter().map(|ranked| row(ranked, &view, &ticks)).collect();
    Ok(json(StatusCode::OK, &Top { by, window_seconds: window, containers, left_out }))
}

/// Seconds by which a host's clock may be ahead for its samples to count as present.
pub(super) const AHEAD: i64 = 300;

struct Ranked {
    key: ContainerKey,
    mean: f64,
    series: BTreeMap<SeriesName, SummaryView>,
}

/// The containers among `found`, the largest sum of means first; equal ones by name.
fn rank(found: Vec<Summarized>) -> Vec<Ranked> {
    let mut containers: BTreeMap<ContainerKey, Ranked> = BTreeMap::new();
    for Summarized { subject, name, summary } in found {
        let Some(container) = subject.container else { continue };
        let key = ContainerKey { host: subject.host, name: container };
        let ranked = containers.entry(key).or_insert_with_key(|key| Ranked {
            key: key.clone(),
            mean: 0.0,
            series: BTreeMap::new(),
        });
        ranked.mean += summary.mean;
        ranked.series.insert(name, summary.into());
    }
    let mut ranked: Vec<Ranked> = containers.into_values().collect();
    ranked.sort_by(|a, b| b.mean.total_cmp(&a.mean));
    ranked
}

fn row(ranked: Ranked, view: &FleetView, ticks: &LatestTicks) -> TopRow {
    let Ranked { key: ContainerKey { host, name }, mean, series } = ranked;
    let report = view.get(&host).and_then(|seen| seen.report.as_ref());
    let report = report.and_then(|report| report.containers.iter().find(|c| c.name == name));
    let values = ticks.get(&host).and_then(|latest| latest.tick.tick.containers.get(&name));
    let latest = values.map(|values| {
        let shown = LATEST.iter().filter_map(|series| Some((series.clone(), values.get(series)?)));
        shown.collect()
    });
    let safe = |text: &Option<String>| text.as_deref().map(super::dto::safe);
    TopRow {
        hostname: host,
        name,
        project: report.and_then(|report| safe(&report.project)),
        service: report.and_then(|report| safe(&report.service)),
        mean,
        series,
        latest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricSubject;

    #[test]
    fn two_series_are_summed_and_ties_go_by_name() {
        let [rx, tx] = TopBy::Net.series() else { panic!("two directions") };
        let of = |(container, name, mean): (&str, &SeriesName, f64)| Summarized {
            subject: MetricSubject {
                host: "a".parse().unwrap(),
                container: Some(container.parse().unwrap()),
            },
            name: name.clone(),
            summary: Summary { mean, max: mean * 2.0, last: 0.0 },
        };
        let found = [("c", rx, 5.0), ("b", rx, 1.0), ("b", tx, 4.0), ("d", tx, 9.0)].map(of);
        let ranked = rank(found.into());
        let shown: Vec<_> = ranked.iter().map(|r| (r.key.name.as_str(), r.mean, r.series.len())).collect();
        assert_eq!(shown, [("d", 9.0, 1), ("b", 5.0, 2), ("c", 5.0, 1)]);
    }
}
