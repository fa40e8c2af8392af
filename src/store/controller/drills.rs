//! Drills: those under way, and the reports of those that were.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::ControllerDb;
use crate::model::{Drill, DrillId, DrillReport, DrillRequest, DrillState, Timestamp};
use crate::store::error::Fault;
use crate::store::{StoreError, rows};

/// The table.
pub(super) const TABLES: &str = "
    CREATE TABLE drills (
        n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, host TEXT NOT NULL, scenario TEXT NOT NULL,
        seed TEXT NOT NULL, containers INTEGER NOT NULL, started INTEGER NOT NULL, renewed INTEGER NOT NULL,
        ended INTEGER, passed INTEGER, summary TEXT, report TEXT
    ) STRICT;
";

/// Drills kept; beyond that the oldest are forgotten.
const KEPT: i64 = 1_000;

/// A drill that was not heard of for so long, milliseconds, is lost.
const LOST_AFTER: i64 = 30_000;

impl ControllerDb {
    /// Notes that a drill is under way at `now`: its begin, or that it goes on.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for one that has a report already.
    pub async fn save_drill(
        &self,
        id: DrillId,
        request: DrillRequest,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.db.write(move |tx| save(tx, id, &request, now)).await
    }

    /// Stores a drill's report. One whose begin was never told of is stored all the same; one that has a report
    /// keeps the first, and says so.
    pub async fn save_report(&self, report: DrillReport, now: Timestamp) -> Result<(), StoreError> {
        self.db.write(move |tx| finish(tx, &report, now)).await
    }

    /// The last `limit` drills, the newest first.
    pub async fn drills(&self, limit: usize, now: Timestamp) -> Result<Vec<Drill>, StoreError> {
        self.db
            .read(move |conn| {
                let sql = format!("SELECT {COLUMNS} FROM drills ORDER BY n DESC LIMIT ?1");
                let mut found = conn.prepare_cached(&sql)?;
                let found = found.query_map([rows::int(limit as u64)], |row| drill(row, now))?;
                Ok(found.collect::<Result<_>>()?)
            })
            .await
    }

    /// One drill, and its report where it has one; `None`: there is no such drill.
    pub async fn drill(
        &self,
        id: DrillId,
        now: Timestamp,
    ) -> Result<Option<(Drill, Option<DrillReport>)>, StoreError> {
        self.db
            .read(move |conn| {
                let sql = format!("SELECT {COLUMNS}, report FROM drills WHERE id = ?1");
                let read = |row: &Row<'_>| Ok((drill(row, now)?, rows::from_json_or_none(row, 10)?));
                Ok(conn.prepare_cached(&sql)?.query_row([id.to_string()], read).optional()?)
            })
            .await
    }
}

/// What [`drill`] reads.
const COLUMNS: &str = "id, host, scenario, seed, containers, started, renewed, ended, passed, summary";

fn drill(row: &Row<'_>, now: Timestamp) -> Result<Drill> {
    let renewed: i64 = row.get(6)?;
    let state = match row.get::<_, Option<bool>>(8)? {
        Some(true) => DrillState::Passed,
        Some(false) => DrillState::Failed,
        None if now.millis().saturating_sub(renewed) > LOST_AFTER => DrillState::Lost,
        None => DrillState::Running,
    };
    Ok(Drill {
        id: rows::name(row, 0)?,
        hostname: rows::name(row, 1)?,
        scenario: row.get(2)?,
        seed: rows::name(row, 3)?,
        containers: rows::count(row, 4)?,
        started: rows::time(row, 5)?,
        ended: rows::time_or_none(row, 7)?,
        state,
        summary: rows::from_json_or_none(row, 9)?,
    })
}

fn save(conn: &Connection, id: DrillId, request: &DrillRequest, now: Timestamp) -> Result<(), Fault> {
    let saved = conn
        .prepare_cached(
            "INSERT INTO drills (id, host, scenario, seed, containers, started, renewed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
             ON CONFLICT (id) DO UPDATE SET renewed = excluded.renewed, containers = excluded.containers
             WHERE ended IS NULL AND host = excluded.host",
        )?
        .execute(params![
            id.to_string(),
            request.hostname.as_str(),
            request.scenario,
            request.seed.to_string(),
            rows::int(request.containers.len() as u64),
            now.millis(),
        ])?;
    if saved == 0 {
        return Err(Fault::Refused(format!("the drill {id} is over, or of another host: begin another")));
    }
    Ok(forget(conn)?)
}

