//! Drills: a campaign against the real programs, and what its report says.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::rig::{DEADLINE, OBEDIENT, QUICK, Rig, wait_started_again};
use crate::support::{docker, wait_for};

/// A scenario file for containers of the test alone.
fn scenario(dir: &Path, target: &str, phases: &str) -> PathBuf {
    let file = dir.join("scenario.toml");
    let head = format!("name = \"tested\"\nmax-concurrent = 100\ntargets = [\"{target}\"]\n");
    std::fs::write(&file, head + phases).expect("our own folder");
    file
}

/// Runs a drill with `args`; its exit code, and its report.
fn drill(rig: &Rig, args: &[&str]) -> (Option<i32>, Value) {
    let output = rig.server.cli(&[&["antagonist", "drill", "--format", "json"], args].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout);
    (output.status.code(), report.unwrap_or_else(|error| panic!("{error}: {said}")))
}

fn texts<'a>(all: &'a Value, field: &str) -> Vec<&'a str> {
    all.as_array().expect("a list").iter().filter_map(|one| one[field].as_str()).collect()
}

/// How often somebody was told of a victim; containers of others may be on the list by their label.
fn notifications(rig: &Rig) -> usize {
    let all = rig.rest.get("/notifications?limit=1000");
    texts(&all["notifications"], "title").iter().filter(|title| title.contains("victim")).count()
}

#[test]
fn twelve_faults_are_found_nobody_else_is_touched_and_nobody_is_told() {
    // Nobody listens there: what is told is in the list all the same.
    let telling =
        ["--notify-url", "http://127.0.0.1:9/", "--notify-on", "failing,quarantined,network,shared"];
    let flags = [QUICK, &telling, &["--notify-wait", "100ms"]].concat();
    let rig = Rig::up(&flags);
    let lab = &rig.lab;
    let network = lab.network("net", &[]);
    let options = ["--network", network.as_str()];
    let names: Vec<String> = (0..12).map(|n| rig.named(&format!("victim-{n:02}"), &options)).collect();
    let calm: Vec<String> = (0..2).map(|n| rig.named(&format!("calm-{n}"), &options)).collect();
    for full in names.iter().chain(&calm) {
        rig.wait_healthy(full);
    }

    let dir = tempfile::tempdir().expect("a temporary folder");
    let phases = r#"
        [[phase]]
        name = "down"
        targets = ["50%"]
        faults = ["stop", "kill"]
        every = "200ms"
        for = "300ms"
        expect = { outcome = "healed", within = "30s" }
        [[phase]]
        name = "rest"
        for = "8s"
        [[phase]]
        name = "silent"
        faults = ["loss=100%"]
        every = "3s"
        for = "14s"
        lease = "15s"
        expect = { outcome = "healed", within = "30s" }
        [[phase]]
        name = "slight"
        targets = ["15%"]
        faults = ["loss=5%"]
        every = "200ms"
        for = "300ms"
        lease = "3s"
        expect = { outcome = "untouched", within = "3s" }
    "#;
    let file = scenario(dir.path(), &format!("{}-victim-*", lab.prefix()), phases);
    let page = dir.path().join("report.html");
    let args = [file.to_str().unwrap(), "--seed", "7", "--html", page.to_str().unwrap()];
    let (code, report) = drill(&rig, &args);
    assert_eq!((code, &report["findings"]), (Some(0), &Value::Array(Vec::new())), "{report:#}");
    let summary = &report["summary"];
    assert_eq!((&summary["injected"], &summary["missed"]), (&12.into(), &0.into()), "{report:#}");
    assert_eq!((&summary["detected"], &summary["false_alarms"]), (&10.into(), &0.into()), "{report:#}");
    assert_eq!(summary["recover"]["count"], 10, "{report:#}");
    for full in &calm {
        rig.assert_untouched(full);
    }
    let html = std::fs::read_to_string(&page).expect("the page");
    assert!(html.contains("as expected") && html.matches("<svg").count() == 2);

    // It is in the history.
    let id = report["id"].as_str().expect("an id");
    let drills = rig.rest.get("/drills?limit=1");
    assert_eq!((&drills[0]["id"], &drills[0]["state"]), (&id.into(), &"passed".into()), "{drills}");
    assert_eq!(drills[0]["summary"], *summary);
    assert_eq!(rig.rest.get(&format!("/drills/{id}"))["report"], report);
    assert!(rig.cli(&["antagonist", "drill", "--history"]).contains(id));

    // Each event of theirs is marked from its begin to its end, and nobody is told of any.
    let began = rig.rest.get("/events?kind=drill_started")[0]["seq"].as_u64().expect("a number");
    let ended = rig.rest.get("/events?kind=drill_ended")[0]["seq"].as_u64().expect("a number");
    for full in &names {
        for event in rig.events(full, "") {
            let during = (began..=ended).contains(&event["seq"].as_u64().expect("a number"));
            assert_eq!(event["drill_id"].as_str(), during.then_some(id), "{event}");
        }
        // Its actions are no part of the budget that holds now.
        let brakes = rig.why(full)["brakes"].to_string();
        assert!(brakes.contains("budget: 0 of 3"), "{brakes}");
        assert_eq!(rig.why(full)["efficacy"], Value::Null);
    }
    let incidents = rig.rest.get("/incidents?limit=1000");
    assert!(texts(&incidents, "drill_id").iter().all(|drill| *drill == id));
    assert_eq!(texts(&incidents, "drill_id").len(), 10, "{incidents:#}");
    assert_eq!(notifications(&rig), 0);

    // What happens after it is told as ever, and counts.
    wait_started_again(lab, &names[0], || drop(lab.docker(&["stop", &names[0]])));
    wait_for("its event, unmarked", DEADLINE, || {
        let last = rig.events(&names[0], "container_started").pop()?;
        last["drill_id"].is_null().then_some(())
    });
    wait_for("someone is told", DEADLINE, || (notifications(&rig) == 1).then_some(()));
    assert!(rig.why(&names[0])["brakes"].to_string().contains("budget: 1 of 3"));
    rig.assert_no_errors();
}

