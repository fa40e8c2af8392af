//! Who talks to whom: the map, and what each host measures.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::dto::safe;
use super::problem::{Problem, quoted};
use super::range;
use super::request::{Query, Request};
use super::{Answer, Api, json};
use crate::controller::fleet::FleetView;
use crate::controller::network::{
    Figures, Fold, HostNetwork, LatencyKind, NetworkView, Node, NodeKind, Pair, Reasons, SPAN, Traffics,
    figures, fold,
};
use crate::model::{
    Connections, ContainerKey, EndpointKind, HostName, MeasureWay, Measurement, MeasurementStatus, Overflow,
    Timestamp,
};

/// Seconds that are summed up when nobody says, and the least.
const DEFAULT_WINDOW: i64 = 60;
const LEAST_WINDOW: i64 = 10;

/// Edges of a map when nobody says, and at most.
const DEFAULT_EDGES: usize = 5000;
const MAX_EDGES: usize = 50_000;

/// How far the newest interval may lie back, seconds, for the window to end with it and not now.
const FRESH: i64 = 90;

/// Who talked to whom within a window.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct MapView {
    /// How long the window is.
    window_seconds: i64,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// When it ended: with the newest interval that hosts told of.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// Seconds between two reports of a host; null before any spoke.
    interval_seconds: Option<u64>,
    /// Since when the map is kept: an hour, less when this controller is younger, or there is too much of it.
    #[schema(value_type = Option<String>, format = DateTime)]
    kept_since: Option<Timestamp>,
    /// What a node is.
    by: Fold,
    /// The ends, by id.
    nodes: Vec<NodeView>,
    /// Who sent what to whom, the most bytes first. An edge is one direction.
    edges: Vec<EdgeView>,
    /// How many more edges there are.
    edges_left_out: usize,
    /// Hosts whose network is not measured, or not all of it; GET /api/v1/network/hosts says what would give it.
    #[schema(value_type = Vec<String>)]
    hosts_lacking: Vec<HostName>,
}

/// One end.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = MapNode)]
pub(super) struct NodeView {
    /// Names it in edges and questions: `HOST/CONTAINER`, `gateway:HOST`, `external`, ...
    id: String,
    /// What it is.
    kind: NodeKind,
    /// Its host; null outside the fleet.
    #[schema(value_type = Option<String>)]
    hostname: Option<HostName>,
    /// What people call it.
    name: String,
    /// Its compose project.
    project: Option<String>,
    /// Containers that use its network: what they say is told of it.
    shared_by: Vec<String>,
    /// Packets dropped there whose other end is not known; null where drops are not looked for.
    drops: Option<u64>,
    /// The same by the kernel's reason.
    drops_by_reason: BTreeMap<String, u64>,
}

/// What went from one node to another. Null is not known, never 0.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = MapEdge)]
pub(super) struct EdgeView {
    /// The sender's id.
    from: String,
    /// The receiver's.
    to: String,
    /// Bytes with all headers, as the interface counts them.
    bytes: Option<u64>,
    /// The same a second, over the seconds that were looked at.
    bytes_per_second: Option<f64>,
    /// Packets as the interface counts them.
    packets: Option<u64>,
    /// Packets as a wire would carry them.
    segments: Option<u64>,
    /// TCP segments that the sender sent again.
    retransmits: Option<u64>,
    /// Packets that the kernel dropped on the way.
    drops: Option<u64>,
    /// The same by its reason.
    drops_by_reason: BTreeMap<String, u64>,
    /// TCP's smoothed round trip.
    rtt_ms: Option<f64>,
    /// What half of the packets took at most, one way. Where `latency_kind` is not `measured`, the mean.
    latency_us_p50: Option<f64>,
    /// What 99 of 100 took at most; only where `latency_kind` is `measured`.
    latency_us_p99: Option<f64>,
    /// What they took in the mean.
    latency_us_mean: Option<f64>,
    /// What the latency is made of; null where it is not known.
    latency_kind: Option<LatencyKind>,
    /// Packets that were sent and did not arrive, percent; only between containers whose hosts both counted.
    loss_percent: Option<f64>,
    /// How many packets the loss is of.
    loss_of: Option<u64>,
    /// TCP connections of the sender: opened to the receiver, accepted from it.
    connections: Option<Connections>,
}

