//! The action journal: written before the engine is asked, so that nothing half done is forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, Result, Row, params};

use super::AgentDb;
use crate::model::{ActionOutcome, ContainerName, JournalEntry, OperationId, Timestamp};
use crate::store::{StoreError, rows};

/// Finished entries are kept for this long, and
const KEPT: Duration = Duration::from_hours(90 * 24);

/// no more than this many.
const KEPT_ROWS: i64 = 10_000;

/// Names whose restarts are counted; beyond that the one restarted longest ago is forgotten.
const COUNTED: i64 = 10_000;

impl AgentDb {
    /// Records that an action begins. Older finished entries beyond 90 days or 10,000 rows are forgotten.
    pub async fn begin(&self, entry: JournalEntry) -> Result<(), StoreError> {
        self.db
            .write(move |tx| {
                insert(tx, &entry)?;
                Ok(prune(tx, tx.last_insert_rowid(), entry.started)?)
            })
            .await
    }

    /// Records how far the unfinished action `op` has come.
    pub async fn record_step(&self, op: OperationId, step: serde_json::Value) -> Result<(), StoreError> {
        self.db
            .write(move |tx| {
                let changed = tx
                    .prepare_cached("UPDATE journal SET step = ?2 WHERE op = ?1 AND finished IS NULL")?
                    .execute(params![op.as_str(), rows::json(&step)])?;
                warn_if_absent(&op, changed);
                Ok(())
            })
            .await
    }

    /// Records how the action `op` ended; when it was done, its container's restart count grows by one. Saying it
    /// again changes nothing.
    pub async fn finish(
        &self,
        op: OperationId,
        outcome: ActionOutcome,
        finished: Timestamp,
    ) -> Result<(), StoreError> {
        self.db
            .write(move |tx| {
                let changed = tx
                    .prepare_cached(
                        "UPDATE journal SET finished = ?2, outcome = ?3 WHERE op = ?1 AND finished IS NULL",
                    )?
                    .execute(params![op.as_str(), finished.millis(), rows::json(&outcome)])?;
                if changed > 0 && outcome == ActionOutcome::Done {
                    count_restart(tx, &op, finished)?;
                }
                warn_if_absent(&op, changed);
                Ok(())
            })
            .await
    }

    /// Actions that began and did not end, oldest first: at startup, what a killed agent left half done.
    pub async fn unfinished(&self) -> Result<Vec<JournalEntry>, StoreError> {
        self.db
            .read(|conn| {
                let mut found = conn.prepare_cached(&select("finished IS NULL"))?;
                Ok(found.query_map([], entry)?.collect::<Result<_>>()?)
            })
            .await
    }

    /// Actions that began at or after `since`, oldest first (at most what is kept).
    pub async fn journal_since(&self, since: Timestamp) -> Result<Vec<JournalEntry>, StoreError> {
        self.db
            .read(move |conn| {
                let mut found = conn.prepare_cached(&select("started >= ?1"))?;
                Ok(found.query_map([since.millis()], entry)?.collect::<Result<_>>()?)
            })
            .await
    }

    /// How often each container was started, restarted or recreated by us since the database was made.
    pub async fn restart_counts(&self) -> Result<BTreeMap<ContainerName, u64>, StoreError> {
        self.db
            .read(|conn| {
                let mut found = conn.prepare_cached("SELECT container, count FROM restarts")?;
                let counts = found.query_map([], |row| Ok((rows::name(row, 0)?, rows::count(row, 1)?)))?;
                Ok(counts.collect::<Result<_>>()?)
            })
            .await
    }
}

fn insert(conn: &Connection, entry: &JournalEntry) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO journal (op, container, id, kind, by, reason, started, finished, outcome, step, drill)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        entry.op.as_str(),
        entry.container.as_str(),
        entry.id.as_str(),
        rows::json(&entry.kind),
        rows::json(&entry.by),
        entry.reason,
        entry.started.millis(),
        entry.finished.map(Timestamp::millis),
        entry.outcome.as_ref().map(rows::json),
        entry.step.as_ref().map(rows::json),
        entry.drill.map(|drill| drill.to_string()),
    ])?;
    Ok(())
}

