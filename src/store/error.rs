//! What keeps state from being stored or read, by what the caller does next.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::db::Layout;
use super::dir;

/// What keeps state from being stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full: nothing was stored; keep it and try again later.
    #[error("no space left on the disk of {}: free some; nothing is stored until then", file.display())]
    Full {
        /// The database.
        file: PathBuf,
    },
    /// Another process works on this data directory: end.
    #[error("another dockhealth {role} uses {}: stop it, or give this one a --data-dir of its own", dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// Which program: `agent` or `controller`.
        role: &'static str,
    },
    /// Another program holds a lock on the database for longer than we wait: try again.
    #[error("{} is locked by another program (a backup, a shell): end that", file.display())]
    Locked {
        /// The database.
        file: PathBuf,
    },
    /// The database is damaged: end, and let a person look.
    #[error("{} is damaged ({detail}): {remedy}", file.display())]
    Corrupt {
        /// The database.
        file: PathBuf,
        /// What SQLite says.
        detail: String,
        /// What to do, and what that loses.
        remedy: &'static str,
    },
    /// A later version wrote the database: end.
    #[error(
        "{} was written by a newer dockhealth (layout {found}; this one knows {known}): run that version or a \
         later one",
        file.display()
    )]
    Newer {
        /// The database.
        file: PathBuf,
        /// Its layout.
        found: usize,
        /// The last layout this version knows.
        known: usize,
    },
    /// What was asked for cannot be stored; the message says why. Trying again does not help.
    #[error("{0}")]
    Refused(String),
    /// The metrics server is away, busy, or does not let us in: nothing was stored; keep it and try again later.
    #[error("the metrics server {server} {why}")]
    Away {
        /// Its address, without secrets.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// The database was closed, or its thread failed at this very call (which is in the log).
    #[error("{} is closed", file.display())]
    Closed {
        /// The database.
        file: PathBuf,
    },
    /// The file system refused.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Anything else SQLite reports.
    #[error("{}: {source}", file.display())]
    Sqlite {
        /// The database.
        file: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
}

impl StoreError {
    pub(super) fn io(file: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::StorageFull {
            return Self::Full { file: file.to_owned() };
        }
        Self::Io { file: file.to_owned(), source }
    }

    pub(super) fn of(file: &Path, layout: &Layout, fault: Fault) -> Self {
        let source = match fault {
            Fault::Sql(source) => source,
            Fault::Refused(why) => return Self::Refused(why),
            Fault::Damaged(detail) => {
                return Self::Corrupt { file: file.to_owned(), detail, remedy: layout.remedy };
            }
        };
        let file = file.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { file },
            // The shared-memory index and a new file fail with these when there is no room for them.
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if dir::is_full(&file) => {
                Self::Full { file }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { file },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { file, detail: source.to_string(), remedy: layout.remedy }
            }
            None if is_unreadable_row(&source) => {
                Self::Corrupt { file, detail: source.to_string(), remedy: layout.remedy }
            }
            _ => Self::Sqlite { file, source },
        }
    }
}

fn is_unreadable_row(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    matches!(
        error,
        E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::InvalidColumnType(..)
            | E::Utf8Error(..)
    )
}

/// What stops a job on the database thread, before it is known to the caller by file.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Refused(String),
    Damaged(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}
