//! One host that is not there: pure, and the same for the same seed.

use std::collections::BTreeMap;
use std::fmt;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use super::walk::{Container, Phase, Samples, Walk};
use crate::bus::{Capability, EngineReport, EngineStatus, HostReport, PROTOCOL_VERSION};
use crate::model::{
    Actor, ContainerName, EventDraft, EventKind, HostIdentity, HostName, InstanceId, MetricTick, Threshold,
    Timestamp, Values,
};

/// What the names of all simulated hosts begin with.
pub const PREFIX: &str = "sim-";

const CORES: u32 = 8;
const MEMORY: u64 = 32 << 30;
const DISK: f64 = 512e9;
/// How long a container or a host does well on the mean, seconds.
const CONTAINER_DOES_WELL: f64 = 4.0 * 3_600.0;
const HOST_DOES_WELL: f64 = 3_600.0;

/// What may happen to simulated hosts and containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimFault {
    /// A container crashes and is started again.
    Crash,
    /// A container loses packets, and is restarted when it loses too many.
    Loss,
    /// A host is cut off for a while, and delivers afterwards what it measured meanwhile.
    Outage,
}

/// The name of host number `number`, from 1.
pub(super) fn host_name(number: u32) -> HostName {
    format!("{PREFIX}{number:04}").parse().expect("a valid name")
}

/// A host, its agent and its containers.
pub(super) struct SimHost {
    pub(super) name: HostName,
    instance: InstanceId,
    nonce: Uuid,
    reports: u64,
    rng: StdRng,
    faults: Vec<SimFault>,
    containers: Vec<Container>,
    idle: Walk,
    disk: Walk,
    /// Unix seconds.
    booted: i64,
    /// Until when it is cut off, unix seconds.
    away_until: i64,
}

