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

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::delivery::{Delivered, Delivery};
use crate::bus::{Bus, BusError, OutboxItem, encode, gzip};
use crate::model::{Actor, EventDraft, EventKind, HostName, MetricTick, SeriesName, Timestamp, Values};
use crate::store::{AgentDb, Durability, TickRow, TicksKept};

/// Ticks that may wait to be taken over; the sampler drops what is beyond, and counts it.
const TICKS: usize = 16;

/// How long a tick may be in memory alone.
const UNWRITTEN: Duration = Duration::from_secs(2);

/// How often the disk is synced for metrics at most.
const SYNC_EVERY: Duration = Duration::from_secs(10);

/// Between two attempts to write what the disk did not take.
const WRITE_AGAIN: Duration = Duration::from_secs(5);

/// What is kept in memory while the disk takes nothing: ticks, and samples in them; beyond that the oldest are dropped.
const MOST_FRESH: usize = 64;
const MOST_SAMPLES: u64 = 200_000;

/// Waits after a failed delivery: doubling from the first to the last, each shortened by up to a half at random, so that a
/// fleet does not return in one moment.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LAST: Duration = Duration::from_secs(10);

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
            () = sleep_until(wake) => lane.write_if_due().await,
        }
    }
    while let Ok(tick) = ticks.try_recv() {
        lane.take(tick).await;
    }
    lane.write(Durability::Synced).await;
}

/// A tick that was not acknowledged yet.
struct Fresh {
    seq: u64,
    tick: Arc<MetricTick>,
    samples: u64,
    written: bool,
    under_way: bool,
}

/// When the next attempt may be made.
struct Retry {
    at: Instant,
    wait: Duration,
    failing: bool,
}

impl Retry {
    fn new() -> Self {
        Self { at: Instant::now(), wait: RETRY_FIRST, failing: false }
    }

    fn failed(&mut self) {
        self.at = Instant::now() + self.wait.mul_f64(rand::random_range(0.5..=1.0));
        self.wait = (self.wait * 2).min(RETRY_LAST);
        self.failing = true;
    }

    fn succeeded(&mut self, pause: Duration) {
        *self = Self { at: Instant::now() + pause, ..Self::new() };
    }

    fn is_due(&self) -> bool {
        self.at <= Instant::now()
    }
}

struct Lane {
    parts: LaneParts,
    /// The newest ticks, oldest first. While the controller does not answer the last stays, to be tried.
    fresh: VecDeque<Fresh>,
    /// The number of the newest.
    last_seq: u64,
    /// What is in the database.
    kept: TicksKept,
    /// Samples that were dropped and are not counted there yet.
    lost: u64,
    /// How many the sampler has said that it dropped, in this process.
    unsampled: u64,
    /// It was told that samples are dropped, and not everything was delivered since.
    told_dropped: bool,
    /// How many ticks a batch may have: fewer for a while when the server refused more.
    batch_ticks: usize,
    live: Retry,
    backlog: Retry,
    /// When what is in memory alone is to be written.
    write_at: Option<Instant>,
    disk_failing: bool,
    synced: Option<Instant>,
    /// Why the controller refused metrics last, so that the same is logged once.
    refused: Option<String>,
}

impl Lane {
    async fn open(parts: LaneParts) -> Self {
        // A database that cannot be read fails the agent elsewhere; here it means that nothing is known to wait.
        let kept = parts.db.ticks_kept().await.unwrap_or_default();
        let last_seq = parts.db.last_tick().await.unwrap_or_default();
        Self {
            parts,
            fresh: VecDeque::new(),
            last_seq,
            kept,
            lost: 0,
            unsampled: 0,
            told_dropped: false,
            batch_ticks: BATCH_TICKS,
            live: Retry::new(),
            backlog: Retry::new(),
            write_at: None,
            disk_failing: false,
            synced: None,
            refused: None,
        }
    }

