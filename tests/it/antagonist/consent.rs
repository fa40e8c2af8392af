//! Who is attacked, and who never is, on an engine of its own.

use super::antagonist;
use crate::support::dockerd::Dockerd;

#[test]
fn those_who_consent_are_stopped_and_nobody_else() {
    let engine = Dockerd::start();
    let dir = tempfile::tempdir().unwrap();
    let all = [
        ("labelled", "dockhealth.chaos=true"),
        ("named-1", "some=label"),
        ("tiered", "tier=front"),
        ("named-refuses", "dockhealth.chaos=false"),
        ("named-broker", "dockhealth.role=broker"),
        ("bystander", "dockhealth.monitor=true"),
    ];
    for (name, label) in all {
        engine.run(name, &["--label", label]);
    }
    let began = engine.inspect("bystander", "{{.State.StartedAt}}");
    let args = [
        "--target",
        "named-*",
        "--target",
        "label:tier=front",
        "--every",
        "100ms",
        "--for",
        "3s",
        "--seed",
        "3",
    ];
    let output = antagonist(dir.path(), &args).env("DOCKER_HOST", engine.address()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let stopped = |name: &str| said.matches(&format!("stopped {name} (")).count();
    assert_eq!(all.map(|(name, _)| stopped(name)), [1, 1, 1, 0, 0, 0], "{said}");
    assert!(said.contains("nobody to attack"), "{said}");
    let last = said.lines().last().unwrap();
    assert_eq!(
        last,
        "antagonist ended: stopped 3; nobody had healed labelled, named-1, tiered, so it started them again"
    );
    assert!(all.iter().all(|(name, _)| engine.is_running(name)), "its faults end with it: {said}");
    assert_eq!(engine.inspect("bystander", "{{.State.StartedAt}}"), began);
}

#[test]
fn a_share_is_attacked_at_once_and_a_plan_is_the_same_for_its_seed() {
    let engine = Dockerd::start();
    let dir = tempfile::tempdir().unwrap();
    for number in 0..4 {
        engine.run(&format!("c{number}"), &["--label", "dockhealth.chaos=true"]);
    }
    let run = |args: &[&str]| {
        let output = antagonist(dir.path(), args).env("DOCKER_HOST", engine.address()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let plan = || run(&["--plan", "--fault", "pause", "--target", "50%", "--for", "5m", "--seed", "9"]);
    let first = plan();
    assert_eq!(first, plan());
    let turns: serde_json::Value = serde_json::from_str(&first).unwrap();
    let attacks = turns[0]["attacks"].as_array().unwrap();
    assert_eq!(attacks.len(), 2, "{first}");
    let args = ["--fault", "pause", "--target", "50%", "--seed", "9", "--every", "200ms", "--for", "300ms"];
    let said = run(&args);
    for attack in attacks {
        let name = attack["container"].as_str().unwrap();
        assert!(said.contains(&format!("{name} (")), "{name} was planned: {said}");
    }
    assert_eq!(said.matches(": pause for 30s").count(), 2, "{said}");
    let paused = engine.docker(&["ps", "--quiet", "--filter", "status=paused"]);
    assert_eq!(paused, "");
}

#[test]
fn it_ends_early_when_told_to_and_undoes_its_faults() {
    let engine = Dockerd::start();
    let dir = tempfile::tempdir().unwrap();
    let all = [1, 2, 3, 4].map(|number| format!("c{number}"));
    for name in &all {
        engine.run(name, &["--label", "dockhealth.chaos=true"]);
    }
    let scenario = dir.path().join("own.toml");
    let text = "name = \"own\"\nabort-when = { down = \"100%\" }\n[[phase]]\nname = \"p\"\n\
                faults = [\"stop\"]\nevery = \"100ms\"\nfor = \"1m\"\n";
    std::fs::write(&scenario, text).unwrap();
    let scenario = ["--scenario", scenario.to_str().unwrap()];
    for what in [&["--every", "100ms", "--for", "1m"][..], &scenario] {
        let output = antagonist(dir.path(), &[what, &["--abort-when", "down=50%,engine-faults=3"]].concat())
            .env("DOCKER_HOST", engine.address())
            .output()
            .unwrap();
        let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("ended early: 50 % of the targets do not run"), "{said}");
        assert_eq!(said.matches("stopped c").count(), 2, "{said}");
        assert!(all.iter().all(|name| engine.is_running(name)), "{said}");
    }
    for (wrong, says) in [
        ("down=3", "--abort-when: down: \"3\" is not a share of the targets: write for example down=50%"),
        ("missed=2", "--abort-when: missed: nothing is expected of any fault here"),
        ("down=1%,down=2%", "--abort-when: down: it is given twice"),
    ] {
        let output = antagonist(dir.path(), &["--abort-when", wrong]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
}
