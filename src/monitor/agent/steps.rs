//! The steps of a recreate: journaled before each is taken, and set right when one was the last.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use crate::docker::recreate::{JournalError, RecreateStep, StepJournal, sweep};
use crate::docker::{ContainerBuilder, EngineError};
use crate::model::{ActionOutcome, OperationId, Timestamp};
use crate::store::{AgentDb, StoreError};

/// Waits between attempts to set right what was left half done: doubling from the first to the last.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_LAST: Duration = Duration::from_secs(30);
/// Attempts before it is left to a human: about half an hour.
pub(super) const ATTEMPTS: u32 = 60;

/// What became of a half-done recreate.
pub(super) enum Settlement {
    /// Nothing is left to be set right.
    Settled,
    /// Not set right however often it was tried; the words name what was left behind.
    GivenUp(String),
}

/// Finishes or undoes a half-done recreate, trying again while the engine refuses, but not for ever. What came of it is
/// in the journal. May be dropped at any moment: the journal has what is left.
pub(super) async fn settle(builder: &dyn ContainerBuilder, db: &AgentDb, op: &OperationId) -> Settlement {
    let (mut wait, mut attempt) = (AGAIN_FIRST, 0);
    loop {
        let Some((step, error)) = settle_once(builder, db, op).await else { return Settlement::Settled };
        // While the engine is away nothing was tried.
        if !matches!(error, EngineError::Unreachable(_)) {
            attempt += 1;
        }
        match attempt {
            1 => tracing::warn!(container = %step.name, %error, "a half-done recreate is not set right yet"),
            ATTEMPTS => {
                let words = format!(
                    "it was cut in two and could not be set right ({error}); see the containers {} and {}",
                    step.old_aside, step.new_aside
                );
                tracing::error!(container = %step.name, "a recreate is given up: {words}");
                let outcome = ActionOutcome::Failed(words.clone());
                log_if_failed(&db.finish(op.clone(), outcome, Timestamp::now()).await);
                return Settlement::GivenUp(words);
            }
            _ => tracing::debug!(container = %step.name, %error, attempt, "not set right yet"),
        }
        sleep(wait).await;
        wait = (wait * 2).min(AGAIN_LAST);
    }
}

/// One attempt; what is left to be set right, and why it could not be.
pub(super) async fn settle_once(
    builder: &dyn ContainerBuilder,
    db: &AgentDb,
    op: &OperationId,
) -> Option<(RecreateStep, EngineError)> {
    let step = last_step(db, op).await?;
    for (step, settled) in sweep(builder, vec![step]).await {
        match settled {
            Ok(settled) => {
                tracing::info!(container = %step.name, ?settled, "a half-done recreate was set right");
                let outcome = ActionOutcome::Failed("it was cut in two and set right later".to_owned());
                log_if_failed(&db.finish(op.clone(), outcome, Timestamp::now()).await);
            }
            Err(error) => return Some((step, error)),
        }
    }
    None
}

/// The last step of an unfinished recreate; `None`: nothing is left to be set right.
async fn last_step(db: &AgentDb, op: &OperationId) -> Option<RecreateStep> {
    let unfinished = db.unfinished().await.ok()?;
    let entry = unfinished.into_iter().find(|entry| entry.op == *op)?;
    serde_json::from_value(entry.step?).ok()
}

/// Records steps in the action journal.
pub(super) struct Journal<'a> {
    pub(super) db: &'a AgentDb,
}

#[async_trait]
impl StepJournal for Journal<'_> {
    async fn record(&self, step: &RecreateStep) -> Result<(), JournalError> {
        let json = serde_json::to_value(step).map_err(|error| JournalError(error.to_string()))?;
        self.db.record_step(step.op.clone(), json).await.map_err(|error| JournalError(error.to_string()))
    }
}

pub(super) fn log_if_failed(outcome: &Result<(), StoreError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "the action journal cannot be written; healing goes on");
    }
}
