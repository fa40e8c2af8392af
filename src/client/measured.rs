//! What the command line shows of the API's answers about metrics.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::{ContainerName, HostName};

/// Metrics over time.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SeriesView {
    /// Seconds between two points.
    pub step: u32,
    /// The points, unix seconds.
    pub t: Vec<i64>,
    /// The values of each series, one a point.
    pub series: BTreeMap<String, Vec<Option<f64>>>,
}

/// The containers that use the most.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TopView {
    /// Over which span, seconds.
    pub window_seconds: u64,
    /// The containers, the largest first.
    pub containers: Vec<TopRowView>,
    /// How many more there are.
    #[serde(default)]
    pub left_out: u64,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TopRowView {
    /// Its host.
    pub hostname: HostName,
    /// Its name.
    pub name: ContainerName,
    /// The mean that ranks it.
    pub mean: f64,
    /// What its newest sample says.
    pub latest: Option<BTreeMap<String, f64>>,
}

/// The hosts of the fleet by the room they have.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PlacementView {
    /// Those with room, the best first.
    pub hosts: Vec<PlaceView>,
    /// Those without.
    pub full: Vec<PlaceView>,
    /// Those that do not count.
    pub left_out: Vec<LeftOutView>,
}

/// A host and its room.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PlaceView {
    /// Its name.
    pub hostname: HostName,
    /// Its cores.
    pub cores: f64,
    /// Cores that are free.
    pub cores_free: f64,
    /// Its memory, bytes.
    pub memory_bytes: f64,
    /// Memory that is free, bytes.
    pub memory_free_bytes: f64,
    /// What would stay free, percent.
    pub headroom_percent: f64,
    /// Why it stands where it does.
    pub reason: String,
}

/// A host that does not count.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LeftOutView {
    /// Its name.
    pub hostname: HostName,
    /// Why.
    pub reason: String,
}
