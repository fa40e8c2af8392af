//! What the core decides, told as stories of one host; then what it never does, as properties.

use std::collections::{BTreeMap, BTreeSet};
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
    acts: Vec<(String, ActionKind)>,
    /// Loss that each container shows, percent.
    loss: BTreeMap<ContainerId, u32>,
    /// Containers that end again as soon as they are started.
    crash_loops: Vec<ContainerId>,
    /// Containers that the engine is starting on someone's order: it answers when that is done.
    starting: BTreeSet<ContainerId>,
    remembered: Vec<Decision>,
}

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
        }],
        published: Vec::new(),
        pid: None,
        auto_remove: false,
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
            acts: Vec::new(),
            loss: BTreeMap::new(),
            crash_loops: Vec::new(),
            starting: BTreeSet::new(),
            remembered: Vec::new(),
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
                Decision::Emit(draft) => self.events.push(draft.kind),
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
                    self.feed(Input::Swept(CheckKind::Confirm, checked));
                }
                other => self.remembered.push(other),
            }
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
        };
        targets.iter().map(checked).collect()
    }

    fn sweep(&mut self) {
        let checked = self.probe(&self.state.targets(), 5);
        self.now += 500;
        self.feed(Input::Swept(CheckKind::Sweep, checked));
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
        self.feed(Input::Desired(desired));
    }

    fn name_it(&mut self, n: u8) {
        self.desire(n, DesiredEntry { monitored: Some(true), ..DesiredEntry::default() });
    }

    fn health(&self, n: u8) -> Health {
        self.state.explain(&facts(n).name, self.at()).unwrap().container.health
    }

    fn acted_on(&self) -> Vec<&str> {
        self.acts.iter().map(|(name, _)| name.as_str()).collect()
    }
}

fn restart_of(name: &str) -> (String, ActionKind) {
    (name.to_owned(), ActionKind::Restart)
}

#[test]
fn a_crashed_container_is_started_at_once() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.sweep();
    sim.end(1, 1);
    assert_eq!(sim.acts, [("c1".to_owned(), ActionKind::Start)]);
    sim.sweep();
    assert_eq!(
        sim.events,
        [EventKind::ContainerFailing, EventKind::ContainerStarted, EventKind::ContainerRecovered]
    );
    assert_eq!(sim.health(1), Health::Healthy);
}

#[test]
fn told_to_stop_is_left_down_unless_an_administrator_named_it() {
    let mut sim = Sim::new(Policy::default(), 2);
    sim.name_it(2);
    sim.stop(1);
    sim.stop(2);
    sim.pass(400);
    assert!(sim.acts.is_empty(), "it settles first");
    sim.pass(200);
    assert_eq!(sim.acts, [("c2".to_owned(), ActionKind::Start)]);
    assert!(sim.events.contains(&EventKind::ContainerLeft));
    assert_eq!(sim.health(1), Health::Unknown);
}

#[test]
fn the_label_and_the_flag_decide_what_a_stop_means() {
    let policy = Policy { on_stop: Some(OnStop::Restart), ..Policy::default() };
    let mut sim = Sim::new(policy, 2);
    sim.change(2, |facts| drop(facts.labels.insert("dockhealth.on-stop".into(), "leave".into())));
    sim.stop(1);
    sim.stop(2);
    sim.pass(600);
    assert_eq!(sim.acted_on(), ["c1"]);
}

#[test]
fn a_stop_that_is_undone_or_becomes_a_removal_while_it_settles_is_nobodys_business() {
    let mut sim = Sim::new(Policy::default(), 3);
    (1..=3).for_each(|n| sim.name_it(n));
    (1..=3).for_each(|n| sim.stop(n));
    sim.pass(100);
    sim.run(&id_of(1));
    sim.see(&id_of(1));
    sim.facts.remove(&id_of(2));
    sim.feed(Input::Gone(id_of(2)));
    sim.change(3, |facts| facts.state = RunState::Removing);
    sim.pass_waking(60_000);
    assert!(sim.acts.is_empty(), "{:?}", sim.acts);
    assert!(sim.events.is_empty(), "{:?}", sim.events);
}

