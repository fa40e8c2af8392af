//! Budgets, backoff, quarantine, freezes, maintenance, a dry run.

use super::*;

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
fn freezes_and_maintenance_hold_and_end() {
    let mut sim = Sim::new(Policy::default(), 2);
    let until = Timestamp::from_millis(sim.now + 60_000);
    let freeze = Freeze { since: sim.at().wall, until: Some(until), by: "operator".into() };
    let mut desired = sim.state.desired.clone();
    desired.freezes.insert(FreezeScope::All, freeze);
    sim.feed(Input::Desired(Box::new(desired)));
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
fn a_dry_run_says_once_what_it_would_do() {
    let mut sim = Sim::new(Policy { dry_run: true, ..Policy::default() }, 1);
    sim.end(1, 1);
    sim.pass_waking(60_000);
    assert!(sim.acts.is_empty());
    assert_eq!(sim.events, [EventKind::ContainerFailing, EventKind::WouldAct]);
}
