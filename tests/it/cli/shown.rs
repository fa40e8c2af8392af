//! What the controller says, as the terminal shows it, and what it is asked.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::rig::{Controller, dockhealth, run, text};

const CONTAINERS: &str = r#"[
    {"hostname":"a","name":"web","status":"running","monitored":true,"health":"healthy","loss_percent":0.0,
     "rtt_ms":0.123,"restarts":0,"reason":"all 5 probes answered","extra":1},
    {"hostname":"b","name":"web","status":"exited","monitored":true,"health":"failing","loss_percent":null,
     "rtt_ms":null,"restarts":3,"reason":"exited \u001b[2Jwith 1"},
    {"hostname":"b","name":"db","status":"running","monitored":false,"health":"unmonitored","loss_percent":null,
     "rtt_ms":null,"restarts":null,"reason":""}]"#;

#[test]
fn ps_shows_a_table_and_names_the_silent_hosts() {
    let headers =
        "Dockhealth-Hosts-Expected: 3\r\nDockhealth-Hosts-Answered: 2\r\nDockhealth-Hosts-Missing: c\r\n";
    let controller = Controller::new(vec![("200 OK", headers, CONTAINERS.to_owned())]);
    let output =
        run(&controller.url, &["ps", "--host", "a", "--monitored", "--health", "failing", "--stale"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(controller.asked(), "GET /api/v1/containers?host=a&monitored=true&health=failing&stale=true");
    let table: Vec<String> = text(&output.stdout)
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        table,
        [
            "HOST NAME STATUS HEALTH LOSS RTT RESTARTS REASON",
            "a web running healthy 0 % 0.12 ms 0 all 5 probes answered",
            "b web exited failing - - 3 exited ?[2Jwith 1",
            "b db running unmonitored - - -",
        ]
    );
    assert!(text(&output.stderr).starts_with("2 of 3 hosts answered; not: c"), "{output:?}");
}

#[test]
fn ps_says_where_an_engine_was_never_reached() {
    let hosts = |containers: u32| {
        format!(
            r#"[{{"hostname":"a","presence":"live","last_seen":"2026-01-01T00:00:00Z","conflict":null,"agent":
               {{"version":"0.1.0","engine":{{"status":"unreachable","version":null,"error":"no socket"}},
                "freeze":null,"containers":{containers},"monitored":0,"failing":0}}}}]"#
        )
    };
    let told = "host a: what it has is unknown, its Docker engine does not answer: no socket\n";
    for (args, containers, told) in [
        (&["ps"][..], 0, told),
        (&["ps", "--host", "a"], 0, told),
        (&["ps", "--host", "b"], 0, ""),
        (&["ps"], 1, ""),
    ] {
        let answers = [("200 OK", "", "[]".to_owned()), ("200 OK", "", hosts(containers))];
        let output = run(&Controller::new(answers.into()).url, args);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stderr), format!("{told}no containers to show\n"), "{args:?}");
    }
}

#[test]
fn json_is_the_apis_own() {
    let controller = Controller::saying(CONTAINERS);
    let output = run(&controller.url, &["ps", "--json"]);
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, serde_json::from_str::<serde_json::Value>(CONTAINERS).unwrap());
}

