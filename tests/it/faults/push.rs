//! Metrics while the way to the controller is cut, the controller is killed and everything starts anew: every sample that an
//! agent took is in the store, once.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use dockhealth::model::Timestamp;
use serde_json::Value;

use super::rig::{Answer, DEADLINE, Daemon, ask, free_address};
use crate::support::dockerd::Dockerd;
use crate::support::nats::NatsServer;
use crate::support::wait_for;

const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

/// How long each trouble lasts, and the peace after it.
const SPAN: Duration = Duration::from_secs(3);

/// Agents killed with SIGKILL lose what was in memory alone: two seconds of ticks at most, one a second.
const LOST_BY_KILL: usize = 2;

/// A round takes about 20 s: ten minutes are `SOAK_ROUNDS=30`.
fn rounds() -> usize {
    std::env::var("SOAK_ROUNDS").map_or(1, |text| text.parse().expect("the number of rounds is a number"))
}

struct World {
    agents: BTreeMap<&'static str, Daemon>,
    controller: Daemon,
    nats: NatsServer,
    listen: String,
    engine: Dockerd,
    dir: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let (engine, nats, dir) = (Dockerd::start(), NatsServer::start(), tempfile::tempdir().unwrap());
        engine.run("web", &[]);
        let (listen, url, docker) = (free_address(), nats.url(), engine.address());
        let daemon = |name: &str, args: &[&str]| {
            let data = dir.path().join(name);
            fs::create_dir(&data).unwrap();
            let data = data.display().to_string();
            let args = args.iter().copied().chain(["--nats", &url, "--data-dir", &data]);
            let log = dir.path().join(format!("{name}.log"));
            Daemon::new(&log, args.map(str::to_owned).collect())
        };
        let controller = daemon("controller", &["controller", "--listen", &listen]);
        let agent = |host: &'static str| {
            let own = ["agent", "--hostname", host, "--docker-host", &docker, "--dry-run"];
            let fast = ["--metrics-interval", "1s", "--log-level", "debug", "--log-format", "json"];
            (host, daemon(host, &[&own[..], &fast].concat()))
        };
        let agents = HOSTS.map(agent).into();
        let world = Self { agents, controller, nats, listen, engine, dir };
        world.controller.start();
        world.agents.values().for_each(Daemon::start);
        world
    }

    fn get(&self, path: &str) -> Option<Answer> {
        let token = self.dir.path().join("controller").join("token");
        ask(&self.listen, &token, "GET", path, "").filter(|answer| answer.status == 200)
    }

    /// The times of all ticks that `host`'s agents took, by their log.
    fn taken(&self, host: &str) -> BTreeSet<i64> {
        let log = self.agents[host].log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == "measured").filter_map(|line| line["time"].as_i64()).collect()
    }

    /// The samples of one series of `of`, by time; `None` when the controller does not answer.
    fn stored(&self, of: &str, name: &str, span: (i64, i64)) -> Option<BTreeMap<i64, f64>> {
        let (from, to) = span;
        let path = format!("/api/v1/{of}/metrics?names={name}&from={from}&to={to}&step=1");
        let json = self.get(&path)?.json;
        let times = json["t"].as_array()?.iter().map(|time| time.as_i64().unwrap());
        let values = json["series"][name].as_array().cloned().unwrap_or_default();
        Some(times.zip(values).filter_map(|(time, value)| Some((time, value.as_f64()?))).collect())
    }

    /// Waits until all that was taken is stored.
    fn wait_delivered(&self) {
        for host in HOSTS {
            wait_for(&format!("what {host} measured by now is stored"), DEADLINE * 2, || {
                let taken = self.taken(host);
                let (first, last) = (*taken.first()?, *taken.last()?);
                let stored = self.stored(&format!("hosts/{host}"), "samples_dropped", (first, last))?;
                (taken.iter().filter(|time| !stored.contains_key(time)).count() <= LOST_BY_KILL * rounds())
                    .then_some(())
            });
        }
    }

    /// Lets agents measure for [`SPAN`].
    fn go_on(&self) {
        let until = Instant::now() + SPAN;
        let before: BTreeMap<_, _> = HOSTS.map(|host| (host, self.taken(host).len())).into();
        wait_for("every agent measures", DEADLINE, || {
            let more = |host: &&str| self.taken(host).len() > before[*host];
            (Instant::now() > until && HOSTS.iter().all(more)).then_some(())
        });
    }
}

