//! The sensors on real containers of this machine's cgroup version; the other one is tested on recorded trees, next to
//! the code.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dockhealth::docker::{ContainerSource, Engine, EngineAddress};
use dockhealth::metrics::{Machine, Sensors, SizeSource, Subject};
use dockhealth::model::{ContainerName, MetricTick, SeriesName, Values, metric};

use crate::support::daemon::Daemon;
use crate::support::{Lab, docker, wait_for};

const MIB: f64 = 1_048_576.0;
/// What two samples are apart.
const SPAN: Duration = Duration::from_millis(1500);
const SOON: Duration = Duration::from_secs(30);

/// The sensors as an agent has them, of the lab's containers alone.
struct Rig {
    lab: Lab,
    engine: Engine,
    sensors: Sensors,
    ticks: i64,
}

impl Rig {
    fn new(test: &str) -> Self {
        let lab = Lab::new(test);
        let engine = Engine::connect(&EngineAddress::default()).expect("its address");
        let here = Machine::Here(PathBuf::from("/"));
        let sensors = Sensors::start(&here, Arc::new(engine.clone())).expect("a thread");
        Self { lab, engine, sensors, ticks: 0 }
    }

    async fn subjects(&self) -> Vec<Subject> {
        let all = self.engine.list().await.expect("the engine lists");
        let mut subjects = Subject::of(&all);
        subjects.retain(|subject| subject.name.as_str().starts_with(self.lab.prefix()));
        subjects
    }

    /// One sample of the containers as the engine tells of them now.
    async fn tick(&mut self) -> MetricTick {
        let subjects = self.subjects().await;
        self.tick_of(subjects).await
    }

    async fn tick_of(&mut self, subjects: Vec<Subject>) -> MetricTick {
        self.ticks += 1;
        let tick = self.sensors.tick(self.ticks, 60, subjects).await.expect("the sensors answer");
        for (name, value) in tick.host.iter().chain(tick.containers.values().flatten()) {
            let known = metric(name.metric()).unwrap_or_else(|| panic!("{name} is in no catalogue"));
            assert_eq!(known.part.is_some(), name.part().is_some(), "{name}");
            assert!(
                value.is_finite() && (*value >= 0.0 || known.name == "temperature_celsius"),
                "{name} is {value}"
            );
        }
        tick
    }

    /// A second sample after a while.
    async fn measure(&mut self) -> MetricTick {
        self.tick().await;
        tokio::time::sleep(SPAN).await;
        self.tick().await
    }
}

fn of<'a>(tick: &'a MetricTick, name: &str) -> &'a Values {
    &tick.containers[&ContainerName::new(name).expect("the lab's names")]
}

fn value(values: &Values, name: &'static str) -> Option<f64> {
    values.get(&SeriesName::of(name))
}

fn known(values: &Values, name: &'static str) -> f64 {
    value(values, name).unwrap_or_else(|| panic!("{name} is not in {values:?}"))
}

fn assert_near(values: &Values, name: &'static str, expected: f64, tolerance: f64) {
    let got = known(values, name);
    assert!((got - expected).abs() <= tolerance, "{name} is {got}, not {expected} +- {tolerance}");
}

