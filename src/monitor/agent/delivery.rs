//! One batch of metrics on its way to the controller.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::lane::LaneParts;
use crate::bus::{
    BusError, MAX_BATCH_JSON, OutboxAck, OutboxBatch, OutboxItem, PROTOCOL_VERSION, Subject, decode,
    encode_batch, gunzip,
};
use crate::model::MetricTick;
use crate::store::TickRow;

/// How long the controller may take to store a batch.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Ticks to deliver together.
pub(super) struct Delivery {
    seqs: Vec<u64>,
    samples: u64,
    begun: Instant,
    answer: Pin<Box<dyn Future<Output = Result<OutboxAck, BusError>> + Send>>,
}

/// What came of a delivery.
pub(super) struct Delivered {
    /// The ticks, by number.
    pub(super) seqs: Vec<u64>,
    /// How many samples they have.
    pub(super) samples: u64,
    pub(super) took: Duration,
    pub(super) answer: Result<OutboxAck, BusError>,
}

impl Delivery {
    /// Begins to deliver `ticks`, each with its number and how many samples it has.
    pub(super) fn of(parts: &LaneParts, ticks: Vec<(u64, u64, Arc<MetricTick>)>) -> Self {
        let seqs: Vec<u64> = ticks.iter().map(|(seq, ..)| *seq).collect();
        let samples = ticks.iter().map(|(_, samples, _)| samples).sum();
        let items = ticks.into_iter().map(|(.., tick)| OutboxItem::Metrics(Arc::unwrap_or_clone(tick)));
        Self::begin(parts, seqs, samples, items.collect())
    }

    /// Begins to deliver what was kept.
    pub(super) fn of_kept(parts: &LaneParts, rows: &[TickRow]) -> Self {
        let seqs = rows.iter().map(|row| row.seq).collect();
        let samples = rows.iter().map(|row| row.samples).sum();
        Self::begin(parts, seqs, samples, rows.iter().map(read).collect())
    }

    fn begin(parts: &LaneParts, seqs: Vec<u64>, samples: u64, items: Vec<OutboxItem>) -> Self {
        let host = parts.host.clone();
        // No fewer than the items, so that their numbers make sense.
        let seq = seqs.iter().copied().max().unwrap_or(0).max(items.len() as u64);
        let session = parts.db.metrics_session();
        let batch = OutboxBatch { v: PROTOCOL_VERSION, host: host.clone(), session, seq, items };
        let bus = parts.bus.clone();
        let answer = Box::pin(async move {
            let payload: Bytes = encode_batch(&batch);
            drop(batch);
            let answer = bus.request(&Subject::Outbox(host), payload, ANSWER_WITHIN).await?;
            let ack: OutboxAck = decode(&answer)?;
            if ack.seq < seq {
                return Err(BusError::Malformed(format!("{} was acknowledged instead of {seq}", ack.seq)));
            }
            Ok(ack)
        });
        Self { seqs, samples, begun: Instant::now(), answer }
    }

    /// Waits for the delivery under way, which is then over; for ever where there is none.
    pub(super) async fn end(under_way: &mut Option<Self>) -> Delivered {
        let Some(delivery) = under_way else { return std::future::pending().await };
        let answer = (&mut delivery.answer).await;
        let Self { seqs, samples, begun, .. } = under_way.take().expect("it was there just now");
        Delivered { seqs, samples, took: begun.elapsed(), answer }
    }
}

/// What cannot be read is delivered as unknown, so that nothing waits behind it.
fn read(row: &TickRow) -> OutboxItem {
    match gunzip(&row.body, MAX_BATCH_JSON).and_then(|json| decode(&json)) {
        Ok(tick) => OutboxItem::Metrics(tick),
        Err(error) => {
            tracing::warn!(seq = row.seq, %error, "a tick that waited cannot be read: passed over");
            OutboxItem::Unknown
        }
    }
}
