//! Figures that wander, and the containers that have them: pure, and the same for the same seed.

use rand::RngExt;
use rand::rngs::StdRng;

use crate::bus::ContainerReport;
use crate::model::{ContainerId, ContainerName, Health, LossPercent, RunState, SeriesName, Values};

/// A figure that wanders about its middle and is never below zero.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    middle: f64,
    now: f64,
}

impl Walk {
    pub(super) fn about(middle: f64) -> Self {
        Self { middle, now: middle }
    }

    /// The next value: a tenth of the way back to the middle, and up to a fifth of that to either side.
    pub(super) fn next(&mut self, rng: &mut StdRng) -> f64 {
        let pushed = self.middle * 0.2 * rng.random_range(-1.0..=1.0);
        self.now = (self.now + (self.middle - self.now) * 0.1 + pushed).max(0.0);
        self.now
    }
}

/// What ails a container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Phase {
    /// Nothing.
    Well,
    /// It crashed, and is started at the next step.
    Down,
    /// It loses this share of its packets for so many steps more, seconds.
    Lossy { percent: f64, left: i64 },
    /// It was started or restarted at the last step.
    Recovering,
}

/// Images, the CPU they use (percent of a core) and their memory (MiB).
const KINDS: [(&str, f64, f64); 6] = [
    ("web", 12.0, 48.0),
    ("api", 35.0, 220.0),
    ("db", 22.0, 900.0),
    ("cache", 4.0, 150.0),
    ("worker", 60.0, 310.0),
    ("queue", 8.0, 180.0),
];

const MIB: f64 = 1_048_576.0;

/// A container that nobody runs.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) name: ContainerName,
    pub(super) phase: Phase,
    id: ContainerId,
    image: String,
    /// Unix seconds.
    started: i64,
    pub(super) restarts: u64,
    cpu: Walk,
    memory: Walk,
    received: Walk,
    sent: Walk,
    read: Walk,
    written: Walk,
    rtt: Walk,
    /// As last measured.
    rtt_ms: f64,
}

impl Container {
    /// The container number `number` of its host, started at some moment of the month before `now`.
    pub(super) fn new(number: u32, now: i64, rng: &mut StdRng) -> Self {
        let kinds = u32::try_from(KINDS.len()).expect("they are few");
        let (kind, cpu, memory) = KINDS[(number % kinds) as usize];
        let name = format!("{kind}-{}", number / kinds + 1);
        let mut about = |middle: f64| Walk::about(middle * rng.random_range(0.3..=2.0));
        let (cpu, memory) = (about(cpu), about(memory * MIB));
        let (received, sent, read, written) = (about(40e3), about(90e3), about(6e3), about(25e3));
        let rtt = about(0.06);
        Self {
            name: name.parse().expect("a valid name"),
            phase: Phase::Well,
            id: format!("{:032x}{:032x}", rng.random::<u128>(), rng.random::<u128>())
                .parse()
                .expect("hexadecimal digits"),
            image: format!("simulated/{kind}:1"),
            started: now - rng.random_range(60..2_592_000),
            restarts: 0,
            cpu,
            memory,
            received,
            sent,
            read,
            written,
            rtt,
            rtt_ms: 0.06,
        }
    }

    /// Begins anew at `now`, unix seconds.
    pub(super) fn start(&mut self, now: i64) {
        self.phase = Phase::Recovering;
        self.started = now;
        self.restarts += 1;
    }

