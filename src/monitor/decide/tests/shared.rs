//! Much that fails at once: the shared cause is to blame.

use super::*;

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
fn a_single_lossy_container_among_good_ones_is_healed_while_another_network_is_broken() {
    let mut sim = Sim::new(Policy::default(), 8);
    for n in 5..=8 {
        sim.change(n, |facts| facts.networks[0].network = "other".into());
    }
    sim.pass(20_000);
    sim.sweep();
    (1..=4).for_each(|n| sim.lose(n, 100));
    sim.lose(8, 100);
    sim.sweeps(4);
    assert_eq!(sim.acted_on(), ["c8"]);
    assert_eq!((sim.count(EventKind::BreakerOpened), sim.count(EventKind::ContainerFailing)), (1, 1));
    assert!(sim.why(1).contains("much of network bridge fails at once"), "{}", sim.why(1));
}

#[test]
fn a_project_that_fails_among_others_is_named_and_in_the_end_healed_all_the_same() {
    let mut sim = Sim::new(Policy::default(), 9);
    (1..=3).for_each(|n| sim.compose(n, "web", ""));
    sim.pass(20_000);
    sim.sweep();
    (1..=3).for_each(|n| sim.lose(n, 100));
    sim.sweeps(30);
    assert!(sim.acts.is_empty());
    assert!(sim.why(1).contains("much of compose project shop fails at once"), "{}", sim.why(1));
    sim.sweeps(40);
    let acted_on: BTreeSet<&str> = sim.acted_on().into_iter().collect();
    assert_eq!(acted_on, BTreeSet::from(["c1", "c2", "c3"]), "that guess had its time");
    assert_eq!(sim.count(EventKind::BreakerClosed), 1);
}

#[test]
fn nothing_is_restarted_for_loss_while_the_host_loses_packets_to_itself() {
    for address in [GATEWAY, IpAddr::from([127, 0, 0, 1])] {
        let mut sim = Sim::new(Policy::default(), 6);
        sim.pass(20_000);
        sim.sweep();
        sim.host_loss.insert(address, 60);
        sim.lose(1, 100);
        sim.sweeps(5);
        assert!(sim.acts.is_empty(), "{address}: {:?}", sim.acts);
        assert_eq!(sim.health(1), Health::Frozen);
        let words = format!(
            "the host's own {}",
            if address == GATEWAY {
                "bridge gateway 10.0.0.254 loses 60 %"
            } else {
                "loopback 127.0.0.1 loses 60 %"
            }
        );
        assert!(sim.why(1).contains(&words), "{}", sim.why(1));
        (1..=6).for_each(|n| sim.lose(n, 100));
        sim.sweeps(5);
        assert!(sim.acts.is_empty());
        assert_eq!(sim.count(EventKind::BreakerOpened), 1, "one incident, for the host alone");
        sim.end(6, 1);
        assert_eq!(sim.acted_on(), ["c6"], "what is down is started all the same");
        (2..=6).for_each(|n| sim.lose(n, 0));
        sim.host_loss.clear();
        sim.sweeps(2);
        assert_eq!(sim.acted_on(), ["c6", "c1"], "it was not the host alone");
        assert_eq!(sim.count(EventKind::BreakerClosed), 1);
    }
}

#[test]
fn a_gateway_that_never_answered_excuses_nobody() {
    let mut sim = Sim::new(Policy::default(), 4);
    sim.host_loss.insert(GATEWAY, 100);
    sim.pass(20_000);
    sim.sweep();
    sim.lose(1, 100);
    sim.sweeps(1);
    assert_eq!(sim.acted_on(), ["c1"]);
}

#[test]
fn the_agents_starvation_is_told() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.sweep();
    sim.feed(Input::Starved(Duration::from_millis(700)));
    assert!(sim.why(1).contains("its timers were 0.7 s late"), "{}", sim.why(1));
    sim.pass(61_000);
    assert!(!sim.why(1).contains("timers"), "{}", sim.why(1));
}
