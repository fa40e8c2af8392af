//! Does to containers what was decided: journaled before, timed, and looked at after.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::steps::{Journal, Settlement, log_if_failed, settle};
use super::watcher::Refresher;
use super::{AgentParts, AgentSettings};
use crate::docker::recreate::{RecreateError, RecreateOrder, RecreateStage, StepError, recreate};
use crate::docker::{AnonymousVolumes, ContainerBuilder, EngineError};
use crate::model::{ActionKind, ActionOutcome, ContainerId, JournalEntry, Timestamp};
use crate::monitor::decide::{Action, ActionResult, Input};
use crate::store::AgentDb;

/// Carries out actions; each clone does one.
#[derive(Clone)]
pub(super) struct Actuator {
    builder: Arc<dyn ContainerBuilder>,
    db: AgentDb,
    stop_timeout: Option<Duration>,
    volumes: AnonymousVolumes,
    refresher: Refresher,
    shutdown: CancellationToken,
}

impl Actuator {
    pub(super) fn new(
        parts: &AgentParts,
        settings: &AgentSettings,
        refresher: Refresher,
        shutdown: &CancellationToken,
    ) -> Self {
        Self {
            builder: parts.builder.clone(),
            db: parts.db.clone(),
            stop_timeout: settings.stop_timeout,
            // "Remove" refuses containers that have anonymous volumes: nothing of theirs is ever removed.
            volumes: settings.anonymous_volumes.unwrap_or(AnonymousVolumes::Remove),
            refresher,
            shutdown: shutdown.clone(),
        }
    }

    /// Tells the owner how the container is now, whoever else acts on it.
    pub(super) async fn look(self, id: ContainerId) {
        self.refresher.refresh(id.clone(), Input::Looked(id)).await;
    }

    /// Does `action` and tells the owner what came of it, after the container's new facts.
    pub(super) async fn act(self, action: Action) {
        let begun = Instant::now();
        let journaled = self.db.begin(entry(&action)).await;
        log_if_failed(&journaled);
        let done = match action.kind {
            ActionKind::Start => self.builder.start(&action.id).await,
            ActionKind::Restart => self.builder.restart(&action.id, self.stop_timeout).await,
            ActionKind::Recreate => match self.recreate(&action).await {
                Some(done) => done,
                // The journal has it for the next start.
                None => return,
            },
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

impl Actuator {
    /// Destroys and creates anew; what cannot be made again as it is, is restarted instead. `None`: the agent
    /// ends before what was left half done is set right.
    async fn recreate(&self, action: &Action) -> Option<Result<(), EngineError>> {
        let journal = Journal { db: &self.db };
        let order = RecreateOrder {
            op: action.op.clone(),
            id: action.id.clone(),
            volumes: self.volumes,
            stop_timeout: self.stop_timeout,
        };
        Some(match recreate(self.builder.as_ref(), &journal, &order).await {
            Ok(_) => Ok(()),
            Err(RecreateError::Refused(why)) => {
                tracing::warn!(container = %action.name, %why, "not recreated, restarted instead");
                self.builder.restart(&action.id, self.stop_timeout).await
            }
            // Nothing was touched: what needs no journal can still be done.
            Err(RecreateError::Undone { stage: RecreateStage::Create, cause: StepError::Journal(error) }) => {
                tracing::error!(container = %action.name, %error, "not recreated, restarted instead");
                self.builder.restart(&action.id, self.stop_timeout).await
            }
            Err(
                RecreateError::Engine(error) | RecreateError::Undone { cause: StepError::Engine(error), .. },
            ) => Err(error),
            Err(error @ RecreateError::Undone { .. }) => Err(EngineError::Refused(error.to_string())),
            Err(error @ RecreateError::Unsettled { .. }) => {
                tracing::error!(container = %action.name, %error, "trying again to set it right");
                let settled = settle(self.builder.as_ref(), &self.db, &action.op);
                match self.shutdown.run_until_cancelled(settled).await? {
                    Settlement::Settled => Err(EngineError::Refused(error.to_string())),
                    Settlement::GivenUp(words) => Err(EngineError::Refused(words)),
                }
            }
        })
    }
}

fn entry(action: &Action) -> JournalEntry {
    JournalEntry {
        op: action.op.clone(),
        container: action.name.clone(),
        id: action.id.clone(),
        kind: action.kind,
        by: action.by,
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