#[test]
fn a_container_that_compose_replaces_is_left_alone_for_as_long_as_a_deploy_takes() {
    let replace = |facts: &mut ContainerFacts| {
        facts.labels.insert("com.docker.compose.replace".into(), "c1".into());
    };
    let mut sim = Sim::new(Policy::default(), 2);
    sim.name_it(1);
    sim.change(2, |facts| {
        replace(facts);
        facts.state = RunState::Created;
    });
    sim.stop(1);
    sim.pass_waking(50_000);
    assert!(sim.acts.is_empty());
    sim.pass_waking(20_000);
    assert_eq!(sim.acted_on(), ["c1"], "that deploy was given up");

    // The label stays for life: it says nothing of a container that runs, or of the one that carries it.
    for carrier in [1, 2] {
        let mut sim = Sim::new(Policy::default(), 2);
        sim.name_it(1);
        sim.change(carrier, replace);
        sim.stop(1);
        sim.pass_waking(5_000);
        assert_eq!(sim.acted_on(), ["c1"], "carried by c{carrier}");
    }
}

#[test]
fn a_slow_stop_is_a_stop() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.tell(1, SignKind::Killed);
    sim.pass(110_000);
    sim.end(1, 0);
    sim.tell(1, SignKind::Stopped);
    sim.pass_waking(5_000);
    assert!(sim.acts.is_empty(), "stop_grace_period: 2m");
}

#[test]
fn a_restart_that_the_engine_took_with_it_is_finished_and_not_counted() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.pass(20_000);
    sim.sweep();
    let act = |decisions: Vec<Decision>| {
        decisions.into_iter().find_map(|d| if let Decision::Act(action) = d { Some(action) } else { None })
    };
    let action = act(sim.state.on(Input::Restart(facts(1).name), sim.at())).unwrap();
    sim.tell(1, SignKind::Killed);
    sim.end(1, 143);
    sim.feed(Input::EngineLost("gone".into()));
    sim.feed(Input::Acted(action.op, ActionResult::NotReached("gone".into())));
    sim.feed(Input::EngineBack);
    sim.list();
    assert_eq!(sim.acts, [("c1".to_owned(), ActionKind::Start)], "it was us who stopped it");
}

#[test]
fn a_journal_of_a_clock_that_ran_ahead_holds_nothing_for_years() {
    let ahead = Timestamp::from_millis(10_000_000_000);
    let memory = Memory { actions: vec![(facts(1).name, ActionKind::Start, ahead)], ..Memory::default() };
    let mut sim = Sim::remembering(Policy::default(), 1, memory);
    sim.end(1, 1);
    sim.pass_waking(11_000);
    assert_eq!(sim.acted_on(), ["c1"]);
}

#[test]
fn followers_that_we_cut_off_are_followed_after_their_owner_is_well() {
    let mut sim = Sim::new(Policy { restarts_at_once: 0, ..Policy::default() }, 2);
    sim.change(2, |facts| {
        facts.namespace = Namespace::Container("c1".into());
        facts.networks.clear();
        facts.labels.clear();
    });
    sim.end(1, 1);
    sim.sweep();
    assert_eq!(sim.acted_on(), ["c1"], "no restart is free for the follower yet");
    sim.state.policy.restarts_at_once = 2;
    sim.sweeps(1);
    assert_eq!(sim.acted_on(), ["c1", "c2"]);
}

#[test]
fn a_restart_by_its_owner_that_takes_long_is_waited_for() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.name_it(1);
    sim.stop(1);
    sim.starting.insert(id_of(1));
    sim.pass(5_000);
    assert_eq!(
        (sim.acts.len(), sim.events.len()),
        (0, 0),
        "it is looked at, found to run, and nothing is said"
    );
    assert_eq!(sim.facts[&id_of(1)].state, RunState::Running);
    sim.stop(1);
    sim.pass(5_000);
    assert_eq!(sim.acts, [("c1".to_owned(), ActionKind::Start)], "the next stop is another one");
}

#[test]
fn a_signal_long_ago_does_not_make_a_crash_a_stop() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.tell(1, SignKind::Killed);
    sim.pass(11 * 60_000);
    sim.end(1, 139);
    assert_eq!(sim.acted_on(), ["c1"]);
}

#[test]
fn what_the_engine_tells_of_the_time_before_says_how_a_container_ended() {
    let told =
        |id: u8, second: i64, kind| Sign { id: id_of(id), time: Timestamp::from_millis(second * 1000), kind };
    let ended =
        |n: u8, code: i64| ContainerFacts { state: RunState::Exited, exit_code: Some(code), ..facts(n) };
    let mut sim = Sim::new(Policy::default(), 0);
    // Exit code 137 looks like a stop and was none; exit code 1 looks like a crash and was a stop; the third was
    // stopped in a run before its last.
    sim.facts = [ended(1, 137), ended(2, 1), ended(3, 1)].map(|facts| (facts.id.clone(), facts)).into();
    sim.facts.get_mut(&id_of(3)).unwrap().started_at = Some(Timestamp::from_millis(50_000));
    let signs = vec![
        told(1, 60, SignKind::Died),
        told(2, 60, SignKind::Killed),
        told(2, 61, SignKind::Died),
        told(3, 40, SignKind::Stopped),
    ];
    sim.feed(Input::Listed(sim.facts.values().cloned().collect(), signs));
    sim.pass_waking(5_000);
    assert_eq!(sim.acted_on(), ["c1", "c3"]);
}

