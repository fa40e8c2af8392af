//! The one way of events into the store, which then wakes those who follow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};

use super::counters::{Counter, Counters};
use super::writes::Writes;
use crate::bus::{OutboxAck, OutboxBatch, PROTOCOL_VERSION};
use crate::model::{Event, EventDraft, HostName, Timestamp};
use crate::store::{ControllerDb, StoreError};

/// How long what was found of the store holds for those who ask whether it is writable.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// A handle of the stored events.
#[derive(Clone)]
pub(crate) struct History {
    db: ControllerDb,
    counters: Arc<Counters>,
    /// Counts stored batches: followers read the store from their own cursor when it changes.
    grew: Arc<watch::Sender<u64>>,
    writes: Writes,
    /// When a write was last tried for its own sake, and whether it worked.
    probed: Arc<Mutex<Option<(Instant, bool)>>>,
    /// The name that events about no host in particular carry.
    home: HostName,
}

impl History {
    pub(crate) fn new(db: ControllerDb, counters: Arc<Counters>, home: HostName) -> Self {
        let writes = Writes::new("the store", counters.clone());
        Self { db, counters, grew: Arc::new(watch::Sender::new(0)), writes, probed: Arc::default(), home }
    }

    /// Changes whenever events were stored.
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.grew.subscribe()
    }

    /// Whether anything can be stored: tries it, since each try costs the disk a sync, only where it was not tried for
    /// [`PROBE_EVERY`] or a write has gone otherwise since.
    pub(crate) async fn writable(&self) -> bool {
        let mut probed = self.probed.lock().await;
        match *probed {
            Some((at, writable)) if at.elapsed() < PROBE_EVERY && writable == self.fault().is_none() => {
                writable
            }
            _ => {
                let writable = self.note(self.db.probe_write().await).is_ok();
                *probed = Some((Instant::now(), writable));
                writable
            }
        }
    }

    /// Why the last write failed; `None` when it did not.
    pub(crate) fn fault(&self) -> Option<String> {
        self.writes.fault()
    }

    /// Stores an event of the controller's own. Where that fails the event is in the log alone, and counted.
    pub(crate) async fn record(&self, host: Option<HostName>, draft: EventDraft, wall: Timestamp) {
        let event = draft.stamp(host.as_ref().unwrap_or(&self.home), wall);
        tracing::info!(host = %event.host, kind = %event.kind, "{}", event.reason);
        let stored = self.db.append(vec![event]).await;
        match self.note(stored) {
            Ok(stored) => self.grown(&stored),
            Err(_) => self.counters.count(Counter::EventsLost),
        }
    }

    /// Stores a batch of an agent's outbox; what it gives may be sent as the acknowledgement.
    pub(crate) async fn ingest(
        &self,
        batch: OutboxBatch,
        received: Timestamp,
    ) -> Result<OutboxAck, StoreError> {
        let stored = self.db.ingest(batch, received).await;
        let ingested = self.note(stored)?;
        self.counters.count(Counter::Batches);
        self.grown(&ingested.stored);
        Ok(OutboxAck { v: PROTOCOL_VERSION, seq: ingested.ack, refused: None })
    }

    /// Notes how a write went.
    pub(crate) fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.writes.note(result)
    }

    fn grown(&self, by: &[Event]) {
        for event in by {
            self.counters.event(event.kind);
        }
        if !by.is_empty() {
            self.grew.send_modify(|batches| *batches += 1);
        }
    }
}
