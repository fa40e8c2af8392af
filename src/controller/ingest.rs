//! Takes in the agents' outboxes: stores a batch, then acknowledges it.
//!
//! What cannot be stored is not acknowledged, so the agent keeps it and sends it again. Events and metrics have a queue
//! each, so that neither waits for the other. Events are stored batch by batch; metrics of many hosts in one write, as many
//! as came while the write before was under way.

mod check;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::ready;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::counters::{Counter, Counters};
use super::history::History;
use super::listen::listen;
use super::ticks::Ticks;
use super::writes::Writes;
use crate::bus::{
    Bus, Incoming, OutboxAck, OutboxBatch, OutboxItem, PROTOCOL_VERSION, ReadBatch, Responder, Subject,
    decode_batch, encode, is_gzip,
};
use crate::model::Timestamp;
use crate::store::{HostTick, MetricStore, StoreError};

/// What may wait of each kind, KiB as it came; what comes beyond that is passed over, and sent again by its agent.
const QUEUE_KIB: usize = 64 << 10;

/// Batches that may wait of each kind.
const QUEUE: usize = 8192;

/// Of metrics, what may wait of batches larger than [`SMALL`]: most of those are of the past, which must not keep the
/// present out.
const LARGE_KIB: usize = 48 << 10;
const SMALL: usize = 32 << 10;

/// Metrics taken together into one write, bytes as they came.
const GROUP_BYTES: usize = 1 << 20;

/// For how long batches are written one by one after the store refused some together.
const APART: Duration = Duration::from_secs(30);

/// What the task needs.
pub(crate) struct IngestParts {
    pub(crate) bus: Arc<dyn Bus>,
    /// Shares the metrics with the other controllers of this group; events are taken by each.
    pub(crate) group: Option<&'static str>,
    pub(crate) history: History,
    pub(crate) metrics: Arc<dyn MetricStore>,
    pub(crate) ticks: Ticks,
    /// How writing metrics goes.
    pub(crate) writes: Writes,
    pub(crate) counters: Arc<Counters>,
}

/// The task; ends with `shutdown`, never within a write.
pub(crate) async fn ingest(parts: IngestParts, shutdown: CancellationToken) {
    let (events, events_queue) = Queue::new();
    let (metrics, metrics_queue) = Queue::new();
    let counters = parts.counters.clone();
    let (bus, group) = (parts.bus.clone(), parts.group);
    let intake = Intake(Arc::new(parts));
    let sort = async {
        let mut outboxes = pin!(outboxes(bus, group));
        while let Some(Some(message)) = shutdown.run_until_cancelled(outboxes.next()).await {
            let taken = if is_gzip(&message.payload) { metrics.put(message) } else { events.put(message) };
            if !taken {
                counters.count(Counter::BatchesDeferred);
            }
        }
        drop((events, metrics));
    };
    tokio::join!(
        sort,
        intake.clone().work(events_queue, 0, &shutdown),
        intake.work(metrics_queue, GROUP_BYTES, &shutdown)
    );
}

/// What comes in: everything, or of metrics only this one's share within `group`.
fn outboxes(bus: Arc<dyn Bus>, group: Option<&'static str>) -> impl Stream<Item = Incoming> + Send {
    let all = listen(bus.clone(), Subject::AllOutboxes, None);
    let Some(group) = group else { return all.left_stream() };
    let events = all.filter(|message| ready(!is_gzip(&message.payload)));
    let metrics = listen(bus, Subject::AllOutboxes, Some(group));
    let metrics = metrics.filter(|message| ready(is_gzip(&message.payload)));
    stream::select(events, metrics).right_stream()
}

/// A message that waits, and the room it takes.
struct Waiting {
    message: Incoming,
    _room: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

/// The way into a bounded queue.
struct Queue {
    way: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Queue {
    fn new() -> (Self, mpsc::Receiver<Waiting>) {
        let (way, waiting) = mpsc::channel(QUEUE);
        let (room, large) = (Semaphore::new(QUEUE_KIB), Semaphore::new(LARGE_KIB));
        (Self { way, room: Arc::new(room), large: Arc::new(large) }, waiting)
    }

    /// Whether there was room.
    fn put(&self, message: Incoming) -> bool {
        let bytes = message.payload.len();
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let Ok(room) = self.room.clone().try_acquire_many_owned(kib) else { return false };
        let mut large = None;
        if bytes > SMALL {
            let Ok(taken) = self.large.clone().try_acquire_many_owned(kib) else { return false };
            large = Some(taken);
        }
        self.way.try_send(Waiting { message, _room: (room, large) }).is_ok()
    }
}

#[derive(Clone)]
struct Intake(Arc<IngestParts>);

impl Intake {
    /// Stores what waits: one message, and more as long as they are together within `group` bytes.
    async fn work(self, mut queue: mpsc::Receiver<Waiting>, group: usize, shutdown: &CancellationToken) {
        let mut together = Together::default();
        while let Some(Some(first)) = shutdown.run_until_cancelled(queue.recv()).await {
            let mut bytes = first.message.payload.len();
            let mut messages = vec![first.message];
            while bytes < group
                && together.are_fine()
                && let Ok(next) = queue.try_recv()
            {
                bytes += next.message.payload.len();
                messages.push(next.message);
            }
            let received = Timestamp::now();
            // Reading takes long enough to keep others of this thread waiting.
            let read = tokio::task::spawn_blocking(move || {
                messages.into_iter().map(|message| Batch::read(message, received)).collect::<Vec<_>>()
            });
            let mut batches = Vec::new();
            for batch in read.await.unwrap_or_default() {
                match batch {
                    Ok(batch) => batches.push(batch),
                    Err(why) => self.not_acknowledged(&why),
                }
            }
            self.store(batches, received, &mut together).await;
        }
    }