fn finish(conn: &Connection, report: &DrillReport, now: Timestamp) -> Result<(), Fault> {
    let saved = conn
        .prepare_cached(
            "INSERT INTO drills (id, host, scenario, seed, containers, started, renewed, ended, passed, summary, report)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9, ?10)
             ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, passed = excluded.passed,
             summary = excluded.summary, report = excluded.report
             WHERE ended IS NULL AND host = excluded.host",
        )?
        .execute(params![
            report.id.to_string(),
            report.hostname.as_str(),
            report.scenario,
            report.seed.to_string(),
            rows::int(report.containers),
            report.started.millis(),
            now.millis(),
            report.passed,
            rows::json(&report.summary),
            rows::json(report),
        ])?;
    if saved == 0 {
        let id = report.id;
        return Err(Fault::Refused(format!("the drill {id} has a report already, or is of another host")));
    }
    Ok(forget(conn)?)
}

fn forget(conn: &Connection) -> Result<()> {
    conn.prepare_cached("DELETE FROM drills WHERE n <= (SELECT max(n) FROM drills) - ?1")?.execute([KEPT])?;
    Ok(())
}

/// Forgets drills that were last heard of before `kept_from`.
pub(super) fn prune(conn: &Connection, kept_from: Timestamp) -> Result<()> {
    conn.execute("DELETE FROM drills WHERE renewed < ?1", [kept_from.millis()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DrillSummary;
    use crate::store::fixture::{self, Dir};

    const ID: DrillId = DrillId::from_u128(7);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn request(host: &str, names: &[&str]) -> DrillRequest {
        DrillRequest {
            hostname: host.parse().unwrap(),
            scenario: "mixed".into(),
            seed: u64::MAX,
            containers: names.iter().map(|name| name.parse().unwrap()).collect(),
        }
    }

    fn report(id: DrillId, passed: bool) -> DrillReport {
        DrillReport {
            id,
            hostname: "h1".parse().unwrap(),
            scenario: "mixed".into(),
            about: String::new(),
            seed: u64::MAX,
            version: "0".into(),
            started: at(1),
            ended: at(9),
            containers: 3,
            passed,
            findings: Vec::new(),
            summary: DrillSummary { injected: 5, ..DrillSummary::default() },
            kinds: Vec::new(),
            faults: Vec::new(),
            faults_left_out: 0,
            false_alarms: Vec::new(),
            other_actions: 0,
            shared_incidents: 0,
        }
    }

    #[test]
    fn a_drill_runs_is_lost_or_has_its_first_report() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            db.save_drill(ID, request("h1", &["a"]), at(1)).await.unwrap();
            db.save_drill(ID, request("h1", &["a", "b"]), at(6)).await.unwrap();
            assert!(db.save_drill(ID, request("h2", &["a"]), at(6)).await.is_err(), "of another host");
            let state = async |now| db.drills(10, at(now)).await.unwrap()[0].state;
            assert_eq!((state(7).await, state(36).await), (DrillState::Running, DrillState::Running));
            assert_eq!(state(37).await, DrillState::Lost);
            db.save_report(report(ID, true), at(9)).await.unwrap();
            assert!(db.save_report(report(ID, false), at(10)).await.is_err(), "the first report stays");
            assert!(db.save_drill(ID, request("h1", &["a"]), at(11)).await.is_err(), "it is over");
            let (drill, full) = db.drill(ID, at(99)).await.unwrap().unwrap();
            assert_eq!((drill.state, drill.ended, drill.containers), (DrillState::Passed, Some(at(9)), 2));
            assert_eq!((drill.seed, drill.started), (u64::MAX, at(1)));
            assert_eq!(drill.summary.as_ref().map(|s| s.injected), Some(5));
            assert_eq!(full, Some(report(ID, true)));
            assert_eq!(db.drill(DrillId::from_u128(8), at(9)).await.unwrap(), None);
        });
    }

    #[test]
    fn drills_come_newest_first_are_bounded_and_forgotten_in_time() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            for n in 1..=3 {
                db.save_report(report(DrillId::from_u128(n), false), at(10)).await.unwrap();
            }
            let ids = async |limit| {
                let all = db.drills(limit, at(20)).await.unwrap();
                all.iter().map(|drill| drill.id.as_u128()).collect::<Vec<_>>()
            };
            assert_eq!((ids(2).await, ids(9).await), (vec![3, 2], vec![3, 2, 1]));
            db.db
                .write(|tx| {
                    tx.execute("UPDATE drills SET n = n + ?1 WHERE n > 1", [KEPT])?;
                    Ok(forget(tx)?)
                })
                .await
                .unwrap();
            assert_eq!(ids(9).await, [3, 2]);
            let day = 86_400;
            assert_eq!(db.prune(at(91 * day)).await.unwrap(), 0);
            assert_eq!(ids(9).await, [] as [u128; 0]);
        });
    }
}
