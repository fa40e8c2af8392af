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
        branch += " AND host = ";
        branch += &bind(host.to_string().into());
    }
    if let Some(container) = &query.container {
        branch += " AND container = ";
        branch += &bind(container.to_string().into());
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::fixture::{self, Dir};
    use crate::store::{ControllerDb, Retention};

    const KINDS: [EventKind; 3] =
        [EventKind::ContainerFailing, EventKind::ContainerStarted, EventKind::AgentStarted];

    fn events(recipe: &[(u8, u8, u8)]) -> Vec<Event> {
        let one = |&(host, container, kind): &(u8, u8, u8)| {
            let container = (container > 0).then(|| format!("c{container}").parse().unwrap());
            Event { container, kind: KINDS[usize::from(kind)], ..fixture::event(&format!("h{host}"), "it") }
        };
        recipe.iter().map(one).collect()
    }

    fn query() -> impl Strategy<Value = EventQuery> {
        let cursor = || proptest::option::of(prop_oneof![0_u64..60, Just(u64::MAX)]);
        let filters = (
            proptest::collection::vec(0_usize..3, 0..5),
            proptest::option::of(0_u8..3),
            proptest::option::of(1_u8..3),
        );
        (cursor(), cursor(), any::<bool>(), filters, 0_usize..30).prop_map(
            |(after, before, newest, (kinds, host, container), limit)| EventQuery {
                after,
                before,
                order: if newest { EventOrder::NewestFirst } else { EventOrder::OldestFirst },
                kinds: kinds.into_iter().map(|kind| KINDS[kind]).collect(),
                host: host.map(|n| format!("h{n}").parse().unwrap()),
                container: container.map(|n| format!("c{n}").parse().unwrap()),
                limit,
            },
        )
    }

    fn expected(all: &[Event], query: &EventQuery) -> Vec<Event> {
        let mut found: Vec<Event> = all
            .iter()
            .filter(|e| query.after.is_none_or(|after| e.seq > after))
            .filter(|e| query.before.is_none_or(|before| e.seq < before))
            .filter(|e| query.kinds.is_empty() || query.kinds.contains(&e.kind))
            .filter(|e| query.host.as_ref().is_none_or(|host| e.host == *host))
            .filter(|e| query.container.is_none() || e.container == query.container)
            .cloned()
            .collect();
        if query.order == EventOrder::NewestFirst {
            found.reverse();
        }
        found.truncate(query.limit.max(1));
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn queries_find_what_a_plain_filter_finds(
            recipe in proptest::collection::vec((0_u8..3, 0_u8..3, 0_u8..3), 1..50),
            queries in proptest::collection::vec(query(), 1..12),
        ) {
            fixture::block_on(async {
                let dir = Dir::new();
                let db = ControllerDb::open(dir.path()).unwrap();
                let all = db.append(events(&recipe)).await.unwrap();
                for query in queries {
                    assert_eq!(db.events(query.clone()).await.unwrap(), expected(&all, &query), "{query:?}");
                }
            });
        }
    }

    #[test]
    fn every_filter_walks_an_index_in_order() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            for filters in 0..8 {
                let query = EventQuery {
                    kinds: if filters & 1 == 0 { vec![] } else { KINDS.to_vec() },
                    host: (filters & 2 != 0).then(|| "h1".parse().unwrap()),
                    container: (filters & 4 != 0).then(|| "c1".parse().unwrap()),
                    ..EventQuery::default()
                };
                let (sql, values) = statement(&query);
                let plan = db.db.read(move |conn| {
                    let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                    let lines = plan.query_map(params_from_iter(values), |row| row.get::<_, String>(3))?;
                    Ok(lines.collect::<Result<Vec<_>>>()?)
                });
                let plan = plan.await.unwrap();
                assert!(plan.iter().any(|line| line.starts_with("SEARCH events")), "{query:?}: {plan:#?}");
                for line in &plan {
                    assert!(
                        !line.contains("TEMP B-TREE") && !line.starts_with("SCAN"),
                        "{query:?}: {plan:#?}"
                    );
                }
            }
        });
    }

    #[test]
    fn history_stays_within_its_bytes_and_old_cursors_go_on_working() {
        fixture::block_on(async {
            let dir = Dir::new();
            let retention = Retention { bytes: 1_000_000, ..Retention::default() };
            let db = ControllerDb::open_with_retention(dir.path(), retention).unwrap();
            for _ in 0..40 {
                let batch = (0..200)
                    .map(|_| fixture::event("h1", "a sentence of usual length, more or less"))
                    .collect();
                db.append(batch).await.unwrap();
                let bytes = db.db.read(|conn| Ok(rows::counter(conn, BYTES)?)).await.unwrap();
                assert!(bytes <= retention.bytes, "{bytes}");
            }
            let found = db.events(EventQuery { after: Some(1), ..EventQuery::default() }).await.unwrap();
            assert_eq!(found.len(), 100);
            assert!(found[0].seq > 2, "nothing was forgotten");
            db.close().await;
            let file = std::fs::metadata(dir.path().join("controller.db")).unwrap().len();
            assert!((500_000..1_300_000).contains(&file), "{file} bytes on disk for 1 MB of history");
        });
    }

    #[test]
    fn pruning_forgets_by_age_and_a_wrong_clock_takes_nothing_newer_along() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            let day = |n: i64| Timestamp::from_millis(n * 86_400_000);
            let at = |n| Event { time: day(n), ..fixture::event("h1", "it") };
            db.append([vec![at(1); 7000], vec![at(50), at(0), at(60)]].concat()).await.unwrap();
            assert_eq!(db.prune(day(120)).await.unwrap(), 7000);
            let left: Vec<_> =
                db.events(EventQuery::default()).await.unwrap().iter().map(|e| e.time).collect();
            assert_eq!(left, [day(50), day(0), day(60)]);
            assert_eq!(db.prune(day(1000)).await.unwrap(), 3);
            assert_eq!(db.db.read(|conn| Ok(rows::counter(conn, BYTES)?)).await.unwrap(), 0);
            assert_eq!(db.append(vec![at(1)]).await.unwrap()[0].seq, 7004, "a cursor is never used twice");
        });
    }
}
