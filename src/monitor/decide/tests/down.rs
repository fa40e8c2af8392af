//! Containers that do not run: who told them to stop, and who starts them.

use super::*;

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

/// It crashes, and has no address until it is started, which happens at once; from then on it loses so much.
fn crash_and_come_back(sim: &mut Sim, id: &ContainerId, loss: u32) {
    let networks = sim.facts[id].networks.clone();
    sim.feed(Input::Told(Sign {
        id: id.clone(),
        time: Timestamp::from_millis(sim.now),
        kind: SignKind::Died,
    }));
    let started = sim.acts.len();
    let ended = sim.facts.get_mut(id).unwrap();
    (ended.state, ended.exit_code, ended.networks) = (RunState::Exited, Some(1), Vec::new());
    sim.see(id);
    // The backoff of a second start is 10 s.
    for _ in 0..40 {
        if sim.acts.len() == started {
            sim.pass(500);
        }
    }
    assert_eq!(sim.acts.len(), started + 1, "it is started");
    sim.facts.get_mut(id).unwrap().networks = networks;
    sim.loss.insert(id.clone(), loss);
    sim.see(id);
}

#[test]
fn what_could_be_pinged_before_it_crashed_is_not_well_before_it_answers() {
    for crashes in [1, 2] {
        let mut sim = Sim::new(Policy { grace: Duration::from_secs(30), ..Policy::default() }, 1);
        sim.pass(20_000);
        sim.sweep();
        for _ in 0..crashes {
            crash_and_come_back(&mut sim, &id_of(1), 100);
        }
        sim.pass_waking(30_000);
        assert_eq!(
            sim.count(EventKind::ContainerRecovered),
            0,
            "its grace is over, and nobody has checked it"
        );
        sim.sweeps(3);
        assert_eq!(sim.count(EventKind::ContainerRecovered), 0, "it is silent");
        assert_eq!(sim.health(1), Health::Failing, "{}", sim.why(1));
        sim.lose(1, 0);
        sim.sweep();
        assert_eq!((sim.count(EventKind::ContainerRecovered), sim.health(1)), (1, Health::Healthy));
    }
}

#[test]
fn that_it_answered_is_remembered_over_a_restart_of_the_agent_while_it_is_down() {
    let attachment = Attachment {
        address: facts(1).networks[0].ipv4.unwrap().into(),
        endpoint_id: "e1".into(),
        started_at: facts(1).started_at,
    };
    let memory = Memory { answered: BTreeMap::from([(id_of(1), vec![attachment])]), ..Memory::default() };
    let mut sim = Sim::new(Policy::default(), 0);
    sim.state = HostState::new(host(), Policy::default(), OwnContainers::default(), "p", memory, sim.at());
    let mut crashed = facts(1);
    (crashed.state, crashed.exit_code, crashed.networks) = (RunState::Exited, Some(1), Vec::new());
    sim.facts.insert(id_of(1), crashed);
    sim.list();
    assert_eq!(sim.acted_on(), ["c1"]);
    sim.lose(1, 100);
    sim.change(1, |now| now.networks = facts(1).networks);
    sim.sweeps(3);
    assert_eq!((sim.count(EventKind::ContainerRecovered), sim.health(1)), (0, Health::Failing));
}

#[test]
fn what_cannot_be_pinged_is_well_again_after_a_check_in_a_run_past_its_grace() {
    // It never answered.
    let mut sim = Sim::new(Policy::default(), 1);
    sim.lose(1, 100);
    crash_and_come_back(&mut sim, &id_of(1), 100);
    sim.pass_waking(60_000);
    assert_eq!(sim.count(EventKind::ContainerRecovered), 0, "nobody has checked it");
    sim.sweep();
    assert_eq!((sim.count(EventKind::ContainerRecovered), sim.health(1)), (1, Health::NotPingable));

    // Another container of the same name never did.
    let mut sim = Sim::new(Policy::default(), 1);
    sim.pass(20_000);
    sim.sweep();
    sim.facts.remove(&id_of(1));
    let other = ContainerFacts { id: id_of(9), ..facts(1) };
    sim.facts.insert(id_of(9), other);
    sim.list();
    crash_and_come_back(&mut sim, &id_of(9), 100);
    sim.sweeps(2);
    assert_eq!((sim.count(EventKind::ContainerRecovered), sim.health(1)), (1, Health::NotPingable));

    // Somebody else started it since, with a firewall: its last run did not answer either.
    let mut sim = Sim::new(Policy::default(), 1);
    sim.pass(20_000);
    sim.sweep();
    sim.lose(1, 100);
    sim.run(&id_of(1));
    sim.see(&id_of(1));
    sim.sweeps(2);
    assert_eq!((sim.acts.len(), sim.health(1)), (0, Health::NotPingable));
    crash_and_come_back(&mut sim, &id_of(1), 100);
    sim.sweeps(2);
    assert_eq!((sim.count(EventKind::ContainerRecovered), sim.health(1)), (1, Health::NotPingable));
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
fn what_fails_or_is_quarantined_and_is_removed_ends_what_was_said_of_it() {
    for quarantined in [false, true] {
        let mut sim = Sim::new(Policy::default(), 2);
        sim.crash_loops = vec![id_of(1)];
        sim.end(1, 1);
        if quarantined {
            sim.pass_waking(3_600_000);
            assert_eq!(sim.health(1), Health::Quarantined);
        }
        let told = |sim: &Sim| sim.events.iter().filter(|kind| **kind == EventKind::ContainerRemoved).count();
        assert_eq!(told(&sim), 0);
        for n in [1, 2] {
            sim.facts.remove(&id_of(n));
            sim.list();
        }
        assert_eq!(told(&sim), 1, "of the other there is nothing to end: {:?}", sim.events);
    }
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
fn a_one_shot_job_is_left_alone_by_monitor_all() {
    let mut sim = Sim::new(Policy { monitor_all: true, ..Policy::default() }, 2);
    (1..=2).for_each(|n| sim.change(n, |facts| facts.labels.clear()));
    sim.end(1, 0);
    sim.end(2, 1);
    assert_eq!(sim.acted_on(), ["c2"]);
}