#[test]
fn what_went_down_with_the_engine_is_started_when_it_is_back() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.feed(Input::EngineLost("connection refused".into()));
    assert_eq!(sim.health(1), Health::Unknown);
    sim.change(1, |facts| (facts.state, facts.exit_code) = (RunState::Exited, Some(137)));
    assert!(sim.acts.is_empty(), "nothing is done while the engine is away");
    sim.feed(Input::EngineBack);
    sim.list();
    assert_eq!(sim.acted_on(), ["c1"]);
    assert_eq!(sim.events[..2], [EventKind::EngineUnreachable, EventKind::EngineReachable]);
}

#[test]
fn what_an_engine_stops_as_it_begins_was_told_to_stop_by_nobody() {
    // A killed engine leaves its containers running, and its successor stops them before it answers.
    for told_with_the_list in [true, false] {
        let mut sim = Sim::new(Policy::default(), 1);
        sim.feed(Input::EngineLost("connection refused".into()));
        sim.pass(2_000);
        let time = Timestamp::from_millis(sim.now);
        let signs = [SignKind::Killed, SignKind::Died].map(|kind| Sign { id: id_of(1), time, kind });
        let facts = sim.facts.get_mut(&id_of(1)).unwrap();
        (facts.state, facts.exit_code) = (RunState::Exited, Some(137));
        // The start is not through when the rest is told.
        sim.crash_loops.push(id_of(1));
        sim.feed(Input::EngineBack);
        if told_with_the_list {
            sim.feed(Input::Listed(sim.facts.values().cloned().collect(), signs.to_vec()));
        } else {
            sim.list();
            for sign in signs {
                sim.feed(Input::Told(sign));
            }
        }
        sim.pass_waking(2_000);
        assert_eq!(sim.acted_on(), ["c1"], "told with the list: {told_with_the_list}");
    }
}

#[test]
fn what_an_engine_stopped_as_it_ended_was_told_to_stop_by_nobody() {
    for (seen_before, started) in [(false, true), (true, false)] {
        let mut sim = Sim::new(Policy::default(), 1);
        sim.tell(1, SignKind::Killed);
        sim.tell(1, SignKind::Died);
        let exited =
            |facts: &mut ContainerFacts| (facts.state, facts.exit_code) = (RunState::Exited, Some(137));
        if seen_before {
            // The engine went on for long enough to be asked: that was an order.
            sim.change(1, exited);
        } else {
            exited(sim.facts.get_mut(&id_of(1)).unwrap());
        }
        sim.feed(Input::EngineLost("no such file".into()));
        sim.pass(2_000);
        sim.feed(Input::EngineBack);
        sim.list();
        sim.pass_waking(2_000);
        assert_eq!(!sim.acts.is_empty(), started, "looked at before it was lost: {seen_before}");
    }
}

#[test]
fn confirmed_loss_above_the_threshold_restarts_and_loss_at_it_does_not() {
    for (loss, restarted) in [(40, false), (60, true), (100, true)] {
        let mut sim = Sim::new(Policy::default(), 4);
        sim.pass(20_000);
        sim.sweep();
        sim.lose(1, loss);
        sim.sweep();
        assert_eq!(sim.acts == [restart_of("c1")], restarted, "{loss} %: {:?}", sim.acts);
    }
}

#[test]
fn an_address_that_never_answered_is_not_pingable_and_not_restarted() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.pass(20_000);
    sim.lose(1, 100);
    sim.sweeps(3);
    assert!(sim.acts.is_empty());
    assert_eq!(sim.health(1), Health::NotPingable);

    let policy = Policy { assume_pingable: true, ..Policy::default() };
    let mut seed = Sim::new(policy, 1);
    seed.pass(20_000);
    seed.loss.insert(id_of(1), 100);
    seed.sweep();
    assert_eq!(seed.acted_on(), ["c1"], "--assume-pingable gives the seed's rule");
}

#[test]
fn after_our_restart_silence_is_failing_but_not_restarted_again() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.pass(20_000);
    sim.sweep();
    sim.lose(1, 100);
    sim.sweep();
    assert_eq!(sim.acts.len(), 1);
    sim.lose(1, 100);
    sim.sweeps(5);
    assert_eq!(sim.acts.len(), 1);
    assert_eq!(sim.health(1), Health::Failing);
}

