//! `kill -9` of agent, controller and nats-server, in turn, under load.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Instant;

use dockhealth::model::Timestamp;

use super::load::{Blow, Ending, Progress, by_container, faults, lists};
use super::rig::{Fleet, HOST};
use super::rounds;

/// The containers under load: two listed by their label, two named by an administrator.
const VICTIMS: [(&str, Blow); 4] =
    [("labelled1", Blow::Crash), ("named1", Blow::Kill), ("labelled2", Blow::Crash), ("named2", Blow::Kill)];

#[test]
fn after_kill_9_of_any_process_under_load_all_recovers_alone() {
    let fleet = Fleet::start(&[]);
    for (name, blow) in VICTIMS {
        let labelled = matches!(blow, Blow::Crash);
        fleet.engine.run(name, if labelled { &["--label", "dockhealth.monitor=true"] } else { &[] });
        if !labelled {
            fleet.monitor(name);
        }
    }
    fleet.engine.run("bystander", &[]);
    let untouched = fleet.engine.inspect("bystander", "{{.State.StartedAt}}");
    fleet.change("PUT", "/api/v1/threshold", "42");
    let monitored = VICTIMS.map(|(name, _)| name);
    fleet.wait_listed(&monitored);

    let progress = Progress::default();
    let mut agent_killed = Vec::new();
    let faults = thread::scope(|scope| {
        let ending = Ending(&progress);
        let load = scope.spawn(|| faults(&fleet, &VICTIMS, &progress));
        scope.spawn(|| lists(&fleet, &monitored, &progress));
        for round in 0..rounds() {
            for victims in
                [&["agent"][..], &["controller"], &["nats-server"], &["agent", "controller", "nats-server"]]
            {
                let killed = Timestamp::now();
                if victims.contains(&"agent") {
                    agent_killed.push(Instant::now());
                }
                for victim in victims {
                    kill(&fleet, victim);
                }
                for victim in victims {
                    start(&fleet, victim);
                }
                fleet.wait_ready(killed);
                assert_eq!(fleet.get("/api/v1/threshold"), 42.0, "round {round}, {victims:?} killed");
                progress.wait_for_more();
            }
        }
        drop(ending);
        load.join().expect("every fault was healed")
    });
    fleet.wait_listed(&monitored);
    fleet.wait_delivered();
    eprintln!("{} faults were healed, {} lists were whole", faults.len(), progress.whole_lists.load(Relaxed));

    let befell = by_container(&faults);
    let in_doubt = faults.iter().filter(|fault| agent_killed.iter().any(|at| fault.was_open_at(*at)));
    let in_doubt: BTreeMap<&str, usize> = by_container(in_doubt);
    for (name, count) in &befell {
        // The engine's own account: each fault ended it once, and it was started once for each.
        assert_eq!(fleet.engine.told("die", name), *count, "{name} died of nothing but our faults");
        assert_eq!(fleet.engine.told("start", name), 1 + count, "{name} was started once for each fault");
        // Ours, but for what an agent had not yet written when it was killed.
        let lost = in_doubt.get(name).copied().unwrap_or(0);
        let started = fleet.count("container_started", name);
        assert!((count - lost..=*count).contains(&started), "{name}: {started} started of {count} -{lost}");
        let failing = fleet.count("container_failing", name);
        assert!((1..=count + lost).contains(&failing), "{name}: {failing} failing of {count} +{lost}");
        for never in ["container_restarted", "quarantined", "action_failed"] {
            assert_eq!(fleet.count(never, name), 0, "{name}: {never}");
        }
    }
    assert_eq!(fleet.engine.inspect("bystander", "{{.State.StartedAt}}"), untouched);
    for quiet in ["host_silent", "identity_conflict", "events_dropped"] {
        assert_eq!(fleet.count(quiet, ""), 0, "{quiet}");
    }
    assert_eq!(
        fleet.count("agent_started", ""),
        1 + agent_killed.len(),
        "each start of the agent of {HOST} is told once"
    );
}

fn kill(fleet: &Fleet, victim: &str) {
    match victim {
        "agent" => fleet.agent.kill(),
        "controller" => fleet.controller.kill(),
        _ => fleet.nats().kill(),
    }
}

fn start(fleet: &Fleet, victim: &str) {
    match victim {
        "agent" => fleet.agent.start(),
        "controller" => fleet.controller.start(),
        _ => fleet.nats().restart(),
    }
}
