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
    /// Stores the events that are new in `batch`, with the incidents they open and close, in one transaction. Metrics are
    /// kept elsewhere and are passed over.
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
            OutboxItem::Event(_) | OutboxItem::Metrics(_) | OutboxItem::Unknown => {}
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
    incidents::project(conn, event, stored)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::model::EventId;
    use crate::store::fixture::{self, Dir};
    use crate::store::{AgentDb, EventQuery, OutboxBounds};

    fn now() -> Timestamp {
        Timestamp::from_millis(5_000)
    }

    /// What may happen between an outbox and the store.
    #[derive(Debug, Clone)]
    enum Step {
        /// New events.
        Push(usize),
        /// The front is sent; the network makes this many copies.
        Send { items: usize, copies: usize },
        /// Any message under way arrives; its answer may get lost.
        Deliver { which: usize, answered: bool },
        /// Both sides are opened anew.
        Reopen,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1_usize..6).prop_map(Step::Push),
            4 => (1_usize..6, 0_usize..4).prop_map(|(items, copies)| Step::Send { items, copies }),
            6 => (any::<usize>(), any::<bool>()).prop_map(|(which, answered)| Step::Deliver { which, answered }),
            1 => Just(Step::Reopen),
        ]
    }

    async fn run(steps: Vec<Step>, outbox_bytes: u64) {
        let dir = Dir::new();
        let open = || {
            let bounds = OutboxBounds { events: outbox_bytes, ..OutboxBounds::default() };
            let agent = AgentDb::open_with(dir.path(), bounds).unwrap();
            (agent, ControllerDb::open(dir.path()).unwrap())
        };
        let (mut agent, mut controller) = open();
        let mut pushed: Vec<EventId> = Vec::new();
        let mut told: Vec<EventId> = Vec::new();
        let mut under_way: Vec<OutboxBatch> = Vec::new();
        for step in steps {
            match step {
                Step::Push(count) => {
                    let events: Vec<_> = (0..count).map(|_| fixture::event("h1", "it")).collect();
                    pushed.extend(events.iter().map(|e| e.id));
                    agent.push(events.into_iter().map(OutboxItem::Event).collect()).await.unwrap();
                }
                Step::Send { items, copies } => {
                    if let Some(slice) = agent.peek(items, 1 << 20).await.unwrap() {
                        let batch = slice.into_batch("h1".parse().unwrap(), agent.session());
                        under_way.extend(std::iter::repeat_n(batch, copies));
                    }
                }
                Step::Deliver { which, answered } if !under_way.is_empty() => {
                    let batch = under_way.swap_remove(which % under_way.len());
                    let ingested = controller.ingest(batch, now()).await.unwrap();
                    told.extend(ingested.stored.iter().map(|e| e.id));
                    if answered {
                        agent.forget_through(ingested.ack).await.unwrap();
                    }
                }
                Step::Deliver { .. } => {}
                Step::Reopen => {
                    agent.close().await;
                    controller.close().await;
                    (agent, controller) = open();
                }
            }
        }
        let all = EventQuery { limit: 1000, ..EventQuery::default() };
        let stored: Vec<EventId> = controller.events(all).await.unwrap().iter().map(|e| e.id).collect();
        assert_eq!(stored, told, "what was told as new is what is stored");
        let in_order: Vec<EventId> = pushed.iter().filter(|id| stored.contains(id)).copied().collect();
        assert_eq!(stored, in_order, "once each, in order");
        let waiting = agent.peek(1000, 1 << 20).await.unwrap().map(|s| s.items).unwrap_or_default();
        let waiting = waiting.into_iter().filter_map(|item| match item {
            OutboxItem::Event(event) => Some(event.id),
            OutboxItem::Metrics(_) | OutboxItem::Unknown => None,
        });
        let safe: BTreeSet<EventId> = waiting.chain(stored).collect();
        let lost = pushed.iter().filter(|id| !safe.contains(id)).count() as u64;
        let dropped = agent.outbox_dropped().await.unwrap();
        assert!(lost <= dropped, "{lost} lost, {dropped} counted as dropped");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn whatever_the_network_does_events_are_stored_once(steps in proptest::collection::vec(step(), 1..60)) {
            fixture::block_on(run(steps, 1 << 20));
        }

        #[test]
        fn what_a_full_outbox_loses_is_counted(steps in proptest::collection::vec(step(), 1..60)) {
            fixture::block_on(run(steps, 2_000));
        }
    }

    fn batch(seq: u64, items: Vec<OutboxItem>) -> OutboxBatch {
        OutboxBatch { v: 1, host: "h1".parse().unwrap(), session: uuid::Uuid::nil(), seq, items }
    }

    #[test]
    fn a_host_cannot_speak_for_another_and_unknown_items_are_passed_over() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            let event = |host| OutboxItem::Event(fixture::event(host, "it"));
            let items = vec![event("h1"), event("h2"), OutboxItem::Unknown];
            let ingested = db.ingest(batch(3, items), now()).await.unwrap();
            assert_eq!((ingested.ack, ingested.stored.len(), ingested.refused), (3, 1, 1));
            assert_eq!(ingested.stored[0].seq, 1);
            let again = db.ingest(batch(4, vec![event("h2"), event("h1")]), now()).await.unwrap();
            assert_eq!((again.ack, again.stored.len(), again.refused), (4, 1, 0));
        });
    }

    #[test]
    fn hostile_numbers_are_refused_and_an_empty_batch_acknowledges_nothing_new() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            let event = || OutboxItem::Event(fixture::event("h1", "it"));
            for (seq, items) in [(1, vec![event(), event()]), (u64::MAX, vec![event()])] {
                let error = db.ingest(batch(seq, items), now()).await.unwrap_err();
                assert!(matches!(error, StoreError::Refused(_)), "{error}");
            }
            assert_eq!(db.ingest(batch(900, vec![]), now()).await.unwrap().ack, 0);
            assert_eq!(db.ingest(batch(1, vec![event()]), now()).await.unwrap().stored.len(), 1);
        });
    }

    #[test]
    fn the_outboxes_remembered_per_host_are_bounded() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            for n in 0..30_i64 {
                let session = uuid::Uuid::from_u128(n.unsigned_abs().into());
                let batch = OutboxBatch { session, ..batch(1, vec![OutboxItem::Unknown]) };
                db.ingest(batch, Timestamp::from_millis(n)).await.unwrap();
            }
            let count = db.db.read(|conn| {
                Ok(conn.query_row("SELECT count(*) FROM sessions", [], |r| r.get::<_, i64>(0))?)
            });
            assert_eq!(count.await.unwrap(), SESSIONS);
        });
    }
}
