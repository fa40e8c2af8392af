//! What must hold of every controller, whatever it sees.

use proptest::prelude::*;

use super::*;

const KINDS: [&str; 5] = ["francis", "regulator", "hpa", "kpa", "fixed:3"];

fn micros() -> impl Strategy<Value = Micros> {
    prop_oneof![
        Just(Micros::ZERO),
        (0_u64..20_000_000).prop_map(Micros),
        (0_u64..20_000_000).prop_map(Micros),
        any::<u64>().prop_map(Micros)
    ]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 0_u32..40, 0_u32..40, any::<u32>()]
}

prop_compose! {
    /// Anything at all, most of it likely.
    fn observation()(
        at in micros(), period in micros(), (queued, in_flight, arrivals, completions) in (count(), count(), count(), count()),
        in_service in micros(), ready in count(), starting in proptest::collection::vec(micros(), 0..6), draining in count(),
        cpu in proptest::option::of(micros()), host_cpu in proptest::option::of(micros()), millicores in count(),
        boot in proptest::option::of(micros())
    ) -> Observation {
        Observation {
            at, period, queued, in_flight, arrivals, completions, in_service, ready, starting, draining, cpu, host_cpu,
            millicores, boot,
        }
    }
}

prop_compose! {
    fn settings()(
        (min, more) in (1_u32..6, 0_u32..20), period in micros(), concurrency in 0_u32..5,
        container_millicores in proptest::option::of(count()), service_guess in micros(), boot_guess in micros(),
        stabilisation in micros(), (load, start_cost, container_cost, reserve) in (10_u32..=100, 0_u32..200, 0_u32..200, 0_u32..300)
    ) -> ControlSettings {
        ControlSettings {
            bounds: Bounds::new(min, min + more).unwrap(), period, concurrency, container_millicores, service_guess,
            boot_guess, stabilisation,
            // As people write them, which JSON keeps exactly.
            load: f64::from(load) / 100.0,
            start_cost: f64::from(start_cost) / 100.0,
            container_cost: f64::from(container_cost) / 100.0,
            reserve: f64::from(reserve) / 100.0,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_decision_is_within_bounds_and_every_figure_a_number(
        settings in settings(), seen in proptest::collection::vec(observation(), 1..12)
    ) {
        for kind in KINDS.map(|name| name.parse::<ControllerKind>().unwrap()) {
            let bounds = kind.bounds(settings.bounds);
            let mut controller = kind.build(&settings);
            for seen in &seen {
                let decision = controller.decide(seen);
                prop_assert_eq!(bounds.clamp(decision.target), decision.target, "{}", kind);
                let after = i64::from(seen.containers()) + i64::from(decision.delta);
                if seen.containers() < 1_000_000 {
                    prop_assert_eq!(after, i64::from(decision.target), "{}", kind);
                }
                if let Some(f) = decision.forecast {
                    let figures = [f.arrivals, f.requests, f.service_s, f.cores_per_request, f.useful.unwrap_or(0.0)];
                    prop_assert!(figures.iter().all(|v| v.is_finite() && *v >= 0.0), "{}: {:?}", kind, f);
                }
            }
        }
    }

    #[test]
    fn a_record_is_decided_again_bit_by_bit(
        settings in settings(), seen in proptest::collection::vec(observation(), 1..12)
    ) {
        for kind in KINDS.map(|name| name.parse::<ControllerKind>().unwrap()) {
            let mut controller = kind.build(&settings);
            let mut replayer = Replayer::default();
            let begins = Record::Begins { controller: kind, settings: settings.clone() };
            replayer.line(&begins.line()).unwrap();
            for seen in &seen {
                let decided = Record::Decided { seen: seen.clone(), decision: controller.decide(seen) };
                replayer.line(&decided.line()).unwrap();
            }
            let replay = replayer.end();
            prop_assert_eq!(replay.decisions, seen.len() as u64);
            prop_assert_eq!(replay.first, None);
        }
    }
}

/// Nothing was seen yet, on `ready` containers.
fn nothing(at_s: u64, ready: u32) -> Observation {
    Observation {
        at: Micros::from_secs(at_s),
        period: Micros::from_secs(if at_s == 0 { 0 } else { 2 }),
        ready,
        cpu: Some(Micros::ZERO),
        host_cpu: Some(Micros::ZERO),
        millicores: 4_000,
        ..Observation::default()
    }
}

#[test]
fn an_empty_system_decays_to_the_least_and_stays_there() {
    for kind in ["francis", "regulator", "hpa", "kpa"].map(|name| name.parse::<ControllerKind>().unwrap()) {
        let mut controller = kind.build(&ControlSettings::new(Bounds::new(2, 16).unwrap()));
        let mut ready = 16;
        let course: Vec<u32> = (0..200)
            .map(|step| {
                ready = controller.decide(&nothing(2 * step, ready)).target;
                ready
            })
            .collect();
        assert_eq!(course.last(), Some(&2), "{kind}: {course:?}");
        assert!(course.is_sorted_by(|a, b| a >= b), "{kind}: {course:?}");
    }
}

#[test]
fn what_differs_from_the_record_is_said() {
    let kind: ControllerKind = "hpa".parse().unwrap();
    let settings = ControlSettings::new(Bounds::new(2, 16).unwrap());
    let decision = kind.build(&settings).decide(&nothing(0, 4));
    let told =
        |delta| Record::Decided { seen: nothing(0, 4), decision: Decision { delta, ..decision.clone() } };
    let mut replayer = Replayer::default();
    assert_eq!(replayer.line(&told(1).line()), Err(ReplayError::Nobody(1)));
    let begins = Record::Begins { controller: kind, settings };
    for line in [begins.line(), told(decision.delta).line(), "\n".to_owned(), begins.line(), told(9).line()] {
        replayer.line(&line).unwrap();
    }
    assert!(matches!(replayer.line("{\"record\":\"seen\"}"), Err(ReplayError::Line(7, _))));
    let replay = replayer.end();
    assert_eq!((replay.decisions, replay.different), (2, 1));
    assert_eq!(replay.first, Some((6, Decision { delta: 9, ..decision.clone() }, decision)));
}

#[test]
fn controllers_are_named() {
    for name in KINDS {
        assert_eq!(name.parse::<ControllerKind>().unwrap().to_string(), name);
    }
    for name in ["", "fixed", "fixed:0", "fixed:257", "fixed:-1", "Francis", "hpa:2"] {
        let error = name.parse::<ControllerKind>().unwrap_err().to_string();
        assert!(error.contains("francis, regulator, hpa, kpa or fixed:COUNT"), "{error}");
    }
}

#[test]
fn it_says_why() {
    let decided = |kind: &str, seen: &Observation| {
        let settings = ControlSettings::new(Bounds::new(2, 16).unwrap());
        let decision = kind.parse::<ControllerKind>().unwrap().build(&settings).decide(seen);
        (decision.rule, decision.target, decision.reason)
    };
    let many = Observation { queued: 30, in_flight: 2, arrivals: 32, ..nothing(2, 2) };
    let (rule, target, reason) = decided("francis", &many);
    assert_eq!((rule, target), (Rule::Grow, 4), "{reason}");
    assert!(reason.starts_with("32 requests, 1.05 a second expected, 5.00 s each: 4 containers"), "{reason}");
    let (rule, target, reason) = decided("francis", &Observation { ready: 4, in_flight: 4, ..many.clone() });
    assert_eq!((rule, target), (Rule::Capacity, 4), "{reason}");
    assert!(reason.ends_with("more than 4 containers would only share the same cores"), "{reason}");
    // Without CPU times nobody knows what is of use, and the bounds alone hold.
    let blind = Observation { ready: 9, in_flight: 9, cpu: None, host_cpu: None, ..many };
    assert_eq!(decided("francis", &blind).1, 16);
    assert_eq!(decided("francis", &nothing(2, 2)).0, Rule::Minimum);
    assert_eq!(decided("francis", &nothing(2, 1)).0, Rule::Minimum);
    assert_eq!(
        decided("fixed:5", &nothing(2, 1)),
        (Rule::Fixed, 5, "5 containers, whatever comes".to_owned())
    );
}
