//! What the command line shows of the API's answers about the network.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::{HostName, Measurement};

/// Who talked to whom.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NetworkMapView {
    /// Over which span, seconds.
    pub window_seconds: u64,
    /// The ends.
    pub nodes: Vec<NetworkNodeView>,
    /// What went between them, the most bytes first.
    pub edges: Vec<NetworkEdgeView>,
    /// How many more edges there are.
    #[serde(default)]
    pub edges_left_out: u64,
    /// Hosts whose network is not measured, or not all of it.
    #[serde(default)]
    pub hosts_lacking: Vec<HostName>,
}

/// One end.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NetworkNodeView {
    /// Names it in edges.
    pub id: String,
    /// What it is.
    pub kind: String,
    /// Packets dropped there, by reason.
    #[serde(default)]
    pub drops_by_reason: BTreeMap<String, u64>,
}

/// What went from one to another.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NetworkEdgeView {
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// Bytes.
    pub bytes: Option<u64>,
    /// Bytes a second.
    #[serde(default)]
    pub bytes_per_second: Option<f64>,
    /// Packets.
    pub packets: Option<u64>,
    /// TCP segments sent again.
    pub retransmits: Option<u64>,
    /// Packets dropped on the way.
    pub drops: Option<u64>,
    /// The same by reason.
    #[serde(default)]
    pub drops_by_reason: BTreeMap<String, u64>,
    /// TCP's round trip.
    pub rtt_ms: Option<f64>,
    /// The median latency, or the mean where only that is known.
    pub latency_us_p50: Option<f64>,
    /// What 99 of 100 packets took at most.
    pub latency_us_p99: Option<f64>,
    /// `measured`, `one_way` or `half_rtt`.
    #[serde(default)]
    pub latency_kind: Option<String>,
    /// Percent of what was sent that did not arrive.
    pub loss_percent: Option<f64>,
}

/// One direction of a pair.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NetworkPairView {
    /// How long packets took.
    pub latency: Option<HistogramView>,
    /// The same of parts of the way.
    #[serde(default)]
    pub hops: Vec<HopView>,
}

/// A part of the way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HopView {
    /// Which.
    pub hop: String,
    /// How long it took.
    pub histogram: HistogramView,
}

/// How often packets took how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HistogramView {
    /// How many were timed.
    pub count: u64,
    /// The median, microseconds.
    pub p50_us: Option<f64>,
    /// What 99 of 100 took at most.
    pub p99_us: Option<f64>,
    /// Those that are not empty.
    pub buckets: Vec<BucketView>,
}

/// Packets that took from one time to another, microseconds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BucketView {
    /// At least.
    pub from_us: f64,
    /// Less than.
    pub to_us: f64,
    /// How many.
    pub count: u64,
}

/// What a host measures of its network.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NetworkHostView {
    /// The host.
    pub hostname: HostName,
    /// In one sentence.
    pub detail: String,
    /// What is measured and what is not.
    pub measurements: Vec<Measurement>,
}

/// Rules to start from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RulesTemplateView {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub help: String,
    /// The rules as TOML.
    pub toml: String,
}
