//! Whether healing helps, measured: what a restart cures is said to be cured, what none cures is left alone.

use serde_json::Value;

use super::rig::{DEADLINE, Rig, lose, on_both_rigs, printed, wait_started_again};
use crate::support::wait_for;

on_both_rigs! {
    a_restart_that_cures_is_known_to_have_helped
}

fn a_restart_that_cures_is_known_to_have_helped(rig: &Rig) {
    let full = rig.named("cured", &[]);
    rig.wait_healthy(&full);
    let mut injector = None;
    wait_started_again(&rig.lab, &full, || injector = Some(lose(&rig.lab, &full, 100.0)));
    let assessed = rig.wait_event(&full, "action_assessed");
    let data = &assessed["data"];
    let found = (&data["effect"], &data["before"]["loss_percent"], &data["after"]["loss_percent"]);
    assert_eq!(found, (&"helped".into(), &100.0.into(), &0.0.into()), "{assessed}");
    let efficacy = &rig.why(&full)["efficacy"];
    assert_eq!((&efficacy["outcomes"]["helped"], &efficacy["futile"]), (&1.into(), &Value::Null));
    assert_eq!(efficacy["recent"][0]["op"], data["op"]);
    let why = printed(rig.healer(), &["why", "--local", &full]);
    assert!(why.contains("Did it help: 1 of 1 times; newest first: helped"), "{why}");

    // What was done is in a backtest, beside what another policy would have done.
    let told = rig.cli(&["backtest", "--json", "--from=-1h", "--threshold=100", "--container", &full]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let [one] = &told["containers"].as_array().expect("a list")[..] else { panic!("{told}") };
    assert_eq!(one["name"], full.as_str());
    assert_eq!(one["did"].as_array().expect("a list").len(), 1, "{told}");
    assert_eq!(told["totals"]["prevented"], 1, "nothing exceeds a threshold of 100 %: {told}");
    rig.assert_no_errors();
}

#[test]
fn where_restarts_never_help_they_stop() {
    let flags = [
        "--interval",
        "1s",
        "--grace",
        "500ms",
        "--budget",
        "20/1h",
        "--backoff",
        "200ms",
        "--futile-after",
        "2",
    ];
    let rig = Rig::up(&flags);
    let full = rig.named("hopeless", &[]);
    rig.wait_healthy(&full);
    let mut run = String::new();
    let mut injector = None;
    let mut relapse = || {
        let started = rig.lab.inspect(&full, "{{.State.StartedAt}} {{.State.Running}}");
        if started != run && started.ends_with("true") {
            injector = Some(lose(&rig.lab, &full, 75.0));
            run = started;
        }
    };
    wait_for("restarts are given up", DEADLINE, || {
        relapse();
        rig.events(&full, "healing_futile").into_iter().next()
    });
    assert_eq!(rig.actions(&full), ["container_restarted"; 2], "--futile-after 2");
    let effects: Vec<_> = rig.events(&full, "action_assessed");
    assert!(effects.len() == 2 && effects.iter().all(|e| e["data"]["effect"] != "helped"), "{effects:#?}");

    // It goes on being checked, and is left alone.
    let last =
        rig.why(&full)["checks"].as_array().and_then(|all| all.last().cloned()).expect("it was checked");
    wait_for("five checks more", DEADLINE, || {
        let why = rig.why(&full);
        let later = |check: &&Value| check["time"].as_str() > last["time"].as_str();
        (why["checks"].as_array()?.iter().filter(later).count() >= 5).then_some(())
    });
    let held = rig.wait_until(&full, "is left alone", |c| {
        c["health"] == "failing"
            && c["reason"].as_str().is_some_and(|reason| {
                reason.contains("restarting does not help: the last 2 restarts left its loss at")
            })
    });
    assert_eq!(held["restarts"], 2, "{held}");
    assert_eq!(rig.actions(&full).len(), 2);

    // A release begins anew, and now the restart cures.
    wait_started_again(&rig.lab, &full, || drop(rig.cli(&["release", &format!("{}/{full}", rig.host)])));
    wait_for("it is known to have helped", DEADLINE, || {
        let all = rig.events(&full, "action_assessed");
        all.iter().any(|event| event["data"]["effect"] == "helped").then_some(())
    });
    rig.assert_no_errors();
}
