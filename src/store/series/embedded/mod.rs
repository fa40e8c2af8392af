//! Metrics in `controller.db`: raw samples for a day, then the mean and largest of each minute.
//!
//! ```text
//! ticks ─► metric_head ──────► metric_raw ─────────► metric_minutes ──► forgotten
//!          a row each          a chunk a series      a chunk a series   after --retention
//!          host, time          and hour, compacted   and six hours,
//!                              once that is over     made of raw older than a day
//! ```
//!
//! A tick is acknowledged when its row is on the disk; all later steps move samples from one table into the next in
//! transactions of at most a few hundred chunks, whose loss loses nothing, for what they move is there until they end. A sample may be in two
//! tables at once, then it counts once: raw samples by their time, minutes know which of their seconds they have. So
//! whatever comes late, or again, just takes the same way once more.
//!
//! Ticks are written on the thread of the database; encoding, decoding and all that is asked is done on threads with
//! read-only connections of their own.

mod backlog;
mod chunk;
mod codec;
mod compact;
mod head;
mod identity;
mod keep;
mod query;
mod refusals;
#[cfg(test)]
mod tests;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{HostTick, MetricStore, RangeQuery, SeriesRange, Summarized, SummaryQuery};
use crate::model::{HostName, Timestamp};
use crate::store::db::Db;
use crate::store::{ControllerDb, StoreError};
use backlog::Backlog;
use identity::Identity;
use refusals::RefusalCounts;

pub use identity::MAX_SERIES;
pub use refusals::Refusal;

/// How long raw samples are kept at least; what is older is kept by the minute.
pub const RAW_SPAN: Duration = Duration::from_hours(24);

/// How long metrics are kept unless told otherwise.
pub const DEFAULT_RETENTION: Duration = Duration::from_hours(7 * 24);

/// The tables. A key is two numbers in one, so that rows lie in the order in which they are written and forgotten.
pub(in crate::store) const TABLES: &str = "
    CREATE TABLE metric_hosts (id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT UNIQUE) STRICT;
    CREATE TABLE metric_series (
        id INTEGER PRIMARY KEY AUTOINCREMENT, host INTEGER NOT NULL, container TEXT NOT NULL,
        name TEXT NOT NULL, last INTEGER NOT NULL, UNIQUE (host, container, name)
    ) STRICT;
    CREATE TABLE metric_head (key INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    CREATE TABLE metric_raw (key INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    CREATE TABLE metric_minutes (key INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
";

/// Bits of the lower number in a key. Times last until the year 4147, series until 68,719,476,735 were made.
const LOW_BITS: u32 = 36;

const LOW_MASK: i64 = (1 << LOW_BITS) - 1;

fn key(high: i64, low: i64) -> i64 {
    high << LOW_BITS | low & LOW_MASK
}

/// A row of `metric_head`.
fn head_key(host: i64, time: i64) -> i64 {
    key(host, time)
}

fn head_of(key: i64) -> (i64, i64) {
    (key >> LOW_BITS, key & LOW_MASK)
}

/// A row of `metric_raw` (by hour) or `metric_minutes` (by block).
fn chunk_key(span: i64, series: i64) -> i64 {
    key(span, series)
}

/// The series of such a row.
fn series_of(key: i64) -> i64 {
    key & LOW_MASK
}

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Metrics in `controller.db`. Clones share it.
#[derive(Clone)]
pub struct EmbeddedStore {
    db: Db,
    /// Answers ranges.
    ranges: Db,
    /// Answers summaries, which may take longer.
    summaries: Db,
    /// Reads and encodes what is compacted.
    compactor: Db,
    clock: Clock,
    retention: i64,
    shared: Arc<Shared>,
}

/// What jobs on the database's threads share.
#[derive(Default)]
struct Shared {
    identity: Mutex<Identity>,
    backlog: Mutex<Backlog>,
    pending: Mutex<write::Pending>,
    refusals: RefusalCounts,
    /// Something was compacted.
    compacted: Notify,
}

/// What a job that panicked left is what it had found or not, never half.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EmbeddedStore {
    /// Keeps metrics in the controller's database. Blocks; meant for startup.
    pub fn open(db: &ControllerDb, retention: Duration) -> Result<Self, StoreError> {
        Self::open_with_clock(db, retention, Arc::new(Timestamp::now))
    }

    /// The same with another clock.
    pub fn open_with_clock(
        db: &ControllerDb,
        retention: Duration,
        clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Result<Self, StoreError> {
        let db = db.db.clone();
        Ok(Self {
            ranges: db.reader("metrics.ranges")?,
            summaries: db.reader("metrics.sums")?,
            compactor: db.reader("metrics.pack")?,
            db,
            clock,
            retention: i64::try_from(retention.as_secs()).unwrap_or(i64::MAX / 4),
            shared: Arc::default(),
        })
    }

    /// This machine's time, unix seconds.
    fn now(&self) -> i64 {
        (self.clock)().millis().div_euclid(1000)
    }

    /// The first moment that is kept.
    fn kept_from(&self, now: i64) -> i64 {
        now.saturating_sub(self.retention)
    }
}

#[async_trait]
impl MetricStore for EmbeddedStore {
    async fn write(&self, ticks: Vec<HostTick>) -> Result<(), StoreError> {
        self.write_ticks(ticks).await
    }

    async fn range(&self, query: RangeQuery) -> Result<SeriesRange, StoreError> {
        self.ranges.read(move |conn| query::range(conn, &query)).await
    }

    async fn summarize(&self, query: SummaryQuery) -> Result<Vec<Summarized>, StoreError> {
        self.summaries.read(move |conn| query::summarize(conn, &query)).await
    }

    async fn maintain(&self, shutdown: CancellationToken) {
        self.keep(shutdown).await;
    }

    fn refused(&self) -> Vec<(Refusal, u64)> {
        self.shared.refusals.get()
    }

    fn retention(&self) -> Option<Duration> {
        u64::try_from(self.retention).ok().map(Duration::from_secs)
    }

    async fn forget(&self, host: &HostName) -> Result<(), StoreError> {
        self.forget_host(host.clone()).await
    }
}
