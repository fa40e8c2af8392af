//! A controller with a store that may fail, a bus that may be cut, and lanes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dockhealth::bus::{
    Bus, BusError, BusStatus, DesiredChange, DesiredStore, DesiredUpdate, Incoming, LocalBus, OutboxBatch,
    OutboxItem, PROTOCOL_VERSION, ReadBatch, Subject, decode_batch, encode,
};
use dockhealth::controller::{Controller, ControllerConfig};
use dockhealth::model::{DesiredState, HostName, MetricSubject, MetricTick, SeriesName};
use dockhealth::monitor::agent::{LaneParts, metric_lane};
use dockhealth::store::{
    AgentDb, ControllerDb, HostTick, MetricStore, OutboxBounds, RangeQuery, SeriesRange, Statistic,
    StoreError, Subjects, Summarized, SummaryQuery,
};
use futures_util::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::memory::MemoryStore;
use crate::support::{DEADLINE, eventually};

/// A multiple of every step, in 2026.
pub(super) const BEGIN: i64 = 1_790_000_000;

struct NoStore;

#[async_trait]
impl DesiredStore for NoStore {
    async fn put(&self, _: &DesiredChange) -> Result<(), String> {
        Ok(())
    }
}

/// The local bus, which may be cut for requests, and may lose the answers to them. Notes the times of the ticks that agents
/// send, batch by batch.
#[derive(Clone)]
pub(super) struct TestBus {
    local: LocalBus,
    pub(super) cut: Arc<AtomicBool>,
    pub(super) answers_lost: Arc<AtomicBool>,
    /// What one message may have, bytes.
    pub(super) limit: Arc<AtomicUsize>,
    pub(super) sent: Arc<Mutex<Vec<Vec<i64>>>>,
}

#[async_trait]
impl Bus for TestBus {
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.local.publish(subject, payload).await
    }

    async fn subscribe(&self, subject: &Subject) -> Result<BoxStream<'static, Incoming>, BusError> {
        self.local.subscribe(subject).await
    }

    async fn subscribe_shared(
        &self,
        subject: &Subject,
        group: &str,
    ) -> Result<BoxStream<'static, Incoming>, BusError> {
        self.local.subscribe_shared(subject, group).await
    }

    async fn request(&self, subject: &Subject, payload: Bytes, within: Duration) -> Result<Bytes, BusError> {
        if self.cut.load(Relaxed) {
            return Err(BusError::Disconnected("the test cut it".into()));
        }
        let (bytes, limit) = (payload.len(), self.limit.load(Relaxed));
        if bytes > limit {
            return Err(BusError::TooLarge { bytes, limit });
        }
        let read = decode_batch(&payload);
        self.sent.lock().unwrap().extend(read.map(|ReadBatch { batch, .. }| times(&batch.items)));
        let answer = self.local.request(subject, payload, within).await;
        if self.answers_lost.load(Relaxed) { Err(BusError::NoAnswer(subject.to_string())) } else { answer }
    }

    async fn request_many(
        &self,
        subject: &Subject,
        payload: Bytes,
        within: Duration,
    ) -> Result<BoxStream<'static, Bytes>, BusError> {
        self.local.request_many(subject, payload, within).await
    }

    async fn put_desired(&self, change: DesiredChange) -> Result<(), BusError> {
        self.local.put_desired(change).await
    }

    async fn watch_desired(&self) -> Result<BoxStream<'static, DesiredUpdate>, BusError> {
        self.local.watch_desired().await
    }

    fn status(&self) -> watch::Receiver<BusStatus> {
        self.local.status()
    }
}

fn times(items: &[OutboxItem]) -> Vec<i64> {
    let time = |item: &OutboxItem| match item {
        OutboxItem::Metrics(tick) => Some(tick.time),
        _ => None,
    };
    items.iter().filter_map(time).collect()
}

/// A store that may fail.
#[derive(Clone, Default)]
pub(super) struct TestStore {
    memory: MemoryStore,
    pub(super) failing: Arc<AtomicBool>,
}

#[async_trait]
impl MetricStore for TestStore {
    async fn write(&self, ticks: Vec<HostTick>) -> Result<(), StoreError> {
        if self.failing.load(Relaxed) {
            return Err(StoreError::Full { file: "metrics".into() });
        }
        if ticks.iter().any(|tick| tick.host.as_str() == "unwelcome") {
            return Err(StoreError::Refused("the store has no room for this host".into()));
        }
        self.memory.write(ticks).await
    }

    async fn range(&self, query: RangeQuery) -> Result<SeriesRange, StoreError> {
        self.memory.range(query).await
    }

    async fn summarize(&self, query: SummaryQuery) -> Result<Vec<Summarized>, StoreError> {
        self.memory.summarize(query).await
    }
}