/// What a host measures of its containers' network.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct HostNetworkView {
    /// The host.
    #[schema(value_type = String)]
    hostname: HostName,
    /// In one plain sentence.
    detail: String,
    /// By what it measures; null: it told nothing.
    way: Option<MeasureWay>,
    /// When it last told.
    #[schema(value_type = Option<String>, format = DateTime)]
    received: Option<Timestamp>,
    /// Seconds of its last interval.
    interval_seconds: Option<f64>,
    /// The clock it shares with others (`--network-clock`); null: none, latency to other hosts is half the round trip.
    clock: Option<String>,
    /// Containers whose traffic is counted there.
    traced: Option<usize>,
    /// Reports that did not arrive since its agent began.
    missed: Option<u64>,
    /// What found no room in its last interval.
    overflow: Option<Overflow>,
    /// What is measured and what is not, and what would give it.
    measurements: Vec<Measurement>,
}

/// Who talks to whom.
///
/// Of the last window: containers, what they reach, and what went between, in each direction. Hosts report after each
/// interval (10 s unless the rules say otherwise), so a window ends with the newest of those. An hour is kept, in memory.
#[utoipa::path(
    get, path = "/api/v1/network/map", tag = "network",
    params(
        ("window" = Option<String>, Query, description = "Seconds, or a span as 5m; 10s to 1h, 60 when absent"),
        ("by" = Option<String>, Query, description = "What a node is: container, project or host; container when absent"),
        ("host" = Option<String>, Query, description = "Only what this host's containers send or receive"),
        ("limit" = Option<u64>, Query, description = "At most so many edges, 1 to 50000; 5000 when absent"),
    ),
    responses(
        (status = 200, description = "The map", body = MapView),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn map(api: Arc<Api>, request: Request) -> Answer {
    let query = &request.query;
    let (by, window) = (by(query)?, window(query)?);
    let limit = query.limit(DEFAULT_EDGES, MAX_EDGES)?;
    let host = query.read("host", str::parse::<HostName>)?;
    if let Some(host) = &host {
        api.known_host(host)?;
    }
    let now = api.clock.now().wall;
    let (view, fleet) = (api.network.view(), api.fleet.view());
    // Adding up takes long enough to keep others of this thread waiting.
    let made = tokio::task::spawn_blocking(move || {
        let span = span(&view, window, now);
        let mut traffics = view.windows.sum(span.0, span.1);
        if let Some(host) = &host {
            let on = |node: &Node| node.host() == Some(host);
            traffics.pairs.retain(|(from, to), _| on(from) || on(to));
            traffics.nodes.retain(|node, _| on(node));
        }
        let traffics = fold(traffics, by, &projects(&fleet));
        draw(&Seen { view: &view, fleet: &fleet, by, host: host.as_ref() }, &traffics, span, limit)
    });
    let map = made.await.map_err(|error| {
        tracing::error!(%error, "the network map could not be made");
        Problem::internal()
    })?;
    Ok(json(StatusCode::OK, &map))
}

/// What each host measures.
///
/// Every host of the fleet, with what it measures of its containers' network, what it lacks, and what would give that.
#[utoipa::path(
    get, path = "/api/v1/network/hosts", tag = "network",
    responses((status = 200, description = "The hosts, by name", body = Vec<HostNetworkView>))
)]
pub(super) async fn hosts(api: Arc<Api>, _request: Request) -> Answer {
    let (view, fleet, now) = (api.network.view(), api.fleet.view(), api.clock.now().wall);
    let hosts = fleet.values().map(|seen| {
        let told = view.hosts.get(&seen.name);
        let version = seen.report.as_ref().map(|report| safe(&report.agent_version));
        HostNetworkView {
            hostname: seen.name.clone(),
            detail: detail(told.map(Arc::as_ref), seen.is_live(), version.as_deref(), now),
            way: told.map(|told| told.way),
            received: told.map(|told| told.received),
            interval_seconds: told.map(|told| told.length().as_secs_f64()),
            clock: told.and_then(|told| told.clock.as_deref()).map(safe),
            traced: told.map(|told| told.endpoints.iter().filter(|endpoint| endpoint.traced).count()),
            missed: told.map(|told| told.missed),
            overflow: told.map(|told| told.overflow),
            measurements: told.map_or_else(Vec::new, |told| told.measurements.iter().map(cleaned).collect()),
        }
    });
    Ok(json(StatusCode::OK, &hosts.collect::<Vec<_>>()))
}

fn cleaned(one: &Measurement) -> Measurement {
    Measurement { name: safe(&one.name), status: one.status, detail: safe(&one.detail) }
}