#[test]
fn when_all_of_a_network_fail_in_a_drill_the_network_is_blamed_once() {
    let rig = Rig::up(QUICK);
    let lab = &rig.lab;
    let network = lab.network("net", &[]);
    let names: Vec<String> =
        (0..4).map(|n| rig.named(&format!("victim-{n}"), &["--network", &network])).collect();
    for full in &names {
        rig.wait_healthy(full);
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let phases = r#"
        [[phase]]
        name = "down"
        targets = ["100%"]
        faults = ["loss=100%"]
        every = "200ms"
        for = "300ms"
        lease = "8s"
        expect = { outcome = "shared", within = "8s" }
        [[phase]]
        name = "back"
        for = "10s"
    "#;
    let file = scenario(dir.path(), &format!("{}-victim-*", lab.prefix()), phases);
    let (code, report) = drill(&rig, &[file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!((&report["summary"]["injected"], &report["shared_incidents"]), (&4.into(), &1.into()));
    for full in &names {
        rig.assert_untouched(full);
    }
    let incidents = rig.rest.get("/incidents?limit=1000");
    let incidents = incidents.as_array().expect("a list").iter();
    let of_it: Vec<_> = incidents.filter(|incident| incident["drill_id"] == report["id"]).collect();
    assert_eq!(of_it.len(), 1, "{of_it:#?}");
    assert_eq!((&of_it[0]["kind"], &of_it[0]["network"]), (&"network".into(), &network.as_str().into()));
    rig.assert_no_errors();
}

#[test]
fn a_drill_that_does_not_pass_or_cannot_run_says_so_by_its_exit_code() {
    let rig = Rig::up(QUICK);
    let lab = &rig.lab;
    let left = rig.named("left", &[]);
    rig.wait_healthy(&left);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let phase = "[[phase]]\nname = \"p\"\nfaults = [\"kill\"]\nevery = \"200ms\"\nfor = \"300ms\"\n\
                 expect = { outcome = \"untouched\", within = \"5s\" }\n";
    let file = scenario(dir.path(), &left, phase);
    let (code, report) = drill(&rig, &[file.to_str().unwrap()]);
    assert_eq!((code, &report["passed"]), (Some(1), &false.into()), "{report:#}");
    assert_eq!(report["summary"]["false_alarms"], 1, "{report:#}");
    assert_eq!(rig.rest.get("/drills")[0]["state"], "failed");

    let nobody = lab.run("nobody", &[], &OBEDIENT);
    let file = scenario(dir.path(), &nobody, phase);
    let output = rig.server.cli(&["antagonist", "drill", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("left out") && said.contains("no container of this host takes part"), "{said}");
    assert!(lab.is_running(&nobody));
    assert_eq!(rig.rest.get("/drills").as_array().map(Vec::len), Some(1), "it never began");
}

#[test]
fn dummies_are_made_for_a_drill_and_removed_after() {
    let rig = Rig::up(QUICK);
    let dir = tempfile::tempdir().expect("a temporary folder");
    // Agents of other tests heal them too, by their label: so nothing that calls for it.
    let phase = "[[phase]]\nname = \"p\"\nfaults = [\"loss=5%\"]\nevery = \"200ms\"\nfor = \"300ms\"\n\
                 lease = \"1s\"\nexpect = { outcome = \"untouched\", within = \"2s\" }\n";
    let file = scenario(dir.path(), "*", phase);
    let (code, report) = drill(&rig, &[file.to_str().unwrap(), "--dummies", "2"]);
    assert_eq!((code, &report["containers"]), (Some(0), &2.into()), "{report:#}");
    let id = report["id"].as_str().expect("an id");
    let short = &id[id.len() - 8..];
    for kind in [&["ps", "--all"][..], &["network", "ls"]] {
        let output =
            docker(&[kind, &["--quiet", "--filter", &format!("name=dockhealth-drill-{short}")]].concat());
        assert!(output.status.success() && output.stdout.is_empty(), "{kind:?}: {output:?}");
    }
    assert!(!docker(&["image", "inspect", &format!("dockhealth:drill-{short}")]).status.success());
}

/// `scripts/soak drill`: as many faults as `SOAK_ROUNDS` says, on twenty containers, by the fixed check every 2 s.
#[test]
#[ignore = "takes ten minutes: scripts/soak drill runs it"]
fn hundreds_of_faults_are_found_in_time_and_nobody_else_is_touched() {
    let rounds = std::env::var("SOAK_ROUNDS").map_or(200, |text| text.parse::<u64>().expect("a number"));
    // Each container carries ten faults within minutes: neither budget nor doubled waits may hold them.
    let flags = ["--interval", "2s", "--grace", "500ms", "--backoff", "200ms", "--backoff-max", "1s"];
    let rig = Rig::up(&[&flags[..], &["--budget", "1000/1h", "--host-budget", "10000/1h"]].concat());
    let lab = &rig.lab;
    let network = lab.network("net", &[]);
    let names: Vec<String> =
        (0..20).map(|n| rig.named(&format!("victim-{n:02}"), &["--network", &network])).collect();
    let calm = rig.named("calm", &["--network", &network]);
    for full in names.iter().chain([&calm]) {
        rig.wait_healthy(full);
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    // A phase of so many turns ends half a turn after the last.
    let phase = |name: &str, faults: &str, share: u64, every: u64| {
        let lasts = every * (rounds * share / 10) + every / 2;
        format!(
            "[[phase]]\nname = {name:?}\nfaults = [{faults}]\nevery = \"{every}ms\"\nfor = \"{lasts}ms\"\n\
             lease = \"14s\"\nexpect = {{ outcome = \"healed\", within = \"20s\" }}\n"
        )
    };
    let phases = [
        phase("down", "\"stop\", \"kill\"", 3, 2_000),
        phase("silent", "\"loss=100%\"", 3, 3_000),
        phase("heavy", "\"loss=70-99%\"", 4, 3_000),
    ];
    let file = scenario(dir.path(), &format!("{}-victim-*", lab.prefix()), &phases.concat());
    let (_, report) = drill(&rig, &[file.to_str().unwrap(), "--seed", "7"]);
    for kind in report["kinds"].as_array().expect("a list") {
        eprintln!("{}: {}", kind["kind"], kind["summary"]);
    }
    eprintln!("findings: {}", report["findings"]);
    assert!(report["summary"]["injected"].as_u64() >= Some(rounds * 95 / 100), "{}", report["summary"]);
    assert_eq!(report["summary"]["false_alarms"], 0);
    rig.assert_untouched(&calm);
    let of = |wanted: fn(&str) -> bool| {
        let faults = report["faults"].as_array().expect("a list").iter();
        faults.filter(move |fault| wanted(fault["fault"].as_str().expect("a word")))
    };
    let sure = |fault: &str| matches!(fault, "stop" | "kill" | "loss=100%");
    assert!(of(sure).all(|fault| fault["outcome"] != "missed"), "{}", report["findings"]);
    let in_time = |fault: &&Value| fault["detect_ms"].as_u64().is_some_and(|ms| ms <= 12_000);
    let (all, found) = (
        of(|fault| fault.starts_with("loss")).count(),
        of(|f| f.starts_with("loss")).filter(in_time).count(),
    );
    eprintln!("loss of 70 % and more: {found} of {all} found within 6 intervals");
    assert!(found * 100 >= all * 99);
}
