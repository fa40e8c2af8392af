//! Buses to test with, and what tests do with them again and again.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dockhealth::bus::{
    Bus, BusStatus, DesiredChange, DesiredStore, DesiredUpdate, LocalBus, NatsBus, NatsOptions, Role,
};
use dockhealth::model::{ContainerKey, DesiredEntry, DesiredState, HostName, Threshold};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::support::nats::NatsServer;

/// No test waits longer for what must come.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// A store that is never read again.
pub(super) struct NoStore;

#[async_trait]
impl DesiredStore for NoStore {
    async fn put(&self, _: &DesiredChange) -> Result<(), String> {
        Ok(())
    }
}

/// One way to have a bus.
pub(super) enum Rig {
    Local(LocalBus),
    Nats(NatsServer),
    Fleet(Fleet),
}

impl Rig {
    pub(super) fn local() -> Self {
        Self::Local(LocalBus::new(DesiredState::default(), NoStore))
    }

    pub(super) fn nats() -> Self {
        Self::Nats(NatsServer::start())
    }

    pub(super) fn fleet(hosts: &[&str]) -> Self {
        Self::Fleet(Fleet::start(hosts))
    }

    pub(super) async fn controller(&self) -> Arc<dyn Bus> {
        match self {
            Self::Local(bus) => Arc::new(bus.clone()),
            Self::Nats(server) => Arc::new(connected(NatsOptions::new(server.url(), Role::Controller)).await),
            Self::Fleet(fleet) => Arc::new(connected(fleet.controller()).await),
        }
    }

    pub(super) async fn agent(&self, host: &str) -> Arc<dyn Bus> {
        match self {
            Self::Local(bus) => Arc::new(bus.clone()),
            Self::Nats(server) => {
                Arc::new(connected(NatsOptions::new(server.url(), Role::Agent(name(host)))).await)
            }
            Self::Fleet(fleet) => Arc::new(connected(fleet.agent(host)).await),
        }
    }
}

/// A server with `deploy/fleet/nats.conf`, and users made by `deploy/fleet/add-host`.
pub(crate) struct Fleet {
    pub(crate) server: NatsServer,
    dir: tempfile::TempDir,
}

impl Fleet {
    pub(crate) fn start(hosts: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(deploy().join("nats.conf"), dir.path().join("nats.conf")).unwrap();
        let made = add_host(dir.path(), hosts);
        assert!(made.status.success(), "{made:?}");
        Self { server: NatsServer::with_config(&dir.path().join("nats.conf")), dir }
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn password_file(&self, user: &str) -> PathBuf {
        self.dir().join(format!("secrets/{user}.password"))
    }

    pub(super) fn controller(&self) -> NatsOptions {
        self.options("controller", Role::Controller)
    }

    pub(super) fn agent(&self, host: &str) -> NatsOptions {
        self.options(&format!("agent-{host}"), Role::Agent(name(host)))
    }

    fn options(&self, user: &str, role: Role) -> NatsOptions {
        NatsOptions {
            user: Some(user.into()),
            password_file: Some(self.password_file(user)),
            ..NatsOptions::new(self.server.url(), role)
        }
    }
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/fleet")
}

/// Runs `deploy/fleet/add-host`.
pub(super) fn add_host(dir: &Path, args: &[&str]) -> Output {
    Command::new(deploy().join("add-host")).arg("--dir").arg(dir).args(args).output().unwrap()
}

/// A bus that has connected.
pub(super) async fn connected(options: NatsOptions) -> NatsBus {
    let bus = NatsBus::connect(options).await.unwrap();
    reconnected(&bus).await;
    bus
}

/// Waits until the bus can be used.
pub(super) async fn reconnected(bus: &dyn Bus) {
    let mut status = bus.status();
    let waiting = status.wait_for(|status| *status == BusStatus::Connected);
    tokio::time::timeout(DEADLINE, waiting).await.expect("the bus connects").unwrap();
}

/// Waits until the bus knows that it cannot be used.
pub(super) async fn disconnected(bus: &dyn Bus) {
    let mut status = bus.status();
    let waiting = status.wait_for(|status| *status != BusStatus::Connected);
    tokio::time::timeout(DEADLINE, waiting).await.expect("the loss is noticed").unwrap();
}

/// The next item, which must come.
pub(super) async fn next<T>(stream: &mut BoxStream<'static, T>) -> T {
    let next = tokio::time::timeout(DEADLINE, stream.next()).await;
    next.expect("something comes in time").expect("the stream goes on")
}

pub(super) fn name(host: &str) -> HostName {
    host.parse().unwrap()
}

pub(super) fn threshold(percent: f64) -> DesiredChange {
    DesiredChange::Threshold(Some(Threshold::new(percent).unwrap()))
}

pub(super) fn monitored(host: &str, container: &str) -> DesiredChange {
    let key = ContainerKey { host: name(host), name: container.parse().unwrap() };
    DesiredChange::Container(key, Some(DesiredEntry { monitored: Some(true), ..DesiredEntry::default() }))
}

/// The state of `changes`, applied in turn.
pub(super) fn state_of(changes: impl IntoIterator<Item = DesiredChange>) -> DesiredState {
    let mut state = DesiredState::default();
    for change in changes {
        change.apply(&mut state);
    }
    state
}

/// A watcher as the agent is one: it follows what is told, and knows when that is the whole.
pub(super) struct Follower {
    updates: BoxStream<'static, DesiredUpdate>,
    state: DesiredState,
    syncing: Option<DesiredState>,
    /// How often the whole was told.
    pub(super) synced: u32,
}

impl Follower {
    pub(super) async fn new(bus: &dyn Bus) -> Self {
        let updates = bus.watch_desired().await.unwrap();
        Self { updates, state: DesiredState::default(), syncing: None, synced: 0 }
    }

    async fn step(&mut self) {
        match next(&mut self.updates).await {
            DesiredUpdate::Resync => self.syncing = Some(DesiredState::default()),
            DesiredUpdate::Synced => {
                self.state = self.syncing.take().expect("Resync comes before Synced");
                self.synced += 1;
            }
            DesiredUpdate::Change(change) => {
                assert!(self.syncing.is_some() || self.synced > 0, "Resync comes first");
                change.apply(self.syncing.as_mut().unwrap_or(&mut self.state));
            }
        }
    }

    /// Follows until the whole was told `times` times.
    pub(super) async fn until_synced(&mut self, times: u32) -> &DesiredState {
        while self.synced < times {
            self.step().await;
        }
        &self.state
    }

    /// Follows until the state is `wanted`.
    pub(super) async fn until(&mut self, wanted: &DesiredState) {
        let follow = async {
            while self.syncing.is_some() || self.synced == 0 || self.state != *wanted {
                self.step().await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, follow).await.is_ok();
        assert!(in_time, "the state never became {wanted:?}; it is {:?}", self.state);
    }
}
