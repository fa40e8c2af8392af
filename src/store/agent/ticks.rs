//! The outbox of metrics: ticks that were not delivered at once, bounded by bytes and by what is free on the disk.
//!
//! It costs memory cards as little as can be. A tick that is acknowledged within two seconds never comes here. One that
//! does is written at once, which outlives `kill -9`, but synced to the disk at most every ten seconds ([`Durability`]); what
//! was delivered is forgotten without a sync, since forgetting it later only means that it is delivered again.

use rusqlite::{Connection, Result, params};

use super::AgentDb;
use crate::store::{StoreError, rows};

/// How many bytes of ticks (compressed) wait at most, unless said otherwise: 256 MiB.
pub const DEFAULT_TICK_BYTES: u64 = 256 << 20;

/// The share of the free disk that ticks may take: one twentieth.
const DISK_SHARE: u64 = 20;

/// What a row takes beside its body, about.
const ROW_BYTES: u64 = 64;

const BYTES: &str = "tick_bytes";
const TICKS: &str = "ticks";
const DROPPED: &str = "samples_dropped";

/// Whether a write waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It does: what is written, and was before, outlives power loss.
    Synced,
    /// It outlives the process, and power loss after the next write that waits.
    Written,
}

/// One tick as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TickRow {
    /// Its number; they grow.
    pub seq: u64,
    /// How many samples it has.
    pub samples: u64,
    /// How long its JSON is, bytes.
    pub json_bytes: usize,
    /// That JSON, compressed.
    pub body: Vec<u8>,
}

/// What the outbox of metrics came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TicksKept {
    /// How many ticks wait.
    pub waiting: u64,
    /// How many samples were dropped just now to keep the bound, the oldest first.
    pub dropped: u64,
    /// How many were dropped since the database was made.
    pub dropped_ever: u64,
}

impl AgentDb {
    /// Keeps ticks, and counts `lost` samples that found no place before. A number that is there already is kept as it is.
    pub async fn keep_ticks(
        &self,
        ticks: Vec<TickRow>,
        lost: u64,
        durability: Durability,
    ) -> Result<TicksKept, StoreError> {
        let (most, free) = (self.tick_bytes, self.db.free_bytes());
        let work = move |tx: &rusqlite::Transaction<'_>| Ok(keep(tx, &ticks, lost, (most, free))?);
        match durability {
            Durability::Synced => self.db.write(work).await,
            Durability::Written => self.db.write_unsynced(work).await,
        }
    }

    /// The oldest ticks: at most `max_ticks`, `max_bytes` of bodies and `max_json` of JSON, but at least one where there
    /// is one.
    pub async fn oldest_ticks(
        &self,
        max_ticks: usize,
        max_bytes: usize,
        max_json: usize,
    ) -> Result<Vec<TickRow>, StoreError> {
        self.db.read(move |conn| Ok(oldest(conn, max_ticks, max_bytes, max_json)?)).await
    }

    /// Forgets ticks that were delivered; returns how many wait still.
    pub async fn forget_ticks(&self, seqs: Vec<u64>) -> Result<u64, StoreError> {
        self.db.write_unsynced(move |tx| Ok(forget(tx, &seqs)?)).await
    }

    /// What waits, and was dropped ever.
    pub async fn ticks_kept(&self) -> Result<TicksKept, StoreError> {
        self.db.read(|conn| Ok(kept(conn, 0)?)).await
    }

    /// The number of the newest tick that waits; 0 where none does.
    pub async fn last_tick(&self) -> Result<u64, StoreError> {
        self.db
            .read(|conn| {
                let mut newest = conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM ticks")?;
                Ok(newest.query_row([], |row| rows::count(row, 0))?)
            })
            .await
    }
}

