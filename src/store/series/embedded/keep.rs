//! What becomes of chunks as they age, and the task that sees to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Result, params};
use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use super::chunk::{self, BLOCK, HOUR, Sample};
use super::query::{damaged, spans_of};
use super::{EmbeddedStore, LOW_BITS, RAW_SPAN, chunk_key, head, head_key, lock, series_of};
use crate::model::HostName;
use crate::store::StoreError;
use crate::store::error::Fault;

/// How often it is looked for what is complete.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is looked for what is old.
const AGE: Duration = Duration::from_mins(1);

/// How long after a failure it is tried again.
const REST: Duration = Duration::from_secs(30);

/// Series whose raw chunks of six hours one transaction makes into minutes.
const SERIES: usize = 200;

/// Rows that one transaction forgets.
const ROWS: i64 = 500;

/// Hours in a block of minutes.
const HOURS: i64 = BLOCK / HOUR;

/// Minutes that are made of raw chunks.
#[derive(Default)]
struct Rolled {
    minutes: Vec<(i64, Vec<u8>)>,
    raw: Vec<i64>,
}

impl EmbeddedStore {
    /// Compacts what is complete, rolls up what is old and forgets what is older, until `shutdown`.
    pub(super) async fn keep(&self, shutdown: CancellationToken) {
        let mut failing = false;
        let mut aged: Option<Instant> = None;
        match self.compactor.read(|conn| Ok(Backlog::load(conn)?)).await {
            Ok(found) => lock(&self.shared.backlog).absorb(found),
            Err(error) => tracing::error!(%error, "what waits to be compacted is not known"),
        }
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(looks.tick()).await.is_some() {
            let mut done = self.compact_due(&shutdown).await;
            if done.is_ok() && aged.is_none_or(|at| at.elapsed() >= AGE) {
                done = self.age(self.now(), &shutdown).await;
                aged = Some(Instant::now());
            }
            match &done {
                Ok(()) if failing => tracing::info!("metrics are compacted again"),
                Err(error) if !failing => tracing::error!("metrics cannot be compacted: {error}"),
                _ => {}
            }
            failing = done.is_err();
            if failing && shutdown.run_until_cancelled(tokio::time::sleep(REST)).await.is_none() {
                break;
            }
        }
    }

    async fn compact_due(&self, shutdown: &CancellationToken) -> Result<(), StoreError> {
        while !shutdown.is_cancelled() {
            let due = lock(&self.shared.backlog).take_due(self.now(), Instant::now());
            let Some((of, waiting)) = due else { break };
            if let Err(error) = self.compact(of).await {
                lock(&self.shared.backlog).put_back(of, waiting);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Rolls up what is older than a day and forgets what is older than the retention, piece by piece.
    pub(super) async fn age(&self, now: i64, shutdown: &CancellationToken) -> Result<(), StoreError> {
        let kept_from = self.kept_from(now);
        let (hour, block) = (kept_from.div_euclid(HOUR), kept_from.div_euclid(BLOCK));
        while self.db.write_unsynced(move |tx| Ok(forget_before(tx, "metric_raw", hour)?)).await? > 0
            && !shutdown.is_cancelled()
        {}
        while self.db.write_unsynced(move |tx| Ok(forget_before(tx, "metric_minutes", block)?)).await? > 0
            && !shutdown.is_cancelled()
        {}
        let raw = i64::try_from(RAW_SPAN.as_secs()).unwrap_or(i64::MAX);
        let old = (now - raw).div_euclid(BLOCK);
        while !shutdown.is_cancelled() {
            let rolled = self.compactor.read(move |conn| roll_up(conn, old)).await?;
            if rolled.raw.is_empty() {
                break;
            }
            self.db.write_unsynced(move |tx| Ok(store(tx, &rolled)?)).await?;
        }
        self.forget_unused(kept_from - BLOCK).await?;
        while !shutdown.is_cancelled() && self.db.write_unsynced(|tx| Ok(clear_forgotten(tx)?)).await? {}
        Ok(())
    }

    /// Forgets the series whose last sample is older than `before`; in pieces.
    async fn forget_unused(&self, before: i64) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let unused = self.compactor.read(move |conn| Ok(unused(conn, before, after)?)).await?;
            let Some((last, _)) = unused.last() else { return Ok(()) };
            after = *last;
            let shared = self.shared.clone();
            self.db
                .write_unsynced(move |tx| {
                    for of_host in unused.chunk_by(|a, b| a.1 == b.1) {
                        forget_series(tx, of_host, before)?;
                        lock(&shared.identity).forget(of_host[0].1);
                    }
                    Ok(())
                })
                .await?;
        }
    }

    /// Forgets a host at once for whoever asks; its rows go with the next round of [`Self::age`].
    pub(super) async fn forget_host(&self, host: HostName) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        self.db
            .write(move |tx| {
                let id: Option<i64> = tx
                    .prepare_cached("UPDATE metric_hosts SET host = NULL WHERE host = ?1 RETURNING id")?
                    .query_row([host.as_str()], |row| row.get(0))
                    .optional()?;
                if let Some(id) = id {
                    lock(&shared.identity).forget(id);
                    lock(&shared.backlog).forget(id);
                }
                Ok(())
            })
            .await
    }
}