#[tokio::test]
async fn a_busy_container_is_measured_as_it_was_told_to_be_busy() {
    let mut rig = Rig::new("sensors-busy");
    let idle = rig.lab.run("idle", &[], &["sleep", "600"]);
    let work = "dd if=/dev/zero of=/dev/shm/a bs=1M count=20; touch /ready; while :; do :; done";
    let busy = rig.lab.run("busy", &["--cpus", "0.05", "--memory", "100m"], &["sh", "-c", work]);
    wait_for("the busy container to be busy", SOON, || {
        docker(&["exec", &busy, "test", "-e", "/ready"]).status.success().then_some(())
    });
    let tick = rig.measure().await;
    let (busy, idle) = (of(&tick, &busy), of(&tick, &idle));
    // So little that a machine that does other things too has it to give; it comes in pieces of 100 ms.
    let cpu = known(busy, "cpu_percent");
    assert!((2.0..9.0).contains(&cpu), "{busy:?}");
    let cores = std::thread::available_parallelism().expect("cores").get() as f64;
    assert_near(busy, "cpu_host_percent", cpu / cores, 0.5);
    assert_near(busy, "cpu_limit_percent", cpu / 0.05, 0.5);
    assert!(known(busy, "cpu_throttled_percent") > 0.0, "{busy:?}");
    assert!(known(busy, "cpu_throttled_seconds_per_second") > 0.0, "{busy:?}");
    assert_near(busy, "memory_bytes", 22.0 * MIB, 6.0 * MIB);
    assert_near(busy, "memory_limit_bytes", 100.0 * MIB, 0.0);
    assert_near(busy, "memory_percent", 22.0, 6.0);
    assert!(known(idle, "cpu_percent") < 2.0, "{idle:?}");
    for absent in ["cpu_limit_percent", "cpu_throttled_percent", "exit_code", "loss_percent"] {
        assert_eq!(value(idle, absent), None, "{absent}");
    }
    assert_near(idle, "pids", 1.0, 0.0);
    assert_near(idle, "oom_kills", 0.0, 0.0);
    assert!((1.0..60.0).contains(&known(idle, "uptime_seconds")), "{idle:?}");
    assert!(known(&tick.host, "cpu_percent") > cpu / 2.0, "the host is as busy as what runs on it");
    assert!(known(&tick.host, "memory_bytes") < known(&tick.host, "memory_total_bytes"));
    assert!(known(&tick.host, "agent_memory_bytes") > MIB);
    assert!(tick.host.keys().any(|name| name.as_str() == "filesystem_total_bytes//"), "{:?}", tick.host);
}

#[tokio::test]
async fn packets_are_counted_where_they_go_and_nowhere_else() {
    let mut rig = Rig::new("sensors-net");
    let pinged = rig.lab.run("pinged", &[], &["sleep", "600"]);
    let shares = rig.lab.run("shares", &["--network", &format!("container:{pinged}")], &["sleep", "600"]);
    let host = rig.lab.run("host", &["--network", "host"], &["sleep", "600"]);
    let none = rig.lab.run("none", &["--network", "none"], &["sleep", "600"]);
    let address = rig.lab.inspect(&pinged, "{{.NetworkSettings.IPAddress}}");
    let outer = Instant::now();
    rig.tick().await;
    let inner = Instant::now();
    let sender = rig.lab.run("pinger", &[], &["ping", "-c", "40", "-i", "0.02", "-s", "1000", &address]);
    wait_for("the ping to end", SOON, || (!rig.lab.is_running(&sender)).then_some(()));
    assert_eq!(rig.lab.inspect(&sender, "{{.State.ExitCode}}"), "0", "all packets came back");
    let inner = inner.elapsed().as_secs_f64();
    let tick = rig.tick().await;
    let outer = outer.elapsed().as_secs_f64();
    for name in [&pinged, &shares] {
        let values = of(&tick, name);
        // Neighbour discovery and the like come on top of the 40 packets of 1042 bytes.
        for (packets, bytes) in [
            ("net_rx_packets_per_second", "net_rx_bytes_per_second"),
            ("net_tx_packets_per_second", "net_tx_bytes_per_second"),
        ] {
            assert!(known(values, packets) * outer >= 40.0, "{name}: {values:?}");
            assert!(known(values, packets) * inner <= 100.0, "{name}: {values:?}");
            assert!(known(values, bytes) * outer >= 40.0 * 1042.0, "{name}: {values:?}");
            assert!(known(values, bytes) * inner <= 40.0 * 1042.0 + 10_000.0, "{name}: {values:?}");
        }
        assert_near(values, "net_rx_errors_per_second", 0.0, 0.0);
    }
    for name in [&host, &none] {
        let values = of(&tick, name);
        assert!(!values.keys().any(|name| name.as_str().starts_with("net_")), "{name}: {values:?}");
        assert!(value(values, "cpu_percent").is_some());
    }
    assert_eq!(value(of(&tick, &sender), "exit_code"), Some(0.0));
}

