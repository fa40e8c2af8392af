//! An engine that is killed, and one that ends in order, with everything that ran in it.

use dockhealth::model::Timestamp;

use super::rig::{DEADLINE, Fleet};
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

fn survives(mut fleet: Fleet, end: impl FnOnce(&mut Fleet)) {
    let before: Vec<_> =
        MONITORED.iter().map(|name| fleet.engine.inspect(name, "{{.State.StartedAt}}")).collect();
    let ended = Timestamp::now();
    end(&mut fleet);
    wait_for("the engine is said to be unreachable", DEADLINE, || {
        let host = fleet.host()?;
        (host["agent"]["engine"]["status"] == "unreachable").then_some(())
    });
    let listed = fleet.get("/api/v1/containers?monitored=true");
    assert_eq!(listed.as_array().map(Vec::len), Some(5), "none is lost from the list: {listed}");
    assert_eq!(fleet.count("engine_unreachable", ""), 1);
    assert_eq!(fleet.count("container_failing", ""), 0, "containers are not blamed for their engine");
    fleet.engine.spawn();
    fleet.wait_ready(ended);
    wait_for("all that ran runs again", DEADLINE, || {
        MONITORED.iter().all(|name| fleet.engine.is_running(name)).then_some(())
    });
    fleet.wait_delivered();
    for (name, before) in MONITORED.iter().zip(before) {
        assert_ne!(fleet.engine.inspect(name, "{{.State.StartedAt}}"), before, "{name} was started anew");
        // The engine's events do not outlive it: these are of its second life.
        assert_eq!(fleet.engine_count("start", name), 1, "{name} was started once");
        assert_eq!(fleet.count("container_started", name), 1, "{name}");
        assert_eq!(fleet.count("container_failing", name), 1, "{name}");
    }
    for left in ["bystander", "stopped"] {
        assert!(!fleet.engine.is_running(left), "{left} is none of ours to start");
    }
    assert_eq!(fleet.count("engine_unreachable", ""), 1, "it is said once");
    assert_eq!(fleet.count("engine_reachable", ""), 1);
}

#[test]
fn after_kill_9_of_the_engine_all_that_ran_runs_again_once() {
    survives(with_containers(), |fleet| fleet.engine.kill());
}

#[test]
fn after_the_engine_ended_in_order_all_that_ran_runs_again_once() {
    survives(with_containers(), |fleet| fleet.engine.terminate());
}
