//! The Docker engine: what dockhealth asks of it and tells it, behind traits as narrow as their users.
//! Engine types never leave this folder.

mod address;
#[cfg(test)]
mod contract;
mod convert;
mod engine;
mod events;
#[cfg(test)]
pub mod fake;
mod own;
mod raw;
pub mod recreate;
mod summary;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::model::{ContainerFacts, ContainerId, ContainerName, EngineId, Timestamp};

pub use address::{AddressError, EngineAddress};
pub use engine::Engine;
pub use own::own_container_id;

/// Why the engine did not do what was asked, by what the caller does next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// It does not answer at all (no socket, refused, connection lost): wait and try again; containers are not
    /// to blame.
    #[error("the Docker engine is unreachable: {0}")]
    Unreachable(String),
    /// It did not answer in time: it may still do what was asked.
    #[error("the Docker engine did not answer within {0:?}: {1}")]
    TimedOut(Duration, String),
    /// There is no such container (any more); its own words, which say so.
    #[error("the Docker engine says: {0}")]
    NoSuchContainer(String),
    /// It refused; its own words.
    #[error("the Docker engine refused: {0}")]
    Refused(String),
    /// Its answer cannot be read.
    #[error("the Docker engine's answer cannot be read: {0}")]
    Malformed(String),
}

/// Who the engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its own id.
    pub id: EngineId,
    /// The host's name as it knows it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The machine it runs on.
    pub machine: EngineMachine,
}

/// An engine's machine, as it tells of it; `None` is what it does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineMachine {
    /// The operating system's name.
    pub os: Option<String>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The processor architecture.
    pub architecture: Option<String>,
    /// CPU cores.
    pub cores: Option<u32>,
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
}

/// What happened to a container, as far as decisions care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerAction {
    /// Created.
    Create,
    /// Started.
    Start,
    /// Ended, with this exit code where the engine said.
    Die(Option<i64>),
    /// Sent a signal by the engine on someone's order: what ends next was told to stop.
    Kill,
    /// `docker stop` is through.
    Stop,
    /// `docker restart` is through.
    Restart,
    /// Paused.
    Pause,
    /// Unpaused.
    Unpause,
    /// Removed.
    Destroy,
    /// Renamed to the event's name.
    Rename,
    /// The kernel killed a process in it for want of memory.
    Oom,
    /// Its HEALTHCHECK changed its word.
    HealthStatus,
    /// Its limits or its restart policy were changed.
    Update,
    /// One of its networks was connected or disconnected.
    Network,
}

/// One thing the engine told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    /// When, by the engine's clock.
    pub time: Timestamp,
    /// The container.
    pub id: ContainerId,
    /// Its name then; `None` for network events, which carry none.
    pub name: Option<ContainerName>,
    /// What.
    pub action: ContainerAction,
}

/// Watching containers: all that the agent's inventory needs.
#[async_trait]
pub trait ContainerSource: Send + Sync + 'static {
    /// Who the engine is; also the cheapest way to see whether it answers.
    async fn info(&self) -> Result<EngineInfo, EngineError>;

    /// Every container, in any state. One that vanishes meanwhile, or that cannot be read, is left out and logged.
    async fn list(&self) -> Result<Vec<ContainerFacts>, EngineError>;

    /// The same for less of the engine's work: a container of which its list says nothing new is told as it was last read,
    /// so what such a list does not show (restart policy, out of memory, published ports) may be as old as that.
    async fn relist(&self) -> Result<Vec<ContainerFacts>, EngineError>;

    /// One container; `id` may also be a name.
    async fn inspect(&self, id: &str) -> Result<ContainerFacts, EngineError>;

    /// Container and network events from `since` (or now) until the connection ends, which an `Err` item says. The
    /// engine has subscribed us when this returns. `die` and `kill` order is kept.
    async fn events(
        &self,
        since: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError>;
}

/// Healing containers: all that the agent's actuator needs. Each call has a deadline and is idempotent.
#[async_trait]
pub trait ContainerActuator: Send + Sync + 'static {
    /// Starts it; one that already runs is a success.
    async fn start(&self, id: &ContainerId) -> Result<(), EngineError>;

    /// Restarts it with its own stop signal, and its own stop timeout unless `stop_timeout` overrides it.
    async fn restart(&self, id: &ContainerId, stop_timeout: Option<Duration>) -> Result<(), EngineError>;

    /// Stops it, likewise; one that does not run is a success.
    async fn stop(&self, id: &ContainerId, stop_timeout: Option<Duration>) -> Result<(), EngineError>;
}

/// Hurting containers on purpose: what the antagonist needs besides. Each call has a deadline; what is so already is a
/// success.
#[async_trait]
pub trait ContainerDisturber: ContainerActuator {
    /// Kills its first process (SIGKILL); one that does not run is a success.
    async fn kill(&self, id: &ContainerId) -> Result<(), EngineError>;

    /// Freezes all its processes.
    async fn pause(&self, id: &ContainerId) -> Result<(), EngineError>;

    /// Thaws them.
    async fn unpause(&self, id: &ContainerId) -> Result<(), EngineError>;
}

/// Creating containers anew: what `recreate` needs besides. Bodies are the engine's own JSON, so nothing that a
/// newer engine knows is lost.
#[async_trait]
pub trait ContainerBuilder: ContainerActuator {
    /// The engine's own full description.
    async fn inspect_raw(&self, id: &str) -> Result<serde_json::Value, EngineError>;

    /// The id of the image that `reference` (a name or an id) stands for now; `None` when there is no such image.
    async fn image_id(&self, reference: &str) -> Result<Option<String>, EngineError>;

    /// Renames it.
    async fn rename(&self, id: &ContainerId, name: &ContainerName) -> Result<(), EngineError>;

    /// Creates a container from a create body; returns its id.
    async fn create(
        &self,
        name: &ContainerName,
        body: &serde_json::Value,
    ) -> Result<ContainerId, EngineError>;

    /// Connects it to a network, with an endpoint configuration (aliases, static addresses).
    async fn connect(
        &self,
        network: &str,
        id: &ContainerId,
        endpoint: &serde_json::Value,
    ) -> Result<(), EngineError>;

    /// Disconnects it from a network.
    async fn disconnect(&self, network: &str, id: &ContainerId) -> Result<(), EngineError>;

    /// Removes it, and its anonymous volumes when `volumes` says so; one that is gone is a success.
    async fn remove(&self, id: &ContainerId, volumes: AnonymousVolumes) -> Result<(), EngineError>;
}

/// Keeping a pool of containers: watching them and making them.
pub trait PoolEngine: ContainerSource + ContainerBuilder {}

impl<E: ContainerSource + ContainerBuilder> PoolEngine for E {}

/// What becomes of a removed container's anonymous volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnonymousVolumes {
    /// They stay.
    Keep,
    /// They are removed with it.
    Remove,
}
