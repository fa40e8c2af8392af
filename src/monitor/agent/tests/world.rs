//! The world of an agent under test: engine, network, bus, and a controller that stores what it is told.

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

use super::super::{AgentParts, AgentSettings, run};
use crate::bus::{
    AgentCommand, AgentReply, Bus, ContainerReport, DesiredChange, DesiredStore, EngineStatus, HostReport,
    LocalBus, OutboxAck, OutboxBatch, OutboxItem, PROTOCOL_VERSION, Subject, decode, encode,
};
use crate::docker::fake::FakeEngine;
use crate::metrics::Machine;
use crate::model::{
    ContainerId, ContainerKey, ContainerName, DesiredEntry, DesiredState, EventKind, Health, HostName,
};
use crate::monitor::decide::{OwnContainers, Policy};
use crate::monitor::ping::fake::{FakePinger, LossSpec};
use crate::store::AgentDb;

const DEADLINE: Duration = Duration::from_secs(30);

pub(super) fn wait<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(super) fn runtime() -> Runtime {
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
pub(super) struct World {
    pub(super) engine: FakeEngine,
    pub(super) pinger: Arc<FakePinger>,
    pub(super) bus: LocalBus,
    pub(super) host: HostName,
    pub(super) dir: tempfile::TempDir,
    pub(super) policy: Policy,
    pub(super) outside: Runtime,
}

impl World {
    pub(super) fn new() -> Self {
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
    pub(super) fn agent(&self) -> Running {
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
        let parts = self.parts(&db);
        let (runtime, shutdown) = (runtime(), CancellationToken::new());
        let done = runtime.spawn(run(settings, parts, shutdown.clone()));
        wait("the agent answers", || self.try_report().filter(|report| report.desired_synced));
        Running { runtime, db, shutdown, done }
    }

    /// What an agent is made of.
    pub(super) fn parts(&self, db: &AgentDb) -> AgentParts {
        let engine = Arc::new(self.engine.clone());
        AgentParts {
            source: engine.clone(),
            builder: engine,
            pinger: Some(self.pinger.clone()),
            bus: Arc::new(self.bus.clone()),
            db: db.clone(),
            sampling: None,
            network: None,
            faults: None,
            pools: None,
        }
    }

    /// Starts an agent and waits until it has seen the engine.
    pub(super) fn ready_agent(&self) -> Running {
        let agent = self.agent();
        wait("the agent sees the engine", || {
            self.try_report().filter(|report| report.engine.status == EngineStatus::Reachable)
        });
        agent
    }

    pub(super) fn request(&self, subject: &Subject, payload: Bytes) -> Option<Bytes> {
        self.outside.block_on(self.bus.request(subject, payload, DEADLINE)).ok()
    }

    pub(super) fn try_report(&self) -> Option<HostReport> {
        decode(&self.request(&Subject::List, Bytes::new())?).ok()
    }

    pub(super) fn report(&self) -> HostReport {
        self.try_report().expect("the agent answers")
    }

    pub(super) fn ask(&self, command: &AgentCommand) -> AgentReply {
        let answer = self.request(&Subject::Command(self.host.clone()), encode(command));
        decode(&answer.expect("the agent answers")).unwrap()
    }

    pub(super) fn container(&self, name: &str) -> Option<ContainerReport> {
        self.report().containers.into_iter().find(|container| container.name.as_str() == name)
    }

    pub(super) fn wait_health(&self, name: &str, health: Health) -> ContainerReport {
        wait(&format!("{name} is {health}"), || self.container(name).filter(|c| c.health == health))
    }

    /// Runs a container that an administrator has put on the list.
    pub(super) fn named(&self, name: &str) -> ContainerId {
        let key = ContainerKey { host: self.host.clone(), name: name.parse().unwrap() };
        let entry = DesiredEntry { monitored: Some(true), ..DesiredEntry::default() };
        let change = DesiredChange::Container(key, Some(entry));
        self.outside.block_on(self.bus.put_desired(change)).unwrap();
        self.engine.run(name, &json!({}))
    }

    pub(super) fn labelled(&self, name: &str) -> ContainerId {
        self.engine.run(name, &FakeEngine::labelled(&[("dockhealth.monitor", "true")]))
    }

    /// Every packet to the address that `name` has now is lost.
    pub(super) fn lose_all(&self, name: &str) {
        let address: IpAddr = {
            let described = self.engine.describe(name).unwrap();
            described["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().unwrap().parse().unwrap()
        };
        self.pinger.set_loss(address, LossSpec::ALL);
    }

    pub(super) fn runs(&self, name: &str) -> bool {
        self.engine.names().contains(&(name.to_owned(), true))
    }

    pub(super) fn wait_runs(&self, name: &str) {
        wait(&format!("{name} runs"), || self.runs(name).then_some(()));
    }

    /// What `name`'s story tells, oldest first.
    pub(super) fn story(&self, name: &str) -> Vec<EventKind> {
        match self.ask(&AgentCommand::Why { container: name.parse().unwrap() }) {
            AgentReply::Why(why) => why.events.iter().map(|event| event.kind).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn socket(&self, line: &str) -> AgentReply {
        let mut stream = UnixStream::connect(self.dir.path().join("agent.sock")).unwrap();
        // The agent may hang up before it has read all of a line that is too long.
        let _ = stream.write_all(format!("{line}\n").as_bytes());
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        decode(answer.as_bytes()).unwrap()
    }

    /// Waits until two more sweeps than now have begun: what was decided before is done by then.
    pub(super) fn two_sweeps(&self) {
        let before = self.pinger.calls().len();
        wait("two sweeps", || (self.pinger.calls().len() >= before + 2).then_some(()));
    }
}

/// An agent at work.
pub(super) struct Running {
    pub(super) runtime: Runtime,
    pub(super) db: AgentDb,
    pub(super) shutdown: CancellationToken,
    pub(super) done: tokio::task::JoinHandle<Result<(), crate::store::StoreError>>,
}

impl Running {
    /// Ends it in order.
    pub(super) fn stop(self, world: &World) {
        self.shutdown.cancel();
        world.outside.block_on(self.done).unwrap().unwrap();
        world.outside.block_on(self.db.close());
    }

    /// Ends it at once, wherever it is.
    pub(super) fn die(self, world: &World) {
        self.runtime.shutdown_timeout(DEADLINE);
        world.outside.block_on(self.db.close());
    }

    pub(super) fn unfinished(&self, world: &World) -> usize {
        world.outside.block_on(self.db.unfinished()).unwrap().len()
    }
}

/// Stores what agents tell, as a controller does.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) seqs: BTreeMap<uuid::Uuid, u64>,
    pub(super) events: Vec<(EventKind, Option<ContainerName>)>,
    pub(super) batches: usize,
}

impl World {
    /// A controller at work; it dies after storing its first batch and before it acknowledges that when `cut`.
    pub(super) fn controller(&self, stored: &Arc<Mutex<Stored>>, cut: bool) -> tokio::task::JoinHandle<()> {
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
