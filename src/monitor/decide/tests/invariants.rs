//! What never happens, whatever happens.

use super::*;

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

    /// Whatever containers do: with the gateway failing, none is restarted for loss.
    #[test]
    fn no_loss_is_healed_while_the_gateway_fails(
        steps in proptest::collection::vec((0_u8..6, 1_u8..9, 0_u32..=100, 0_i64..20_000), 1..60),
        gateway in 40_u32..=100,
    ) {
        let mut sim = Sim::new(Policy::default(), 8);
        sim.pass(20_000);
        sim.sweep();
        sim.host_loss.insert(GATEWAY, gateway);
        sim.sweep();
        for (what, n, loss, millis) in steps {
            sim.pass_waking(millis);
            match what {
                0 => sim.end(n, 1),
                1 | 2 => sim.lose(n, loss),
                _ => sim.sweep(),
            }
        }
        let restarts = sim.acts.iter().filter(|(_, kind)| *kind != ActionKind::Start);
        prop_assert_eq!(restarts.count(), 0, "{:?}", sim.acts);
    }

    /// One lossy container among good ones is healed within two sweeps, whatever they share.
    #[test]
    fn a_single_lossy_container_is_always_healed(
        containers in 1_u8..12,
        networks in proptest::collection::vec(0_u8..3, 12),
        projects in proptest::collection::vec(0_u8..3, 12),
        needs in proptest::collection::vec(0_u8..12, 12),
        pick in any::<prop::sample::Index>(),
        loss in 60_u32..=100,
    ) {
        let mut sim = Sim::new(Policy::default(), containers);
        for n in 1..=containers {
            let at = usize::from(n - 1);
            let needs = format!("s{}:service_started:false", needs[at]);
            sim.compose(n, &format!("s{at}"), &needs);
            sim.change(n, |facts| {
                facts.networks[0].network = format!("net{}", networks[at]);
                facts.labels.insert("com.docker.compose.project".into(), format!("p{}", projects[at]));
            });
        }
        sim.pass(20_000);
        sim.sweep();
        let victim = u8::try_from(pick.index(usize::from(containers))).unwrap() + 1;
        sim.lose(victim, loss);
        sim.sweeps(2);
        prop_assert_eq!(sim.acted_on(), [format!("c{victim}")]);
    }

    /// Dependencies of any shape, cycles among them, keep nobody down: what crashed runs again within 11 minutes.
    #[test]
    fn no_dependency_holds_for_ever(
        needs in proptest::collection::vec((0_u8..6, 0_u8..3), 6),
        shared in proptest::collection::vec(proptest::option::weighted(0.3, 1_u8..7), 6),
        maintained in 0_u8..7,
    ) {
        let mut sim = Sim::new(Policy::default(), 6);
        for n in 1..=6_u8 {
            let (other, how) = needs[usize::from(n - 1)];
            let how = ["service_started", "service_healthy", "service_completed_successfully"][usize::from(how)];
            sim.compose(n, &format!("s{n}"), &format!("s{other}:{how}:true"));
            if let Some(owner) = shared[usize::from(n - 1)] {
                sim.change(n, |facts| facts.namespace = Namespace::Container(format!("c{owner}")));
            }
            if n == maintained {
                sim.change(n, |facts| drop(facts.labels.insert("dockhealth.maintenance".into(), "true".into())));
            }
        }
        sim.feed(Input::EngineLost("gone".into()));
        for facts in sim.facts.values_mut() {
            (facts.state, facts.exit_code) = (RunState::Exited, Some(137));
        }
        sim.feed(Input::EngineBack);
        sim.list();
        sim.pass_waking(11 * 60_000);
        for n in (1..=6).filter(|n| *n != maintained) {
            prop_assert_eq!(sim.facts[&id_of(n)].state, RunState::Running, "c{} is still down", n);
        }
    }

    /// With leave, no more restarts are done than were allowed; whatever the controller answers, and when.
    #[test]
    fn restarts_never_exceed_what_the_controller_allowed(
        steps in proptest::collection::vec((0_u8..4, 1_u8..12, 0_u32..4, 0_i64..9_000), 1..80),
    ) {
        let policy = Policy { backoff: Duration::ZERO, ..Policy::default() };
        let mut sim = Sim::new(policy, 12);
        let budget = Rate { count: 1, window: Duration::from_mins(1) };
        sim.feed(Input::Fleet(FleetWord { budget: Some(budget), leave: None, hold: None }));
        sim.pass(20_000);
        sim.sweep();
        for (what, n, leave, millis) in steps {
            sim.leave = Some((budget, leave));
            sim.pass_waking(millis);
            if what == 0 { sim.lose(n, 100) } else { sim.sweep() }
            let restarts = sim.acts.iter().filter(|(_, kind)| *kind != ActionKind::Start).count();
            prop_assert!(restarts <= sim.allowed as usize, "{} of {}", restarts, sim.allowed);
        }
    }
}
