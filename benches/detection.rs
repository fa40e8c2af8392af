//! Both detectors on a simulated container: how soon loss is found, and how often a sound one would be restarted. The
//! code that decides is the program's own ([`HostState`], and [`Streams`] before it); only the network is made up.
//! `scripts/bench.d/detection.py` runs it and draws what it prints: one JSON object for each cell of the table.
//!
//! ```text
//! detection TRIALS SECONDS      TRIALS for each time to detect; SECONDS of computing for each rate of false restarts
//! ```

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "its numbers are small"
)]

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dockhealth::model::{
    CheckKind, ContainerFacts, LossPercent, Mono, Namespace, NetworkAttachment, Now, Rate, RestartPolicy,
    RunState, Timestamp,
};
use dockhealth::monitor::decide::{
    ActionResult, Checked, Decision, Detector, ErrorRates, Finding, HostState, Input, Memory, OwnContainers,
    Policy, Target,
};
use dockhealth::monitor::detect::{self, Event, Streams};
use dockhealth::monitor::ping::ProbeOutcome;
use serde_json::json;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const INTERVAL: i64 = 10_000;
const RTT: i64 = 1;
const YEAR_MS: f64 = 365.25 * 86_400_000.0;
/// Longer than this no detection is waited for.
const GIVE_UP: i64 = 1_800_000;

/// splitmix64, so that every run has the same fortune.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.next()).ln()
    }
}

/// What is lost: each probe by itself, or all while a burst lasts (Gilbert's model in continuous time: bursts and the
/// gaps between them are exponentially distributed).
struct Network {
    random: Random,
    share: f64,
    /// Mean length of a burst, milliseconds.
    burst: Option<f64>,
    /// From when on it loses anything.
    from: i64,
    /// Beginnings of bursts and gaps, oldest first: when, and whether it is a burst.
    turns: VecDeque<(f64, bool)>,
    /// When the last of them ends.
    known_to: f64,
}

impl Network {
    fn new(share: f64, burst: Option<f64>, seed: u64) -> Self {
        let mut random = Random(seed);
        // The first numbers of neighbouring seeds resemble each other.
        random.next();
        Self { random, share, burst, from: 0, turns: VecDeque::new(), known_to: f64::NEG_INFINITY }
    }

    /// The same, losing nothing before `from`.
    fn beginning(self, from: i64) -> Self {
        Self { from, ..self }
    }

    fn loses(&mut self, at: i64) -> bool {
        if at < self.from {
            return false;
        }
        let Some(burst) = self.burst.filter(|_| self.share < 1.0) else {
            return self.random.next() < self.share;
        };
        let at = at as f64;
        if self.known_to == f64::NEG_INFINITY {
            let bad = self.random.next() < self.share;
            self.known_to = self.from as f64;
            self.turn(bad, burst);
        }
        while self.known_to <= at {
            let bad = !self.turns.back().unwrap().1;
            self.turn(bad, burst);
        }
        // Probes are asked for out of order by some tenths of a second at most.
        while self.turns.len() > 1 && self.turns[1].0 < at - 10_000.0 {
            self.turns.pop_front();
        }
        self.turns.iter().rev().find(|(begin, _)| *begin <= at).unwrap().1
    }

    fn turn(&mut self, bad: bool, burst: f64) {
        let mean = if bad { burst } else { burst * (1.0 - self.share) / self.share };
        self.turns.push_back((self.known_to, bad));
        self.known_to += self.random.exponential(mean);
    }
}

fn facts(started: i64) -> ContainerFacts {
    ContainerFacts {
        id: format!("{:064x}", 1).parse().unwrap(),
        name: "c".parse().unwrap(),
        image: "image".into(),
        state: RunState::Running,
        exit_code: None,
        oom_killed: false,
        healthcheck: None,
        started_at: Some(Timestamp::from_millis(started)),
        finished_at: None,
        restart_count: None,
        restart_policy: RestartPolicy::No,
        labels: BTreeMap::from([("dockhealth.monitor".to_owned(), "true".to_owned())]),
        namespace: Namespace::Own,
        networks: vec![NetworkAttachment {
            network: "bridge".into(),
            endpoint_id: "e".into(),
            ipv4: Some([10, 0, 0, 2].into()),
            ipv6: None,
            gateways: Vec::new(),
        }],
        published: Vec::new(),
        pid: None,
        auto_remove: false,
        links: Vec::new(),
    }
}

/// The defaults, but for the brakes that count restarts.
fn policy(detector: Detector) -> Policy {
    let endless = Rate { count: 1_000_000, window: Duration::from_millis(1) };
    Policy { detector, budget: endless, host_budget: endless, backoff: Duration::ZERO, ..Policy::default() }
}

