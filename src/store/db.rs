//! One thread owns one database; handles send it jobs and await the answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::dir::{DirLock, free_bytes, is_full, private_file};
use super::error::Fault;
use crate::model::clean;

/// How many jobs may wait; a caller beyond that waits to hand its own over.
const QUEUE: usize = 256;

/// How long a job waits for another program's lock on the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The write-ahead log is cut to this after a checkpoint, bytes.
const LOG_BYTES: i64 = 8 << 20;

/// A kind of database.
pub(super) struct Layout {
    /// Whose it is; names the files: `<role>.db`, `<role>.lock`.
    pub(super) role: &'static str,
    /// What makes layout N+1 from layout N; the count applied is kept in `user_version`.
    pub(super) migrations: &'static [&'static str],
    /// What to do when it is damaged, and what that loses.
    pub(super) remedy: &'static str,
}

enum Job {
    Run(Box<dyn FnOnce(&mut Connection) + Send>),
    Close(oneshot::Sender<()>),
}

/// A handle of a database. When the last is dropped, the thread finishes what is queued and ends.
#[derive(Clone)]
pub(super) struct Db {
    jobs: mpsc::Sender<Job>,
    file: Arc<Path>,
    layout: &'static Layout,
}

impl Db {
    /// Claims `dir`, opens the database in it (made or brought to the newest layout as needed), lets `prepare` work on
    /// it and starts its thread.
    pub(super) fn open_then<F>(dir: &Path, layout: &'static Layout, prepare: F) -> Result<Self, StoreError>
    where
        F: FnOnce(&mut Connection) -> Result<(), Fault>,
    {
        let lock = DirLock::take(dir, layout.role)?;
        let file: Arc<Path> = dir.join(format!("{}.db", layout.role)).into();
        private_file(&file)?;
        let mut connection = connect(&file, layout)?;
        prepare(&mut connection).map_err(|fault| StoreError::of(&file, layout, fault))?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name(format!("{}.db", layout.role))
            .spawn(move || serve(connection, Some(lock), queue))
            .map_err(|e| StoreError::io(&file, e))?;
        Ok(Self { jobs, file, layout })
    }

    /// A thread of its own that only reads, so that what is asked of it waits for no write. Where the database could be
    /// opened only for itself (see [`connect`]), it is this same thread.
    pub(super) fn reader(&self, name: &str) -> Result<Self, StoreError> {
        let open = || -> Result<Connection, Fault> {
            let conn = Connection::open_with_flags(
                &self.file,
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?;
            conn.busy_timeout(BUSY_TIMEOUT)?;
            conn.pragma_update(None, "temp_store", "MEMORY")?;
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(conn)
        };
        let connection = match open().map_err(|fault| self.error(fault)) {
            Err(StoreError::Full { .. } | StoreError::Locked { .. }) => return Ok(self.clone()),
            result => result?,
        };
        let (jobs, queue) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || serve(connection, None, queue))
            .map_err(|e| StoreError::io(&self.file, e))?;
        Ok(Self { jobs, file: self.file.clone(), layout: self.layout })
    }

    /// What stopped a job, as its caller is told.
    pub(super) fn error(&self, fault: Fault) -> StoreError {
        StoreError::of(&self.file, self.layout, fault)
    }

    /// An error where the disk has no room for more.
    pub(super) fn check_room(&self) -> Result<(), StoreError> {
        if is_full(&self.file) { Err(StoreError::Full { file: self.file.to_path_buf() }) } else { Ok(()) }
    }

    /// How many bytes are free on its disk; `None` where that cannot be told.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        free_bytes(&self.file)
    }

    /// Runs `work` on the database's thread, after what was handed over before. Once handed over it runs even if
    /// the caller stops waiting.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = Job::Run(Box::new(move |conn| drop(answer.send(work(conn)))));
        self.jobs.send(job).await.map_err(|_| self.closed())?;
        let result = answered.await.map_err(|_| self.closed())?;
        result.map_err(|fault| self.error(fault))
    }

    /// The same in a transaction: all of it is stored when this returns `Ok`, and nothing otherwise.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    {
        self.read(move |conn| transact(conn, work)).await
    }

    /// The same without waiting for the disk: what is stored outlives the process, and power loss only after the next
    /// [`Self::write`].
    pub(super) async fn write_unsynced<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    {
        self.read(move |conn| {
            let unsynced = Unsynced::begin(conn)?;
            transact(unsynced.0, work)
        })
        .await
    }

    /// Finishes what is queued, closes the file and gives the directory up; later calls fail, on every handle.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).await.is_ok() {
            // An error means that another handle closed it first.
            let _ = closed.await;
        }
    }

    /// What a caller is told whose job was dropped.
    pub(super) fn closed(&self) -> StoreError {
        StoreError::Closed { file: self.file.to_path_buf() }
    }
}

fn transact<T>(
    conn: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = work(&tx)?;
    tx.commit()?;
    Ok(value)
}

/// A connection whose commits do not wait for the disk, until dropped. Checkpoints do all the same, so that the database
/// stays in order whatever happens.
struct Unsynced<'a>(&'a mut Connection);

