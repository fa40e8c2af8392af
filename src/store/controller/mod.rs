//! `controller.db`: the fleet's history, its hosts and tokens, and on one host the desired state itself.

mod drills;
mod events;
mod hosts;
mod incidents;
mod ingest;
mod logins;
mod notices;
mod tokens;

use std::path::Path;
use std::time::Duration;

use super::db::{Db, Layout};
use super::{StoreError, desired, rows, series};
use crate::bus::DesiredChange;
use crate::model::{DesiredState, Timestamp};

pub use events::{EventOrder, EventQuery, MAX_LIMIT};
pub use hosts::{HostRow, MAX_HOSTS};
pub use incidents::IncidentQuery;
pub use ingest::Ingested;
pub use logins::LoginRow;
pub use notices::{Attempt, Delivery, DeliveryState, Due, NoticeRow, TargetRow, Told};
pub use tokens::{MAX_TOKENS, TokenRow};

static LAYOUT: Layout = Layout {
    role: "controller",
    migrations: &[
        "
        CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE desired (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE sessions (
            host TEXT NOT NULL, session TEXT NOT NULL, high INTEGER NOT NULL, last INTEGER NOT NULL,
            PRIMARY KEY (host, session)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, stored INTEGER NOT NULL, host TEXT NOT NULL,
            container TEXT, kind TEXT NOT NULL, body TEXT NOT NULL
        ) STRICT;
        CREATE INDEX events_host ON events (host, seq, kind);
        CREATE INDEX events_container ON events (container, seq, host, kind) WHERE container IS NOT NULL;
        CREATE INDEX events_kind ON events (kind, seq, host);
        CREATE TABLE incidents (
            n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
            host TEXT NOT NULL, subject TEXT NOT NULL, container TEXT, network TEXT,
            opened_at INTEGER NOT NULL, closed_at INTEGER, events INTEGER NOT NULL, reason TEXT NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX incidents_open ON incidents (host, kind, subject) WHERE closed_at IS NULL;
        CREATE INDEX incidents_still_open ON incidents (n) WHERE closed_at IS NULL;
        CREATE INDEX incidents_host ON incidents (host, n);
        CREATE TABLE tokens (
            id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, scope TEXT NOT NULL,
            created INTEGER NOT NULL, sha256 BLOB NOT NULL UNIQUE
        ) STRICT;
        CREATE TABLE hosts (
            host TEXT PRIMARY KEY, instance TEXT NOT NULL, engine_id TEXT, first_seen INTEGER NOT NULL,
            last_seen INTEGER NOT NULL, report TEXT NOT NULL
        ) STRICT;
        ",
        series::TABLES,
        notices::TABLES,
        logins::TABLES,
        drills::TABLES,
    ],
    remedy: "restore a backup, or move it and the files beside it (-wal, -shm) away and start again; that loses the \
             history, the access tokens and, where there is no NATS, which containers are monitored",
};

/// How much history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Events and closed incidents older than this are forgotten by [`ControllerDb::prune`].
    pub age: Duration,
    /// Events beyond this many bytes (JSON, and 200 a row for the rest) are forgotten as new ones come, the oldest
    /// first.
    pub bytes: u64,
}

impl Default for Retention {
    /// 90 days, 100 MB.
    fn default() -> Self {
        Self { age: Duration::from_hours(90 * 24), bytes: 100_000_000 }
    }
}

/// The controller's database. Clones share it. What a method returned `Ok` for is on the disk.
#[derive(Clone)]
pub struct ControllerDb {
    pub(super) db: Db,
    retention: Retention,
}

impl ControllerDb {
    /// Opens `controller.db` in `data_dir`, making both if need be. Blocks; meant for startup.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        Self::open_with_retention(data_dir, Retention::default())
    }

    /// The same with another retention.
    pub fn open_with_retention(data_dir: &Path, retention: Retention) -> Result<Self, StoreError> {
        Ok(Self { db: Db::open_then(data_dir, &LAYOUT, |_| Ok(()))?, retention })
    }

    /// How much history is kept.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// Finishes what was asked for, closes the file and gives the directory up; later calls fail, on every clone.
    pub async fn close(&self) {
        self.db.close().await;
    }

    /// The desired state. What cannot be read is passed over, with a warning.
    pub async fn load_desired(&self) -> Result<DesiredState, StoreError> {
        self.db.read(|conn| Ok(desired::load(conn)?)).await
    }

    /// Makes one change to the desired state.
    pub async fn put_desired(&self, change: DesiredChange) -> Result<(), StoreError> {
        self.db.write(move |tx| Ok(desired::save(tx, &change)?)).await
    }

    /// Finds out whether anything can be stored now, by a small write. A disk without room is an error even where that
    /// write still fits in what the write-ahead log has left.
    pub async fn probe_write(&self) -> Result<(), StoreError> {
        self.db.write(|tx| Ok(rows::add_to_counter(tx, "write_probes", 1)?)).await?;
        self.db.check_room()
    }

    /// Forgets what is older than the retention says; to be called now and then. Returns how many events went.
    pub async fn prune(&self, now: Timestamp) -> Result<u64, StoreError> {
        let age = i64::try_from(self.retention.age.as_millis()).unwrap_or(i64::MAX);
        let kept_from = Timestamp::from_millis(now.millis().saturating_sub(age));
        self.db
            .write(move |tx| {
                incidents::prune(tx, kept_from)?;
                notices::prune(tx, kept_from)?;
                drills::prune(tx, kept_from)?;
                Ok(ingest::forget_sessions(tx, kept_from)?)
            })
            .await?;
        let mut total = 0;
        loop {
            // In pieces, so that others are not kept waiting.
            let gone = self.db.write(move |tx| Ok(events::prune(tx, kept_from)?)).await?;
            total += gone;
            if gone == 0 {
                return Ok(total);
            }
        }
    }
}
