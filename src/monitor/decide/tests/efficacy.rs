//! Whether actions help, and what follows where they do not.

use super::*;

/// Loses `percent` whatever is done, for `sweeps` sweeps.
fn lose_always(sim: &mut Sim, percent: u32, sweeps: usize) {
    for _ in 0..sweeps {
        sim.lose(1, percent);
        sim.sweeps(1);
    }
}

#[test]
fn where_restarts_never_help_they_stop_and_are_tried_again_once_a_day() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.pass(20_000);
    sim.sweep();
    lose_always(&mut sim, 60, 180);
    assert_eq!(sim.acts.len(), 3, "--futile-after 3");
    let assessed = |sim: &Sim| sim.events.iter().filter(|e| **e == EventKind::ActionAssessed).count();
    assert_eq!(assessed(&sim), 3);
    assert_eq!(sim.events.iter().filter(|e| **e == EventKind::HealingFutile).count(), 1);
    assert_eq!(sim.health(1), Health::Failing);
    let told = sim.state.explain(&facts(1).name, sim.at()).unwrap();
    let words = "restarting does not help: the last 3 restarts left its loss at 60 %";
    assert!(told.container.reason.contains(words), "{}", told.container.reason);
    let efficacy = told.efficacy.unwrap();
    assert!(efficacy.futile.unwrap().starts_with(words));
    assert_eq!((efficacy.outcomes.no_change, efficacy.recent.len()), (3, 3));

    sim.now += 24 * 3_600_000;
    lose_always(&mut sim, 60, 180);
    assert_eq!(sim.acts.len(), 4, "one more a day");

    sim.feed(Input::Release(facts(1).name));
    lose_always(&mut sim, 60, 180);
    assert_eq!(sim.acts.len(), 7, "a release begins anew");
    assert!(sim.events.contains(&EventKind::Released));

    // What was remembered holds the next agent too.
    let score = sim.remembered.iter().rev().find_map(|decision| match decision {
        Decision::Score(name, score) => Some((name.clone(), (**score).clone())),
        _ => None,
    });
    let memory = Memory { scores: score.into_iter().collect(), ..Memory::default() };
    let mut next = Sim::remembering(Policy::default(), 1, memory.clone());
    next.now = sim.now;
    next.sweep();
    lose_always(&mut next, 60, 20);
    assert_eq!(next.acts.len(), 0, "{:?}", next.events);
    // And another container of that name it does not.
    let mut other = Sim::remembering(Policy::default(), 0, memory);
    other.now = sim.now;
    let replaced = ContainerFacts { id: id_of(9), ..facts(1) };
    other.facts.insert(id_of(9), replaced);
    other.list();
    other.sweep();
    other.lose(9, 60);
    other.sweeps(2);
    assert_eq!(other.acts.len(), 1);
}

#[test]
fn a_restart_that_cures_is_said_to_have_helped() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.pass(20_000);
    sim.sweep();
    sim.lose(1, 60);
    sim.sweeps(6);
    assert_eq!(sim.acts.len(), 1);
    let told = sim.state.explain(&facts(1).name, sim.at()).unwrap();
    let efficacy = told.efficacy.unwrap();
    let [one] = &efficacy.recent[..] else { panic!("{:?}", efficacy.recent) };
    assert_eq!((one.effect, efficacy.futile), (crate::model::Effect::Helped, None));
    let percent = |figures: crate::model::Figures| figures.loss_percent.unwrap().percent();
    assert_eq!((percent(one.before), percent(one.after)), (60.0, 0.0));
    assert!(told.brakes.iter().any(|brake| brake == "efficacy: 1 of 1 actions helped"), "{:?}", told.brakes);
}

/// A crash loop ends quarantined within its budget, whatever the calls that start it return.
#[test]
fn a_crash_loop_is_quarantined_whatever_its_start_calls_return() {
    for result in [
        ActionResult::Done(5),
        ActionResult::Failed("it did not answer in time".into()),
        ActionResult::NotReached("connection reset".into()),
    ] {
        let mut sim = Sim::new(Policy::default(), 1);
        let mut starts = 0;
        let mut pending = Vec::new();
        sim.tell(1, SignKind::Died);
        let down = sim.facts.get_mut(&id_of(1)).unwrap();
        (down.state, down.exit_code) = (RunState::Exited, Some(1));
        let mut input = Some(Input::Seen(Box::new(sim.facts[&id_of(1)].clone())));
        for _ in 0..10_000 {
            let decisions = sim.state.on(input.take().unwrap_or(Input::Tick), sim.at());
            for decision in decisions {
                match decision {
                    Decision::Act(action) => pending.push(action),
                    Decision::Emit(draft) => sim.events.push(draft.kind),
                    _ => {}
                }
            }
            sim.now += 1_000;
            if let Some(action) = pending.pop() {
                starts += 1;
                input = Some(Input::Acted(action.op, result.clone()));
            }
        }
        assert_eq!(starts, 5, "--budget 5/1h: {result:?}");
        assert_eq!(sim.health(1), Health::Quarantined);
        assert_eq!(sim.events.iter().filter(|e| **e == EventKind::Quarantined).count(), 1, "{result:?}");
        assert!(!sim.events.contains(&EventKind::HealingFutile), "starts are bounded by their budget");
    }
}
