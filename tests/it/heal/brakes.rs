//! What holds healing back: budgets and quarantine, freezes, maintenance, a dry run.

use serde_json::json;

use super::rig::{QUICK, Rig, crash, on_both_rigs, printed, wait_started_again};
use crate::support::wait_for;

on_both_rigs! {
    a_crash_loop_ends_in_quarantine_until_it_is_released
    a_freeze_holds_and_lifting_it_heals
}

fn a_crash_loop_ends_in_quarantine_until_it_is_released(rig: &Rig) {
    let budget = 3;
    let full = rig.lab.run("loop", &[], &["sh", "-c", "exit 7"]);
    rig.monitor(&full);
    rig.wait_event(&full, "quarantined");
    rig.wait_until(&full, "is quarantined", |c| c["health"] == "quarantined" && c["restarts"] == budget);
    assert_eq!(rig.actions(&full), vec!["container_started"; budget]);
    let why = printed(rig.healer(), &["why", "--local", &full]);
    assert!(why.contains("quarantined"), "{why}");

    rig.cli(&["release", &format!("{}/{full}", rig.host)]);
    rig.wait_until(&full, "is tried again", |c| c["health"] == "quarantined" && c["restarts"] == 2 * budget);
    wait_for("both quarantines are told", super::rig::DEADLINE, || {
        let kinds = rig.events(&full, "quarantined,released");
        let kinds: Vec<_> = kinds.iter().map(|event| event["kind"].as_str().expect("a word")).collect();
        (kinds == ["quarantined", "released", "quarantined"]).then_some(())
    });
    rig.assert_no_errors();
}

fn a_freeze_holds_and_lifting_it_heals(rig: &Rig) {
    let lab = &rig.lab;
    let full = rig.named("web", &[]);
    rig.wait_healthy(&full);
    rig.rest.ok("POST", &format!("/freeze?host={}", rig.host), None);
    let frozen = || !rig.rest.get(&format!("/hosts/{}", rig.host))["agent"]["freeze"].is_null();
    wait_for("the agent knows of the freeze", super::rig::DEADLINE, || frozen().then_some(()));
    crash(lab, &full);
    rig.wait_until(&full, "is held by the freeze", |c| c["health"] == "frozen" && c["status"] == "exited");
    rig.assert_untouched(&full);
    wait_started_again(lab, &full, || {
        rig.rest.ok("DELETE", &format!("/freeze?host={}", rig.host), None);
    });
    rig.wait_healthy(&full);
    assert_eq!(rig.actions(&full), ["container_started"]);

    let maintenance = format!("{}/maintenance", rig.path(&full));
    rig.rest.ok("PUT", &maintenance, Some(&json!({ "for": "1h" })));
    // Changes arrive in order, and this one can be seen.
    rig.rest.ok("PUT", &format!("{}/threshold", rig.path(&full)), Some(&json!(77)));
    wait_for("the agent knows of the maintenance", super::rig::DEADLINE, || {
        (rig.why(&full)["threshold"] == 77.0).then_some(())
    });
    crash(lab, &full);
    rig.wait_until(&full, "is held by the maintenance", |c| {
        c["health"] == "frozen" && c["reason"].as_str().is_some_and(|reason| reason.contains("maintenance"))
    });
    assert_eq!(rig.actions(&full), ["container_started"]);
    wait_started_again(lab, &full, || drop(rig.rest.ok("DELETE", &maintenance, None)));
    rig.wait_healthy(&full);
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let rig = Rig::up(&[QUICK, &["--dry-run"]].concat());
    let full = rig.named("web", &[]);
    crash(&rig.lab, &full);
    let would = rig.wait_event(&full, "would_act");
    assert!(would["reason"].as_str().expect("a sentence").contains("--dry-run"), "{would}");
    rig.wait_until(&full, "is shown as failing", |c| c["status"] == "exited" && c["health"] == "failing");
    assert!(!rig.lab.is_running(&full));
    rig.assert_untouched(&full);
    let hosts = rig.rest.get(&format!("/hosts/{}", rig.host));
    assert_eq!(hosts["agent"]["dry_run"], true, "{hosts}");
}