/// Some of the series, with their hosts, of which no chunk is younger than `before`, by number from `after` on.
fn unused(conn: &Connection, before: i64, after: i64) -> Result<Vec<(i64, i64)>> {
    let mut unused = conn.prepare_cached(
        "SELECT id, host FROM metric_series WHERE last < ?1 AND id > ?2 ORDER BY id LIMIT ?3",
    )?;
    let unused = unused.query_map([before, after, ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?;
    unused.collect()
}

/// Forgets series of one host, but those that wait to be compacted.
fn forget_series(conn: &Connection, unused: &[(i64, i64)], before: i64) -> Result<(), Fault> {
    let ids: Vec<i64> = unused.iter().map(|(series, _)| *series).collect();
    let host = unused[0].1;
    let mut waiting = BTreeSet::new();
    let mut rows = conn.prepare_cached("SELECT body FROM metric_head WHERE key >= ?1 AND key < ?2")?;
    let mut rows = rows.query([head_key(host, 0), head_key(host + 1, 0)])?;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        head::find(body, &ids, |id, _| {
            waiting.insert(id);
        })
        .ok_or_else(|| damaged("metric_head"))?;
    }
    let mut gone = conn.prepare_cached("DELETE FROM metric_series WHERE id = ?1 AND last < ?2")?;
    for id in ids.iter().filter(|id| !waiting.contains(id)) {
        gone.execute([*id, before])?;
    }
    Ok(())
}

/// Forgets some chunks of the hours or blocks before `span`; how many.
fn forget_before(conn: &Connection, table: &str, span: i64) -> Result<usize> {
    conn.prepare_cached(&format!(
        "DELETE FROM {table} WHERE key IN (SELECT key FROM {table} WHERE key < ?1 ORDER BY key LIMIT ?2)"
    ))?
    .execute([chunk_key(span, 0), ROWS])
}

/// Makes minutes of some of the oldest raw chunks, if they belong to a block before `old`.
fn roll_up(conn: &mut Connection, old: i64) -> Result<Rolled, Fault> {
    let tx = conn.transaction()?;
    let oldest: Option<i64> = tx
        .prepare_cached("SELECT key FROM metric_raw WHERE key < ?1 ORDER BY key LIMIT 1")?
        .query_row([chunk_key(old * HOURS, 0)], |row| row.get(0))
        .optional()?;
    let mut rolled = Rolled::default();
    let Some(oldest) = oldest else { return Ok(rolled) };
    let block = (oldest >> LOW_BITS).div_euclid(HOURS);
    let mut series: BTreeMap<i64, (Vec<i64>, Vec<Sample>)> = BTreeMap::new();
    let mut end = i64::MAX;
    let mut chunks =
        tx.prepare_cached("SELECT key, body FROM metric_raw WHERE key >= ?1 AND key < ?2 ORDER BY key")?;
    for hour in block * HOURS..(block + 1) * HOURS {
        let mut chunks = chunks.query([chunk_key(hour, 0), chunk_key(hour + 1, 0)])?;
        while let Some(row) = chunks.next()? {
            let key = row.get(0)?;
            if series_of(key) >= end {
                break;
            }
            let body = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            let samples = chunk::decode_raw(hour, body).ok_or_else(|| damaged("metric_raw"))?;
            let (keys, all) = series.entry(series_of(key)).or_default();
            keys.push(key);
            all.extend(samples);
            if series.len() > SERIES {
                end = series.pop_last().map_or(end, |(id, _)| id);
            }
        }
    }
    let mut there = tx.prepare_cached("SELECT body FROM metric_minutes WHERE key = ?1")?;
    for (id, (keys, samples)) in series {
        let key = chunk_key(block, id);
        let there: Option<Vec<u8>> = there.query_row([key], |row| row.get(0)).optional()?;
        let there = match there {
            Some(body) => chunk::decode_minutes(block, &body).ok_or_else(|| damaged("metric_minutes"))?,
            None => Vec::new(),
        };
        let minutes = chunk::add_to_minutes(there, &samples);
        rolled.minutes.push((key, chunk::encode_minutes(block, &minutes)));
        rolled.raw.extend(keys);
    }
    Ok(rolled)
}

fn store(conn: &Connection, rolled: &Rolled) -> Result<()> {
    // Not of a series that was forgotten meanwhile.
    let mut put = conn.prepare_cached(
        "INSERT OR REPLACE INTO metric_minutes (key, body)
         SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM metric_series WHERE id = ?3)",
    )?;
    for (key, body) in &rolled.minutes {
        put.execute(params![key, body, series_of(*key)])?;
    }
    let mut gone = conn.prepare_cached("DELETE FROM metric_raw WHERE key = ?1")?;
    for key in &rolled.raw {
        gone.execute([key])?;
    }
    Ok(())
}