#[test]
fn the_agents_own_starvation_never_counts() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.pass(20_000);
    sim.sweep();
    let mut checked = sim.probe(&sim.state.targets(), 5);
    checked[0].outcomes[0] =
        ProbeOutcome { sent: 2, received: 0, void: 3, rtts: Vec::new(), ..checked[0].outcomes[0].clone() };
    sim.feed(Input::Swept(CheckKind::Sweep, checked));
    assert!(sim.acts.is_empty());
    assert!(!sim.events.contains(&EventKind::ContainerFailing));
}

#[test]
fn a_result_for_another_run_is_not_judged() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.pass(20_000);
    sim.sweep();
    sim.lose(1, 100);
    let stale = sim.probe(&sim.state.targets(), 5);
    sim.run(&id_of(1));
    sim.see(&id_of(1));
    sim.pass(20_000);
    sim.feed(Input::Swept(CheckKind::Sweep, stale));
    assert!(sim.acts.is_empty());
}

#[test]
fn failed_checks_within_grace_do_not_count() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.run(&id_of(1));
    sim.see(&id_of(1));
    sim.pass(1_000);
    sim.sweep();
    sim.lose(1, 100);
    sim.sweep();
    assert!(sim.acts.is_empty());
    assert_eq!(sim.health(1), Health::Recovering);
    sim.pass(10_000);
    sim.sweep();
    assert_eq!(sim.acted_on(), ["c1"]);
}

#[test]
fn unhealthy_counts_as_failing() {
    let mut sim = Sim::new(Policy::default(), 1);
    let check = |status| Some(Healthcheck { status, start_period: Duration::ZERO });
    sim.change(1, |facts| facts.healthcheck = check(HealthcheckStatus::Starting));
    assert!(sim.acts.is_empty());
    // The engine restarts it, and its HEALTHCHECK starts anew: here it stays unhealthy, so the backoff holds.
    sim.change(1, |facts| facts.healthcheck = check(HealthcheckStatus::Unhealthy));
    assert_eq!(sim.acts, [restart_of("c1")]);
}

#[test]
fn a_crash_loop_backs_off_and_is_quarantined_until_released() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.crash_loops.push(id_of(1));
    sim.end(1, 1);
    sim.pass_waking(140_000);
    assert_eq!(sim.acts.len(), 4, "10 + 20 + 40 + 80 s lie between five restarts");
    sim.pass_waking(20_000);
    assert_eq!(sim.acts.len(), 5, "--budget 5/1h");
    assert_eq!(sim.health(1), Health::Quarantined);
    assert_eq!(sim.events.iter().filter(|e| **e == EventKind::Quarantined).count(), 1);
    sim.pass_waking(2 * 3_600_000);
    assert_eq!(sim.acts.len(), 5, "time alone does not release it");
    sim.crash_loops.clear();
    sim.feed(Input::Release(facts(1).name));
    assert_eq!(sim.acts.len(), 6);
    sim.sweep();
    assert_eq!(sim.health(1), Health::Healthy);
}

#[test]
fn budget_and_quarantine_outlive_the_agent() {
    let name = facts(1).name;
    let action = |second: i64| (name.clone(), ActionKind::Start, Timestamp::from_millis(second * 1000));
    let memory = Memory { actions: (90..95).map(action).collect(), ..Memory::default() };
    let mut sim =
        Sim::remembering(Policy { backoff: Duration::ZERO, ..Policy::default() }, 1, memory.clone());
    sim.end(1, 1);
    assert!(sim.acts.is_empty());
    assert_eq!(sim.health(1), Health::Quarantined);
    assert!(sim.remembered.iter().any(|d| matches!(d, Decision::Quarantine(..))));

    let released = BTreeMap::from([(name.clone(), Timestamp::from_millis(96_000))]);
    let mut sim = Sim::remembering(Policy::default(), 1, Memory { released, ..memory });
    sim.end(1, 1);
    assert_eq!(sim.acted_on(), ["c1"], "what was before the release does not count");
}

#[test]
fn a_restart_that_the_agents_death_cut_in_two_is_finished() {
    let mut stopped = facts(1);
    (stopped.state, stopped.exit_code) = (RunState::Exited, Some(143));
    let memory = Memory { interrupted: vec![stopped.name.clone()], ..Memory::default() };
    let mut sim = Sim::remembering(Policy::default(), 0, memory);
    sim.facts.insert(stopped.id.clone(), stopped);
    sim.list();
    assert_eq!(sim.acted_on(), ["c1"], "on_stop = leave does not hold: it was us who stopped it");
}

