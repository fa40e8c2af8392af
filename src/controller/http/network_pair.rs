//! One container's peers, and one pair's latency and course.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::network::{EdgeView, NodeView, Seen, by, of_figures, projects, span, window};
use super::problem::{Problem, quoted};
use super::request::Request;
use super::{Answer, Api, json};
use crate::controller::network::{BothEnds, COARSE, FINE, FINE_SPAN, Fold, Node, Pair, Traffics, figures};
use crate::model::{
    Connections, ContainerKey, ContainerName, Hop, HostName, LatencyHistogram, Protocol, Traffic,
};

/// Who a container talks to.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct FlowsView {
    /// The container.
    container: NodeView,
    /// How long the window is.
    window_seconds: i64,
    /// Its peers, the most bytes first, each protocol by itself.
    flows: Vec<FlowView>,
}

/// What a container and one peer said over one protocol. Null is not known, never 0.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct FlowView {
    /// The peer.
    peer: NodeView,
    /// By what they speak.
    protocol: Protocol,
    /// From the container to the peer.
    sent: Option<TrafficView>,
    /// From the peer to the container.
    received: Option<TrafficView>,
    /// TCP segments that the container sent again.
    retransmits: Option<u64>,
    /// Its TCP connections with the peer.
    connections: Option<Connections>,
    /// TCP's smoothed round trip.
    rtt_ms: Option<f64>,
    /// Of what it sent, percent that did not arrive.
    loss_percent: Option<f64>,
    /// Of what the peer sent.
    loss_percent_back: Option<f64>,
}

/// Packets that went one way.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct TrafficView {
    /// With all headers.
    bytes: u64,
    /// As the interface counts them.
    packets: Option<u64>,
    /// As a wire would carry them.
    segments: Option<u64>,
}

/// One direction between two nodes: its figures, how its latencies are spread, and its course.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct PairView {
    /// How long the window is.
    window_seconds: i64,
    /// All of it.
    total: EdgeView,
    /// How long packets took within the host, of a sample; null where none was timed.
    latency: Option<HistogramView>,
    /// The same of parts of the way.
    hops: Vec<HopView>,
    /// Its course.
    series: PairSeries,
}

/// A part of the way.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct HopView {
    /// Which.
    hop: Hop,
    /// How long it took.
    histogram: HistogramView,
}

/// How often packets took how long.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct HistogramView {
    /// How many were timed.
    count: u64,
    /// Microseconds, in the mean.
    mean_us: Option<f64>,
    /// The median.
    p50_us: Option<f64>,
    /// What 99 of 100 took at most.
    p99_us: Option<f64>,
    /// The longest since the pair was first seen.
    max_us: f64,
    /// Those that are not empty, in their order.
    buckets: Vec<BucketView>,
}

/// Packets that took from one time to another.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct BucketView {
    /// At least, microseconds.
    from_us: f64,
    /// Less than.
    to_us: f64,
    /// How many.
    count: u64,
}

/// The course of a pair; each list has one value a point, null where it is not known.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub(super) struct PairSeries {
    /// Seconds between two points.
    step: i64,
    /// The points, unix seconds: each is the end of what it tells of.
    t: Vec<i64>,
    bytes_per_second: Vec<Option<f64>>,
    loss_percent: Vec<Option<f64>>,
    retransmits: Vec<Option<u64>>,
    drops: Vec<Option<u64>>,
    rtt_ms: Vec<Option<f64>>,
    latency_us_p50: Vec<Option<f64>>,
    latency_us_p99: Vec<Option<f64>>,
}

