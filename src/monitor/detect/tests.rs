//! The detector on a network of numbers: what it decides and when, and how often it errs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::sprt::{Bounds, Conclusion, Test};
use super::*;
use crate::model::{ContainerId, ContainerName, Mono, Threshold, Timestamp};
use crate::monitor::decide::{Checked, ErrorRates, Finding, Target};
use crate::monitor::ping::ProbeOutcome;

const TIMEOUT: i64 = 1000;

fn threshold(percent: f64) -> Threshold {
    Threshold::new(percent).unwrap()
}

fn address(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    IpAddr::from([10, 0, high, low])
}

fn id(n: u16) -> ContainerId {
    ContainerId::new(format!("{n:064x}")).unwrap()
}

fn target(n: u16, percent: f64) -> Target {
    Target {
        id: id(n),
        name: ContainerName::new(format!("c{n}")).unwrap(),
        started_at: Some(Timestamp::from_millis(0)),
        addresses: vec![address(n)],
        counting: vec![address(n)],
        lossy: false,
        threshold: threshold(percent),
    }
}

fn outcome(address: IpAddr, sent: u32, received: u32) -> ProbeOutcome {
    ProbeOutcome {
        address,
        sent,
        received,
        void: 0,
        rtts: vec![Duration::from_micros(50); received as usize],
    }
}

/// A host whose network loses what `lost` says of each probe by its address and the moment it is sent.
struct Lab<F> {
    streams: Streams,
    now: i64,
    targets: Vec<Target>,
    lost: F,
    /// Volleys under way: when each ends, and how.
    flying: BTreeMap<(i64, u64, IpAddr), ProbeOutcome>,
    judged: Vec<(i64, Vec<Checked>)>,
    /// Every probe: when it was sent, and where to.
    sent: Vec<(i64, IpAddr)>,
}

impl<F: FnMut(IpAddr, i64) -> bool> Lab<F> {
    fn new(targets: Vec<Target>, lost: F) -> Self {
        Self {
            streams: Streams::new(ErrorRates::default()),
            now: 0,
            targets,
            lost,
            flying: BTreeMap::new(),
            judged: Vec::new(),
            sent: Vec::new(),
        }
    }

    fn on(&mut self, event: Event) {
        for decision in self.streams.on(event, Mono(self.now)) {
            match decision {
                Decision::Probe(volley) => self.fly(&volley),
                Decision::Judge(checked) => self.judged.push((self.now, checked)),
            }
        }
    }

    fn fly(&mut self, volley: &Volley) {
        for &address in &volley.addresses {
            self.sent.push((self.now, address));
            let lost = (self.lost)(address, self.now);
            let end = self.now + if lost { TIMEOUT } else { 1 };
            self.flying.insert((end, volley.id, address), outcome(address, 1, u32::from(!lost)));
        }
    }

    /// Lets time pass as the shell does.
    fn run(&mut self, until: i64) {
        let mut ask = self.now;
        while self.now < until {
            let ends = self.flying.first_key_value().map(|((at, ..), _)| *at);
            let wakes = self.streams.wake_at().map(|at| at.0);
            self.now = [ends, wakes, Some(ask)].into_iter().flatten().min().unwrap().max(self.now);
            if ask <= self.now {
                ask = self.now + 500;
                self.on(Event::Targets(self.targets.clone()));
            } else if ends == Some(self.now) {
                let ((_, volley, _), outcome) = self.flying.pop_first().unwrap();
                self.on(Event::Ended(volley, outcome));
            } else {
                self.on(Event::Tick);
            }
        }
    }

    /// Every check that ended, and when.
    fn checks(&self) -> impl Iterator<Item = (i64, &Checked)> {
        self.judged
            .iter()
            .flat_map(|(at, all)| all.iter().map(move |checked| (*at, checked)))
            .filter(|(_, checked)| checked.finding != Finding::UnderWay)
    }

    fn first_lossy(&self) -> Option<i64> {
        self.checks().find(|(_, checked)| matches!(checked.finding, Finding::Lossy(..))).map(|(at, _)| at)
    }

    fn probes_between(&self, from: i64, to: i64) -> usize {
        self.sent.iter().filter(|(at, _)| (from..to).contains(at)).count()
    }
}