fn detail(told: Option<&HostNetwork>, live: bool, version: Option<&str>, now: Timestamp) -> String {
    let own = env!("CARGO_PKG_VERSION");
    match (told, version) {
        (Some(told), _) if told.is_current(now) => match told.way {
            MeasureWay::Tracepoints => "measured at the kernel's tracepoints".into(),
            MeasureWay::Classifiers => "counted at each container's interface".into(),
            MeasureWay::Proc => "only each container's totals are counted, from /proc: its measurements say what would give more".into(),
            MeasureWay::Off => "not measured there: start its agent with --network auto".into(),
            MeasureWay::Unknown => "measured in a way that this controller does not know: update it".into(),
        },
        (Some(told), _) => format!("nothing was told of its network since {}", told.received),
        (None, _) if !live => "the host is silent".into(),
        (None, Some(version)) if version != own => {
            format!("its agent, version {version}, tells nothing of its network: update it to {own}")
        }
        (None, _) => {
            "its agent told nothing of its network yet: it does after each interval, unless it was started with --network off".into()
        }
    }
}

/// What a node of the answer is: `by`.
pub(super) fn by(query: &Query) -> Result<Fold, Problem> {
    match query.words("by", &Fold::ALL, Fold::as_str)?.as_deref() {
        None => Ok(Fold::Container),
        Some([one]) => Ok(*one),
        Some(_) => Err(Problem::bad_request("query parameter by: give one word")),
    }
}

/// `window`, seconds: a plain number or a span.
pub(super) fn window(query: &Query) -> Result<i64, Problem> {
    if let Some(text) = query.get("window").filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())) {
        let seconds = text.parse().ok().filter(|seconds| (LEAST_WINDOW..=SPAN).contains(seconds));
        return seconds.ok_or_else(|| {
            Problem::bad_request(format!(
                "query parameter window: {} is out of range: give from 10 to 3600 seconds",
                quoted(text)
            ))
        });
    }
    range::window(query, "window", DEFAULT_WINDOW, (LEAST_WINDOW, SPAN))
}

/// From when to when a window of `seconds` is, unix time: until the newest interval, while hosts speak.
pub(super) fn span(view: &NetworkView, seconds: i64, now: Timestamp) -> (i64, i64) {
    let now = now.millis().div_euclid(1000);
    let to = view.windows.newest().filter(|newest| now - newest <= FRESH).unwrap_or(now);
    (to - seconds, to)
}

/// The compose project of each container of the fleet.
pub(super) fn projects(fleet: &FleetView) -> HashMap<ContainerKey, String> {
    let reports = fleet.iter().filter_map(|(host, seen)| Some((host, seen.report.as_ref()?)));
    let containers = reports.flat_map(|(host, report)| report.containers.iter().map(move |one| (host, one)));
    let of = containers.filter_map(|(host, one)| {
        let key = ContainerKey { host: host.clone(), name: one.name.clone() };
        Some((key, safe(one.project.as_ref()?)))
    });
    of.collect()
}

/// What a map is drawn from.
pub(super) struct Seen<'a> {
    pub(super) view: &'a NetworkView,
    pub(super) fleet: &'a FleetView,
    pub(super) by: Fold,
    pub(super) host: Option<&'a HostName>,
}

fn draw(seen: &Seen<'_>, traffics: &Traffics, (from, to): (i64, i64), limit: usize) -> MapView {
    // A pair has both directions, and nothing may have gone in one.
    let says_something = |edge: &EdgeView| edge.bytes != Some(0) || edge.drops.is_some_and(|drops| drops > 0);
    let edges = traffics.pairs.keys().map(|ends| edge(ends, traffics));
    let mut edges: Vec<EdgeView> = edges.filter(says_something).collect();
    edges.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| (&a.from, &a.to).cmp(&(&b.from, &b.to))));
    let edges_left_out = edges.len().saturating_sub(limit);
    edges.truncate(limit);
    let projects = projects(seen.fleet);
    let mut nodes: BTreeSet<Node> = traffics.nodes.keys().cloned().collect();
    nodes.extend(traffics.pairs.keys().flat_map(|(from, to)| [from.clone(), to.clone()]));
    // Who is there and silent is part of the picture.
    for (host, told) in seen.view.hosts.iter().filter(|(host, _)| seen.host.is_none_or(|one| one == *host)) {
        let there = told.endpoints.iter().filter(|one| one.traced && one.kind != EndpointKind::Shared);
        nodes.extend(there.map(|one| {
            let key = ContainerKey { host: host.clone(), name: one.container.clone() };
            seen.by.of(&Node::Container(key), &projects)
        }));
    }
    let lacks = |host: &&HostName| {
        // That hosts share a clock is the operator's to say, and mostly not so.
        let missing = |m: &Measurement| m.status == MeasurementStatus::Missing && m.name != "one_way";
        seen.view.hosts.get(*host).is_none_or(|told| told.measurements.iter().any(missing))
    };
    let interval = seen.view.hosts.values().map(|told| told.length().as_secs()).filter(|s| *s > 0).min();
    MapView {
        window_seconds: to - from,
        from: Timestamp::from_millis(from * 1000),
        to: Timestamp::from_millis(to * 1000),
        interval_seconds: interval,
        kept_since: seen.view.windows.oldest().map(|second| Timestamp::from_millis(second * 1000)),
        by: seen.by,
        nodes: nodes.iter().map(|node| seen.node(node, traffics, &projects)).collect(),
        edges,
        edges_left_out,
        hosts_lacking: seen.fleet.keys().filter(lacks).cloned().collect(),
    }
}