#[test]
fn when_half_a_network_fails_nothing_is_restarted_for_loss() {
    let mut sim = Sim::new(Policy::default(), 6);
    sim.pass(20_000);
    sim.sweep();
    (1..=3).for_each(|n| sim.lose(n, 100));
    sim.sweeps(3);
    assert!(sim.acts.is_empty());
    assert_eq!(sim.health(1), Health::Frozen);
    assert_eq!(sim.events.iter().filter(|e| **e == EventKind::BreakerOpened).count(), 1);
    sim.end(5, 1);
    assert_eq!(sim.acted_on(), ["c5"], "a crash is healed all the same");
    sim.lose(1, 0);
    sim.lose(2, 0);
    sim.sweeps(1);
    assert!(sim.events.contains(&EventKind::BreakerClosed));
    assert_eq!(sim.acted_on(), ["c5", "c3"]);
}

#[test]
fn restarts_and_starts_are_paced_per_host() {
    let policy =
        Policy { host_budget: Rate { count: 3, window: Duration::from_mins(10) }, ..Policy::default() };
    let mut sim = Sim::new(policy, 20);
    sim.pass(20_000);
    sim.sweep();
    (1..=5).for_each(|n| sim.lose(n, 100));
    sim.sweep();
    assert_eq!(sim.acts.len(), 3, "--host-budget 3/10m");
    assert_eq!(sim.health(5), Health::Failing);

    let mut sim = Sim::new(Policy::default(), 20);
    let all: Vec<ContainerFacts> = sim
        .facts
        .values()
        .cloned()
        .map(|facts| ContainerFacts { state: RunState::Exited, exit_code: Some(1), ..facts })
        .collect();
    let started = |decisions: &[Decision]| decisions.iter().filter(|d| matches!(d, Decision::Act(_))).count();
    let decisions = sim.state.on(Input::Listed(all, Vec::new()), sim.at());
    assert_eq!(started(&decisions), 4, "four starts a second");
    assert!(sim.state.wake_at().is_some());
}

#[test]
fn what_was_seen_before_it_was_taken_off_the_list_is_forgotten() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.name_it(1);
    sim.sweeps(2);
    let mut frozen = sim.state.desired.clone();
    let freeze = Freeze { since: sim.at().wall, until: None, by: "operator".into() };
    frozen.freezes.insert(FreezeScope::All, freeze);
    sim.feed(Input::Desired(frozen));
    sim.lose(1, 100);
    sim.sweeps(2);
    assert_eq!(sim.health(1), Health::Frozen);
    sim.desire(1, DesiredEntry { monitored: Some(false), ..DesiredEntry::default() });
    let shown = sim.state.explain(&facts(1).name, sim.at()).unwrap().container;
    assert_eq!((shown.health, shown.loss_percent), (Health::Unmonitored, None), "nobody checks it");
    sim.loss.clear();
    let mut thawed = sim.state.desired.clone();
    thawed.freezes.clear();
    sim.feed(Input::Desired(thawed));
    sim.name_it(1);
    sim.sweeps(3);
    assert_eq!(
        sim.acted_on(),
        Vec::<&str>::new(),
        "it lost packets long ago, and not since it is listed again"
    );
}

#[test]
fn freezes_and_maintenance_hold_and_end() {
    let mut sim = Sim::new(Policy::default(), 2);
    let until = Timestamp::from_millis(sim.now + 60_000);
    let freeze = Freeze { since: sim.at().wall, until: Some(until), by: "operator".into() };
    let mut desired = sim.state.desired.clone();
    desired.freezes.insert(FreezeScope::All, freeze);
    sim.feed(Input::Desired(desired));
    sim.end(1, 1);
    assert_eq!(sim.health(1), Health::Frozen);
    assert!(sim.acts.is_empty());
    sim.pass_waking(61_000);
    assert_eq!(sim.acted_on(), ["c1"], "a freeze with an end ends");
    assert!(sim.events.contains(&EventKind::Unfrozen));

    let until = Timestamp::from_millis(sim.now + 60_000);
    sim.desire(2, DesiredEntry { maintenance_until: Some(until), ..DesiredEntry::default() });
    sim.end(2, 1);
    assert_eq!(sim.health(2), Health::Frozen);
    sim.pass_waking(61_000);
    assert_eq!(sim.acted_on(), ["c1", "c2"]);
}

