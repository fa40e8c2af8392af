//! A round under way: the answers that come, and who waits for what it comes to.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, Fuse};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{FleetView, Round};
use crate::bus::BusError;

/// What a list came to.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    /// Who was asked and who answered.
    pub(crate) round: Round,
    /// The fleet after it.
    pub(crate) view: Arc<FleetView>,
}

/// A caller of a list.
pub(super) type Waiter = oneshot::Sender<Result<Arc<Listing>, BusError>>;

/// A round under way.
pub(super) struct Asking {
    pub(super) round: Round,
    pub(super) answers: Fuse<BoxStream<'static, Bytes>>,
    pub(super) until: Instant,
    /// Nobody waits for the round that greets.
    pub(super) waiters: Vec<Waiter>,
}

impl Asking {
    /// The next answer; `None` when there is no use in waiting longer. That nobody is left to answer ends the round
    /// only when nobody is expected: an agent that is beginning to work is about to report.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let next = async {
            match self.answers.next().await {
                None if !self.round.is_complete() => std::future::pending().await,
                answer => answer,
            }
        };
        tokio::time::timeout_at(self.until, next).await.ok().flatten()
    }
}
