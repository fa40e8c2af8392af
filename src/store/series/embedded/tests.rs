//! What the tests share, and the tests of single cases.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::needless_for_each,
    reason = "the numbers of tests are small"
)]

mod killed;
mod model;

use std::sync::atomic::{AtomicI64, Ordering};

use super::chunk::{BLOCK, HOUR};
use super::*;
use crate::model::{ContainerName, MetricSubject, MetricTick, SeriesName, Values};
use crate::store::fixture::{self, Dir};
use crate::store::series::{Statistic, Subjects, Summary};

/// The end of a block of minutes, so that what is a few hours older is in the one before.
const NOW: i64 = 1_800_000_000 / BLOCK * BLOCK;

const DAY: i64 = 24 * HOUR;

fn host(n: u8) -> HostName {
    format!("h{n}").parse().unwrap()
}

fn container(n: u8) -> ContainerName {
    format!("c{n}").parse().unwrap()
}

/// A store whose clock is set by hand, opened anew as often as need be.
struct Rig {
    dir: Dir,
    db: ControllerDb,
    store: EmbeddedStore,
    clock: Arc<AtomicI64>,
}

fn open(dir: &Dir, clock: &Arc<AtomicI64>) -> (ControllerDb, EmbeddedStore) {
    let db = ControllerDb::open(dir.path()).unwrap();
    let clock = clock.clone();
    let clock = Arc::new(move || Timestamp::from_millis(clock.load(Ordering::Relaxed) * 1000));
    let store = EmbeddedStore::open_with_clock(&db, DEFAULT_RETENTION, clock).unwrap();
    (db, store)
}

impl Rig {
    fn new() -> Self {
        let (dir, clock) = (Dir::new(), Arc::new(AtomicI64::new(NOW)));
        let (db, store) = open(&dir, &clock);
        Self { dir, db, store, clock }
    }

    async fn reopen(&mut self) {
        self.db.close().await;
        (self.db, self.store) = open(&self.dir, &self.clock);
        let found = self.store.compactor.read(|conn| Ok(Backlog::load(conn)?)).await.unwrap();
        lock(&self.store.shared.backlog).absorb(found);
    }

    async fn write(&self, ticks: Vec<HostTick>) {
        self.store.write(ticks).await.unwrap();
    }

    /// Compacts what waits, at most `count` hours of hosts.
    async fn compact(&self, count: usize) {
        for _ in 0..count {
            let Some((of, _)) = lock(&self.store.shared.backlog).take_any() else { break };
            self.store.compact(of).await.unwrap();
        }
    }

    async fn age(&self) {
        self.store.age(self.store.now(), &CancellationToken::new()).await.unwrap();
    }