fn prune(conn: &Connection, newest: i64, now: Timestamp) -> Result<()> {
    let kept_from = now.millis() - i64::try_from(KEPT.as_millis()).expect("90 days fit");
    conn.prepare_cached("DELETE FROM journal WHERE n <= ?1 AND finished IS NOT NULL")?
        .execute([newest - KEPT_ROWS])?;
    conn.prepare_cached("DELETE FROM journal WHERE started < ?1 AND finished IS NOT NULL")?
        .execute([kept_from])?;
    Ok(())
}

fn count_restart(conn: &Connection, op: &OperationId, finished: Timestamp) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO restarts (container, count, last) SELECT container, 1, ?2 FROM journal WHERE op = ?1
         ON CONFLICT (container) DO UPDATE SET count = count + 1, last = excluded.last",
    )?
    .execute(params![op.as_str(), finished.millis()])?;
    conn.prepare_cached(
        "DELETE FROM restarts WHERE container IN
         (SELECT container FROM restarts ORDER BY last DESC LIMIT -1 OFFSET ?1)",
    )?
    .execute([COUNTED])?;
    Ok(())
}

fn select(condition: &str) -> String {
    format!(
        "SELECT op, container, id, kind, by, reason, started, finished, outcome, step, drill
         FROM journal
         WHERE {condition} ORDER BY n"
    )
}

fn entry(row: &Row<'_>) -> Result<JournalEntry> {
    Ok(JournalEntry {
        op: rows::name(row, 0)?,
        container: rows::name(row, 1)?,
        id: rows::name(row, 2)?,
        kind: rows::from_json(row, 3)?,
        by: rows::from_json(row, 4)?,
        reason: row.get(5)?,
        started: rows::time(row, 6)?,
        finished: rows::time_or_none(row, 7)?,
        outcome: rows::from_json_or_none(row, 8)?,
        step: rows::from_json_or_none(row, 9)?,
        drill: rows::name_or_none(row, 10)?,
    })
}

fn warn_if_absent(op: &OperationId, changed: usize) {
    if changed == 0 {
        tracing::warn!(%op, "the journal has no such unfinished action");
    }
}

/// What a disk that is full does not take.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untaken {
    /// That an action begins.
    Begin,
    /// How far it has come.
    Step,
}

