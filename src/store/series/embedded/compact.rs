//! Rows of an hour become chunks, in pieces.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::backlog::HostHour;
use super::chunk::{self, HOUR, Sample};
use super::query::damaged;
use super::{EmbeddedStore, chunk_key, head, head_key, head_of, series_of};
use crate::store::StoreError;
use crate::store::error::Fault;

/// Chunks in a piece at most.
const CHUNKS: usize = 1_000;

/// Samples in a piece at most, unless there are more in a single series.
const SAMPLES: usize = 400_000;

/// Bytes of rows that one transaction removes.
const ROW_BYTES: i64 = 2 << 20;

/// A row as it was read: it is removed if it has not grown since.
#[derive(Debug, Clone, Copy)]
struct Row {
    key: i64,
    bytes: i64,
}

/// New chunks.
struct Piece {
    chunks: Vec<Chunk>,
    /// The series that the next piece begins with.
    next: Option<i64>,
}

struct Chunk {
    key: i64,
    body: Vec<u8>,
    /// Its last sample's time.
    last: i64,
}

impl EmbeddedStore {
    /// Moves what waits of an hour into chunks; what is there already it is merged with.
    ///
    /// Rows go last, once all their samples are in chunks. What fails or is killed in between is done again.
    pub(super) async fn compact(&self, of: HostHour) -> Result<(), StoreError> {
        let rows = self.compactor.read(move |conn| Ok(rows_of(conn, of)?)).await?;
        let mut next = if rows.is_empty() { None } else { Some(0) };
        while let Some(from) = next {
            let taken = rows.clone();
            let piece = self.compactor.read(move |conn| gather(conn, of.hour, &taken, from)).await?;
            next = piece.next;
            self.db.write_unsynced(move |tx| Ok(store(tx, of.host, &piece.chunks)?)).await?;
        }
        let mut left = &rows[..];
        while !left.is_empty() {
            let mut bytes = 0;
            let fits = left.iter().take_while(|row| {
                let room = bytes < ROW_BYTES;
                bytes += row.bytes;
                room
            });
            let (gone, rest) = left.split_at(fits.count());
            let gone = gone.to_vec();
            self.db.write_unsynced(move |tx| Ok(remove(tx, &gone)?)).await?;
            left = rest;
        }
        self.shared.compacted.notify_waiters();
        Ok(())
    }
}

fn rows_of(conn: &Connection, HostHour { host, hour }: HostHour) -> Result<Vec<Row>> {
    let mut rows = conn.prepare_cached(
        "SELECT key, octet_length(body) FROM metric_head WHERE key > ?1 AND key <= ?2 ORDER BY key",
    )?;
    let (after, upto) = (head_key(host, hour * HOUR), head_key(host, (hour + 1) * HOUR));
    let rows = rows.query_map([after, upto], |row| Ok(Row { key: row.get(0)?, bytes: row.get(1)? }))?;
    rows.collect()
}

/// Makes the chunks of the series from `from` on, as many as fit a piece.
fn gather(conn: &mut Connection, hour: i64, rows: &[Row], from: i64) -> Result<Piece, Fault> {
    let tx = conn.transaction()?;
    let most = (SAMPLES / rows.len().max(1)).clamp(1, CHUNKS);
    let mut series: BTreeMap<i64, Vec<Sample>> = BTreeMap::new();
    let mut end = i64::MAX;
    let mut bodies = tx.prepare_cached("SELECT body FROM metric_head WHERE key = ?1")?;
    for row in rows {
        let (_, time) = head_of(row.key);
        let mut bodies = bodies.query([row.key])?;
        let Some(row) = bodies.next()? else { continue };
        let body = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        head::find_range(body, from..end, |id, value| series.entry(id).or_default().push((time, value)))
            .ok_or_else(|| damaged("metric_head"))?;
        while series.len() > most {
            end = series.pop_last().map_or(end, |(id, _)| id);
        }
    }
    let mut chunks = Vec::with_capacity(series.len());
    let mut there = tx.prepare_cached("SELECT body FROM metric_raw WHERE key = ?1")?;
    for (id, samples) in series {
        let key = chunk_key(hour, id);
        let there: Option<Vec<u8>> = there.query_row([key], |row| row.get(0)).optional()?;
        let there = match there {
            Some(body) => chunk::decode_raw(hour, &body).ok_or_else(|| damaged("metric_raw"))?,
            None => Vec::new(),
        };
        let before = there.len();
        let merged = chunk::merge(there, &samples);
        if merged.len() > before
            && let Some((last, _)) = merged.last()
        {
            chunks.push(Chunk { key, body: chunk::encode_raw(hour, &merged), last: *last });
        }
    }
    Ok(Piece { chunks, next: (end < i64::MAX).then_some(end) })
}

fn store(conn: &Connection, host: i64, chunks: &[Chunk]) -> Result<()> {
    let mut known = conn.prepare_cached("SELECT 1 FROM metric_hosts WHERE id = ?1 AND host IS NOT NULL")?;
    if !known.exists([host])? {
        return Ok(());
    }
    let mut put = conn.prepare_cached("INSERT OR REPLACE INTO metric_raw (key, body) VALUES (?1, ?2)")?;
    let mut seen = conn.prepare_cached("UPDATE metric_series SET last = ?2 WHERE id = ?1 AND last < ?2")?;
    for chunk in chunks {
        put.execute(params![chunk.key, chunk.body])?;
        seen.execute([series_of(chunk.key), chunk.last])?;
    }
    Ok(())
}

fn remove(conn: &Connection, rows: &[Row]) -> Result<()> {
    let mut gone =
        conn.prepare_cached("DELETE FROM metric_head WHERE key = ?1 AND octet_length(body) = ?2")?;
    for row in rows {
        gone.execute([row.key, row.bytes])?;
    }
    Ok(())
}
