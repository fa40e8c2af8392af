//! Campaigns of faults over the fleet: who consents is attacked and healed, who does not is left alone, and nothing outlives
//! whoever began it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::rig::{DEADLINE, Fleet, HOST};
use crate::support::daemon::clean_command;
use crate::support::wait_for;

/// A host goes on for so long when it hears nothing; the shortest there is.
const WITHIN: Duration = Duration::from_secs(5);
/// What ending and undoing may take beyond that.
const MARGIN: Duration = Duration::from_secs(4);

/// `dockhealth antagonist` that asks the fleet's controller.
fn antagonist(fleet: &Fleet, args: &[&str]) -> Command {
    let mut command = clean_command(&fleet.data("controller"));
    command.args(["antagonist", "--server", &fleet.server(), "--renew-within", "5s"]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// Pauses the container and goes on; comes back once it is paused.
fn pause(fleet: &Fleet, name: &str) -> Child {
    let args = ["--host", HOST, "--fault", "pause", "--lease", "10m", "--every", "100ms", "--target", name];
    let mut child = antagonist(fleet, &args).spawn().expect("our own binary");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let told = lines.find(|line| line.contains(&format!("{HOST}: {name} (")));
    assert!(told.is_some_and(|line| line.contains("pause for 10m")), "it never paused {name}");
    // It ends when nobody reads what it says.
    std::thread::spawn(move || lines.for_each(drop));
    assert_eq!(status(fleet, name), "paused");
    child
}

fn status(fleet: &Fleet, name: &str) -> String {
    fleet.engine.inspect(name, "{{.State.Status}}").expect("the container exists")
}

fn ledger(fleet: &Fleet) -> usize {
    fs::read_dir(fleet.data("agent").join("chaos")).into_iter().flatten().count()
}

/// The events about faults of a container: kind and data.
fn faults(fleet: &Fleet, name: &str) -> Vec<(String, Value)> {
    let ours = |event: &Value| {
        let kind = event["kind"].as_str().expect("a kind");
        let about = kind.starts_with("fault_") && event["container"] == name && event["by"] == "antagonist";
        about.then(|| (kind.to_owned(), event["data"].clone()))
    };
    fleet.events().iter().filter_map(ours).collect()
}

#[test]
fn a_host_that_consents_is_attacked_and_healed_and_one_that_does_not_is_named() {
    let fleet = Fleet::start(&["--chaos"]);
    let other = fleet.other_host("h2");
    other.start();
    fleet.engine.run("web", &["--label", "dockhealth.chaos=true"]);
    fleet.engine.run("bystander", &[]);
    fleet.monitor("web");
    fleet.wait_listed(&["web"]);
    wait_for("the other host is live", DEADLINE, || {
        let host = fleet.ask("GET", "/api/v1/hosts/h2", "").filter(|answer| answer.status == 200)?.json;
        (host["presence"] == "live").then_some(())
    });
    let untouched = fleet.engine.inspect("bystander", "{{.State.StartedAt}}");
    for (host, works) in [(HOST, true), ("h2", false)] {
        let agent = fleet.get(&format!("/api/v1/hosts/{host}"))["agent"].clone();
        let chaos =
            agent["capabilities"].as_array().expect("a list").iter().find(|c| c["name"] == "chaos").cloned();
        assert_eq!(chaos.expect("it is told")["works"], works, "{host}");
    }

    let attack = ["--fault", "kill", "--every", "500ms", "--for", "800ms", "--seed", "7"];
    let refused =
        antagonist(&fleet, &[&["--host", "h2"], &attack[..]].concat()).output().expect("our own binary");
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("host h2 does not allow chaos") && said.contains("--chaos"), "{said}");

    let planned = antagonist(&fleet, &[&["--host", "all", "--plan"], &attack[..]].concat()).output();
    let planned: Value = serde_json::from_slice(&planned.expect("our own binary").stdout).expect("JSON");
    assert_eq!(planned[HOST][0]["attacks"], json!([{"container": "web", "fault": "kill", "lease_ms": null}]));
    assert!(fleet.engine.is_running("web") && planned.get("h2").is_none());

    let played =
        antagonist(&fleet, &[&["--host", "*"], &attack[..]].concat()).output().expect("our own binary");
    let said = text(&played);
    assert!(played.status.success(), "{said}");
    assert!(said.contains("host h2 does not allow chaos"), "{said}");
    assert!(said.contains(&format!("{HOST}: web (")) && said.contains(": kill, in "), "{said}");
    wait_for("it is healed", DEADLINE, || fleet.engine.is_running("web").then_some(()));
    assert_eq!(fleet.engine.inspect("bystander", "{{.State.StartedAt}}"), untouched);
    let told = wait_for("the fault is in the history", DEADLINE, || {
        Some(faults(&fleet, "web")).filter(|told| told.len() == 2)
    });
    let ([(injected, data), (ended, end)], id) = (&told[..], &told[0].1["fault_id"]) else { unreachable!() };
    assert_eq!((injected.as_str(), ended.as_str()), ("fault_injected", "fault_ended"));
    assert_eq!((&data["fault"], &data["lease_ms"], &end["fault_id"]), (&json!("kill"), &Value::Null, id));
    assert!(data["campaign"].is_string(), "{data}");

    // Its own antagonist tells the agent too.
    let (engine, data) = (fleet.engine.address(), fleet.data("agent"));
    let local = clean_command(&data)
        .args(["antagonist", "--docker-host", &engine, "--target", "bystander", "--fault", "pause"])
        .args(["--lease", "100ms", "--every", "200ms", "--for", "300ms"])
        .output()
        .expect("our own binary");
    assert!(local.status.success(), "{}", text(&local));
    wait_for("local faults are in the history", DEADLINE, || {
        let all: Vec<_> = ["web", "bystander"].iter().flat_map(|name| faults(&fleet, name)).collect();
        let local = all.iter().filter(|(_, data)| data["fault"] == "pause" && data.get("campaign").is_none());
        (local.count() == 2).then_some(())
    });
    assert_eq!(ledger(&fleet), 0);
}

#[test]
fn nothing_outlives_whoever_began_a_campaign_nor_the_agent_that_plays_it() {
    let fleet = Fleet::start(&["--chaos"]);
    fleet.engine.run("web", &[]);

    // In order.
    let child = pause(&fleet, "web");
    let second = antagonist(&fleet, &["--host", HOST, "--fault", "kill"]).output().expect("our own binary");
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second).contains(&format!("host {HOST} plays campaign ")), "{}", text(&second));
    kill(&child.id().to_string(), "-INT");
    let output = child.wait_with_output().expect("our own child");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!((status(&fleet, "web").as_str(), ledger(&fleet)), ("running", 0));

    // Killed.
    let mut child = pause(&fleet, "web");
    let killed = Instant::now();
    child.kill().expect("our own child");
    child.wait().expect("and waited for");
    wait_for("the campaign lapses", DEADLINE, || (status(&fleet, "web") == "running").then_some(()));
    let after = killed.elapsed();
    assert!(after < WITHIN + MARGIN, "undone after {after:?}");
    wait_for("nothing is left", DEADLINE, || (ledger(&fleet) == 0).then_some(()));

    // The agent ends in order.
    let child = pause(&fleet, "web");
    fleet.agent.end();
    wait_for("it is undone", DEADLINE, || (status(&fleet, "web") == "running").then_some(()));
    fleet.agent.start();
    let output = child.wait_with_output().expect("our own child");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(ledger(&fleet), 0);

    // The agent and the holder of its fault are killed at once: the next start undoes it.
    let child = pause(&fleet, "web");
    let [holder] = &holders(&fleet)[..] else { panic!("one process holds the fault") };
    kill(holder, "-STOP");
    fleet.agent.kill();
    kill(holder, "-KILL");
    assert_eq!(status(&fleet, "web"), "paused");
    fleet.agent.start();
    wait_for("it is swept", DEADLINE, || (status(&fleet, "web") == "running").then_some(()));
    let output = child.wait_with_output().expect("our own child");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    wait_for("nothing is left", DEADLINE, || (ledger(&fleet) == 0).then_some(()));
    wait_for("each fault has its end in the history", DEADLINE, || {
        let told = faults(&fleet, "web");
        let ids = |kind: &str| {
            let of = told.iter().filter(|(told, _)| told == kind);
            let mut ids: Vec<String> = of.map(|(_, data)| data["fault_id"].to_string()).collect();
            ids.sort();
            ids
        };
        (ids("fault_injected").len() == 4 && ids("fault_injected") == ids("fault_ended")).then_some(())
    });
}

