use super::*;
use proptest::prelude::*;

fn plan(min: u32, max: u32) -> Plan {
    Plan::new(Bounds::new(min, max).unwrap())
}

fn at(seconds: u64) -> Micros {
    Micros::from_secs(seconds)
}

fn idle() -> Works {
    Works::new()
}

fn busy(members: &[u64]) -> Works {
    members.iter().map(|id| (MemberId(*id), Work { in_flight: 1, since: at(*id) })).collect()
}

/// The containers that are to be started.
fn started(orders: &[Order]) -> Vec<(MemberId, u32)> {
    let start = |order: &Order| match order {
        Order::Start(member, slot) => Some((*member, *slot)),
        _ => None,
    };
    orders.iter().filter_map(start).collect()
}

/// A plan whose `count` containers are ready since the second 1.
fn ready(count: u32) -> Plan {
    let mut plan = plan(1, 8);
    plan.want(count);
    for (member, _) in started(&plan.settle(&idle(), at(0))) {
        assert_eq!(plan.ready(member, at(1)), Some(Order::Serve(member)));
    }
    plan
}

#[test]
fn as_many_as_wanted_are_started_once() {
    let mut plan = plan(2, 8);
    let orders = plan.settle(&idle(), at(0));
    assert_eq!(started(&orders), [(MemberId(1), 0), (MemberId(2), 1)]);
    assert!(plan.settle(&idle(), at(1)).is_empty(), "those that start count");
    plan.want(99);
    assert_eq!(started(&plan.settle(&idle(), at(1))).len(), 6, "never more than the most");
}

#[test]
fn fewer_are_those_that_start_then_idle_then_busy_ones_and_none_that_works_is_removed() {
    let mut plan = ready(3);
    plan.want(4);
    let starting = started(&plan.settle(&busy(&[1, 2]), at(2)))[0].0;
    plan.want(1);
    let orders = plan.settle(&busy(&[1, 2]), at(3));
    assert_eq!(orders, [Order::Cancel(starting), Order::Drain(MemberId(3)), Order::Drain(MemberId(2))]);
    assert_eq!(plan.idle(MemberId(3)), Some(Order::Remove(MemberId(3))));
    assert_eq!(plan.idle(MemberId(1)), None, "it does not drain");
    plan.want(2);
    assert_eq!(plan.settle(&busy(&[1, 2]), at(4)), [Order::Undrain(MemberId(2))], "before any is started");
    let counts = plan.stages(&busy(&[1, 2]));
    assert_eq!((counts.ready, counts.busy, counts.draining, counts.removing), (2, 2, 0, 2));
}

#[test]
fn one_that_ended_is_replaced_under_another_number_until_it_is_gone() {
    let mut plan = ready(2);
    assert_eq!(plan.lost(MemberId(1), "gone", at(60)), Some(Order::Remove(MemberId(1))));
    assert_eq!(plan.lost(MemberId(1), "gone", at(60)), None, "once");
    assert_eq!(started(&plan.settle(&idle(), at(60))), [(MemberId(3), 2)]);
    plan.removed(MemberId(1));
    plan.want(3);
    assert_eq!(started(&plan.settle(&idle(), at(61))), [(MemberId(4), 0)]);
    assert_eq!(plan.counts().lost, 1);
    assert!(plan.trouble(at(61)).is_none(), "it had run for long");
}

#[test]
fn failed_starts_back_off_say_so_and_are_not_made_up_for() {
    let mut plan = plan(4, 8);
    for (member, _) in started(&plan.settle(&idle(), at(0))) {
        plan.failed(member, "no such image", at(0));
        plan.removed(member);
    }
    let trouble = plan.trouble(at(0)).unwrap();
    assert_eq!(
        (trouble.what.as_str(), trouble.failures, trouble.retry_at),
        ("no such image", 1, Some(at(1)))
    );
    assert!(plan.settle(&idle(), at(0)).is_empty());
    let mut tries = 0;
    for second in 1..60 {
        for (member, _) in started(&plan.settle(&idle(), at(second))) {
            tries += 1;
            plan.failed(member, "no such image", at(second));
            plan.removed(member);
        }
    }
    assert_eq!(tries, 5, "after 1, 2, 4, 8 and 16 s");
    let one = started(&plan.settle(&idle(), at(70)));
    assert_eq!(one.len(), 1, "one is tried");
    assert!(plan.settle(&idle(), at(71)).is_empty(), "and waited for");
    plan.want(3);
    plan.ready(one[0].0, at(72));
    assert!(plan.trouble(at(72)).is_none());
    assert_eq!(started(&plan.settle(&idle(), at(72))).len(), 3, "to the four that are wanted, and no more");
    assert_eq!(plan.counts().start_failures, 9);
}

#[test]
fn a_number_whose_start_failed_rests() {
    let mut plan = plan(1, 4);
    let (member, slot) = started(&plan.settle(&idle(), at(0)))[0];
    plan.failed(member, "port is already allocated", at(0));
    plan.removed(member);
    assert_eq!((slot, started(&plan.settle(&idle(), at(1)))[0].1), (0, 1));
}

