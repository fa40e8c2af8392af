//! An engine that goes away, comes back, or refuses.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::{Message, keeper, watcher};
use super::world::{World, wait};
use crate::bus::EngineStatus;
use crate::docker::EngineError;
use crate::docker::fake::{Behaviour, Call, Op};
use crate::model::{EventKind, Health};
use crate::monitor::decide::Input;
use crate::store::AgentDb;

#[test]
fn an_engine_that_is_away_at_the_start_is_waited_for() {
    let world = World::new();
    world.engine.set_reachable(false);
    let web = world.labelled("web");
    let agent = world.agent();
    let report = wait("it is known to be away", || {
        Some(world.report()).filter(|r| r.engine.error.as_deref().is_some_and(|why| why.contains("is away")))
    });
    assert_eq!((report.engine.status, report.engine.id), (EngineStatus::Unreachable, None));
    assert_eq!(report.containers, []);

    world.engine.crash("web", 1);
    world.engine.set_reachable(true);
    world.wait_runs("web");
    assert_eq!(world.engine.changes(), [Call::Start(web)]);
    assert_eq!(world.report().engine.status, EngineStatus::Reachable);
    agent.stop(&world);
    assert_eq!(world.engine.changes().len(), 1, "stopping the agent changes no container");
}

#[test]
fn a_container_that_cannot_be_looked_at_is_looked_at_again() {
    let world = World::new();
    world.labelled("web");
    let agent = world.ready_agent();
    world.wait_health("web", Health::Healthy);
    let error = EngineError::TimedOut(Duration::from_secs(3), "scripted".to_owned());
    for _ in 0..2 {
        world.engine.next(Op::Inspect, Behaviour::Fail(error.clone()));
    }
    world.engine.crash("web", 1);
    wait("it is started", || world.container("web").filter(|c| c.restarts == Some(1)));
    agent.stop(&world);
}

#[test]
fn nobody_is_blamed_while_the_engine_is_away_and_what_went_down_meanwhile_is_started() {
    let world = World::new();
    let web = world.named("web");
    let sql = world.labelled("sql");
    world.named("gone");
    let agent = world.ready_agent();
    for name in ["web", "sql", "gone"] {
        world.wait_health(name, Health::Healthy);
    }
    world.engine.set_reachable(false);
    let unknown = world.wait_health("web", Health::Unknown);
    assert!(unknown.reason.contains("unreachable"), "{}", unknown.reason);
    // An engine that restarts stops what was left of its former life, and tells of it as of a stop.
    world.engine.crash("web", 0);
    world.engine.user_stop("sql");
    world.engine.user_remove("gone");
    world.engine.set_reachable(true);
    world.wait_runs("web");
    world.wait_runs("sql");
    assert!(world.container("gone").is_none());
    let mut changes = world.engine.changes();
    changes.sort_by_key(|call| format!("{call:?}"));
    let mut expected = vec![Call::Start(web), Call::Start(sql)];
    expected.sort_by_key(|call| format!("{call:?}"));
    assert_eq!(changes, expected);
    agent.stop(&world);
}

#[test]
fn what_happened_while_no_agent_was_there_is_judged_by_the_engines_word() {
    let world = World::new();
    let web = world.labelled("web");
    world.labelled("sql");
    let agent = world.ready_agent();
    world.wait_health("web", Health::Healthy);
    world.engine.crash("web", 1);
    wait("it is started", || world.container("web").filter(|c| c.restarts == Some(1)));
    agent.stop(&world);

    world.engine.crash("web", 0);
    world.engine.user_stop("sql");
    let agent = world.ready_agent();
    world.wait_runs("web");
    wait("sql is left down", || world.story("sql").contains(&EventKind::ContainerLeft).then_some(()));
    assert_eq!(world.engine.changes(), [Call::Start(web.clone()), Call::Start(web)]);
    agent.stop(&world);
}

#[test]
fn what_crashed_while_no_agent_was_there_is_no_stop_though_the_first_agent_found_nothing() {
    let world = World::new();
    let agent = world.ready_agent();
    let web = world.labelled("web");
    let noted = || world.outside.block_on(keeper::last_engine_event(&agent.db));
    wait("the engine's time is noted", noted);
    agent.die(&world);

    // As a stop leaves it behind, but nobody told it to.
    world.engine.crash("web", 137);
    let agent = world.ready_agent();
    world.wait_runs("web");
    assert_eq!(world.engine.changes(), [Call::Start(web)]);
    agent.stop(&world);
}

#[test]
fn an_engine_that_refuses_is_asked_again_until_the_budget_is_spent() {
    let world = World::new();
    world.named("web");
    for _ in 0..2 {
        let no = EngineError::Refused("no space".to_owned());
        world.engine.next(Op::Start, Behaviour::Fail(no));
    }
    let agent = world.ready_agent();
    world.wait_health("web", Health::Healthy);
    world.engine.crash("web", 1);
    world.wait_runs("web");
    wait("all is told", || {
        let started = world.story("web").contains(&EventKind::ContainerStarted);
        started.then_some(())
    });
    let failed = world.story("web").into_iter().filter(|kind| *kind == EventKind::ActionFailed).count();
    assert_eq!((failed, world.engine.changes().len()), (2, 3));
    agent.stop(&world);
}

#[test]
fn a_crash_loop_is_quarantined_within_its_budget_whatever_its_start_calls_return() {
    let timed_out = || EngineError::TimedOut(Duration::from_secs(3), "scripted".to_owned());
    for behaviour in [
        Behaviour::Fail(EngineError::Refused("no space".to_owned())),
        Behaviour::Fail(timed_out()),
        Behaviour::ActThenFail(timed_out()),
        Behaviour::Fail(EngineError::Malformed("half an answer".to_owned())),
        Behaviour::Fail(EngineError::Unreachable("connection reset".to_owned())),
    ] {
        let world = World::new();
        let web = world.named("web");
        let agent = world.ready_agent();
        world.wait_health("web", Health::Healthy);
        for _ in 0..100 {
            world.engine.next(Op::Start, behaviour.clone());
        }
        world.engine.crash("web", 1);
        wait("it is quarantined", || {
            if world.container("web").is_some_and(|c| c.health == Health::Quarantined) {
                return Some(());
            }
            if world.runs("web") {
                world.engine.crash("web", 1);
            }
            None
        });
        assert_eq!(world.engine.changes(), vec![Call::Start(web); 5], "{behaviour:?}");
        agent.stop(&world);
    }
}

/// The watcher alone, whose times are far apart: it has none but these, so paused time stops at each.
#[test]
fn of_eleven_lists_one_reads_every_container() {
    let world = World::new();
    let db = AgentDb::open(&world.dir.path().join("data")).unwrap();
    let paused =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    paused.block_on(async {
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let (keeper, _) = keeper::spawn(&tracker, &db, &world.host);
        let (inbox, mut messages) = mpsc::channel(16);
        let _asking = watcher::spawn(&tracker, &world.parts(&db), Vec::new(), inbox, keeper, &shutdown);
        let mut listed = 0;
        while listed < 23 {
            let message = messages.recv().await.expect("the watcher goes on");
            listed += u32::from(matches!(message, Message::Input(Input::Listed(..))));
        }
        shutdown.cancel();
        tracker.close();
        tracker.wait().await;
    });
    let lists: Vec<Call> =
        world.engine.calls().into_iter().filter(|call| matches!(call, Call::List | Call::Relist)).collect();
    assert_eq!(lists.len(), 23);
    for (number, list) in lists.into_iter().enumerate() {
        assert_eq!(list, if number % 11 == 0 { Call::List } else { Call::Relist }, "list {number}");
    }
}
