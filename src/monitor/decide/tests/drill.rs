use super::*;

const ID: DrillId = DrillId::from_u128(7);

impl Sim {
    fn drill_of(&mut self, id: DrillId, containers: &[u8], seconds: u64) {
        let containers = containers.iter().map(|n| facts(*n).name).collect();
        let lasts = Duration::from_secs(seconds);
        self.feed(Input::Drill(DrillOrder { id, scenario: "mixed".into(), containers, lasts }));
    }

    /// Passes time in a drill that is said again, as its runner does.
    fn drill_on(&mut self, containers: &[u8], seconds: i64) {
        for _ in 0..seconds {
            self.drill_of(ID, containers, 20);
            self.pass_waking(1_000);
        }
    }

    /// What healing remembers of a container, and the host's own restarts.
    fn remembers(&self, n: u8) -> (u32, Option<Timestamp>, Efficacy, u32) {
        let window = Duration::from_hours(9);
        let history = self.state.histories.get(&facts(n).name).cloned().unwrap_or_default();
        let host = self.state.host_restarts.count(window, Mono(self.now));
        (history.actions.count(window, Mono(self.now)), history.quarantined, history.efficacy, host)
    }

    fn marked(&self, kind: EventKind) -> Vec<Option<DrillId>> {
        let all = self.events.iter().zip(&self.marks);
        all.filter(|(event, _)| **event == kind).map(|(_, mark)| *mark).collect()
    }

    fn kept_of(&self, n: u8) -> usize {
        let name = facts(n).name;
        let about = |decision: &&Decision| match decision {
            Decision::Quarantine(of, _) | Decision::Score(of, _) => *of == name,
            _ => false,
        };
        self.remembered.iter().filter(about).count()
    }
}

#[test]
fn a_drill_has_budgets_of_its_own_and_leaves_all_as_it_was() {
    let mut sim = Sim::new(Policy::default(), 3);
    sim.sweeps(2);
    sim.end(1, 1);
    sim.sweeps(8);
    let before = sim.remembers(1);
    assert_eq!((before.0, before.1), (1, None), "it was started once for itself");
    let kept = sim.kept_of(1);

    sim.drill_of(ID, &[1, 2], 20);
    sim.crash_loops.push(id_of(1));
    sim.end(1, 1);
    sim.end(3, 1);
    sim.drill_on(&[1, 2], 400);
    assert_eq!(sim.count(EventKind::Quarantined), 1);
    assert_eq!(sim.health(1), Health::Quarantined);
    assert!(
        sim.why(1).contains("budget: 5 of 5/1h used") && sim.why(1).contains("drill of the scenario mixed")
    );
    assert_eq!(sim.kept_of(1), kept, "nothing of it would last over a restart");
    let of_c1 = sim.acted_on().iter().filter(|name| **name == "c1").count();
    assert_eq!(of_c1, 1 + 5);
    assert_eq!(sim.marked(EventKind::Quarantined), [Some(ID)]);
    let starts = sim.marked(EventKind::ContainerStarted);
    assert_eq!((starts.len(), starts.iter().flatten().count()), (7, 5), "c3 takes no part: {starts:?}");

    sim.drill_of(ID, &[], 0);
    assert_eq!(sim.marked(EventKind::DrillStarted), [Some(ID)]);
    assert_eq!(sim.marked(EventKind::DrillEnded), [Some(ID)]);
    let mut after = sim.remembers(1);
    // It is down still: that is healed at once now, by the budget of before, and counts there.
    assert_eq!((after.0, after.1), (2, None));
    (after.0, after.2) = (before.0, before.2.clone());
    assert_eq!(after, before);
    sim.end(2, 1);
    assert_eq!(sim.marked(EventKind::ContainerStarted).last(), Some(&None));
}

#[test]
fn what_ails_a_container_before_is_no_drills() {
    let mut sim = Sim::new(Policy::default(), 2);
    sim.sweeps(1);
    sim.end(1, 1);
    sim.drill_of(ID, &[1, 2], 20);
    assert_eq!(sim.marked(EventKind::ContainerFailing), [None]);
    sim.drill_on(&[1, 2], 12);
    sim.sweep();
    assert_eq!(sim.marked(EventKind::ContainerRecovered), [None]);
    sim.drill_on(&[1, 2], 30);
    sim.end(1, 1);
    sim.drill_on(&[1, 2], 1);
    assert_eq!(sim.marked(EventKind::ContainerFailing), [None, Some(ID)], "well again, it takes part");
}

#[test]
fn a_quarantined_container_stays_so() {
    let memory = Memory {
        quarantined: BTreeMap::from([(facts(1).name, Timestamp::from_millis(5))]),
        ..Memory::default()
    };
    let mut sim = Sim::remembering(Policy::default(), 1, memory);
    sim.drill_of(ID, &[1], 20);
    sim.end(1, 1);
    sim.drill_on(&[1], 60);
    assert!(sim.acts.is_empty());
    sim.drill_of(ID, &[1], 0);
    assert_eq!(sim.remembers(1).1, Some(Timestamp::from_millis(5)));
}