#[test]
fn every_sample_is_stored_once_whatever_is_cut_or_killed() {
    let mut world = World::start();
    world.go_on();
    let mut killed = 0;
    for _ in 0..rounds() {
        // The way is cut.
        world.nats.kill();
        world.go_on();
        world.nats.restart();
        world.go_on();
        // The controller is killed, and an agent while it is away.
        world.controller.kill();
        world.go_on();
        world.agents["h3"].kill();
        killed += 1;
        world.agents["h3"].start();
        world.go_on();
        world.controller.start();
        world.go_on();
        // Everything starts anew, the agents in order.
        world.controller.kill();
        world.nats.kill();
        world.agents.values().for_each(Daemon::end);
        world.nats.restart();
        world.controller.start();
        world.agents.values().for_each(Daemon::start);
        world.go_on();
    }
    world.wait_delivered();
    world.agents.values().for_each(Daemon::end);
    world.agents.values().for_each(Daemon::start);
    world.wait_delivered();

    for host in HOSTS {
        let taken = world.taken(host);
        let span = (*taken.first().unwrap(), *taken.last().unwrap());
        let lost = if host == "h3" { LOST_BY_KILL * killed } else { 0 };
        let begun = Timestamp::now();
        let missing = wait_for(&format!("{host} is stored"), DEADLINE, || {
            let stored = world.stored(&format!("hosts/{host}"), "samples_dropped", span)?;
            let unasked: Vec<_> = stored.keys().filter(|time| !taken.contains(time)).collect();
            assert!(unasked.is_empty(), "{host} never measured at {unasked:?}");
            let missing: Vec<i64> = taken.iter().filter(|time| !stored.contains_key(time)).copied().collect();
            let over = Timestamp::now().since(begun) > DEADLINE / 2;
            (missing.len() <= lost || over).then_some(missing)
        });
        assert!(missing.len() <= lost, "{host}: {missing:?} of {} are not stored", taken.len());
        let dropped = world.stored(&format!("hosts/{host}"), "samples_dropped", span).unwrap();
        assert!(dropped.values().all(|dropped| *dropped < 0.5), "{host} dropped samples: {dropped:?}");
        once(&world, host, "load1", span);
        let container = format!("containers/{host}/web");
        let of_container = world.stored(&container, "memory_bytes", span).unwrap();
        assert!(of_container.len() + 12 * (1 + rounds()) > taken.len(), "{host}: {}", of_container.len());
        eprintln!("{host}: {} ticks, {} lost by kill -9", taken.len(), missing.len());
    }
    drop(world.engine);
}

/// That a sample stored twice does not weigh double: the means of ten seconds are those of their samples.
fn once(world: &World, host: &str, name: &str, (first, last): (i64, i64)) {
    let (from, to) = (first / 10 * 10 + 10, last / 10 * 10);
    let samples = world.stored(&format!("hosts/{host}"), name, (from - 9, to)).unwrap();
    let path = format!("/api/v1/hosts/{host}/metrics?names={name}&from={from}&to={to}&step=10");
    let json = world.get(&path).unwrap().json;
    let means = json["t"].as_array().unwrap().iter().zip(json["series"][name].as_array().unwrap());
    for (time, mean) in means {
        let (time, mean) = (time.as_i64().unwrap(), mean.as_f64());
        let of: Vec<f64> = samples.range(time - 9..=time).map(|(_, value)| *value).collect();
        let expected = (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64);
        let close = match (mean, expected) {
            (Some(mean), Some(expected)) => (mean - expected).abs() < 1e-6,
            (mean, expected) => mean == expected,
        };
        assert!(close, "{host} {name} at {time}: mean {mean:?}, of samples {of:?}");
    }
}
