//! The agent's tasks on a scripted engine, a scripted network and the local bus.
//!
//! Each agent has a runtime of its own, so that a test can end it at once as `kill -9` does. Time is real and the policy
//! quick: the database has a thread of its own, and paused time would run away while that writes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{AgentParts, AgentSettings, run};
use crate::bus::{
    AgentCommand, AgentReply, Bus, CommandError, ContainerReport, DesiredChange, DesiredStore, EngineStatus,
    HostReport, LocalBus, OutboxAck, OutboxBatch, OutboxItem, PROTOCOL_VERSION, Subject, decode, encode,
};
use crate::docker::EngineError;
use crate::docker::fake::{Behaviour, Call, FakeEngine, Op};
use crate::metrics::Machine;
use crate::model::{
    ContainerId, ContainerKey, ContainerName, DesiredEntry, DesiredState, EventKind, Health, HostName,
};
use crate::monitor::decide::{Detector, ErrorRates, OwnContainers, Policy, RestartMode};
use crate::monitor::ping::PingError;
use crate::monitor::ping::fake::{FakePinger, LossSpec};
use crate::store::AgentDb;

const DEADLINE: Duration = Duration::from_secs(30);

fn wait<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

struct NoStore;

#[async_trait]
impl DesiredStore for NoStore {
    async fn put(&self, _: &DesiredChange) -> Result<(), String> {
        Ok(())
    }
}

/// All that outlives an agent.
struct World {
    engine: FakeEngine,
    pinger: Arc<FakePinger>,
    bus: LocalBus,
    host: HostName,
    dir: tempfile::TempDir,
    policy: Policy,
    outside: Runtime,
}

impl World {
    fn new() -> Self {
        let policy = Policy {
            settle: Duration::from_millis(20),
            grace: Duration::ZERO,
            backoff: Duration::from_millis(1),
            starts_per_second: 1000,
            ..Policy::default()
        };
        Self {
            engine: FakeEngine::new(),
            pinger: Arc::new(FakePinger::new()),
            bus: LocalBus::new(DesiredState::default(), NoStore),
            host: HostName::new("h").unwrap(),
            dir: tempfile::tempdir().unwrap(),
            policy,
            outside: runtime(),
        }
    }

    /// Starts an agent and waits until it answers.
    fn agent(&self) -> Running {
        let db = AgentDb::open(&self.dir.path().join("data")).unwrap();
        let settings = AgentSettings {
            host: self.host.clone(),
            policy: self.policy.clone(),
            interval: Duration::from_millis(50),
            report_interval: Duration::from_millis(100),
            stop_timeout: None,
            anonymous_volumes: None,
            socket: Some(self.dir.path().join("agent.sock")),
            own: OwnContainers::default(),
            addresses: Vec::new(),
            capabilities: Vec::new(),
            machine: Machine::Elsewhere,
        };
        let engine = Arc::new(self.engine.clone());
        let parts = AgentParts {
            source: engine.clone(),
            builder: engine,
            pinger: Some(self.pinger.clone()),
            bus: Arc::new(self.bus.clone()),
            db: db.clone(),
            sampling: None,
        };
        let (runtime, shutdown) = (runtime(), CancellationToken::new());
        let done = runtime.spawn(run(settings, parts, shutdown.clone()));
        wait("the agent answers", || self.try_report().filter(|report| report.desired_synced));
        Running { runtime, db, shutdown, done }
    }

    /// Starts an agent and waits until it has seen the engine.
    fn ready_agent(&self) -> Running {
        let agent = self.agent();
        wait("the agent sees the engine", || {
            self.try_report().filter(|report| report.engine.status == EngineStatus::Reachable)
        });
        agent
    }

    fn request(&self, subject: &Subject, payload: Bytes) -> Option<Bytes> {
        self.outside.block_on(self.bus.request(subject, payload, DEADLINE)).ok()
    }

    fn try_report(&self) -> Option<HostReport> {
        decode(&self.request(&Subject::List, Bytes::new())?).ok()
    }

    fn report(&self) -> HostReport {
        self.try_report().expect("the agent answers")
    }

    fn ask(&self, command: &AgentCommand) -> AgentReply {
        let answer = self.request(&Subject::Command(self.host.clone()), encode(command));
        decode(&answer.expect("the agent answers")).unwrap()
    }

    fn container(&self, name: &str) -> Option<ContainerReport> {
        self.report().containers.into_iter().find(|container| container.name.as_str() == name)
    }

    fn wait_health(&self, name: &str, health: Health) -> ContainerReport {
        wait(&format!("{name} is {health}"), || self.container(name).filter(|c| c.health == health))
    }

    /// Runs a container that an administrator has put on the list.
    fn named(&self, name: &str) -> ContainerId {
        let key = ContainerKey { host: self.host.clone(), name: name.parse().unwrap() };
        let entry = DesiredEntry { monitored: Some(true), ..DesiredEntry::default() };
        let change = DesiredChange::Container(key, Some(entry));
        self.outside.block_on(self.bus.put_desired(change)).unwrap();
        self.engine.run(name, &json!({}))
    }

    fn labelled(&self, name: &str) -> ContainerId {
        self.engine.run(name, &FakeEngine::labelled(&[("dockhealth.monitor", "true")]))
    }

