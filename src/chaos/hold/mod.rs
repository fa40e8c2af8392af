//! The holder: a small process for each fault, which does it and undoes it, so that a fault ends although the antagonist
//! was killed.
//!
//! ```text
//!  antagonist                    holder
//!  ledger: recorded ── starts ─► locks its entry, says "ready"
//!                                ledger: acting
//!                                does it
//!                                ledger: held, says "held"
//!                                waits: its time is over, told to end, or the antagonist is gone (end of input)
//!                                says "undoing", undoes it, erases its entry, says "undone"
//! ```
//!
//! When the holder dies, the antagonist undoes the fault from the ledger; when both die, whoever starts next.

mod act;
mod cgroup;
mod fill;
mod hog;

use std::io::Write;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::kill_point::kill_point;
use super::ledger::{Entry, Lock};
use super::{Progress, Undone};
use crate::docker::{Engine, EngineAddress, EngineError};

pub use act::ActError;
pub(super) use act::undo;
pub use hog::{HogOrder, run_hog};

/// Between two attempts to undo something while the engine does not answer.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// An engine that does not answer for so long is left to the next start.
pub(super) const UNDO_WITHIN: Duration = Duration::from_mins(5);

/// What a holder says, a line of JSON each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub(super) enum Word {
    /// It cares for the fault from now on.
    Ready,
    /// The fault is in force.
    Held {
        /// How, for people; may be empty.
        how: String,
    },
    /// The fault was not done, and nothing of it is left.
    Refused {
        /// Why.
        why: String,
    },
    /// It begins to undo the fault.
    Undoing,
    /// The fault is undone.
    Undone {
        /// What that took.
        how: Undone,
    },
    /// The fault could not be undone, and stays in the ledger.
    Left {
        /// Why.
        why: String,
    },
}

impl Word {
    fn say(&self) {
        let mut line = serde_json::to_vec(self).expect("plain data becomes JSON");
        line.push(b'\n');
        // The antagonist may be gone: then nobody need hear it.
        let _ = std::io::stdout().write_all(&line);
        let _ = std::io::stdout().flush();
    }
}

/// Does and undoes the fault of the ledger's entry at `path`; standard input says how long the antagonist lives.
pub async fn run_holder(path: &Path) -> Result<(), ActError> {
    kill_point("holder:started");
    let mut entry = Entry::open(path, Lock::Shared)?;
    Word::Ready.say();
    kill_point("holder:ready");
    let engine = engine_of(&entry)?;
    let mut told = Told::listen();
    entry.mark(Progress::Acting)?;
    kill_point("holder:acting");
    let begun = act::inject(entry.lease(), &engine).await;
    kill_point("holder:done");
    let held = match begun {
        Ok(held) => held,
        Err(error) => return refuse(&entry, &engine, error).await,
    };
    entry.mark(Progress::Held)?;
    kill_point("holder:held");
    Word::Held { how: held.how.clone() }.say();
    kill_point("holder:told");
    let deadline = entry.lease().lasts().map(|lasts| Instant::now() + lasts);
    if let Some(pid) = held.ends_with {
        // Its container ended: what holds it in its cgroups or on its disk ends too, and the rest of the lease is for healing.
        let ended = tokio::select! {
            () = told.until_end(deadline) => false,
            () = end_of(pid) => true,
        };
        kill_point("holder:undoing");
        held.release()?;
        if ended {
            told.until_end(deadline).await;
        }
        Word::Undoing.say();
    } else {
        told.until_end(deadline).await;
        Word::Undoing.say();
        kill_point("holder:undoing");
        if let Err(error) = held.release() {
            tracing::warn!(%error, "what was held is not released");
        }
    }
    kill_point("holder:released");
    finish(&entry, &engine).await
}