#[test]
fn a_sound_container_passes_again_and_again_at_the_slow_rate() {
    let mut lab = Lab::new(vec![target(1, 50.0)], |_, _| false);
    lab.run(60_000);
    assert!(lab.checks().all(|(_, checked)| matches!(checked.finding, Finding::Sound(Some(_)))));
    let ends: Vec<i64> = lab.checks().map(|(at, _)| at).collect();
    assert!((1_000..1_500).contains(&ends[0]), "a new one is looked at closely: {ends:?}");
    assert!((10..13).contains(&ends.len()), "then a check takes eleven probes: {ends:?}");
    assert_eq!(lab.probes_between(10_000, 60_000), 100);
}

#[test]
fn at_total_loss_it_decides_within_three_seconds_and_again_only_when_there_is_news() {
    let mut lab = Lab::new(vec![target(1, 50.0)], |_, at| (20_000..40_000).contains(&at));
    lab.run(24_000);
    let at = lab.first_lossy().expect("it was found");
    assert!((21_000..23_000).contains(&at), "{at}");
    lab.targets[0].lossy = true;
    lab.run(26_000);
    lab.sent.clear();
    lab.run(38_000);
    assert_eq!(lab.probes_between(28_000, 38_000), 20, "what is known needs no haste");
    lab.judged.clear();
    lab.run(43_000);
    let (at, back) = lab.checks().next().expect("it is well again");
    assert!(matches!(back.finding, Finding::Sound(_)), "{back:?}");
    assert!((40_000..43_000).contains(&at), "an answer is news: {at}");
}

#[test]
fn a_network_that_fails_is_told_with_the_verdict_on_the_first_of_its_containers() {
    let targets = (1..=30).map(|n| target(n, 50.0)).collect();
    let mut lab = Lab::new(targets, |_, at| at >= 20_000);
    lab.run(24_000);
    let at = lab.first_lossy().expect("it was found");
    assert!(at < 24_000, "{at}");
    let (_, all) = lab.judged.iter().find(|(when, _)| *when == at).unwrap();
    assert_eq!(all.len(), 30);
    for checked in all {
        let found = &checked.outcomes[0];
        assert!(f64::from(found.received) < 0.5 * f64::from(found.sent), "{found:?}");
    }
}

#[test]
fn however_many_are_in_doubt_the_host_sends_two_thousand_probes_a_second_at_most() {
    let targets = (1..=1500).map(|n| target(n, 50.0)).collect();
    let mut lab = Lab::new(targets, |_, at| at >= 5_000);
    lab.run(20_000);
    for second in 5..20 {
        let probes = lab.probes_between(second * 1000, (second + 1) * 1000);
        assert!(probes <= 2_000 + 2 * 1500, "{probes} in second {second}");
    }
}

#[test]
fn what_never_answered_is_only_listened_to_and_tested_from_its_first_answer_on() {
    let mut silent = target(1, 50.0);
    silent.counting.clear();
    let mut lab = Lab::new(vec![silent], |_, at| at < 30_000);
    lab.run(29_000);
    assert!(lab.checks().count() >= 3, "it is looked at");
    assert!(lab.checks().all(|(_, checked)| checked.finding == Finding::Sound(None)));
    assert_eq!(lab.probes_between(10_000, 20_000), 20);
    lab.run(30_500);
    let (_, heard) = lab.checks().last().unwrap();
    assert_eq!((heard.outcomes[0].sent, heard.outcomes[0].received), (1, 1), "the silence before is no loss");
    lab.run(32_500);
    let (_, tested) = lab.checks().last().unwrap();
    assert!(matches!(tested.finding, Finding::Sound(Some(_))), "{tested:?}");
}

#[test]
fn the_worst_address_decides_and_all_must_be_sound_to_pass() {
    let mut both = target(1, 50.0);
    both.addresses.push(address(2));
    both.counting.push(address(2));
    let mut lab = Lab::new(vec![both], |to, at| to == address(2) && at >= 10_000);
    lab.run(9_000);
    assert!(lab.checks().all(|(_, checked)| matches!(checked.finding, Finding::Sound(Some(_)))));
    lab.judged.clear();
    lab.run(14_000);
    let (_, checked) = lab.checks().find(|(_, c)| matches!(c.finding, Finding::Lossy(..))).unwrap();
    assert!(matches!(checked.finding, Finding::Lossy(to, _) if to == address(2)));
    assert!(checked.outcomes[0].received == checked.outcomes[0].sent);
}

