use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1000)
}

fn id(n: u8) -> ContainerId {
    ContainerId::new(format!("{n:064x}")).unwrap()
}

fn op(n: i64) -> OperationId {
    OperationId::new(format!("p-{n}")).unwrap()
}

/// Begins an action on container 1, which is done at once.
fn begin(score: &mut Efficacy, trial: Trial) {
    let op = trial.op.clone();
    let _ = score.begin(&id(1), trial);
    score.done(&op);
}

fn loss(percent: f64) -> LossPercent {
    LossPercent::new(percent).unwrap()
}

fn trial(n: i64, kind: ActionKind, ailment: AilmentKind, before: Option<f64>) -> Trial {
    let before = Figures { loss_percent: before.map(loss), rtt_ms: Some(0.1) };
    Trial::new((op(n), kind, Actor::Agent), ailment, before, true, at(n))
}

fn well() -> After {
    After {
        ailment: None,
        running: true,
        healthcheck: None,
        grace_over: true,
        pingable: true,
        threshold: Threshold::default(),
        late: false,
    }
}

fn lossy(percent: f64) -> After {
    After { ailment: Some(Ailment::Lossy(loss(percent))), ..well() }
}

/// Does one action on container 1 at second `n`, sees `checks` of loss after it, and judges it by `after`.
fn act(score: &mut Efficacy, n: i64, trial: Trial, checks: &[f64], after: &After) -> Option<Effect> {
    begin(score, trial);
    let _ = score.meet(&id(1), at(n));
    for percent in checks {
        score.check(Told::Figures(20, loss(*percent), Some(0.1)));
    }
    score.judge(after).map(|assessment| assessment.effect)
}

#[test]
fn the_effect_is_what_is_left_of_the_ailment() {
    use Effect::{Helped, NoChange, Unknown, Worse};
    let down = |end| After { ailment: Some(Ailment::Down(end)), running: false, ..well() };
    let unhealthy = After { ailment: Some(Ailment::Unhealthy), ..well() };
    let starting = After { healthcheck: Some(HealthcheckStatus::Starting), ..well() };
    let cases: [(AilmentKind, &[f64], After, Option<Effect>); 20] = [
        (AilmentKind::Loss, &[0.0, 0.0, 5.0], well(), Some(Helped)),
        (AilmentKind::Loss, &[0.0, 0.0], well(), None),
        (AilmentKind::Loss, &[0.0], After { late: true, ..well() }, Some(Helped)),
        (AilmentKind::Loss, &[], After { late: true, ..well() }, Some(Unknown)),
        (AilmentKind::Loss, &[100.0, 60.0, 60.0], well(), Some(Worse)),
        (AilmentKind::Loss, &[60.0, 60.0], lossy(60.0), Some(NoChange)),
        (AilmentKind::Loss, &[80.0, 80.0], lossy(80.0), Some(Worse)),
        (AilmentKind::Loss, &[60.0], After { grace_over: false, ..lossy(60.0) }, None),
        (AilmentKind::Loss, &[], down(End::Crashed), Some(Worse)),
        (AilmentKind::Loss, &[], down(End::Told), Some(Unknown)),
        (AilmentKind::Loss, &[0.0], unhealthy, Some(Worse)),
        (AilmentKind::Down, &[], down(End::Crashed), Some(NoChange)),
        (AilmentKind::Down, &[60.0], lossy(60.0), Some(Helped)),
        (AilmentKind::Down, &[0.0; 3], well(), Some(Helped)),
        (AilmentKind::Unhealthy, &[0.0; 3], starting, None),
        (AilmentKind::Unhealthy, &[0.0; 3], After { late: true, ..starting }, Some(Unknown)),
        (AilmentKind::Unhealthy, &[0.0; 3], unhealthy, Some(NoChange)),
        (AilmentKind::Unhealthy, &[0.0; 3], well(), Some(Helped)),
        (AilmentKind::Detached, &[0.0; 3], well(), Some(Helped)),
        (AilmentKind::Loss, &[], After { running: false, late: true, ..well() }, Some(Unknown)),
    ];
    for (ailment, checks, after, expected) in cases {
        let trial = trial(0, ActionKind::Restart, ailment, Some(60.0));
        let found = act(&mut Efficacy::default(), 0, trial, checks, &after);
        assert_eq!(found, expected, "{ailment:?} {checks:?} {after:?}");
    }
}

#[test]
fn silence_of_what_answered_before_is_no_help_and_of_what_never_did_says_nothing() {
    for (was_pingable, expected) in [(true, Some(Effect::NoChange)), (false, Some(Effect::Helped))] {
        let mut score = Efficacy::default();
        let mut trial = trial(0, ActionKind::Start, AilmentKind::Down, None);
        trial.was_pingable = was_pingable;
        begin(&mut score, trial);
        (0..CHECKS).for_each(|_| score.check(Told::Silence));
        let judged = score.judge(&After { pingable: false, ..well() });
        assert_eq!(judged.map(|assessment| assessment.effect), expected);
    }
}