    /// Stores the batches, and acknowledges them.
    async fn store(&self, mut batches: Vec<Batch>, received: Timestamp, together: &mut Together) {
        let IngestParts { history, metrics, ticks: latest, counters, .. } = self.0.as_ref();
        let newest: Vec<_> = batches.iter().filter_map(|batch| batch.newest(latest, received)).collect();
        let ticks: Vec<HostTick> =
            batches.iter_mut().flat_map(|batch| std::mem::take(&mut batch.ticks)).collect();
        if !ticks.is_empty() {
            let (count, samples) =
                (ticks.len() as u64, ticks.iter().map(|tick| tick.tick.samples()).sum::<usize>() as u64);
            match self.0.writes.note(metrics.write(ticks).await) {
                Ok(()) => {
                    counters.add(Counter::Ticks, count);
                    counters.add(Counter::Samples, samples);
                    latest.take(newest, received);
                }
                Err(StoreError::Refused(why)) if batches.len() == 1 => {
                    for batch in &mut batches {
                        batch.refuse(&why, count);
                    }
                }
                Err(error) => {
                    // One of many is at fault: sent again, each is written by itself.
                    together.failed(&error);
                    return batches.iter().for_each(|_| self.not_acknowledged(&error.to_string()));
                }
            }
        }
        for batch in batches {
            counters.add(Counter::TicksRefused, batch.refused);
            if let Err(why) = self.acknowledge(batch, history).await {
                self.not_acknowledged(&why);
            }
        }
    }

    /// Stores a batch's events and answers.
    async fn acknowledge(&self, batch: Batch, history: &History) -> Result<(), String> {
        let Batch { message, reply, why, metrics_alone, .. } = batch;
        let ack = if metrics_alone {
            self.0.counters.count(Counter::Batches);
            OutboxAck { v: PROTOCOL_VERSION, seq: message.seq, refused: why }
        } else {
            let ack = history.ingest(message, Timestamp::now()).await.map_err(|e| e.to_string())?;
            OutboxAck { refused: why, ..ack }
        };
        match reply {
            Some(reply) => reply.send(encode(&ack)).await.map_err(|e| e.to_string()),
            None => Ok(()),
        }
    }

    fn not_acknowledged(&self, why: &str) {
        self.0.counters.count(Counter::BatchesRefused);
        tracing::debug!("an outbox batch was not acknowledged: {why}");
    }
}

/// A batch on its way into the store.
struct Batch {
    message: OutboxBatch,
    reply: Option<Responder>,
    /// Its ticks, until they are stored; the batch itself holds none.
    ticks: Vec<HostTick>,
    /// How many more it had that are refused, and why the first is.
    refused: u64,
    why: Option<String>,
    /// Whether there is nothing but metrics in it.
    metrics_alone: bool,
}

impl Batch {
    fn read(message: Incoming, received: Timestamp) -> Result<Self, String> {
        let ReadBatch { mut batch, unreadable } =
            decode_batch(&message.payload).map_err(|e| format!("{}: {e}", message.subject))?;
        if message.subject.host() != Some(&batch.host) {
            return Err(format!("{} came on {}", batch.host, message.subject));
        }
        let (mut ticks, mut refused, mut why) = (Vec::new(), 0, unreadable);
        refused += u64::from(why.is_some());
        for item in &mut batch.items {
            if let OutboxItem::Metrics(tick) = item {
                match check::tick(tick, received) {
                    Ok(()) => {
                        let tick = std::mem::take(tick);
                        ticks.push(HostTick { host: batch.host.clone(), tick });
                    }
                    Err(bad) => {
                        refused += 1;
                        why.get_or_insert(bad);
                    }
                }
            }
        }
        if let Some(why) = &why {
            tracing::debug!(host = %batch.host, "metrics are refused: {why}");
        }
        let other = |item: &OutboxItem| matches!(item, OutboxItem::Event(_));
        let metrics_alone = (!ticks.is_empty() || why.is_some()) && !batch.items.iter().any(other);
        Ok(Self { message: batch, reply: message.reply, ticks, refused, why, metrics_alone })
    }

    /// Its newest tick, if that is newer than what is known of its host.
    fn newest(&self, latest: &Ticks, received: Timestamp) -> Option<Arc<HostTick>> {
        let newest = self.ticks.iter().max_by_key(|tick| tick.tick.time)?;
        latest.lacks(newest, received).then(|| Arc::new(newest.clone()))
    }

    fn refuse(&mut self, why: &str, ticks: u64) {
        self.refused += ticks;
        self.why.get_or_insert_with(|| why.to_owned());
    }
}

/// Whether batches may be written together. When the store refused some that were, they come again one by one for a while,
/// so that the one at fault is found and does not keep the others out.
#[derive(Default)]
struct Together {
    again: Option<Instant>,
}

impl Together {
    fn are_fine(&self) -> bool {
        self.again.is_none_or(|again| again <= Instant::now())
    }

    fn failed(&mut self, error: &StoreError) {
        if matches!(error, StoreError::Refused(_)) {
            self.again = Some(Instant::now() + APART);
        }
    }
}
