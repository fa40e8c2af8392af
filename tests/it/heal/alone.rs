//! An agent whose bus and controller are gone: it heals on, and answers on its own socket.

use serde_json::Value;

use super::rig::{OBEDIENT, QUICK, Rig, crash, printed, wait_started_again};
use crate::support::daemon::Daemon;
use crate::support::{Lab, wait_for};

fn listed(agent: &Daemon, full: &str) -> Option<Value> {
    let all: Value = serde_json::from_str(&printed(agent, &["ps", "--local", "--json"])).expect("JSON");
    all.as_array().expect("a list").iter().find(|container| container["name"] == full).cloned()
}

#[test]
fn an_agent_whose_controller_and_broker_died_heals_on_and_obeys_its_socket() {
    let mut rig = Rig::fleet(QUICK);
    let full = rig.named("web", &[]);
    rig.wait_healthy(&full);
    rig.server.kill();
    rig.fleet.as_mut().expect("a fleet").server.kill();
    let (lab, agent) = (&rig.lab, &rig.agents[0]);

    wait_started_again(lab, &full, || crash(lab, &full));
    wait_for("it is well", super::rig::DEADLINE, || {
        listed(agent, &full).filter(|c| c["health"] == "healthy" && c["restarts"] == 1)
    });
    let why = printed(agent, &["why", "--local", &full]);
    assert!(why.contains("an administrator named it") && why.contains("ended by itself"), "{why}");

    let said = printed(agent, &["freeze", "--local"]);
    assert!(said.contains(&rig.host), "{said}");
    crash(lab, &full);
    wait_for("it is held", super::rig::DEADLINE, || listed(agent, &full).filter(|c| c["health"] == "frozen"));
    assert!(!lab.is_running(&full));
    wait_started_again(lab, &full, || drop(printed(agent, &["freeze", "--lift", "--local"])));

    // What happened meanwhile is told when both are back, each thing once.
    rig.fleet.as_mut().expect("a fleet").server.restart();
    rig.server.restart();
    wait_for("the history is whole", super::rig::DEADLINE, || {
        (rig.actions(&full) == ["container_started"; 2]).then_some(())
    });
}

#[test]
fn an_agent_that_never_reached_a_broker_works_by_label() {
    let (lab, dir) = (Lab::new("heal"), tempfile::tempdir().expect("a temporary folder"));
    let full = lab.run("labelled", &["--label", "dockhealth.monitor=true"], &OBEDIENT);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("nats://{}", closed.local_addr().expect("its address"));
    drop(closed);
    let mut agent = Daemon::start(
        "agent",
        &dir.path().join("agent"),
        &[&["--nats", &url, "--hostname", lab.prefix()], QUICK].concat(),
    );
    wait_for("it is watched", super::rig::DEADLINE, || {
        listed(&agent, &full).filter(|c| c["health"] == "healthy")
    });
    wait_started_again(&lab, &full, || crash(&lab, &full));
    assert!(agent.terminate().success(), "it ends in order");
    assert!(lab.is_running(&full), "stopping the agent changes no container");
    assert_eq!(agent.errors(), Vec::<String>::new());
}
