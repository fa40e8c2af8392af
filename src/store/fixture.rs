//! What the store's unit tests share.

use std::path::{Path, PathBuf};

use crate::model::{Actor, Event, EventDraft, EventKind, Timestamp};

/// A data directory that does not exist yet, gone with the test.
pub(super) struct Dir {
    _parent: tempfile::TempDir,
    path: PathBuf,
}

impl Dir {
    pub(super) fn new() -> Self {
        let parent = tempfile::tempdir().expect("a temporary folder");
        Self { path: parent.path().join("data"), _parent: parent }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// An event of `host` about its container `web`.
pub(super) fn event(host: &str, reason: &str) -> Event {
    EventDraft::new(EventKind::ContainerStarted, Actor::Agent, reason)
        .about(&"web".parse().expect("a name"))
        .stamp(&host.parse().expect("a name"), Timestamp::from_millis(1_000))
}

/// Runs `test` on a runtime of its own.
pub(super) fn block_on<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}
