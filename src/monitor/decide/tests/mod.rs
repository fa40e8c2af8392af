//! What the core decides, told as stories of one host; then what it never does, as properties.

mod budgets;
mod down;
mod drill;
mod efficacy;
mod fleet;
mod invariants;
mod lists;
mod loss;
mod neighbours;
mod projects;
mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::model::{
    ContainerKey, DesiredEntry, EventKind, FreezeScope, Health, Healthcheck, HealthcheckStatus, HostName,
    Mono, Namespace, NetworkAttachment, Now, OnStop, Rate, RestartPolicy, RunState,
};

/// A host of containers whose engine does at once what it is told.
struct Sim {
    state: HostState,
    now: i64,
    facts: BTreeMap<ContainerId, ContainerFacts>,
    events: Vec<EventKind>,
    /// The drill that each event is marked with.
    marks: Vec<Option<DrillId>>,
    acts: Vec<(String, ActionKind)>,
    /// Loss that each container shows, percent.
    loss: BTreeMap<ContainerId, u32>,
    /// Loss that the host's own addresses show, percent.
    host_loss: BTreeMap<IpAddr, u32>,
    /// Containers that end again as soon as they are started.
    crash_loops: Vec<ContainerId>,
    /// Containers that the engine is starting on someone's order: it answers when that is done.
    starting: BTreeSet<ContainerId>,
    remembered: Vec<Decision>,
    /// How much leave each question gets at once, of a fleet's budget; and how much was given.
    leave: Option<(Rate, u32)>,
    allowed: u32,
}

/// Of the one network.
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254));

fn host() -> HostName {
    "h".parse().unwrap()
}

fn id_of(n: u8) -> ContainerId {
    ContainerId::new(format!("{n:064x}")).unwrap()
}

fn facts(n: u8) -> ContainerFacts {
    ContainerFacts {
        id: id_of(n),
        name: ContainerName::new(format!("c{n}")).unwrap(),
        image: "image".into(),
        state: RunState::Running,
        exit_code: None,
        oom_killed: false,
        healthcheck: None,
        started_at: Some(Timestamp::from_millis(0)),
        finished_at: None,
        restart_count: None,
        restart_policy: RestartPolicy::No,
        labels: BTreeMap::from([("dockhealth.monitor".to_owned(), "true".to_owned())]),
        namespace: Namespace::Own,
        networks: vec![NetworkAttachment {
            network: "bridge".into(),
            endpoint_id: format!("e{n}"),
            ipv4: Some([10, 0, 0, n].into()),
            ipv6: None,
            gateways: vec![GATEWAY],
        }],
        published: Vec::new(),
        pid: None,
        auto_remove: false,
        links: Vec::new(),
    }
}

impl Sim {
    fn new(policy: Policy, containers: u8) -> Self {
        Self::remembering(policy, containers, Memory::default())
    }

    fn remembering(policy: Policy, containers: u8, memory: Memory) -> Self {
        let now = Now { mono: Mono(100_000), wall: Timestamp::from_millis(100_000) };
        let mut sim = Self {
            state: HostState::new(host(), policy, OwnContainers::default(), "p", memory, now),
            now: 100_000,
            facts: (1..=containers).map(|n| (id_of(n), facts(n))).collect(),
            events: Vec::new(),
            marks: Vec::new(),
            acts: Vec::new(),
            loss: BTreeMap::new(),
            host_loss: BTreeMap::new(),
            crash_loops: Vec::new(),
            starting: BTreeSet::new(),
            remembered: Vec::new(),
            leave: None,
            allowed: 0,
        };
        sim.list();
        sim
    }

    fn at(&self) -> Now {
        Now { mono: Mono(self.now), wall: Timestamp::from_millis(self.now) }
    }

    fn feed(&mut self, input: Input) {
        let decisions = self.state.on(input, self.at());
        for decision in decisions {
            match decision {
                Decision::Emit(draft) => {
                    self.events.push(draft.kind);
                    self.marks.push(draft.drill_id);
                }
                Decision::Act(action) => self.do_action(&action),
                Decision::Look(id) => {
                    if self.starting.remove(&id) {
                        self.run(&id);
                    }
                    self.see(&id);
                    self.feed(Input::Looked(id));
                }
                Decision::Confirm(targets) => {
                    let checked = self.probe(&targets, 20);
                    self.now += 3_000;
                    self.refer(20);
                    self.feed(Input::Swept(CheckKind::Confirm, checked));
                }
                Decision::Report if self.leave.is_some() => self.answer(),
                other => self.remembered.push(other),
            }
        }
    }

    fn answer(&mut self) {
        let (Some((budget, most)), question) = (self.leave, self.state.fleet_question()) else { return };
        if question.wanted > 0 {
            let leave = most.min(question.wanted);
            self.allowed += leave;
            let leave = Some((question.asked, leave));
            self.feed(Input::Fleet(FleetWord { budget: Some(budget), leave, hold: None }));
        }
    }

