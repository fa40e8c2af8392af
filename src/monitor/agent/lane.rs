//! The lane of metrics to the controller.
//!
//! ```text
//!            tick                  at once                        acknowledged
//!  sampler ────────► fresh ──────────────────────► controller ──────────────────► forgotten
//!                      │ 2 s without an answer, or none to be had     ▲
//!                      └──────────► agent.db ─────────────────────────┘
//!                                             oldest first, in the spare time
//! ```
//!
//! The newest tick goes first: while the controller does not answer, it alone is what is tried, and when it is
//! acknowledged the backlog follows, in bounded batches, each after a pause as long as the one before took. At least once:
//! the store tells samples apart by host, container, series and time, so one that comes twice is there once.
//!
//! What is lost when: an end in order loses nothing; `kill -9` of the agent loses what was not acknowledged of the last two
//! seconds; power loss also loses what was written in the last ten seconds, since that is how often the disk is synced at
//! most. A controller that answers costs the disk nothing at all.

mod disk;
mod fresh;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::delivery::{Delivered, Delivery};
use crate::bus::{Bus, BusError};
use crate::model::{HostName, MetricTick, SeriesName};
use crate::store::{AgentDb, Durability};
use disk::{Disk, SYNC_EVERY};
use fresh::Fresh;
use retry::Retry;

/// Ticks that may wait to be taken over; the sampler drops what is beyond, and counts it.
const TICKS: usize = 16;

/// The longest pause between two batches of the backlog.
const PAUSE_LAST: Duration = Duration::from_secs(2);

/// One batch of the backlog: ticks, their compressed bytes (what any server's message limit takes), their JSON (small boards
/// have little memory).
const BATCH_TICKS: usize = 120;
const BATCH_BYTES: usize = 256 << 10;
const BATCH_JSON: usize = 1 << 20;

/// The metric of what was dropped.
const DROPPED: SeriesName = SeriesName::of("samples_dropped");

/// The edges the lane works with.
#[derive(Clone)]
pub struct LaneParts {
    /// Whose metrics.
    pub host: HostName,
    /// Reaches the controller.
    pub bus: Arc<dyn Bus>,
    /// Keeps what waits.
    pub db: AgentDb,
    /// Told when an event was put into the outbox.
    pub told: Arc<Notify>,
}

/// Makes the lane: where ticks are handed in, and the task that delivers them. It ends with `shutdown`, when what it has
/// in memory is written.
pub fn metric_lane(
    parts: LaneParts,
    shutdown: CancellationToken,
) -> (mpsc::Sender<MetricTick>, impl Future<Output = ()> + Send) {
    let (sampler, ticks) = mpsc::channel(TICKS);
    (sampler, run(parts, ticks, shutdown))
}

async fn run(parts: LaneParts, mut ticks: mpsc::Receiver<MetricTick>, shutdown: CancellationToken) {
    let mut lane = Lane::open(parts).await;
    let (mut live, mut backlog): (Option<Delivery>, Option<Delivery>) = (None, None);
    let mut sampled = true;
    loop {
        if live.is_none() {
            live = lane.next_live();
        }
        if live.is_none() && backlog.is_none() {
            backlog = lane.next_backlog().await;
        }
        let wake = lane.wake(live.is_some(), backlog.is_some());
        tokio::select! {
            () = shutdown.cancelled() => break,
            tick = ticks.recv(), if sampled => match tick {
                Some(tick) => lane.take(tick).await,
                None => sampled = false,
            },
            ended = Delivery::end(&mut live) => lane.live_ended(ended).await,
            ended = Delivery::end(&mut backlog) => lane.backlog_ended(ended).await,
            () = sleep_until(wake) => lane.disk.write_if_due(&mut lane.fresh).await,
        }
    }
    while let Ok(tick) = ticks.try_recv() {
        lane.take(tick).await;
    }
    lane.disk.write_as(&mut lane.fresh, Durability::Synced).await;
}

struct Lane {
    parts: LaneParts,
    fresh: Fresh,
    disk: Disk,
    live: Retry,
    backlog: Retry,
    /// How many ticks a batch may have: fewer for a while when the server refused more.
    batch_ticks: usize,
    /// How many samples the sampler has said that it dropped, in this process.
    unsampled: u64,
    /// Why the controller refused metrics last, so that the same is logged once.
    refused: Option<String>,
}

impl Lane {
    async fn open(parts: LaneParts) -> Self {
        Self {
            // As with what waits: what cannot be read fails the agent elsewhere.
            fresh: Fresh::after(parts.db.last_tick().await.unwrap_or_default()),
            disk: Disk::open(&parts).await,
            parts,
            live: Retry::new(),
            backlog: Retry::new(),
            batch_ticks: BATCH_TICKS,
            unsampled: 0,
            refused: None,
        }
    }

    /// Takes over a tick from the sampler.
    async fn take(&mut self, mut tick: MetricTick) {
        self.complete(&mut tick).await;
        self.fresh.push(tick);
        self.disk.write_soon();
        if self.live.is_failing() && !self.disk.is_failing() {
            self.disk.write(&mut self.fresh).await;
        }
        self.disk.lose(self.fresh.bound());
    }

