//! What the lane keeps in `agent.db`, and how seldom it writes there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::LaneParts;
use super::fresh::Fresh;
use crate::bus::OutboxItem;
use crate::model::{Actor, EventDraft, EventKind, HostName, Timestamp};
use crate::store::{AgentDb, Durability, StoreError, TickRow, TicksKept};

/// How long a tick may be in memory alone.
const UNWRITTEN: Duration = Duration::from_secs(2);

/// How often the disk is synced for metrics at most.
pub(super) const SYNC_EVERY: Duration = Duration::from_secs(10);

/// Between two attempts to write what the disk did not take.
const WRITE_AGAIN: Duration = Duration::from_secs(5);

/// The ticks that wait on the disk, and the count of what was lost.
pub(super) struct Disk {
    host: HostName,
    db: AgentDb,
    told: Arc<Notify>,
    /// What is in the database.
    kept: TicksKept,
    /// Samples that were dropped and are not counted there yet.
    lost: u64,
    /// It was told that samples are dropped, and not everything was delivered since.
    told_dropped: bool,
    /// When what is in memory alone is to be written.
    write_at: Option<Instant>,
    failing: bool,
    synced: Option<Instant>,
}

impl Disk {
    pub(super) async fn open(parts: &LaneParts) -> Self {
        Self {
            host: parts.host.clone(),
            db: parts.db.clone(),
            told: parts.told.clone(),
            // A database that cannot be read fails the agent elsewhere; here it means that nothing is known to wait.
            kept: parts.db.ticks_kept().await.unwrap_or_default(),
            lost: 0,
            told_dropped: false,
            write_at: None,
            failing: false,
            synced: None,
        }
    }

    /// How many ticks wait there.
    pub(super) fn waiting(&self) -> u64 {
        self.kept.waiting
    }

    /// How many samples were dropped since the database was made.
    pub(super) fn dropped_ever(&self) -> u64 {
        self.kept.dropped_ever + self.lost
    }

    /// Counts samples that were dropped.
    pub(super) fn lose(&mut self, samples: u64) {
        self.lost += samples;
    }

    /// Whether it takes nothing.
    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }

    /// When there is something to write.
    pub(super) fn write_at(&self) -> Option<Instant> {
        self.write_at
    }

    /// There is a tick that must not stay in memory alone for long.
    pub(super) fn write_soon(&mut self) {
        self.write_at.get_or_insert(Instant::now() + UNWRITTEN);
    }

    /// Writes what of `fresh` has waited long enough.
    pub(super) async fn write_if_due(&mut self, fresh: &mut Fresh) {
        if self.write_at.is_some_and(|at| at <= Instant::now()) {
            self.write(fresh).await;
        }
    }

    /// Writes what is in memory alone, and syncs it if that was not done for a while.
    pub(super) async fn write(&mut self, fresh: &mut Fresh) {
        let durability = if self.synced.is_none_or(|at| at.elapsed() >= SYNC_EVERY) {
            Durability::Synced
        } else {
            Durability::Written
        };
        self.write_as(fresh, durability).await;
    }

    /// The same. Where the disk does not take it, it stays in memory.
    pub(super) async fn write_as(&mut self, fresh: &mut Fresh, durability: Durability) {
        let rows = fresh.rows();
        self.write_at = None;
        if rows.is_empty() && self.lost == 0 {
            return;
        }
        match self.db.keep_ticks(rows, self.lost, durability).await {
            Ok(kept) => {
                if durability == Durability::Synced {
                    self.synced = Some(Instant::now());
                }
                if std::mem::take(&mut self.failing) {
                    tracing::info!("metrics that wait are kept on disk again");
                }
                (self.kept, self.lost) = (kept, 0);
                fresh.written();
                if kept.dropped > 0 {
                    self.tell_dropped().await;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "metrics that wait are not kept on disk");
                }
                self.write_at = Some(Instant::now() + WRITE_AGAIN);
            }
        }
    }

    /// The oldest that wait, as many as the bounds allow.
    pub(super) async fn oldest(
        &mut self,
        (ticks, bytes, json): (usize, usize, usize),
    ) -> Result<Vec<TickRow>, StoreError> {
        let rows = self.db.oldest_ticks(ticks, bytes, json).await?;
        if rows.is_empty() {
            self.kept.waiting = 0;
        }
        Ok(rows)
    }

    /// Forgets what was acknowledged of what is kept here; `fresh` is what is not.
    pub(super) async fn forget(&mut self, seqs: Vec<u64>, fresh: &Fresh) {
        if fresh.unwritten() == 0 {
            self.write_at = None;
        }
        if !seqs.is_empty() {
            match self.db.forget_ticks(seqs).await {
                Ok(waiting) => self.kept.waiting = waiting,
                // They are delivered again, which changes nothing.
                Err(error) => tracing::debug!(%error, "delivered metrics cannot be forgotten"),
            }
        }
        self.told_dropped &= self.kept.waiting > 0;
    }

    /// Tells, once until everything was delivered, that samples are dropped.
    async fn tell_dropped(&mut self) {
        if self.told_dropped {
            return;
        }
        let reason = "Metrics are dropped: the oldest of those that wait, where there is no room for more, or those of a \
                      moment that no message can carry.";
        tracing::warn!("{reason}");
        let draft = EventDraft::new(EventKind::SamplesDropped, Actor::Agent, reason)
            .with(serde_json::json!({ "samples": self.kept.dropped, "ticks_waiting": self.kept.waiting }));
        let event = OutboxItem::Event(draft.stamp(&self.host, Timestamp::now()));
        match self.db.push(vec![event]).await {
            Ok(_) => {
                self.told_dropped = true;
                self.told.notify_one();
            }
            // Told with the next that is dropped.
            Err(error) => tracing::debug!(%error, "an event could not be kept"),
        }
    }
}
