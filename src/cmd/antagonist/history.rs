//! Tells this host's agent what is done to its containers, so that it is in the history. Best effort: nothing waits for it,
//! and without an agent there is nobody to tell.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::bus::{AgentCommand, CommandError};
use crate::client::{AgentSocket, LocalError};
use crate::model::FaultNote;

/// Notes that wait for the agent; what is more is not told.
const WAITING: usize = 1024;
/// At the end, what waits is waited for so long.
const END_WITHIN: Duration = Duration::from_secs(2);

/// The way to the agent.
pub(super) struct History {
    notes: SyncSender<FaultNote>,
    done: Receiver<()>,
}

impl History {
    /// Of the agent that keeps its state in `data_dir`.
    pub(super) fn of(data_dir: &Path) -> Self {
        let agent = AgentSocket::of(data_dir);
        let (notes, waiting) = sync_channel::<FaultNote>(WAITING);
        let (ended, done) = sync_channel(1);
        thread::spawn(move || {
            for note in waiting {
                match agent.ask(&AgentCommand::Fault { note }) {
                    Ok(_) => {}
                    // An agent of an earlier version does not know faults.
                    Err(LocalError::Command(CommandError::Malformed { .. })) => break,
                    Err(error) => tracing::debug!(%error, "the agent was not told of a fault"),
                }
            }
            let _ = ended.send(());
        });
        Self { notes, done }
    }

    /// Tells of a fault, soon.
    pub(super) fn tell(&self) -> impl Fn(FaultNote) + Send + use<> {
        let notes = self.notes.clone();
        move |note| {
            if notes.try_send(note).is_err() {
                tracing::debug!("the agent was not told of a fault");
            }
        }
    }

    /// Waits until all is told that was, but not for long. Those who tell must be gone.
    pub(super) fn finish(self) {
        drop(self.notes);
        let _ = self.done.recv_timeout(END_WITHIN);
    }
}