#[test]
fn a_threshold_of_a_hundred_is_never_exceeded_and_needs_no_haste() {
    let mut lab = Lab::new(vec![target(1, 100.0)], |_, at| at >= 5_000);
    lab.run(60_000);
    assert_eq!(lab.first_lossy(), None);
    assert_eq!(lab.probes_between(20_000, 60_000), 80);
    let (_, last) = lab.checks().last().unwrap();
    assert_eq!((last.outcomes[0].sent, last.outcomes[0].received), (10, 0));
}

#[test]
fn probes_that_say_nothing_prove_nothing() {
    let mut streams = Streams::new(ErrorRates::default());
    let mut now = 0;
    let mut judged = Vec::new();
    let mut events = vec![Event::Targets(vec![target(1, 50.0)])];
    while now < 30_000 {
        let event = events.pop().unwrap_or(Event::Tick);
        for decision in streams.on(event, Mono(now)) {
            match decision {
                Decision::Judge(checked) => judged.extend(checked),
                Decision::Probe(volley) => events.extend(volley.addresses.iter().map(|address| {
                    let void = ProbeOutcome { void: 1, ..outcome(*address, 0, 0) };
                    Event::Ended(volley.id, void)
                })),
            }
        }
        now += 10;
    }
    assert!(judged.len() >= 2, "it ends nevertheless");
    for checked in judged {
        assert!(matches!(checked.finding, Finding::Sound(_)));
        assert!(checked.outcomes[0].void > checked.outcomes[0].sent);
    }
}

#[test]
fn what_is_looked_for_lies_twenty_points_above_and_never_at_or_below_the_threshold() {
    let rates = ErrorRates::default();
    for percent in [0.0, 0.5, 5.0, 50.0, 75.0, 80.0, 90.0, 95.0, 99.0, 99.9, 100.0] {
        let bounds = Bounds::new(threshold(percent), &rates, 1);
        let (lost, answered) =
            (bounds.score(&outcome(address(1), 1, 0)), bounds.score(&outcome(address(1), 1, 1)));
        assert!(lost > 0.0 && answered < 0.0 && lost.is_finite() && answered.is_finite(), "{percent}");
    }
    // At 50: ln(0.7 / 0.5), ln(0.3 / 0.5).
    let bounds = Bounds::new(threshold(50.0), &rates, 1);
    assert!((bounds.score(&outcome(address(1), 1, 0)) - 0.336_472).abs() < 1e-6);
    assert!((bounds.score(&outcome(address(1), 1, 1)) + 0.510_826).abs() < 1e-6);
    assert!((Test::default().evidence(&bounds).to_fail - 24.175).abs() < 0.001);
}

/// Runs one test over probes of which `loss` are lost, one every 10 ms.
fn run_test(bounds: &Bounds, loss: f64, random: &mut StdRng) -> (Conclusion, u32) {
    let mut test = Test::default();
    for n in 0..1_000_000_u32 {
        let at = Mono(i64::from(n) * 10);
        let received = u32::from(random.random::<f64>() >= loss);
        test.add(bounds, at, &outcome(address(1), 1, received));
        if let Some(conclusion) = test.conclusion(bounds, test.score()) {
            return (conclusion, n + 1);
        }
    }
    panic!("a test must end");
}

