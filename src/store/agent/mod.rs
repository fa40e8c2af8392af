//! `agent.db`: what an agent must know again after it was killed.

mod healing;
mod journal;
mod outbox;
mod ticks;

use std::path::Path;

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::db::{Db, Layout};
use super::error::Fault;
use super::{StoreError, desired, rows};
use crate::bus::DesiredChange;
use crate::model::{DesiredState, InstanceId};

pub use healing::AnsweredRow;
#[cfg(test)]
pub(crate) use journal::Untaken;
pub use outbox::{DEFAULT_OUTBOX_BYTES, MAX_ITEM_BYTES, OutboxSlice, PushOutcome};
pub use ticks::{DEFAULT_TICK_BYTES, Durability, TickRow, TicksKept};

static LAYOUT: Layout = Layout {
    role: "agent",
    migrations: &["
        CREATE TABLE identity (
            one INTEGER PRIMARY KEY CHECK (one = 1), instance TEXT NOT NULL, session TEXT NOT NULL
        ) STRICT;
        CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE desired (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE journal (
            n INTEGER PRIMARY KEY AUTOINCREMENT, op TEXT NOT NULL UNIQUE, container TEXT NOT NULL,
            id TEXT NOT NULL, kind TEXT NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL, started INTEGER NOT NULL,
            finished INTEGER, outcome TEXT, step TEXT
        ) STRICT;
        CREATE INDEX journal_started ON journal (started);
        CREATE INDEX journal_unfinished ON journal (n) WHERE finished IS NULL;
        CREATE TABLE restarts (
            container TEXT PRIMARY KEY, count INTEGER NOT NULL, last INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE releases (container TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE quarantined (container TEXT PRIMARY KEY, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE answered (
            container_id TEXT NOT NULL, address TEXT NOT NULL, endpoint_id TEXT NOT NULL, started_at INTEGER,
            PRIMARY KEY (container_id, address)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, item TEXT NOT NULL) STRICT;
    ", "
        CREATE TABLE ticks (
            seq INTEGER PRIMARY KEY, samples INTEGER NOT NULL, json INTEGER NOT NULL, body BLOB NOT NULL
        ) STRICT;
        ALTER TABLE identity ADD COLUMN metrics_session TEXT;
    ", "
        CREATE TABLE scores (
            container TEXT PRIMARY KEY, score TEXT NOT NULL, at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
    ", "
        ALTER TABLE journal ADD COLUMN drill TEXT;
    "],
    remedy: "move it and the files beside it (-wal, -shm) away and start again; that loses restart counts and \
             budgets, quarantines, events and metrics not yet delivered; what is monitored comes again from the controller",
};

/// How much waits for the controller at most, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxBounds {
    /// Events, as JSON.
    pub events: u64,
    /// Metrics, compressed; a twentieth of the free disk where that is less.
    pub metrics: u64,
}

impl Default for OutboxBounds {
    /// 64 MiB, 256 MiB.
    fn default() -> Self {
        Self { events: DEFAULT_OUTBOX_BYTES, metrics: DEFAULT_TICK_BYTES }
    }
}

/// The agent's database. Clones share it. What a method returned `Ok` for is on the disk, but for metrics where it says
/// otherwise.
#[derive(Clone)]
pub struct AgentDb {
    db: Db,
    identity: Identity,
    outbox_bytes: u64,
    tick_bytes: u64,
}

/// Who this installation is, and the ids of its two outboxes.
#[derive(Debug, Clone)]
struct Identity {
    instance: InstanceId,
    session: Uuid,
    metrics_session: Uuid,
}

impl AgentDb {
    /// Opens `agent.db` in `data_dir`, making both if need be. Blocks; meant for startup.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(data_dir, OutboxBounds::default())
    }

    /// The same with other bounds.
    pub fn open_with(data_dir: &Path, bounds: OutboxBounds) -> Result<Self, StoreError> {
        let mut identity = None;
        let db = Db::open_then(data_dir, &LAYOUT, |conn| {
            identity = Some(identify(conn)?);
            Ok(())
        })?;
        let identity = identity.expect("set by the step above, which succeeded");
        Ok(Self { db, identity, outbox_bytes: bounds.events, tick_bytes: bounds.metrics })
    }

    /// Finishes what was asked for, closes the file and gives the directory up; later calls fail, on every clone.
    pub async fn close(&self) {
        self.db.close().await;
    }

    /// This installation's identity, made with the database.
    pub fn instance(&self) -> InstanceId {
        self.identity.instance.clone()
    }

    /// The id of the outbox of events, made with the database.
    pub fn session(&self) -> Uuid {
        self.identity.session
    }

    /// The id of the outbox of metrics, so that its numbers never mix with those of events.
    pub fn metrics_session(&self) -> Uuid {
        self.identity.metrics_session
    }

    /// The copy of the desired state. What cannot be read is passed over, with a warning.
    pub async fn load_desired(&self) -> Result<DesiredState, StoreError> {
        self.db.read(|conn| Ok(desired::load(conn)?)).await
    }

    /// Makes one change to the copy.
    pub async fn save_desired(&self, change: DesiredChange) -> Result<(), StoreError> {
        self.db.write(move |tx| Ok(desired::save(tx, &change)?)).await
    }

    /// Makes the copy `state`.
    pub async fn replace_desired(&self, state: DesiredState) -> Result<(), StoreError> {
        self.db.write(move |tx| Ok(desired::replace(tx, &state)?)).await
    }

    /// A small text kept under `key`.
    pub async fn get_meta(&self, key: &'static str) -> Result<Option<String>, StoreError> {
        self.db
            .read(move |conn| {
                let mut found = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
                Ok(found.query_row([key], |row| row.get(0)).optional()?)
            })
            .await
    }

    /// Keeps `value` under `key`; `None` forgets it.
    pub async fn set_meta(&self, key: &'static str, value: Option<String>) -> Result<(), StoreError> {
        self.db
            .write(move |tx| {
                match value {
                    Some(value) => tx
                        .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
                        .execute(params![key, value])?,
                    None => tx.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([key])?,
                };
                Ok(())
            })
            .await
    }
}

/// Reads the identity, made on the first call.
fn identify(conn: &rusqlite::Connection) -> Result<Identity, Fault> {
    let [instance, session, metrics_session] = std::array::from_fn(|_| Uuid::new_v4().to_string());
    conn.execute(
        "INSERT INTO identity (one, instance, session, metrics_session) VALUES (1, ?1, ?2, ?3)
         ON CONFLICT (one) DO UPDATE SET metrics_session = excluded.metrics_session WHERE metrics_session IS NULL",
        [instance, session, metrics_session],
    )?;
    Ok(conn.query_row("SELECT instance, session, metrics_session FROM identity", [], |row| {
        Ok(Identity {
            instance: rows::name(row, 0)?,
            session: rows::name(row, 1)?,
            metrics_session: rows::name(row, 2)?,
        })
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerKey, DesiredEntry, Threshold};
    use crate::store::fixture::{self, Dir};

    #[test]
    fn the_copy_of_the_desired_state_outlives_the_agent_and_skips_what_it_cannot_read() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = AgentDb::open(dir.path()).unwrap();
            let key = |name: &str| ContainerKey { host: "h.1".parse().unwrap(), name: name.parse().unwrap() };
            let entry = DesiredEntry { monitored: Some(true), ..DesiredEntry::default() };
            let mut wanted = DesiredState::default();
            for change in [
                DesiredChange::Threshold(Some(Threshold::new(20.0).unwrap())),
                DesiredChange::Container(key("web"), Some(entry.clone())),
                DesiredChange::Container(key("sql"), Some(entry.clone())),
                DesiredChange::Container(key("sql"), None),
            ] {
                db.save_desired(change.clone()).await.unwrap();
                change.apply(&mut wanted);
            }
            let hostile = db.db.write(|tx| {
                tx.execute("INSERT INTO desired VALUES ('pool.h.p', x'7b7d'), ('freeze.all', x'ff')", [])?;
                Ok(())
            });
            hostile.await.unwrap();
            db.close().await;
            let db = AgentDb::open(dir.path()).unwrap();
            assert_eq!(db.load_desired().await.unwrap(), wanted);

            wanted = DesiredState::default();
            wanted.containers.insert(key("new"), entry);
            db.replace_desired(wanted.clone()).await.unwrap();
            assert_eq!(db.load_desired().await.unwrap(), wanted);
        });
    }

    #[test]
    fn small_texts_are_kept_and_forgotten() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = AgentDb::open(dir.path()).unwrap();
            assert_eq!(db.get_meta("freeze").await.unwrap(), None);
            for text in ["one", "two"] {
                db.set_meta("freeze", Some(text.into())).await.unwrap();
                assert_eq!(db.get_meta("freeze").await.unwrap().as_deref(), Some(text));
            }
            db.set_meta("freeze", None).await.unwrap();
            assert_eq!(db.get_meta("freeze").await.unwrap(), None);
        });
    }
}
