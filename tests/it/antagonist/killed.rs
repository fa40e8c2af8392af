//! `kill -9` of the antagonist, of the holder of a fault, and of both, at every step of doing and undoing it.
//!
//! The points are those of `chaos::kill_point`, which debug builds have.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Victim, antagonist, ledger, scenario};
use crate::support::{Lab, wait_for};

/// One of each kind: the engine takes it down, the engine freezes it, rules, a process, a file.
const FAULTS: [&str; 5] = ["stop", "pause", "loss=100%", "cpu", "disk=16MiB"];
const ANTAGONIST: [&str; 3] = ["antagonist:started", "antagonist:begun", "antagonist:undone"];
const HOLDER: [&str; 10] = [
    "holder:started",
    "holder:ready",
    "holder:acting",
    "holder:done",
    "holder:held",
    "holder:told",
    "holder:undoing",
    "holder:released",
    "holder:undone",
    "holder:erased",
];
/// A fault's time, and what may be beyond it.
const LEASE: Duration = Duration::from_millis(300);
const MARGIN: Duration = Duration::from_secs(1);
/// Undoing is done, and written down as done, after this on a busy machine.
const SETTLED: Duration = Duration::from_secs(15);

/// Who is killed, and so who undoes the fault.
#[derive(Clone, Copy, PartialEq)]
enum Left {
    /// The antagonist is killed: the holder.
    Holder,
    /// The holder is killed: the antagonist.
    Antagonist,
    /// Both are killed: the next start.
    Nobody,
}

/// What of a fault is to be seen.
fn traces(lab: &Lab, victim: &str) -> Vec<String> {
    let status = lab.inspect(victim, "{{.State.Status}}");
    if status != "running" {
        return vec![status];
    }
    let victim = Victim::find(lab, victim.to_owned());
    let mut traces = Vec::new();
    let Some(rules) = victim.rules() else { return vec!["down".to_owned()] };
    if rules.contains("table inet dockhealth_") && rules.contains("expires") {
        traces.push(rules);
    }
    if victim.charged() > 1 {
        traces.push(format!("{} processes", victim.charged()));
    }
    traces
}

fn holders(dir: &Path) -> usize {
    let dir = dir.to_str().expect("a plain path");
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
    let lines = pids.map(|pid| std::fs::read(pid.path().join("cmdline")).unwrap_or_default());
    lines.filter(|line| String::from_utf8_lossy(line).contains(&format!("hold\0{dir}/"))).count()
}

/// One attack, in which somebody is killed at `point`.
fn attack(lab: &Lab, (victim, start): (&str, Duration), fault: &str, point: &str, left: Left) {
    let what = format!("{fault}, killed at {point}");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let lease = LEASE.as_millis();
    let phase = format!("faults = [{fault:?}]\nlease = \"{lease}ms\"\nfor = \"1m\"");
    let file = scenario(dir.path(), victim, &phase);
    let args = ["--scenario", &file, "--seed", "1"];
    let mut child =
        antagonist(dir.path(), &args).env("DHTEST_KILL_AT", point).spawn().expect("our own binary");
    let mut errors = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    errors.read_line(&mut line).expect("a pipe");
    let killed = Instant::now();
    assert!(line.starts_with("killed at "), "{what}: it never came to that: {line:?}");
    if left == Left::Antagonist {
        // It hears of the next attack's end too, if it makes one; its holder is killed as well.
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    }
    if left != Left::Nobody {
        while !traces(lab, victim).is_empty() {
            let late = killed.elapsed();
            assert!(late < LEASE + MARGIN + start, "{what}: after {late:?}: {:?}", traces(lab, victim));
        }
    }
    let status = child.wait().expect("our own child");
    let mut said = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut said).expect("a pipe");
    if left == Left::Antagonist {
        assert!(status.success(), "{what}: {status} {said}");
    } else {
        assert_eq!(status.signal(), Some(9), "{what}: {status} {said}");
    }
    if left == Left::Nobody {
        // A process that was killed holds its locks a moment longer.
        wait_for(&format!("{what}: nothing to sweep"), SETTLED, || {
            let swept = antagonist(dir.path(), &["--sweep"]).output().expect("our own binary");
            assert!(swept.status.success(), "{what}: {swept:?}");
            ledger(dir.path()).is_empty().then_some(())
        });
        assert_eq!(traces(lab, victim), Vec::<String>::new(), "{what}: swept");
    }
    wait_for(&format!("{what}: an empty ledger"), SETTLED, || ledger(dir.path()).is_empty().then_some(()));
    wait_for(&format!("{what}: the holder's end"), SETTLED, || (holders(dir.path()) == 0).then_some(()));
    assert_eq!(traces(lab, victim), Vec::<String>::new(), "{what}: later");
    let rules = Victim::find(lab, victim.to_owned()).rules();
    assert!(rules.is_some_and(|rules| !rules.contains("dockhealth_")), "{what}");
}

/// How long the engine itself takes to start the container on this machine, as busy as it is.
fn start_of(lab: &Lab, victim: &str) -> Duration {
    lab.docker(&["kill", victim]);
    wait_for("its end", SETTLED, || (!lab.is_running(victim)).then_some(()));
    let began = Instant::now();
    lab.docker(&["start", victim]);
    began.elapsed()
}

/// Every fault, each on a container of its own, at every point.
fn attack_all(test: &str, points: &[String], left: Left) {
    std::thread::scope(|scope| {
        for fault in FAULTS {
            scope.spawn(move || {
                let lab = Lab::new(test);
                let victim = Victim::run(&lab, "victim", &[], &["sleep", "600"]).name;
                let start = start_of(&lab, &victim);
                for point in points {
                    attack(&lab, (&victim, start), fault, point, left);
                }
            });
        }
    });
}

fn texts(points: &[&str], prefix: &str) -> Vec<String> {
    points.iter().map(|point| format!("{prefix}{point}")).collect()
}

#[test]
fn nothing_outlives_an_antagonist_killed_at_any_step() {
    attack_all("killa", &texts(&ANTAGONIST, ""), Left::Holder);
}

#[test]
fn nothing_outlives_a_holder_killed_at_any_step() {
    attack_all("killh", &texts(&HOLDER, ""), Left::Antagonist);
}

#[test]
fn what_outlives_both_is_undone_at_the_next_start() {
    let mut points = texts(&HOLDER, "both:");
    // The antagonist is killed while it stands in for a holder that was.
    points.extend(["holder:held,antagonist:undoing", "holder:acting,antagonist:undoing"].map(str::to_owned));
    // There is no holder yet.
    points.push("antagonist:recorded".to_owned());
    attack_all("killb", &points, Left::Nobody);
}
