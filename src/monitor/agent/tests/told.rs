//! What an agent tells, and what it is told to do.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::world::{Stored, World, wait};
use crate::bus::{AgentCommand, AgentReply, CommandError, PROTOCOL_VERSION, Subject, decode, encode};
use crate::docker::fake::{Call, FakeEngine};
use crate::model::{Actor, EventKind, FaultMoment, FaultNote, Health};

#[test]
fn healing_goes_on_when_nothing_can_be_kept() {
    let world = World::new();
    let (web, sql) = (world.named("web"), world.named("sql"));
    let agent = world.ready_agent();
    for name in ["web", "sql"] {
        world.wait_health(name, Health::Healthy);
    }
    world.outside.block_on(agent.db.close());
    world.engine.crash("web", 1);
    wait("web is well again", || world.container("web").filter(|c| c.restarts == Some(1)));
    world.lose_all("sql");
    wait("sql is well again", || world.container("sql").filter(|c| c.restarts == Some(1)));
    assert_eq!(world.engine.changes(), [Call::Start(web), Call::Restart(sql, None)]);
    assert_eq!(world.report().outbox, None, "unknown is not 0");
    agent.stop(&world);
}

#[test]
fn the_outbox_outlives_agent_and_controller_and_tells_everything_once() {
    let world = World::new();
    world.named("web");
    let agent = world.ready_agent();
    world.wait_health("web", Health::Healthy);
    world.engine.crash("web", 1);
    wait("it is started", || world.container("web").filter(|c| c.restarts == Some(1)));
    agent.stop(&world);

    let stored = Arc::new(Mutex::new(Stored::default()));
    let dying = world.controller(&stored, true);
    let agent = world.ready_agent();
    world.outside.block_on(dying).unwrap();
    world.engine.crash("web", 1);
    wait("it is started", || world.container("web").filter(|c| c.restarts == Some(2)));
    let controller = world.controller(&stored, false);
    wait("everything is delivered", || (world.report().outbox == Some(0)).then_some(()));
    let count = |kind| stored.lock().unwrap().events.iter().filter(|(k, _)| *k == kind).count();
    wait("both starts are stored", || (count(EventKind::ContainerStarted) == 2).then_some(()));
    assert_eq!((count(EventKind::AgentStarted), count(EventKind::AgentStopped)), (2, 1));
    assert_eq!(count(EventKind::ContainerFailing), 2);
    assert!(stored.lock().unwrap().batches >= 2, "the batch of the dead controller came again");
    controller.abort();
    agent.stop(&world);
}

#[test]
fn commands_are_done_or_refused_with_the_reason() {
    let world = World::new();
    let web = world.named("web");
    world.engine.run("other", &json!({}));
    world.engine.run("part", &FakeEngine::labelled(&[("dockhealth.role", "controller")]));
    let agent = world.ready_agent();
    world.wait_health("web", Health::Healthy);
    let report = world.report();
    let names: Vec<_> = report.containers.iter().map(|c| (c.name.as_str(), c.monitored)).collect();
    assert_eq!(names, [("other", false), ("part", false), ("web", true)]);
    assert_eq!((report.host, report.v), (world.host.clone(), PROTOCOL_VERSION));

    let restart = |name: &str| AgentCommand::Restart { container: name.parse().unwrap() };
    assert_eq!(world.ask(&restart("web")), AgentReply::Done);
    wait("it is restarted", || world.container("web").filter(|c| c.restarts == Some(1)));
    assert_eq!(world.engine.changes(), [Call::Restart(web, None)]);
    let AgentReply::Why(why) = world.ask(&AgentCommand::Why { container: "web".parse().unwrap() }) else {
        panic!("why is answered")
    };
    let restarted = why.events.iter().find(|event| event.kind == EventKind::ContainerRestarted);
    assert_eq!(restarted.unwrap().by, Actor::Operator);
    let refusal = |reply| match reply {
        AgentReply::Error(error) => error,
        other => panic!("{other:?}"),
    };
    let missing = CommandError::NoSuchContainer { container: "nobody".to_owned() };
    let nobody = || "nobody".parse().unwrap();
    for command in [
        restart("nobody"),
        AgentCommand::Release { container: nobody() },
        AgentCommand::Why { container: nobody() },
    ] {
        assert_eq!(refusal(world.ask(&command)), missing);
    }
    for command in [restart("part"), AgentCommand::Freeze { for_ms: None }, AgentCommand::Unfreeze] {
        assert!(matches!(refusal(world.ask(&command)), CommandError::Refused { .. }), "{command:?}");
    }
    let note = FaultNote {
        fault_id: "00000000000000aa".to_owned(),
        container: "web".parse().unwrap(),
        fault: "pause".to_owned(),
        lease_ms: None,
        campaign: None,
        moment: FaultMoment::Injected(String::new()),
    };
    let fault = AgentCommand::Fault { note };
    for command in [fault.clone(), AgentCommand::ChaosEnd { campaign: None }] {
        assert!(matches!(refusal(world.ask(&command)), CommandError::Refused { .. }), "{command:?}");
    }
    assert_eq!(world.socket(std::str::from_utf8(&encode(&fault)).unwrap()), AgentReply::Done);
    let AgentReply::Why(why) = world.ask(&AgentCommand::Why { container: "web".parse().unwrap() }) else {
        panic!("why is answered")
    };
    let told = why.events.iter().find(|event| event.kind == EventKind::FaultInjected);
    assert_eq!(told.unwrap().by, Actor::Antagonist);
    for garbage in ["", "{", "[]", "{\"command\":\"explode\"}", "{\"command\":\"restart\"}"] {
        let answer = world.request(&Subject::Command(world.host.clone()), garbage.into()).unwrap();
        assert!(matches!(refusal(decode(&answer).unwrap()), CommandError::Malformed { .. }), "{garbage:?}");
        assert!(matches!(refusal(world.socket(garbage)), CommandError::Malformed { .. }), "{garbage:?}");
    }
    assert!(matches!(refusal(world.socket(&"x".repeat(70_000))), CommandError::Malformed { .. }));
    assert_eq!(world.engine.changes().len(), 1);
    agent.stop(&world);
    assert!(!world.dir.path().join("agent.sock").exists());
}

#[test]
fn a_freeze_over_the_socket_outlives_the_agent() {
    let world = World::new();
    world.named("web");
    let agent = world.ready_agent();
    world.wait_health("web", Health::Healthy);
    assert_eq!(world.socket("{\"command\":\"freeze\",\"for_ms\":null}"), AgentReply::Done);
    assert_eq!(world.report().freeze.unwrap().until, None);
    agent.stop(&world);

    let agent = world.ready_agent();
    world.engine.crash("web", 1);
    world.wait_health("web", Health::Frozen);
    assert_eq!(world.engine.changes(), []);
    assert_eq!(world.socket("{\"command\":\"unfreeze\"}"), AgentReply::Done);
    world.wait_runs("web");
    assert_eq!(world.report().freeze, None);
    agent.stop(&world);

    let agent = world.ready_agent();
    world.engine.crash("web", 1);
    world.wait_runs("web");
    agent.stop(&world);
}