#[test]
fn a_drill_that_nobody_repeats_ends_and_there_is_one_at_a_time() {
    let mut sim = Sim::new(Policy::default(), 1);
    let other = DrillId::from_u128(8);
    assert_eq!(sim.state.drill_refusal(ID), None);
    sim.drill_of(ID, &[1], 20);
    assert!(sim.state.drill_refusal(other).unwrap().contains("another drill is under way"));
    sim.drill_of(other, &[1], 0);
    assert_eq!((sim.count(EventKind::DrillStarted), sim.count(EventKind::DrillEnded)), (1, 0));
    sim.drill_of(ID, &[1], 9_999);
    assert_eq!(sim.state.wake_at(), Some(Mono(sim.now + 60_000)), "however long it was said to last");
    sim.pass_waking(59_999);
    assert_eq!(sim.count(EventKind::DrillEnded), 0);
    sim.pass_waking(1);
    assert_eq!(sim.count(EventKind::DrillEnded), 1);
    assert_eq!(sim.state.drill_refusal(other), None);
}

#[test]
fn a_release_is_about_what_was_before_too() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.sweeps(1);
    sim.end(1, 1);
    sim.sweeps(8);
    assert_eq!(sim.remembers(1).0, 1);
    sim.drill_of(ID, &[1], 20);
    sim.feed(Input::Release(facts(1).name));
    sim.end(1, 1);
    sim.drill_on(&[1], 20);
    assert_eq!(sim.marked(EventKind::ContainerStarted), [None, Some(ID)], "it takes part anew");
    sim.drill_of(ID, &[1], 0);
    assert_eq!(sim.remembers(1).0, 0);
}

#[test]
fn a_breaker_is_a_drills_where_all_that_fails_takes_part() {
    for (outsider, mark) in [(0, Some(ID)), (100, None)] {
        let mut sim = Sim::new(Policy::default(), 5);
        sim.sweeps(2);
        sim.drill_of(ID, &[1, 2, 3, 4], 60);
        (1..=4).for_each(|n| sim.lose(n, 100));
        sim.lose(5, outsider);
        sim.drill_on(&[1, 2, 3, 4], 8);
        sim.sweep();
        assert_eq!(sim.marked(EventKind::BreakerOpened), [mark], "{outsider} %");
        sim.loss.clear();
        sim.drill_on(&[1, 2, 3, 4], 8);
        sim.sweep();
        assert_eq!(sim.marked(EventKind::BreakerClosed), [mark], "{outsider} %");
        assert!(sim.acts.is_empty());
    }
}

#[test]
fn a_drill_asks_the_fleet_for_nothing() {
    let mut sim = Sim::new(Policy::default(), 4);
    let budget = Some(Rate { count: 1, window: Duration::from_mins(10) });
    sim.feed(Input::Fleet(FleetWord { budget, leave: None, hold: None }));
    sim.sweeps(2);
    sim.drill_of(ID, &[1], 60);
    sim.lose(1, 100);
    sim.drill_on(&[1], 8);
    sim.sweep();
    assert_eq!(sim.acts, [restart_of("c1")]);
    assert_eq!(sim.state.fleet_question().wanted, 0);
}

proptest! {
    /// Whatever is done to those who take part, after the drill all is as it was.
    #[test]
    fn nothing_of_a_drill_lasts(faults in proptest::collection::vec((1_u8..=3, 0_u8..3, 1_i64..40), 1..25)) {
        // Nothing falls out of a window meanwhile.
        let host_budget = Rate { count: 10, window: Duration::from_hours(9) };
        let mut sim = Sim::new(Policy { host_budget, ..Policy::default() }, 6);
        sim.sweeps(2);
        sim.lose(4, 100);
        sim.sweeps(8);
        let before: Vec<_> = (1..=6).map(|n| sim.remembers(n)).collect();
        let all = [1, 2, 3, 4];
        sim.drill_of(ID, &all, 20);
        for (n, fault, seconds) in faults {
            match fault {
                0 => sim.end(n, 1),
                1 => sim.stop(n),
                _ => sim.lose(n, 100),
            }
            sim.drill_on(&all, seconds);
            sim.sweep();
        }
        // They are well when it ends, for what fails then is healed as ever.
        sim.loss.clear();
        for _ in 0..80 {
            sim.drill_on(&all, 10);
            for n in 1..=3 {
                if sim.facts[&id_of(n)].state != RunState::Running {
                    sim.run(&id_of(n));
                    sim.see(&id_of(n));
                }
            }
            sim.sweep();
        }
        sim.drill_of(ID, &all, 0);
        let after: Vec<_> = (1..=6).map(|n| sim.remembers(n)).collect();
        prop_assert_eq!(before, after);
        let marked = sim.events.iter().zip(&sim.marks).filter(|(event, _)| {
            matches!(event, EventKind::ContainerStarted | EventKind::Quarantined)
        });
        prop_assert!(marked.into_iter().all(|(_, mark)| *mark == Some(ID)));
    }
}
