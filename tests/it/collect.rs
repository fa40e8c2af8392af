//! `cpu-collect` with real containers: spans, recordings, comparisons, over HTTP, and the processes in them.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::daemon::{Daemon, clean_command};
use crate::support::{Lab, docker, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// One that spins, as much as it may, and one that sleeps; both of one compose project.
struct Pair {
    lab: Lab,
    busy: String,
    idle: String,
    dir: tempfile::TempDir,
}

impl Pair {
    fn new(test: &str) -> Self {
        let lab = Lab::new(test);
        let project = format!("com.docker.compose.project={}", lab.prefix());
        let work = "sh -c 'while :; do :; done' & touch /ready; wait";
        let busy = lab.run("busy", &["--label", &project], &["sh", "-c", work]);
        let idle = lab.run("idle", &["--label", &project, "--label", "tier=quiet,slow"], &["sleep", "600"]);
        wait_for("the busy container to be busy", SOON, || {
            docker(&["exec", &busy, "test", "-e", "/ready"]).status.success().then_some(())
        });
        Self { lab, busy, idle, dir: tempfile::tempdir().expect("a temporary folder") }
    }

    fn run(&self, args: &[&str]) -> Output {
        clean_command(self.dir.path()).arg("cpu-collect").args(args).output().expect("our own binary runs")
    }

    /// What it prints when it must succeed.
    fn say(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, args: &[&str]) -> Value {
        let said = self.say(&[args, &["--format", "json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{args:?}: {error}: {said}"))
    }

    fn project(&self) -> &str {
        self.lab.prefix()
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

fn promtool(text: &str) -> Output {
    let mut child = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed, by scripts/setup test");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("promtool reads");
    child.wait_with_output().expect("promtool ends")
}

/// How much of a core a loop gets here now: other tests run as well.
fn assert_busy(percent: &Value) {
    let percent = percent.as_f64().unwrap_or_else(|| panic!("{percent} is no number"));
    assert!((15.0..115.0).contains(&percent), "a loop uses about a core, not {percent} %");
}

#[test]
fn a_span_is_summed_up_and_chosen_by_name_label_and_project() {
    let pair = Pair::new("collect-span");
    let begun = Instant::now();
    let rows =
        pair.json(&["--for", "2s", "--project", pair.project(), "--sort", "cpu", "--columns", "cpu,pids"]);
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(
        (&rows[0]["name"], &rows[1]["name"], &rows[2]),
        (&pair.busy.as_str().into(), &pair.idle.as_str().into(), &Value::Null)
    );
    let cpu = &rows[0]["cpu_percent"];
    assert_eq!(cpu["samples"], 2, "{rows}");
    assert_busy(&cpu["mean"]);
    for larger in ["max", "p50", "p95", "p99"] {
        assert!(cpu[larger].as_f64() <= cpu["max"].as_f64(), "{rows}");
    }
    assert!(rows[1]["cpu_percent"]["max"].as_f64().expect("known") < 5.0, "{rows}");
    assert_eq!((rows[0]["pids"]["max"].as_f64(), rows[1]["pids"]["max"].as_f64()), (Some(2.0), Some(1.0)));

    let once = |args: &[&str]| {
        let rows = pair.json(&[&["--once", "--interval", "100ms"], args].concat());
        let names =
            rows.as_array().expect("rows").iter().map(|row| row["name"].as_str().expect("a name").to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(once(&[&format!("{}-b?sy", pair.project())]), [pair.busy.as_str()]);
    assert_eq!(once(&["--label", "tier=quiet,slow", "--project", pair.project()]), [pair.idle.as_str()]);
    let nobody = pair.run(&["--once", "--project", "no-such-project"]);
    assert_eq!(nobody.status.code(), Some(4), "{nobody:?}");

    let prom = pair.say(&["--for", "200ms", "--format", "prom", "--project", pair.project()]);
    let output = promtool(&prom);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}\n{prom}");
    let line = format!("container=\"{}\",project=\"{}\"}} ", pair.busy, pair.project());
    let cpu =
        prom.lines().find(|text| text.starts_with("dockhealth_container_cpu_ratio{") && text.contains(&line));
    assert!(cpu.is_some() && prom.contains("dockhealth_container_uptime_seconds{"), "{prom}");
}

#[test]
fn two_recordings_are_compared_and_none_is_overwritten() {
    let pair = Pair::new("collect-record");
    let [a, b] = ["a.jsonl", "b.jsonl"].map(|name| pair.path(name));
    let args = ["--for", "1s", "--interval", "200ms", "--project", pair.project(), "--output"];
    pair.say(&[&args[..], &[&a]].concat());
    let again = pair.run(&[&args[..], &[&a]].concat());
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.code() == Some(2) && said.contains("is there already"), "{again:?}");
    pair.lab.docker(&["rm", "--force", &pair.idle]);
    pair.say(&[&args[..], &[&b]].concat());

    let compared = pair.json(&["--compare", &a, &b]);
    assert_eq!((&compared["a"]["samples"], &compared["a"]["whole"]), (&5.into(), &true.into()), "{compared}");
    let busy = &compared["containers"][0];
    assert_eq!(busy["name"], pair.busy.as_str());
    assert_busy(&busy["cpu_percent"]["a"]["mean"]);
    assert!(
        busy["cpu_percent"]["ratio"].as_f64().is_some_and(|ratio| (0.1..10.0).contains(&ratio)),
        "{busy}"
    );
    assert_eq!(compared["only_in_a"], serde_json::json!([pair.idle]));
    assert!(pair.say(&["--compare", &a, &b]).contains(&format!("only in A: {}\n", pair.idle)));

    // Cut in the middle of a line, as by a full disk or kill -9.
    let whole = std::fs::read(&b).expect("a recording");
    std::fs::write(&b, &whole[..whole.len() / 2]).expect("half of it");
    let compared = pair.json(&["--compare", &a, &b]);
    assert_eq!(compared["b"]["whole"], false, "{compared}");
    let samples = compared["b"]["samples"].as_u64().expect("a number");
    assert!((1..5).contains(&samples), "{compared}");
    std::fs::write(&b, "something else\n").expect("another file");
    let broken = pair.run(&["--compare", &a, &b]);
    let said = String::from_utf8_lossy(&broken.stderr);
    assert!(broken.status.code() == Some(1) && said.contains("b.jsonl: it is no recording"), "{broken:?}");
}

/// A `cpu-collect` that goes on until it is told to stop.
struct Running {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Running {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let mut command = clean_command(dir);
        command.arg("cpu-collect").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("our own binary runs");
        let said = BufReader::new(child.stderr.take().expect("a pipe"));
        Self { child, said }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("text");
        line
    }

    fn interrupt(mut self) -> Output {
        let pid = self.child.id().to_string();
        let kill = std::process::Command::new("kill").args(["-INT", &pid]).status().expect("kill");
        assert!(kill.success());
        let child =
            std::mem::replace(&mut self.child, std::process::Command::new("true").spawn().expect("true"));
        child.wait_with_output().expect("it ends")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_interrupted_span_is_summed_up_so_far() {
    let pair = Pair::new("collect-interrupt");
    let path = pair.path("cut.jsonl");
    let args = ["--for", "1h", "--interval", "100ms", "--format", "json", "--output", &path, &pair.busy];
    let running = Running::start(pair.dir.path(), &args);
    wait_for("a few samples", SOON, || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        (text.matches("\"type\":\"sample\"").count() >= 3).then_some(())
    });
    let output = running.interrupt();
    assert!(output.status.success(), "{output:?}");
    let rows: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(rows[0]["cpu_percent"]["samples"].as_u64().expect("a number") >= 3, "{rows}");
    assert!(std::fs::read_to_string(&path).expect("text").contains("\"type\":\"end\""), "ended in order");
}

/// GET by hand: status and body.
fn get(address: &str, path: &str, host: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

#[test]
fn pollers_get_what_was_measured_since_they_polled_last() {
    let pair = Pair::new("collect-listen");
    let args = ["--listen", "127.0.0.1:0", "--interval", "200ms", "--project", pair.project()];
    let mut running = Running::start(pair.dir.path(), &args);
    let said = running.line();
    let address =
        said.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("where it listens");
    let poll = |poller: &str| -> Value {
        let (status, body) = get(address, &format!("/?poller={poller}"), "localhost");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    };
    let samples = |answer: &Value| answer["samples"].as_u64().expect("a number");
    wait_for("a sample", SOON, || (samples(&poll("first")) > 0).then_some(()));
    poll("a");
    let mut of_a = 0;
    let mut answers = Vec::new();
    // One that polls often takes nothing away from one that polls seldom.
    wait_for("five samples", SOON, || {
        let answer = poll("often");
        of_a += samples(&answer);
        answers.push(answer);
        (of_a >= 6).then_some(())
    });
    let seldom = poll("a");
    assert!(samples(&seldom) >= 5, "{seldom}");
    assert_busy(&seldom["containers"][&pair.busy]["cpu_percent"]["mean"]);
    let cpu = &seldom["containers"][&pair.busy]["cpu_percent"];
    assert!(cpu["max"].as_f64() >= cpu["mean"].as_f64(), "{cpu}");
    for both in answers.windows(2) {
        assert_eq!(both[0]["until"], both[1]["since"], "no gap, and nothing twice");
    }
    let (status, prom) = get(address, "/metrics", "127.0.0.1");
    let output = promtool(&prom);
    assert!(status == 200 && output.status.success() && output.stdout.is_empty(), "{output:?}\n{prom}");
    assert!(prom.contains(&format!("container=\"{}\"", pair.idle)), "{prom}");
    for (path, host, expected) in [
        ("/", "evil.example", 421),
        ("/x", "localhost", 404),
        ("/?poller=a%20b", "localhost", 400),
        ("/?p=a", "localhost", 400),
    ] {
        assert_eq!(get(address, path, host).0, expected, "{path} {host}");
    }
    assert!(running.interrupt().status.success());
}

#[test]
fn processes_are_listed_by_hand_and_by_the_agent() {
    let pair = Pair::new("collect-ps");
    let rows =
        pair.json(&["--processes", "--once", "--limit", "1", "--project", pair.project(), "--sort", "cpu"]);
    let busy = &rows[0];
    assert_eq!((&busy["name"], &busy["left_out"]), (&pair.busy.as_str().into(), &1.into()), "{rows}");
    let process = &busy["processes"][0];
    assert_busy(&process["cpu_percent"]);
    assert_eq!((&process["command"], &process["threads"]), (&"sh".into(), &1.into()), "{rows}");
    assert!(process["memory_bytes"].as_u64().expect("a number") > 4096);
    let table = pair.say(&["--processes", "--once", "--interval", "100ms", &pair.idle]);
    assert!(table.contains("sleep") && !table.contains("600"), "no arguments: {table}");

    let up = Daemon::start("up", &pair.dir.path().join("up"), &["--hostname", "here", "--dry-run"]);
    let rest = up.rest();
    let path = format!("/containers/here/{}/processes", pair.busy);
    wait_for("the agent knows its containers", SOON, || {
        (rest.send("GET", &format!("/containers/here/{}", pair.busy), None).0 == 200).then_some(())
    });
    let list = rest.get(&path);
    assert_eq!((&list["processes"][0]["command"], &list["left_out"]), (&"sh".into(), &0.into()), "{list}");
    assert_busy(&list["processes"][0]["cpu_percent"]);
    assert_eq!(rest.get(&format!("{path}?limit=1"))["left_out"], 1);
    let shown = up.cli(&["top", "--processes", &pair.busy]);
    assert!(shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains("sh "), "{shown:?}");
    assert_eq!(rest.send("GET", &format!("{path}?limit=0"), None).0, 400);
    assert_eq!(rest.send("GET", "/containers/here/nobody/processes", None).0, 404);
    pair.lab.docker(&["stop", "--time", "0", &pair.idle]);
    wait_for("the agent knows that it has stopped", SOON, || {
        let (status, problem) = rest.send("GET", &format!("/containers/here/{}/processes", pair.idle), None);
        let says = problem["detail"].as_str().unwrap_or_default();
        (status == 409 && says.contains("has no processes")).then_some(())
    });
}
