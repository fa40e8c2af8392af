//! What decisions need across a restart of the agent: releases, quarantines, and which addresses ever answered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rusqlite::{Connection, Result, params};

use super::AgentDb;
use crate::model::{ContainerId, ContainerName, Timestamp};
use crate::store::{StoreError, rows};

/// Releases and quarantines kept, each; beyond that the oldest is forgotten.
const KEPT: i64 = 10_000;

/// That an address of a container answered a probe since that was last configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredRow {
    /// The container.
    pub container_id: ContainerId,
    /// The address; one row each.
    pub address: IpAddr,
    /// The engine's id of the attachment it belonged to.
    pub endpoint_id: String,
    /// When the container was last started then; `None` where the engine did not say.
    pub started_at: Option<Timestamp>,
}

impl AgentDb {
    /// Records that `container` was released at `at`: restarts before that no longer count against its budget.
    pub async fn release(&self, container: ContainerName, at: Timestamp) -> Result<(), StoreError> {
        self.db.write(move |tx| Ok(mark(tx, ("releases", "at"), &container, Some(at))?)).await
    }

    /// When each container was last released.
    pub async fn releases(&self) -> Result<BTreeMap<ContainerName, Timestamp>, StoreError> {
        self.db.read(|conn| Ok(marks(conn, ("releases", "at"))?)).await
    }

    /// Records since when `container` is quarantined; `None`: it is not.
    pub async fn set_quarantined(
        &self,
        container: ContainerName,
        since: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.db.write(move |tx| Ok(mark(tx, ("quarantined", "since"), &container, since)?)).await
    }

    /// The quarantined containers, and since when.
    pub async fn quarantined(&self) -> Result<BTreeMap<ContainerName, Timestamp>, StoreError> {
        self.db.read(|conn| Ok(marks(conn, ("quarantined", "since"))?)).await
    }

