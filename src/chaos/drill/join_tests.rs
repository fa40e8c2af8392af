use proptest::prelude::*;

use super::*;
use crate::model::EventDraft;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + ms)
}

fn name(text: &str) -> ContainerName {
    text.parse().unwrap()
}

/// A fault that was begun at `from`, in force 100 ms later, and over at `over`.
fn fault(container: &str, fault: &str, from: i64, over: Option<i64>) -> Injected {
    Injected {
        container: name(container),
        fault: fault.parse().unwrap(),
        phase: "p".into(),
        expect: None,
        threshold: Some(Threshold::new(50.0).unwrap()),
        asked: at(from),
        done: at(from + 100),
        over: over.map(at),
    }
}

fn expecting(outcome: ExpectedOutcome, fault: Injected) -> Injected {
    let within = Duration::from_secs(30);
    Injected { expect: Some(Expectation { outcome, within }), ..fault }
}

fn event(container: Option<&str>, kind: EventKind, time: i64) -> Event {
    let mut draft = EventDraft::new(kind, Actor::Agent, "because");
    draft.container = container.map(name);
    draft.stamp(&"h1".parse().unwrap(), at(time))
}

fn failing(container: &str, ailment: &str, time: i64) -> Event {
    let data = serde_json::json!({ "ailment": ailment });
    Event { data, ..event(Some(container), EventKind::ContainerFailing, time) }
}

fn story(faults: Vec<Injected>, events: Vec<Event>) -> Story {
    let names = ["a", "b", "c", "d", "calm", "crashed"];
    Story { faults, events, containers: names.map(name).into(), needs: BTreeMap::new() }
}

fn outcomes(joined: &Joined) -> Vec<FaultOutcome> {
    joined.faults.iter().map(|fault| fault.outcome).collect()
}

use EventKind::{
    BreakerOpened, ContainerRecovered, ContainerRestarted, ContainerStarted, Quarantined as GivenUp,
};
use FaultOutcome::{AsExpected, Late, Missed, NotJudged, Wrong};

#[test]
fn each_answer_is_the_last_faults_and_measured_from_when_it_was_in_force() {
    let joined = story(
        vec![fault("a", "kill", 0, Some(2_000)), fault("a", "loss=100%", 10_000, Some(20_000))],
        vec![
            failing("a", "down", 150),
            event(Some("a"), ContainerStarted, 600),
            event(Some("a"), ContainerRecovered, 8_000),
            failing("a", "loss", 14_100),
            event(Some("a"), ContainerRestarted, 15_100),
            event(Some("a"), ContainerRecovered, 26_100),
        ],
    )
    .join();
    let told: Vec<_> =
        joined.faults.iter().map(|f| (f.detect_ms, f.act_ms, f.recover_ms, f.actions)).collect();
    assert_eq!(told, [(Some(50), Some(500), Some(7_900), 1), (Some(4_000), Some(5_000), Some(16_000), 1),]);
    assert_eq!(outcomes(&joined), [AsExpected, AsExpected]);
    assert_eq!((joined.alarms.len(), joined.others, joined.findings.len()), (0, 0, 0));
}

#[test]
fn what_is_found_while_a_fault_comes_into_force_took_no_time() {
    let joined = story(vec![fault("a", "stop", 0, None)], vec![failing("a", "down", 50)]).join();
    assert_eq!(joined.faults[0].detect_ms, Some(0));
}

#[test]
fn what_must_be_found_and_what_need_not() {
    let faults = ["stop", "kill", "loss=70%", "loss=69%", "pause", "restart", "dns"];
    let faults = faults.iter().enumerate().map(|(n, kind)| fault(&format!("c{n}"), kind, 0, Some(5_000)));
    let mut faults: Vec<_> = faults.collect();
    faults.push(Injected {
        threshold: Some(Threshold::new(90.0).unwrap()),
        ..fault("high", "loss=95%", 0, None)
    });
    faults.push(Injected { threshold: None, ..fault("unknown", "loss=100%", 0, None) });
    let joined = story(faults, Vec::new()).join();
    let expected = [Missed, Missed, Missed, NotJudged, NotJudged, NotJudged, NotJudged, Missed, NotJudged];
    assert_eq!(outcomes(&joined), expected);
    assert_eq!(joined.findings.len(), 4);
    assert!(joined.findings[0].contains("c0: stop at") && joined.findings[0].ends_with("was not found"));
}