#[test]
fn errors_stay_within_their_rates() {
    const TESTS: u32 = 4_000;
    let mut random = StdRng::seed_from_u64(4);
    // A false alarm in a hundred tests, so that there is something to count; a miss in twenty.
    let rates = ErrorRates { false_restarts_per_year: 315_576.0, miss: 0.05, ..ErrorRates::default() };
    for percent in [5.0, 20.0, 50.0, 80.0] {
        let bounds = Bounds::new(threshold(percent), &rates, 1);
        let found = (percent + 20.0_f64).min(95.0) / 100.0;
        let mut count = |loss: f64, wrong: fn(Conclusion) -> bool| {
            (0..TESTS).filter(|_| wrong(run_test(&bounds, loss, &mut random).0)).count()
        };
        let false_alarms = count(percent / 100.0, |conclusion| conclusion == Conclusion::Lossy);
        let misses = count(found, |conclusion| conclusion != Conclusion::Lossy);
        // Three standard deviations above what is allowed.
        assert!(false_alarms <= 40 + 19, "{percent} %: {false_alarms} false alarms in {TESTS} tests");
        assert!(misses <= 200 + 42, "{percent} %: {misses} misses in {TESTS} tests");
        assert!(false_alarms + misses > 0, "{percent} %: the bounds are so wide that they say nothing");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_test_ends_on_less_than_a_second_of_evidence(
        percent in 0.0..=100.0_f64,
        least in 1_000..5_000_u64,
        steps in prop::collection::vec((1..400_i64, 1..20_u32, 0..=20_u32), 1..400),
    ) {
        let rates = ErrorRates { min_evidence: Duration::from_millis(least), ..ErrorRates::default() };
        let bounds = Bounds::new(threshold(percent), &rates, 1);
        let mut test = Test::default();
        let (mut at, mut first_lost) = (0, None);
        for (pause, sent, received) in steps {
            let received = received.min(sent);
            if received < sent {
                first_lost.get_or_insert(at);
            }
            let last = at;
            test.add(&bounds, Mono(at), &outcome(address(1), sent, received));
            at += pause;
            if let Some(conclusion) = test.conclusion(&bounds, test.score()) {
                let since = if conclusion == Conclusion::Lossy { first_lost.unwrap() } else { 0 };
                prop_assert!(last - since >= i64::try_from(least).unwrap(), "{conclusion:?} after {last} ms");
                return Ok(());
            }
        }
    }

    #[test]
    fn every_test_ends(percent in 0.0..=100.0_f64, loss in 0.0..=1.0_f64, seed in any::<u64>()) {
        let bounds = Bounds::new(threshold(percent), &ErrorRates::default(), 1);
        let (_, probes) = run_test(&bounds, loss, &mut StdRng::seed_from_u64(seed));
        prop_assert!(probes <= 10_100, "{probes}");
    }

    #[test]
    fn total_loss_is_found_within_three_seconds_whatever_was_before(
        begin in 5_000..15_000_i64, before in 0.0..0.3_f64, seed in any::<u64>(),
    ) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut lab = Lab::new(vec![target(1, 50.0)], move |_, at| {
            at >= begin || random.random::<f64>() < before
        });
        lab.run(begin + 3_000);
        let at = lab.first_lossy();
        prop_assert!(at.is_some_and(|at| at >= begin + 1_000 && at <= begin + 3_000), "{at:?} - {begin}");
    }

    #[test]
    fn an_outage_of_less_than_two_seconds_restarts_nothing(
        begin in 5_000..15_000_i64, lasts in 1..1_890_i64,
    ) {
        let mut lab = Lab::new(vec![target(1, 50.0)], |_, at| (begin..begin + lasts).contains(&at));
        lab.run(begin + 10_000);
        prop_assert_eq!(lab.first_lossy(), None);
    }

    #[test]
    fn no_events_panic_or_send_to_anyone_who_was_not_asked_for(
        events in prop::collection::vec((0..6_u16, 0..40_u64, 0..12_u32, 0..12_u32, 0..3_000_i64), 0..200),
    ) {
        let mut streams = Streams::new(ErrorRates::default());
        let mut known = BTreeSet::new();
        let mut now = 0;
        for (n, volley, sent, received, pause) in events {
            now += pause;
            let event = match n {
                0 => Event::Tick,
                1 => {
                    let wanted: Vec<Target> = (0..u16::try_from(sent).unwrap()).map(|n| target(n, 50.0)).collect();
                    known = wanted.iter().map(|target| target.addresses[0]).collect();
                    Event::Targets(wanted)
                }
                n => Event::Ended(volley, outcome(address(n), sent, received.min(sent))),
            };
            for decision in streams.on(event, Mono(now)) {
                if let Decision::Probe(volley) = decision {
                    prop_assert!(volley.addresses.iter().all(|to| known.contains(to)));
                }
            }
            prop_assert!(streams.wake_at().is_none_or(|at| at.0 > now), "it would spin");
        }
    }
}