    fn do_action(&mut self, action: &Action) {
        self.acts.push((action.name.to_string(), action.kind));
        self.now += 200;
        self.run(&action.id);
        self.loss.remove(&action.id);
        if self.crash_loops.contains(&action.id) {
            let gone = self.facts.get_mut(&action.id).unwrap();
            (gone.state, gone.exit_code) = (RunState::Exited, Some(1));
        }
        self.see(&action.id);
        self.feed(Input::Acted(action.op.clone(), ActionResult::Done(200)));
    }

    fn run(&mut self, id: &ContainerId) {
        let now = self.now;
        let container = self.facts.get_mut(id).unwrap();
        (container.state, container.started_at) = (RunState::Running, Some(Timestamp::from_millis(now)));
    }

    fn list(&mut self) {
        self.feed(Input::Listed(self.facts.values().cloned().collect(), Vec::new()));
    }

    fn see(&mut self, id: &ContainerId) {
        self.feed(Input::Seen(Box::new(self.facts[id].clone())));
    }

    fn change(&mut self, n: u8, change: impl FnOnce(&mut ContainerFacts)) {
        change(self.facts.get_mut(&id_of(n)).unwrap());
        self.see(&id_of(n));
    }

    fn tell(&mut self, n: u8, kind: SignKind) {
        self.feed(Input::Told(Sign { id: id_of(n), time: Timestamp::from_millis(self.now), kind }));
    }

    fn end(&mut self, n: u8, exit_code: i64) {
        self.tell(n, SignKind::Died);
        self.change(n, |facts| (facts.state, facts.exit_code) = (RunState::Exited, Some(exit_code)));
    }

    fn stop(&mut self, n: u8) {
        self.tell(n, SignKind::Killed);
        self.end(n, 143);
        self.tell(n, SignKind::Stopped);
    }

    fn lose(&mut self, n: u8, percent: u32) {
        self.loss.insert(id_of(n), percent);
    }

    fn pass(&mut self, millis: i64) {
        self.now += millis;
        self.feed(Input::Tick);
    }

    /// Passes time the way the shell does: from one wake to the next.
    fn pass_waking(&mut self, millis: i64) {
        let end = self.now + millis;
        while let Some(wake) = self.state.wake_at().filter(|at| at.0 <= end) {
            self.now = wake.0.max(self.now + 1);
            self.feed(Input::Tick);
        }
        self.now = end.max(self.now);
        self.feed(Input::Tick);
    }

    fn probe(&self, targets: &[Target], count: u32) -> Vec<Checked> {
        let outcome = |target: &Target, address| {
            let lost = self.loss.get(&target.id).map_or(0, |loss| (count * loss).div_ceil(100));
            let rtts = vec![Duration::from_micros(50); (count - lost) as usize];
            ProbeOutcome { address, sent: count, received: count - lost, void: 0, rtts }
        };
        let checked = |target: &Target| Checked {
            id: target.id.clone(),
            started_at: target.started_at,
            outcomes: target.addresses.iter().map(|address| outcome(target, *address)).collect(),
            finding: Finding::Counted,
        };
        targets.iter().map(checked).collect()
    }

    fn sweep(&mut self) {
        let checked = self.probe(&self.state.targets(), 5);
        self.now += 500;
        self.refer(5);
        self.feed(Input::Swept(CheckKind::Sweep, checked));
    }

    fn refer(&mut self, count: u32) {
        let outcome = |address: IpAddr| {
            let lost = self.host_loss.get(&address).map_or(0, |loss| (count * loss).div_ceil(100));
            ProbeOutcome { address, sent: count, received: count - lost, void: 0, rtts: Vec::new() }
        };
        let outcomes = self.state.references().into_iter().map(outcome).collect();
        self.feed(Input::References(outcomes));
    }

    fn sweeps(&mut self, count: usize) {
        for _ in 0..count {
            self.pass_waking(9_500);
            self.sweep();
        }
    }

    fn desire(&mut self, n: u8, entry: DesiredEntry) {
        let mut desired = self.state.desired.clone();
        desired.containers.insert(ContainerKey { host: host(), name: facts(n).name }, entry);
        self.feed(Input::Desired(Box::new(desired)));
    }

    fn name_it(&mut self, n: u8) {
        self.desire(n, DesiredEntry { monitored: Some(true), ..DesiredEntry::default() });
    }

    fn health(&self, n: u8) -> Health {
        self.state.explain(&facts(n).name, self.at()).unwrap().container.health
    }

    fn why(&self, n: u8) -> String {
        let told = self.state.explain(&facts(n).name, self.at()).unwrap();
        format!("{}; {}", told.container.reason, told.brakes.join("; "))
    }

    fn count(&self, kind: EventKind) -> usize {
        self.events.iter().filter(|event| **event == kind).count()
    }

    /// Puts it into a compose project, as this service that needs others.
    fn compose(&mut self, n: u8, service: &str, needs: &str) {
        self.change(n, |facts| {
            for (key, value) in [("project", "shop"), ("service", service), ("depends_on", needs)] {
                facts.labels.insert(format!("com.docker.compose.{key}"), value.to_owned());
            }
        });
    }

    fn acted_on(&self) -> Vec<&str> {
        self.acts.iter().map(|(name, _)| name.as_str()).collect()
    }
}

fn restart_of(name: &str) -> (String, ActionKind) {
    (name.to_owned(), ActionKind::Restart)
}
