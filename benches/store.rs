//! The same generated samples into a store of metrics, timed. `scripts/bench.d/store.py` runs it, once for the embedded
//! store and once for a server that speaks Prometheus' protocols, and compares what it prints: one JSON object a line.
//!
//! ```text
//! store embedded DIR      FOLDER HOSTS CONTAINERS HOURS
//! store remote   URL PID  FOLDER HOSTS CONTAINERS HOURS      FOLDER: where the store keeps its files
//! ```

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "its numbers are small"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dockhealth::model::{
    Actor, ContainerName, EventDraft, EventKind, MetricSubject, MetricTick, SeriesName, Timestamp, Values,
};
use dockhealth::store::{
    ControllerDb, EmbeddedStore, HostTick, MetricStore, RangeQuery, RemoteOptions, RemoteStore, Statistic,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const STEP: i64 = 10;

/// Ticks of each host in one write, as an outbox that is a minute behind sends them.
const TICKS: i64 = 6;

const LATE_BY: i64 = 90 * 60;

const NAMES: [&str; 12] = [
    "cpu_percent",
    "cpu_throttled_percent",
    "memory_bytes",
    "memory_limit_bytes",
    "memory_percent",
    "memory_cache_bytes",
    "net_rx_bytes_per_second",
    "net_tx_bytes_per_second",
    "block_write_bytes_per_second",
    "pids",
    "uptime_seconds",
    "rtt_ms",
];

/// splitmix64, so that every run has the same samples.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, from -3 to 3.
    fn normal(&mut self) -> f64 {
        (0..6).map(|_| self.next()).sum::<f64>() * std::f64::consts::SQRT_2 - 3.0 * std::f64::consts::SQRT_2
    }
}

fn digits(value: f64, ten: f64) -> f64 {
    (value * ten).round() / ten
}

/// One container's life: random walks, constants, bursts, a clock; rounded as sensors round.
struct Container {
    name: ContainerName,
    random: Random,
    base: f64,
    walk: f64,
    memory: f64,
    cache: f64,
    pids: f64,
    age: f64,
}

impl Container {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x1234_5678_9ABC_DEF1));
        let base = random.next();
        Self {
            name: format!("c{seed:05}").parse().unwrap(),
            base,
            walk: 0.0,
            memory: (base * 100_000.0).round() * 4096.0,
            cache: (base * 20_000.0).round() * 4096.0,
            pids: (5.0 + base * 30.0).round(),
            age: (base * 1e6).round(),
            random,
        }
    }

    fn values(&mut self, names: &[SeriesName]) -> Values {
        let r = &mut self.random;
        self.walk = 0.9 * self.walk + r.normal();
        if r.next() < 0.6 {
            self.memory = (self.memory + (r.normal() * 30.0).round() * 4096.0).max(4096.0);
        }
        if r.next() < 0.1 {
            self.cache += (r.next() * 50.0).round() * 4096.0;
        }
        if r.next() < 0.02 {
            self.pids = (self.pids + r.normal().round()).max(1.0);
        }
        self.age += STEP as f64;
        let limit = 536_870_912.0;
        let rate = |r: &mut Random, base: f64| (base * 8.0 + 2.0 + 0.3 * r.normal()).exp().round();
        let values = [
            digits((self.base * 20.0 + self.walk * (1.0 + 2.0 * self.base)).max(0.0), 100.0),
            0.0,
            self.memory,
            limit,
            digits(self.memory / limit * 100.0, 100.0),
            self.cache,
            rate(r, self.base),
            rate(r, 1.0 - self.base),
            if r.next() < 0.08 { (r.next() * 200.0).round() * 410.0 } else { 0.0 },
            self.pids,
            self.age,
            digits(0.05 + 0.02 * self.base + (0.01 * r.normal()).abs(), 1000.0),
        ];
        names.iter().cloned().zip(values).collect()
    }
}

struct Fleet {
    prefix: &'static str,
    hosts: Vec<Vec<Container>>,
    names: Vec<SeriesName>,
}

impl Fleet {
    fn new(prefix: &'static str, hosts: u64, containers: u64) -> Self {
        let of = |host| (0..containers).map(|n| Container::new(1 + host * containers + n)).collect();
        Self { prefix, hosts: (0..hosts).map(of).collect(), names: NAMES.map(SeriesName::of).into() }
    }

    fn samples(&self) -> u64 {
        self.hosts.iter().map(|host| (host.len() * NAMES.len()) as u64).sum()
    }

    fn name(&self, n: usize) -> String {
        format!("{}{n:04}", self.prefix)
    }

    fn ticks(&mut self, time: i64) -> Vec<HostTick> {
        let (prefix, names) = (self.prefix, &self.names);
        let tick = |(n, containers): (usize, &mut Vec<Container>)| {
            let containers: BTreeMap<_, _> =
                containers.iter_mut().map(|c| (c.name.clone(), c.values(names))).collect();
            HostTick {
                host: format!("{prefix}{n:04}").parse().unwrap(),
                tick: MetricTick { time, step: STEP as u32, host: Values::new(), containers },
            }
        };
        self.hosts.iter_mut().enumerate().map(tick).collect()
    }
}

