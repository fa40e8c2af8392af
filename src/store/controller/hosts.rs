//! The hosts that ever spoke, with the last report of each.

use rusqlite::{Connection, Result, params};

use super::ControllerDb;
use crate::model::{EngineId, HostName, InstanceId, Timestamp};
use crate::store::error::Fault;
use crate::store::{StoreError, rows};

/// How many hosts are remembered.
pub const MAX_HOSTS: u64 = 10_000;

/// What is known of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostRow {
    /// Its name.
    pub host: HostName,
    /// Its agent's installation.
    pub instance: InstanceId,
    /// Its engine, once that answered.
    pub engine_id: Option<EngineId>,
    /// When it first spoke.
    pub first_seen: Timestamp,
    /// When it last spoke.
    pub last_seen: Timestamp,
    /// Its last report.
    pub report: serde_json::Value,
}

impl ControllerDb {
    /// Every host, by name.
    pub async fn hosts(&self) -> Result<Vec<HostRow>, StoreError> {
        self.db
            .read(|conn| {
                let mut all = conn.prepare_cached(
                    "SELECT host, instance, engine_id, first_seen, last_seen, report FROM hosts ORDER BY host",
                )?;
                let all = all.query_map([], |row| {
                    Ok(HostRow {
                        host: rows::name(row, 0)?,
                        instance: rows::name(row, 1)?,
                        engine_id: rows::name_or_none(row, 2)?,
                        first_seen: rows::time(row, 3)?,
                        last_seen: rows::time(row, 4)?,
                        report: rows::from_json(row, 5)?,
                    })
                })?;
                Ok(all.collect::<Result<_>>()?)
            })
            .await
    }

    /// Adds or updates a host; of one that is known, `first_seen` stays what it was.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a new host when there are [`MAX_HOSTS`] already.
    pub async fn save_host(&self, host: HostRow) -> Result<(), StoreError> {
        self.db.write(move |tx| save(tx, &host)).await
    }

    /// Forgets a host (not what is desired of it, nor its history); says whether it was known.
    pub async fn forget_host(&self, host: &HostName) -> Result<bool, StoreError> {
        let host = host.clone();
        self.db
            .write(move |tx| Ok(tx.execute("DELETE FROM hosts WHERE host = ?1", [host.as_str()])? > 0))
            .await
    }
}

fn save(conn: &Connection, host: &HostRow) -> Result<(), Fault> {
    let saved = conn
        .prepare_cached(
            "INSERT INTO hosts (host, instance, engine_id, first_seen, last_seen, report)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6
             WHERE (SELECT count(*) FROM hosts) < ?7 OR EXISTS (SELECT 1 FROM hosts WHERE host = ?1)
             ON CONFLICT (host) DO UPDATE SET instance = excluded.instance, engine_id = excluded.engine_id,
             last_seen = excluded.last_seen, report = excluded.report",
        )?
        .execute(params![
            host.host.as_str(),
            host.instance.as_str(),
            host.engine_id.as_ref().map(EngineId::as_str),
            host.first_seen.millis(),
            host.last_seen.millis(),
            rows::json(&host.report),
            rows::int(MAX_HOSTS),
        ])?;
    if saved == 0 {
        return Err(Fault::Refused(format!("{MAX_HOSTS} hosts are known already: forget some")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{self, Dir};

    #[test]
    fn a_host_keeps_when_it_was_first_seen_until_it_is_forgotten() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            let seen = |at| HostRow {
                host: "h1".parse().unwrap(),
                instance: "i".parse().unwrap(),
                engine_id: None,
                first_seen: Timestamp::from_millis(at),
                last_seen: Timestamp::from_millis(at),
                report: serde_json::json!({ "at": at }),
            };
            db.save_host(seen(1)).await.unwrap();
            db.save_host(HostRow { engine_id: Some("e".parse().unwrap()), ..seen(2) }).await.unwrap();
            let expected = HostRow {
                engine_id: Some("e".parse().unwrap()),
                first_seen: Timestamp::from_millis(1),
                ..seen(2)
            };
            assert_eq!(db.hosts().await.unwrap(), [expected]);
            assert!(db.forget_host(&"h1".parse().unwrap()).await.unwrap());
            assert!(!db.forget_host(&"h1".parse().unwrap()).await.unwrap());
            assert_eq!(db.hosts().await.unwrap(), []);
        });
    }
}