    /// Every packet to the address that `name` has now is lost.
    fn lose_all(&self, name: &str) {
        let address: IpAddr = {
            let described = self.engine.describe(name).unwrap();
            described["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().unwrap().parse().unwrap()
        };
        self.pinger.set_loss(address, LossSpec::ALL);
    }

    fn runs(&self, name: &str) -> bool {
        self.engine.names().contains(&(name.to_owned(), true))
    }

    fn wait_runs(&self, name: &str) {
        wait(&format!("{name} runs"), || self.runs(name).then_some(()));
    }

    /// What `name`'s story tells, oldest first.
    fn story(&self, name: &str) -> Vec<EventKind> {
        match self.ask(&AgentCommand::Why { container: name.parse().unwrap() }) {
            AgentReply::Why(why) => why.events.iter().map(|event| event.kind).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn socket(&self, line: &str) -> AgentReply {
        let mut stream = UnixStream::connect(self.dir.path().join("agent.sock")).unwrap();
        // The agent may hang up before it has read all of a line that is too long.
        let _ = stream.write_all(format!("{line}\n").as_bytes());
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        decode(answer.as_bytes()).unwrap()
    }

    /// Waits until two more sweeps than now have begun: what was decided before is done by then.
    fn two_sweeps(&self) {
        let before = self.pinger.calls().len();
        wait("two sweeps", || (self.pinger.calls().len() >= before + 2).then_some(()));
    }
}

/// An agent at work.
struct Running {
    runtime: Runtime,
    db: AgentDb,
    shutdown: CancellationToken,
    done: tokio::task::JoinHandle<Result<(), crate::store::StoreError>>,
}

impl Running {
    /// Ends it in order.
    fn stop(self, world: &World) {
        self.shutdown.cancel();
        world.outside.block_on(self.done).unwrap().unwrap();
        world.outside.block_on(self.db.close());
    }

    /// Ends it at once, wherever it is.
    fn die(self, world: &World) {
        self.runtime.shutdown_timeout(DEADLINE);
        world.outside.block_on(self.db.close());
    }

    fn unfinished(&self, world: &World) -> usize {
        world.outside.block_on(self.db.unfinished()).unwrap().len()
    }
}

// ---- the engine ---------------------------------------------------------------------------------

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

// ---- the sequential detector ----------------------------------------------------------------------

#[test]
fn a_sequential_test_brings_about_the_same_restart_without_any_sweep() {
    let mut world = World::new();
    world.policy.detector = Detector::Sprt(ErrorRates::default());
    let web = world.labelled("web");
    let agent = world.ready_agent();
    world.wait_health("web", Health::Healthy);
    world.lose_all("web");
    let restart = Call::Restart(web, None);
    wait("it is restarted", || world.engine.changes().contains(&restart).then_some(()));
    world.wait_health("web", Health::Healthy);
    assert_eq!(world.engine.changes(), [restart]);
    // Sweeps give their threshold, so that they may end early.
    assert!(world.pinger.calls().iter().all(|(_, plan)| plan.threshold.is_none()));
    agent.stop(&world);
}

#[test]
fn where_nothing_can_be_probed_a_sequential_test_blames_nobody() {
    let mut world = World::new();
    world.policy.detector = Detector::Sprt(ErrorRates::default());
    world.pinger.set_failure(Some(PingError::Io("no socket".to_owned())));
    world.labelled("web");
    let agent = world.ready_agent();
    world.wait_health("web", Health::NotPingable);
    world.pinger.set_failure(None);
    world.wait_health("web", Health::Healthy);
    assert_eq!(world.engine.changes(), []);
    agent.stop(&world);
}

// ---- the agent's death ----------------------------------------------------------------------------

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

// ---- its disk -------------------------------------------------------------------------------------

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

// ---- the controller -------------------------------------------------------------------------------

/// Stores what agents tell, as a controller does.
#[derive(Default)]
struct Stored {
    seqs: BTreeMap<uuid::Uuid, u64>,
    events: Vec<(EventKind, Option<ContainerName>)>,
    batches: usize,
}

impl World {
    /// A controller at work; it dies after storing its first batch and before it acknowledges that when `cut`.
    fn controller(&self, stored: &Arc<Mutex<Stored>>, cut: bool) -> tokio::task::JoinHandle<()> {
        let (bus, stored) = (self.bus.clone(), stored.clone());
        let mut outboxes = self.outside.block_on(bus.subscribe(&Subject::AllOutboxes)).unwrap();
        self.outside.spawn(async move {
            while let Some(message) = outboxes.next().await {
                let batch: OutboxBatch = decode(&message.payload).unwrap();
                {
                    let mut stored = stored.lock().unwrap();
                    stored.batches += 1;
                    let known = stored.seqs.insert(batch.session, batch.seq).unwrap_or(0);
                    let first = batch.seq + 1 - batch.items.len() as u64;
                    assert!(first <= known + 1, "a gap after {known}: {batch:?}");
                    for (seq, item) in (first..).zip(batch.items) {
                        let OutboxItem::Event(event) = item else { panic!("{item:?}") };
                        if seq > known {
                            stored.events.push((event.kind, event.container));
                        }
                    }
                }
                if cut {
                    return;
                }
                let ack = encode(&OutboxAck { v: PROTOCOL_VERSION, seq: batch.seq, refused: None });
                message.reply.unwrap().send(ack).await.unwrap();
            }
        })
    }
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

// ---- answers --------------------------------------------------------------------------------------

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
