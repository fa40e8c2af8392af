//! Campaigns of faults: orders go to whoever plays them, and what that does becomes events. How faults are done is not
//! known here.

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keeper::{Keep, Keeper};
use super::{AgentParts, Message};
use crate::bus::{AgentCommand, AgentReply, CommandError};
use crate::model::{FaultNote, HostName, Timestamp};

/// Orders that wait; further ones are refused.
const ORDERS: usize = 16;
/// Faults that are not in the history yet; whoever plays drops what is more.
const NOTES: usize = 1024;

/// An order, and where its answer goes.
pub type FaultAsk = (AgentCommand, oneshot::Sender<AgentReply>);

/// Plays campaigns of faults on this host.
#[async_trait]
pub trait FaultPlayer: Send + Sync {
    /// Answers `asks`, which are commands about campaigns, and tells `notes` of each fault, until `shutdown` and until
    /// its faults are undone.
    async fn play(
        &self,
        asks: mpsc::Receiver<FaultAsk>,
        notes: mpsc::Sender<FaultNote>,
        shutdown: CancellationToken,
    );
}

/// Where faults are told.
pub(super) struct Told {
    host: HostName,
    owner: mpsc::Sender<Message>,
    keeper: Keeper,
}

impl Told {
    pub(super) fn new(host: &HostName, owner: &mpsc::Sender<Message>, keeper: &Keeper) -> Self {
        Self { host: host.clone(), owner: owner.clone(), keeper: keeper.clone() }
    }

    /// Records a fault; when the owner has ended, as faults do that end with the agent, without its help.
    async fn tell(&self, note: FaultNote) {
        if let Err(mpsc::error::SendError(Message::Fault(note))) = self.owner.send(Message::Fault(note)).await
        {
            self.keeper.keep(Keep::Event(note.draft().stamp(&self.host, Timestamp::now())));
        }
    }
}

/// Starts whoever plays; the sender takes orders.
pub(super) fn spawn(
    tracker: &TaskTracker,
    parts: &AgentParts,
    told: Told,
    shutdown: &CancellationToken,
) -> mpsc::Sender<FaultAsk> {
    let (orders, asks) = mpsc::channel(ORDERS);
    let Some(player) = parts.faults.clone() else { return orders };
    let (notes, mut done) = mpsc::channel(NOTES);
    let shutdown = shutdown.clone();
    tracker.spawn(async move { player.play(asks, notes, shutdown).await });
    tracker.spawn(async move {
        while let Some(note) = done.recv().await {
            told.tell(note).await;
        }
    });
    orders
}

/// Hands an order on.
pub(super) fn order(orders: &mpsc::Sender<FaultAsk>, command: AgentCommand, to: oneshot::Sender<AgentReply>) {
    let (reason, to) = match orders.try_send((command, to)) {
        Ok(()) => return,
        Err(mpsc::error::TrySendError::Full((_, to))) => ("too many orders of campaigns wait; try again", to),
        Err(mpsc::error::TrySendError::Closed((_, to))) => ("this agent plays no campaigns of faults", to),
    };
    // Who asked may have given up; that is theirs to handle.
    let _ = to.send(AgentReply::Error(CommandError::Refused { reason: reason.to_owned() }));
}
