//! The agent of this machine, when the controller is gone or was not asked for.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::rig::{dockhealth, text};

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
