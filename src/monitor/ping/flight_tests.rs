use proptest::prelude::*;

use super::*;
use crate::model::Threshold;

const MS: Duration = Duration::from_millis(1);

fn plan(count: u32, threshold: Option<f64>) -> ProbePlan {
    let threshold = threshold.map(|percent| Threshold::new(percent).unwrap());
    ProbePlan { count, spacing: 100 * MS, timeout: 1000 * MS, threshold }
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// A table and its clock, which moves only when told.
struct Bench {
    flight: Flight,
    start: Instant,
    now: Instant,
    nonce: u64,
}

impl Bench {
    fn new() -> Self {
        let start = Instant::now();
        Self { flight: Flight::new(u32::MAX), start, now: start, nonce: 0 }
    }

    fn at(&mut self, ms: u32) -> &mut Self {
        self.now = self.start + ms * MS;
        self.flight.advance(self.now);
        self
    }

    fn send(&mut self) -> Vec<Transmit> {
        let mut sent = Vec::new();
        while let Some(probe) = self.flight.next_probe(self.now, self.nonce) {
            self.nonce += 1;
            sent.push(probe);
        }
        sent
    }

    fn answer(&mut self, probe: Transmit) -> bool {
        self.flight.answer(probe.tag, probe.sequence, probe.address, self.now)
    }

    /// Runs to the end as a driver that is never late does: `fate` says after how long a probe is answered.
    fn run(&mut self, mut fate: impl FnMut(Transmit) -> Option<Duration>) -> Vec<ProbeOutcome> {
        let mut answers: Vec<(Instant, Transmit)> = Vec::new();
        loop {
            let arrived = answers.iter().map(|(at, _)| *at).min();
            let due = self.flight.next_due().expect("something is in progress");
            self.now = arrived.into_iter().chain([due]).min().unwrap_or(due).max(self.now);
            for (at, probe) in answers.extract_if(.., |(at, _)| *at <= self.now) {
                self.flight.answer(probe.tag, probe.sequence, probe.address, at);
            }
            self.flight.advance(self.now);
            for probe in self.send() {
                answers.extend(fate(probe).map(|rtt| (self.now + rtt, probe)));
            }
            if let Some((_, outcomes)) = self.flight.take_finished() {
                return outcomes;
            }
        }
    }
}

#[test]
fn who_is_told_of_each_address_waits_for_none_of_the_others() {
    let mut bench = Bench::new();
    let id = bench.flight.begin(&[address(1), address(2)], plan(1, None), Telling::Each, bench.now);
    let [first, _] = bench.at(100).send()[..] else { panic!("two probes") };
    bench.at(101).answer(first);
    let told = bench.flight.take_settled();
    assert_eq!(
        told.iter().map(|(id, o)| (*id, o.address, o.received)).collect::<Vec<_>>(),
        [(id, address(1), 1)]
    );
    assert!(bench.flight.take_settled().is_empty() && bench.flight.take_finished().is_none());
    bench.at(1_100);
    let told = bench.flight.take_settled();
    assert_eq!(
        told.iter().map(|(_, o)| (o.address, o.sent, o.received)).collect::<Vec<_>>(),
        [(address(2), 1, 0)]
    );
    assert!(bench.flight.take_finished().is_some());

    bench.flight.begin(&[address(1)], plan(0, None), Telling::Each, bench.now);
    assert_eq!(bench.flight.take_settled().len(), 1, "none to send, and that is told");
}

#[test]
fn probes_go_out_by_the_plan_and_the_check_ends_with_the_last_answer() {
    let mut bench = Bench::new();
    bench.flight.begin(&[address(1), address(2)], plan(2, None), Telling::Whole, bench.now);
    let mut sent = Vec::new();
    for (ms, sequences) in [(0, vec![0]), (1, vec![0]), (100, vec![1]), (101, vec![1])] {
        let probes = bench.at(ms).send();
        assert_eq!(probes.iter().map(|p| p.sequence).collect::<Vec<_>>(), sequences, "at {ms} ms");
        sent.extend(probes);
    }
    assert_eq!(sent.iter().map(|p| p.address).collect::<Vec<_>>(), [1, 2, 1, 2].map(address));
    for probe in sent {
        assert!(bench.flight.take_finished().is_none());
        assert!(bench.answer(probe));
    }
    let (id, outcomes) = bench.flight.take_finished().unwrap();
    assert_eq!(id, u32::MAX);
    assert_eq!(outcomes[1].rtts, [100 * MS, Duration::ZERO]);
    assert_eq!(bench.flight.next_due(), None);
}

#[test]
fn only_what_agrees_in_everything_is_an_answer_and_only_once() {
    let mut bench = Bench::new();
    bench.flight.begin(&[address(1)], plan(2, None), Telling::Whole, bench.now);
    let probe = bench.send()[0];
    let tag = probe.tag;
    let foreign = [
        Transmit { address: address(2), ..probe },
        Transmit { sequence: 1, ..probe },
        Transmit { tag: Tag { nonce: tag.nonce + 1, ..tag }, ..probe },
        Transmit { tag: Tag { check: 0, ..tag }, ..probe },
        Transmit { tag: Tag { number: 1, ..tag }, ..probe },
        Transmit { tag: Tag { number: u32::MAX, ..tag }, ..probe },
    ];
    assert!(foreign.iter().all(|wrong| !bench.answer(*wrong)));
    assert!(bench.answer(probe));
    assert!(!bench.answer(probe), "a duplicate counted");
}

#[test]
fn a_late_answer_is_none() {
    let mut bench = Bench::new();
    bench.flight.begin(&[address(1)], plan(1, None), Telling::Whole, bench.now);
    let probe = bench.send()[0];
    bench.now += 1001 * MS;
    assert!(!bench.answer(probe), "it arrived after the timeout, though before the table was advanced");
    bench.at(1001);
    let (_, outcomes) = bench.flight.take_finished().unwrap();
    assert_eq!((outcomes[0].sent, outcomes[0].received), (1, 0));
}

#[test]
fn an_answer_read_late_but_arrived_in_time_counts() {
    let mut bench = Bench::new();
    bench.flight.begin(&[address(1)], plan(1, None), Telling::Whole, bench.now);
    let probe = bench.send()[0];
    let arrived = bench.now + 3 * MS;
    bench.now += 5000 * MS;
    assert!(bench.flight.answer(probe.tag, probe.sequence, probe.address, arrived));
    assert_eq!(bench.flight.take_finished().unwrap().1[0].rtts, [3 * MS]);
}

#[test]
fn a_hopeless_address_is_settled_as_soon_as_that_is_certain() {
    // Of 5 probes at 50 %, 3 lost are certain to be too many: the third times out at 1.2 s.
    let mut bench = Bench::new();
    bench.flight.begin(&[address(1)], plan(5, Some(50.0)), Telling::Whole, bench.now);
    let outcomes = bench.run(|_| None);
    assert_eq!((outcomes[0].sent, outcomes[0].received), (3, 0));
    assert_eq!(bench.now - bench.start, 1200 * MS);
    // At 60 % the fourth decides, and without a threshold all five are waited for.
    for (threshold, sent) in [(Some(60.0), 4), (Some(100.0), 5), (None, 5)] {
        bench.flight.begin(&[address(1)], plan(5, threshold), Telling::Whole, bench.now);
        assert_eq!(bench.run(|_| None)[0].sent, sent);
    }
}

#[test]
fn a_passing_address_is_probed_to_the_end_beside_a_hopeless_one() {
    let mut bench = Bench::new();
    bench.flight.begin(&[address(1), address(2)], plan(20, Some(10.0)), Telling::Whole, bench.now);
    let mut to_hopeless = 0;
    let outcomes = bench.run(|probe| {
        to_hopeless += u32::from(probe.address == address(1));
        (probe.address == address(2)).then_some(MS)
    });
    assert_eq!((outcomes[1].sent, outcomes[1].received), (20, 20));
    assert_eq!(outcomes[0].sent, 3, "3 of 20 are above 10 %");
    assert!(to_hopeless < 20, "probes went on after the verdict");
    assert_eq!(bench.now - bench.start, 1901 * MS + STAGGER);
}

#[test]
fn what_could_not_be_sent_is_void_and_shrinks_what_is_needed_for_certainty() {
    let mut bench = Bench::new();
    bench.flight.begin(&[address(1)], plan(4, Some(50.0)), Telling::Whole, bench.now);
    let probe = bench.send()[0];
    bench.flight.not_sent(probe.tag);
    bench.flight.not_sent(probe.tag);
    assert!(!bench.answer(probe), "an answer to a probe that was never sent counted");
    let outcomes = bench.run(|_| None);
    assert_eq!((outcomes[0].sent, outcomes[0].received, outcomes[0].void), (2, 0, 1));
}

#[test]
fn a_starved_process_takes_nothing_for_lost() {
    let mut bench = Bench::new();
    bench.flight.begin(&[address(1)], plan(1, Some(50.0)), Telling::Whole, bench.now);
    bench.send();
    // It asked to be woken at 1000 ms.
    bench.at(1501);
    let (_, outcomes) = bench.flight.take_finished().unwrap();
    assert_eq!((outcomes[0].sent, outcomes[0].void), (0, 1));

    let mut bench = Bench::new();
    bench.flight.begin(&[address(1)], plan(1, Some(50.0)), Telling::Whole, bench.now);
    bench.send();
    bench.at(1500);
    let (_, outcomes) = bench.flight.take_finished().unwrap();
    assert_eq!((outcomes[0].sent, outcomes[0].void), (1, 0), "half a timeout late is not starved");
}

#[test]
fn a_probe_doubted_in_flight_still_counts_when_answered() {
    let mut bench = Bench::new();
    bench.flight.begin(&[address(1)], plan(2, None), Telling::Whole, bench.now);
    let first = bench.send()[0];
    // The second probe was due at 100 ms.
    let second = bench.at(800).send()[0];
    assert!(bench.answer(second));
    bench.at(1000);
    assert!(!bench.answer(first));
    let (_, outcomes) = bench.flight.take_finished().unwrap();
    assert_eq!((outcomes[0].sent, outcomes[0].received, outcomes[0].void), (1, 1, 1));
}

#[test]
fn missed_rounds_are_not_caught_up_with_in_a_burst() {
    let mut bench = Bench::new();
    bench.flight.begin(&[address(1)], plan(20, None), Telling::Whole, bench.now);
    assert_eq!(bench.send().len(), 1);
    assert_eq!(bench.at(950).send().len(), 1);
    assert_eq!(bench.at(1000).send().len(), 0);
    assert_eq!(bench.at(1050).send().len(), 1);
}

#[test]
fn a_check_of_nothing_ends_at_once() {
    let mut bench = Bench::new();
    bench.flight.begin(&[], plan(5, None), Telling::Whole, bench.now);
    assert_eq!(bench.flight.take_finished().unwrap().1, []);
    bench.flight.begin(&[address(1)], plan(0, Some(50.0)), Telling::Whole, bench.now);
    assert_eq!(bench.flight.next_due(), None);
    assert_eq!(bench.flight.take_finished().unwrap().1[0].sent, 0);
}

#[test]
fn endless_plans_do_not_overflow() {
    let mut bench = Bench::new();
    let plan = ProbePlan { count: 3, spacing: Duration::MAX, timeout: Duration::MAX, threshold: None };
    bench.flight.begin(&[address(1)], plan, Telling::Whole, bench.now);
    assert_eq!(bench.run(|_| None)[0].sent, 3);
}

#[test]
fn a_cancelled_check_is_gone() {
    let mut bench = Bench::new();
    let id = bench.flight.begin(&[address(1)], plan(1, None), Telling::Whole, bench.now);
    let probe = bench.send()[0];
    bench.flight.cancel(id);
    assert!(!bench.answer(probe));
    assert_eq!(bench.flight.next_due(), None);
}

/// What becomes of one probe in the model.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered(u32),
    Lost,
    NotSent,
}