impl Seen<'_> {
    pub(super) fn node(
        &self,
        node: &Node,
        traffics: &Traffics,
        projects: &HashMap<ContainerKey, String>,
    ) -> NodeView {
        let told = node.host().and_then(|host| self.view.hosts.get(host));
        let looks = |m: &Measurement| m.name == "drops" && m.status == MeasurementStatus::Works;
        let drops = traffics.nodes.get(node).map(|figures| &figures.drops);
        let packets = drops.map(Reasons::packets).filter(|packets| *packets > 0);
        let (project, shared_by) = match node {
            Node::Container(key) => {
                let shares = told.into_iter().flat_map(|told| &told.endpoints);
                let shares = shares.filter(|one| one.shares.as_ref() == Some(&key.name));
                (projects.get(key).cloned(), shares.map(|one| one.container.to_string()).collect())
            }
            Node::Project(_, project) => (Some(project.clone()), Vec::new()),
            _ => (None, Vec::new()),
        };
        NodeView {
            id: node.to_string(),
            kind: node.kind(),
            hostname: node.host().cloned(),
            name: node.name(),
            project,
            shared_by,
            drops: packets.or_else(|| told.filter(|told| told.measurements.iter().any(looks)).map(|_| 0)),
            drops_by_reason: drops.map_or_else(BTreeMap::new, by_reason),
        }
    }
}

fn by_reason(reasons: &Reasons) -> BTreeMap<String, u64> {
    reasons.iter().map(|(reason, packets)| (reason.to_owned(), packets)).collect()
}

/// The edge between `ends` of `traffics`.
pub(super) fn edge(ends: &(Node, Node), traffics: &Traffics) -> EdgeView {
    let (from, to) = ends;
    let empty = Pair::default();
    let pair = traffics.pairs.get(ends).unwrap_or(&empty);
    let reverse = traffics.pairs.get(&(to.clone(), from.clone()));
    let covered = [from, to].into_iter().filter_map(|node| traffics.covered.get(node.host()?)).max().copied();
    of_figures((from.to_string(), to.to_string()), &figures(pair, reverse), pair.drops.as_ref(), covered)
}

/// What is told of `figures` of seconds of which `covered` milliseconds were looked at.
pub(super) fn of_figures(
    (from, to): (String, String),
    figures: &Figures,
    drops: Option<&Reasons>,
    covered: Option<u64>,
) -> EdgeView {
    let seconds = covered.filter(|millis| *millis > 0).map(|millis| millis as f64 / 1000.0);
    let latency = figures.latency;
    EdgeView {
        from,
        to,
        bytes: figures.bytes,
        bytes_per_second: figures.bytes.zip(seconds).map(|(bytes, seconds)| bytes as f64 / seconds),
        packets: figures.packets,
        segments: figures.segments,
        retransmits: figures.retransmits,
        drops: figures.drops,
        drops_by_reason: drops.map_or_else(BTreeMap::new, by_reason),
        rtt_ms: figures.rtt_ms,
        latency_us_p50: latency.and_then(|latency| latency.p50),
        latency_us_p99: latency.and_then(|latency| latency.p99),
        latency_us_mean: latency.map(|latency| latency.mean),
        latency_kind: latency.map(|latency| latency.kind),
        loss_percent: figures.loss_percent,
        loss_of: figures.compared,
        connections: figures.connections,
    }
}
