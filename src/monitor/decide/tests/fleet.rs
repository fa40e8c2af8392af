//! What the controller allows, and what happens when it is silent.

use super::*;

const BUDGET: Rate = Rate { count: 2, window: Duration::from_mins(10) };

fn word(leave: Option<(i64, u32)>) -> Input {
    Input::Fleet(FleetWord { budget: Some(BUDGET), leave, hold: None })
}

/// A host in a fleet with a budget, on which `lossy` of 12 containers fail.
fn host_with(lossy: u8) -> Sim {
    let mut sim = Sim::new(Policy::default(), 12);
    sim.feed(word(None));
    sim.pass(20_000);
    sim.sweep();
    (1..=lossy).for_each(|n| sim.lose(n, 100));
    sim.sweep();
    sim
}

#[test]
fn a_restart_waits_for_leave_and_a_start_does_not() {
    let mut sim = host_with(1);
    assert!(sim.acts.is_empty() && sim.remembered.contains(&Decision::Report));
    assert!(sim.why(1).contains("the controller is asked"), "{}", sim.why(1));
    sim.end(9, 1);
    assert_eq!(sim.acted_on(), ["c9"]);
    let asked = sim.state.fleet_question();
    assert_eq!((asked.budget, asked.wanted), (Some(BUDGET), 1));
    sim.feed(word(Some((asked.asked, 1))));
    assert_eq!(sim.acted_on(), ["c9", "c1"]);
    assert_eq!(sim.state.fleet_question().wanted, 0);
}

#[test]
fn without_leave_it_asks_again() {
    let mut sim = host_with(1);
    let first = sim.state.fleet_question();
    sim.feed(word(Some((first.asked, 0))));
    assert!(sim.why(1).contains("(--fleet-budget 2/10m)"), "{}", sim.why(1));
    assert_eq!(sim.state.fleet_question().wanted, 0, "it has its answer");
    sim.pass_waking(5_000);
    let second = sim.state.fleet_question();
    assert!(second.wanted == 1 && second.asked > first.asked);
    sim.feed(word(Some((first.asked, 1))));
    assert!(sim.acts.is_empty(), "that answers another question");
    sim.feed(word(Some((second.asked, 5))));
    assert_eq!(sim.acted_on(), ["c1"], "and never more than was asked for");
}

#[test]
fn a_silent_controller_holds_nothing() {
    let mut sim = host_with(3);
    sim.pass_waking(2_900);
    assert!(sim.acts.is_empty());
    sim.pass_waking(200);
    assert_eq!(sim.acts.len(), 3, "the host's own budget holds");
    assert_eq!(sim.state.fleet_question().budget, None, "so that the controller speaks when it is back");
    sim.feed(word(None));
    sim.lose(4, 100);
    sim.sweeps(1);
    assert_eq!(sim.acts.len(), 3, "now it is asked again");
}

#[test]
fn leave_that_comes_too_late_is_none() {
    let mut sim = host_with(1);
    let asked = sim.state.fleet_question().asked;
    sim.now += 10_000;
    sim.state.on(word(Some((asked, 1))), sim.at());
    assert!(sim.acts.is_empty());
}

#[test]
fn when_several_hosts_fail_loss_waits_while_the_controller_says_so() {
    let mut sim = Sim::new(Policy::default(), 3);
    sim.pass(20_000);
    sim.sweep();
    let hold = Some("3 of 4 hosts of the fleet lose packets at once".to_owned());
    let said = Input::Fleet(FleetWord { budget: None, leave: None, hold });
    sim.feed(said.clone());
    sim.lose(1, 100);
    sim.sweep();
    assert_eq!((sim.acts.len(), sim.health(1)), (0, Health::Frozen));
    assert!(sim.why(1).contains("3 of 4 hosts"), "{}", sim.why(1));
    sim.end(2, 1);
    assert_eq!(sim.acted_on(), ["c2"]);
    sim.pass_waking(15_000);
    sim.feed(said);
    sim.pass_waking(15_000);
    sim.sweep();
    assert_eq!(sim.acted_on(), ["c2"], "it was said again");
    sim.pass_waking(6_000);
    sim.sweep();
    assert_eq!(sim.acted_on(), ["c2", "c1"], "it was not");
}
