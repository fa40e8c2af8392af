//! The outbox of events: what the controller has not acknowledged yet, bounded by bytes.
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::store::OutboxBounds;
    use crate::store::fixture::{self, Dir};

    const LIMIT: u64 = 4_000;

    #[derive(Debug, Clone)]
    enum Step {
        Push(Vec<usize>),
        Peek { max_items: usize, max_bytes: usize },
        Forget(u64),
        Reopen,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => proptest::collection::vec(0_usize..2_000, 0..5).prop_map(Step::Push),
            4 => (0_usize..8, 0_usize..3_000)
                .prop_map(|(max_items, max_bytes)| Step::Peek { max_items, max_bytes }),
            2 => (0_u64..6).prop_map(Step::Forget),
            1 => Just(Step::Reopen),
        ]
    }

    fn item(letters: usize) -> OutboxItem {
        OutboxItem::Event(fixture::event("h1", &"x".repeat(letters)))
    }

    /// What the outbox must be: the waiting items with their numbers, and how many were dropped.
    #[derive(Default)]
    struct Model {
        last: u64,
        dropped: u64,
        waiting: VecDeque<(u64, OutboxItem)>,
    }

    impl Model {
        fn push(&mut self, items: &[OutboxItem]) -> u64 {
            for item in items {
                self.last += 1;
                self.waiting.push_back((self.last, item.clone()));
            }
            let before = self.waiting.len();
            while self.waiting.iter().map(|(_, item)| bytes(item)).sum::<usize>() as u64 > LIMIT {
                self.waiting.pop_front();
            }
            let dropped = (before - self.waiting.len()) as u64;
            self.dropped += dropped;
            dropped
        }

        fn peek(&self, max_items: usize, max_bytes: usize) -> Vec<(u64, OutboxItem)> {
            let mut room = max_bytes;
            let mut slice = Vec::new();
            for (seq, item) in self.waiting.iter().take(max_items.max(1)) {
                match room.checked_sub(bytes(item)) {
                    Some(left) => room = left,
                    None if slice.is_empty() => room = 0,
                    None => break,
                }
                slice.push((*seq, item.clone()));
            }
            slice
        }
    }

    fn bytes(item: &OutboxItem) -> usize {
        rows::json(item).len()
    }

    fn open(dir: &Dir) -> AgentDb {
        AgentDb::open_with(dir.path(), OutboxBounds { events: LIMIT, ..OutboxBounds::default() }).unwrap()
    }

    async fn run(steps: Vec<Step>) {
        let dir = Dir::new();
        let mut db = open(&dir);
        let (session, instance) = (db.session(), db.instance());
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Push(sizes) => {
                    let items: Vec<_> = sizes.into_iter().map(item).collect();
                    let outcome = db.push(items.clone()).await.unwrap();
                    assert_eq!(outcome.dropped, model.push(&items));
                }
                Step::Peek { max_items, max_bytes } => {
                    let slice = db.peek(max_items, max_bytes).await.unwrap();
                    let numbered: Vec<_> = slice
                        .map(|s| {
                            assert_eq!(s.last_seq - s.first_seq + 1, s.items.len() as u64);
                            (s.first_seq..).zip(s.items).collect()
                        })
                        .unwrap_or_default();
                    assert_eq!(numbered, model.peek(max_items, max_bytes));
                }
                Step::Forget(ahead) => {
                    let through = model.waiting.front().map_or(model.last, |(first, _)| first + ahead);
                    db.forget_through(through).await.unwrap();
                    model.waiting.retain(|(seq, _)| *seq > through);
                }
                Step::Reopen => {
                    db.close().await;
                    db = open(&dir);
                    assert_eq!((db.session(), db.instance()), (session, instance.clone()));
                }
            }
            assert_eq!(db.outbox_len().await.unwrap(), model.waiting.len() as u64);
            assert_eq!(db.outbox_dropped().await.unwrap(), model.dropped);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_outbox_is_a_bounded_numbered_queue(steps in proptest::collection::vec(step(), 1..40)) {
            fixture::block_on(run(steps));
        }
    }

    #[test]
    fn what_no_message_could_carry_is_dropped_and_blocks_nothing() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = AgentDb::open(dir.path()).unwrap();
            let outcome = db.push(vec![item(1), item(MAX_ITEM_BYTES), item(2)]).await.unwrap();
            assert_eq!(outcome, PushOutcome { dropped: 1 });
            let slice = db.peek(10, 1 << 20).await.unwrap().unwrap();
            assert_eq!((slice.first_seq, slice.last_seq, slice.items.len()), (1, 2, 2));
        });
    }
}
