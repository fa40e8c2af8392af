//! Notifications: what was told of incidents, and what still waits to be delivered.
//!
//! An incident is marked as told in the transaction that queues its notification, so it is told once whatever ends the
//! process. A delivery is marked when the receiver has answered, so it may come twice after a crash, with the same id.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::incidents::{COLUMNS, incident};
use super::{ControllerDb, MAX_LIMIT};
use crate::model::{IncidentId, NoticeId, NoticeKind, Timestamp, TrackedIncident};
use crate::store::{StoreError, rows};

/// The tables, and what incidents keep for them.
pub(super) const TABLES: &str = "
    ALTER TABLE incidents ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE incidents ADD COLUMN lossy INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE incidents ADD COLUMN quarantined INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE incidents ADD COLUMN action_failed INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE incidents ADD COLUMN healed_by TEXT;
    ALTER TABLE incidents ADD COLUMN ended_by TEXT;
    ALTER TABLE incidents ADD COLUMN drill TEXT;
    ALTER TABLE incidents ADD COLUMN notice TEXT;
    ALTER TABLE incidents ADD COLUMN end_told INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX incidents_end_untold ON incidents (n)
        WHERE notice IS NOT NULL AND closed_at IS NOT NULL AND end_told = 0;
    CREATE TABLE notices (
        n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
        answers TEXT, made INTEGER NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL
    ) STRICT;
    CREATE TABLE deliveries (
        target TEXT NOT NULL, notice INTEGER NOT NULL, shown TEXT NOT NULL, state TEXT NOT NULL,
        attempts INTEGER NOT NULL, tried INTEGER, status INTEGER, detail TEXT NOT NULL,
        PRIMARY KEY (target, notice)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX deliveries_notice ON deliveries (notice);
    CREATE INDEX deliveries_waiting ON deliveries (target, notice) WHERE state = 'waiting';
";

/// Notifications kept, delivered or not; beyond that the oldest are forgotten, and given up where they still wait.
const KEPT: i64 = 1_000;

/// Incidents that are looked at together; those beyond it follow when these are told.
const TRACKED: i64 = 20_000;

/// From this many attempts on, what was tried less often goes first: one that its receiver chokes on holds up no other.
const PATIENCE: i64 = 5;

/// A notification as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRow {
    /// Names it.
    pub id: NoticeId,
    /// What it tells.
    pub kind: NoticeKind,
    /// The notification of the problem that this one says is over.
    pub answers: Option<NoticeId>,
    /// When it was made.
    pub made: Timestamp,
    /// One line for people.
    pub title: String,
    /// All of it, JSON.
    pub body: String,
}

/// Where notifications go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRow {
    /// Tells it from others, without its secrets.
    pub id: String,
    /// What people are shown of it.
    pub shown: String,
}

/// The incidents that a notification tells of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// That they are there.
    pub begun: Vec<IncidentId>,
    /// That they are over.
    pub over: Vec<IncidentId>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Not there yet: it will be tried, or tried again.
    Waiting,
    /// The receiver took it.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    /// The word in API, CLI and store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

impl FromSql for DeliveryState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let all = [Self::Waiting, Self::Delivered, Self::Failed];
        let text = value.as_str()?;
        all.into_iter().find(|state| state.as_str() == text).ok_or(FromSqlError::InvalidType)
    }
}

/// A notification on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The receiver, as people are shown it.
    pub shown: String,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u64,
    /// When it was tried last.
    pub tried: Option<Timestamp>,
    /// The HTTP status of the last answer.
    pub status: Option<u16>,
    /// What the last attempt came to, in plain words.
    pub detail: String,
}

/// The next thing to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Its place in the queue.
    pub n: i64,
    /// The notification.
    pub notice: NoticeRow,
    /// How often it was tried.
    pub attempts: u64,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What became of the delivery.
    pub state: DeliveryState,
    /// When it was made.
    pub at: Timestamp,
    /// The HTTP status of the answer, where one came.
    pub status: Option<u16>,
    /// In plain words.
    pub detail: String,
}

impl ControllerDb {
    /// What there may be to tell of: open incidents, and those that were told of and whose end was not.
    pub async fn tracked_incidents(&self) -> Result<Vec<TrackedIncident>, StoreError> {
        self.db
            .read(|conn| {
                let of = |condition: &str| {
                    format!(
                        "SELECT {COLUMNS}, seen, lossy, quarantined, action_failed FROM (SELECT * FROM incidents \
                         WHERE {condition} ORDER BY n LIMIT {TRACKED})"
                    )
                };
                let over = "notice IS NOT NULL AND closed_at IS NOT NULL AND end_told = 0";
                // Those not told of come first, should there be too many.
                let open = "closed_at IS NULL AND notice IS NULL";
                let told = "closed_at IS NULL AND notice IS NOT NULL";
                let mut all = Vec::new();
                for condition in [over, open, told] {
                    let mut found = conn.prepare_cached(&of(condition))?;
                    let found = found.query_map([], tracked)?;
                    all.extend(found.collect::<Result<Vec<_>>>()?);
                }
                Ok(all)
            })
            .await
    }

