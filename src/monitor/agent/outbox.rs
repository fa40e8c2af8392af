//! Delivers the outbox: batches in order, each forgotten when the controller says that it has stored it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::AgentParts;
use crate::bus::{Bus, BusError, OutboxAck, Subject, decode, encode};
use crate::model::HostName;
use crate::store::AgentDb;

/// One batch: small enough for any server's message limit.
const BATCH_ITEMS: usize = 500;
const BATCH_BYTES: usize = 256 * 1024;
/// How long the controller may take to store a batch.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Waits after a failed delivery: doubling from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(5);

pub(super) fn spawn(
    tracker: &TaskTracker,
    parts: &AgentParts,
    host: &HostName,
    grew: Arc<Notify>,
    shutdown: &CancellationToken,
) {
    let (bus, db, host, shutdown) = (parts.bus.clone(), parts.db.clone(), host.clone(), shutdown.clone());
    tracker.spawn(async move {
        let deliver = async {
            let mut retry = RETRY_FIRST;
            loop {
                match deliver_one(bus.as_ref(), &db, &host).await {
                    Ok(true) => retry = RETRY_FIRST,
                    Ok(false) => grew.notified().await,
                    Err(error) => {
                        tracing::debug!(%error, "the outbox waits");
                        tokio::time::sleep(retry).await;
                        retry = (retry * 2).min(RETRY_LAST);
                    }
                }
            }
        };
        tokio::select! {
            () = deliver => {}
            () = shutdown.cancelled() => {}
        }
    });
}

/// Delivers the front of the outbox; `false` when it is empty.
async fn deliver_one(bus: &dyn Bus, db: &AgentDb, host: &HostName) -> Result<bool, BusError> {
    let store = |error: crate::store::StoreError| BusError::Refused(error.to_string());
    let Some(slice) = db.peek(BATCH_ITEMS, BATCH_BYTES).await.map_err(store)? else { return Ok(false) };
    let last = slice.last_seq;
    let batch = slice.into_batch(host.clone(), db.session());
    let answer = bus.request(&Subject::Outbox(host.clone()), encode(&batch), ANSWER_WITHIN).await?;
    let ack: OutboxAck = decode(&answer)?;
    db.forget_through(ack.seq.min(last)).await.map_err(store)?;
    Ok(true)
}
