//! A real `dockhealth up`.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use super::rig::{dockhealth, text};
use crate::support::{Lab, wait_for};

/// The commands about metrics, on what a running `up` measures.
fn measures(run: &dyn Fn(&[&str]) -> Output, say: &dyn Fn(&[&str]) -> String, web: &str) {
    wait_for("samples", Duration::from_secs(30), || {
        let top: serde_json::Value =
            serde_json::from_str(&say(&["top", "--by", "memory", "--limit", "1000", "--json"])).unwrap();
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
