//! One thread owns one database; handles send it jobs and await the answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::dir::{DirLock, private_file};
use super::error::Fault;

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
            .spawn(move || serve(connection, lock, queue))
            .map_err(|e| StoreError::io(&file, e))?;
        Ok(Self { jobs, file, layout })
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
        result.map_err(|fault| StoreError::of(&self.file, self.layout, fault))
    }

    /// The same in a transaction: all of it is stored when this returns `Ok`, and nothing otherwise.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    {
        self.read(move |conn| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&tx)?;
            tx.commit()?;
            Ok(value)
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

    fn closed(&self) -> StoreError {
        StoreError::Closed { file: self.file.to_path_buf() }
    }
}

fn serve(mut connection: Connection, lock: DirLock, mut queue: mpsc::Receiver<Job>) {
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

fn connect(file: &Path, layout: &Layout) -> Result<Connection, StoreError> {
    let open = || -> Result<(Connection, usize), Fault> {
        let mut conn = Connection::open_with_flags(
            file,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        // An image from scratch has no folder for temporary files.
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |row| row.get::<_, i64>(0))?;
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
