use super::super::fixtures::{incident, over};
use super::*;

const ID: NoticeId = uuid::Uuid::from_u128(7);

fn stamp() -> Stamp<'static> {
    Stamp { id: ID, time: Timestamp::from_millis(2_000_000), url: Some("https://d.example/") }
}

fn host(name: &str) -> NoticeScope {
    NoticeScope::Host { host: name.parse().unwrap() }
}

#[test]
fn a_dead_host_is_said_first_and_all_there_is_counted() {
    let mut members: Vec<TrackedIncident> =
        (0..60).map(|n| incident(IncidentKind::Container, "h1", Some(&format!("c{n:02}")), 1_000)).collect();
    members.push(incident(IncidentKind::Host, "h1", None, 1_010));
    let planned = Planned::Problem { scope: host("h1"), members: members.iter().collect() };
    let notice = Notice::of(&planned, None, stamp());
    assert_eq!(notice.title, "Host h1 is silent");
    assert_eq!(notice.severity, Severity::Critical);
    assert_eq!((notice.incidents.len(), notice.left_out), (50, 11));
    assert_eq!(notice.incidents[0].kind, IncidentKind::Host);
    let lines: Vec<&str> = notice.text.lines().collect();
    assert_eq!(lines.len(), 21);
    let expected = "h1/c00: c00 is down: it ended by itself, exit code 1 (since 1970-01-01T00:16:40.000Z)";
    assert_eq!((lines[1], lines[20]), (expected, "and 41 more"));
    let json = serde_json::to_value(&notice).unwrap();
    assert_eq!(json["scope"], serde_json::json!({"level": "host", "host": "h1"}));
    assert_eq!((&json["v"], &json["kind"]), (&1.into(), &"problem".into()));
    let counted = notice.with_monitored(20);
    assert_eq!(counted.monitored, Some(20));
    assert!(counted.text.starts_with("20 containers are monitored there\nhost h1: "), "{}", counted.text);
}

#[test]
fn an_end_says_how_long_it_took_and_what_healed_it() {
    let healed = over(incident(IncidentKind::Container, "h1", Some("web"), 1_000), 1_200);
    let mut alone = over(incident(IncidentKind::Container, "h1", Some("sql"), 1_000), 1_001);
    alone.incident.healed_by = None;
    let mut left = alone.clone();
    left.incident.ended_by = Some(EventKind::ContainerLeft);
    let open = incident(IncidentKind::Container, "h1", Some("x"), 1_000);
    let planned = Planned::Recovery { of: ID, over: vec![&healed, &alone, &left], still_open: vec![&open] };
    let notice = Notice::of(&planned, None, stamp());
    assert_eq!(notice.title, "Host h1 is well again, but 1 told with it still fail");
    assert_eq!((notice.kind, notice.answers, notice.still_open), (NoticeKind::Recovery, Some(ID), 1));
    let lines: Vec<&str> = notice.text.lines().collect();
    assert_eq!(
        lines,
        [
            "h1/sql: well again without our doing, after 1s",
            "h1/sql: left down, as it was told to stop, after 1s",
            "h1/web: healed: dockhealth restarted it, after 3 min 20 s",
        ]
    );
    let one = Planned::Recovery { of: ID, over: vec![&left], still_open: vec![] };
    assert_eq!(Notice::of(&one, None, stamp()).title, "Container h1/sql is no longer watched for");
}

#[test]
fn titles_say_what_it_is_about() {
    let quarantined =
        TrackedIncident { quarantined: true, ..incident(IncidentKind::Container, "h1", Some("web"), 1) };
    let failing = incident(IncidentKind::Container, "h1", Some("sql"), 1);
    let silent = ["h1", "h2", "h3", "h4"].map(|host| incident(IncidentKind::Host, host, None, 1));
    let engine = incident(IncidentKind::Engine, "h1", None, 1);
    let h1: HostName = "h1".parse().unwrap();
    let container = NoticeScope::Container { host: h1.clone(), container: "web".parse().unwrap() };
    let project = NoticeScope::Project { host: h1, project: "shop\u{1b}[2J".into() };
    for (scope, members, expected) in [
        (container, vec![&quarantined], "Container h1/web is quarantined"),
        (project.clone(), vec![&failing, &quarantined], "2 containers of shop?[2J on h1 fail"),
        (project, vec![&failing], "Container h1/sql fails"),
        (host("h1"), vec![&failing, &quarantined], "2 containers on h1 fail"),
        (host("h1"), vec![&engine, &failing], "The Docker engine of host h1 does not answer"),
        (NoticeScope::Fleet, silent.iter().collect(), "4 hosts are silent: h1, h2, h3 and 1 more"),
        (NoticeScope::Fleet, vec![&failing, &silent[1]], "2 incidents on 2 hosts: h1, h2"),
    ] {
        let notice = Notice::of(&Planned::Problem { scope, members }, None, stamp());
        assert_eq!(notice.title, expected);
    }
}