    async fn rows(&self, table: &'static str) -> i64 {
        let count = move |conn: &mut rusqlite::Connection| {
            Ok(conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
        };
        self.store.db.read(count).await.unwrap()
    }

    /// What a series of all these was since `from`.
    async fn summaries(
        &self,
        subjects: Subjects,
        name: &'static str,
        from: i64,
    ) -> Vec<(MetricSubject, Summary)> {
        let query = SummaryQuery { subjects, names: vec![SeriesName::of(name)], from, to: i64::MAX };
        let found = self.store.summarize(query).await.unwrap();
        found.into_iter().map(|found| (found.subject, found.summary)).collect()
    }

    fn refused(&self, why: Refusal) -> u64 {
        self.store.refused().into_iter().find(|(reason, _)| *reason == why).map_or(0, |(_, count)| count)
    }
}

fn tick(host_n: u8, time: i64, of: &[(u8, &'static str, f64)]) -> HostTick {
    let mut tick = MetricTick { time, step: 10, ..MetricTick::default() };
    for (subject, name, value) in of {
        let values: &mut Values = match subject {
            0 => &mut tick.host,
            n => tick.containers.entry(container(*n)).or_default(),
        };
        values.insert(SeriesName::of(name), *value);
    }
    HostTick { host: host(host_n), tick }
}

fn subject(host_n: u8, n: u8) -> MetricSubject {
    MetricSubject { host: host(host_n), container: (n > 0).then(|| container(n)) }
}

#[test]
fn samples_move_from_rows_to_chunks_to_minutes_and_are_forgotten() {
    fixture::block_on(async {
        let rig = Rig::new();
        let ticks = (0..360).map(|n| tick(1, NOW - HOUR + 10 * (n + 1), &[(1, "cpu_percent", n as f64)]));
        rig.write(ticks.collect()).await;
        assert_eq!(rig.rows("metric_head").await, 360);
        rig.compact(usize::MAX).await;
        assert_eq!((rig.rows("metric_head").await, rig.rows("metric_raw").await), (0, 1));
        let pass = |seconds| rig.clock.fetch_add(seconds, Ordering::Relaxed);
        pass(DAY - 1);
        rig.age().await;
        assert_eq!(rig.rows("metric_raw").await, 1, "they are kept for a day");
        pass(1);
        rig.age().await;
        assert_eq!((rig.rows("metric_raw").await, rig.rows("metric_minutes").await), (0, 1));
        pass(6 * DAY + BLOCK);
        rig.age().await;
        assert_eq!((rig.rows("metric_minutes").await, rig.rows("metric_series").await), (0, 1));
        pass(BLOCK);
        rig.age().await;
        assert_eq!(rig.rows("metric_series").await, 0, "a series without samples is forgotten");
        rig.write(vec![tick(1, rig.store.now(), &[(1, "cpu_percent", 1.0)])]).await;
        let found = rig.summaries(Subjects::Containers, "cpu_percent", NOW).await;
        assert_eq!(found.len(), 1, "and made anew");
    });
}

#[test]
fn what_cannot_be_kept_is_counted_and_the_rest_is_kept() {
    fixture::block_on(async {
        let rig = Rig::new();
        rig.write(vec![
            tick(1, NOW + HOUR + 1, &[(0, "load1", 1.0), (1, "pids", 1.0)]),
            tick(1, NOW - 7 * DAY, &[(0, "load1", 1.0)]),
            tick(1, -5, &[(0, "load1", 1.0)]),
            tick(1, NOW + HOUR, &[(0, "load1", f64::NAN), (0, "load5", f64::INFINITY), (0, "load15", 2.0)]),
        ])
        .await;
        assert_eq!((rig.refused(Refusal::Future), rig.refused(Refusal::Old)), (2, 2));
        assert_eq!(rig.refused(Refusal::Value), 2);
        let found = rig.summaries(Subjects::Hosts, "load15", NOW - 7 * DAY).await;
        assert_eq!(found, [(subject(1, 0), Summary { mean: 2.0, max: 2.0, last: 2.0 })]);
    });
}

#[test]
fn series_and_hosts_are_bounded() {
    fixture::block_on(async {
        let rig = Rig::new();
        let mut big = tick(1, NOW, &[]);
        let part = |n: usize| SeriesName::part_of("temperature_celsius", &n.to_string()).unwrap();
        big.tick.host = (0..MAX_SERIES + 5).map(|n| (part(n), 1.0)).collect();
        rig.write(vec![big.clone(), tick(2, NOW, &[(0, "load1", 1.0)])]).await;
        assert_eq!(rig.refused(Refusal::Series), 5);
        assert_eq!(rig.rows("metric_series").await, MAX_SERIES as i64 + 1, "another host has its own bound");
        let query = RangeQuery {
            subject: subject(1, 0),
            names: Vec::new(),
            from: NOW - 1000,
            to: NOW,
            step: 10,
            statistic: Statistic::Mean,
        };
        let error = rig.store.range(query).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{error}");
    });
}

#[test]
fn a_forgotten_host_is_gone_at_once_and_its_rows_soon() {
    fixture::block_on(async {
        let rig = Rig::new();
        let of = |time| [tick(1, time, &[(1, "pids", 1.0)]), tick(2, time, &[(1, "pids", 2.0)])];
        rig.write((1..400).flat_map(|n| of(NOW - 2 * DAY + n * 60)).collect()).await;
        rig.compact(usize::MAX).await;
        rig.age().await;
        rig.write((1..100).flat_map(|n| of(NOW - 2 * HOUR + n * 10)).collect()).await;
        rig.compact(1).await;
        rig.store.forget(&host(1)).await.unwrap();
        let from = NOW - 7 * DAY;
        let found = rig.summaries(Subjects::Containers, "pids", from).await;
        assert_eq!(found.iter().map(|(s, _)| s.clone()).collect::<Vec<_>>(), [subject(2, 1)]);
        rig.write(vec![tick(1, NOW, &[(1, "pids", 9.0)])]).await;
        rig.age().await;
        rig.compact(usize::MAX).await;
        assert_eq!((rig.rows("metric_hosts").await, rig.rows("metric_series").await), (2, 2));
        let found = rig.summaries(Subjects::ContainersOf(host(1)), "pids", from).await;
        assert_eq!(found, [(subject(1, 1), Summary { mean: 9.0, max: 9.0, last: 9.0 })], "it begins anew");
        rig.store.forget(&host(2)).await.unwrap();
        rig.store.forget(&host(1)).await.unwrap();
        rig.age().await;
        for table in ["metric_hosts", "metric_series", "metric_head", "metric_raw", "metric_minutes"] {
            assert_eq!(rig.rows(table).await, 0, "{table}");
        }
    });
}

#[test]
fn a_row_that_grows_while_it_is_compacted_is_kept() {
    fixture::block_on(async {
        let rig = Rig::new();
        rig.write(vec![tick(1, NOW - 10, &[(0, "load1", 1.0)])]).await;
        let (of, _) = lock(&rig.store.shared.backlog).take_any().unwrap();
        let compacting = rig.store.compact(of);
        let growing = rig.write(vec![tick(1, NOW - 10, &[(0, "load5", 5.0)])]);
        let (compacted, ()) = tokio::join!(compacting, growing);
        compacted.unwrap();
        rig.compact(usize::MAX).await;
        for (name, value) in [("load1", 1.0_f64), ("load5", 5.0)] {
            let found = rig.summaries(Subjects::Hosts, name, NOW - 60).await;
            assert_eq!(found.len(), 1, "{name}");
            assert_eq!(found[0].1.last.to_bits(), value.to_bits());
        }
        assert_eq!(rig.rows("metric_head").await, 0);
    });
}

#[test]
fn points_are_of_what_came_after_the_point_before() {
    fixture::block_on(async {
        let rig = Rig::new();
        let of = |ago, value| tick(1, NOW - ago, &[(1, "cpu_percent", value)]);
        rig.write(vec![of(30, 99.0), of(20, 1.0), of(10, 3.0), of(0, 5.0)]).await;
        let query = |from, step, statistic| RangeQuery {
            subject: subject(1, 1),
            names: vec![SeriesName::of("cpu_percent"), SeriesName::of("nothing")],
            from: NOW - from,
            to: NOW,
            step,
            statistic,
        };
        let values = async |query| {
            rig.store.range(query).await.unwrap().series.remove(&SeriesName::of("cpu_percent")).unwrap()
        };
        assert_eq!(values(query(0, 20, Statistic::Mean)).await, [Some(4.0)]);
        assert_eq!(values(query(20, 20, Statistic::Max)).await, [Some(99.0), Some(5.0)]);
        assert_eq!(
            values(query(20, 5, Statistic::Mean)).await,
            [Some(1.0), None, Some(3.0), None, Some(5.0)]
        );
        for bad in [
            query(0, 0, Statistic::Mean),
            query(-10, 10, Statistic::Mean),
            query(1 << 40, 1, Statistic::Mean),
        ] {
            assert!(matches!(rig.store.range(bad).await, Err(StoreError::Refused(_))));
        }
    });
}

#[test]
fn an_hour_is_compacted_when_it_is_over_and_quiet() {
    fixture::block_on(async {
        let rig = Rig::new();
        // Compaction of what waits is due once it is complete and nothing more came for a while, or at once when much waits.
        rig.write(vec![tick(1, NOW - 2 * HOUR, &[(1, "pids", 1.0)]), tick(1, NOW, &[(1, "pids", 1.0)])])
            .await;
        let later = std::time::Instant::now() + Duration::from_secs(30);
        let mut backlog = lock(&rig.store.shared.backlog);
        assert!(backlog.take_due(NOW, std::time::Instant::now()).is_none(), "more may come");
        let (due, _) = backlog.take_due(NOW, later).unwrap();
        assert_eq!(due.hour, (NOW - 2 * HOUR - 1) / HOUR);
        assert!(backlog.take_due(NOW, later).is_none(), "this hour is not over");
    });
}
