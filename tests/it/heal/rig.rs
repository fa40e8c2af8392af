//! The programs that heal, set up in two ways, and what tests ask of them again and again.
//!
//! The engine is shared with other tests and their agents. So tests name their containers, and use the label only where
//! nothing is to be done; what they expect of events and the list is about their own containers.

use std::process::Command;
use std::time::Duration;

use dockhealth::chaos::{LossInjector, best_injector, in_netns};
use dockhealth::model::LossPercent;
use serde_json::Value;

use crate::bus::rig::Fleet;
use crate::support::daemon::{Daemon, Rest};
use crate::support::{Lab, docker, wait_for};

/// What must happen, happens by then, also on a machine that is busy.
pub(super) const DEADLINE: Duration = Duration::from_mins(1);

/// A container that ends when it is told to.
pub(super) const OBEDIENT: [&str; 3] = ["sh", "-c", "trap exit TERM; sleep 1000 & wait"];

/// Checks every second, and brakes that let go soon.
pub(super) const QUICK: &[&str] = &[
    "--interval",
    "1s",
    "--grace",
    "500ms",
    "--backoff",
    "200ms",
    "--budget",
    "3/1h",
    "--host-budget",
    "1000/1h",
];

/// The kinds of events that tell of an action of ours.
const ACTIONS: &str = "container_started,container_restarted,container_recreated,action_failed";

/// Runs a scenario in both ways.
macro_rules! on_both_rigs {
    ($($scenario:ident)*) => {$(
        mod $scenario {
            use super::super::rig::{QUICK, Rig};

            #[test]
            fn on_one_host() {
                super::$scenario(&Rig::up(QUICK));
            }

            #[test]
            fn in_a_fleet() {
                super::$scenario(&Rig::fleet(QUICK));
            }
        }
    )*};
}
pub(super) use on_both_rigs;

/// Programs at work, and the lab of the test.
pub(super) struct Rig {
    /// The name that containers are put on the list with.
    pub(super) host: String,
    /// `up`, or the controller.
    pub(super) server: Daemon,
    /// Agents that are processes of their own; the first is `host`.
    pub(super) agents: Vec<Daemon>,
    pub(super) fleet: Option<Fleet>,
    pub(super) rest: Rest,
    pub(super) lab: Lab,
    _dir: tempfile::TempDir,
}

impl Rig {
    /// `dockhealth up` with `flags`.
    pub(super) fn up(flags: &[&str]) -> Self {
        let (lab, dir) = (Lab::new("heal"), tempfile::tempdir().expect("a temporary folder"));
        let host = lab.prefix().to_owned();
        let args = [&["--hostname", &host], flags].concat();
        let server = Daemon::start("up", &dir.path().join("up"), &args);
        Self::ready(Self {
            rest: server.rest(),
            host,
            server,
            agents: Vec::new(),
            fleet: None,
            lab,
            _dir: dir,
        })
    }

    /// A controller and two agents with `flags`, over a nats-server with the fleet's own configuration. Both agents watch
    /// the one engine, under two names.
    pub(super) fn fleet(flags: &[&str]) -> Self {
        let (lab, dir) = (Lab::new("heal"), tempfile::tempdir().expect("a temporary folder"));
        let hosts = [lab.prefix().to_owned(), format!("{}-other", lab.prefix())];
        let fleet = Fleet::start(&[&hosts[0], &hosts[1]]);
        let (url, host) = (fleet.server.url(), hosts[0].clone());
        let start = |program: &str, name: &str, user: &str, flags: &[&str]| {
            let password = fleet.password_file(user);
            let password = password.to_str().expect("a plain path");
            let login = ["--nats", &url, "--nats-user", user, "--nats-password-file", password];
            Daemon::start(program, &dir.path().join(name), &[&login, flags].concat())
        };
        let server = start("controller", "controller", "controller", &[]);
        let agents = hosts.iter().map(|host| {
            start("agent", host, &format!("agent-{host}"), &[&["--hostname", host], flags].concat())
        });
        let agents = agents.collect();
        Self::ready(Self { rest: server.rest(), host, server, agents, fleet: Some(fleet), lab, _dir: dir })
    }

    /// Waits until every host is known and has read what is wanted.
    fn ready(self) -> Self {
        let expected = self.agents.len().max(1);
        wait_for("every host is live", DEADLINE, || {
            let hosts = self.rest.get("/hosts");
            let hosts = hosts.as_array().expect("a list");
            let live = |h: &&Value| h["presence"] == "live" && h["agent"]["desired_synced"] == true;
            (hosts.iter().filter(live).count() == expected).then_some(())
        });
        self
    }

    /// Every program.
    pub(super) fn programs(&self) -> impl Iterator<Item = &Daemon> {
        std::iter::once(&self.server).chain(&self.agents)
    }

    /// The program whose agent heals the test's containers.
    pub(super) fn healer(&self) -> &Daemon {
        self.agents.first().unwrap_or(&self.server)
    }