impl<'a> Unsynced<'a> {
    fn begin(conn: &'a mut Connection) -> Result<Self, Fault> {
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(Self(conn))
    }
}

impl Drop for Unsynced<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.pragma_update(None, "synchronous", "FULL") {
            tracing::error!(%error, "the database does not wait for the disk any more");
        }
    }
}

fn serve(mut connection: Connection, lock: Option<DirLock>, mut queue: mpsc::Receiver<Job>) {
    let mut closers = Vec::new();
    while let Some(job) = queue.blocking_recv() {
        match job {
            // A transaction that unwinds rolls itself back, so the next job finds the database in order.
            Job::Run(work) => {
                if catch_unwind(AssertUnwindSafe(|| work(&mut connection))).is_err() {
                    tracing::error!("a database job panicked; its caller was told");
                }
            }
            Job::Close(done) => {
                queue.close();
                closers.push(done);
            }
        }
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "closing the database");
    }
    drop(lock);
    for done in closers {
        let _ = done.send(());
    }
}

/// Other programs may read along (`sqlite3`, a backup), which takes a shared-memory file beside the database. When
/// the disk has no room even for that, the database is opened without: what is stored can still be read, so
/// an agent restarted on a full disk still knows what to heal.
fn connect(file: &Path, layout: &Layout) -> Result<Connection, StoreError> {
    match connect_with(file, layout, "NORMAL") {
        Err(StoreError::Full { .. }) => connect_with(file, layout, "EXCLUSIVE"),
        result => result,
    }
}

fn connect_with(file: &Path, layout: &Layout, locking_mode: &str) -> Result<Connection, StoreError> {
    let open = || -> Result<(Connection, usize), Fault> {
        let mut conn = Connection::open_with_flags(
            file,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        // An image from scratch has no folder for temporary files.
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        conn.pragma_update_and_check(None, "locking_mode", locking_mode, |row| row.get::<_, String>(0))?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |row| row.get::<_, i64>(0))?;
        check(&conn)?;
        let found = migrate(&mut conn, layout.migrations)?;
        Ok((conn, found))
    };
    let (conn, found) = open().map_err(|fault| StoreError::of(file, layout, fault))?;
    let known = layout.migrations.len();
    if found > known {
        return Err(StoreError::Newer { file: file.to_owned(), found, known });
    }
    Ok(conn)
}

/// Looks for damage: a tenth of a second for 100 MB; better told now than in the middle of healing. Metrics may be
/// many times that, and are looked at when they are asked for.
fn check(conn: &Connection) -> Result<(), Fault> {
    let mut tables =
        conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'metric_*'")?;
    let tables = tables.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    for table in tables {
        let found: String =
            conn.query_row(&format!("PRAGMA quick_check(\"{table}\")"), [], |row| row.get(0))?;
        if found != "ok" {
            return Err(Fault::Damaged(clean(&found, 300)));
        }
    }
    Ok(())
}

