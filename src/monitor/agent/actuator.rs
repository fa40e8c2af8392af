//! Does to containers what was decided: journaled before, timed, and looked at after.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::watcher::Refresher;
use super::{AgentParts, AgentSettings};
use crate::docker::{ContainerBuilder, EngineError};
use crate::model::{ActionKind, ActionOutcome, JournalEntry, Timestamp};
use crate::monitor::decide::{Action, ActionResult, Input};
use crate::store::{AgentDb, StoreError};

/// Carries out actions; each clone does one.
#[derive(Clone)]
pub(super) struct Actuator {
    builder: Arc<dyn ContainerBuilder>,
    db: AgentDb,
    stop_timeout: Option<Duration>,
    refresher: Refresher,
}

impl Actuator {
    pub(super) fn new(parts: &AgentParts, settings: &AgentSettings, refresher: Refresher) -> Self {
        Self {
            builder: parts.builder.clone(),
            db: parts.db.clone(),
            stop_timeout: settings.stop_timeout,
            refresher,
        }
    }

    /// Does `action` and tells the owner what came of it, after the container's new facts.
    pub(super) async fn act(self, action: Action) {
        let begun = Instant::now();
        let journaled = self.db.begin(entry(&action)).await;
        log_if_failed(&journaled);
        let done = match action.kind {
            ActionKind::Start => self.builder.start(&action.id).await,
            ActionKind::Restart | ActionKind::Recreate => {
                self.builder.restart(&action.id, self.stop_timeout).await
            }
        };
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (outcome, result) = match done {
            Ok(()) => (ActionOutcome::Done, ActionResult::Done(took)),
            Err(error) => (ActionOutcome::Failed(error.to_string()), result_of(error)),
        };
        log_if_failed(&self.db.finish(action.op.clone(), outcome, Timestamp::now()).await);
        self.refresher.refresh(action.id, Input::Acted(action.op, result)).await;
    }
}

fn entry(action: &Action) -> JournalEntry {
    JournalEntry {
        op: action.op.clone(),
        container: action.name.clone(),
        id: action.id.clone(),
        kind: action.kind,
        reason: action.reason.clone(),
        started: Timestamp::now(),
        finished: None,
        outcome: None,
        step: None,
    }
}

fn result_of(error: EngineError) -> ActionResult {
    match error {
        EngineError::NoSuchContainer(_) => ActionResult::Gone,
        EngineError::Unreachable(why) => ActionResult::NotReached(why),
        other => ActionResult::Failed(other.to_string()),
    }
}

fn log_if_failed(outcome: &Result<(), StoreError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "the action journal cannot be written; healing goes on");
    }
}
