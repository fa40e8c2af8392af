//! `kill -9` of the agent in the middle of "destroy and restart".

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use dockhealth::model::Timestamp;
use serde_json::Value;

use super::rig::{DEADLINE, Fleet, HOST};
use super::rounds;
use crate::support::wait_for;

/// What the engine tells of one recreate, in order: create, kill, die, stop, rename, rename, start, destroy; the agent is
/// killed after each of them in turn, and once before all.
const MOMENTS: usize = 9;

#[test]
fn a_recreate_cut_in_two_by_kill_9_is_finished_or_undone() {
    let fleet = Fleet::start(&["--restart-mode", "recreate"]);
    fleet.engine.run("web", &["--env", "KEEP=me", "--label", "keep=too"]);
    fleet.monitor("web");
    fleet.wait_listed(&["web"]);
    let mut events =
        fleet.engine.command(&["events", "--filter", "type=container", "--format", "{{.Action}}"]);
    let mut events = events.stdout(Stdio::piped()).spawn().expect("docker events");
    let mut lines = BufReader::new(events.stdout.take().expect("piped")).lines();
    // `docker events` says nothing when it has begun: make it speak until it does.
    let marker = std::thread::scope(|scope| {
        let first = scope.spawn(|| lines.next());
        while !first.is_finished() {
            fleet.engine.docker(&["exec", "web", "true"]);
        }
        first.join().expect("it was read")
    });
    assert!(marker.is_some(), "docker events ended");

    let mut news = 0;
    for round in 0..rounds().max(MOMENTS) {
        let before = fleet.engine.inspect("web", "{{.Id}}").expect("it exists");
        let killed = Timestamp::now();
        fleet.change("POST", &format!("/api/v1/containers/{HOST}/web/restart"), "");
        let mut seen = Vec::new();
        while seen.len() < round % MOMENTS {
            let line = lines.next().expect("docker events goes on").expect("text");
            if !line.starts_with("exec_") {
                seen.push(line);
            }
        }
        fleet.agent.kill();
        fleet.agent.start();
        wait_for(&format!("one container, killed after {seen:?}"), DEADLINE, || {
            let all = fleet.engine.docker(&["ps", "--all", "--format", "{{.Names}} {{.State}}"]);
            (all == "web running").then_some(())
        });
        fleet.wait_ready(killed);
        fleet.wait_listed(&["web"]);
        // What the killed agent or its successor still did to the engine.
        let all = fleet.engine.docker(&["ps", "--all", "--format", "{{.Names}} {{.State}}"]);
        assert_eq!(all, "web running", "killed after {seen:?}");
        let kept = fleet.engine.inspect("web", "{{.Config.Env}} {{.Config.Labels.keep}}").expect("it exists");
        assert!(kept.contains("KEEP=me") && kept.ends_with(" too"), "{kept}");
        let id = fleet.engine.inspect("web", "{{.Id}}").expect("it exists");
        eprintln!("killed after {seen:?}: {}", if id == before { "undone" } else { "finished" });
        news += usize::from(id != before);
        let listed = fleet.get(&format!("/api/v1/containers?host={HOST}"));
        assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
        assert_eq!(listed[0]["id"], Value::String(id), "{listed}");
        // The rest of this round's events, up to a mark.
        fleet.engine.docker(&["exec", "web", "echo", &format!("round{round}")]);
        let mark = format!("exec_start: echo round{round}");
        assert!(lines.by_ref().map_while(Result::ok).any(|line| line.starts_with(&mark)));
    }
    events.kill().expect("our own child");
    events.wait().expect("and waited for");
    assert!(news >= 1, "no recreate was finished");
    assert!(news < rounds().max(MOMENTS), "no recreate was undone");
    fleet.wait_delivered();
    assert_eq!(fleet.count("action_failed", "web"), 0);
}