/// Applies what is missing, each step in a transaction of its own; returns the layout found before.
fn migrate(conn: &mut Connection, migrations: &[&str]) -> Result<usize, Fault> {
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    for (version, step) in (1_i64..).zip(migrations).skip(found) {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, PermissionsExt};
    use std::time::Instant;

    use super::*;
    use crate::store::fixture::{self, Dir};

    static LAYOUT: Layout = Layout {
        role: "test",
        migrations: &["CREATE TABLE rows (value TEXT NOT NULL)", "ALTER TABLE rows ADD COLUMN more TEXT"],
        remedy: "do this",
    };

    fn open(dir: &Dir) -> Result<Db, StoreError> {
        Db::open_then(dir.path(), &LAYOUT, |_| Ok(()))
    }

    async fn add(db: &Db, text: String) -> Result<(), StoreError> {
        db.write(move |tx| Ok(tx.execute("INSERT INTO rows (value) VALUES (?1)", [text]).map(drop)?)).await
    }

    async fn rows(db: &Db) -> Result<i64, StoreError> {
        db.read(|conn| Ok(conn.query_row("SELECT count(*) FROM rows", [], |row| row.get(0))?)).await
    }

    #[test]
    fn an_acknowledged_commit_is_synced_to_the_disk() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = open(&dir).unwrap();
            let pragmas = db.read(|conn| {
                let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
                let sync: i64 = conn.pragma_query_value(None, "synchronous", |row| row.get(0))?;
                Ok((mode, sync))
            });
            assert_eq!(pragmas.await.unwrap(), ("wal".to_owned(), 2), "2 is FULL");

            let mode =
                |conn: &Connection| conn.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0));
            assert_eq!(db.write_unsynced(move |tx| Ok(mode(tx)?)).await.unwrap(), 1, "1 is NORMAL");
            let panicked = db.write_unsynced(|_| -> Result<(), Fault> { panic!("on purpose") });
            assert!(matches!(panicked.await, Err(StoreError::Closed { .. })));
            assert_eq!(db.read(move |conn| Ok(mode(conn)?)).await.unwrap(), 2, "2 is FULL");
        });
    }

    #[test]
    fn only_the_owner_may_look() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = open(&dir).unwrap();
            add(&db, "it".into()).await.unwrap();
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(dir.path()), 0o700);
            for file in ["test.db", "test.db-wal", "test.db-shm", "test.lock"] {
                assert_eq!(mode(&dir.path().join(file)), 0o600, "{file}");
            }
        });
    }

    #[test]
    fn a_directory_in_use_is_named() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = open(&dir).unwrap();
            let error = open(&dir).err().expect("it is in use");
            assert!(matches!(&error, StoreError::InUse { dir: named, role: "test" } if named == dir.path()));
            assert!(error.to_string().contains("--data-dir"), "{error}");
            db.close().await;
            assert!(matches!(add(&db, "late".into()).await, Err(StoreError::Closed { .. })));
            open(&dir).expect("it was given up");
        });
    }

    #[test]
    fn the_last_handle_dropped_ends_the_thread_after_its_queue() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = open(&dir).unwrap();
            for n in 0..50 {
                let queued = tokio::time::timeout(Duration::ZERO, add(&db, n.to_string())).await;
                drop(queued);
            }
            drop(db);
            let deadline = Instant::now() + Duration::from_secs(10);
            let db = loop {
                match open(&dir) {
                    Ok(db) => break db,
                    Err(StoreError::InUse { .. }) => {
                        assert!(Instant::now() < deadline, "the thread lives on");
                    }
                    Err(error) => panic!("{error}"),
                }
                std::thread::yield_now();
            };
            assert_eq!(rows(&db).await.unwrap(), 50);
        });
    }

    #[test]
    fn a_job_that_panics_or_fails_leaves_nothing_behind() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = open(&dir).unwrap();
            let panicked = db.write(|tx| -> Result<(), Fault> {
                tx.execute("INSERT INTO rows (value) VALUES ('half')", [])?;
                panic!("on purpose")
            });
            assert!(matches!(panicked.await, Err(StoreError::Closed { .. })));
            let refused = db.write(|tx| -> Result<(), Fault> {
                tx.execute("INSERT INTO rows (value) VALUES ('half')", [])?;
                Err(Fault::Refused("no".into()))
            });
            assert!(matches!(refused.await, Err(StoreError::Refused(_))));
            assert_eq!(rows(&db).await.unwrap(), 0);
            add(&db, "whole".into()).await.unwrap();
            assert_eq!(rows(&db).await.unwrap(), 1);
        });
    }

    #[test]
    fn older_layouts_are_brought_up_and_newer_ones_refused() {
        static OLD: Layout = Layout { role: "test", migrations: &[LAYOUT.migrations[0]], remedy: "" };
        fixture::block_on(async {
            let dir = Dir::new();
            let old = Db::open_then(dir.path(), &OLD, |_| Ok(())).unwrap();
            add(&old, "kept".into()).await.unwrap();
            old.close().await;
            let new = open(&dir).unwrap();
            assert_eq!(rows(&new).await.unwrap(), 1);
            new.read(|conn| Ok(conn.execute("UPDATE rows SET more = 'new'", [])?)).await.unwrap();
            new.close().await;
            let error = Db::open_then(dir.path(), &OLD, |_| Ok(())).err().expect("it is newer");
            assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error}");
        });
    }

    #[test]
    fn a_full_disk_is_told_as_such_and_nothing_is_half_stored() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = open(&dir).unwrap();
            let room = |pages: i64| {
                db.read(move |conn| {
                    conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
                    Ok(())
                })
            };
            room(8).await.unwrap();
            let mut stored = 0;
            let error = loop {
                match add(&db, "x".repeat(1000)).await {
                    Ok(()) => stored += 1,
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
            assert!(stored > 0);
            assert_eq!(rows(&db).await.unwrap(), stored);
            room(1000).await.unwrap();
            add(&db, "room again".into()).await.unwrap();
        });
    }

    #[test]
    fn another_programs_lock_is_told_as_such() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = open(&dir).unwrap();
            db.read(|conn| Ok(conn.busy_timeout(Duration::from_millis(1))?)).await.unwrap();
            let other = Connection::open(dir.path().join("test.db")).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            let error = add(&db, "it".into()).await.unwrap_err();
            assert!(matches!(error, StoreError::Locked { .. }), "{error}");
            other.execute_batch("ROLLBACK").unwrap();
            add(&db, "it".into()).await.unwrap();
        });
    }

    #[test]
    fn a_damaged_file_is_named_with_what_to_do() {
        fixture::block_on(async {
            for damage in [0, 4096, 4 * 4096] {
                let dir = Dir::new();
                let db = open(&dir).unwrap();
                for _ in 0..20 {
                    add(&db, "x".repeat(1000)).await.unwrap();
                }
                db.close().await;
                let path = dir.path().join("test.db");
                let file = private_file(&path).unwrap();
                file.write_all_at(&[0xa5; 4096], damage).unwrap();
                drop(file);
                let error = open(&dir).err().expect("it is damaged");
                assert!(matches!(&error, StoreError::Corrupt { file, .. } if *file == path), "{error}");
                let text = error.to_string();
                assert!(text.contains("test.db is damaged") && text.contains("do this"), "{text}");
            }
        });
    }
}