fn keep(
    conn: &Connection,
    ticks: &[TickRow],
    lost: u64,
    (most, free): (u64, Option<u64>),
) -> Result<TicksKept> {
    let mut insert = conn
        .prepare_cached("INSERT OR IGNORE INTO ticks (seq, samples, json, body) VALUES (?1, ?2, ?3, ?4)")?;
    let (mut bytes, mut stored) = (0, 0);
    for tick in ticks {
        let json = rows::int(tick.json_bytes as u64);
        if insert.execute(params![rows::int(tick.seq), rows::int(tick.samples), json, tick.body])? > 0 {
            bytes += tick.body.len() as u64 + ROW_BYTES;
            stored += 1;
        }
    }
    rows::add_to_counter(conn, BYTES, rows::int(bytes))?;
    rows::add_to_counter(conn, TICKS, stored)?;
    let held = rows::counter(conn, BYTES)?;
    let share = free.map_or(u64::MAX, |free| free.saturating_add(held) / DISK_SHARE);
    let dropped = shrink(conn, held, most.min(share))? + lost;
    if dropped > 0 {
        rows::add_to_counter(conn, DROPPED, rows::int(dropped))?;
    }
    kept(conn, dropped)
}

fn kept(conn: &Connection, dropped: u64) -> Result<TicksKept> {
    let (waiting, dropped_ever) = (rows::counter(conn, TICKS)?, rows::counter(conn, DROPPED)?);
    Ok(TicksKept { waiting, dropped, dropped_ever })
}

/// Drops the oldest ticks until at most `limit` bytes are held; returns how many samples went.
fn shrink(conn: &Connection, held: u64, limit: u64) -> Result<u64> {
    let mut excess = held.saturating_sub(limit);
    if excess == 0 {
        return Ok(0);
    }
    let (mut gone, mut samples) = (Vec::new(), 0);
    let mut oldest = conn.prepare_cached("SELECT seq, samples, length(body) FROM ticks ORDER BY seq")?;
    let mut oldest = oldest.query([])?;
    while excess > 0 {
        let Some(row) = oldest.next()? else { break };
        gone.push(rows::count(row, 0)?);
        samples += rows::count(row, 1)?;
        excess = excess.saturating_sub(rows::count(row, 2)? + ROW_BYTES);
    }
    drop(oldest);
    forget(conn, &gone)?;
    Ok(samples)
}

fn forget(conn: &Connection, seqs: &[u64]) -> Result<u64> {
    let mut size =
        conn.prepare_cached("SELECT coalesce(sum(length(body) + ?2), 0) FROM ticks WHERE seq = ?1")?;
    let mut delete = conn.prepare_cached("DELETE FROM ticks WHERE seq = ?1")?;
    let (mut ticks, mut bytes) = (0, 0);
    for seq in seqs {
        let seq = rows::int(*seq);
        bytes += size.query_row(params![seq, rows::int(ROW_BYTES)], |row| rows::count(row, 0))?;
        ticks += delete.execute([seq])? as u64;
    }
    rows::add_to_counter(conn, TICKS, -rows::int(ticks))?;
    rows::add_to_counter(conn, BYTES, -rows::int(bytes))?;
    rows::counter(conn, TICKS)
}