#[test]
fn a_host_ends_a_campaign_early_when_its_order_says_so() {
    let fleet = Fleet::start(&["--chaos"]);
    fleet.engine.run("web", &[]);
    let pauses =
        ["--host", HOST, "--fault", "pause", "--lease", "10m", "--every", "200ms", "--target", "web"];
    let played = antagonist(&fleet, &[&pauses[..], &["--abort-when", "down=50%"]].concat()).output();
    let played = played.expect("our own binary");
    let said = text(&played);
    assert_eq!(played.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{HOST}: ended early: 100 % of the targets do not run")), "{said}");
    assert_eq!((status(&fleet, "web").as_str(), ledger(&fleet)), ("running", 0), "its faults are undone");

    // The agent reads an order itself, whoever wrote it.
    let order = json!({"host": HOST, "order": {"every": "1s", "abort_when": ["down=3"]}}).to_string();
    let refused = fleet.ask("POST", "/api/v1/chaos", &order).expect("the controller answers");
    let detail = refused.json["detail"].as_str().unwrap_or_default();
    assert_eq!(refused.status, 409, "{detail}");
    assert!(detail.contains("abort_when: down: \"3\" is not a share of the targets"), "{detail}");
}

#[test]
fn a_campaign_bears_a_restart_of_the_controller_and_ends_when_it_stays_away() {
    let fleet = Fleet::start(&["--chaos"]);
    fleet.engine.run("web", &[]);
    let child = pause(&fleet, "web");
    fleet.controller.kill();
    fleet.controller.start();
    wait_for("it is renewed again", DEADLINE, || fleet.ask("GET", "/readyz", "").filter(|a| a.status == 200));
    let renewed = Instant::now();
    wait_for("longer than it goes on alone", DEADLINE, || (renewed.elapsed() > WITHIN).then_some(()));
    assert_eq!(status(&fleet, "web"), "paused");
    fleet.controller.kill();
    wait_for("the campaign lapses", DEADLINE, || (status(&fleet, "web") == "running").then_some(()));
    let output = child.wait_with_output().expect("our own child");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains(&format!("{HOST}: ")), "{}", text(&output));
}

/// The processes that hold faults of this fleet's agent.
fn holders(fleet: &Fleet) -> Vec<String> {
    let ledger = format!("hold\0{}/", fleet.data("agent").display());
    let pids = fs::read_dir("/proc").expect("/proc").flatten();
    let holds = |pid: &fs::DirEntry| {
        let line = fs::read(pid.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&ledger)
    };
    pids.filter(holds).map(|pid| pid.file_name().to_string_lossy().into_owned()).collect()
}

fn kill(pid: &str, signal: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().expect("kill").success());
}