#[test]
fn followers_of_a_network_namespace_follow_its_owner() {
    let mut sim = Sim::new(Policy::default(), 2);
    sim.change(2, |facts| {
        facts.namespace = Namespace::Container("c1".into());
        facts.networks.clear();
        facts.labels.clear();
    });
    sim.end(1, 1);
    assert_eq!(sim.acts, [("c1".to_owned(), ActionKind::Start), restart_of("c2")]);
    sim.sweeps(3);
    assert_eq!(sim.acts.len(), 2, "once is enough");
}

#[test]
fn recreate_is_for_those_whose_network_namespace_nobody_shares() {
    let policy = Policy { restart_mode: RestartMode::Recreate, ..Policy::default() };
    let mut sim = Sim::new(policy, 3);
    sim.change(2, |facts| facts.namespace = Namespace::Container("c1".into()));
    sim.pass(20_000);
    sim.sweep();
    sim.feed(Input::Restart(facts(1).name));
    sim.feed(Input::Restart(facts(3).name));
    assert_eq!(sim.acts[0], restart_of("c1"));
    assert_eq!(sim.acts.last(), Some(&("c3".to_owned(), ActionKind::Recreate)));
}

#[test]
fn what_nobody_listed_is_never_touched() {
    let mut sim = Sim::new(Policy::default(), 3);
    sim.change(1, |facts| facts.labels.clear());
    sim.change(2, |facts| drop(facts.labels.insert("dockhealth.role".into(), "broker".into())));
    sim.desire(3, DesiredEntry { monitored: Some(false), ..DesiredEntry::default() });
    (1..=3).for_each(|n| sim.end(n, 1));
    sim.pass_waking(60_000);
    assert!(sim.acts.is_empty() && sim.events.is_empty());
    assert_eq!(sim.health(1), Health::Unmonitored);
    assert!(sim.state.restart_refusal(&facts(2).name).unwrap().contains("itself"));
}

#[test]
fn while_two_agents_claim_the_host_only_what_was_named_is_healed() {
    let mut sim = Sim::new(Policy::default(), 2);
    sim.name_it(2);
    sim.feed(Input::Disputed("another agent calls itself h".into()));
    sim.end(1, 1);
    sim.end(2, 1);
    assert_eq!(sim.acted_on(), ["c2"]);
    sim.pass_waking(31_000);
    assert_eq!(sim.acted_on(), ["c2", "c1"], "the word is believed for a while only");
}

#[test]
fn paused_created_and_restarting_containers_are_left_to_others() {
    let mut sim = Sim::new(Policy::default(), 3);
    for (n, state) in [(1, RunState::Paused), (2, RunState::Created), (3, RunState::Restarting)] {
        sim.name_it(n);
        sim.change(n, |facts| facts.state = state);
    }
    sim.sweeps(3);
    assert!(sim.acts.is_empty());
    assert_eq!([1, 2, 3].map(|n| sim.health(n)), [Health::Unknown, Health::Unknown, Health::Failing]);
}

#[test]
fn a_dry_run_says_once_what_it_would_do() {
    let mut sim = Sim::new(Policy { dry_run: true, ..Policy::default() }, 1);
    sim.end(1, 1);
    sim.pass_waking(60_000);
    assert!(sim.acts.is_empty());
    assert_eq!(sim.events, [EventKind::ContainerFailing, EventKind::WouldAct]);
}

#[test]
fn a_one_shot_job_is_left_alone_by_monitor_all() {
    let mut sim = Sim::new(Policy { monitor_all: true, ..Policy::default() }, 2);
    (1..=2).for_each(|n| sim.change(n, |facts| facts.labels.clear()));
    sim.end(1, 0);
    sim.end(2, 1);
    assert_eq!(sim.acted_on(), ["c2"]);
}

