//! Compose projects: who needs whom, deploys, and maintenance by label.

use super::*;

/// What is healed first, and what waits for it.
fn victim_and_cause() -> Sim {
    let mut sim = Sim::new(Policy::default(), 2);
    sim.compose(1, "web", "db:service_healthy:false");
    sim.compose(2, "db", "");
    sim.pass(20_000);
    sim.sweep();
    sim
}

#[test]
fn the_victim_of_a_failed_dependency_waits_until_that_is_well() {
    let mut sim = victim_and_cause();
    sim.lose(1, 100);
    sim.lose(2, 100);
    sim.sweep();
    assert_eq!(sim.acted_on(), ["c2"]);
    assert!(
        sim.why(1).contains("c2, which it needs, was healed a moment ago, and is healed first"),
        "{}",
        sim.why(1)
    );
    sim.lose(1, 0);
    sim.sweeps(3);
    assert_eq!(sim.acted_on(), ["c2"], "it was a victim only");
    assert_eq!(sim.health(1), Health::Healthy);
}

#[test]
fn after_a_minute_it_is_healed_whatever_its_dependency_does() {
    let mut sim = victim_and_cause();
    sim.change(2, |facts| drop(facts.labels.insert("dockhealth.maintenance".into(), "true".into())));
    sim.end(2, 1);
    sim.lose(1, 100);
    sim.sweep();
    sim.pass_waking(55_000);
    assert!(sim.acts.is_empty(), "{:?}", sim.acts);
    sim.pass_waking(5_000);
    assert_eq!(sim.acted_on(), ["c1"]);
}

#[test]
fn who_went_down_together_comes_back_in_order_and_at_once() {
    let mut sim = victim_and_cause();
    sim.feed(Input::EngineLost("gone".into()));
    for facts in sim.facts.values_mut() {
        (facts.state, facts.exit_code) = (RunState::Exited, Some(137));
    }
    sim.feed(Input::EngineBack);
    sim.list();
    sim.pass_waking(1_000);
    assert_eq!(sim.acted_on(), ["c2", "c1"]);
}

#[test]
fn two_that_need_each_other_wait_for_a_minute_only() {
    let mut sim = victim_and_cause();
    sim.change(2, |facts| facts.links = vec!["c1".into()]);
    sim.lose(1, 100);
    sim.lose(2, 100);
    sim.sweep();
    assert!(sim.acts.is_empty());
    sim.pass_waking(60_000);
    assert!(!sim.acts.is_empty());
}

#[test]
fn one_replica_that_is_well_and_a_job_that_is_done_are_enough() {
    let mut sim = Sim::new(Policy::default(), 4);
    sim.compose(1, "web", "db:service_started:true,init:service_completed_successfully:false");
    sim.compose(2, "db", "");
    sim.compose(3, "db", "");
    sim.compose(4, "init", "");
    sim.change(2, |facts| drop(facts.labels.insert("dockhealth.monitor".into(), "false".into())));
    sim.pass(20_000);
    sim.sweep();
    sim.end(2, 1);
    sim.change(4, |facts| drop(facts.labels.remove("dockhealth.monitor")));
    sim.end(4, 0);
    sim.lose(1, 100);
    sim.sweep();
    assert_eq!(sim.acted_on(), ["c1"]);
}

#[test]
fn a_follower_is_not_started_before_the_owner_of_its_network() {
    let mut sim = Sim::new(Policy::default(), 2);
    sim.change(1, |facts| facts.namespace = Namespace::Container("c2".into()));
    sim.change(2, |facts| drop(facts.labels.insert("dockhealth.maintenance".into(), "true".into())));
    sim.end(2, 1);
    sim.end(1, 1);
    sim.pass_waking(9 * 60_000);
    assert!(sim.acts.is_empty(), "the engine would refuse it");
    sim.change(2, |facts| drop(facts.labels.remove("dockhealth.maintenance")));
    assert_eq!(sim.acted_on(), ["c2", "c1"]);
}