/// One host with one container, whose restarts take no time and help nothing.
struct Host {
    policy: Policy,
    state: HostState,
    network: Network,
    now: i64,
    /// When restarts were ordered.
    restarts: Vec<i64>,
    confirm: Option<Vec<Target>>,
    /// Of the sequential detector.
    streams: Option<Streams>,
    flying: BTreeMap<(i64, u64), ProbeOutcome>,
    probes: u64,
    next_sweep: i64,
}

impl Host {
    fn new(detector: Detector, network: Network) -> Self {
        let policy = policy(detector);
        let at = Now { mono: Mono(0), wall: Timestamp::from_millis(0) };
        let own = OwnContainers::default();
        let state = HostState::new("h".parse().unwrap(), policy.clone(), own, "p", Memory::default(), at);
        let streams = match detector {
            Detector::Fixed => None,
            Detector::Sprt(rates) => Some(Streams::new(rates)),
        };
        let mut host = Self {
            policy,
            state,
            network,
            now: 0,
            restarts: Vec::new(),
            confirm: None,
            streams,
            flying: BTreeMap::new(),
            probes: 0,
            next_sweep: 0,
        };
        host.feed(Input::Listed(vec![facts(0)], Vec::new()));
        host.retarget();
        host
    }

    fn feed(&mut self, input: Input) {
        let at = Now { mono: Mono(self.now), wall: Timestamp::from_millis(self.now) };
        for decision in self.state.on(input, at) {
            match decision {
                Decision::Confirm(targets) => self.confirm = Some(targets),
                Decision::Act(action) => {
                    self.restarts.push(self.now);
                    // As the agent does: what it is now, then that it was done.
                    self.feed(Input::Listed(vec![facts(self.now)], Vec::new()));
                    self.feed(Input::Acted(action.op, ActionResult::Done(0)));
                }
                _ => {}
            }
        }
    }

    /// One step of whichever detector it has.
    fn step(&mut self) {
        if self.streams.is_some() { self.stream() } else { self.sweep() }
    }

    // ---- fixed ----------------------------------------------------------------------------------

    fn sweep(&mut self) {
        self.now = self.next_sweep;
        self.next_sweep += INTERVAL;
        self.feed(Input::Tick);
        let targets = self.state.targets();
        self.check(CheckKind::Sweep, &targets, self.policy.probes);
        if let Some(targets) = self.confirm.take() {
            self.check(CheckKind::Confirm, &targets, self.policy.confirm_probes);
        }
    }

    /// As the flight table does: ends with the last probe, or when too much is lost for certain.
    fn check(&mut self, kind: CheckKind, targets: &[Target], count: u32) {
        let [target] = targets else { panic!("one container") };
        let (spacing, timeout) = (millis(self.policy.probe_spacing), millis(self.policy.probe_timeout));
        let lost: Vec<(i64, bool)> = (0..i64::from(count))
            .map(|n| self.now + n * spacing)
            .map(|at| (at, self.network.loses(at)))
            .collect();
        self.probes += u64::from(count);
        let certain = |lost: u32| {
            LossPercent::of(lost, count).is_some_and(|loss| target.threshold.is_exceeded_by(loss))
        };
        let mut missing = 0;
        let mut end = lost.iter().map(|(at, lost)| at + if *lost { timeout } else { RTT }).max().unwrap();
        for (at, _) in lost.iter().filter(|(_, lost)| *lost) {
            missing += 1;
            if certain(missing) {
                end = at + timeout;
                break;
            }
        }
        let received = lost.iter().filter(|(at, lost)| !lost && at + RTT <= end).count() as u32;
        self.now = end;
        let outcome =
            ProbeOutcome { address: ADDRESS, sent: received + missing, received, void: 0, rtts: Vec::new() };
        let checked = Checked {
            id: target.id.clone(),
            started_at: target.started_at,
            outcomes: vec![outcome],
            finding: Finding::Counted,
        };
        self.feed(Input::Swept(kind, vec![checked]));
    }

    // ---- sprt -----------------------------------------------------------------------------------

    fn retarget(&mut self) {
        let targets = self.state.targets();
        if self.streams.is_some() {
            self.detect(Event::Targets(targets));
        }
    }

    fn stream(&mut self) {
        let ends = self.flying.first_key_value().map(|((at, _), _)| *at);
        let wakes = self.streams.as_ref().unwrap().wake_at().map(|at| at.0);
        let next = [ends, wakes].into_iter().flatten().min().unwrap();
        self.now = next.max(self.now);
        if ends == Some(next) {
            let ((_, volley), outcome) = self.flying.pop_first().unwrap();
            self.detect(Event::Ended(volley, outcome));
        } else {
            self.detect(Event::Tick);
        }
    }

