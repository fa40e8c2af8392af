use uuid::Uuid;

use super::*;
use crate::bus::{EngineReport, EngineStatus, PROTOCOL_VERSION};
use crate::model::Threshold;

fn at(seconds: i64) -> Now {
    Now { mono: Mono(seconds * 1000), wall: Timestamp::from_millis(1_000_000 + seconds * 1000) }
}

fn report(host: &str, nonce: u128, engine: &str) -> Arc<HostReport> {
    Arc::new(HostReport {
        v: PROTOCOL_VERSION,
        host: host.parse().unwrap(),
        instance: format!("instance-{nonce}").parse().unwrap(),
        nonce: Uuid::from_u128(nonce),
        seq: 1,
        time: Timestamp::from_millis(1_000_000),
        agent_version: "0.1.0".into(),
        addresses: Vec::new(),
        engine: EngineReport {
            status: EngineStatus::Reachable,
            id: Some(engine.parse().unwrap()),
            version: None,
            error: None,
        },
        capabilities: Vec::new(),
        freeze: None,
        dry_run: false,
        threshold: Threshold::default(),
        desired_synced: true,
        outbox: None,
        identity: None,
        fleet: None,
        containers: Vec::new(),
    })
}

enum Step {
    /// At a second: host, nonce, engine.
    Says(i64, &'static str, u128, &'static str),
    Tick(i64),
    Deaf(i64),
    Hears(i64),
}
use Step::{Deaf, Hears, Says, Tick};

/// Runs the steps; gives "second kind host" for each event.
fn run(steps: &[Step]) -> Vec<String> {
    let mut fleet = FleetState::default();
    let mut told = Vec::new();
    for step in steps {
        let (second, events) = match *step {
            Says(t, host, nonce, engine) => {
                let mut said = report(host, nonce, engine);
                Arc::make_mut(&mut said).time = at(t).wall;
                (t, fleet.feed(said, at(t)).unwrap())
            }
            Tick(t) => (t, fleet.tick(at(t))),
            Deaf(t) => {
                fleet.hearing(false, at(t));
                (t, Vec::new())
            }
            Hears(t) => {
                fleet.hearing(true, at(t));
                (t, Vec::new())
            }
        };
        told.extend(events.iter().map(|e| format!("{second} {} {}", e.draft.kind, e.host)));
    }
    told
}

#[test]
fn a_host_is_silent_15_s_after_its_last_word_and_says_so_once() {
    let told = run(&[
        Says(0, "a", 1, "E"),
        Says(5, "a", 1, "E"),
        Tick(19),
        Tick(20),
        Tick(60),
        Says(61, "a", 1, "E"),
    ]);
    assert_eq!(told, ["0 host_live a", "20 host_silent a", "61 host_live a"]);
}

#[test]
fn while_the_bus_is_down_nobody_is_silent_and_then_all_have_15_s() {
    let told = run(&[Says(0, "a", 1, "E"), Deaf(3), Tick(100), Hears(110), Tick(124), Tick(125)]);
    assert_eq!(told, ["0 host_live a", "125 host_silent a"]);
}

#[test]
fn two_processes_speaking_in_turns_are_a_conflict_until_one_is_silent() {
    let told = run(&[
        Says(0, "a", 1, "E"),
        Says(2, "a", 2, "E"),
        Says(5, "a", 1, "E"),
        Says(7, "a", 2, "E"),
        Tick(19),
        Says(19, "a", 2, "E"),
        Tick(20),
    ]);
    assert_eq!(told, ["0 host_live a", "5 identity_conflict a", "20 identity_resolved a"]);
}

#[test]
fn a_restarted_agent_and_a_renamed_host_are_no_conflict() {
    let told = run(&[
        Says(0, "a", 1, "E"),
        Says(1, "a", 2, "E"),
        Says(2, "a", 3, "E"),
        Says(3, "b", 4, "E"),
        Says(8, "b", 4, "E"),
        Tick(9),
    ]);
    assert_eq!(told, ["0 host_live a", "3 host_live b"]);
}

#[test]
fn one_engine_under_two_names_is_a_conflict_of_both() {
    let told = run(&[
        Says(0, "a", 1, "E"),
        Says(0, "c", 3, "F"),
        Says(1, "b", 2, "E"),
        Says(5, "a", 1, "E"),
        Says(10, "a", 1, "E"),
        Says(10, "c", 3, "F"),
        Tick(16),
    ]);
    assert_eq!(
        told,
        [
            "0 host_live a",
            "0 host_live c",
            "1 host_live b",
            "5 identity_conflict a",
            "5 identity_conflict b",
            "16 host_silent b",
            "16 identity_resolved a",
            "16 identity_resolved b",
        ]
    );
}

#[test]
fn restored_hosts_have_15_s_to_speak_and_told_silence_is_not_told_again() {
    let mut fleet = FleetState::default();
    let known = |name: &str, presence| KnownHost {
        name: name.parse().unwrap(),
        first_seen: Timestamp::from_millis(0),
        last_seen: Timestamp::from_millis(0),
        presence,
        clock_skewed: false,
        report: None,
    };
    fleet.restore([known("a", Presence::Live), known("b", Presence::Silent)], at(0));
    assert_eq!(fleet.live().len(), 1);
    assert!(fleet.tick(at(14)).is_empty());
    let events = fleet.tick(at(15));
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].host.as_str(), events[0].draft.kind), ("a", EventKind::HostSilent));
    let events = fleet.feed(report("b", 1, "E"), at(16)).unwrap();
    assert_eq!(events[0].draft.kind, EventKind::HostLive);
}

#[test]
fn an_overtaken_report_counts_as_a_word_but_is_not_shown() {
    let mut fleet = FleetState::default();
    let mut newer = (*report("a", 1, "E")).clone();
    newer.seq = 7;
    fleet.feed(Arc::new(newer), at(0)).unwrap();
    fleet.feed(report("a", 1, "E"), at(10)).unwrap();
    let host = fleet.host(&"a".parse().unwrap()).unwrap();
    assert_eq!(host.report.as_ref().unwrap().seq, 7);
    assert!(fleet.tick(at(24)).is_empty());
}

#[test]
fn the_fleet_is_bounded() {
    let mut fleet = FleetState::default();
    for n in 0..MAX_HOSTS {
        fleet.feed(report(&format!("h{n}"), n as u128, &format!("e{n}")), at(0)).unwrap();
    }
    assert_eq!(fleet.feed(report("one-more", 9, "E"), at(0)), Err(FleetFull));
    assert!(fleet.forget(&"h0".parse().unwrap()));
    assert!(fleet.feed(report("one-more", 9, "E"), at(0)).is_ok());
}