#[test]
fn a_closed_pipe_is_no_error() {
    let controller = Controller::saying(CONTAINERS);
    let dir = tempfile::tempdir().unwrap();
    let mut command = dockhealth(dir.path(), &["ps", "--server", &controller.url]);
    let (reader, writer) = std::io::pipe().unwrap();
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop((reader, command));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_name_on_two_hosts_needs_its_host_and_others_are_still_done() {
    let answers = vec![
        ("200 OK", "", CONTAINERS.to_owned()),
        ("202 Accepted", "", r#"{"detail":"will be monitored when b speaks"}"#.to_owned()),
    ];
    let controller = Controller::new(answers);
    let output = run(&controller.url, &["monitor", "web", "b/new"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "b/new: will be monitored when b speaks\n");
    assert!(text(&output.stderr).ends_with("name one of them:\n  a/web\n  b/web\n"), "{output:?}");
    assert_eq!(controller.asked(), "GET /api/v1/containers?stale=true");
    assert_eq!(controller.asked(), "POST /api/v1/containers/b/new");
}

#[test]
fn each_command_asks_for_what_it_says() {
    let cases: [(&[&str], &str); 13] = [
        (&["unmonitor", "a/web"], "DELETE /api/v1/containers/a/web"),
        (&["restart", "a/web"], "POST /api/v1/containers/a/web/restart"),
        (&["release", "a/web"], "POST /api/v1/containers/a/web/release"),
        (&["threshold", "12.5"], "PUT /api/v1/threshold | 12.5"),
        (&["threshold", "20", "--container", "a/web"], "PUT /api/v1/containers/a/web/threshold | 20.0"),
        (&["threshold", "--clear", "--container", "a/web"], "DELETE /api/v1/containers/a/web/threshold"),
        (&["freeze", "--host", "a", "--for", "90m"], "POST /api/v1/freeze?host=a&for=90m"),
        (&["freeze"], "POST /api/v1/freeze"),
        (&["freeze", "--lift"], "DELETE /api/v1/freeze"),
        (
            &["maintenance", "a/web", "--for", "1h"],
            "PUT /api/v1/containers/a/web/maintenance | {\"for\":\"1h\"}",
        ),
        (&["maintenance", "a/web", "--end"], "DELETE /api/v1/containers/a/web/maintenance"),
        (&["hosts", "--forget", "a"], "DELETE /api/v1/hosts/a"),
        (&["token", "revoke", "7"], "DELETE /api/v1/tokens/7"),
    ];
    for (args, expected) in cases {
        let controller = Controller::new(vec![("204 No Content", "", String::new())]);
        let output = run(&controller.url, args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        assert!(!output.stdout.is_empty(), "{args:?} says nothing");
        assert_eq!(controller.asked(), expected, "{args:?}");
    }
}

#[test]
fn monitored_is_said_with_and_without_an_equals_sign() {
    for (args, query) in [
        (&["ps", "--monitored", "false"][..], "?monitored=false"),
        (&["ps", "--monitored=false"], "?monitored=false"),
        (&["ps", "--monitored", "--json"], "?monitored=true"),
        (&["ps"], ""),
    ] {
        let controller = Controller::saying(CONTAINERS);
        let output = run(&controller.url, args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        assert_eq!(controller.asked(), format!("GET /api/v1/containers{query}"), "{args:?}");
    }
}

#[test]
fn a_freeze_that_is_lifted_under_another_says_what_still_holds() {
    let freezes = r#"[{"hostname":null,"by":"x"},{"hostname":"a","by":"x"},{"hostname":"b","by":"x"}]"#;
    let all = "every host: still frozen until `dockhealth freeze --lift`\n";
    let of = |host| format!("host {host}: still frozen until `dockhealth freeze --lift --host {host}`\n");
    for (args, left, expected) in [
        (&["freeze", "--lift"][..], "[]", "every host: healing goes on\n".to_owned()),
        (&["freeze", "--lift", "--host", "b"], "[]", "host b: healing goes on\n".to_owned()),
        (&["freeze", "--lift", "--host", "c"], freezes, format!("host c: that freeze is lifted\n{all}")),
        (
            &["freeze", "--lift"],
            r#"[{"hostname":"a"},{"hostname":"b"}]"#,
            format!("every host: that freeze is lifted\n{}{}", of("a"), of("b")),
        ),
    ] {
        let answers = [("204 No Content", "", String::new()), ("200 OK", "", left.to_owned())];
        let controller = Controller::new(answers.into());
        let output = run(&controller.url, args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        assert_eq!(text(&output.stdout), expected, "{args:?}");
    }
}

#[test]
fn a_host_is_shown_with_what_its_machine_is_and_nothing_is_made_up() {
    let host = r#"{"hostname":"a","presence":"live","first_seen":"2026-11-22T08:00:00.000Z",
        "last_seen":"2026-11-22T08:30:00.000Z","conflict":null,"agent":{"version":"0.1.0",
        "engine":{"status":"reachable","version":"20.10.24"},"containers":3,"monitored":2,"failing":1,"freeze":null,
        "capabilities":[{"name":"cgroup","works":false,"detail":"not \u001b[2Jseen"}],
        "identity":{"system_uuid":null,"system_uuid_missing":"only root may read it","cores":2,"memory_bytes":1073741824,
        "interfaces":[{"name":"eth0","mac":"02:00:5e:10:00:01","addresses":["192.0.2.1"]}],"os":"Debian"}}}"#;
    let controller = Controller::saying(host);
    let output = run(&controller.url, &["hosts", "2001:db8::10"]);
    assert_eq!(controller.asked(), "GET /api/v1/hosts/2001:db8::10");
    let shown = text(&output.stdout);
    for line in [
        "engine        20.10.24 (reachable)\n",
        "containers    3, 2 monitored, 1 not well\n",
        "system UUID   - (only root may read it)\n",
        "CPU cores     2\n",
        "memory        1024 MiB\n",
        "kernel        -\n",
        "system        Debian\n",
        "interface     eth0 02:00:5e:10:00:01 192.0.2.1\n",
        "cgroup        does not work: not",
    ] {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let output = run(&controller.url, &["hosts", "a", "--forget", "a"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn events_are_followed_over_the_loss_of_the_stream() {
    let event = |seq: u32| {
        format!(
            r#"{{"id":"01890a5d-ac96-774b-bcce-b302099a8057","seq":{seq},"time":"2026-11-22T08:30:00.000Z","host":"a","container":"web","kind":"container_started","by":"agent","reason":"number {seq}"}}"#
        )
    };
    let stream = |seqs: &[u32]| {
        seqs.iter().map(|s| format!("id: {s}\ndata: {}\n\n", event(*s))).collect::<Vec<_>>().concat()
    };
    let controller = Controller::new(vec![
        ("200 OK", "", format!("[{}]", event(1))),
        ("200 OK", "Content-Type: text/event-stream\r\n", stream(&[1, 2])),
        ("200 OK", "Content-Type: text/event-stream\r\n", stream(&[3])),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let mut command = dockhealth(dir.path(), &["events", "--follow", "--server", &controller.url]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let lines: Vec<String> = lines.take(3).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    for (line, seq) in lines.iter().zip(1..) {
        let expected =
            format!("     {seq}  a/web  2026-11-22 08:30:00.000+00:00  container started: number {seq}");
        assert_eq!(*line, expected);
    }
    assert_eq!(controller.asked(), "GET /api/v1/events?limit=100");
    assert_eq!(controller.asked(), "GET /api/v1/stream?topics=events");
}