/// Removes some of what is left of forgotten hosts; says whether there was any.
fn clear_forgotten(conn: &Connection) -> Result<bool> {
    let host: Option<i64> = conn
        .prepare_cached("SELECT id FROM metric_hosts WHERE host IS NULL LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(host) = host else { return Ok(false) };
    let rows = conn
        .prepare_cached(
            "DELETE FROM metric_head WHERE key IN
             (SELECT key FROM metric_head WHERE key >= ?1 AND key < ?2 LIMIT 60)",
        )?
        .execute([head_key(host, 0), head_key(host + 1, 0)])?;
    if rows > 0 {
        return Ok(true);
    }
    let mut series = conn.prepare_cached("SELECT id FROM metric_series WHERE host = ?1 LIMIT 40")?;
    let series = series.query_map([host], |row| row.get(0))?.collect::<Result<Vec<i64>>>()?;
    if series.is_empty() {
        conn.execute("DELETE FROM metric_hosts WHERE id = ?1", [host])?;
        return Ok(true);
    }
    for table in ["metric_raw", "metric_minutes"] {
        let mut gone = conn.prepare_cached(&format!("DELETE FROM {table} WHERE key = ?1"))?;
        for span in spans_of(conn, table, 0, i64::MAX >> LOW_BITS)? {
            for id in &series {
                gone.execute([chunk_key(span, *id)])?;
            }
        }
    }
    let mut gone = conn.prepare_cached("DELETE FROM metric_series WHERE id = ?1")?;
    for id in series {
        gone.execute([id])?;
    }
    Ok(true)
}
