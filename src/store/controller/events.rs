//! The history of events, in the order they were stored.

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, Result, params, params_from_iter};

use super::ControllerDb;
use crate::model::{ContainerName, Event, EventKind, HostName, Timestamp};
use crate::store::{StoreError, rows};

/// The most events or incidents one query returns.
pub const MAX_LIMIT: usize = 1000;

/// What a row costs beside its body: columns and index entries, bytes.
const ROW_BYTES: u64 = 200;

/// How many events one step of pruning removes.
const STEP: i64 = 5_000;

const BYTES: &str = "event_bytes";

/// From which end a query begins, and in which order its answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventOrder {
    /// The oldest that match come first: reading on from a cursor.
    #[default]
    OldestFirst,
    /// The newest that match come first: what happened last.
    NewestFirst,
}

/// Which events to read. The cursors are `seq`, both exclusive; one older than what is kept is no error, the answer
/// just begins later.
#[derive(Debug, Clone, PartialEq)]
pub struct EventQuery {
    /// Only events stored after this one.
    pub after: Option<u64>,
    /// Only events stored before this one.
    pub before: Option<u64>,
    /// From which end.
    pub order: EventOrder,
    /// Only these kinds; empty: every kind.
    pub kinds: Vec<EventKind>,
    /// Only of this host.
    pub host: Option<HostName>,
    /// Only of containers of this name.
    pub container: Option<ContainerName>,
    /// At most this many, from 1 to [`MAX_LIMIT`]; values beyond are taken as the nearest.
    pub limit: usize,
}

impl Default for EventQuery {
    /// The first 100 of all.
    fn default() -> Self {
        Self {
            after: None,
            before: None,
            order: EventOrder::OldestFirst,
            kinds: Vec::new(),
            host: None,
            container: None,
            limit: 100,
        }
    }
}

impl ControllerDb {
    /// The events that match, in the order asked for.
    pub async fn events(&self, query: EventQuery) -> Result<Vec<Event>, StoreError> {
        self.db
            .read(move |conn| {
                let (sql, values) = statement(&query);
                let mut found = conn.prepare_cached(&sql)?;
                let found = found.query_map(params_from_iter(values), |row| {
                    let mut event: Event = rows::from_json(row, 1)?;
                    event.seq = rows::count(row, 0)?;
                    Ok(event)
                })?;
                Ok(found.collect::<Result<_>>()?)
            })
            .await
    }
}

/// The query as SQL. Kinds become one ordered branch each, which SQLite merges as it reads; as one condition it
/// would collect every match and sort, only to keep the first few.
fn statement(query: &EventQuery) -> (String, Vec<Value>) {
    let mut values = Vec::new();
    let mut bind = |value: Value| {
        values.push(value);
        format!("?{}", values.len())
    };
    let after = bind(rows::int(query.after.unwrap_or(0)).into());
    let before = bind(rows::int(query.before.unwrap_or(u64::MAX)).into());
    let mut branch = format!("SELECT seq, body FROM events WHERE seq > {after} AND seq < {before}");
    if let Some(host) = &query.host {
        branch += &format!(" AND host = {}", bind(host.to_string().into()));
    }
    if let Some(container) = &query.container {
        branch += &format!(" AND container = {}", bind(container.to_string().into()));
    }
    let kinds: BTreeSet<&str> = query.kinds.iter().map(|kind| kind.as_str()).collect();
    let branches: Vec<String> = if kinds.is_empty() {
        vec![branch]
    } else {
        kinds
            .into_iter()
            .map(|kind| format!("{branch} AND kind = {}", bind(kind.to_owned().into())))
            .collect()
    };
    let order = match query.order {
        EventOrder::OldestFirst => "ASC",
        EventOrder::NewestFirst => "DESC",
    };
    let limit = bind(rows::int(query.limit.clamp(1, MAX_LIMIT) as u64).into());
    (format!("{} ORDER BY seq {order} LIMIT {limit}", branches.join(" UNION ALL ")), values)
}

/// Appends `event` and gives it its `seq`.
pub(super) fn insert(conn: &Connection, event: &mut Event, stored: Timestamp) -> Result<()> {
    event.seq = 0;
    let body = rows::json(event);
    conn.prepare_cached(
        "INSERT INTO events (stored, host, container, kind, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        stored.millis(),
        event.host.as_str(),
        event.container.as_ref().map(ContainerName::as_str),
        event.kind.as_str(),
        body
    ])?;
    event.seq = conn.last_insert_rowid().unsigned_abs();
    rows::add_to_counter(conn, BYTES, rows::int(body.len() as u64 + ROW_BYTES))
}

/// When events are more than `limit` bytes, forgets the oldest until 95 % of it are left.
pub(super) fn shrink(conn: &Connection, limit: u64) -> Result<()> {
    let bytes = rows::counter(conn, BYTES)?;
    if bytes <= limit {
        return Ok(());
    }
    let mut excess = bytes - limit / 100 * 95;
    let mut last = None;
    let mut oldest = conn.prepare_cached("SELECT seq, octet_length(body) FROM events ORDER BY seq")?;
    let mut oldest = oldest.query([])?;
    while excess > 0 {
        let Some(row) = oldest.next()? else { break };
        last = Some(row.get(0)?);
        excess = excess.saturating_sub(rows::count(row, 1)? + ROW_BYTES);
    }
    drop(oldest);
    last.map_or(Ok(()), |seq| forget_through(conn, seq).map(drop))
}

/// Forgets some of the events stored before `kept_from`, from the oldest up to the first that was not; returns how
/// many, 0 when there are no more. So a clock that was wrong for a while never takes newer ones along.
pub(super) fn prune(conn: &Connection, kept_from: Timestamp) -> Result<u64> {
    let mut oldest = conn.prepare_cached("SELECT seq, stored FROM events ORDER BY seq LIMIT ?1")?;
    let mut oldest = oldest.query([STEP])?;
    let mut last = None;
    while let Some(row) = oldest.next()?
        && rows::time(row, 1)? < kept_from
    {
        last = Some(row.get(0)?);
    }
    drop(oldest);
    last.map_or(Ok(0), |seq| forget_through(conn, seq))
}

fn forget_through(conn: &Connection, seq: i64) -> Result<u64> {
    let (events, bytes): (u64, u64) = conn
        .prepare_cached("SELECT count(*), coalesce(sum(octet_length(body)), 0) FROM events WHERE seq <= ?1")?
        .query_row([seq], |row| Ok((rows::count(row, 0)?, rows::count(row, 1)?)))?;
    conn.prepare_cached("DELETE FROM events WHERE seq <= ?1")?.execute([seq])?;
    rows::add_to_counter(conn, BYTES, -rows::int(bytes + events * ROW_BYTES))?;
    Ok(events)
}
