//! The store against a plain model in memory: whatever is written, in whatever order and however often, and however far
//! it is compacted, rolled up, forgotten and opened anew, the answers are the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;

use super::chunk::{BLOCK, HOUR};
use super::*;
use crate::model::{ContainerName, MetricTick, Values};
use crate::store::fixture::{self, Dir};
use crate::store::series::Statistic;

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

/// What the store has to know: the first value told of each moment of each series.
type Model = BTreeMap<(MetricSubject, SeriesName), BTreeMap<i64, f64>>;

fn tell(model: &mut Model, now: i64, HostTick { host, tick }: &HostTick) {
    if tick.time <= now - 7 * DAY || tick.time > now + HOUR {
        return;
    }
    let own = std::iter::once((None, &tick.host));
    for (container, values) in own.chain(tick.containers.iter().map(|(name, v)| (Some(name.clone()), v))) {
        for (name, value) in values {
            let subject = MetricSubject { host: host.clone(), container: container.clone() };
            let series = model.entry((subject, name.clone())).or_default();
            series.entry(tick.time).or_insert(*value);
        }
    }
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 2e-4 * a.abs().max(b.abs()).max(1e-9)
}

const NAMES: [&str; 3] = ["cpu_percent", "memory_bytes", "pids"];

#[derive(Debug, Clone)]
enum Step {
    /// A stretch of ticks: of a host, from some time before now, so many, so far apart; some left out, some said again.
    Write {
        host: u8,
        ago: i64,
        count: i64,
        every: i64,
        mask: u64,
        seed: u64,
    },
    Compact(usize),
    Age,
    Reopen,
    /// Time goes on.
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let ago = prop_oneof![0..2 * HOUR, 0..2 * DAY, 0..8 * DAY];
    let every = prop_oneof![Just(10_i64), Just(1), Just(7), Just(60)];
    prop_oneof![
        6 => (1_u8..3, ago, 1_i64..500, every, any::<u64>(), any::<u64>()).prop_map(
            |(host, ago, count, every, mask, seed)| Step::Write { host, ago, count, every, mask, seed }
        ),
        3 => (1_usize..20).prop_map(Step::Compact),
        2 => Just(Step::Age),
        1 => Just(Step::Reopen),
        2 => (0..10 * HOUR).prop_map(Step::Pass),
    ]
}

fn ticks(now: i64, step: &Step) -> Vec<HostTick> {
    let Step::Write { host, ago, count, every, mask, seed } = *step else { return Vec::new() };
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut ticks = Vec::new();
    for n in 0..count {
        if mask.rotate_left((n % 64) as u32) & 3 == 0 {
            continue;
        }
        let time = (now - ago + n * every).div_euclid(every) * every;
        let value = |n: u64| match n % 3 {
            0 => (random() % 10_000) as f64 / 100.0,
            1 => (random() % 1_000_000) as f64 * 4096.0,
            _ => 7.0,
        };
        let mut value = value;
        let mut of = Vec::new();
        for subject in 0..3_u8 {
            for (at, name) in NAMES.iter().enumerate() {
                if mask >> (u64::from(subject) * 3 + at as u64) & 1 == 1 {
                    of.push((subject, *name, value(at as u64)));
                }
            }
        }
        ticks.push(tick(host, time, &of));
    }
    if seed & 1 == 1 {
        ticks.reverse();
    }
    if seed & 2 == 2 {
        let again = ticks.iter().step_by(3).cloned().collect::<Vec<_>>();
        ticks.extend(again);
    }
    ticks
}

/// Compares what the store says with the model, in whole minutes, since that is all that is left of old samples.
async fn check(rig: &Rig, model: &Model) {
    let now = rig.store.now();
    // What is just about to be forgotten may or may not be there.
    let from = (now - 7 * DAY + BLOCK).div_euclid(BLOCK) * BLOCK + BLOCK;
    for n in 0..6_u8 {
        let subject = subject(n % 2 + 1, n / 2);
        for (step, statistic) in [
            (60_i64, Statistic::Max),
            (600, Statistic::Mean),
            (HOUR, Statistic::Mean),
            (HOUR, Statistic::Max),
        ] {
            let (from, to) = if step == 60 {
                (now.div_euclid(60) * 60 - 8 * HOUR, now + HOUR)
            } else {
                (from, now + HOUR)
            };
            let from = from.div_euclid(step) * step;
            let query = RangeQuery {
                subject: subject.clone(),
                names: Vec::new(),
                from,
                to,
                step: step as u32,
                statistic,
            };
            let answer = rig.store.range(query).await.unwrap();
            assert!(answer.times.windows(2).all(|two| two[1] - two[0] == step));
            let mut expected: BTreeMap<SeriesName, Vec<Option<f64>>> = BTreeMap::new();
            for ((of, name), samples) in model {
                if *of != subject {
                    continue;
                }
                let point = |time: &i64| {
                    let of: Vec<f64> = samples.range(time - step + 1..=*time).map(|(_, v)| *v).collect();
                    match statistic {
                        _ if of.is_empty() => None,
                        Statistic::Mean => Some(of.iter().sum::<f64>() / of.len() as f64),
                        Statistic::Max => of.into_iter().reduce(f64::max),
                    }
                };
                let points: Vec<_> = answer.times.iter().map(point).collect();
                if points.iter().any(Option::is_some) {
                    expected.insert(name.clone(), points);
                }
            }
            let names =
                |series: &BTreeMap<SeriesName, Vec<Option<f64>>>| series.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&answer.series), names(&expected), "{subject:?}");
            for (name, points) in &answer.series {
                for ((time, found), expected) in answer.times.iter().zip(points).zip(&expected[name]) {
                    let alike = match (found, expected) {
                        (Some(a), Some(b)) => same(*a, *b),
                        (None, None) => true,
                        _ => false,
                    };
                    assert!(
                        alike,
                        "{subject:?} {name} at now - {} s, {statistic:?} of {step} s: {found:?}, not {expected:?}",
                        now - time
                    );
                }
            }
        }
    }
    check_summaries(rig, model, now).await;
}

