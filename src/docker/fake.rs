//! A scripted engine for tests: containers that tests start, crash and stop by name, every call recorded in order,
//! failures on demand. It emits the events a 20.10 engine was seen to emit, in that order, and describes containers
//! in the engine's own JSON, so tests go through the real conversion.
//!
//! Its clock is tokio's, so paused time moves it.

mod container;
mod script;
mod traits;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{AnonymousVolumes, EngineError, EngineEvent, convert};
use crate::model::{ContainerFacts, ContainerId, ContainerName, Timestamp};
use container::Container;
pub use script::Behaviour;

/// One call made through the traits.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `info`.
    Info,
    /// `list`.
    List,
    /// `relist`.
    Relist,
    /// `events`.
    Events,
    /// `inspect` or `inspect_raw`.
    Inspect(String),
    /// `image_id`.
    ImageId(String),
    /// `start`.
    Start(ContainerId),
    /// `restart`.
    Restart(ContainerId, Option<Duration>),
    /// `stop`.
    Stop(ContainerId, Option<Duration>),
    /// `kill`.
    Kill(ContainerId),
    /// `pause`.
    Pause(ContainerId),
    /// `unpause`.
    Unpause(ContainerId),
    /// `rename`.
    Rename(ContainerId, ContainerName),
    /// `create`.
    Create(ContainerName),
    /// `connect`.
    Connect(String, ContainerId),
    /// `disconnect`.
    Disconnect(String, ContainerId),
    /// `remove`.
    Remove(ContainerId, AnonymousVolumes),
}

/// The kind of a [`Call`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the calls")]
pub enum Op {
    Info,
    List,
    Events,
    Inspect,
    ImageId,
    Start,
    Restart,
    Stop,
    Kill,
    Pause,
    Unpause,
    Rename,
    Create,
    Connect,
    Disconnect,
    Remove,
}

impl Call {
    /// Its kind.
    pub fn op(&self) -> Op {
        match self {
            Self::Info => Op::Info,
            Self::List | Self::Relist => Op::List,
            Self::Events => Op::Events,
            Self::Inspect(_) => Op::Inspect,
            Self::ImageId(_) => Op::ImageId,
            Self::Start(_) => Op::Start,
            Self::Restart(..) => Op::Restart,
            Self::Stop(..) => Op::Stop,
            Self::Kill(_) => Op::Kill,
            Self::Pause(_) => Op::Pause,
            Self::Unpause(_) => Op::Unpause,
            Self::Rename(..) => Op::Rename,
            Self::Create(_) => Op::Create,
            Self::Connect(..) => Op::Connect,
            Self::Disconnect(..) => Op::Disconnect,
            Self::Remove(..) => Op::Remove,
        }
    }

    /// Whether it may change something.
    pub fn changes(&self) -> bool {
        !matches!(self.op(), Op::Info | Op::List | Op::Events | Op::Inspect | Op::ImageId)
    }
}

/// The fake; clones are the same engine.
#[derive(Clone)]
pub struct FakeEngine {
    world: Arc<Mutex<World>>,
}

struct World {
    origin: tokio::time::Instant,
    last_time: Timestamp,
    reachable: bool,
    made: u32,
    containers: BTreeMap<String, Container>,
    images: BTreeMap<String, String>,
    log: Vec<EngineEvent>,
    listeners: Vec<mpsc::UnboundedSender<Result<EngineEvent, EngineError>>>,
    calls: Vec<Call>,
    behaviours: VecDeque<(Op, Behaviour)>,
    halt_after: Option<u32>,
}

impl Default for FakeEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeEngine {
    /// An engine without containers, with the image `busybox`.
    pub fn new() -> Self {
        let images = BTreeMap::from([("busybox".to_owned(), "sha256:b0b0".to_owned())]);
        Self {
            world: Arc::new(Mutex::new(World {
                origin: tokio::time::Instant::now(),
                last_time: Timestamp::from_millis(0),
                reachable: true,
                made: 0,
                containers: BTreeMap::new(),
                images,
                log: Vec::new(),
                listeners: Vec::new(),
                calls: Vec::new(),
                behaviours: VecDeque::new(),
                halt_after: None,
            })),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics while it holds the fake")
    }
}

impl World {
    /// The engine's clock: it moves with tokio's, and at least a millisecond at each look.
    fn now(&mut self) -> Timestamp {
        const START_MILLIS: i64 = 1_767_225_600_000; // 2026-01-01
        let clock = Timestamp::from_millis(START_MILLIS).after(self.origin.elapsed());
        self.last_time = clock.max(self.last_time.after(Duration::from_millis(1)));
        self.last_time
    }

    fn unreachable() -> EngineError {
        EngineError::Unreachable("the fake engine is away".to_owned())
    }

    fn list(&mut self) -> Result<Vec<ContainerFacts>, EngineError> {
        self.containers.values().map(|container| convert::facts(&container.describe())).collect()
    }

    /// The container with that id, beginning of an id, or name.
    fn find(&mut self, id: &str) -> Result<&mut Container, EngineError> {
        let name = id.trim_start_matches('/');
        let key = self
            .containers
            .values()
            .find(|c| c.id.as_str() == id || c.name.as_str() == name)
            .or_else(|| self.containers.values().find(|c| id.len() >= 12 && c.id.as_str().starts_with(id)))
            .map(|c| c.id.to_string())
            .ok_or_else(|| EngineError::NoSuchContainer(format!("No such container: {id}")))?;
        Ok(self.containers.get_mut(&key).expect("just found"))
    }

    /// Emits a container event, as the JSON line of the engine.
    fn emit(&mut self, id: &ContainerId, action: &str, extra: &[(&str, String)]) {
        let mut attributes = json!({});
        if let Some(container) = self.containers.get(id.as_str()) {
            attributes["name"] = json!(container.name.as_str());
        }
        for (key, value) in extra {
            attributes[*key] = json!(value);
        }
        self.publish("container", id.as_str(), action, &attributes);
    }

    fn emit_network(&mut self, id: &ContainerId, action: &str) {
        let names: Vec<String> = self
            .containers
            .get(id.as_str())
            .map(|c| c.networks.keys().cloned().collect())
            .unwrap_or_default();
        for network in names {
            self.publish("network", "f00d", action, &json!({ "container": id.as_str(), "name": network }));
        }
    }

    fn publish(&mut self, kind: &str, actor: &str, action: &str, attributes: &Value) {
        let time = self.now().millis();
        let line = json!({
            "Type": kind, "Action": action, "Actor": { "ID": actor, "Attributes": attributes },
            "time": time / 1000, "timeNano": time * 1_000_000,
        });
        let Some(event) = convert::event(&line) else { return };
        self.log.push(event.clone());
        self.listeners.retain(|listener| listener.send(Ok(event.clone())).is_ok());
    }
}
