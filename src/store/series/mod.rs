//! Metrics over time, behind one trait: embedded in `controller.db`, or a server that speaks Prometheus' protocols.

mod embedded;
mod remote;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::StoreError;
use crate::model::{HostName, MetricSubject, MetricTick, SeriesName};

pub(super) use embedded::TABLES;
pub use embedded::{DEFAULT_RETENTION, EmbeddedStore, MAX_SERIES, RAW_SPAN, Refusal};
pub use remote::{RemoteOptions, RemoteStore, StoreCredentials};

/// Points that one range may have per series.
pub const MAX_POINTS: usize = 11_000;

/// What one host measured at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTick {
    /// Whose.
    pub host: HostName,
    /// What.
    pub tick: MetricTick,
}

/// What to make of the samples that fall into one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Statistic {
    /// Their mean.
    #[default]
    Mean,
    /// The largest.
    Max,
}

/// Which samples of one subject, and how finely.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeQuery {
    /// Whose.
    pub subject: MetricSubject,
    /// Which series; a metric without its part stands for all its parts. Empty: all there are.
    pub names: Vec<SeriesName>,
    /// The first point, unix seconds; a multiple of `step`.
    pub from: i64,
    /// No point is later, unix seconds.
    pub to: i64,
    /// Seconds between points, above 0; `(to - from) / step` is below [`MAX_POINTS`].
    pub step: u32,
    /// What a point is of the samples later than the point before it, and not later than itself.
    pub statistic: Statistic,
}

/// The answer: as many values in each series as there are points.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeriesRange {
    /// The points, unix seconds, `step` apart.
    pub times: Vec<i64>,
    /// The values; `None` where no sample is.
    pub series: BTreeMap<SeriesName, Vec<Option<f64>>>,
}

/// Which subjects a summary is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subjects {
    /// The hosts themselves.
    Hosts,
    /// All containers of all hosts.
    Containers,
    /// The containers of one host.
    ContainersOf(HostName),
}

/// Which samples to sum up, each series by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryQuery {
    /// Whose.
    pub subjects: Subjects,
    /// Which series; of a metric that has parts, each is a series of its own.
    pub names: Vec<SeriesName>,
    /// Samples later than this count, unix seconds.
    pub from: i64,
    /// Samples later than this do not.
    pub to: i64,
}

/// What one series was over a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Summarized {
    /// Whose it is.
    pub subject: MetricSubject,
    /// Which.
    pub name: SeriesName,
    /// What it was.
    pub summary: Summary,
}

/// Figures of one series over a span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The mean of its samples.
    pub mean: f64,
    /// The largest.
    pub max: f64,
    /// The last.
    pub last: f64,
}

/// Where metrics are kept. Clones of the implementations share what they keep.
#[async_trait]
pub trait MetricStore: Send + Sync + 'static {
    /// Stores ticks; after `Ok` they survive `kill -9` and power loss. A tick may come late, or again: samples are told apart
    /// by subject, series and time, so each is there once. What will never be kept ([`Self::refused`]) is counted, and no error.
    async fn write(&self, ticks: Vec<HostTick>) -> Result<(), StoreError>;

    /// The samples of one subject. A series without any sample in the range is left out.
    async fn range(&self, query: RangeQuery) -> Result<SeriesRange, StoreError>;

    /// What series of many subjects were over a span. Those without a sample in it are left out.
    async fn summarize(&self, query: SummaryQuery) -> Result<Vec<Summarized>, StoreError>;

    /// Looks after what is kept until `shutdown`, or ends at once where others do.
    async fn maintain(&self, shutdown: CancellationToken) {
        drop(shutdown);
    }

    /// How many samples were refused for good since the start, by reason; empty where none ever are.
    fn refused(&self) -> Vec<(Refusal, u64)> {
        Vec::new()
    }

    /// How long samples are kept; `None` where others decide.
    fn retention(&self) -> Option<Duration> {
        None
    }

    /// Forgets a host and its containers. A store that others write to as well leaves that to its own retention.
    async fn forget(&self, host: &HostName) -> Result<(), StoreError> {
        let _ = host;
        Ok(())
    }
}
