//! Ticks become rows. Writes that come at the same time share a transaction, and its sync.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::identity::Resolved;
use super::refusals::{Refusal, Refusals};
use super::{EmbeddedStore, HostTick, Shared, head, head_key, lock};
use crate::store::StoreError;
use crate::store::error::Fault;

/// Samples further ahead than this are refused, seconds.
const MAX_AHEAD: i64 = 3_600;

/// Samples after which a transaction takes no further write in.
const GROUP: usize = 200_000;

/// How long such a write is held back at most.
const HOLD: Duration = Duration::from_secs(2);

/// Writes that wait for the next transaction.
pub(super) type Pending = VecDeque<(Vec<HostTick>, oneshot::Sender<Result<(), Fault>>)>;

/// Which samples are taken.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    from: i64,
    to: i64,
}

impl EmbeddedStore {
    pub(super) async fn write_ticks(&self, ticks: Vec<HostTick>) -> Result<(), StoreError> {
        self.hold_back().await;
        let now = self.now();
        let bounds = Bounds { from: self.kept_from(now).max(0), to: now + MAX_AHEAD };
        let (answer, answered) = oneshot::channel();
        lock(&self.shared.pending).push_back((ticks, answer));
        let shared = self.shared.clone();
        // There are as many jobs as writes, and each takes the first that waits at least: none is left.
        self.db
            .read(move |conn| {
                flush(conn, &shared, bounds);
                Ok(())
            })
            .await?;
        answered.await.map_err(|_| self.db.closed())?.map_err(|fault| self.db.error(fault))
    }

    /// Lets the compaction catch up when a backlog comes faster than it.
    async fn hold_back(&self) {
        let end = tokio::time::Instant::now() + HOLD;
        loop {
            let compacted = self.shared.compacted.notified();
            let overfull = lock(&self.shared.backlog).is_overfull(self.now());
            if !overfull || tokio::time::timeout_at(end, compacted).await.is_err() {
                return;
            }
        }
    }
}

fn flush(conn: &mut Connection, shared: &Shared, bounds: Bounds) {
    let mut group = Vec::new();
    {
        let mut pending = lock(&shared.pending);
        let mut samples = 0;
        while samples < GROUP
            && let Some(next) = pending.pop_front()
        {
            samples += next.0.iter().map(|tick| tick.tick.samples()).sum::<usize>();
            group.push(next);
        }
    }
    let (writes, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
    if store(conn, shared, bounds, writes.iter().flatten()).is_ok() {
        for answer in answers {
            drop(answer.send(Ok(())));
        }
    } else {
        // Each by itself, so that all are told what is wrong with their own.
        for (ticks, answer) in writes.iter().zip(answers) {
            drop(answer.send(store(conn, shared, bounds, ticks.iter())));
        }
    }
}

/// Numbers that were given in a transaction are forgotten unless it comes about.
struct Uncommitted<'a>(&'a Shared);

impl Drop for Uncommitted<'_> {
    fn drop(&mut self) {
        lock(&self.0.identity).clear();
    }
}

/// A row that was written.
struct Row {
    host: i64,
    time: i64,
    bytes: u64,
}

fn store<'a>(
    conn: &mut Connection,
    shared: &Shared,
    bounds: Bounds,
    ticks: impl Iterator<Item = &'a HostTick>,
) -> Result<(), Fault> {
    let mut refusals = Refusals::default();
    let mut written: Vec<Row> = Vec::new();
    let uncommitted = Uncommitted(shared);
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for tick in ticks {
        written.extend(store_tick(&tx, shared, bounds, tick, &mut refusals)?);
    }
    tx.commit()?;
    std::mem::forget(uncommitted);
    let (mut backlog, now) = (lock(&shared.backlog), Instant::now());
    for row in written {
        backlog.add(row.host, row.time, row.bytes, now);
    }
    shared.refusals.add(refusals);
    Ok(())
}

fn store_tick(
    conn: &Connection,
    shared: &Shared,
    bounds: Bounds,
    HostTick { host, tick }: &HostTick,
    refusals: &mut Refusals,
) -> Result<Option<Row>, Fault> {
    if tick.time > bounds.to || tick.time <= bounds.from {
        let why = if tick.time > bounds.to { Refusal::Future } else { Refusal::Old };
        refusals.add(why, tick.samples());
        return Ok(None);
    }
    let Some(Resolved { host, samples }) = lock(&shared.identity).resolve(conn, host, tick, refusals)? else {
        refusals.add(Refusal::Hosts, tick.samples());
        return Ok(None);
    };
    if samples.is_empty() {
        return Ok(None);
    }
    let (key, body) = (head_key(host, tick.time), head::encode(&samples));
    let row = |bytes: usize| Some(Row { host, time: tick.time, bytes: bytes as u64 });
    let added = conn
        .prepare_cached("INSERT INTO metric_head (key, body) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![key, body])?;
    if added > 0 {
        return Ok(row(body.len()));
    }
    Ok(complete(conn, key, samples)?.and_then(row))
}

/// Adds to a row that is there already the samples that it lacks; the bytes it grew by.
fn complete(conn: &Connection, key: i64, samples: Vec<(i64, f64)>) -> Result<Option<usize>, Fault> {
    let there = conn
        .prepare_cached("SELECT body FROM metric_head WHERE key = ?1")?
        .query_row([key], |row| row.get::<_, Vec<u8>>(0))
        .optional()?
        .unwrap_or_default();
    let mut all = Vec::with_capacity(samples.len());
    head::find_range(&there, 0..i64::MAX, |id, value| all.push((id, value)))
        .ok_or_else(|| Fault::Damaged("a row of metric_head cannot be read".into()))?;
    let before = all.len();
    all.extend(samples);
    // Stable: what is there already stays what it is.
    all.sort_by_key(|sample| sample.0);
    all.dedup_by_key(|sample| sample.0);
    if all.len() == before {
        return Ok(None);
    }
    let body = head::encode(&all);
    conn.prepare_cached("UPDATE metric_head SET body = ?2 WHERE key = ?1")?.execute(params![key, body])?;
    Ok(Some(body.len().saturating_sub(there.len())))
}
