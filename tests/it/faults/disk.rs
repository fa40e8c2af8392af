//! Full disks, of the controller and of an agent.

use dockhealth::model::Timestamp;

use super::rig::{DEADLINE, Fleet, SmallDisk};
use crate::support::wait_for;

/// Enough for either database.
const MEGABYTES: u32 = 4;

/// Crashes `web` once and waits until it runs again.
fn crash_and_heal(fleet: &Fleet) {
    let before = fleet.engine.told("start", "web");
    fleet.engine.crash("web");
    wait_for("web is started", DEADLINE, || {
        (fleet.engine.told("start", "web") > before && fleet.engine.is_running("web")).then_some(())
    });
}

#[test]
fn a_full_disk_of_the_controller_delays_events_and_loses_none() {
    let fleet = Fleet::prepare(&[]);
    let disk = SmallDisk::mount(&fleet.data("controller"), MEGABYTES);
    fleet.engine.run("web", &["--label", "dockhealth.monitor=true"]);
    fleet.controller.start();
    fleet.agent.start();
    fleet.wait_ready(Timestamp::from_millis(0));
    fleet.wait_listed(&["web"]);
    disk.fill();
    let mut crashes = 0;
    wait_for("the agent's events wait", DEADLINE * 2, || {
        crash_and_heal(&fleet);
        crashes += 1;
        let waiting = fleet.host()?["agent"]["outbox"].as_u64()?;
        (waiting >= 4).then_some(())
    });
    let answer = fleet.ask("GET", "/readyz", "").expect("the controller goes on");
    assert_eq!((answer.status, &answer.json["ready"]), (503, &false.into()), "{answer:?}");
    fleet.wait_listed(&["web"]);
    disk.free();
    fleet.wait_ready(Timestamp::now());
    fleet.wait_delivered();
    assert!((1..=crashes).contains(&fleet.count("container_failing", "web")));
    assert_eq!(fleet.count("container_started", "web"), crashes);
    assert_eq!(fleet.engine.told("start", "web"), 1 + crashes);
}

#[test]
fn a_full_disk_of_the_agent_does_not_stop_healing() {
    let fleet = Fleet::prepare(&[]);
    let disk = SmallDisk::mount(&fleet.data("agent"), MEGABYTES);
    fleet.engine.run("web", &["--label", "dockhealth.monitor=true"]);
    fleet.controller.start();
    fleet.agent.start();
    fleet.wait_ready(Timestamp::from_millis(0));
    fleet.wait_listed(&["web"]);
    disk.fill();
    let said = |words: &str| fleet.agent.log().contains(words);
    wait_for("the agent says that its disk is full", DEADLINE * 2, || {
        crash_and_heal(&fleet);
        (said("the action journal cannot be written; healing goes on")
            && said("what happens is not kept on disk; healing goes on"))
        .then_some(())
    });
    crash_and_heal(&fleet);
    let starts = fleet.engine.told("start", "web");
    assert_eq!(fleet.engine.told("die", "web"), starts - 1);
    disk.free();
    let told = fleet.count("container_started", "web");
    crash_and_heal(&fleet);
    wait_for("events are told again", DEADLINE, || {
        (fleet.count("container_started", "web") > told).then_some(())
    });
    assert!(said("what happens is kept on disk again"));
    fleet.wait_ready(Timestamp::now());
}
