//! Containers that ended: what crashed or was killed comes back, what was told to stop by its owner does not, and what
//! nobody listed is never touched.

use super::rig::{DEADLINE, OBEDIENT, QUICK, Rig, crash, on_both_rigs, printed, wait_started_again};
use crate::support::wait_for;

on_both_rigs! {
    crashed_and_killed_containers_come_back
}

fn crashed_and_killed_containers_come_back(rig: &Rig) {
    let lab = &rig.lab;
    let [crashed, killed] = ["crashed", "killed"].map(|name| rig.named(name, &[]));
    let part = rig.lab.run("part", &["--label", "dockhealth.role=broker"], &OBEDIENT);
    rig.rest.ok("POST", &rig.path(&part), None);
    let bystander = lab.run("bystander", &[], &OBEDIENT);

    // What must be left alone ends first: what happens afterwards shows that there was time to do something about it.
    for full in [&part, &bystander] {
        lab.docker(&["kill", full]);
        rig.wait_until(full, "is seen to be down", |c| c["status"] == "exited");
    }
    wait_started_again(lab, &crashed, || crash(lab, &crashed));
    wait_started_again(lab, &killed, || drop(lab.docker(&["kill", &killed])));
    for full in [&crashed, &killed] {
        let event = rig.wait_event(full, "container_started");
        assert_eq!(event["host"], rig.host.as_str(), "{event}");
        rig.wait_until(full, "is well, started once", |c| c["health"] == "healthy" && c["restarts"] == 1);
        assert_eq!(rig.actions(full), ["container_started"]);
        let failing = rig.wait_event(full, "container_failing");
        assert_eq!(event["cause_id"], failing["id"], "what was done says why");
    }
    for full in [&part, &bystander] {
        let container = rig.listed(full).expect("it is listed all the same");
        assert_eq!((&container["status"], &container["monitored"]), (&"exited".into(), &false.into()));
        assert!(!lab.is_running(full), "{container}");
        rig.assert_untouched(full);
    }
    rig.assert_no_errors();
}

#[test]
fn two_agents_on_one_engine_list_everything_and_heal_what_is_named_once() {
    let rig = Rig::fleet(QUICK);
    let full = rig.named("web", &[]);
    let under = |monitored: &str| {
        let all = rig.rest.get(&format!("/containers?monitored={monitored}"));
        let all = all.as_array().expect("a list").clone();
        all.iter().filter(|c| c["name"] == full.as_str()).map(|c| c["hostname"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(under("true"), [rig.host.as_str()]);
    assert_eq!(under("false"), [format!("{}-other", rig.host)]);
    for host in [rig.host.clone(), format!("{}-other", rig.host)] {
        let told = wait_for("the conflict is shown", DEADLINE, || {
            rig.rest.get(&format!("/hosts/{host}"))["conflict"].as_str().map(str::to_owned)
        });
        assert!(told.contains("engine"), "{told}");
    }
    // A label would have both of them heal it, so neither does.
    let labelled = rig.lab.run("labelled", &["--label", "dockhealth.monitor=true"], &OBEDIENT);
    for host in [rig.host.clone(), format!("{}-other", rig.host)] {
        wait_for("the label does not count", DEADLINE, || {
            let why = rig.rest.send("GET", &format!("/containers/{host}/{labelled}"), None).1;
            why["monitored_by"].as_str()?.contains("two agents claim").then_some(())
        });
    }
    wait_started_again(&rig.lab, &full, || crash(&rig.lab, &full));
    rig.wait_until(&full, "is well", |c| c["health"] == "healthy");
    assert_eq!(rig.actions(&full), ["container_started"]);
}

#[test]
fn a_labelled_container_that_was_stopped_is_left_down_and_says_why() {
    let rig = Rig::up(QUICK);
    let full = rig.lab.run("labelled", &["--label", "dockhealth.monitor=true"], &OBEDIENT);
    rig.wait_healthy(&full);
    rig.lab.docker(&["stop", &full]);
    let left = rig.wait_event(&full, "container_left");
    assert!(left["reason"].as_str().expect("a sentence").contains("told to stop"), "{left}");
    let why = rig.why(&full);
    assert!(why["monitored_by"].as_str().expect("a sentence").contains("dockhealth.monitor=true"), "{why}");
    assert!(why["container"]["reason"].as_str().expect("a sentence").contains("on_stop = leave"), "{why}");
    let told = printed(&rig.server, &["why", &full]);
    assert!(told.contains("told to stop") && told.contains("dockhealth.monitor=true"), "{told}");
    assert!(!rig.lab.is_running(&full));
    rig.assert_untouched(&full);

    // Its owner starts it again; from then on it is looked after as before.
    rig.lab.docker(&["start", &full]);
    rig.wait_healthy(&full);
    wait_started_again(&rig.lab, &full, || crash(&rig.lab, &full));
    rig.wait_healthy(&full);
}