    /// Queues a notification for every target and marks the incidents it tells of, at once. Who could not be told of a
    /// problem is not told of its end. Returns how many older
    /// deliveries were given up because too many wait.
    pub async fn queue_notice(
        &self,
        notice: NoticeRow,
        told: Told,
        targets: Vec<TargetRow>,
    ) -> Result<u64, StoreError> {
        self.db.write(move |tx| Ok(queue(tx, &notice, &told, &targets)?)).await
    }

    /// The notification of this id; `None` where it is not kept any more.
    pub async fn notice(&self, id: NoticeId) -> Result<Option<NoticeRow>, StoreError> {
        self.db
            .read(move |conn| {
                let mut one = conn.prepare_cached(
                    "SELECT n, id, kind, answers, made, title, body, 0 FROM notices WHERE id = ?1",
                )?;
                Ok(one.query_row([id.to_string()], due).optional()?.map(|due| due.notice))
            })
            .await
    }

    /// What is to be delivered to `target` next: a test first, then in order. The end of an incident waits for its
    /// beginning.
    pub async fn next_delivery(&self, target: &str) -> Result<Option<Due>, StoreError> {
        let target = target.to_owned();
        self.db
            .read(move |conn| {
                let mut next = conn.prepare_cached(
                    "SELECT n, id, kind, answers, made, title, body, attempts FROM deliveries JOIN notices ON n = notice
                     WHERE target = ?1 AND state = 'waiting' AND NOT EXISTS (
                        SELECT 1 FROM notices AS first JOIN deliveries AS d ON d.notice = first.n
                        WHERE first.id = notices.answers AND d.target = ?1 AND d.state = 'waiting')
                     ORDER BY kind = '\"test\"' DESC, attempts >= ?2, n LIMIT 1",
                )?;
                Ok(next.query_row(params![target, PATIENCE], due).optional()?)
            })
            .await
    }

    /// Notes what an attempt to deliver the notification at place `n` came to.
    pub async fn note_attempt(&self, target: &str, n: i64, attempt: Attempt) -> Result<(), StoreError> {
        let target = target.to_owned();
        self.db
            .write(move |tx| {
                tx.prepare_cached(
                    "UPDATE deliveries SET state = ?3, attempts = attempts + 1, tried = ?4, status = ?5, detail = ?6
                     WHERE target = ?1 AND notice = ?2",
                )?
                .execute(params![
                    target,
                    n,
                    attempt.state.as_str(),
                    attempt.at.millis(),
                    attempt.status,
                    attempt.detail
                ])?;
                Ok(())
            })
            .await
    }

    /// Gives up what waits for receivers other than `targets`, which are not told any more; returns how much that was.
    pub async fn keep_targets(&self, targets: Vec<TargetRow>) -> Result<u64, StoreError> {
        self.db
            .write(move |tx| {
                let ids: Vec<&str> = targets.iter().map(|target| target.id.as_str()).collect();
                let gone = tx.execute(
                    "UPDATE deliveries SET state = 'failed', detail = 'no longer among --notify-url'
                     WHERE state = 'waiting' AND target NOT IN (SELECT value FROM json_each(?1))",
                    [rows::json(&ids)],
                )?;
                Ok(gone as u64)
            })
            .await
    }

    /// How many notifications wait for `target`.
    pub async fn waiting_for(&self, target: &str) -> Result<u64, StoreError> {
        let target = target.to_owned();
        self.db
            .read(move |conn| {
                let sql = "SELECT count(*) FROM deliveries WHERE target = ?1 AND state = 'waiting'";
                Ok(conn.prepare_cached(sql)?.query_row([target], |row| rows::count(row, 0))?)
            })
            .await
    }

    /// The last notifications with their deliveries, the newest first.
    pub async fn notices(&self, limit: usize) -> Result<Vec<(NoticeRow, Vec<Delivery>)>, StoreError> {
        self.db
            .read(move |conn| {
                let mut found = conn.prepare_cached(
                    "SELECT n, id, kind, answers, made, title, body, 0 FROM notices ORDER BY n DESC LIMIT ?1",
                )?;
                let limit = rows::int(limit.clamp(1, MAX_LIMIT) as u64);
                let found = found.query_map([limit], due)?.collect::<Result<Vec<_>>>()?;
                let with = |Due { n, notice, .. }| Ok((notice, deliveries(conn, n)?));
                found.into_iter().map(with).collect()
            })
            .await
    }

