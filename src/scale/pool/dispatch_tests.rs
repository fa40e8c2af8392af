use super::*;
use proptest::prelude::*;

const M: [MemberId; 3] = [MemberId(1), MemberId(2), MemberId(3)];

fn rules(concurrency: u32, queue: u32) -> Rules {
    Rules { concurrency, queue, free_cpu: None }
}

fn at(millis: u64) -> Micros {
    Micros(millis * 1000)
}

fn served(arrived: u64, begun: u64) -> Counted {
    Counted { arrived: at(arrived), begun: at(begun), outcome: Outcome::Served }
}

fn with(rules: Rules, members: &[MemberId]) -> Dispatch {
    let mut dispatch = Dispatch::new(rules, at(0));
    for member in members {
        assert!(dispatch.add(*member, at(0)).is_empty());
    }
    dispatch
}

fn waits(placed: Placed) -> Ticket {
    match placed {
        Placed::Waits(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_least_busy_then_the_oldest_gets_it_and_then_they_wait_in_order() {
    let mut d = with(rules(2, 2), &M[..2]);
    let placed: Vec<Placed> = (0..4).map(|_| d.arrive(at(1))).collect();
    assert_eq!(placed, [M[0], M[1], M[0], M[1]].map(Placed::At));
    let first = waits(d.arrive(at(2)));
    let second = waits(d.arrive(at(3)));
    assert_eq!(d.arrive(at(4)), Placed::Refused);
    assert_eq!(d.done(M[1], served(1, 1), at(5)), [Called { ticket: first, member: M[1] }]);
    assert_eq!(d.add(M[2], at(6)), [Called { ticket: second, member: M[2] }]);
    assert_eq!((d.queued(), d.in_flight()), (0, 5));
    let totals = d.tally().totals;
    assert_eq!((totals.arrivals, totals.served, totals.refused), (7, 1, 1));
}

#[test]
fn one_that_drains_keeps_what_it_has_and_gets_nothing_more() {
    let mut d = with(rules(1, 9), &M[..1]);
    assert_eq!(d.arrive(at(0)), Placed::At(M[0]));
    d.drain(M[0]);
    let ticket = waits(d.arrive(at(1)));
    assert!(d.done(M[0], served(0, 0), at(2)).is_empty());
    assert_eq!(d.undrain(M[0], at(3)), [Called { ticket, member: M[0] }]);
}

#[test]
fn one_that_failed_is_passed_over_until_it_was_looked_at_and_the_request_goes_first() {
    let mut d = with(rules(1, 9), &M[..2]);
    assert_eq!(d.arrive(at(0)), Placed::At(M[0]));
    assert_eq!(d.arrive(at(0)), Placed::At(M[1]));
    let later = waits(d.arrive(at(1)));
    let (placed, called) = d.again(M[0], at(2));
    let again = waits(placed);
    assert!(called.is_empty());
    assert_eq!(d.done(M[1], served(0, 0), at(3)), [Called { ticket: again, member: M[1] }]);
    assert_eq!(d.trust(M[0], at(4)), [Called { ticket: later, member: M[0] }]);
    assert_eq!(d.tally().totals.retried, 1);
}

#[test]
fn who_leaves_is_called_no_more() {
    let mut d = with(rules(1, 9), &M[..1]);
    assert_eq!(d.arrive(at(0)), Placed::At(M[0]));
    let (gone, stays) = (waits(d.arrive(at(1))), waits(d.arrive(at(1))));
    assert!(d.leave(gone, Outcome::Left, at(2)));
    assert!(!d.leave(gone, Outcome::Left, at(2)), "once");
    assert_eq!(d.done(M[0], served(0, 0), at(3)), [Called { ticket: stays, member: M[0] }]);
    assert!(!d.leave(stays, Outcome::Left, at(4)), "it was called");
}

#[test]
fn where_cpu_counts_one_is_free_only_once_it_calmed_down() {
    let mut d = with(Rules { concurrency: 1, queue: 9, free_cpu: Some(3.0) }, &M[..1]);
    assert_eq!(d.arrive(at(0)), Placed::At(M[0]), "a new one has done nothing");
    let ticket = waits(d.arrive(at(1)));
    assert!(d.done(M[0], served(0, 0), at(2)).is_empty());
    assert!(d.cpu(&[(M[0], 3.0)], at(3)).is_empty());
    assert_eq!(d.cpu(&[(M[0], 2.9)], at(4)), [Called { ticket, member: M[0] }]);
}

#[test]
fn a_closed_one_refuses_whoever_waits_or_comes() {
    let mut d = with(rules(1, 9), &M[..1]);
    assert_eq!(d.arrive(at(0)), Placed::At(M[0]));
    let ticket = waits(d.arrive(at(0)));
    assert_eq!(d.close(at(1)), [ticket]);
    assert_eq!(d.arrive(at(2)), Placed::Refused);
    assert_eq!(d.again(M[0], at(3)).0, Placed::Refused);
    assert_eq!(d.tally().totals.refused, 3);
}

#[test]
fn a_period_counts_what_happened_in_it() {
    let mut d = with(rules(1, 9), &M[..2]);
    d.arrive(at(0));
    d.arrive(at(0));
    let waiting = waits(d.arrive(at(1000)));
    let called = d.done(M[0], served(0, 0), at(2000));
    assert_eq!(called[0].ticket, waiting);
    let tally = d.take(at(3000));
    assert_eq!((tally.arrivals, tally.completions), (3, 1));
    assert_eq!((tally.backlog_mean(), tally.backlog_max), (Some(1.0), Some(2)));
    assert_eq!((tally.busy, tally.in_service), (Micros::from_secs(6), Micros::from_secs(6)));
    assert_eq!((tally.services.mean(), tally.sojourns.mean()), (Some(2.0), Some(2.0)));
    let next = d.take(at(4000));
    assert_eq!((next.arrivals, next.totals.arrivals, next.busy), (0, 3, Micros::from_secs(2)));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Arrive,
    Done(usize),
    Again(usize),
    Leave(usize),
    Add(u64),
    Drain(u64),
    Undrain(u64),
    Trust(u64),
    Remove(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0..4_u64;
    prop_oneof![
        4 => Just(Step::Arrive),
        4 => (0..8_usize).prop_map(Step::Done),
        1 => (0..8_usize).prop_map(Step::Again),
        1 => (0..8_usize).prop_map(Step::Leave),
        2 => member.clone().prop_map(Step::Add),
        1 => member.clone().prop_map(Step::Drain),
        1 => member.clone().prop_map(Step::Undrain),
        1 => member.clone().prop_map(Step::Trust),
        1 => member.prop_map(Step::Remove),
    ]
}

proptest! {
    /// No request is lost or told twice, no container gets more than it may, and nobody waits beside a free one.
    #[test]
    fn every_request_is_in_one_place(concurrency in 1..3_u32, queue in 0..4_u32, steps in proptest::collection::vec(step(), 0..120)) {
        let mut d = Dispatch::new(rules(concurrency, queue), at(0));
        let (mut waiting, mut working): (Vec<Ticket>, Vec<MemberId>) = (Vec::new(), Vec::new());
        let (mut arrived, mut over) = (0_u64, 0_u64);
        for (number, step) in steps.into_iter().enumerate() {
            let now = at(number as u64);
            let mut placed = None;
            let called = match step {
                Step::Arrive => {
                    arrived += 1;
                    placed = Some(d.arrive(now));
                    Vec::new()
                }
                Step::Done(of) if !working.is_empty() => {
                    let member = working.swap_remove(of % working.len());
                    over += 1;
                    d.done(member, served(0, 0), now)
                }
                Step::Again(of) if !working.is_empty() => {
                    let member = working.swap_remove(of % working.len());
                    let (again, called) = d.again(member, now);
                    placed = Some(again);
                    called
                }
                Step::Leave(of) if !waiting.is_empty() => {
                    let ticket = waiting.swap_remove(of % waiting.len());
                    prop_assert!(d.leave(ticket, Outcome::Left, now));
                    over += 1;
                    Vec::new()
                }
                Step::Add(member) => d.add(MemberId(member), now),
                Step::Drain(member) => { d.drain(MemberId(member)); Vec::new() }
                Step::Undrain(member) => d.undrain(MemberId(member), now),
                Step::Trust(member) => d.trust(MemberId(member), now),
                // What a removed one worked on is told to be done before its number is used again.
                Step::Remove(member) if !working.contains(&MemberId(member)) => { d.remove(MemberId(member), now); Vec::new() }
                _ => Vec::new(),
            };
            for Called { ticket, member } in called {
                let at = waiting.iter().position(|one| *one == ticket);
                prop_assert!(at.is_some(), "called twice, or never came");
                waiting.swap_remove(at.unwrap());
                working.push(member);
            }
            match placed {
                Some(Placed::At(member)) => working.push(member),
                Some(Placed::Waits(ticket)) => waiting.push(ticket),
                Some(Placed::Refused) => over += 1,
                None => {}
            }
            prop_assert_eq!(arrived, over + waiting.len() as u64 + working.len() as u64);
            prop_assert_eq!((d.queued() as usize, d.in_flight() as usize), (waiting.len(), working.len()));
            for (member, seat) in d.seats() {
                prop_assert!(seat.in_flight <= concurrency);
                prop_assert_eq!(seat.in_flight as usize, working.iter().filter(|one| *one == member).count());
            }
            prop_assert!(waiting.is_empty() || d.free().is_none(), "someone waits beside a free container");
        }
    }
}