    /// Takes over a tick from the sampler.
    async fn take(&mut self, mut tick: MetricTick) {
        self.complete(&mut tick).await;
        let samples = tick.host.len() + tick.containers.values().map(Values::len).sum::<usize>();
        tracing::debug!(time = tick.time, samples, "measured");
        self.last_seq += 1;
        self.fresh.push_back(Fresh {
            seq: self.last_seq,
            tick: Arc::new(tick),
            samples: samples as u64,
            written: false,
            under_way: false,
        });
        self.write_at.get_or_insert(Instant::now() + UNWRITTEN);
        if self.live.failing && !self.disk_failing {
            self.write(self.durability()).await;
        }
        self.bound_memory();
    }

    /// Adds what the lane itself knows, and leaves out what JSON cannot carry.
    async fn complete(&mut self, tick: &mut MetricTick) {
        if let Ok(events) = self.parts.db.outbox_len().await {
            let unwritten = self.fresh.iter().filter(|fresh| !fresh.written).count() as u64;
            let waiting = events + self.kept.waiting + unwritten;
            tick.host.insert(SeriesName::of("outbox_items"), waiting as f64);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count, as the sampler makes it"
        )]
        let said = tick.host.get(&DROPPED).map_or(0, |said| *said as u64);
        self.lost += said.saturating_sub(self.unsampled);
        self.unsampled = said;
        tick.host.insert(DROPPED, (self.kept.dropped_ever + self.lost) as f64);
        tick.host.retain(|_, value| value.is_finite());
        tick.containers.values_mut().for_each(|values| values.retain(|_, value| value.is_finite()));
    }

    /// The delivery of what is new; while the controller does not answer, of the newest alone.
    fn next_live(&mut self) -> Option<Delivery> {
        let newest = self.fresh.back()?.seq;
        if !self.live.is_due() {
            return None;
        }
        let most = if self.live.failing { 1 } else { self.batch_ticks };
        let due = self.fresh.iter_mut().rev().filter(|fresh| fresh.seq == newest || !fresh.written);
        let batch = due.take(most).map(|fresh| {
            fresh.under_way = true;
            (fresh.seq, fresh.samples, fresh.tick.clone())
        });
        let mut batch: Vec<_> = batch.collect();
        batch.reverse();
        Some(Delivery::of(&self.parts, batch))
    }

    /// Whether anything but the newest tick may be tried now.
    fn answers(&self) -> bool {
        !self.live.failing || self.fresh.is_empty()
    }

    /// The delivery of the oldest that waits.
    async fn next_backlog(&mut self) -> Option<Delivery> {
        if self.kept.waiting == 0 || !self.answers() || !self.backlog.is_due() {
            return None;
        }
        match self.parts.db.oldest_ticks(self.batch_ticks, BATCH_BYTES, BATCH_JSON).await {
            Ok(rows) if rows.is_empty() => self.kept.waiting = 0,
            Ok(rows) => return Some(Delivery::of_kept(&self.parts, &rows)),
            Err(error) => {
                tracing::debug!(%error, "metrics that wait cannot be read");
                self.backlog.failed();
            }
        }
        None
    }

    /// When there is something to do again, beside what is under way.
    fn wake(&self, live: bool, backlog: bool) -> Instant {
        let live_at = (!live && !self.fresh.is_empty()).then_some(self.live.at);
        let spare = !live && !backlog && self.kept.waiting > 0 && self.answers();
        let backlog_at = spare.then_some(self.backlog.at);
        let idle = Instant::now() + SYNC_EVERY;
        [self.write_at, live_at, backlog_at].into_iter().flatten().fold(idle, Instant::min)
    }

    async fn live_ended(&mut self, ended: Delivered) {
        for fresh in &mut self.fresh {
            fresh.under_way = false;
        }
        match ended.answer {
            Ok(ack) => {
                self.note_refusal(ack.refused);
                if self.backlog.failing || self.live.failing {
                    self.backlog.succeeded(ended.took.mul_f64(rand::random_range(0.0..=2.0)));
                }
                self.live.succeeded(Duration::ZERO);
                self.delivered(ended.seqs).await;
            }
            Err(BusError::TooLarge { .. }) => self.too_large(&ended).await,
            Err(error) => {
                tracing::debug!(%error, "metrics wait");
                self.live.failed();
                self.write(self.durability()).await;
                self.trim();
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
            Err(BusError::TooLarge { .. }) => self.too_large(&ended).await,
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
        let in_memory = |seq: &u64| self.fresh.iter().any(|fresh| fresh.seq == *seq && !fresh.written);
        let written: Vec<u64> = seqs.iter().copied().filter(|seq| !in_memory(seq)).collect();
        self.fresh.retain(|fresh| !seqs.contains(&fresh.seq));
        if self.fresh.iter().all(|fresh| fresh.written) {
            self.write_at = None;
        }
        if !written.is_empty() {
            match self.parts.db.forget_ticks(written).await {
                Ok(waiting) => self.kept.waiting = waiting,
                // They are delivered again, which changes nothing.
                Err(error) => tracing::debug!(%error, "delivered metrics cannot be forgotten"),
            }
        }
        self.told_dropped &= self.kept.waiting > 0;
    }

    /// Sends less at once, and gives a tick up that alone is too much.
    async fn too_large(&mut self, ended: &Delivered) {
        if ended.seqs.len() > 1 {
            self.batch_ticks = (ended.seqs.len() / 2).max(1);
            return;
        }
        if let Err(error) = &ended.answer {
            tracing::error!(%error, samples = ended.samples, "the metrics of one moment are dropped");
        }
        self.lost += ended.samples;
        self.delivered(ended.seqs.clone()).await;
        self.write(self.durability()).await;
    }

    fn durability(&self) -> Durability {
        if self.synced.is_none_or(|at| at.elapsed() >= SYNC_EVERY) {
            Durability::Synced
        } else {
            Durability::Written
        }
    }

    async fn write_if_due(&mut self) {
        if self.write_at.is_some_and(|at| at <= Instant::now()) {
            self.write(self.durability()).await;
        }
    }

    /// Writes what is in memory alone. Where the disk does not take it, it stays there.
    async fn write(&mut self, durability: Durability) {
        let unwritten = self.fresh.iter().filter(|fresh| !fresh.written);
        let rows: Vec<TickRow> = unwritten.map(row).collect();
        self.write_at = None;
        if rows.is_empty() && self.lost == 0 {
            return;
        }
        match self.parts.db.keep_ticks(rows, self.lost, durability).await {
            Ok(kept) => {
                if durability == Durability::Synced {
                    self.synced = Some(Instant::now());
                }
                if std::mem::take(&mut self.disk_failing) {
                    tracing::info!("metrics that wait are kept on disk again");
                }
                (self.kept, self.lost) = (kept, 0);
                self.fresh.iter_mut().for_each(|fresh| fresh.written = true);
                self.trim();
                if kept.dropped > 0 {
                    self.tell_dropped().await;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.disk_failing, true) {
                    tracing::error!(%error, "metrics that wait are not kept on disk");
                }
                self.write_at = Some(Instant::now() + WRITE_AGAIN);
            }
        }
    }

    /// Leaves to the database what it has, but for the newest, which is tried first.
    fn trim(&mut self) {
        let newest = self.last_seq;
        self.fresh.retain(|fresh| !fresh.written || fresh.under_way || fresh.seq == newest);
    }

    /// While the disk takes nothing, drops the oldest of what is in memory.
    fn bound_memory(&mut self) {
        let samples = |fresh: &VecDeque<Fresh>| fresh.iter().map(|fresh| fresh.samples).sum::<u64>();
        while self.fresh.len() > 1 && (self.fresh.len() > MOST_FRESH || samples(&self.fresh) > MOST_SAMPLES) {
            let Some(oldest) = self.fresh.pop_front() else { return };
            self.lost += if oldest.written { 0 } else { oldest.samples };
        }
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
        let event = OutboxItem::Event(draft.stamp(&self.parts.host, Timestamp::now()));
        match self.parts.db.push(vec![event]).await {
            Ok(_) => {
                self.told_dropped = true;
                self.parts.told.notify_one();
            }
            // Told with the next that is dropped.
            Err(error) => tracing::debug!(%error, "an event could not be kept"),
        }
    }
}

fn row(fresh: &Fresh) -> TickRow {
    let json = encode(fresh.tick.as_ref());
    TickRow { seq: fresh.seq, samples: fresh.samples, json_bytes: json.len(), body: gzip(&json) }
}