#[tokio::test]
async fn a_restart_gives_no_rates_and_never_a_negative_one() {
    let mut rig = Rig::new("sensors-restart");
    let work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 600";
    let name = rig.lab.run("twice", &[], &["sh", "-c", work]);
    let before = rig.subjects().await;
    // `tick_of` checks that nothing is negative.
    rig.tick_of(before.clone()).await;
    rig.lab.docker(&["restart", "--time", "0", &name]);
    let stale = rig.tick_of(before.clone()).await;
    let values = of(&stale, &name);
    assert_eq!(value(values, "net_rx_bytes_per_second"), None, "its first process is gone: {values:?}");
    let first = rig.tick().await;
    assert_eq!(value(of(&first, &name), "cpu_percent"), None, "its counters began anew");
    assert!(value(of(&first, &name), "memory_bytes").is_some());
    let second = rig.tick().await;
    assert!(value(of(&second, &name), "cpu_percent").is_some());
    rig.lab.docker(&["kill", &name]);
    wait_for("it ended", SOON, || (!rig.lab.is_running(&name)).then_some(()));
    let ended = rig.tick().await;
    let names: Vec<&str> = of(&ended, &name).keys().map(SeriesName::as_str).collect();
    assert_eq!((names, value(of(&ended, &name), "exit_code")), (vec!["exit_code"], Some(137.0)));
}

#[tokio::test]
async fn writes_and_sizes_are_those_that_were_made() {
    let mut rig = Rig::new("sensors-disk");
    let go = "while [ ! -e /go ]; do sleep 0.05; done; dd if=/dev/zero of=/big bs=1M count=8 conv=fsync; touch /done; sleep 600";
    let name = rig.lab.run("writes", &[], &["sh", "-c", go]);
    let outer = Instant::now();
    rig.tick().await;
    rig.lab.docker(&["exec", &name, "touch", "/go"]);
    wait_for("it has written", SOON, || {
        docker(&["exec", &name, "test", "-e", "/done"]).status.success().then_some(())
    });
    let tick = rig.tick().await;
    let outer = outer.elapsed().as_secs_f64();
    match value(of(&tick, &name), "block_write_bytes_per_second") {
        Some(rate) => assert!(rate * outer >= 8.0 * MIB, "{rate} bytes a second"),
        None => assert_eq!(rig.sensors.cgroups(), Some("v1"), "recent kernels count nothing under version 1"),
    }
    let id = rig.subjects().await[0].id.clone();
    let sizes = SizeSource::sizes(&rig.engine, &id).await.expect("the engine adds up");
    let own = sizes.writable.expect("known") as f64;
    assert!((8.0 * MIB..9.0 * MIB).contains(&own), "{sizes:?}");
    let image: u64 = rig
        .lab
        .docker(&["image", "inspect", "-f", "{{.Size}}", "dockhealth-test/busybox:1"])
        .parse()
        .expect("bytes");
    assert_eq!(sizes.image, Some(image));
}

#[test]
fn up_measures_each_second_and_shows_what_the_machine_is() {
    let (lab, dir) = (Lab::new("sensors-up"), tempfile::tempdir().expect("a temporary folder"));
    lab.run("idle", &[], &["sleep", "600"]);
    let host = lab.name("host");
    let args = ["--hostname", &host, "--metrics-interval", "1s", "--interval", "1h"];
    let up = Daemon::start("up", &dir.path().join("up"), &args);
    let rest = up.rest();
    let agent = wait_for("the machine is told of, and how it is measured", SOON, || {
        let hosts = rest.get("/hosts");
        let agent = hosts.as_array()?.iter().find(|found| found["hostname"] == *host)?["agent"].clone();
        let cgroup = agent["capabilities"].as_array()?.iter().find(|found| found["name"] == "cgroup")?;
        assert_eq!(cgroup["works"], true, "{cgroup}");
        agent["identity"]["engine_version"].is_string().then_some(agent)
    });
    let card = &agent["identity"];
    assert!(card["cores"].as_u64() > Some(0) && card["memory_bytes"].as_u64() > Some(1 << 20), "{card}");
    assert_ne!(card["system_uuid"].is_null(), card["system_uuid_missing"].is_null(), "one of them: {card}");
    assert!(
        card["kernel"].is_string() && card["os"].is_string() && card["architecture"].is_string(),
        "{card}"
    );
    let shown = up.cli(&["hosts", &host]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for line in ["system UUID   ", "CPU cores     ", "kernel        ", "cgroup        works: cgroup v"] {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
    assert!(!up.cli(&["hosts", "no-such-host"]).status.success());
    assert_eq!(up.errors(), Vec::<String>::new());
}