/// A hundred years of one container at 5 % independent loss under the default policy: how often is it restarted for
/// nothing? The expectation is P(>= 3 of 5 lost) x P(>= 11 of 20 lost), about 1.2e-3 x 3e-10, times 3.15 million checks
/// a year: 1e-6 a year. The sweeps are drawn one by one for a year; for the others only their failures are drawn, as many
/// as that year had, and a confirmation that loses less than a third is not fed: by arithmetic it passes.
#[test]
fn five_percent_loss_restarts_less_than_once_in_a_hundred_years() {
    let mut rng = StdRng::seed_from_u64(0x5eed);
    let mut sim = Sim::new(Policy::default(), 1);
    sim.pass(20_000);
    sim.sweep();
    let fails =
        |lost: u32| Threshold::default().is_exceeded_by(crate::model::LossPercent::of(lost, 5).unwrap());
    let checks_a_year = 365 * 24 * 360;
    let failed: Vec<u32> =
        (0..checks_a_year).map(|_| lost(&mut rng, 5)).filter(|lost| fails(*lost)).collect();
    assert!(failed.len() > 2_000, "the year must try the confirmation: {}", failed.len());
    let mut fed = 0;
    for year in 0..100 {
        for lost_of_5 in &failed {
            let lost_of_20 = lost(&mut rng, 20);
            if year > 0 && lost_of_20 < 7 {
                continue;
            }
            fed += 1;
            sim.now += 10_000;
            let mut checked = sim.probe(&sim.state.targets(), 5);
            checked[0].outcomes[0].received = 5 - lost_of_5;
            let decisions = sim.state.on(Input::Swept(CheckKind::Sweep, checked), sim.at());
            assert!(decisions.iter().any(|d| matches!(d, Decision::Confirm(_))));
            let mut confirm = sim.probe(&sim.state.targets(), 20);
            confirm[0].outcomes[0].received = 20 - lost_of_20;
            sim.feed(Input::Swept(CheckKind::Confirm, confirm));
        }
    }
    assert!(fed > failed.len(), "a hundred years have some confirmations that lose much: {fed}");
    assert!(sim.acts.is_empty(), "{} false restarts in a hundred years", sim.acts.len());
}

fn lost(rng: &mut StdRng, probes: u32) -> u32 {
    (0..probes).map(|_| u32::from(rng.random_bool(0.05))).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens: budgets hold, nobody unlisted is touched, and nothing is done while the engine is away.
    #[test]
    fn the_brakes_hold_whatever_happens(
        steps in proptest::collection::vec((0_u8..12, 1_u8..7, 0_i64..30_000), 1..120),
    ) {
        let policy = Policy { monitor_all: false, ..Policy::default() };
        let (budget, host_budget) = (policy.budget, policy.host_budget);
        let mut sim = Sim::new(policy, 6);
        sim.change(6, |facts| facts.labels.clear());
        let mut log: Vec<(i64, String, ActionKind)> = Vec::new();
        let mut away = false;
        let mut released = false;
        for (what, n, millis) in steps {
            sim.pass_waking(millis);
            let before = sim.acts.len();
            match what {
                0 => sim.end(n, 1),
                1 => sim.stop(n),
                2 | 3 => sim.lose(n, 100),
                4 => sim.lose(n, 0),
                5 => sim.change(n, |facts| facts.state = RunState::Paused),
                6 => { sim.run(&id_of(n)); sim.see(&id_of(n)); }
                7 => { away = true; sim.feed(Input::EngineLost("gone".into())); }
                8 => { away = false; sim.feed(Input::EngineBack); sim.list(); }
                9 => { released = true; sim.feed(Input::Release(facts(n).name)); }
                10 => sim.crash_loops.push(id_of(n)),
                _ => sim.sweep(),
            }
            for (name, kind) in &sim.acts[before..] {
                log.push((sim.now, name.clone(), *kind));
            }
            if away {
                prop_assert_eq!(sim.acts.len(), before, "acted on an engine that is away");
            }
            prop_assert!(sim.state.watches.len() <= 6);
        }
        prop_assert!(!sim.acted_on().contains(&"c6"), "touched what nobody listed");
        let millis = |rate: Rate| i64::try_from(rate.window.as_millis()).unwrap();
        for (at, name, _) in &log {
            let inside = |(t, n, _): &&(i64, String, ActionKind)| n == name && *t >= *at && *t < at + millis(budget);
            let count = log.iter().filter(inside).count();
            prop_assert!(released || count <= budget.count as usize, "{} acted on {} times an hour", name, count);
            let restarts = |(t, _, kind): &&(i64, String, ActionKind)| {
                *kind != ActionKind::Start && *t >= *at && *t < at + millis(host_budget)
            };
            prop_assert!(log.iter().filter(restarts).count() <= host_budget.count as usize);
        }
    }
}

/// Loses `percent` whatever is done, for `sweeps` sweeps.
fn lose_always(sim: &mut Sim, percent: u32, sweeps: usize) {
    for _ in 0..sweeps {
        sim.lose(1, percent);
        sim.sweeps(1);
    }
}