    /// What became of the notification of this id at each receiver.
    pub async fn deliveries(&self, id: NoticeId) -> Result<Vec<Delivery>, StoreError> {
        self.db
            .read(move |conn| {
                let mut n = conn.prepare_cached("SELECT n FROM notices WHERE id = ?1")?;
                let n = n.query_row([id.to_string()], |row| row.get(0)).optional()?;
                Ok(n.map_or(Ok(Vec::new()), |n| deliveries(conn, n))?)
            })
            .await
    }
}

fn deliveries(conn: &Connection, n: i64) -> Result<Vec<Delivery>> {
    let mut of = conn.prepare_cached(
        "SELECT shown, state, attempts, tried, status, detail FROM deliveries WHERE notice = ?1 ORDER BY shown",
    )?;
    of.query_map([n], delivery)?.collect()
}

fn tracked(row: &Row<'_>) -> Result<TrackedIncident> {
    Ok(TrackedIncident {
        incident: incident(row)?,
        seen: rows::time(row, 14)?,
        lossy: row.get(15)?,
        quarantined: row.get(16)?,
        action_failed: row.get(17)?,
    })
}

fn due(row: &Row<'_>) -> Result<Due> {
    let notice = NoticeRow {
        id: rows::name(row, 1)?,
        kind: rows::from_json(row, 2)?,
        answers: rows::name_or_none(row, 3)?,
        made: rows::time(row, 4)?,
        title: row.get(5)?,
        body: row.get(6)?,
    };
    Ok(Due { n: row.get(0)?, notice, attempts: rows::count(row, 7)? })
}

fn delivery(row: &Row<'_>) -> Result<Delivery> {
    Ok(Delivery {
        shown: row.get(0)?,
        state: row.get(1)?,
        attempts: rows::count(row, 2)?,
        tried: rows::time_or_none(row, 3)?,
        status: row.get(4)?,
        detail: row.get(5)?,
    })
}

fn queue(conn: &Connection, notice: &NoticeRow, told: &Told, targets: &[TargetRow]) -> Result<u64> {
    let answers = notice.answers.map(|id| id.to_string());
    conn.prepare_cached(
        "INSERT INTO notices (id, kind, answers, made, title, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        notice.id.to_string(),
        rows::json(&notice.kind),
        answers,
        notice.made.millis(),
        notice.title,
        notice.body
    ])?;
    let n = conn.last_insert_rowid();
    for target in targets {
        conn.prepare_cached(
            "INSERT OR IGNORE INTO deliveries (target, notice, shown, state, attempts, detail)
             SELECT ?1, ?2, ?3, 'waiting', 0, 'not tried yet' WHERE NOT EXISTS (
                SELECT 1 FROM notices AS first JOIN deliveries AS d ON d.notice = first.n
                WHERE first.id = ?4 AND d.target = ?1 AND d.state = 'failed')",
        )?
        .execute(params![target.id, n, target.shown, answers])?;
    }
    for id in &told.begun {
        conn.prepare_cached("UPDATE incidents SET notice = ?2 WHERE id = ?1 AND notice IS NULL")?
            .execute([id.to_string(), notice.id.to_string()])?;
    }
    for id in &told.over {
        conn.prepare_cached("UPDATE incidents SET end_told = 1 WHERE id = ?1")?.execute([id.to_string()])?;
    }
    let old = "notice <= (SELECT max(n) FROM notices) - ?1";
    let given_up = format!("SELECT count(*) FROM deliveries WHERE state = 'waiting' AND {old}");
    let given_up = conn.prepare_cached(&given_up)?.query_row([KEPT], |row| rows::count(row, 0))?;
    conn.prepare_cached(&format!("DELETE FROM deliveries WHERE {old}"))?.execute([KEPT])?;
    conn.prepare_cached("DELETE FROM notices WHERE n <= (SELECT max(n) FROM notices) - ?1")?
        .execute([KEPT])?;
    Ok(given_up)
}

/// Forgets notifications made before `kept_from`.
pub(super) fn prune(conn: &Connection, kept_from: Timestamp) -> Result<()> {
    let old = "SELECT n FROM notices WHERE made < ?1";
    conn.execute(&format!("DELETE FROM deliveries WHERE notice IN ({old})"), [kept_from.millis()])?;
    conn.execute("DELETE FROM notices WHERE made < ?1", [kept_from.millis()])?;
    Ok(())
}

#[cfg(test)]
mod tests;