fn oldest(conn: &Connection, max_ticks: usize, max_bytes: usize, max_json: usize) -> Result<Vec<TickRow>> {
    let mut front =
        conn.prepare_cached("SELECT seq, samples, json, body FROM ticks ORDER BY seq LIMIT ?1")?;
    let mut front = front.query([rows::int(max_ticks.max(1) as u64)])?;
    let (mut found, mut bytes, mut json): (Vec<TickRow>, usize, usize) = (Vec::new(), 0, 0);
    while let Some(row) = front.next()? {
        let json_bytes = usize::try_from(rows::count(row, 2)?).unwrap_or(usize::MAX);
        let body = row.get_ref(3)?.as_blob()?;
        (bytes, json) = (bytes.saturating_add(body.len()), json.saturating_add(json_bytes));
        if !found.is_empty() && (bytes > max_bytes || json > max_json) {
            break;
        }
        let (seq, samples) = (rows::count(row, 0)?, rows::count(row, 1)?);
        found.push(TickRow { seq, samples, json_bytes, body: body.to_owned() });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{self, Dir};
    use crate::store::{AgentDb, OutboxBounds};

    fn row(seq: u64, bytes: usize) -> TickRow {
        TickRow { seq, samples: 10, json_bytes: 10 * bytes, body: vec![7; bytes] }
    }

    fn open(dir: &Dir, metrics: u64) -> AgentDb {
        AgentDb::open_with(dir.path(), OutboxBounds { metrics, ..OutboxBounds::default() }).unwrap()
    }

    async fn waiting(db: &AgentDb) -> Vec<u64> {
        let found = db.oldest_ticks(1_000, usize::MAX, usize::MAX).await.unwrap();
        found.into_iter().map(|tick| tick.seq).collect()
    }

    #[test]
    fn the_oldest_ticks_give_way_and_their_samples_are_counted() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = open(&dir, 5 * (936 + ROW_BYTES));
            assert_eq!(db.ticks_kept().await.unwrap(), TicksKept::default());
            for seq in 1..=5 {
                let durability = if seq % 2 == 0 { Durability::Synced } else { Durability::Written };
                let kept = db.keep_ticks(vec![row(seq, 936)], 0, durability).await.unwrap();
                assert_eq!(kept, TicksKept { waiting: seq, dropped: 0, dropped_ever: 0 });
            }
            let again = db.keep_ticks(vec![row(5, 936)], 3, Durability::Written).await.unwrap();
            assert_eq!(again, TicksKept { waiting: 5, dropped: 3, dropped_ever: 3 });
            let full = db.keep_ticks(vec![row(6, 936), row(7, 100)], 0, Durability::Synced).await.unwrap();
            assert_eq!(full, TicksKept { waiting: 5, dropped: 20, dropped_ever: 23 });
            assert_eq!(waiting(&db).await, [3, 4, 5, 6, 7]);
            db.close().await;

            let db = open(&dir, 5 * (936 + ROW_BYTES));
            assert_eq!(db.last_tick().await.unwrap(), 7);
            assert_eq!(db.forget_ticks(vec![4, 6, 99]).await.unwrap(), 3);
            assert_eq!(waiting(&db).await, [3, 5, 7]);
            assert_eq!(db.forget_ticks(vec![3, 5, 7]).await.unwrap(), 0);
            assert_eq!(db.last_tick().await.unwrap(), 0);
            let too_large = db.keep_ticks(vec![row(8, 9_000)], 0, Durability::Synced).await.unwrap();
            assert_eq!(too_large, TicksKept { waiting: 0, dropped: 10, dropped_ever: 33 });
            let fits = db.keep_ticks(vec![row(9, 4_900)], 0, Durability::Synced).await.unwrap();
            assert_eq!(fits.waiting, 1, "what was dropped takes no room");
        });
    }

    #[test]
    fn the_share_of_the_disk_bounds_what_waits() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = open(&dir, u64::MAX);
            let on_a_disk_with = |free: u64, seq: u64| {
                db.db.write(move |tx| Ok(keep(tx, &[row(seq, 936)], 0, (u64::MAX, Some(free)))?))
            };
            assert_eq!(on_a_disk_with(100_000, 1).await.unwrap().waiting, 1);
            assert_eq!(on_a_disk_with(40_000, 2).await.unwrap().waiting, 2);
            assert_eq!(
                on_a_disk_with(20_000, 3).await.unwrap().waiting,
                1,
                "3,000 are held, 23,000 / 20 may be"
            );
            assert_eq!(waiting(&db).await, [3]);
        });
    }

    #[test]
    fn a_batch_is_bounded_three_ways_and_never_empty() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = open(&dir, u64::MAX);
            assert_eq!(db.oldest_ticks(5, 100, 100).await.unwrap(), []);
            db.keep_ticks((1..=9).map(|seq| row(seq, 100)).collect(), 0, Durability::Synced).await.unwrap();
            for (bounds, found) in [
                ((4, usize::MAX, usize::MAX), 4),
                ((9, 350, usize::MAX), 3),
                ((9, usize::MAX, 2_000), 2),
                ((0, 0, 0), 1),
            ] {
                let (ticks, bytes, json) = bounds;
                let oldest = db.oldest_ticks(ticks, bytes, json).await.unwrap();
                assert_eq!(oldest, (1..=found).map(|seq| row(seq, 100)).collect::<Vec<_>>(), "{bounds:?}");
            }
        });
    }
}