    fn detect(&mut self, event: Event) {
        for decision in self.streams.as_mut().unwrap().on(event, Mono(self.now)) {
            match decision {
                detect::Decision::Probe(volley) => {
                    let lost = self.network.loses(self.now);
                    let end = self.now + if lost { millis(self.policy.probe_timeout) } else { RTT };
                    self.probes += 1;
                    let received = u32::from(!lost);
                    let outcome =
                        ProbeOutcome { address: ADDRESS, sent: 1, received, void: 0, rtts: Vec::new() };
                    self.flying.insert((end, volley.id), outcome);
                }
                detect::Decision::Judge(checked) => {
                    self.feed(Input::Swept(CheckKind::Sweep, checked));
                    // What was decided changes what is news: the shell asks twice a second.
                    self.retarget();
                }
            }
        }
    }
}

fn millis(span: Duration) -> i64 {
    span.as_millis() as i64
}

/// What one cell of the table is about.
#[derive(Clone, Copy)]
struct Cell {
    detector: Detector,
    percent: f64,
    /// Mean length of a burst, milliseconds; `None`: independent loss.
    burst: Option<f64>,
}

impl Cell {
    fn said(&self) -> serde_json::Value {
        let (detector, evidence) = match self.detector {
            Detector::Fixed => ("fixed", None),
            Detector::Sprt(rates) => ("sprt", Some(rates.min_evidence.as_secs_f64())),
        };
        json!({ "detector": detector, "min_evidence_s": evidence, "loss_percent": self.percent,
            "mean_burst_s": self.burst.map(|burst| burst / 1000.0) })
    }

    fn network(&self, seed: u64) -> Network {
        Network::new(self.percent / 100.0, self.burst, seed)
    }

    /// Seconds from the first loss until the restart is ordered; those that took too long are left out and counted.
    fn detect(&self, trials: u64) -> serde_json::Value {
        let mut times = Vec::new();
        for trial in 0..trials {
            let begin = 30_000 + (Random(trial).next() * INTERVAL as f64) as i64;
            let mut host = Host::new(self.detector, self.network(trial * 2 + 1).beginning(begin));
            while host.restarts.is_empty() && host.now < begin + GIVE_UP {
                host.step();
            }
            times.extend(host.restarts.first().map(|at| (at - begin) as f64 / 1000.0));
        }
        times.sort_unstable_by(f64::total_cmp);
        let at = |q: f64| times.get(((times.len() as f64 - 1.0) * q).round() as usize);
        let mean = times.iter().sum::<f64>() / times.len().max(1) as f64;
        json!({ "what": "detect", "trials": trials, "found": times.len(), "mean_s": mean, "p50_s": at(0.5),
            "p95_s": at(0.95), "max_s": times.last() })
    }

    /// Restarts of a container that loses no more than its threshold allows, for so many seconds of computing.
    fn false_restarts(&self, seconds: f64) -> serde_json::Value {
        let mut host = Host::new(self.detector, self.network(77));
        let begun = Instant::now();
        let mut restarts = 0;
        while begun.elapsed().as_secs_f64() < seconds && restarts < 20_000 {
            for _ in 0..1_000 {
                host.step();
            }
            restarts += host.restarts.len();
            host.restarts.clear();
        }
        let span = host.now as f64;
        json!({ "what": "false", "restarts": restarts, "years": span / YEAR_MS,
            "probes_per_second": host.probes as f64 / (span / 1000.0) })
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [trials, seconds] = &arguments[..] else { panic!("detection TRIALS SECONDS") };
    let (trials, seconds): (u64, f64) = (trials.parse().unwrap(), seconds.parse().unwrap());
    let sprt = |seconds| {
        Detector::Sprt(ErrorRates { min_evidence: Duration::from_secs(seconds), ..ErrorRates::default() })
    };
    let bursts = [None, Some(100.0), Some(500.0), Some(2_000.0), Some(10_000.0)];
    let mut jobs: Vec<(Cell, bool)> = Vec::new();
    for burst in bursts {
        for detector in [Detector::Fixed, sprt(1), sprt(2), sprt(5), sprt(10)] {
            let cell = |percent| Cell { detector, percent, burst };
            jobs.extend([60.0, 80.0, 100.0].map(|percent| (cell(percent), true)));
            jobs.extend([1.0, 5.0, 10.0, 30.0].map(|percent| (cell(percent), false)));
        }
    }
    // Total loss has no bursts.
    jobs.retain(|(cell, _)| cell.percent < 100.0 || cell.burst.is_none());
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((cell, detection)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut said = cell.said();
                    let found = if *detection { cell.detect(trials) } else { cell.false_restarts(seconds) };
                    said.as_object_mut().unwrap().extend(found.as_object().unwrap().clone());
                    println!("{said}");
                }
            });
        }
    });
}
