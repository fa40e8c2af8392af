//! Containers that share a network namespace, and containers with a HEALTHCHECK of their own.

use std::fs;

use super::rig::{OBEDIENT, QUICK, Rig, crash, on_both_rigs, wait_started_again};
use crate::support::wait_for;

on_both_rigs! {
    who_shares_the_network_of_a_healed_container_follows_it
}

/// The network namespace a container's first process is in.
fn namespace(rig: &Rig, full: &str) -> Option<String> {
    let pid = rig.lab.inspect(full, "{{.State.Pid}}");
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

fn who_shares_the_network_of_a_healed_container_follows_it(rig: &Rig) {
    let lab = &rig.lab;
    let owner = rig.named("owner", &[]);
    rig.wait_healthy(&owner);
    // The follower itself is on nobody's list.
    let shared = format!("container:{owner}");
    let follower = lab.run("follower", &["--network", &shared], &OBEDIENT);
    let before = namespace(rig, &owner);
    assert_eq!(namespace(rig, &follower), before);
    rig.wait_until(&follower, "is known", |c| c["status"] == "running");

    wait_started_again(lab, &follower, || wait_started_again(lab, &owner, || crash(lab, &owner)));
    wait_for("they share a network again", super::rig::DEADLINE, || {
        let now = namespace(rig, &owner);
        (now.is_some() && now != before && namespace(rig, &follower) == now).then_some(())
    });
    rig.wait_healthy(&owner);
    assert_eq!(rig.actions(&owner), ["container_started"]);
    rig.wait_event(&follower, "container_restarted");
    assert_eq!(rig.actions(&follower), ["container_restarted"]);
    rig.assert_no_errors();
}

#[test]
fn who_shared_the_network_of_a_container_that_was_made_anew_is_recreated_to_join_it() {
    let rig = Rig::up(QUICK);
    let owner = rig.named("owner", &[]);
    let follower = rig.named("follower", &["--network", &format!("container:{owner}")]);
    rig.wait_healthy(&owner);
    rig.lab.docker(&["rm", "--force", &owner]);
    rig.lab.run("owner", &[], &OBEDIENT);
    // Before, there may be nobody of its name for a moment.
    rig.wait_event(&follower, "container_recreated");
    wait_for("they share a network again", super::rig::DEADLINE, || {
        let now = namespace(&rig, &owner);
        (now.is_some() && namespace(&rig, &follower) == now).then_some(())
    });
    assert_eq!(rig.actions(&follower), ["container_recreated"]);
    rig.assert_no_errors();
}

#[test]
fn an_unhealthy_container_is_restarted() {
    let rig = Rig::up(QUICK);
    let check = ["--health-cmd", "test -e /tmp/ok", "--health-interval", "500ms", "--health-retries", "2"];
    let command = ["sh", "-c", "mkdir -p /tmp; touch /tmp/ok; trap exit TERM; sleep 1000 & wait"];
    let full = rig.lab.run("web", &check, &command);
    rig.monitor(&full);
    let healthy = || rig.lab.inspect(&full, "{{.State.Health.Status}}") == "healthy";
    wait_for("it is healthy", super::rig::DEADLINE, || healthy().then_some(()));
    rig.wait_healthy(&full);
    wait_started_again(&rig.lab, &full, || drop(rig.lab.docker(&["exec", &full, "rm", "/tmp/ok"])));
    wait_for("it is healthy again", super::rig::DEADLINE, || healthy().then_some(()));
    rig.wait_event(&full, "container_recovered");
    assert_eq!(rig.actions(&full), ["container_restarted"]);
    let failing = rig.wait_event(&full, "container_failing");
    assert_eq!(failing["data"]["ailment"], "unhealthy", "{failing}");
}