#[test]
fn containers_that_end_as_soon_as_they_are_ready_are_started_ever_more_seldom() {
    let mut plan = plan(1, 4);
    let mut starts = 0;
    for second in 0..60 {
        for (member, _) in started(&plan.settle(&idle(), at(second))) {
            starts += 1;
            plan.ready(member, at(second));
            plan.lost(member, "exit code 1", at(second));
            plan.removed(member);
        }
    }
    assert_eq!(starts, 6);
    assert!(plan.trouble(at(60)).unwrap().what.contains("as soon as they are ready"));
    let (member, _) = started(&plan.settle(&idle(), at(63)))[0];
    plan.ready(member, at(63));
    plan.settle(&idle(), at(70));
    assert!(plan.trouble(at(70)).is_some(), "it may end like the others");
    plan.settle(&idle(), at(73));
    assert!(plan.trouble(at(73)).is_none());
}

#[test]
fn one_that_answers_no_more_leaves_without_being_killed_and_never_comes_back() {
    let mut plan = ready(2);
    assert_eq!(plan.sick(MemberId(1), at(20)), Some(Order::Drain(MemberId(1))));
    assert_eq!(started(&plan.settle(&busy(&[1]), at(20))).len(), 1, "it is replaced, not undrained");
    assert_eq!(plan.idle(MemberId(1)), Some(Order::Remove(MemberId(1))));
    assert_eq!((plan.counts().lost, plan.counts().removed), (1, 0));
}

#[test]
fn those_that_are_there_are_adopted_and_their_start_teaches_nothing() {
    let mut plan = plan(2, 8);
    let (kept, odd) = (plan.adopt(5, at(0)), plan.discard(0, at(0)));
    assert_eq!(plan.ready(kept, at(0)), Some(Order::Serve(kept)));
    assert_eq!((plan.boot(), plan.counts().started), (None, 0));
    assert_eq!(started(&plan.settle(&idle(), at(0))), [(MemberId(3), 1)], "0 is being removed");
    plan.removed(odd);
    assert_eq!(plan.stages(&idle()).starting, 1);
}

#[test]
fn what_starts_is_told_with_what_it_will_still_take() {
    let mut plan = plan(2, 8);
    let first = started(&plan.settle(&idle(), at(0)))[0].0;
    assert_eq!(plan.remaining(at(5), at(2)), [at(3), at(3)]);
    plan.ready(first, at(10));
    assert_eq!((plan.boot(), plan.remaining(at(5), at(12))), (Some(at(10)), vec![Micros::ZERO]));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Want(u32),
    Ready(usize),
    Failed(usize),
    Lost(usize),
    Idle(usize),
    Sick(usize),
    Removed(usize),
    Work(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..16_usize;
    prop_oneof![
        3 => (0..12_u32).prop_map(Step::Want),
        6 => which.clone().prop_map(Step::Ready),
        1 => which.clone().prop_map(Step::Failed),
        1 => which.clone().prop_map(Step::Lost),
        3 => which.clone().prop_map(Step::Idle),
        1 => which.clone().prop_map(Step::Sick),
        5 => which.clone().prop_map(Step::Removed),
        3 => which.prop_map(Step::Work),
        2 => (0..5_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens: never more than the most, numbers are unique, and no busy one is removed unless it ended.
    #[test]
    fn bounds_hold_whatever_happens(steps in proptest::collection::vec(step(), 0..150)) {
        let mut plan = plan(1, 6);
        let mut works = Works::new();
        let mut now = 0;
        for step in steps {
            let ids: Vec<MemberId> = plan.members().keys().copied().collect();
            let pick = |of: usize| ids.get(of % ids.len().max(1)).copied();
            let mut ended = None;
            match step {
                Step::Want(count) => plan.want(count),
                Step::Ready(of) => { pick(of).and_then(|m| plan.ready(m, at(now))); }
                Step::Failed(of) => if let Some(m) = pick(of) { plan.failed(m, "x", at(now)); },
                Step::Lost(of) => if let Some(m) = pick(of) { ended = Some(m); plan.lost(m, "x", at(now)); },
                // Only what has nothing to do is told to be idle.
                Step::Idle(of) => if let Some(m) = pick(of) { works.remove(&m); plan.idle(m); },
                Step::Sick(of) => { pick(of).and_then(|m| plan.sick(m, at(now))); }
                Step::Removed(of) => if let Some(m) = pick(of).filter(|m| plan.members()[m].stage == Stage::Removing) {
                    works.remove(&m);
                    plan.removed(m);
                },
                Step::Work(of) => if let Some(m) = pick(of).filter(|m| plan.members()[m].stage == Stage::Ready) {
                    works.insert(m, Work { in_flight: 1, since: at(now) });
                },
                Step::Pass(seconds) => now += seconds,
            }
            for order in plan.settle(&works, at(now)) {
                if let Order::Remove(member) | Order::Cancel(member) = order {
                    prop_assert!(!works.contains_key(&member) || ended == Some(member), "{member:?} works");
                }
            }
            let counts = plan.stages(&works);
            prop_assert!(counts.starting + counts.ready <= 6);
            prop_assert!(plan.members().len() <= 12);
            let slots: BTreeSet<u32> = plan.members().values().map(|entry| entry.slot).collect();
            prop_assert_eq!(slots.len(), plan.members().len());
        }
    }
}
