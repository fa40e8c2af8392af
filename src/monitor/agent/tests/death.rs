//! What an agent leaves behind when it dies, and what the next one makes of it.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::world::{Stored, World, wait};
use crate::bus::{AgentCommand, AgentReply};
use crate::docker::fake::{Behaviour, Call, FakeEngine, Op};
use crate::model::{ContainerId, EventKind, Health};
use crate::monitor::decide::RestartMode;

/// An agent that was killed while it restarted `web` for loss; `cut` says how far the engine had come.
fn restart_cut_in_two(cut: impl Fn(&FakeEngine), after: &[Call]) {
    let world = World::new();
    let web = world.labelled("web");
    let agent = world.ready_agent();
    world.wait_health("web", Health::Healthy);
    world.engine.next(Op::Restart, Behaviour::Hang);
    world.lose_all("web");
    let restart = Call::Restart(web, None);
    wait("the restart begins", || world.engine.changes().contains(&restart).then_some(()));
    assert_eq!(agent.unfinished(&world), 1, "it is journaled before");
    agent.die(&world);
    cut(&world.engine);

    let agent = world.ready_agent();
    world.wait_health("web", Health::Healthy);
    wait("the journal is whole", || (agent.unfinished(&world) == 0).then_some(()));
    world.two_sweeps();
    assert_eq!(world.engine.changes()[1..], *after);
    let stored = Arc::new(Mutex::new(Stored::default()));
    let controller = world.controller(&stored, false);
    let interrupted = (EventKind::ActionInterrupted, Some("web".parse().unwrap()));
    wait("the history tells of it", || stored.lock().unwrap().events.contains(&interrupted).then_some(()));
    controller.abort();
    agent.stop(&world);
}

fn web() -> ContainerId {
    let world = World::new();
    world.labelled("web")
}

#[test]
fn a_restart_that_the_engine_never_began_is_done_by_the_next_agent_once() {
    restart_cut_in_two(|_| {}, &[Call::Restart(web(), None)]);
}

#[test]
fn a_restart_that_the_engine_did_half_is_finished_by_the_next_agent_once() {
    // It looks like a stop by its owner, which would be left alone.
    restart_cut_in_two(|engine| engine.user_stop("web"), &[Call::Start(web())]);
}

#[test]
fn a_restart_that_the_engine_finished_alone_is_not_done_again() {
    restart_cut_in_two(|engine| engine.user_restart("web"), &[]);
}

#[test]
fn a_recreate_cut_anywhere_is_finished_or_undone_by_the_next_agent() {
    for changes in 1..=6 {
        let mut world = World::new();
        world.policy.restart_mode = RestartMode::Recreate;
        world.named("web");
        let agent = world.ready_agent();
        world.wait_health("web", Health::Healthy);
        world.engine.halt_after(changes);
        world.lose_all("web");
        wait("the recreate is cut", || (world.engine.changes().len() == changes as usize).then_some(()));
        agent.die(&world);
        world.engine.resume();

        let agent = world.ready_agent();
        wait(&format!("web alone is there and well, cut after {changes}"), || {
            let whole = world.engine.names() == [("web".to_owned(), true)];
            (whole && agent.unfinished(&world) == 0).then_some(())
        });
        // Where it was undone, the old one with its loss is back, and is recreated again.
        world.wait_health("web", Health::Healthy);
        assert_eq!(world.engine.names(), [("web".to_owned(), true)], "cut after {changes}");
        agent.stop(&world);
    }
}

#[test]
fn a_recreate_that_cannot_be_set_right_keeps_nothing_else_waiting() {
    let mut world = World::new();
    world.policy.restart_mode = RestartMode::Recreate;
    world.named("web");
    world.named("other");
    let agent = world.ready_agent();
    world.wait_health("web", Health::Healthy);
    world.engine.halt_after(3);
    world.lose_all("web");
    wait("the recreate is cut", || (world.engine.changes().len() == 3).then_some(()));
    agent.die(&world);
    world.engine.resume();
    // Its name is taken, so the old one cannot have it back.
    world.engine.run("web", &json!({}));

    let agent = world.ready_agent();
    world.engine.crash("other", 1);
    wait("another is healed", || world.container("other").filter(|c| c.restarts == Some(1)));
    assert_eq!(agent.unfinished(&world), 1);
    agent.stop(&world);
}

#[test]
fn budgets_quarantine_and_release_outlive_the_agent() {
    let mut world = World::new();
    world.policy.budget = "2/1h".parse().unwrap();
    world.named("web");
    let agent = world.ready_agent();
    world.wait_health("web", Health::Healthy);
    for restarts in 1..=2 {
        world.engine.crash("web", 1);
        wait("it is started", || world.container("web").filter(|c| c.restarts == Some(restarts)));
    }
    agent.die(&world);
    let agent = world.ready_agent();
    world.engine.crash("web", 1);
    world.wait_health("web", Health::Quarantined);
    agent.stop(&world);
    let agent = world.ready_agent();
    world.wait_health("web", Health::Quarantined);
    assert_eq!(world.engine.changes().len(), 2);
    let release = AgentCommand::Release { container: "web".parse().unwrap() };
    assert_eq!(world.ask(&release), AgentReply::Done);
    world.wait_health("web", Health::Healthy);
    agent.stop(&world);
    let agent = world.ready_agent();
    world.engine.crash("web", 1);
    wait("its budget began anew", || world.container("web").filter(|c| c.restarts == Some(4)));
    assert_eq!(world.engine.changes().len(), 4);
    agent.stop(&world);
}