#[test]
fn healing_has_a_deadline_and_left_down_is_told() {
    use ExpectedOutcome::Healed;
    let healed = |over| expecting(Healed, fault("a", "stop", 0, over));
    let of = |events| story(vec![healed(None)], events).join();
    assert_eq!(outcomes(&of(vec![event(Some("a"), ContainerStarted, 30_100)])), [AsExpected]);
    let late = of(vec![event(Some("a"), ContainerStarted, 30_101)]);
    assert_eq!(outcomes(&late), [Late]);
    assert!(late.findings[0].contains("healed after 30.0 s, not within 30 s"), "{:?}", late.findings);
    assert_eq!(outcomes(&of(vec![failing("a", "down", 900)])), [Late]);
    let left = of(vec![event(Some("a"), EventKind::ContainerLeft, 900)]);
    assert!(left.findings[0].contains("on-stop"), "{:?}", left.findings);
    assert_eq!(outcomes(&left), [Missed]);
}

#[test]
fn what_is_to_be_borne_and_is_answered_is_a_false_alarm() {
    let borne = expecting(ExpectedOutcome::Untouched, fault("a", "loss=5%", 0, Some(5_000)));
    assert_eq!(outcomes(&story(vec![borne.clone()], vec![]).join()), [AsExpected]);
    let events = vec![failing("a", "loss", 3_000), event(Some("a"), ContainerRestarted, 4_000)];
    let joined = story(vec![borne], events).join();
    assert_eq!(outcomes(&joined), [Wrong]);
    assert_eq!((joined.alarms.len(), joined.findings.len()), (1, 1));
}

#[test]
fn actions_without_a_fault_are_false_alarms_unless_it_was_down() {
    let events = vec![
        failing("calm", "loss", 1_000),
        event(Some("calm"), ContainerRestarted, 2_000),
        failing("stranger", "loss", 1_000),
        event(Some("stranger"), ContainerRestarted, 2_000),
        failing("crashed", "down", 1_000),
        event(Some("crashed"), ContainerStarted, 2_000),
        // The fault of it passed long ago.
        failing("a", "loss", 60_000),
        event(Some("a"), ContainerRestarted, 61_000),
    ];
    let joined = story(vec![fault("a", "pause", 0, Some(5_000))], events).join();
    let alarms: Vec<_> = joined.alarms.iter().map(|alarm| alarm.container.as_str()).collect();
    assert_eq!((alarms, joined.others), (vec!["calm", "a"], 2));
    assert_eq!(joined.faults[0].actions, 0);
    let mut by_hand = event(Some("calm"), ContainerRestarted, 2_000);
    by_hand.by = Actor::Operator;
    assert_eq!(story(vec![], vec![by_hand]).join().alarms, []);
}

#[test]
fn trouble_that_began_in_time_is_the_faults_however_long_it_takes() {
    let faults = vec![fault("a", "loss=100%", 0, Some(5_000))];
    let events = vec![failing("a", "loss", 4_000), event(Some("a"), ContainerRestarted, 99_000)];
    let joined = story(faults, events).join();
    assert_eq!((joined.faults[0].actions, joined.alarms.len()), (1, 0));
}

#[test]
fn a_crash_loop_is_judged_by_its_quarantine() {
    let kill = |from| expecting(ExpectedOutcome::Quarantined, fault("a", "kill", from, None));
    let faults = vec![kill(0), kill(5_000), kill(9_000)];
    let mut events = vec![
        failing("a", "down", 200),
        event(Some("a"), ContainerStarted, 300),
        event(Some("a"), ContainerStarted, 5_300),
    ];
    let never = story(faults.clone(), events.clone()).join();
    assert_eq!(outcomes(&never), [AsExpected, AsExpected, Late]);
    assert!(never.findings[0].contains("never led to quarantine"));
    events.push(event(Some("a"), GivenUp, 9_500));
    let joined = story(faults.clone(), events.clone()).join();
    assert_eq!(outcomes(&joined), [AsExpected; 3]);
    assert_eq!(joined.faults[2].quarantine_ms, Some(400));
    events.last_mut().unwrap().time = at(30_200);
    assert_eq!(outcomes(&story(faults, events).join()), [AsExpected, AsExpected, Late]);
}