    /// Adds what the lane itself knows, and leaves out what JSON cannot carry.
    async fn complete(&mut self, tick: &mut MetricTick) {
        if let Ok(events) = self.parts.db.outbox_len().await {
            let waiting = events + self.disk.waiting() + self.fresh.unwritten();
            tick.host.insert(SeriesName::of("outbox_items"), waiting as f64);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count, as the sampler makes it"
        )]
        let said = tick.host.get(&DROPPED).map_or(0, |said| said as u64);
        self.disk.lose(said.saturating_sub(self.unsampled));
        self.unsampled = said;
        tick.host.insert(DROPPED, self.disk.dropped_ever() as f64);
        let finite = |_: &SeriesName, value: f64| value.is_finite();
        tick.host.retain(finite);
        tick.containers.values_mut().for_each(|values| values.retain(finite));
    }

    /// The delivery of what is new; while the controller does not answer, of the newest alone.
    fn next_live(&mut self) -> Option<Delivery> {
        if self.fresh.is_empty() || !self.live.is_due() {
            return None;
        }
        let most = if self.live.is_failing() { 1 } else { self.batch_ticks };
        Some(Delivery::of(&self.parts, self.fresh.batch(most)))
    }

    /// Whether anything but the newest tick may be tried now.
    fn answers(&self) -> bool {
        !self.live.is_failing() || self.fresh.is_empty()
    }

    /// The delivery of the oldest that waits.
    async fn next_backlog(&mut self) -> Option<Delivery> {
        if self.disk.waiting() == 0 || !self.answers() || !self.backlog.is_due() {
            return None;
        }
        match self.disk.oldest((self.batch_ticks, BATCH_BYTES, BATCH_JSON)).await {
            Ok(rows) => (!rows.is_empty()).then(|| Delivery::of_kept(&self.parts, &rows)),
            Err(error) => {
                tracing::debug!(%error, "metrics that wait cannot be read");
                self.backlog.failed();
                None
            }
        }
    }

    /// When there is something to do again, beside what is under way.
    fn wake(&self, live: bool, backlog: bool) -> Instant {
        let live_at = (!live && !self.fresh.is_empty()).then_some(self.live.at());
        let spare = !live && !backlog && self.disk.waiting() > 0 && self.answers();
        let backlog_at = spare.then_some(self.backlog.at());
        let idle = Instant::now() + SYNC_EVERY;
        [self.disk.write_at(), live_at, backlog_at].into_iter().flatten().fold(idle, Instant::min)
    }

    async fn live_ended(&mut self, ended: Delivered) {
        self.fresh.returned();
        match ended.answer {
            Ok(ack) => {
                self.note_refusal(ack.refused);
                if self.backlog.is_failing() || self.live.is_failing() {
                    self.backlog.succeeded(ended.took.mul_f64(rand::random_range(0.0..=2.0)));
                }
                self.live.succeeded(Duration::ZERO);
                self.delivered(ended.seqs).await;
            }
            Err(BusError::TooLarge { .. }) => self.too_large(ended).await,
            Err(error) => {
                tracing::debug!(%error, "metrics wait");
                self.live.failed();
                self.disk.write(&mut self.fresh).await;
                self.fresh.trim();
            }
        }
    }

    async fn backlog_ended(&mut self, ended: Delivered) {
        match ended.answer {
            Ok(ack) => {
                self.note_refusal(ack.refused);
                self.backlog.succeeded(ended.took.min(PAUSE_LAST));
                self.batch_ticks = (self.batch_ticks * 2).min(BATCH_TICKS);
                self.delivered(ended.seqs).await;
            }
            Err(BusError::TooLarge { .. }) => self.too_large(ended).await,
            Err(error) => {
                tracing::debug!(%error, "the backlog of metrics waits");
                self.backlog.failed();
            }
        }
    }

    fn note_refusal(&mut self, refused: Option<String>) {
        if let Some(why) = refused
            && self.refused.as_ref() != Some(&why)
        {
            tracing::error!("the controller refuses metrics of this host: {why}");
            self.refused = Some(why);
        }
    }

    /// Forgets what was acknowledged.
    async fn delivered(&mut self, seqs: Vec<u64>) {
        let written = self.fresh.acknowledged(seqs);
        self.disk.forget(written, &self.fresh).await;
    }

    /// Sends less at once, and gives a tick up that alone is too much.
    async fn too_large(&mut self, ended: Delivered) {
        if ended.seqs.len() > 1 {
            self.batch_ticks = (ended.seqs.len() / 2).max(1);
            return;
        }
        if let Err(error) = &ended.answer {
            tracing::error!(%error, samples = ended.samples, "the metrics of one moment are dropped");
        }
        self.disk.lose(ended.samples);
        self.delivered(ended.seqs).await;
        self.disk.write(&mut self.fresh).await;
    }
}