#[cfg(test)]
impl AgentDb {
    /// From now on the journal takes everything but `what`, as on a disk with hardly any room.
    pub(crate) async fn refuse(&self, what: Untaken) {
        let write = match what {
            Untaken::Begin => "INSERT",
            Untaken::Step => "UPDATE OF step",
        };
        let trigger = format!(
            "CREATE TRIGGER refused BEFORE {write} ON journal BEGIN SELECT RAISE(FAIL, 'no room'); END"
        );
        self.db.write(move |tx| Ok(tx.execute_batch(&trigger)?)).await.expect("the database is open");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ActionKind;
    use crate::model::Actor;
    use crate::store::fixture::{self, Dir};

    fn entry_at(op: &str, started: i64) -> JournalEntry {
        JournalEntry {
            op: op.parse().unwrap(),
            container: "web".parse().unwrap(),
            id: "0123456789ab".parse().unwrap(),
            kind: ActionKind::Recreate,
            by: Actor::Agent,
            reason: "100 % loss".into(),
            started: Timestamp::from_millis(started),
            finished: None,
            outcome: None,
            step: None,
            drill: None,
        }
    }

    #[test]
    fn what_is_unfinished_is_found_again_with_its_step() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = AgentDb::open(dir.path()).unwrap();
            for op in ["a", "b", "c"] {
                db.begin(entry_at(op, 10)).await.unwrap();
            }
            db.record_step("b".parse().unwrap(), serde_json::json!({"renamed": "old"})).await.unwrap();
            let failed = ActionOutcome::Failed("no such image".into());
            db.finish("a".parse().unwrap(), ActionOutcome::Done, Timestamp::from_millis(20)).await.unwrap();
            db.finish("a".parse().unwrap(), ActionOutcome::Done, Timestamp::from_millis(30)).await.unwrap();
            db.finish("c".parse().unwrap(), failed.clone(), Timestamp::from_millis(20)).await.unwrap();
            db.finish("never-begun".parse().unwrap(), failed.clone(), Timestamp::from_millis(20))
                .await
                .unwrap();
            db.close().await;

            let db = AgentDb::open(dir.path()).unwrap();
            let step = Some(serde_json::json!({"renamed": "old"}));
            assert_eq!(db.unfinished().await.unwrap(), [JournalEntry { step, ..entry_at("b", 10) }]);
            let all = db.journal_since(Timestamp::from_millis(10)).await.unwrap();
            let ended: Vec<_> = all.iter().map(|e| (e.op.as_str(), e.outcome.clone(), e.finished)).collect();
            let at = Some(Timestamp::from_millis(20));
            let expected = [("a", Some(ActionOutcome::Done), at), ("b", None, None), ("c", Some(failed), at)];
            assert_eq!(ended, expected);
            assert_eq!(db.journal_since(Timestamp::from_millis(11)).await.unwrap(), []);
            assert_eq!(db.restart_counts().await.unwrap(), BTreeMap::from([("web".parse().unwrap(), 1)]));
        });
    }

    #[test]
    fn an_operation_begins_once() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = AgentDb::open(dir.path()).unwrap();
            db.begin(entry_at("a", 1)).await.unwrap();
            assert!(db.begin(entry_at("a", 2)).await.is_err());
            assert_eq!(db.unfinished().await.unwrap(), [entry_at("a", 1)]);
        });
    }

    #[test]
    fn the_journal_is_bounded_by_age_and_rows_but_never_forgets_what_is_unfinished_or_counted() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = AgentDb::open(dir.path()).unwrap();
            let day = 86_400_000;
            db.begin(entry_at("open", 0)).await.unwrap();
            db.begin(entry_at("old", 0)).await.unwrap();
            db.finish("old".parse().unwrap(), ActionOutcome::Done, Timestamp::from_millis(1)).await.unwrap();
            db.begin(entry_at("kept", 11 * day)).await.unwrap();
            db.finish("kept".parse().unwrap(), ActionOutcome::Done, Timestamp::from_millis(1)).await.unwrap();
            db.begin(entry_at("new", 100 * day)).await.unwrap();
            let ops = |all: Vec<JournalEntry>| all.iter().map(|e| e.op.to_string()).collect::<Vec<_>>();
            let all = db.journal_since(Timestamp::from_millis(0)).await.unwrap();
            assert_eq!(ops(all), ["open", "kept", "new"]);

            let many = db.db.write(move |tx| {
                for n in 0..KEPT_ROWS + 10 {
                    let finished = Some(Timestamp::from_millis(100 * day));
                    insert(tx, &JournalEntry { finished, ..entry_at(&format!("n{n}"), 100 * day) })?;
                }
                Ok(())
            });
            many.await.unwrap();
            db.begin(entry_at("last", 100 * day)).await.unwrap();
            let all = ops(db.journal_since(Timestamp::from_millis(0)).await.unwrap());
            assert_eq!(
                i64::try_from(all.len()).unwrap(),
                KEPT_ROWS + 2,
                "the newest, and the unfinished \"open\" and \"new\""
            );
            assert_eq!(all[..2], ["open", "new"]);
            assert_eq!(db.restart_counts().await.unwrap(), BTreeMap::from([("web".parse().unwrap(), 2)]));
        });
    }
}
