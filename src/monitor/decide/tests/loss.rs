//! Packet loss: what counts, what must be confirmed, what it leads to.

use super::*;

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

/// What a sequential test made of a container.
fn tested(n: u8, received: u32, finding: Finding) -> Checked {
    let address = std::net::IpAddr::from([10, 0, 0, n]);
    let rtts = vec![Duration::from_micros(50); received as usize];
    let outcome = ProbeOutcome { address, sent: 100, received, void: 0, rtts };
    Checked { id: id_of(n), started_at: facts(n).started_at, outcomes: vec![outcome], finding }
}

fn lossy(n: u8) -> Finding {
    Finding::Lossy([10, 0, 0, n].into(), Evidence { score: 24.5, to_fail: 24.2, to_pass: -5.3 })
}

fn swept(checked: Vec<Checked>) -> Input {
    Input::Swept(CheckKind::Sweep, checked)
}

#[test]
fn the_verdict_of_a_sequential_test_needs_no_confirming_and_is_told_with_its_evidence() {
    let mut sim = Sim::new(Policy::default(), 2);
    sim.sweep();
    sim.feed(swept(vec![tested(1, 20, Finding::UnderWay), tested(2, 45, Finding::Sound(None))]));
    assert!(sim.acts.is_empty(), "one is not through, and one was found sound, whatever its loss");
    assert_eq!(sim.health(2), Health::Degraded);
    let decisions = sim.state.on(swept(vec![tested(1, 20, lossy(1))]), sim.at());
    let act = decisions.iter().find_map(|decision| match decision {
        Decision::Act(action) => Some(action.reason.clone()),
        _ => None,
    });
    let words = "loses 80 % of its packets, above its threshold of 50 % (evidence 24.5 of 24.2 needed)";
    assert_eq!(act.as_deref(), Some(words));
    let failing = decisions.iter().find_map(|decision| match decision {
        Decision::Emit(draft) => Some(draft.data["evidence"]["score"].clone()),
        _ => None,
    });
    assert_eq!(failing, Some(24.5.into()));
    let explained = sim.state.explain(&facts(1).name, sim.at()).unwrap();
    assert_eq!(explained.checks.last().unwrap().evidence.map(|evidence| evidence.to_fail), Some(24.2));
}

#[test]
fn every_brake_holds_against_a_sequential_test_too() {
    let mut fresh = Sim::new(Policy::default(), 1);
    fresh.feed(swept(vec![tested(1, 0, lossy(1))]));
    assert!(fresh.acts.is_empty(), "it never answered");

    let mut starting = Sim::new(Policy::default(), 1);
    starting.change(1, |facts| facts.started_at = Some(Timestamp::from_millis(95_000)));
    starting.sweep();
    let early = Checked { started_at: Some(Timestamp::from_millis(95_000)), ..tested(1, 0, lossy(1)) };
    starting.feed(swept(vec![early]));
    assert!(starting.acts.is_empty(), "it is in its grace");

    let mut network = Sim::new(Policy::default(), 4);
    network.sweep();
    let others = (2..=4).map(|n| tested(n, 10, Finding::UnderWay));
    network.feed(swept(others.chain([tested(1, 0, lossy(1))]).collect()));
    assert!(network.acts.is_empty(), "the network is to blame");
    assert!(network.events.contains(&EventKind::BreakerOpened));
    network.feed(swept((2..=4).map(|n| tested(n, 100, Finding::Sound(None))).collect()));
    network.feed(swept(vec![tested(1, 0, lossy(1))]));
    assert_eq!(network.acted_on(), ["c1"], "now it is a trouble of its own");
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