#[test]
fn where_restarts_never_help_they_stop_and_are_tried_again_once_a_day() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.pass(20_000);
    sim.sweep();
    lose_always(&mut sim, 60, 180);
    assert_eq!(sim.acts.len(), 3, "--futile-after 3");
    let assessed = |sim: &Sim| sim.events.iter().filter(|e| **e == EventKind::ActionAssessed).count();
    assert_eq!(assessed(&sim), 3);
    assert_eq!(sim.events.iter().filter(|e| **e == EventKind::HealingFutile).count(), 1);
    assert_eq!(sim.health(1), Health::Failing);
    let told = sim.state.explain(&facts(1).name, sim.at()).unwrap();
    let words = "restarting does not help: the last 3 restarts left its loss at 60 %";
    assert!(told.container.reason.contains(words), "{}", told.container.reason);
    let efficacy = told.efficacy.unwrap();
    assert!(efficacy.futile.unwrap().starts_with(words));
    assert_eq!((efficacy.outcomes.no_change, efficacy.recent.len()), (3, 3));

    sim.now += 24 * 3_600_000;
    lose_always(&mut sim, 60, 180);
    assert_eq!(sim.acts.len(), 4, "one more a day");

    sim.feed(Input::Release(facts(1).name));
    lose_always(&mut sim, 60, 180);
    assert_eq!(sim.acts.len(), 7, "a release begins anew");
    assert!(sim.events.contains(&EventKind::Released));

    // What was remembered holds the next agent too.
    let score = sim.remembered.iter().rev().find_map(|decision| match decision {
        Decision::Score(name, score) => Some((name.clone(), (**score).clone())),
        _ => None,
    });
    let memory = Memory { scores: score.into_iter().collect(), ..Memory::default() };
    let mut next = Sim::remembering(Policy::default(), 1, memory.clone());
    next.now = sim.now;
    next.sweep();
    lose_always(&mut next, 60, 20);
    assert_eq!(next.acts.len(), 0, "{:?}", next.events);
    // And another container of that name it does not.
    let mut other = Sim::remembering(Policy::default(), 0, memory);
    other.now = sim.now;
    let replaced = ContainerFacts { id: id_of(9), ..facts(1) };
    other.facts.insert(id_of(9), replaced);
    other.list();
    other.sweep();
    other.lose(9, 60);
    other.sweeps(2);
    assert_eq!(other.acts.len(), 1);
}

#[test]
fn a_restart_that_cures_is_said_to_have_helped() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.pass(20_000);
    sim.sweep();
    sim.lose(1, 60);
    sim.sweeps(6);
    assert_eq!(sim.acts.len(), 1);
    let told = sim.state.explain(&facts(1).name, sim.at()).unwrap();
    let efficacy = told.efficacy.unwrap();
    let [one] = &efficacy.recent[..] else { panic!("{:?}", efficacy.recent) };
    assert_eq!((one.effect, efficacy.futile), (crate::model::Effect::Helped, None));
    let percent = |figures: crate::model::Figures| figures.loss_percent.unwrap().percent();
    assert_eq!((percent(one.before), percent(one.after)), (60.0, 0.0));
    assert!(told.brakes.iter().any(|brake| brake == "efficacy: 1 of 1 actions helped"), "{:?}", told.brakes);
}

/// A crash loop ends quarantined within its budget, whatever the calls that start it return.
#[test]
fn a_crash_loop_is_quarantined_whatever_its_start_calls_return() {
    for result in [
        ActionResult::Done(5),
        ActionResult::Failed("it did not answer in time".into()),
        ActionResult::NotReached("connection reset".into()),
    ] {
        let mut sim = Sim::new(Policy::default(), 1);
        let mut starts = 0;
        let mut pending = Vec::new();
        sim.tell(1, SignKind::Died);
        let down = sim.facts.get_mut(&id_of(1)).unwrap();
        (down.state, down.exit_code) = (RunState::Exited, Some(1));
        let mut input = Some(Input::Seen(Box::new(sim.facts[&id_of(1)].clone())));
        for _ in 0..10_000 {
            let decisions = sim.state.on(input.take().unwrap_or(Input::Tick), sim.at());
            for decision in decisions {
                match decision {
                    Decision::Act(action) => pending.push(action),
                    Decision::Emit(draft) => sim.events.push(draft.kind),
                    _ => {}
                }
            }
            sim.now += 1_000;
            if let Some(action) = pending.pop() {
                starts += 1;
                input = Some(Input::Acted(action.op, result.clone()));
            }
        }
        assert_eq!(starts, 5, "--budget 5/1h: {result:?}");
        assert_eq!(sim.health(1), Health::Quarantined);
        assert_eq!(sim.events.iter().filter(|e| **e == EventKind::Quarantined).count(), 1, "{result:?}");
        assert!(!sim.events.contains(&EventKind::HealingFutile), "starts are bounded by their budget");
    }
}