async fn check_summaries(rig: &Rig, model: &Model, now: i64) {
    for (from, to) in [(now - 600, now), (now - 20 * HOUR, now - 300)] {
        let name = SeriesName::of("cpu_percent");
        let found = rig.store.summarize(None, name.clone(), from, to).await.unwrap();
        let mut expected = Vec::new();
        for ((subject, of), samples) in model {
            let all: Vec<f64> = samples.range(from + 1..=to).map(|(_, v)| *v).collect();
            if *of == name && !all.is_empty() {
                let mean = all.iter().sum::<f64>() / all.len() as f64;
                let max = all.iter().copied().fold(f64::MIN, f64::max);
                expected.push((subject.clone(), Summary { mean, max, last: *all.last().unwrap() }));
            }
        }
        assert_eq!(found.len(), expected.len());
        for ((a, found), (b, expected)) in found.iter().zip(&expected) {
            assert_eq!(a, b);
            assert!(
                same(found.mean, expected.mean) && same(found.max, expected.max),
                "{found:?} {expected:?}"
            );
            assert!(same(found.last, expected.last), "{found:?} {expected:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, ..ProptestConfig::default() })]
    #[test]
    fn answers_are_those_of_a_plain_model(steps in proptest::collection::vec(step(), 1..14)) {
        fixture::block_on(async {
            let mut rig = Rig::new();
            let mut model = Model::new();
            for step in steps {
                match step {
                    Step::Write { .. } => {
                        let now = rig.store.now();
                        let ticks = ticks(now, &step);
                        ticks.iter().for_each(|tick| tell(&mut model, now, tick));
                        rig.write(ticks).await;
                    }
                    Step::Compact(count) => rig.compact(count).await,
                    Step::Age => rig.age().await,
                    Step::Reopen => rig.reopen().await,
                    Step::Pass(seconds) => drop(rig.clock.fetch_add(seconds, Ordering::Relaxed)),
                }
            }
            check(&rig, &model).await;
            rig.compact(usize::MAX).await;
            rig.age().await;
            check(&rig, &model).await;
            assert_eq!(rig.rows("metric_head").await, 0);
        });
    }
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
        let found = rig.store.summarize(None, SeriesName::of("cpu_percent"), NOW, i64::MAX).await.unwrap();
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
        let (from, name) = (NOW - 7 * DAY, SeriesName::of("load15"));
        let found = rig.store.summarize(Some(host(1)), name, from, NOW + HOUR).await.unwrap();
        assert_eq!(found, [(subject(1, 0), Summary { mean: 2.0, max: 2.0, last: 2.0 })]);
    });
}

#[test]
fn series_and_hosts_are_bounded() {
    fixture::block_on(async {
        let rig = Rig::new();
        let mut big = tick(1, NOW, &[]);
        for n in 0..MAX_SERIES + 5 {
            big.tick.host.insert(SeriesName::part_of("temperature_celsius", &n.to_string()).unwrap(), 1.0);
        }
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
        let (name, from) = (SeriesName::of("pids"), NOW - 7 * DAY);
        let found = rig.store.summarize(None, name.clone(), from, NOW).await.unwrap();
        assert_eq!(found.iter().map(|(s, _)| s.clone()).collect::<Vec<_>>(), [subject(2, 1)]);
        rig.write(vec![tick(1, NOW, &[(1, "pids", 9.0)])]).await;
        rig.age().await;
        rig.compact(usize::MAX).await;
        assert_eq!((rig.rows("metric_hosts").await, rig.rows("metric_series").await), (2, 2));
        let found = rig.store.summarize(Some(host(1)), name, from, NOW).await.unwrap();
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
        tokio::join!(compacting, growing);
        rig.compact(usize::MAX).await;
        for (name, value) in [("load1", 1.0_f64), ("load5", 5.0)] {
            let found = rig.store.summarize(None, SeriesName::of(name), NOW - 60, NOW).await.unwrap();
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
