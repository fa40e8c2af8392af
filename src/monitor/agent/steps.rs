//! The steps of a recreate: journaled before each is taken, and set right when one was the last.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use crate::docker::ContainerBuilder;
use crate::docker::recreate::{JournalError, RecreateStep, StepJournal, sweep};
use crate::model::{ActionOutcome, OperationId, Timestamp};
use crate::store::{AgentDb, StoreError};

/// Between two attempts to set right what was left half done.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// Finishes or undoes a half-done recreate, however often the engine refuses meanwhile.
pub(super) async fn settle(builder: &dyn ContainerBuilder, db: &AgentDb, op: &OperationId) {
    while let Some(step) = last_step(db, op).await {
        for (step, settled) in sweep(builder, vec![step]).await {
            match settled {
                Ok(settled) => {
                    tracing::info!(container = %step.name, ?settled, "a half-done recreate was set right");
                    let outcome = ActionOutcome::Failed("it was cut in two and set right later".to_owned());
                    log_if_failed(&db.finish(op.clone(), outcome, Timestamp::now()).await);
                    return;
                }
                Err(error) => tracing::debug!(container = %step.name, %error, "not set right yet"),
            }
        }
        sleep(SETTLE_AGAIN).await;
    }
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