#[test]
fn a_follower_whose_owner_was_made_anew_is_recreated_to_join_it() {
    let mut sim = Sim::new(Policy::default(), 2);
    sim.change(2, |facts| facts.namespace = Namespace::Container(id_of(1).to_string()));
    sim.feed(Input::Gone(id_of(1)));
    sim.facts.remove(&id_of(1));
    let now = Timestamp::from_millis(sim.now);
    let anew = ContainerFacts { id: id_of(9), started_at: Some(now), ..facts(1) };
    sim.facts.insert(anew.id.clone(), anew);
    sim.see(&id_of(9));
    sim.pass_waking(9_000);
    assert!(sim.acts.is_empty(), "whoever did that may do the same with the follower");
    let decisions = {
        sim.now += 2_000;
        sim.state.on(Input::Tick, sim.at())
    };
    let act =
        decisions.into_iter().find_map(|d| if let Decision::Act(action) = d { Some(action) } else { None });
    let act = act.expect("its network is gone");
    assert_eq!((act.name.as_str(), act.kind, act.join), ("c2", ActionKind::Recreate, Some(id_of(9))));
}

#[test]
fn a_project_that_is_being_deployed_is_left_to_whoever_does_it() {
    let mut sim = Sim::new(Policy::default(), 4);
    (1..=4).for_each(|n| sim.compose(n, &format!("s{n}"), ""));
    sim.pass(20_000);
    sim.sweep();
    for n in [1, 2] {
        sim.stop(n);
        sim.run(&id_of(n));
        sim.see(&id_of(n));
    }
    let unhealthy = Healthcheck { status: HealthcheckStatus::Unhealthy, start_period: Duration::ZERO };
    sim.change(3, |facts| facts.healthcheck = Some(unhealthy));
    sim.end(4, 1);
    assert_eq!(sim.acted_on(), ["c4"], "a crash is nobody's deploy");
    assert!(sim.why(3).contains("several containers of compose project shop"), "{}", sim.why(3));
    sim.pass_waking(16_000);
    assert_eq!(sim.acted_on(), ["c4", "c3"]);
}

#[test]
fn what_we_start_ourselves_is_no_deploy() {
    let mut sim = Sim::new(Policy::default(), 3);
    (1..=3).for_each(|n| {
        sim.compose(n, "web", "");
        sim.name_it(n);
    });
    (1..=2).for_each(|n| sim.stop(n));
    sim.pass_waking(3_000);
    sim.stop(3);
    sim.pass_waking(3_000);
    assert_eq!(sim.acted_on(), ["c1", "c2", "c3"]);
}

#[test]
fn maintenance_by_label_holds_until_its_time() {
    let label = |text: &str| {
        let text = text.to_owned();
        move |facts: &mut ContainerFacts| drop(facts.labels.insert("dockhealth.maintenance".into(), text))
    };
    let mut sim = Sim::new(Policy::default(), 3);
    let until = Timestamp::from_millis(sim.now + 60_000);
    for (n, text) in [(1, "true"), (2, &*until.to_string()), (3, "tomorrow")] {
        sim.change(n, label(text));
        sim.end(n, 1);
    }
    assert_eq!(sim.acted_on(), ["c3"], "nobody knows what tomorrow means");
    assert!(sim.why(3).contains("dockhealth.maintenance=tomorrow is passed over"), "{}", sim.why(3));
    assert_eq!([1, 2].map(|n| sim.health(n)), [Health::Frozen; 2]);
    let reported = |sim: &Sim| {
        sim.state.reports(sim.at()).iter().map(|one| one.maintenance_by_label).collect::<Vec<_>>()
    };
    assert_eq!(reported(&sim), [true, true, false]);
    sim.pass_waking(61_000);
    assert_eq!(sim.acted_on(), ["c3", "c2"]);
    assert_eq!(reported(&sim), [true, false, false]);
}
