//! The bus: subjects to speak on and one bucket of desired state. Two adapters keep one contract: `local`
//! in process, `nats` between hosts. Subjects and wire types exist only here.

mod batch;
mod chaos;
mod desired;
mod local;
mod mailbox;
mod message;
mod nats;
mod network;
mod subject;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::sync::watch;

pub use batch::{MAX_BATCH_JSON, ReadBatch, decode_batch, encode_batch, gunzip, gzip, is_gzip};
pub use chaos::{ChaosNews, ChaosOrder, ChaosReport, ChaosState, ChaosSummary};
pub use desired::{DesiredChange, decode_entry, encode_entry, key_of, parse_key};
pub use local::{DesiredStore, LocalBus};
pub use message::{
    AgentCommand, AgentReply, Capability, CommandError, ContainerReport, EngineReport, EngineStatus,
    FleetReport, HostReport, MAX_POOLS, OutboxAck, OutboxBatch, OutboxItem, PROTOCOL_VERSION, WhyNetwork,
    WhyReport, decode, encode,
};
pub use nats::{NatsBus, NatsOptions, NatsOptionsError, Role};
pub use network::{MAX_NETWORK_JSON, NetworkReport, decode_network, encode_network};
pub use subject::{Subject, decode_token, encode_token};

/// What keeps the bus from doing what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// Not connected now; the adapter reconnects by itself.
    #[error("the bus is not reachable: {0}")]
    Disconnected(String),
    /// Nobody answered a request in time, or nobody listens.
    #[error("no answer on {0}")]
    NoAnswer(String),
    /// The server refused: permissions or limits.
    #[error("the bus refused: {0}")]
    Refused(String),
    /// It is larger than the server carries: send less at once.
    #[error(
        "a message of {bytes} bytes is above the server's max_payload of {limit}; raise it in its configuration"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What the server carries.
        limit: usize,
    },
    /// What arrived cannot be read.
    #[error("unreadable message: {0}")]
    Malformed(String),
}

/// Whether the bus can be used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusStatus {
    /// Connected (always, for the local bus).
    Connected,
    /// Not connected; why.
    Disconnected(String),
}

/// A message as it arrived.
pub struct Incoming {
    /// Where it was sent to.
    pub subject: Subject,
    /// What was sent.
    pub payload: Bytes,
    /// Answers it; `None` when the sender wants no answer.
    pub reply: Option<Responder>,
}

/// Answers one message, once.
pub struct Responder(
    Box<dyn FnOnce(Bytes) -> futures_util::future::BoxFuture<'static, Result<(), BusError>> + Send>,
);

impl Responder {
    /// A responder that does `send`.
    pub fn new<F, Fut>(send: F) -> Self
    where
        F: FnOnce(Bytes) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BusError>> + Send + 'static,
    {
        Self(Box::new(move |payload| Box::pin(send(payload))))
    }

    /// Sends the answer.
    pub async fn send(self, payload: Bytes) -> Result<(), BusError> {
        (self.0)(payload).await
    }
}

/// What a watcher of the desired state sees, in order: every current entry, [`DesiredUpdate::Synced`], then changes
/// as they come. After a reconnect the whole is told again the same way: what is absent between `Resync` and
/// `Synced` is gone.
#[derive(Debug, Clone, PartialEq)]
pub enum DesiredUpdate {
    /// The whole state follows, from the beginning.
    Resync,
    /// One entry's new content, or its removal.
    Change(DesiredChange),
    /// All current entries were told.
    Synced,
}

/// The bus as agents and controllers use it.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Sends without waiting for anyone. While disconnected the message may be dropped.
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError>;

    /// Messages sent to `subject` from now on, over reconnects, until dropped. A slow reader loses the
    /// oldest, counted by the adapter. [`Subject::AllReports`], [`Subject::AllOutboxes`] and [`Subject::AllNetworks`] match
    /// every host.
    async fn subscribe(&self, subject: &Subject) -> Result<BoxStream<'static, Incoming>, BusError>;

    /// The same, shared by all subscribers that name the same `group` (letters and digits): each message reaches one of
    /// them.
    async fn subscribe_shared(
        &self,
        subject: &Subject,
        group: &str,
    ) -> Result<BoxStream<'static, Incoming>, BusError>;

    /// Sends and waits for one answer. That nobody listens is mostly known at once, between accounts of a NATS server
    /// only after `within`.
    async fn request(&self, subject: &Subject, payload: Bytes, within: Duration) -> Result<Bytes, BusError>;

    /// Sends and yields answers as they come, until `within` has passed or the stream is dropped.
    async fn request_many(
        &self,
        subject: &Subject,
        payload: Bytes,
        within: Duration,
    ) -> Result<BoxStream<'static, Bytes>, BusError>;

    /// Writes one entry of the desired state (creating the bucket when there is none): on return it is stored; on an
    /// error it may be. Only the controller does this.
    async fn put_desired(&self, change: DesiredChange) -> Result<(), BusError>;

    /// Watches the desired state, over reconnects, until dropped. An agent's bus may leave out what concerns other
    /// hosts alone. Nothing is told while there is no bucket.
    async fn watch_desired(&self) -> Result<BoxStream<'static, DesiredUpdate>, BusError>;

    /// Whether it can be used now, and when that changes.
    fn status(&self) -> watch::Receiver<BusStatus>;
}
