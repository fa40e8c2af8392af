//! What must hold of the controllers, on a host that is simulated.

use std::fmt::Write;

use super::*;
use crate::scale::control::Bounds;
use crate::scale::workload::Trace;

const TRACES: [&str; 3] = ["fix", "p4", "p5"];

/// 13 s of one core for each request, 2 to 16 containers, a decision every 2 s.
fn plan(controller: &str, trace: &Trace, cores: u32) -> Plan {
    let settings = ControlSettings::new(Bounds::new(2, 16).unwrap());
    Plan {
        controller: controller.parse().unwrap(),
        settings,
        arrivals: trace.arrivals(Micros::from_secs(13), 1),
        millicores: cores * 1000,
        others: 0,
        share: 1000,
        boot: Micros::from_seconds(1.5),
        dispatch: Dispatch::Event,
        refused: None,
        seed: 1,
    }
}

fn figures(controller: &str, trace: &Trace, cores: u32) -> Figures {
    simulate(&plan(controller, trace, cores)).unwrap().figures
}

fn named(name: &str) -> Trace {
    Trace::named(name).unwrap()
}

/// A request every `gap_s` seconds, for `lasts_s`.
fn constant(gap_s: f64, lasts_s: f64) -> Trace {
    let mut text = String::new();
    let mut at = 0.0;
    while at < lasts_s {
        let _ = writeln!(text, "{at},1");
        at += gap_s;
    }
    Trace::parse("constant", &text).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

#[test]
fn polling_costs_more_than_a_missing_controller() {
    let polled =
        Plan { dispatch: Dispatch::Slot(Micros::from_seconds(12.5)), ..plan("fixed:5", &named("fix"), 4) };
    let polled = simulate(&polled).unwrap().figures.mean_wait_s;
    let at_once = figures("fixed:5", &named("fix"), 4).mean_wait_s;
    assert!((126.0..=136.0).contains(&polled), "the seed's row without a controller, 134 s: {polled}");
    assert!((48.0..=54.0).contains(&at_once), "{at_once}");
}

#[test]
fn on_two_cores_francis_saves_containers_and_is_no_slower() {
    for name in TRACES {
        let (francis, fixed) = (figures("francis", &named(name), 2), figures("fixed:5", &named(name), 2));
        assert_eq!(francis.peak, 2, "{name}");
        assert!(francis.mean_sojourn_s <= 0.97 * fixed.mean_sojourn_s, "{name}: {francis:?} {fixed:?}");
        assert!(francis.container_seconds <= 0.45 * fixed.container_seconds, "{name}: {francis:?} {fixed:?}");
    }
}

#[test]
fn on_sixteen_cores_francis_takes_half_the_time() {
    let (francis, fixed) = (figures("francis", &named("p4"), 16), figures("fixed:5", &named("p4"), 16));
    assert!(francis.mean_sojourn_s <= 0.5 * fixed.mean_sojourn_s, "{francis:?} {fixed:?}");
    assert!(francis.makespan_s <= 0.8 * fixed.makespan_s, "{francis:?} {fixed:?}");
    let ratio = |seed| {
        let trace = Trace::random(seed);
        let of = |controller| {
            let mut plan = plan(controller, &trace, 16);
            plan.arrivals = trace.arrivals(Micros::from_secs(13), seed);
            simulate(&Plan { seed, ..plan }).unwrap().figures.mean_sojourn_s
        };
        of("francis") / of("fixed:5")
    };
    let ratio = median((0..40).map(ratio).collect());
    assert!(ratio <= 0.5, "the median of 40 random traces: {ratio}");
}

#[test]
fn on_four_cores_francis_wants_no_more_than_four() {
    for name in TRACES {
        let (francis, fixed) = (figures("francis", &named(name), 4), figures("fixed:5", &named(name), 4));
        assert!(francis.peak <= 4, "{name}: {francis:?}");
        assert!(francis.mean_sojourn_s <= 1.02 * fixed.mean_sojourn_s, "{name}: {francis:?} {fixed:?}");
    }
}

#[test]
fn a_constant_load_is_answered_by_a_constant_number() {
    for tenths in 10..90 {
        let gap_s = f64::from(tenths) / 10.0;
        let outcome = simulate(&plan("francis", &constant(gap_s, 900.0), 16)).unwrap();
        let late = |step: &&Step| (300.0..900.0).contains(&step.seen.at.seconds());
        let signs = outcome.steps.iter().filter(late).map(|step| step.decision.delta.signum());
        let turns: Vec<i32> = signs.filter(|sign| *sign != 0).collect();
        assert!(turns.windows(2).all(|pair| pair[0] == pair[1]), "one every {gap_s} s: {turns:?}");
    }
}

#[test]
fn a_wrong_first_guess_does_little_harm() {
    for name in TRACES {
        for cores in [4, 16] {
            let guessing = |guess_s: f64| {
                let mut plan = plan("francis", &named(name), cores);
                plan.settings.service_guess = Micros::from_seconds(guess_s);
                simulate(&plan).unwrap().figures.mean_sojourn_s
            };
            let right = guessing(13.0);
            for wrong in [guessing(13.0 / 4.0), guessing(13.0 * 4.0)] {
                assert!(
                    (wrong / right - 1.0).abs() <= 0.05,
                    "{name} on {cores} cores: {wrong} instead of {right}"
                );
            }
        }
    }
}

#[test]
fn cores_that_others_use_are_left_to_them() {
    for name in TRACES {
        let plan = Plan { others: 8_000, ..plan("francis", &named(name), 16) };
        let figures = simulate(&plan).unwrap().figures;
        assert!(figures.peak <= 9, "{name}: {figures:?}");
    }
}

#[test]
fn requests_that_mostly_wait_get_more_containers_than_cores() {
    let plan = Plan { share: 200, ..plan("francis", &constant(2.0, 600.0), 2) };
    let figures = simulate(&plan).unwrap().figures;
    assert!(figures.peak >= 8, "{figures:?}");
    assert!(figures.p95_sojourn_s <= 1.5 * 13.0, "{figures:?}");
}

#[test]
fn what_starts_is_not_ordered_again() {
    for name in TRACES {
        let plan = Plan { boot: Micros::from_secs(10), ..plan("francis", &named(name), 16) };
        let outcome = simulate(&plan).unwrap();
        for pair in outcome.steps.windows(2) {
            // Nothing but decisions changes the number, and those that start count in it.
            assert_eq!(pair[1].seen.containers(), pair[0].decision.target, "{name}: {pair:?}");
        }
        assert!(outcome.figures.peak <= 16, "{name}: {:?}", outcome.figures);
        if outcome.figures.reversals == 0 {
            assert_eq!(outcome.starts, outcome.figures.peak - 2, "{name}: each is ordered once");
        }
    }
    let slow = Plan { boot: Micros::from_secs(10), ..plan("francis", &named("p4"), 16) };
    assert_eq!(simulate(&slow).unwrap().figures.reversals, 0, "so that something was asserted");
}

#[test]
fn starts_that_are_refused_are_tried_less_and_less_and_not_made_up_for() {
    let until = Micros::from_secs(61);
    let whole = simulate(&plan("francis", &named("p4"), 16)).unwrap();
    // From the first second on, and from the beginning of the first large burst.
    for from in [Micros::from_secs(1), Micros::ZERO] {
        let plan = Plan { refused: Some((from, until)), ..plan("francis", &named("p4"), 16) };
        let outcome = simulate(&plan).unwrap();
        assert!((3..=7).contains(&outcome.refused), "1, 2, 4, 8 s apart and so on: {outcome:?}");
        assert_eq!(outcome.starts - outcome.refused, whole.starts, "no more are started than without");
        assert!(outcome.figures.peak <= whole.figures.peak);
        let back = outcome.steps.iter().find(|step| step.seen.at > until && step.decision.delta > 0);
        let most = outcome.steps.iter().map(|step| step.seen.containers()).max();
        assert!(back.is_some() && most <= Some(16), "{most:?}");
    }
}

#[test]
fn the_same_plan_gives_the_same_outcome() {
    let of = || simulate(&plan("francis", &Trace::random(3), 8)).unwrap();
    let (one, two) = (of(), of());
    assert_eq!(one.figures, two.figures);
    let decisions = |outcome: &Outcome| outcome.steps.iter().map(|s| s.decision.clone()).collect::<Vec<_>>();
    assert_eq!(decisions(&one), decisions(&two));
}

#[test]
fn what_cannot_be_simulated_is_said() {
    let empty = Plan { arrivals: Vec::new(), ..plan("francis", &named("p4"), 2) };
    assert_eq!(simulate(&empty).unwrap_err(), SimulateError::NoRequests);
    let full = Plan { others: 2_000, ..plan("francis", &named("p4"), 2) };
    assert_eq!(simulate(&full).unwrap_err(), SimulateError::NoCores);
    let mut endless = plan("fixed:1", &Trace::parse("x", "0,400,604800").unwrap(), 1);
    endless.settings.period = Micros::from_secs(3_600);
    assert_eq!(simulate(&endless).unwrap_err(), SimulateError::TooLong);
}