/// CPU seconds of a process so far, and its resident MiB: at most, and now.
fn cost(pid: u32) -> (f64, f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    };
    (ticks / 100.0, field("VmHWM:"), field("VmRSS:"))
}

/// CPU seconds of this thread, which is the one that generates.
fn thread_cpu() -> f64 {
    // SAFETY: an all-zero timespec is a valid value of that plain C structure.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: `time` is writable and outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

struct Load {
    seconds: f64,
    generating: f64,
    samples: u64,
}

/// Writes all ticks from just after `from` up to `to`. Of `late` tenths of the ticks each comes [`LATE_BY`] later.
async fn load(store: &dyn MetricStore, fleet: &mut Fleet, from: i64, to: i64, late: i64) -> Load {
    let mut load = Load { seconds: 0.0, generating: 0.0, samples: 0 };
    let mut held: std::collections::VecDeque<(i64, Vec<HostTick>)> = std::collections::VecDeque::new();
    let mut time = from;
    while time < to || !held.is_empty() {
        let cpu = thread_cpu();
        let mut batch = Vec::new();
        for _ in 0..TICKS {
            time += STEP;
            if time <= to {
                let ticks = fleet.ticks(time);
                load.samples += fleet.samples();
                if time / STEP % 10 < late { held.push_back((time, ticks)) } else { batch.extend(ticks) }
            }
            while held.front().is_some_and(|(due, _)| due + LATE_BY <= time) {
                batch.extend(held.pop_front().unwrap().1);
            }
        }
        load.generating += thread_cpu() - cpu;
        let start = Instant::now();
        store.write(batch).await.unwrap();
        load.seconds += start.elapsed().as_secs_f64();
    }
    load
}

fn quantiles(mut values: Vec<f64>) -> serde_json::Value {
    values.sort_by(f64::total_cmp);
    let at = |q: f64| values.get(((values.len() as f64 - 1.0) * q).round() as usize);
    json!({ "p50": at(0.5), "p99": at(0.99), "max": values.last() })
}

/// Milliseconds of `count` questions about random series.
async fn ask(
    store: &dyn MetricStore,
    fleet: &Fleet,
    count: usize,
    span: (i64, i64, u32),
    statistic: Statistic,
) -> Vec<f64> {
    let mut random = Random(7);
    let mut took = Vec::new();
    for _ in 0..count {
        let host = (random.next() * fleet.hosts.len() as f64) as usize;
        let container = (random.next() * fleet.hosts[host].len() as f64) as usize;
        let query = RangeQuery {
            subject: MetricSubject {
                host: fleet.name(host).parse().unwrap(),
                container: Some(fleet.hosts[host][container].name.clone()),
            },
            names: vec![SeriesName::of(NAMES[(random.next() * 12.0) as usize])],
            from: span.0,
            to: span.1,
            step: span.2,
            statistic,
        };
        let start = Instant::now();
        let answer = store.range(query).await.unwrap();
        took.push(start.elapsed().as_secs_f64() * 1000.0);
        let points: usize = answer.series.values().map(|s| s.iter().flatten().count()).sum();
        assert!(points * 10 >= answer.times.len() * 9, "{points} points of {}", answer.times.len());
    }
    took
}

/// What else is written beside, as the controller writes events: how long each write takes, milliseconds.
async fn events(db: ControllerDb, stop: Arc<AtomicBool>) -> Vec<f64> {
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let event = EventDraft::new(EventKind::ContainerStarted, Actor::Agent, "beside")
            .stamp(&"bench".parse().unwrap(), Timestamp::now());
        let start = Instant::now();
        db.append(vec![event]).await.unwrap();
        took.push(start.elapsed().as_secs_f64() * 1000.0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took
}

/// Bytes on the disk, of all in `folder`.
fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).map(|all| all.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_in(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.into_iter().map(of).sum()
}

fn say(value: &serde_json::Value) {
    println!("{value}");
}

struct Target {
    store: Arc<dyn MetricStore>,
    db: Option<(ControllerDb, PathBuf)>,
    url: String,
    pid: u32,
}

impl Target {
    fn embedded(dir: &Path, shutdown: &CancellationToken) -> Self {
        let db = ControllerDb::open(dir).unwrap();
        let store = Arc::new(EmbeddedStore::open(&db, Duration::from_hours(8 * 24)).unwrap());
        let (keeper, shutdown) = (store.clone(), shutdown.clone());
        tokio::spawn(async move { keeper.maintain(shutdown).await });
        Self { store, db: Some((db, dir.join("controller.db"))), url: String::new(), pid: std::process::id() }
    }

    fn remote(url: &str, pid: u32) -> Self {
        let options =
            RemoteOptions { url: url.parse().unwrap(), write_url: None, credentials: None, ca_pem: None };
        Self { store: Arc::new(RemoteStore::new(options).unwrap()), db: None, url: url.to_owned(), pid }
    }

    /// Bytes on the disk once what is in memory or in a log was written to its place.
    fn on_disk(&self, folder: &Path) -> u64 {
        match (&self.db, &self.url) {
            (Some((_, file)), _) => {
                let conn = rusqlite::Connection::open(file).unwrap();
                conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            }
            (None, url) => {
                for path in ["/internal/force_flush", "/internal/force_merge"] {
                    ureq::get(format!("{url}{path}")).call().unwrap();
                }
                // A merge that is under way shows as files that come and go.
                let mut sizes = [0, 0, 0];
                while sizes[0] == 0 || sizes.iter().any(|size| *size != sizes[0]) {
                    std::thread::sleep(Duration::from_secs(1));
                    sizes.rotate_left(1);
                    sizes[2] = bytes_in(folder);
                }
            }
        }
        bytes_in(folder)
    }

    /// Waits until all that is complete before `time` is compacted and what is older than a day is kept by the minute.
    async fn settled(&self, time: i64) {
        let Some((_, file)) = &self.db else { return };
        let open = || rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
        let conn = open().unwrap();
        let waiting = || -> bool {
            let head: i64 = conn
                .query_row(
                    "SELECT count(*) FROM metric_head WHERE key & 0xFFFFFFFFF <= ?1",
                    [(time - 1) / 3600 * 3600],
                    |row| row.get(0),
                )
                .unwrap();
            let old = (time - 86_400).div_euclid(21_600) * 6;
            let raw: bool = conn
                .query_row("SELECT EXISTS (SELECT 1 FROM metric_raw WHERE key < ?1 << 36)", [old], |row| {
                    row.get(0)
                })
                .unwrap();
            head > 0 || raw
        };
        while waiting() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |n: usize| arguments[arguments.len() - 3 + n].parse::<u64>().unwrap();
    let (hosts, containers, hours) = (number(0), number(1), number(2) as i64);
    let shutdown = CancellationToken::new();
    let target = match arguments[0].as_str() {
        "embedded" => Target::embedded(Path::new(&arguments[1]), &shutdown),
        _ => Target::remote(&arguments[1], arguments[2].parse().unwrap()),
    };
    let store = &*target.store;
    let now = Timestamp::now().millis() / 1000 / 3600 * 3600;

    // A day, or as much of it as was asked for, in order.
    let mut fleet = Fleet::new("h", hosts, containers);
    let stop = Arc::new(AtomicBool::new(false));
    let beside = target.db.as_ref().map(|(db, _)| tokio::spawn(events(db.clone(), stop.clone())));
    let before = cost(target.pid).0;
    let loaded = load(store, &mut fleet, now - hours * 3600, now, 0).await;
    target.settled(now).await;
    let (cpu, peak, rss) = cost(target.pid);
    stop.store(true, Ordering::Relaxed);
    let beside = match beside {
        Some(beside) => Some(quantiles(beside.await.unwrap())),
        None => None,
    };
    let own = if target.db.is_some() { loaded.generating } else { 0.0 };
    let bytes = target.on_disk(Path::new(&arguments[arguments.len() - 4]));
    say(&json!({ "phase": "ingest", "bytes": bytes, "samples": loaded.samples, "seconds": loaded.seconds,
        "cpu": cpu - before - own, "peak_mib": peak, "rss_mib": rss, "events_ms": beside }));

    // Ten minutes of one series while more comes.
    let more = {
        let (store, stop) = (target.store.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let writing = tokio::spawn(async move {
            let mut time = now;
            while !stopped.load(Ordering::Relaxed) && time < now + 3000 {
                load(&*store, &mut fleet, time, time + STEP * TICKS, 0).await;
                time += STEP * TICKS;
            }
            fleet
        });
        (writing, stop)
    };
    let names = Fleet::new("h", hosts, containers);
    let took = ask(store, &names, 1000, (now - 600 + STEP, now, STEP as u32), Statistic::Mean).await;
    more.1.store(true, Ordering::Relaxed);
    more.0.await.unwrap();
    say(&json!({ "phase": "ten_minutes", "ms": quantiles(took) }));

    // A week of one host.
    let mut week = Fleet::new("w", 1, 10);
    load(store, &mut week, now - 7 * 86_400 + 7200, now, 0).await;
    target.settled(now).await;
    let took = ask(store, &week, 100, (now - 7 * 86_400 + 7260, now, 60), Statistic::Max).await;
    say(&json!({ "phase": "week", "ms": quantiles(took) }));

    // The same span in order and with a tenth of it late.
    for (prefix, late) in [("p", 0), ("l", 1)] {
        let mut fleet = Fleet::new(prefix, hosts, containers.div_ceil(2));
        let before = cost(target.pid).0;
        let loaded = load(store, &mut fleet, now - 4 * 3600, now - 3600, late).await;
        target.settled(now).await;
        let own = if target.db.is_some() { loaded.generating } else { 0.0 };
        let cpu = cost(target.pid).0 - before - own;
        say(&json!({ "phase": if late == 0 { "in_order" } else { "late" }, "samples": loaded.samples,
            "seconds": loaded.seconds, "cpu": cpu }));
    }
    shutdown.cancel();
    if let Some((db, _)) = target.db {
        drop(target.store);
        db.close().await;
    }
}