#[test]
fn a_round_trip_that_grew_much_is_worse_where_loss_is_the_same() {
    let mut score = Efficacy::default();
    begin(&mut score, trial(0, ActionKind::Restart, AilmentKind::Loss, Some(60.0)));
    score.check(Told::Figures(20, loss(60.0), Some(80.0)));
    assert_eq!(score.judge(&lossy(60.0)).map(|a| a.effect), Some(Effect::Worse));
}

#[test]
fn an_action_that_failed_did_not_help_and_one_that_was_not_done_is_forgotten() {
    let mut score = Efficacy::default();
    let _ = score.begin(&id(1), trial(0, ActionKind::Restart, AilmentKind::Loss, Some(60.0)));
    assert_eq!(score.judge(&lossy(60.0)), None, "it is under way");
    score.not_done(&op(0), Tried::AndFailed);
    assert_eq!(score.judge(&lossy(60.0)).map(|a| a.effect), Some(Effect::NoChange));
    let _ = score.begin(&id(1), trial(1, ActionKind::Restart, AilmentKind::Loss, Some(60.0)));
    score.not_done(&op(0), Tried::Not);
    assert!(!score.is_settled(), "that was another");
    score.not_done(&op(1), Tried::Not);
    assert_eq!((score.judge(&well()), score.counts().total()), (None, 1));
}

#[test]
fn another_container_is_judged_anew_and_our_own_recreate_makes_none() {
    let fail = |score: &mut Efficacy, n, kind| {
        act(score, n, trial(n, kind, AilmentKind::Loss, Some(60.0)), &[60.0], &lossy(60.0))
    };
    let mut score = Efficacy::default();
    for n in 0..3 {
        fail(&mut score, n, ActionKind::Restart);
    }
    assert_eq!(score.in_vain(AilmentKind::Loss), 3);
    assert_eq!((score.meet(&id(2), at(9)), score.in_vain(AilmentKind::Loss)), (None, 0));

    let mut score = Efficacy::default();
    fail(&mut score, 0, ActionKind::Restart);
    begin(&mut score, trial(1, ActionKind::Recreate, AilmentKind::Loss, Some(60.0)));
    assert_eq!(score.meet(&id(2), at(2)), None);
    score.check(Told::Figures(20, loss(60.0), None));
    assert_eq!(score.judge(&lossy(60.0)).map(|a| a.effect), Some(Effect::NoChange));
    assert_eq!(score.in_vain(AilmentKind::Loss), 2, "a recreate of ours goes on with the streak");

    let third = trial(3, ActionKind::Restart, AilmentKind::Loss, Some(60.0));
    let op = third.op.clone();
    let _ = score.begin(&id(2), third);
    score.done(&op);
    let replaced = score.meet(&id(3), at(4)).unwrap();
    assert_eq!((replaced.effect, score.in_vain(AilmentKind::Loss)), (Effect::Unknown, 0));
}

#[test]
fn a_score_outlives_the_agent() {
    let mut score = Efficacy::default();
    act(&mut score, 5, trial(5, ActionKind::Restart, AilmentKind::Loss, Some(60.0)), &[38.0], &lossy(60.0));
    let _ = score.begin(&id(1), trial(9, ActionKind::Restart, AilmentKind::Loss, Some(60.0)));
    let json = serde_json::to_string(&score).unwrap();
    assert_eq!(serde_json::from_str::<Efficacy>(&json).unwrap(), score);
    let (until, why) = score.futile(AilmentKind::Loss, 1, HOUR, at(6)).unwrap();
    assert_eq!((until, why.as_str()), (at(3605), "the last 1 restarts left its loss at 38 %"));
}

proptest! {
    /// Held exactly while enough actions in a row did not help and the last is less than the retry ago; what is
    /// unknown counts neither way; what is kept is bounded.
    #[test]
    fn it_is_futile_exactly_after_a_streak(
        effects in proptest::collection::vec(0_u8..4, 0..40),
        enough in 0_u32..5,
        later in 0_i64..8000,
    ) {
        let mut score = Efficacy::default();
        let (mut streak, mut last) = (0, 0);
        for (n, effect) in effects.iter().enumerate() {
            let n = i64::try_from(n).unwrap();
            last = n;
            let (checks, after): (&[f64], After) = match effect {
                0 => (&[0.0; 3], well()),
                1 => (&[60.0], lossy(60.0)),
                2 => (&[90.0], lossy(90.0)),
                _ => (&[], After { late: true, ..well() }),
            };
            let expected = Effect::ALL[usize::from(*effect)];
            let trial = trial(n, ActionKind::Restart, AilmentKind::Loss, Some(60.0));
            prop_assert_eq!(act(&mut score, n, trial, checks, &after), Some(expected));
            streak = match expected {
                Effect::Helped => 0,
                Effect::Unknown => streak,
                _ => streak + 1,
            };
        }
        let held = score.futile(AilmentKind::Loss, enough, HOUR, at(last + later)).is_some();
        prop_assert_eq!(held, enough > 0 && streak >= enough && later < 3600);
        prop_assert!(score.futile(AilmentKind::Unhealthy, enough, HOUR, at(last)).is_none());
        prop_assert!(score.recent().count() <= RECENT);
        prop_assert_eq!(score.counts().total(), effects.len() as u64);
    }
}