    /// What is measured of it at `now`, on a host of so many cores.
    pub(super) fn sample(&mut self, now: i64, cores: f64, rng: &mut StdRng) -> Values {
        let mut out = Samples::default();
        out.add("restarts", self.restarts as f64);
        if self.phase == Phase::Down {
            out.add("exit_code", 137.0);
            return out.0;
        }
        let (cpu, memory, limit) = (self.cpu.next(rng), self.memory.next(rng), self.memory.middle * 4.0);
        let memory = memory.min(limit);
        let (received, sent) = (self.received.next(rng), self.sent.next(rng));
        let (read, written) = (self.read.next(rng), self.written.next(rng));
        self.rtt_ms = self.rtt.next(rng);
        out.add("cpu_percent", cpu);
        out.add("cpu_host_percent", cpu / cores);
        out.add("cpu_throttled_percent", 0.0);
        out.add("cpu_throttled_seconds_per_second", 0.0);
        out.whole("memory_bytes", memory);
        out.whole("memory_limit_bytes", limit);
        out.add("memory_percent", 100.0 * memory / limit);
        out.whole("memory_cache_bytes", self.memory.middle / 3.0);
        out.add("memory_swap_bytes", 0.0);
        out.add("oom_kills", 0.0);
        out.add("net_rx_bytes_per_second", received);
        out.add("net_tx_bytes_per_second", sent);
        out.add("net_rx_packets_per_second", received / 700.0);
        out.add("net_tx_packets_per_second", sent / 900.0);
        for quiet in [
            "net_rx_errors_per_second",
            "net_tx_errors_per_second",
            "net_rx_drops_per_second",
            "net_tx_drops_per_second",
        ] {
            out.add(quiet, 0.0);
        }
        out.add("block_read_bytes_per_second", read);
        out.add("block_write_bytes_per_second", written);
        out.add("block_reads_per_second", read / 16e3);
        out.add("block_writes_per_second", written / 8e3);
        out.whole("pids", 2.0 + (cpu / 4.0).round());
        out.whole("uptime_seconds", (now - self.started) as f64);
        out.add("loss_percent", self.loss());
        if self.loss() < 100.0 {
            out.add("rtt_ms", self.rtt_ms);
        }
        out.0
    }

    fn loss(&self) -> f64 {
        match self.phase {
            Phase::Lossy { percent, .. } => percent,
            Phase::Well | Phase::Down | Phase::Recovering => 0.0,
        }
    }

    /// What a report says of it.
    pub(super) fn report(&self) -> ContainerReport {
        let runs = self.phase != Phase::Down;
        let (health, reason) = match self.phase {
            Phase::Well => (Health::Healthy, "simulated; it passes its checks".to_owned()),
            Phase::Down => (Health::Failing, "simulated; it is down: it ended with exit code 137".to_owned()),
            Phase::Lossy { percent, .. } => {
                let health = if percent > 50.0 { Health::Failing } else { Health::Degraded };
                (health, format!("simulated; it loses {percent} % of its packets"))
            }
            Phase::Recovering => (Health::Recovering, "simulated; it was just started".to_owned()),
        };
        ContainerReport {
            name: self.name.clone(),
            id: self.id.clone(),
            image: self.image.clone(),
            status: if runs { RunState::Running } else { RunState::Exited },
            monitored: true,
            health,
            loss_percent: if runs { LossPercent::new(self.loss()).ok() } else { None },
            rtt_ms: runs.then_some(self.rtt_ms),
            restarts: Some(self.restarts),
            networks: vec!["bridge".to_owned()],
            addresses: Vec::new(),
            project: Some("simulated".to_owned()),
            service: None,
            reason,
            outcomes: None,
            maintenance_by_label: false,
        }
    }
}

/// Samples on the way into a tick, as precise as an agent's.
#[derive(Default)]
pub(super) struct Samples(pub(super) Values);

impl Samples {
    /// With three decimals.
    pub(super) fn add(&mut self, name: &'static str, value: f64) {
        self.0.insert(SeriesName::of(name), (value * 1e3).round() / 1e3);
    }

    /// A whole number.
    pub(super) fn whole(&mut self, name: &'static str, value: f64) {
        self.0.insert(SeriesName::of(name), value.round());
    }

    /// One part of a metric that has several, a whole number.
    pub(super) fn part(&mut self, name: &'static str, part: &str, value: f64) {
        self.0.extend(SeriesName::part_of(name, part).map(|name| (name, value.round())));
    }
}
