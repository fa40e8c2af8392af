//! The real binary, against a scripted controller and a scripted agent.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::{DOCKHEALTH, Lab, wait_for};

const CONTAINERS: &str = r#"[
    {"hostname":"a","name":"web","status":"running","monitored":true,"health":"healthy","loss_percent":0.0,
     "rtt_ms":0.123,"restarts":0,"reason":"all 5 probes answered","extra":1},
    {"hostname":"b","name":"web","status":"exited","monitored":true,"health":"failing","loss_percent":null,
     "rtt_ms":null,"restarts":3,"reason":"exited \u001b[2Jwith 1"},
    {"hostname":"b","name":"db","status":"running","monitored":false,"health":"unmonitored","loss_percent":null,
     "rtt_ms":null,"restarts":null,"reason":""}]"#;

/// A controller that answers each request with the next answer of its script and records what was asked.
struct Controller {
    url: String,
    asked: Receiver<String>,
}

impl Controller {
    fn new(answers: Vec<(&'static str, &'static str, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            for (status, headers, body) in answers {
                let (stream, _) = listener.accept().unwrap();
                sender.send(request(&mut BufReader::new(&stream))).unwrap();
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
                );
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { url, asked }
    }

    fn saying(body: &str) -> Self {
        Self::new(vec![("200 OK", "", body.to_owned())])
    }

    /// The next request: method, path, authorization and body.
    fn asked(&self) -> String {
        self.asked.recv_timeout(Duration::from_secs(10)).expect("another request")
    }
}

fn request(stream: &mut impl BufRead) -> String {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        let line = head.iter().find(|line| line.to_ascii_lowercase().starts_with(name))?;
        Some(line.split_once(": ")?.1.to_owned())
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    let parts = [
        Some(head[0].trim_end_matches(" HTTP/1.1").to_owned()),
        header("authorization"),
        Some(String::from_utf8(body).unwrap()).filter(|body| !body.is_empty()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" | ")
}

/// The binary with nothing of this machine's settings.
fn dockhealth(data_dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(DOCKHEALTH);
    command.args(args).env_clear().env("DOCKHEALTH_DATA_DIR", data_dir).env("DOCKHEALTH_CONFIG", "/dev/null");
    command.env("TZ", "UTC");
    command
}

fn run(server: &str, args: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    dockhealth(dir.path(), args).env("DOCKHEALTH_SERVER", server).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

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
fn a_server_without_tls_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // As much of the greeting as has come; what follows is no answer to it.
        let _ = stream.read(&mut [0; 512]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let output = run(&server, &["hosts"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("it does not speak TLS there"), "{output:?}");
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
fn the_token_is_found_and_stays_on_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "dh_found\n").unwrap();
    let named = dir.path().join("other");
    std::fs::write(&named, "dh_named\n").unwrap();
    let named = named.to_str().unwrap();
    for (args, token) in [(&["hosts"][..], "dh_found"), (&["hosts", "--token-file", named], "dh_named")] {
        let controller = Controller::saying("[]");
        let mut command = dockhealth(dir.path(), args);
        let output = command.env("DOCKHEALTH_SERVER", &controller.url).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(controller.asked(), format!("GET /api/v1/hosts | Bearer {token}"));
    }
    let args = ["hosts", "--token-file", named, "--server", "http://192.0.2.1:8930"];
    let output = dockhealth(dir.path(), &args).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("--server: the token would go over the network in the clear"),
        "{output:?}"
    );
}

#[test]
fn failures_say_what_to_do_and_have_their_exit_codes() {
    let problem =
        |detail: &str| format!(r#"{{"type":"about:blank","title":"T","status":1,"detail":"{detail}"}}"#);
    for (status, code) in
        [("404 Not Found", 4), ("401 Unauthorized", 5), ("503 Service Unavailable", 3), ("409 Conflict", 1)]
    {
        let controller = Controller::new(vec![(status, "", problem("it is \\u001b[2Jso"))]);
        let output = run(&controller.url, &["release", "a/web"]);
        assert_eq!(output.status.code(), Some(code), "{status}: {output:?}");
        assert!(text(&output.stderr).starts_with("error: it is ?[2Jso"), "{status}: {output:?}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = run(&format!("http://{nobody}"), &["hosts"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("start one here with `dockhealth up`"), "{output:?}");
    let controller = Controller::saying("<html>");
    let output = run(&controller.url, &["hosts"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not as a dockhealth controller does"), "{output:?}");
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

const REPORT: &str = r#"{"reply":"report","v":1,"host":"a","instance":"i","nonce":"00000000-0000-0000-0000-000000000000",
    "seq":1,"time":"2026-11-22T08:30:00.000Z","agent_version":"0","engine":{"status":"reachable","id":null,"version":null,
    "error":null},"freeze":null,"threshold":50.0,"containers":[{"name":"web","id":"0123456789ab","image":"i",
    "status":"running","monitored":true,"health":"healthy","loss_percent":0.0,"rtt_ms":0.1,"restarts":0,"networks":[],
    "project":null,"service":null,"reason":"fine"}]}"#;

/// An agent that answers with `replies`, one a connection; gives back the commands.
fn agent(data_dir: &Path, replies: Vec<String>) -> std::thread::JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(data_dir.join("agent.sock")).unwrap();
    std::thread::spawn(move || {
        let answer = |reply: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all((reply.replace('\n', " ") + "\n").as_bytes()).unwrap();
            line.trim().to_owned()
        };
        replies.into_iter().map(answer).collect()
    })
}

#[test]
fn ps_local_asks_the_agent_alone() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(dir.path(), vec![REPORT.to_owned()]);
    let output = dockhealth(dir.path(), &["ps", "--local", "--json"]).output().unwrap();
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed[0]["hostname"], "a");
    assert_eq!(printed[0]["health"], "healthy");
    assert_eq!(agent.join().unwrap(), [r#"{"command":"report"}"#]);
}

#[test]
fn freeze_reaches_the_agent_when_the_controller_is_gone() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{nobody}");
    for (args, code) in [(&["freeze", "--host", "a", "--for", "1h"][..], 0), (&["freeze", "--for", "1h"], 3)]
    {
        let dir = tempfile::tempdir().unwrap();
        let agent = agent(dir.path(), vec![REPORT.to_owned(), r#"{"reply":"done"}"#.to_owned()]);
        let output = dockhealth(dir.path(), args).env("DOCKHEALTH_SERVER", &nobody).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(text(&output.stdout), "host a: no healing for 1h\n");
        assert_eq!(agent.join().unwrap()[1], r#"{"command":"freeze","for_ms":3600000}"#);
    }
}

#[test]
fn why_explains_from_the_agent_when_the_controller_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let report: serde_json::Value = serde_json::from_str(REPORT).unwrap();
    let why = serde_json::json!({"reply": "why", "container": report["containers"][0], "threshold": 50.0,
        "monitored_by": "an administrator named it", "checks": [], "events": [], "brakes": []});
    let agent = agent(dir.path(), vec![REPORT.to_owned(), why.to_string()]);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = dockhealth(dir.path(), &["why", "web"]);
    let output = command.env("DOCKHEALTH_SERVER", format!("http://{nobody}")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stdout);
    assert!(said.starts_with("a/web is healthy, its status running.\n  Because: fine\n"), "{said}");
    assert!(text(&output.stderr).contains("the agent of this machine says"), "{output:?}");
    assert_eq!(agent.join().unwrap()[1], r#"{"command":"why","container":"web"}"#);
}

const TOP: &str = r#"{"by":"net","window_seconds":600,"left_out":3,"containers":[
    {"hostname":"a","name":"web","project":null,"service":null,"mean":3000.0,"series":{},
     "latest":{"cpu_percent":150.25,"memory_bytes":1610612736.0,"memory_percent":75.0,"loss_percent":0.0,"pids":7.0}},
    {"hostname":"b","name":"db","project":null,"service":null,"mean":512.0,"series":{},"latest":null}]}"#;

#[test]
fn top_shows_the_ranking_and_the_newest_sample() {
    let controller = Controller::saying(TOP);
    let output =
        run(&controller.url, &["top", "--by", "net", "--window", "1h", "--host", "a", "--limit", "2"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(controller.asked(), "GET /api/v1/top?by=net&window=1h&limit=2&host=a");
    assert_eq!(
        squeezed(&output.stdout),
        [
            "HOST NAME MEAN NET CPU MEMORY OF LIMIT NET IN NET OUT LOSS RTT PIDS",
            "a web 2.9 KiB/s 150 % 1.5 GiB 75 % - - 0 % - 7",
            "b db 512 B/s - - - - - - - -",
        ]
    );
    assert_eq!(text(&output.stderr), "3 more; --limit shows more of them\n");
    let wrong = run("http://127.0.0.1:1", &["top", "--by", "luck", "--window", "1s"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = text(&wrong.stderr);
    assert!(said.contains("--by: \"luck\" is not one of cpu, memory") && said.contains("--window"), "{said}");
}

const SERIES: &str = r#"{"step":20,"t":[1790000000,1790000020,1790000040],"series":{
    "cpu_percent":[0.0,null,50.0],"memory_bytes":[1048576.0,1048576.0,1048576.0],"rtt_ms":[null,null,null]}}"#;

#[test]
fn metrics_shows_the_course_of_each() {
    let answers = |last: &str| {
        let hosts = r#"[{"hostname":"a","presence":"live","last_seen":"2026-11-22T08:30:00.000Z","conflict":null,"agent":null}]"#;
        Controller::new(vec![("200 OK", "", hosts.to_owned()), ("200 OK", "", last.to_owned())])
    };
    let controller = answers(SERIES);
    let names = "cpu_percent,memory_bytes, rtt_ms";
    let output = run(&controller.url, &["metrics", "a", "--names", names, "--step", "20s", "--stat", "max"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(controller.asked(), "GET /api/v1/hosts");
    let asked = controller.asked();
    assert_eq!(
        asked,
        "GET /api/v1/hosts/a/metrics?names=cpu_percent,memory_bytes,rtt_ms&from=-1h&step=20s&stat=max"
    );
    assert_eq!(
        squeezed(&output.stdout),
        [
            "METRIC LAST MEAN MAX COURSE",
            "cpu_percent 50 % 25 % 50 % ▁ █",
            "memory_bytes 1.0 MiB 1.0 MiB 1.0 MiB ███",
            "rtt_ms - - -",
        ]
    );
    assert!(text(&output.stderr).starts_with("a from 2026-09-21 "), "{output:?}");

    let controller = Controller::saying("t,cpu_percent\r\n1,2\r\n");
    let times = ["--from", "2026-11-22T08:30:00Z", "--span", "10m", "--csv"];
    let output = run(&controller.url, &[&["metrics", "a/web"][..], &times].concat());
    assert_eq!(text(&output.stdout), "t,cpu_percent\r\n1,2\r\n");
    let asked = controller.asked();
    let expected = "metrics?from=1795336200&to=1795336800&stat=mean&format=csv";
    assert!(asked.ends_with(expected) && asked.starts_with("GET /api/v1/containers/a/web/"), "{asked}");
    let both = run("http://127.0.0.1:1", &["metrics", "a/web", "--csv", "--json", "--to", "soon"]);
    let said = text(&both.stderr);
    assert!(both.status.code() == Some(2) && said.contains("not both") && said.contains("--to"), "{said}");
}

#[test]
fn placement_says_where_there_is_room_or_that_there_is_none() {
    let place = r#"{"hostname":"a","cores":4.0,"cores_free":2.5,"memory_bytes":8589934592.0,"memory_free_bytes":4294967296.0,
        "headroom_percent":37.4,"reason":"roomy"}"#;
    let answer = |hosts: &str, full: &str| {
        format!(
            r#"{{"hosts":[{hosts}],"full":[{full}],"left_out":[{{"hostname":"c","reason":"it is frozen"}}]}}"#
        )
    };
    let controller = Controller::saying(&answer(place, ""));
    let output = run(&controller.url, &["placement", "--cpu", "0.5", "--memory", "1.5GiB"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(controller.asked(), "GET /api/v1/placement?cpu=0.5&memory=1610612736");
    let room = "a 2.5 of 4 4.0 GiB of 8.0 GiB 37 % roomy";
    let heading = "RANK HOST FREE CPU FREE MEMORY HEADROOM REASON".to_owned();
    let left_out = "left out c - - - it is frozen".to_owned();
    assert_eq!(squeezed(&output.stdout), [heading.clone(), format!("1 {room}"), left_out.clone()]);
    let controller = Controller::saying(&answer("", place));
    let output = run(&controller.url, &["placement", "--cpu", "64"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(squeezed(&output.stdout), [heading, format!("full {room}"), left_out]);
    assert_eq!(text(&output.stderr), "error: no host has room for it\n");
}

/// Lines with each run of spaces as one.
fn squeezed(output: &[u8]) -> Vec<String> {
    text(output).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The commands about metrics, on what a running `up` measures.
fn measures(run: &dyn Fn(&[&str]) -> Output, say: &dyn Fn(&[&str]) -> String, web: &str) {
    wait_for("samples", Duration::from_secs(30), || {
        let top: serde_json::Value =
            serde_json::from_str(&say(&["top", "--by", "memory", "--json"])).unwrap();
        let rows = top["containers"].as_array().unwrap();
        rows.iter().any(|row| row["name"] == web && row["latest"]["pids"].is_number()).then_some(())
    });
    let table = wait_for("whole points", Duration::from_secs(30), || {
        let table = say(&["metrics", web, "--span", "1m", "--step", "1s"]);
        table.contains("cpu_percent").then_some(table)
    });
    assert!(table.contains("memory_bytes") && table.contains('█'), "{table}");
    let csv = say(&["metrics", "here", "--span", "1m", "--names", "load1,memory_total_bytes", "--csv"]);
    assert!(csv.starts_with("t,load1,memory_total_bytes\r\n") && csv.lines().count() > 1, "{csv}");
    assert!(say(&["placement", "--memory", "1MiB"]).contains("would stay free"));
    assert_eq!(run(&["placement", "--cpu", "4096"]).status.code(), Some(1));
    assert_eq!(run(&["metrics", "here/nothing-of-that-name"]).status.code(), Some(4));
}

/// A real `dockhealth up` that only observes, ended when dropped.
struct Up(std::process::Child);

impl Up {
    fn new(data_dir: &Path, listen: &str) -> Self {
        let args =
            ["up", "--dry-run", "--hostname", "here", "--interval", "500ms", "--metrics-interval", "1s"];
        let args = [&args[..], &["--listen", listen]].concat();
        Self(dockhealth(data_dir, &args).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_real_controller_and_agent_understand_the_command_line() {
    let lab = Lab::new("cli");
    let web = lab.run("web", &[], &["sleep", "1000"]);
    let dir = tempfile::tempdir().unwrap();
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let _up = Up::new(dir.path(), &listen);
    let run = |args: &[&str]| {
        dockhealth(dir.path(), args).env("DOCKHEALTH_SERVER", format!("http://{listen}")).output().unwrap()
    };
    let say = |args: &[&str]| {
        let output = run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        text(&output.stdout)
    };
    // The list waits for the agent, which begins to work at the same time as the door opens.
    let first = wait_for("an answer", Duration::from_secs(30), || {
        let answer = run(&["ps"]);
        answer.status.success().then_some(answer)
    });
    assert!(text(&first.stdout).contains(&web), "{first:?}");
    assert!(say(&["monitor", &web]).starts_with(&format!("here/{web}: ")));
    wait_for("a passed check", Duration::from_secs(30), || {
        say(&["why", &web]).contains("check passed: 0 % loss").then_some(())
    });
    assert!(say(&["why", &web]).contains("\n  Monitored: an administrator named it\n"));
    assert!(say(&["why", &web, "--local"]).contains("check passed"));
    assert_eq!(say(&["threshold"]), "50 %\n");
    say(&["threshold", "20", "--container", &web]);
    wait_for("its own threshold", Duration::from_secs(10), || {
        (say(&["threshold", "--container", &web]) == "20 %\n").then_some(())
    });
    say(&["freeze", "--host", "here", "--for", "1h"]);
    wait_for("the freeze", Duration::from_secs(30), || say(&["hosts"]).contains("frozen by").then_some(()));
    say(&["freeze", "--host", "here", "--lift"]);
    measures(&run, &say, &web);
    say(&["maintenance", &web, "--for", "1h"]);
    say(&["maintenance", &web, "--end"]);
    assert!(say(&["events", "--kind", "monitored"]).contains(&web));
    say(&["incidents", "--open"]);
    assert!(say(&["token", "add", "reader"]).starts_with("dh_"));
    let tokens = say(&["token", "list"]);
    let reader = tokens.lines().find(|line| line.contains("reader")).unwrap();
    say(&["token", "revoke", reader.split_whitespace().next().unwrap()]);
    assert!(!say(&["token", "list"]).contains("reader"));
    assert_eq!(run(&["restart", "elsewhere/web"]).status.code(), Some(4));
    say(&["unmonitor", &web]);
    let findings: Vec<serde_json::Value> =
        serde_json::from_str(&say(&["doctor", "--json", "--listen", &listen])).unwrap();
    for check in ["engine", "icmp", "port", "controller", "data directory"] {
        let works = findings.iter().any(|f| f["check"] == check && f["state"] == "works");
        assert!(works, "{check} does not work: {findings:?}");
    }
}
