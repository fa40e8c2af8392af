//! Taking in what agents deliver: at least once on the wire, exactly once here.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{ControllerDb, Retention, events, incidents};
use crate::bus::{OutboxBatch, OutboxItem};
use crate::model::{Event, Timestamp};
use crate::store::error::Fault;
use crate::store::{StoreError, rows};

/// Outboxes remembered per host; beyond that the one not heard of for longest is forgotten. A host has one, and a
/// new one only when its `agent.db` is made anew.
const SESSIONS: i64 = 16;

/// What came of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Ingested {
    /// Everything up to and including this number is stored: the acknowledgement.
    pub ack: u64,
    /// What was new, in order, with its `seq`.
    pub stored: Vec<Event>,
    /// Events that were not stored because they speak for another host.
    pub refused: u64,
}

impl ControllerDb {
    /// Stores what is new in `batch`, with the incidents it opens and closes, in one transaction.
    ///
    /// Of one outbox (host and session), only numbers above the highest stored are new: an agent sends a batch only
    /// after those before it were acknowledged, so anything lower is a repetition.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the batch's numbers make no sense; then nothing is to be acknowledged.
    pub async fn ingest(&self, batch: OutboxBatch, received: Timestamp) -> Result<Ingested, StoreError> {
        let retention = self.retention;
        self.db.write(move |tx| ingest(tx, batch, received, retention)).await
    }

    /// Stores the controller's own events, whatever host they are about, and returns them with their `seq`.
    pub async fn append(&self, mut events: Vec<Event>) -> Result<Vec<Event>, StoreError> {
        let retention = self.retention;
        self.db
            .write(move |tx| {
                for event in &mut events {
                    let time = event.time;
                    store(tx, event, time)?;
                }
                events::shrink(tx, retention.bytes)?;
                Ok(events)
            })
            .await
    }
}

fn ingest(
    conn: &Connection,
    batch: OutboxBatch,
    received: Timestamp,
    retention: Retention,
) -> Result<Ingested, Fault> {
    let before = batch.seq.checked_sub(batch.items.len() as u64);
    let Some(before) = before.filter(|_| i64::try_from(batch.seq).is_ok()) else {
        let (items, seq) = (batch.items.len(), batch.seq);
        return Err(Fault::Refused(format!("a batch of {items} items cannot end with number {seq}")));
    };
    let (host, session) = (batch.host, batch.session.to_string());
    let high = conn
        .prepare_cached("SELECT high FROM sessions WHERE host = ?1 AND session = ?2")?
        .query_row([host.as_str(), &session], |row| rows::count(row, 0))
        .optional()?
        .unwrap_or(0);
    let mut ingested = Ingested { ack: high, stored: Vec::new(), refused: 0 };
    if batch.items.is_empty() || batch.seq <= high {
        return Ok(ingested);
    }
    for (seq, item) in (before + 1..).zip(batch.items) {
        match item {
            OutboxItem::Event(mut event) if seq > high && event.host == host => {
                store(conn, &mut event, received)?;
                ingested.stored.push(event);
            }
            OutboxItem::Event(_) if seq > high => ingested.refused += 1,
            OutboxItem::Event(_) | OutboxItem::Unknown => {}
        }
    }
    if ingested.refused > 0 {
        tracing::warn!(%host, events = ingested.refused, "a host spoke for another: not stored");
    }
    ingested.ack = batch.seq;
    remember(conn, (host.as_str(), &session), batch.seq, received)?;
    events::shrink(conn, retention.bytes)?;
    Ok(ingested)
}

fn store(conn: &Connection, event: &mut Event, stored: Timestamp) -> Result<()> {
    events::insert(conn, event, stored)?;
    incidents::project(conn, event)
}

fn remember(conn: &Connection, (host, session): (&str, &str), high: u64, now: Timestamp) -> Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO sessions (host, session, high, last) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![host, session, rows::int(high), now.millis()])?;
    conn.prepare_cached(
        "DELETE FROM sessions WHERE host = ?1 AND session <> ?2 AND session IN
         (SELECT session FROM sessions WHERE host = ?1 ORDER BY last DESC LIMIT -1 OFFSET ?3)",
    )?
    .execute(params![host, session, SESSIONS])?;
    Ok(())
}

/// Forgets outboxes not heard of since `kept_from`.
pub(super) fn forget_sessions(conn: &Connection, kept_from: Timestamp) -> Result<()> {
    conn.execute("DELETE FROM sessions WHERE last < ?1", [kept_from.millis()])?;
    Ok(())
}
