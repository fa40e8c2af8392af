//! The outbox: what the controller has not acknowledged yet, bounded by bytes.
//!
//! Items are numbered from 1 without gaps for the life of the database, and forgotten only from the front, so what
//! waits is always one gapless run.

use rusqlite::{Connection, Result, params};
use uuid::Uuid;

use super::AgentDb;
use crate::bus::{OutboxBatch, OutboxItem, PROTOCOL_VERSION};
use crate::model::HostName;
use crate::store::{StoreError, rows};

/// How many bytes of items (as JSON) wait at most, unless said otherwise: 64 MiB.
pub const DEFAULT_OUTBOX_BYTES: u64 = 64 << 20;

/// The largest item, bytes of JSON: well below what one bus message may hold. A larger one is dropped at once,
/// because it would block those behind it for ever.
pub const MAX_ITEM_BYTES: usize = 256 << 10;

const BYTES: &str = "outbox_bytes";
const ITEMS: &str = "outbox_items";
const DROPPED: &str = "outbox_dropped";

/// What came of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushOutcome {
    /// How many items were dropped to keep the bound: the oldest, and any that are too large.
    pub dropped: u64,
}

/// The front of the outbox: at least one item, numbered without gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxSlice {
    /// The first item's number.
    pub first_seq: u64,
    /// The last item's number.
    pub last_seq: u64,
    /// The items, oldest first.
    pub items: Vec<OutboxItem>,
}

impl OutboxSlice {
    /// The message that delivers it.
    pub fn into_batch(self, host: HostName, session: Uuid) -> OutboxBatch {
        OutboxBatch { v: PROTOCOL_VERSION, host, session, seq: self.last_seq, items: self.items }
    }
}

impl AgentDb {
    /// Appends items; when they are too many bytes in all, the oldest are dropped and counted.
    pub async fn push(&self, items: Vec<OutboxItem>) -> Result<PushOutcome, StoreError> {
        let limit = self.outbox_bytes;
        self.db.write(move |tx| Ok(PushOutcome { dropped: push(tx, &items, limit)? })).await
    }

    /// The oldest items: at most `max_items` and `max_bytes` of JSON, but at least one; `None` when there are none.
    pub async fn peek(&self, max_items: usize, max_bytes: usize) -> Result<Option<OutboxSlice>, StoreError> {
        self.db.read(move |conn| Ok(peek(conn, max_items, max_bytes)?)).await
    }

    /// Forgets every item up to and including `seq`: the controller has them.
    pub async fn forget_through(&self, seq: u64) -> Result<(), StoreError> {
        self.db.write(move |tx| Ok(forget_through(tx, rows::int(seq)).map(|_| ())?)).await
    }

    /// How many items wait.
    pub async fn outbox_len(&self) -> Result<u64, StoreError> {
        self.db.read(|conn| Ok(rows::counter(conn, ITEMS)?)).await
    }

    /// How many items were dropped since the database was made.
    pub async fn outbox_dropped(&self) -> Result<u64, StoreError> {
        self.db.read(|conn| Ok(rows::counter(conn, DROPPED)?)).await
    }
}

fn push(conn: &Connection, items: &[OutboxItem], limit: u64) -> Result<u64> {
    let (mut bytes, mut stored, mut too_large) = (0_u64, 0_u64, 0_u64);
    let mut insert = conn.prepare_cached("INSERT INTO outbox (item) VALUES (?1)")?;
    for text in items.iter().map(rows::json) {
        if text.len() > MAX_ITEM_BYTES {
            tracing::warn!(bytes = text.len(), "an item is too large for the outbox: dropped");
            too_large += 1;
        } else {
            insert.execute([&text])?;
            bytes += text.len() as u64;
            stored += 1;
        }
    }
    rows::add_to_counter(conn, BYTES, rows::int(bytes))?;
    rows::add_to_counter(conn, ITEMS, rows::int(stored))?;
    let dropped = too_large + shrink(conn, limit)?;
    rows::add_to_counter(conn, DROPPED, rows::int(dropped))?;
    Ok(dropped)
}

/// Drops the oldest items until `limit` bytes are left; returns how many.
fn shrink(conn: &Connection, limit: u64) -> Result<u64> {
    let mut excess = rows::counter(conn, BYTES)?.saturating_sub(limit);
    let mut last = None;
    let mut oldest = conn.prepare_cached("SELECT seq, octet_length(item) FROM outbox ORDER BY seq")?;
    let mut oldest = oldest.query([])?;
    while excess > 0 {
        let Some(row) = oldest.next()? else { break };
        last = Some(row.get(0)?);
        excess = excess.saturating_sub(rows::count(row, 1)?);
    }
    drop(oldest);
    last.map_or(Ok(0), |seq| forget_through(conn, seq))
}

fn forget_through(conn: &Connection, seq: i64) -> Result<u64> {
    let (items, bytes): (i64, i64) = conn
        .prepare_cached("SELECT count(*), coalesce(sum(octet_length(item)), 0) FROM outbox WHERE seq <= ?1")?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
    conn.prepare_cached("DELETE FROM outbox WHERE seq <= ?1")?.execute([seq])?;
    rows::add_to_counter(conn, ITEMS, -items)?;
    rows::add_to_counter(conn, BYTES, -bytes)?;
    Ok(items.unsigned_abs())
}

fn peek(conn: &Connection, max_items: usize, max_bytes: usize) -> Result<Option<OutboxSlice>> {
    let mut front = conn.prepare_cached("SELECT seq, item FROM outbox ORDER BY seq LIMIT ?1")?;
    let mut front = front.query(params![rows::int(max_items.max(1) as u64)])?;
    let mut slice: Option<OutboxSlice> = None;
    let mut bytes = 0;
    while let Some(row) = front.next()? {
        let (seq, text) = (rows::count(row, 0)?, row.get_ref(1)?.as_str()?);
        bytes += text.len();
        if slice.is_some() && bytes > max_bytes {
            break;
        }
        // Kept in its place, so that the numbers stay gapless.
        let item = serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::warn!(seq, %error, "an item of the outbox cannot be read: delivered as unknown");
            OutboxItem::Unknown
        });
        let slice = slice.get_or_insert(OutboxSlice { first_seq: seq, last_seq: seq, items: Vec::new() });
        slice.last_seq = seq;
        slice.items.push(item);
    }
    Ok(slice)
}
