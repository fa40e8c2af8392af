//! Containers that share a network namespace.

use super::*;

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
