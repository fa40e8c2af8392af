use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::DesiredState;
use crate::model::Threshold;
use crate::monitor::decide::Policy;

/// Seconds of the span.
const SPAN: i64 = 3_600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + second * 1000)
}

fn plan(threshold: f64, assume: Assume) -> Plan {
    Plan {
        policy: Policy { threshold: Threshold::new(threshold).unwrap(), ..Policy::default() },
        desired: DesiredState::default(),
        interval: Duration::from_secs(5),
        from: at(0),
        to: at(SPAN),
        resolution: Duration::from_secs(10),
        assume,
    }
}

/// A container that loses what `loss` says of each second; `None`: nothing was recorded then.
fn container(name: &str, loss: impl Fn(i64) -> Option<f64>) -> ContainerRecord {
    let mut record = ContainerRecord::new(name.parse().unwrap(), Some("net".into()));
    record.samples = (0..=SPAN / 10)
        .filter_map(|n| Some(Sample { time: at(n * 10), loss: loss(n * 10)?, rtt_ms: Some(0.1) }))
        .collect();
    record
}

fn deed(second: i64) -> Deed {
    Deed { time: at(second), kind: ActionKind::Restart, reason: "it was restarted".into() }
}

fn run(containers: Vec<ContainerRecord>, plan: &Plan) -> Vec<Replayed> {
    replay(&HostRecord { host: "h".parse().unwrap(), containers }, plan)
}

/// Seconds at which the policy acts.
fn seconds(one: &Replayed) -> Vec<i64> {
    one.would_restart.iter().map(|deed| (deed.time.millis() - at(0).millis()) / 1000).collect()
}

#[test]
fn a_lower_threshold_restarts_what_a_higher_left_alone() {
    let fault = |t: i64| Some(if (600..900).contains(&t) { 30.0 } else { 0.0 });
    let low = run(vec![container("web", fault)], &plan(20.0, Assume::Heals));
    assert_eq!(seconds(&low[0]), [603], "found by the next sweep, confirmed 3 s later");
    assert_eq!((low[0].same, low[0].extra, low[0].prevented), (0, 1, 0));
    assert!(
        low[0].would_restart[0].reason.contains("loses 30 % of its packets, above its threshold of 20 %")
    );
    let high = run(vec![container("web", fault)], &plan(50.0, Assume::Heals));
    assert_eq!(seconds(&high[0]), [0; 0]);

    let mut did = container("web", fault);
    did.did = vec![deed(640), deed(2000)];
    let both = run(vec![did], &plan(20.0, Assume::Heals));
    assert_eq!((both[0].same, both[0].extra, both[0].prevented), (1, 0, 1));
    let totals = Totals { containers: 1, would_restart: 1, did: 2, same: 1, extra: 0, prevented: 1 };
    assert_eq!(Totals::of(&both), totals);
}

#[test]
fn as_recorded_the_fault_goes_on_until_restarts_prove_futile() {
    let fault = |t: i64| Some(if t >= 600 { 60.0 } else { 0.0 });
    let mut lasting = plan(50.0, Assume::AsRecorded);
    let as_recorded = run(vec![container("web", fault)], &lasting);
    assert_eq!(as_recorded[0].would_restart.len(), 3, "{:?}", as_recorded[0]);
    assert!(as_recorded[0].remarks[0].text.contains("does not help"), "{:?}", as_recorded[0].remarks);
    lasting.assume = Assume::Heals;
    assert_eq!(run(vec![container("web", fault)], &lasting)[0].would_restart.len(), 1);
}

#[test]
fn the_brakes_hold_in_a_backtest_too() {
    let fault = |t: i64| Some(if t >= 600 { 90.0 } else { 0.0 });
    let whole = ["a", "b", "c"].map(|name| container(name, fault));
    let all = run(whole.into(), &plan(50.0, Assume::Heals));
    assert!(all.iter().all(|one| one.would_restart.is_empty()), "the breaker: {all:?}");
    let mut off = plan(50.0, Assume::AsRecorded);
    off.policy.futile_after = 0;
    let one = run(vec![container("web", fault)], &off);
    assert_eq!(one[0].would_restart.len(), 5, "--budget 5/1h");
    assert!(one[0].remarks[0].text.contains("left alone until"), "{:?}", one[0].remarks);
}

#[test]
fn what_went_down_is_started_and_its_real_start_is_no_news() {
    let mut record = container("web", |t| (!(600..700).contains(&t)).then_some(0.0));
    record.changes = vec![(at(600), Change::Down), (at(700), Change::Run), (at(720), Change::Well)];
    record.did = vec![deed(700)];
    let one = run(vec![record], &plan(50.0, Assume::Heals));
    assert_eq!(seconds(&one[0]), [600]);
    assert_eq!(one[0].would_restart[0].kind, ActionKind::Start);
    assert_eq!((one[0].extra, one[0].prevented), (1, 1), "they are more than a minute apart");
}

#[test]
fn nothing_is_said_where_nothing_was_recorded() {
    let gap = run(vec![container("web", |t| (t < 300).then_some(0.0))], &plan(0.0, Assume::Heals));
    assert_eq!((gap[0].samples, gap[0].would_restart.len()), (30, 0));
    assert_eq!(run(Vec::new(), &plan(0.0, Assume::Heals)), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever was recorded: budgets hold, deeds lie within the span and in order, and the same gives the same.
    #[test]
    fn a_replay_is_bounded_and_repeatable(
        losses in proptest::collection::vec(proptest::option::weighted(0.9, 0_u8..=100), 361),
        changes in proptest::collection::vec((0..SPAN, 0_usize..4), 0..20),
        threshold in 0_u8..=100,
        heals in any::<bool>(),
    ) {
        let kinds = [Change::Down, Change::Unhealthy, Change::Run, Change::Well];
        let mut record = container("web", |t| losses[usize::try_from(t / 10).unwrap()].map(f64::from));
        let mut changes: Vec<_> = changes.into_iter().map(|(t, kind)| (at(t), kinds[kind])).collect();
        changes.sort_by_key(|(time, _)| *time);
        record.changes = changes;
        let plan = plan(f64::from(threshold), if heals { Assume::Heals } else { Assume::AsRecorded });
        let first = run(vec![record.clone()], &plan);
        prop_assert!(first[0].would_restart.len() <= 5 + 1, "--budget 5/1h over an hour");
        prop_assert!(first[0].would_restart.windows(2).all(|two| two[0].time <= two[1].time));
        prop_assert!(first[0].would_restart.iter().all(|deed| (plan.from..=plan.to).contains(&deed.time)));
        prop_assert_eq!(run(vec![record], &plan), first);
    }
}