#[test]
fn a_shared_fault_wants_one_word_about_what_is_shared() {
    let down = |container| expecting(ExpectedOutcome::Shared, fault(container, "loss=100%", 0, Some(20_000)));
    let faults = vec![down("a"), down("b")];
    let opened = event(None, BreakerOpened, 9_000);
    let joined = story(faults.clone(), vec![opened.clone()]).join();
    assert_eq!((outcomes(&joined), joined.shared), (vec![AsExpected; 2], 1));
    assert_eq!(outcomes(&story(faults.clone(), vec![]).join()), [Missed; 2]);
    let events = vec![opened, failing("a", "loss", 8_000), event(Some("b"), ContainerRestarted, 8_500)];
    let joined = story(faults, events).join();
    assert_eq!((outcomes(&joined), joined.alarms.len()), (vec![Wrong; 2], 1));
}

#[test]
fn what_others_need_is_to_be_started_first() {
    let healed = |container| expecting(ExpectedOutcome::Healed, fault(container, "kill", 0, None));
    let of = |api: i64, db: i64| {
        let events = vec![event(Some("api"), ContainerStarted, api), event(Some("db"), ContainerStarted, db)];
        let needs = BTreeMap::from([(name("api"), BTreeSet::from([name("db")]))]);
        Story { needs, ..story(vec![healed("api"), healed("db")], events) }.join()
    };
    assert_eq!(outcomes(&of(2_000, 1_000)), [AsExpected, AsExpected]);
    let wrong = of(1_000, 2_000);
    assert_eq!(outcomes(&wrong), [Wrong, AsExpected]);
    assert!(wrong.findings[0].contains("before db was, which it needs"), "{:?}", wrong.findings);
}

#[derive(Debug, Clone)]
struct Drawn {
    faults: Vec<Injected>,
    events: Vec<Event>,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let faults = proptest::collection::vec((0_usize..3, 0_usize..4, 0_i64..100, 1_i64..20), 0..12);
    let events = proptest::collection::vec((0_usize..4, 0_usize..7, 0_i64..140), 0..40);
    (faults, events).prop_map(|(faults, events)| {
        let names = ["a", "b", "c", "d"];
        let kinds = ["stop", "kill", "loss=100%", "pause"];
        let faults = faults
            .into_iter()
            .map(|(who, what, from, lasts)| {
                fault(names[who], kinds[what], from * 1000, Some((from + lasts) * 1000))
            })
            .collect();
        let events = events
            .into_iter()
            .enumerate()
            .map(|(n, (who, what, time))| {
                let (who, time) = (names[who], time * 1000);
                let mut event = match what {
                    0 => failing(who, "down", time),
                    1 => failing(who, "loss", time),
                    2 => event(Some(who), ContainerStarted, time),
                    3 => event(Some(who), ContainerRestarted, time),
                    4 => event(Some(who), ContainerRecovered, time),
                    5 => event(Some(who), GivenUp, time),
                    _ => event(None, BreakerOpened, time),
                };
                event.seq = n as u64;
                event
            })
            .collect();
        Drawn { faults, events }
    })
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_counts_twice(Drawn { faults, events } in drawn(), rotate in 0_usize..40) {
        let joined = story(faults.clone(), events.clone()).join();
        prop_assert_eq!(joined.faults.len(), faults.len());
        let answered: u64 = joined.faults.iter().map(|fault| fault.actions).sum();
        let acted = events.iter().filter(|event| is_action(event.kind)).count() as u64;
        prop_assert_eq!(answered + joined.others + joined.alarms.len() as u64, acted);
        prop_assert!(joined.faults.windows(2).all(|two| two[0].injected <= two[1].injected));
        for told in &joined.faults {
            prop_assert_eq!(told.act_ms.is_some(), told.actions > 0);
            prop_assert!(told.outcome != Missed || (told.detect_ms.is_none() && told.actions == 0));
        }
        // The order in which things are given does not matter.
        let mut turned = events;
        let by = rotate % turned.len().max(1);
        turned.rotate_left(by);
        prop_assert_eq!(story(faults, turned).join(), joined);
    }

    #[test]
    fn a_container_that_nobody_attacked_and_nobody_touched_changes_nothing(Drawn { faults, events } in drawn()) {
        let others: Vec<Event> = events.iter().filter(|event| event.container != Some(name("d"))).cloned().collect();
        let (all, fewer) = (story(faults.clone(), events).join(), story(faults, others).join());
        prop_assert_eq!(all.faults, fewer.faults);
    }
}