impl TestStore {
    /// The times, counted from [`BEGIN`], at which it has a sample of container `web` of `host`.
    pub(super) async fn seconds(&self, host: &str) -> BTreeSet<i64> {
        let query = RangeQuery {
            subject: MetricSubject { host: host.parse().unwrap(), container: Some("web".parse().unwrap()) },
            names: vec![SeriesName::of("pids")],
            from: BEGIN,
            to: BEGIN + 10_000,
            step: 1,
            statistic: Statistic::Max,
        };
        let found = self.range(query).await.unwrap();
        let Some(values) = found.series.get(&SeriesName::of("pids")) else { return BTreeSet::new() };
        let point = |(time, value): (&i64, &Option<f64>)| {
            let second = time - BEGIN;
            value.map(|value| {
                assert!((value - second as f64).abs() < 0.1, "{value} was stored at {second}");
                second
            })
        };
        found.times.iter().zip(values).filter_map(point).collect()
    }
}

impl TestStore {
    /// The newest sample of a series of the host itself.
    pub(super) async fn newest(&self, host: &str, name: SeriesName) -> Option<f64> {
        let host: HostName = host.parse().unwrap();
        let (from, to) = (BEGIN - 200_000_000, BEGIN + 200_000_000);
        let query = SummaryQuery { subjects: Subjects::Hosts, names: vec![name], from, to };
        let all = self.summarize(query).await.unwrap();
        all.into_iter().find(|found| found.subject.host == host).map(|found| found.summary.last)
    }
}

/// A controller, and the bus to it.
pub(super) struct World {
    pub(super) bus: TestBus,
    pub(super) store: TestStore,
    pub(super) address: std::net::SocketAddr,
    _dir: tempfile::TempDir,
    _shutdown: tokio_util::sync::DropGuard,
}

impl World {
    pub(super) async fn new() -> Self {
        let bus = TestBus {
            local: LocalBus::new(DesiredState::default(), NoStore),
            cut: Arc::default(),
            answers_lost: Arc::default(),
            limit: Arc::new(AtomicUsize::new(1 << 20)),
            sent: Arc::default(),
        };
        let store = TestStore::default();
        let dir = tempfile::tempdir().unwrap();
        let db = ControllerDb::open(dir.path()).unwrap();
        let config = ControllerConfig::new("c".parse().unwrap(), dir.path().to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shutdown = CancellationToken::new();
        let parts = (Arc::new(bus.clone()), Arc::new(store.clone()));
        let controller =
            Controller::start(config, parts.0, db, parts.1, listener, shutdown.clone()).await.unwrap();
        let address = controller.address();
        let nobody: HostName = "nobody".parse().unwrap();
        let (v, session) = (PROTOCOL_VERSION, uuid::Uuid::nil());
        let empty = encode(&OutboxBatch { v, host: nobody.clone(), session, seq: 0, items: Vec::new() });
        eventually("outboxes are taken in", async || {
            bus.request(&Subject::Outbox(nobody.clone()), empty.clone(), DEADLINE).await.ok()
        })
        .await;
        bus.sent.lock().unwrap().clear();
        Self { bus, store, address, _dir: dir, _shutdown: shutdown.drop_guard() }
    }

    /// The sum of a figure over its labels.
    pub(super) async fn figure(&self, name: &str) -> f64 {
        let address = self.address;
        let text = tokio::task::spawn_blocking(move || {
            ureq::get(format!("http://{address}/metrics"))
                .call()
                .unwrap()
                .body_mut()
                .read_to_string()
                .unwrap()
        });
        let text = text.await.unwrap();
        let of = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        of.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }

    /// The lane of `host`, with its database in `dir`.
    pub(super) fn lane(&self, host: &str, dir: &Path, bounds: OutboxBounds) -> Lane {
        let db = AgentDb::open_with(dir, bounds).unwrap();
        let parts = LaneParts {
            host: host.parse().unwrap(),
            bus: Arc::new(self.bus.clone()),
            db: db.clone(),
            told: Arc::new(Notify::new()),
        };
        let shutdown = CancellationToken::new();
        let (ticks, run) = metric_lane(parts, shutdown.clone());
        Lane { ticks, db, shutdown, task: tokio::spawn(run) }
    }
}

/// A lane at work.
pub(super) struct Lane {
    pub(super) ticks: mpsc::Sender<MetricTick>,
    pub(super) db: AgentDb,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Lane {
    /// Hands over the tick of `second` after [`BEGIN`], with a value that is no number.
    pub(super) async fn tick(&self, second: i64) {
        let mut tick = tick(second);
        tick.host.insert(SeriesName::of("load5"), f64::NAN);
        self.ticks.send(tick).await.unwrap();
    }

    /// Ends it in order.
    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
        self.db.close().await;
    }

    /// Ends it as `kill -9` does.
    pub(super) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        self.db.close().await;
    }

    /// Waits until `count` ticks are in the database.
    pub(super) async fn wait_kept(&self, count: u64) {
        eventually(&format!("{count} ticks are kept"), async || {
            (self.db.ticks_kept().await.unwrap().waiting == count).then_some(())
        })
        .await;
    }
}

/// The tick of `second` after [`BEGIN`], with that as its value.
pub(super) fn tick(second: i64) -> MetricTick {
    let values = [(SeriesName::of("pids"), second as f64), (SeriesName::of("cpu_percent"), 0.1)];
    MetricTick {
        time: BEGIN + second,
        step: 1,
        host: [(SeriesName::of("load1"), 1.0)].into(),
        containers: [("web".parse().unwrap(), values.into())].into(),
    }
}