    /// Records how actions on `container` went, as the text `score`, as it was at `at`. Beyond 10,000 names the one recorded
    /// longest ago is forgotten.
    pub async fn save_score(
        &self,
        container: ContainerName,
        score: String,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.db
            .write(move |tx| {
                tx.prepare_cached(
                    "INSERT OR REPLACE INTO scores (container, score, at) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![container.as_str(), score, at.millis()])?;
                tx.prepare_cached(
                    "DELETE FROM scores WHERE container IN
                     (SELECT container FROM scores ORDER BY at DESC LIMIT -1 OFFSET ?1)",
                )?
                .execute([KEPT])?;
                Ok(())
            })
            .await
    }

    /// How actions on each container went.
    pub async fn scores(&self) -> Result<BTreeMap<ContainerName, String>, StoreError> {
        self.db
            .read(|conn| {
                let mut found = conn.prepare_cached("SELECT container, score FROM scores")?;
                let scores = found.query_map([], |row| Ok((rows::name(row, 0)?, row.get(1)?)))?;
                Ok(scores.collect::<Result<_>>()?)
            })
            .await
    }

    /// The addresses that have answered.
    pub async fn answered(&self) -> Result<Vec<AnsweredRow>, StoreError> {
        self.db
            .read(|conn| {
                let mut found = conn
                    .prepare_cached("SELECT container_id, address, endpoint_id, started_at FROM answered")?;
                let all = found.query_map([], |row| {
                    Ok(AnsweredRow {
                        container_id: rows::name(row, 0)?,
                        address: rows::name(row, 1)?,
                        endpoint_id: row.get(2)?,
                        started_at: rows::time_or_none(row, 3)?,
                    })
                })?;
                Ok(all.collect::<Result<_>>()?)
            })
            .await
    }

    /// Records that an address answered; replaces what was known of that address of that container.
    pub async fn save_answered(&self, row: AnsweredRow) -> Result<(), StoreError> {
        self.db
            .write(move |tx| {
                tx.prepare_cached(
                    "INSERT OR REPLACE INTO answered (container_id, address, endpoint_id, started_at)
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![
                    row.container_id.as_str(),
                    row.address.to_string(),
                    row.endpoint_id,
                    row.started_at.map(Timestamp::millis),
                ])?;
                Ok(())
            })
            .await
    }

    /// Forgets the addresses of all containers but `kept`, the ones that exist; this is what bounds them.
    pub async fn forget_answered_except(&self, kept: &[ContainerId]) -> Result<(), StoreError> {
        let kept: BTreeSet<ContainerId> = kept.iter().cloned().collect();
        self.db
            .write(move |tx| {
                let mut known = tx.prepare_cached("SELECT DISTINCT container_id FROM answered")?;
                let known = known.query_map([], |row| rows::name::<ContainerId>(row, 0))?;
                for id in known.collect::<Result<Vec<_>>>()?.iter().filter(|id| !kept.contains(*id)) {
                    tx.prepare_cached("DELETE FROM answered WHERE container_id = ?1")?
                        .execute([id.as_str()])?;
                }
                Ok(())
            })
            .await
    }
}

/// A table of one time per container, and its column.
type Marks = (&'static str, &'static str);

fn mark(
    conn: &Connection,
    (table, column): Marks,
    container: &ContainerName,
    at: Option<Timestamp>,
) -> Result<()> {
    let Some(at) = at else {
        conn.execute(&format!("DELETE FROM {table} WHERE container = ?1"), [container.as_str()])?;
        return Ok(());
    };
    conn.execute(
        &format!("INSERT OR REPLACE INTO {table} (container, {column}) VALUES (?1, ?2)"),
        params![container.as_str(), at.millis()],
    )?;
    let oldest = format!("SELECT container FROM {table} ORDER BY {column} DESC LIMIT -1 OFFSET ?1");
    conn.execute(&format!("DELETE FROM {table} WHERE container IN ({oldest})"), [KEPT])?;
    Ok(())
}

fn marks(conn: &Connection, (table, column): Marks) -> Result<BTreeMap<ContainerName, Timestamp>> {
    let mut found = conn.prepare_cached(&format!("SELECT container, {column} FROM {table}"))?;
    found.query_map([], |row| Ok((rows::name(row, 0)?, rows::time(row, 1)?)))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{self, Dir};

    #[test]
    fn brakes_outlive_the_agent() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = AgentDb::open(dir.path()).unwrap();
            let (web, sql): (ContainerName, ContainerName) = ("web".parse().unwrap(), "sql".parse().unwrap());
            let at = Timestamp::from_millis;
            db.release(web.clone(), at(1)).await.unwrap();
            db.release(web.clone(), at(2)).await.unwrap();
            db.set_quarantined(web.clone(), Some(at(3))).await.unwrap();
            db.set_quarantined(sql.clone(), Some(at(4))).await.unwrap();
            db.set_quarantined(web.clone(), None).await.unwrap();
            for score in ["{}", "{\"counts\": {}}"] {
                db.save_score(web.clone(), score.into(), at(5)).await.unwrap();
            }
            db.close().await;
            let db = AgentDb::open(dir.path()).unwrap();
            let score = "{\"counts\": {}}".to_owned();
            assert_eq!(db.scores().await.unwrap(), BTreeMap::from([(web.clone(), score)]));
            assert_eq!(db.releases().await.unwrap(), BTreeMap::from([(web, at(2))]));
            assert_eq!(db.quarantined().await.unwrap(), BTreeMap::from([(sql, at(4))]));
        });
    }

    #[test]
    fn marks_are_bounded_and_the_oldest_goes() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = AgentDb::open(dir.path()).unwrap();
            let filled = db.db.write(|tx| {
                let name = |n: i64| format!("c{n}").parse::<ContainerName>().unwrap();
                for n in 0..KEPT {
                    tx.execute("INSERT INTO releases VALUES (?1, ?2)", params![name(n).as_str(), n])?;
                }
                Ok(mark(tx, ("releases", "at"), &name(KEPT), Some(Timestamp::from_millis(KEPT)))?)
            });
            filled.await.unwrap();
            let releases = db.releases().await.unwrap();
            assert_eq!(i64::try_from(releases.len()).unwrap(), KEPT);
            assert!(!releases.contains_key(&"c0".parse().unwrap()));
        });
    }

    #[test]
    fn answers_are_kept_per_address_until_the_container_is_gone() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = AgentDb::open(dir.path()).unwrap();
            let row = |id: &str, address: &str, endpoint: &str| AnsweredRow {
                container_id: id.repeat(12).parse().unwrap(),
                address: address.parse().unwrap(),
                endpoint_id: endpoint.into(),
                started_at: Some(Timestamp::from_millis(5)),
            };
            let gone = row("b", "172.17.0.3", "e3");
            for row in [row("a", "172.17.0.2", "e1"), row("a", "fe80::2", "e1"), gone] {
                db.save_answered(row).await.unwrap();
            }
            let moved = AnsweredRow { started_at: None, ..row("a", "172.17.0.2", "e2") };
            db.save_answered(moved.clone()).await.unwrap();
            assert_eq!(db.answered().await.unwrap().len(), 3);
            db.forget_answered_except(&["a".repeat(12).parse().unwrap()]).await.unwrap();
            assert_eq!(db.answered().await.unwrap(), [moved, row("a", "fe80::2", "e1")]);
        });
    }
}