/// Who a container talks to.
///
/// Each peer and protocol by itself. Up to 32 addresses outside the fleet are told apart in each interval, those with the most
/// bytes; the others are together as `external`.
#[utoipa::path(
    get, path = "/api/v1/network/flows", tag = "network",
    params(
        ("container" = String, Query, description = "HOST/NAME, or NAME alone where only one host has it"),
        ("host" = Option<String>, Query, description = "Its host, where it is not in `container`"),
        ("window" = Option<String>, Query, description = "Seconds, or a span as 5m; 10s to 1h, 60 when absent"),
    ),
    responses(
        (status = 200, description = "Its peers", body = FlowsView),
        (status = 404, description = "No such container", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Several hosts have it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn flows(api: Arc<Api>, request: Request) -> Answer {
    let window = window(&request.query)?;
    let key = container(&api, &request)?;
    let (view, fleet) = (api.network.view(), api.fleet.view());
    let (from, to) = span(&view, window, api.clock.now().wall);
    let mut traffics = view.windows.sum(from, to);
    let own = Node::Container(key);
    traffics.pairs.retain(|(from, to), _| *from == own || *to == own);
    let projects = projects(&fleet);
    let seen = Seen { view: &view, fleet: &fleet, by: Fold::Container, host: None };
    let mut peers: BTreeMap<(&Node, Protocol), ThereAndBack<'_>> = BTreeMap::new();
    for ((from, to), pair) in &traffics.pairs {
        for (protocol, _) in &pair.flows {
            if *from == own {
                peers.entry((to, *protocol)).or_default().0 = Some(pair);
            } else {
                peers.entry((from, *protocol)).or_default().1 = Some(pair);
            }
        }
    }
    let flow = |pair: Option<&Pair>, protocol: Protocol| {
        let flow = pair?.flows.iter().find(|(known, _)| *known == protocol)?;
        Some(flow.1.clone())
    };
    let mut flows: Vec<FlowView> = peers
        .into_iter()
        .map(|((peer, protocol), (there, back))| {
            let (there, back) =
                (flow(there, protocol).unwrap_or_default(), flow(back, protocol).unwrap_or_default());
            let loss = |both: Option<BothEnds>| both.and_then(BothEnds::loss_percent);
            FlowView {
                peer: seen.node(peer, &traffics, &projects),
                protocol,
                sent: there.sent.or(there.received).map(TrafficView::from),
                received: back.received.or(back.sent).map(TrafficView::from),
                retransmits: there.retransmits,
                connections: there.connections,
                rtt_ms: there.rtt_ms().or_else(|| back.rtt_ms()),
                loss_percent: loss(there.both),
                loss_percent_back: loss(back.both),
            }
        })
        .collect();
    let bytes = |traffic: &Option<TrafficView>| traffic.as_ref().map_or(0, |traffic| traffic.bytes);
    flows.sort_by_key(|flow| std::cmp::Reverse(bytes(&flow.sent).saturating_add(bytes(&flow.received))));
    let container = seen.node(&own, &traffics, &projects);
    Ok(json(StatusCode::OK, &FlowsView { container, window_seconds: window, flows }))
}

/// What goes to a peer, and what comes from it.
type ThereAndBack<'a> = (Option<&'a Pair>, Option<&'a Pair>);

impl From<Traffic> for TrafficView {
    fn from(Traffic { bytes, packets, segments }: Traffic) -> Self {
        Self { bytes, packets, segments }
    }
}

/// The container that the query names.
fn container(api: &Api, request: &Request) -> Result<ContainerKey, Problem> {
    let query = &request.query;
    let Some(text) = query.get("container") else {
        return Err(Problem::bad_request("query parameter container: say which, as HOST/NAME or NAME"));
    };
    let host = query.read("host", str::parse::<HostName>)?;
    let (host, name) = match text.split_once('/') {
        Some((host, name)) => (Some(host.parse()?), name),
        None => (host, text),
    };
    let name: ContainerName = name.parse()?;
    let (view, fleet) = (api.network.view(), api.fleet.view());
    if let Some(host) = &host {
        api.known_host(host)?;
    }
    let hosts = fleet.values().filter(|seen| host.as_ref().is_none_or(|host| *host == seen.name));
    let found: Vec<HostName> = hosts
        .filter(|seen| {
            let reported = seen.report.iter().flat_map(|report| &report.containers);
            let told = view.hosts.get(&seen.name).into_iter().flat_map(|told| &told.endpoints);
            reported.map(|one| &one.name).chain(told.map(|one| &one.container)).any(|known| *known == name)
        })
        .map(|seen| seen.name.clone())
        .collect();
    match &found[..] {
        [host] => Ok(ContainerKey { host: host.clone(), name }),
        [] => Err(Problem::not_found(format!("no host has a container {}", quoted(text)))),
        several => {
            let names: Vec<String> = several.iter().take(10).map(|host| format!("{host}/{name}")).collect();
            let detail = format!("several hosts have a container {name}: name one of {}", names.join(", "));
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
    }
}

/// One pair's latency and course.
///
/// Of one direction, from one node to another; of all that goes to or from a node when the other end is left out. Points are
/// 10 s apart in windows of up to ten minutes, and a minute in longer ones.
#[utoipa::path(
    get, path = "/api/v1/network/pair", tag = "network",
    params(
        ("from" = Option<String>, Query, description = "The sender's id in the map; any when absent"),
        ("to" = Option<String>, Query, description = "The receiver's id in the map; any when absent"),
        ("by" = Option<String>, Query, description = "What a node of that map is: container, project or host; container when absent"),
        ("window" = Option<String>, Query, description = "Seconds, or a span as 5m; 10s to 1h, 60 when absent"),
    ),
    responses((status = 200, description = "The pair", body = PairView))
)]
pub(super) async fn pair(api: Arc<Api>, request: Request) -> Answer {
    let query = &request.query;
    let (by, window) = (by(query)?, window(query)?);
    let (from, to) = (query.read("from", str::parse::<Node>)?, query.read("to", str::parse::<Node>)?);
    if from.is_none() && to.is_none() {
        return Err(Problem::bad_request("query: give from or to, an id of the map such as HOST/CONTAINER"));
    }
    let (view, fleet, now) = (api.network.view(), api.fleet.view(), api.clock.now().wall);
    // Adding up takes long enough to keep others of this thread waiting.
    let made = tokio::task::spawn_blocking(move || {
        let projects = projects(&fleet);
        let is = |node: &Node, wanted: &Option<Node>| {
            wanted.as_ref().is_none_or(|wanted| node == wanted || by.of(node, &projects) == *wanted)
        };
        let span = span(&view, window, now);
        let mut total = Course::default();
        let step = if window <= FINE_SPAN { FINE } else { COARSE };
        let points = view.windows.series(span, step, |point: &mut Course, slot| {
            point.note(slot, |(a, b)| (is(a, &from) && is(b, &to), is(b, &from) && is(a, &to)));
        });
        let mut series = PairSeries { step, ..PairSeries::default() };
        for (end, point) in points {
            if let Some(point) = &point {
                total.add(point);
            }
            series.push(end, point);
        }
        let ids = [from, to].map(|node| node.map_or_else(String::new, |node| node.to_string()));
        let [from, to] = ids;
        let Course { pair, reverse, covered } = total;
        PairView {
            window_seconds: window,
            latency: pair.latency.as_deref().map(HistogramView::from),
            hops: pair.hops.iter().map(|(hop, of)| HopView { hop: *hop, histogram: of.into() }).collect(),
            total: of_figures(
                (from, to),
                &figures(&pair, Some(&reverse)),
                pair.drops.as_ref(),
                Some(covered),
            ),
            series,
        }
    });
    let pair = made.await.map_err(|error| {
        tracing::error!(%error, "a pair of the network map could not be made");
        Problem::internal()
    })?;
    Ok(json(StatusCode::OK, &pair))
}

/// One direction within some seconds.
#[derive(Default)]
struct Course {
    pair: Pair,
    reverse: Pair,
    /// How long it was looked at, milliseconds.
    covered: u64,
}

impl Course {
    /// Takes in what of `slot` goes there, and what goes back.
    fn note(&mut self, slot: &Traffics, which: impl Fn(&(Node, Node)) -> (bool, bool)) {
        let mut hosts = BTreeSet::new();
        for (ends, pair) in &slot.pairs {
            let (there, back) = which(ends);
            if there {
                self.pair.add(pair);
            }
            if back {
                self.reverse.add(pair);
            }
            if there || back {
                hosts.extend([&ends.0, &ends.1].into_iter().filter_map(Node::host));
            }
        }
        let covered = hosts.into_iter().filter_map(|host| slot.covered.get(host)).max();
        self.covered += covered.copied().unwrap_or(0);
    }

    fn add(&mut self, other: &Self) {
        self.pair.add(&other.pair);
        self.reverse.add(&other.reverse);
        self.covered += other.covered;
    }
}

impl PairSeries {
    fn push(&mut self, end: i64, point: Option<Course>) {
        self.t.push(end);
        let point = point.unwrap_or_default();
        let figures = figures(&point.pair, Some(&point.reverse));
        let seconds = (point.covered > 0).then(|| point.covered as f64 / 1000.0);
        self.bytes_per_second.push(figures.bytes.zip(seconds).map(|(bytes, seconds)| bytes as f64 / seconds));
        self.loss_percent.push(figures.loss_percent);
        self.retransmits.push(figures.retransmits);
        self.drops.push(figures.drops);
        self.rtt_ms.push(figures.rtt_ms);
        self.latency_us_p50.push(figures.latency.and_then(|latency| latency.p50));
        self.latency_us_p99.push(figures.latency.and_then(|latency| latency.p99));
    }
}

impl From<&LatencyHistogram> for HistogramView {
    fn from(of: &LatencyHistogram) -> Self {
        let us = |bucket: u8| LatencyHistogram::begins_ns(bucket) as f64 / 1000.0;
        let buckets = of.buckets.iter().map(|(bucket, count)| BucketView {
            from_us: us(*bucket),
            to_us: us(bucket.saturating_add(1)),
            count: *count,
        });
        Self {
            count: of.count,
            mean_us: of.mean_us(),
            p50_us: of.quantile_us(0.5),
            p99_us: of.quantile_us(0.99),
            max_us: of.max_ns as f64 / 1000.0,
            buckets: buckets.collect(),
        }
    }
}