    /// Runs a container that ends when told to, and puts it on the list; returns its full name.
    pub(super) fn named(&self, name: &str, options: &[&str]) -> String {
        let full = self.lab.run(name, options, &OBEDIENT);
        self.monitor(&full);
        full
    }

    /// Puts a container on the list, and waits until its agent knows.
    pub(super) fn monitor(&self, full: &str) {
        self.rest.ok("POST", &self.path(full), None);
        self.wait_until(full, "is monitored", |c| c["monitored"] == true);
    }

    /// Waits until a container, just started, has answered its first check.
    pub(super) fn wait_healthy(&self, full: &str) {
        self.wait_until(full, "is healthy", |c| c["health"] == "healthy");
    }

    /// The container's path in the interface.
    pub(super) fn path(&self, full: &str) -> String {
        format!("/containers/{}/{full}", self.host)
    }

    /// The container as the list has it.
    pub(super) fn listed(&self, full: &str) -> Option<Value> {
        let all = self.rest.get(&format!("/containers?host={}", self.host));
        all.as_array().expect("a list").iter().find(|container| container["name"] == full).cloned()
    }

    /// Waits until the list's word on a container satisfies `is`.
    pub(super) fn wait_until(&self, full: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let found = wait_within(DEADLINE, || {
            last = self.listed(full);
            last.clone().filter(|container| is(container))
        });
        found.unwrap_or_else(|| panic!("{full} never {what}; it is {last:?}, {:#?}", self.events(full, "")))
    }

    /// What is known of a container in full.
    pub(super) fn why(&self, full: &str) -> Value {
        self.rest.get(&self.path(full))
    }

    /// Events of `kinds` (all when empty) about a container, oldest first.
    pub(super) fn events(&self, full: &str, kinds: &str) -> Vec<Value> {
        let kinds = if kinds.is_empty() { String::new() } else { format!("&kind={kinds}") };
        let events = self.rest.get(&format!("/events?limit=1000&container={full}{kinds}"));
        events.as_array().expect("a list").clone()
    }

    /// The kinds of our own actions on a container, oldest first.
    pub(super) fn actions(&self, full: &str) -> Vec<String> {
        self.events(full, ACTIONS)
            .iter()
            .map(|event| event["kind"].as_str().expect("a word").to_owned())
            .collect()
    }

    /// Waits for the first event of `kind` about a container.
    pub(super) fn wait_event(&self, full: &str, kind: &str) -> Value {
        let event = wait_within(DEADLINE, || self.events(full, kind).into_iter().next());
        event.unwrap_or_else(|| {
            panic!("no {kind} of {full}; {:?}, {:#?}", self.listed(full), self.events(full, ""))
        })
    }

    /// Fails when anyone of ours ever acted on a container.
    pub(super) fn assert_untouched(&self, full: &str) {
        let container = self.listed(full).unwrap_or_else(|| panic!("{full} is not listed"));
        assert_eq!(container["restarts"], 0, "{container}");
        assert_eq!(self.actions(full), Vec::<String>::new(), "{full}");
    }

    /// Fails when a program logged an error.
    pub(super) fn assert_no_errors(&self) {
        for program in self.programs() {
            assert_eq!(program.errors(), Vec::<String>::new());
        }
    }

    /// Runs the command line against the server; it must succeed. Returns what it printed.
    pub(super) fn cli(&self, args: &[&str]) -> String {
        printed(&self.server, args)
    }
}

/// Runs the command line against `program`; it must succeed. Returns what it printed.
pub(super) fn printed(program: &Daemon, args: &[&str]) -> String {
    let output = program.cli(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn wait_within<T>(deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = std::time::Instant::now();
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if start.elapsed() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Kills a container's first process from the host, as a crash does: the engine had no part in it.
pub(super) fn crash(lab: &Lab, full: &str) {
    let pid = lab.inspect(full, "{{.State.Pid}}");
    assert_ne!(pid, "0", "{full} runs");
    assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill").success());
}

/// Loses packets of a container's own interface until dropped.
pub(super) fn lose(lab: &Lab, full: &str, percent: f64) -> Box<dyn LossInjector> {
    let pid = lab.inspect(full, "{{.State.Pid}}").parse().expect("a process id");
    let opened = in_netns(pid, || best_injector("eth0")).expect("this test needs CAP_SYS_ADMIN");
    let mut injector = opened.expect("this test needs netem or nftables");
    injector.set(LossPercent::new(percent).expect("a percentage")).expect("the kernel loses packets");
    injector
}

/// Does `act`, then waits until the container was started again since.
pub(super) fn wait_started_again(lab: &Lab, full: &str, act: impl FnOnce()) {
    let before = lab.inspect(full, "{{.State.StartedAt}}");
    act();
    wait_for(&format!("{full} is started again"), DEADLINE, || {
        let output = docker(&["inspect", "--format", "{{.State.StartedAt}} {{.State.Running}}", full]);
        let now = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && now.ends_with("true") && !now.starts_with(&before)).then_some(())
    });
}