impl fmt::Debug for SimHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimHost").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SimHost {
    /// Host number `number` of the fleet that `seed` makes; `nonce` is of this process, `now` unix seconds.
    pub(super) fn new(
        number: u32,
        containers: u32,
        seed: u64,
        faults: Vec<SimFault>,
        nonce: Uuid,
        now: i64,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ u64::from(number) << 32);
        let instance = Uuid::from_u128(rng.random()).to_string().parse().expect("printable");
        let containers = (0..containers).map(|n| Container::new(n, now, &mut rng)).collect();
        let booted = now - rng.random_range(3_600..7_776_000);
        let name = host_name(number);
        let (idle, disk) = (Walk::about(9.0), Walk::about(2e6));
        Self { name, instance, nonce, reports: 0, rng, faults, containers, idle, disk, booted, away_until: 0 }
    }

    /// Whether it is cut off at `now`, unix seconds.
    pub(super) fn is_away(&self, now: i64) -> bool {
        now < self.away_until
    }

    /// Goes on to `now`, unix seconds, `step` seconds after the last: what is measured, and what happened.
    pub(super) fn step(&mut self, now: i64, step: u32, waiting: usize) -> (MetricTick, Vec<EventDraft>) {
        let mut events = Vec::new();
        let seconds = f64::from(step);
        if self.faults.contains(&SimFault::Outage) && self.happens(seconds / HOST_DOES_WELL) {
            self.away_until = now + self.rng.random_range(30..120);
        }
        let mut containers = std::mem::take(&mut self.containers);
        for container in &mut containers {
            self.afflict(container, now, step, &mut events);
        }
        let rng = &mut self.rng;
        let theirs =
            containers.iter_mut().map(|c| (c.name.clone(), c.sample(now, CORES.into(), rng))).collect();
        self.containers = containers;
        let host = self.sample(now, waiting, &theirs);
        (MetricTick { time: now, step, host, containers: theirs }, events)
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability.min(1.0))
    }

    /// Lets a fault begin, go on or end, and does what an agent would do about it.
    fn afflict(&mut self, container: &mut Container, now: i64, step: u32, events: &mut Vec<EventDraft>) {
        let name = container.name.clone();
        let mut emit = |kind, text: String| {
            let data = serde_json::json!({ "simulated": true });
            events.push(EventDraft::new(kind, Actor::Agent, text).about(&name).with(data));
        };
        let rate = f64::from(step) / CONTAINER_DOES_WELL;
        match container.phase {
            Phase::Well if self.faults.contains(&SimFault::Crash) && self.happens(rate) => {
                container.phase = Phase::Down;
                emit(EventKind::ContainerFailing, format!("{name} crashed with exit code 137 (simulated)."));
            }
            Phase::Well if self.faults.contains(&SimFault::Loss) && self.happens(rate) => {
                let percent = f64::from(self.rng.random_range(5..=100_u8));
                container.phase = Phase::Lossy { percent, left: self.rng.random_range(20..90) };
                if percent > 50.0 {
                    emit(
                        EventKind::ContainerFailing,
                        format!("{name} loses {percent} % of its packets (simulated)."),
                    );
                }
            }
            Phase::Well => {}
            Phase::Down => {
                container.start(now);
                emit(EventKind::ContainerStarted, format!("{name} was started: it had crashed (simulated)."));
            }
            Phase::Lossy { percent, left } if left > i64::from(step) => {
                container.phase = Phase::Lossy { percent, left: left - i64::from(step) };
            }
            Phase::Lossy { percent, .. } if percent > 50.0 => {
                container.start(now);
                emit(
                    EventKind::ContainerRestarted,
                    format!("{name} was restarted: {percent} % loss (simulated)."),
                );
            }
            Phase::Lossy { .. } => container.phase = Phase::Well,
            Phase::Recovering => {
                container.phase = Phase::Well;
                emit(EventKind::ContainerRecovered, format!("{name} passes its checks again (simulated)."));
            }
        }
    }

    fn sample(&mut self, now: i64, waiting: usize, containers: &BTreeMap<ContainerName, Values>) -> Values {
        let sum = |name: &str| -> f64 {
            containers.values().flatten().filter(|(series, _)| series.as_str() == name).map(|(_, v)| v).sum()
        };
        let (cores, all) = (f64::from(CORES), MEMORY as f64);
        let cpu = (sum("cpu_percent") + self.idle.next(&mut self.rng)).min(cores * 100.0);
        let memory = (sum("memory_bytes") + 1e9).min(all);
        let (read, written) = (sum("block_read_bytes_per_second"), self.disk.next(&mut self.rng));
        let mut out = Samples::default();
        out.add("cpu_percent", cpu);
        out.add("cpu_host_percent", cpu / cores);
        out.add("cpu_user_percent", cpu / cores * 0.7);
        out.add("cpu_system_percent", cpu / cores * 0.25);
        out.add("cpu_iowait_percent", cpu / cores * 0.03);
        for (metric, share) in
            [("cpu_nice_percent", 0.0), ("cpu_irq_percent", 0.02), ("cpu_steal_percent", 0.0)]
        {
            out.add(metric, cpu / cores * share);
        }
        for metric in ["load1", "load5", "load15"] {
            out.add(metric, cpu / 90.0);
        }
        out.whole("memory_bytes", memory);
        out.whole("memory_total_bytes", all);
        out.add("memory_percent", 100.0 * memory / all);
        out.whole("memory_cache_bytes", (all - memory) * 0.6);
        out.add("memory_swap_bytes", 0.0);
        out.add("memory_swap_total_bytes", 0.0);
        out.part("interface_rx_bytes_per_second", "eth0", sum("net_rx_bytes_per_second"));
        out.part("interface_tx_bytes_per_second", "eth0", sum("net_tx_bytes_per_second"));
        for quiet in [
            "interface_rx_errors_per_second",
            "interface_tx_errors_per_second",
            "interface_rx_drops_per_second",
            "interface_tx_drops_per_second",
        ] {
            out.part(quiet, "eth0", 0.0);
        }
        out.part("disk_read_bytes_per_second", "sda", read);
        out.part("disk_write_bytes_per_second", "sda", written);
        out.part("filesystem_used_bytes", "/", DISK * 0.4 + (now - self.booted) as f64 * 1_000.0);
        out.part("filesystem_total_bytes", "/", DISK);
        out.part("temperature_celsius", "cpu", 38.0 + cpu / cores * 0.3);
        out.whole("uptime_seconds", (now - self.booted) as f64);
        out.add("agent_cpu_percent", 0.3);
        out.whole("agent_memory_bytes", 11e6);
        out.whole("outbox_items", waiting as f64);
        out.add("samples_dropped", 0.0);
        out.0
    }

    /// What it says of itself.
    pub(super) fn report(&mut self, now: Timestamp, waiting: usize) -> HostReport {
        self.reports += 1;
        HostReport {
            v: PROTOCOL_VERSION,
            host: self.name.clone(),
            instance: self.instance.clone(),
            nonce: self.nonce,
            seq: self.reports,
            time: now,
            agent_version: concat!(env!("CARGO_PKG_VERSION"), " (simulated)").to_owned(),
            addresses: Vec::new(),
            engine: EngineReport {
                status: EngineStatus::Reachable,
                id: format!("SIM:{}", self.instance.as_str()).parse().ok(),
                version: Some("simulated".to_owned()),
                error: None,
            },
            capabilities: vec![Capability {
                name: "simulated".to_owned(),
                works: true,
                detail: "this host is made up by dockhealth simulate".to_owned(),
            }],
            freeze: None,
            dry_run: false,
            threshold: Threshold::default(),
            desired_synced: false,
            outbox: Some(waiting as u64),
            fleet: None,
            identity: Some(HostIdentity {
                system_uuid_missing: Some("this host is simulated".to_owned()),
                cores: Some(CORES),
                memory_bytes: Some(MEMORY),
                os: Some("simulated".to_owned()),
                engine_version: Some("simulated".to_owned()),
                ..HostIdentity::default()
            }),
            containers: self.containers.iter().map(Container::report).collect(),
            pools: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{Health, MetricScope, metric};

    const ALL: [SimFault; 3] = [SimFault::Crash, SimFault::Loss, SimFault::Outage];

    fn host(number: u32, seed: u64, faults: &[SimFault]) -> SimHost {
        SimHost::new(number, 8, seed, faults.to_vec(), Uuid::nil(), 1_000_000_000)
    }

    /// A day by steps of five minutes.
    fn day(mut host: SimHost) -> Vec<(MetricTick, Vec<EventDraft>)> {
        (1..=288).map(|n| host.step(1_000_000_000 + n * 300, 300, 0)).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_day_and_each_host_its_own() {
        assert_eq!(day(host(1, 7, &ALL)), day(host(1, 7, &ALL)));
        let first = |number, seed| day(host(number, seed, &[])).swap_remove(0).0;
        assert_ne!(first(1, 7), first(2, 7));
        assert_ne!(first(1, 7), first(1, 8));
    }

    #[test]
    fn what_is_measured_is_of_the_catalogue_and_finite() {
        for (tick, _) in day(host(1, 7, &ALL)) {
            let own = tick.host.iter().map(|sample| (MetricScope::Host, sample));
            let theirs = tick.containers.values().flatten().map(|sample| (MetricScope::Container, sample));
            for (scope, (name, value)) in own.chain(theirs) {
                let known = metric(name.metric()).unwrap_or_else(|| panic!("{name}"));
                assert!(known.scope == scope || known.scope == MetricScope::Both, "{name}");
                assert_eq!(known.part.is_some(), name.part().is_some(), "{name}");
                assert!(value.is_finite() && *value >= 0.0, "{name}: {value}");
            }
        }
    }

    #[test]
    fn faults_happen_only_when_asked_for_and_end() {
        assert!(day(host(1, 7, &[])).iter().all(|(_, events)| events.is_empty()));
        let mut faulty = host(1, 7, &ALL);
        let (mut kinds, mut away) = (BTreeSet::new(), 0);
        for n in 1..=288 {
            let now = 1_000_000_000 + n * 300;
            let (_, events) = faulty.step(now, 300, 0);
            kinds.extend(events.iter().map(|event| event.kind.as_str()));
            away += u32::from(faulty.is_away(now));
        }
        let expected =
            ["container_failing", "container_recovered", "container_restarted", "container_started"];
        assert_eq!(kinds, BTreeSet::from(expected));
        assert!((5..100).contains(&away), "{away}");
        faulty.faults.clear();
        (1..=12).for_each(|n| drop(faulty.step(1_000_100_000 + n * 10, 10, 0)));
        let report = faulty.report(Timestamp::from_millis(0), 0);
        assert!(report.containers.iter().all(|c| c.health == Health::Healthy), "{report:?}");
    }

    #[test]
    fn nobody_takes_it_for_a_real_host() {
        let report = host(12, 7, &[]).report(Timestamp::from_millis(0), 3);
        assert_eq!((report.host.as_str(), report.outbox), ("sim-0012", Some(3)));
        assert!(report.agent_version.ends_with(" (simulated)"));
        assert!(report.containers.iter().all(|c| c.image.starts_with("simulated/")));
        assert_ne!(report.engine.id, host(13, 7, &[]).report(Timestamp::from_millis(0), 0).engine.id);
    }
}