/// Undoes what came of an attempt that failed: an engine that did not answer may have done it, or will yet.
async fn refuse(entry: &Entry, engine: &Engine, error: ActError) -> Result<(), ActError> {
    let certain = !matches!(
        error,
        ActError::Engine(EngineError::Unreachable(_) | EngineError::TimedOut(..) | EngineError::Malformed(_))
    );
    let why = error.to_string();
    if !certain && let Err(error) = undo_patiently(entry, Progress::Acting, engine).await {
        Word::Left { why: format!("{why}; and then: {error}") }.say();
        return Ok(());
    }
    entry.erase()?;
    Word::Refused { why }.say();
    Ok(())
}

async fn finish(entry: &Entry, engine: &Engine) -> Result<(), ActError> {
    let outcome = undo_patiently(entry, Progress::Held, engine).await;
    kill_point("holder:undone");
    match outcome {
        Ok(how) => {
            entry.erase()?;
            kill_point("holder:erased");
            Word::Undone { how }.say();
        }
        Err(error) => Word::Left { why: error.to_string() }.say(),
    }
    Ok(())
}

/// Undoes it, and tries again while the engine does not answer, for [`UNDO_WITHIN`].
pub(super) async fn undo_patiently(
    entry: &Entry,
    progress: Progress,
    engine: &Engine,
) -> Result<Undone, ActError> {
    let end = Instant::now() + UNDO_WITHIN;
    loop {
        match undo(entry.lease(), progress, engine).await {
            Err(ActError::Engine(EngineError::Unreachable(_) | EngineError::TimedOut(..)))
                if Instant::now() < end =>
            {
                sleep(TRY_AGAIN).await;
            }
            other => return other,
        }
    }
}

/// The engine of an entry's container.
pub(super) fn engine_of(entry: &Entry) -> Result<Engine, ActError> {
    let malformed = |error: crate::docker::AddressError| EngineError::Malformed(error.to_string());
    let address: EngineAddress = entry.lease().engine.parse().map_err(malformed)?;
    Ok(Engine::connect(&address).map_err(malformed)?)
}

/// Who may tell a holder to end.
struct Told {
    input: Option<pipe::Receiver>,
    term: Option<tokio::signal::unix::Signal>,
    int: Option<tokio::signal::unix::Signal>,
}

impl Told {
    fn listen() -> Self {
        let input = std::io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd);
        Self {
            input: input.ok(),
            term: signal(SignalKind::terminate()).ok(),
            int: signal(SignalKind::interrupt()).ok(),
        }
    }

    /// Until told to end: by the antagonist's word or its death, by a signal, or because `deadline` is over.
    async fn until_end(&mut self, deadline: Option<Instant>) {
        let over = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let input = async {
            // Any word, the end, and an error mean the same.
            if let Some(input) = &mut self.input {
                drop(input.read_u8().await);
            }
        };
        tokio::select! {
            () = over => {}
            () = input => {}
            () = heard(&mut self.term) => {}
            () = heard(&mut self.int) => {}
        }
    }
}

async fn heard(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Until process `pid` has ended; where the kernel cannot tell, for ever.
async fn end_of(pid: u32) {
    let Ok(number) = libc::pid_t::try_from(pid) else { return };
    // SAFETY: pidfd_open takes numbers and returns a new descriptor or -1.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, number, 0) };
    let Some(descriptor) = RawFd::try_from(descriptor).ok() else { return };
    if descriptor < 0 {
        if std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) {
            return;
        }
        return std::future::pending().await;
    }
    // SAFETY: the kernel just made this descriptor, and nobody else has it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // SAFETY: what is registered owns its descriptor, which is open for as long, and always the same.
    match unsafe { AsyncFd::register(descriptor) } {
        Ok(watched) => drop(watched.readable().await),
        Err(_) => std::future::pending().await,
    }
}

/// Waits at most `span` for `work`, for callers that must go on.
pub(super) async fn within<T>(span: Duration, work: impl Future<Output = T>) -> Option<T> {
    timeout(span, work).await.ok()
}
