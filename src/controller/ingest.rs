//! Takes in the agents' outboxes: stores a batch, then acknowledges it.
//!
//! What cannot be stored is not acknowledged, so the agent keeps it and sends it again. One batch is stored at a time;
//! the subscription's own bound holds the rest, and what falls off there is sent again too.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::counters::{Counter, Counters};
use super::history::History;
use super::listen::listen;
use crate::bus::{Bus, Incoming, OutboxBatch, Subject, decode, encode};
use crate::model::Timestamp;

/// The task; ends with `shutdown`, never within a batch.
pub(crate) async fn ingest(
    bus: Arc<dyn Bus>,
    history: History,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
) {
    let mut outboxes = pin!(listen(bus, Subject::AllOutboxes));
    loop {
        let message = tokio::select! {
            () = shutdown.cancelled() => break,
            message = outboxes.next() => message,
        };
        let Some(message) = message else { break };
        if let Err(why) = take(message, &history).await {
            counters.count(Counter::BatchesRefused);
            tracing::debug!("an outbox batch was not acknowledged: {why}");
        }
    }
}

async fn take(message: Incoming, history: &History) -> Result<(), String> {
    let batch: OutboxBatch = decode(&message.payload).map_err(|e| e.to_string())?;
    if message.subject.host() != Some(&batch.host) {
        return Err(format!("{} came on {}", batch.host, message.subject));
    }
    let ack = history.ingest(batch, Timestamp::now()).await.map_err(|e| e.to_string())?;
    match message.reply {
        Some(reply) => reply.send(encode(&ack)).await.map_err(|e| e.to_string()),
        None => Ok(()),
    }
}