fn fates() -> impl Strategy<Value = Vec<Vec<Fate>>> {
    let fate = prop_oneof![
        4 => (0_u32..=1000).prop_map(Fate::Answered),
        1 => (1001_u32..3000).prop_map(Fate::Answered),
        3 => Just(Fate::Lost),
        1 => Just(Fate::NotSent),
    ];
    (1_usize..8, 1_usize..12)
        .prop_flat_map(move |(n, count)| prop::collection::vec(prop::collection::vec(fate.clone(), count), n))
}

proptest! {
    /// Whatever the network does, every address gets the figures a plain count gives, or, with a threshold, the same
    /// verdict; and the check ends when it must.
    #[test]
    fn outcomes_agree_with_a_plain_count(fates in fates(), threshold in prop::option::of(0_u32..=100)) {
        let count = u32::try_from(fates[0].len()).unwrap();
        let addresses: Vec<IpAddr> = (0..fates.len()).map(|i| address(u8::try_from(i).unwrap())).collect();
        let plan = plan(count, threshold.map(f64::from));
        let mut bench = Bench::new();
        bench.flight.begin(&addresses, plan, Telling::Whole, bench.now);
        let mut answers: Vec<(Instant, Transmit)> = Vec::new();
        let outcomes = loop {
            bench.now = bench.flight.next_due().unwrap().max(bench.now);
            for (at, probe) in answers.extract_if(.., |(at, _)| *at <= bench.now) {
                let first = bench.flight.answer(probe.tag, probe.sequence, probe.address, at);
                let again = bench.flight.answer(probe.tag, probe.sequence, probe.address, at);
                prop_assert!(!(first && again));
            }
            bench.flight.advance(bench.now);
            for probe in bench.send() {
                let target = addresses.iter().position(|a| *a == probe.address).unwrap();
                match fates[target][usize::from(probe.sequence)] {
                    Fate::Answered(ms) => answers.push((bench.now + ms * MS, probe)),
                    Fate::Lost => {}
                    Fate::NotSent => bench.flight.not_sent(probe.tag),
                }
            }
            if let Some((_, outcomes)) = bench.flight.take_finished() {
                break outcomes;
            }
        };
        let longest = plan.spacing * (count - 1) + plan.timeout + STAGGER * 8;
        prop_assert!(bench.now - bench.start <= longest);
        for (outcome, fates) in outcomes.iter().zip(&fates) {
            let of = |wanted: fn(&Fate) -> bool| u32::try_from(fates.iter().filter(|f| wanted(f)).count()).unwrap();
            let received = of(|fate| matches!(fate, Fate::Answered(ms) if *ms <= 1000));
            let void = of(|fate| matches!(fate, Fate::NotSent));
            let true_loss = LossPercent::of(count - void - received, count - void);
            let loss = LossPercent::of(outcome.sent - outcome.received, outcome.sent);
            let fails = |loss| plan.threshold.zip(loss).is_some_and(|(t, l): (Threshold, _)| t.is_exceeded_by(l));
            prop_assert_eq!(fails(loss), fails(true_loss));
            prop_assert_eq!(outcome.rtts.len(), outcome.received as usize);
            if !fails(loss) {
                prop_assert_eq!((outcome.sent, outcome.received, outcome.void), (count - void, received, void));
            }
        }
    }
}
