//! An engine that is killed, and one that ends in order, with everything that ran in it.

use dockhealth::model::Timestamp;

use super::rig::{DEADLINE, Fleet};
use super::rounds;
use crate::support::wait_for;

/// Monitored by their label, and by name.
const MONITORED: [&str; 4] = ["labelled1", "labelled2", "named1", "named2"];

fn with_containers() -> Fleet {
    let fleet = Fleet::start(&[]);
    for name in MONITORED {
        let labelled = name.starts_with("labelled");
        fleet.engine.run(name, if labelled { &["--label", "dockhealth.monitor=true"] } else { &[] });
        if !labelled {
            fleet.monitor(name);
        }
    }
    fleet.engine.run("bystander", &[]);
    fleet.engine.run("stopped", &["--label", "dockhealth.monitor=true"]);
    fleet.wait_listed(&[&MONITORED[..], &["stopped"]].concat());
    fleet.engine.docker(&["stop", "stopped"]);
    wait_for("a stopped one is left", DEADLINE, || {
        (fleet.count("container_left", "stopped") == 1).then_some(())
    });
    fleet
}

/// Ends the engine by `end` for the `round`th time, counted from 1, and starts it again.
fn survive(fleet: &mut Fleet, round: usize, end: impl FnOnce(&mut Fleet)) {
    let ended = Timestamp::now();
    end(fleet);
    wait_for("the engine is said to be unreachable", DEADLINE, || {
        let host = fleet.host()?;
        (host["agent"]["engine"]["status"] == "unreachable").then_some(())
    });
    let listed = fleet.get("/api/v1/containers?monitored=true");
    assert_eq!(listed.as_array().map(Vec::len), Some(5), "none is lost from the list: {listed}");
    fleet.wait_delivered();
    assert_eq!(fleet.count("engine_unreachable", ""), round, "it is said once");
    let blamed = (round - 1) * MONITORED.len();
    assert_eq!(fleet.count("container_failing", ""), blamed, "containers are not blamed for their engine");
    fleet.engine.spawn();
    fleet.wait_ready(ended);
    wait_for("all that ran is well again", DEADLINE, || {
        let well =
            |name: &&str| fleet.engine.is_running(name) && fleet.count("container_recovered", name) == round;
        MONITORED.iter().all(well).then_some(())
    });
    fleet.wait_delivered();
    for name in MONITORED {
        assert_eq!(fleet.engine.told("start", name), 1 + round, "{name} was started once each time");
        assert_eq!(fleet.count("container_started", name), round, "{name}");
        assert_eq!(fleet.count("container_failing", name), round, "{name}");
    }
    for left in ["bystander", "stopped"] {
        assert!(!fleet.engine.is_running(left), "{left} is none of ours to start");
    }
    assert_eq!(fleet.count("engine_unreachable", ""), round, "it is said once");
    assert_eq!(fleet.count("engine_reachable", ""), round);
}

#[test]
fn after_kill_9_of_the_engine_all_that_ran_runs_again_once() {
    let mut fleet = with_containers();
    for round in 1..=rounds() {
        survive(&mut fleet, round, |fleet| fleet.engine.kill());
    }
}

#[test]
fn after_the_engine_ended_in_order_all_that_ran_runs_again_once() {
    let mut fleet = with_containers();
    for round in 1..=3 {
        survive(&mut fleet, round, |fleet| fleet.engine.terminate());
    }
}

#[test]
fn after_a_restart_of_the_engine_all_that_ran_comes_back_at_a_bounded_rate() {
    const CONTAINERS: usize = 12;
    let mut fleet = Fleet::start(&[]);
    let names: Vec<String> = (0..CONTAINERS).map(|n| format!("c{n}")).collect();
    for name in &names {
        fleet.engine.run(name, &["--label", "dockhealth.monitor=true"]);
    }
    fleet.wait_listed(&names.iter().map(String::as_str).collect::<Vec<_>>());
    fleet.engine.kill();
    fleet.engine.spawn();
    wait_for("all run again", DEADLINE, || {
        names.iter().all(|name| fleet.count("container_started", name) == 1).then_some(())
    });
    let ordered = |event: &serde_json::Value| {
        let told: Timestamp = event["time"].as_str().expect("a time").parse().expect("RFC 3339");
        told.millis() - event["data"]["took_ms"].as_i64().expect("a span")
    };
    let events = fleet.events();
    let mut orders: Vec<i64> =
        events.iter().filter(|event| event["kind"] == "container_started").map(ordered).collect();
    orders.sort_unstable();
    assert_eq!(orders.len(), CONTAINERS, "each once");
    for five in orders.windows(5) {
        assert!(five[4] - five[0] > 900, "five within a second: {orders:?}");
    }
    assert_eq!(fleet.count("container_restarted", "") + fleet.count("breaker_opened", ""), 0);
}
