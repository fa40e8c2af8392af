//! "Destroy and restart": replaces a container by a new one made the same way, so that at every moment there is
//! either the old one or the new one to fall back on, also across a `kill -9`.
//!
//! ```text
//! create new (aside) -> connect its networks -> stop old -> rename old aside -> rename new -> start new -> remove old
//! '------------------ undone: remove new, rename old back, start it ------------------------'   '--- finished ---'
//! ```
//!
//! What may fail for lack of something (an image, a network) comes first, while the old container still runs. It is
//! stopped before the new one starts, for both would claim the same addresses, ports and data. Until then the new
//! one has a name that only this operation uses, so after a crash nobody else's container is taken for it.
//!
//! Each step is journaled before it is taken. What is then true is read from the engine, not from the journal, which
//! only says where to look; so settling is idempotent.
//!
//! A container whose network namespace others share takes those off the network: whether that is wanted is the
//! caller's decision.

mod plan;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AnonymousVolumes, ContainerBuilder, EngineError, convert};
use crate::model::{ContainerId, ContainerName, OperationId};

pub use plan::{RecreatePlan, RecreateRefusal, Surroundings, recreate_plan};

/// What is to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecreateOrder {
    /// Names the operation in the journal.
    pub op: OperationId,
    /// The container.
    pub id: ContainerId,
    /// `Keep` carries anonymous volumes over, `Remove` refuses where there are any.
    pub volumes: AnonymousVolumes,
    /// How long the old one may take to stop; `None`: as it is configured itself.
    pub stop_timeout: Option<Duration>,
    /// The container whose network namespace it is to share from now on, in place of one that is gone.
    pub join: Option<ContainerId>,
}

/// What a recreate is about to do, or came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecreateStage {
    /// Creating the new container under a name of its own.
    Create,
    /// Giving it its other networks.
    Connect,
    /// Stopping the old one.
    StopOld,
    /// Renaming the old one out of the way.
    RenameOld,
    /// Giving the new one its name.
    RenameNew,
    /// Starting the new one.
    Start,
    /// Removing the old one: the new one was started.
    RemoveOld,
    /// Through: the new one has taken over.
    Finished,
    /// Given up: the old one is as it was.
    Undone,
}

/// One line of the journal: all that is needed to finish or undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecreateStep {
    /// The operation.
    pub op: OperationId,
    /// The container's name before and after.
    pub name: ContainerName,
    /// The container to replace.
    pub old: ContainerId,
    /// Its name while it is out of the way.
    pub old_aside: ContainerName,
    /// Whether it ran.
    pub was_running: bool,
    /// The new one, once it is known to exist.
    pub new: Option<ContainerId>,
    /// Its name until it takes over.
    pub new_aside: ContainerName,
    /// What comes next.
    pub stage: RecreateStage,
}

/// The journal did not take a step, so it is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the journal cannot be written: {0}")]
pub struct JournalError(pub String);

/// Where steps are recorded before they are taken.
#[async_trait]
pub trait StepJournal: Send + Sync {
    /// Returns when the step would survive a crash.
    async fn record(&self, step: &RecreateStep) -> Result<(), JournalError>;
}

/// Why a step was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StepError {
    /// The engine's reason.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The journal's.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why there is no new container.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecreateError {
    /// It cannot be made again as it is; nothing was touched.
    #[error("not recreated: {0}")]
    Refused(#[from] RecreateRefusal),
    /// It cannot be looked at; nothing was touched.
    #[error("not recreated: {0}")]
    Engine(#[from] EngineError),
    /// A step failed; the old container is as it was.
    #[error("recreate failed ({stage:?}) and was undone: {cause}")]
    Undone {
        /// The step.
        stage: RecreateStage,
        /// Why.
        cause: StepError,
    },
    /// A step failed and so did what would set that right: [`sweep`] has to, from the journal.
    #[error("recreate failed ({stage:?}): {cause}; undoing it failed too: {then}")]
    Unsettled {
        /// The step.
        stage: RecreateStage,
        /// Why.
        cause: StepError,
        /// Why it could not be undone.
        then: EngineError,
    },
}

/// What a recreate came to in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The new container has taken over.
    Finished,
    /// The old one is back.
    Undone,
}

/// Replaces a container; returns the new one's id once it was started and the old one is removed.
pub async fn recreate(
    builder: &dyn ContainerBuilder,
    journal: &dyn StepJournal,
    order: &RecreateOrder,
) -> Result<ContainerId, RecreateError> {
    let mut inspect = builder.inspect_raw(order.id.as_str()).await?;
    if let (Some(owner), Some(mode)) = (&order.join, inspect.pointer_mut("/HostConfig/NetworkMode")) {
        *mode = Value::String(format!("container:{owner}"));
    }
    let around = survey(builder, &inspect, order.volumes).await?;
    let plan = recreate_plan(&inspect, &around)?;
    let step = RecreateStep {
        op: order.op.clone(),
        old_aside: aside(&plan.name, ContainerName::OLD_ASIDE, &order.op),
        new_aside: aside(&plan.name, ContainerName::NEW_ASIDE, &order.op),
        name: plan.name.clone(),
        old: plan.old.clone(),
        was_running: plan.was_running,
        new: None,
        stage: RecreateStage::Create,
    };
    let mut run = Run { builder, journal, step, stop_timeout: order.stop_timeout };
    let failed = run.forward(&plan).await.err();
    let stage = run.step.stage;
    let settled = match &failed {
        None => Ok(Settled::Finished),
        // A step that failed may have been taken all the same (a lost answer).
        Some(_) => settle(builder, &run.step).await,
    };
    match (settled, failed, run.step.new.clone()) {
        (Ok(Settled::Finished), _, Some(new)) => {
            run.close(RecreateStage::Finished).await;
            Ok(new)
        }
        (Ok(_), cause, _) => {
            run.close(RecreateStage::Undone).await;
            let cause = cause.unwrap_or_else(|| EngineError::Malformed("no new container".to_owned()).into());
            Err(RecreateError::Undone { stage, cause })
        }
        (Err(then), cause, _) => {
            let cause = cause.unwrap_or_else(|| then.clone().into());
            Err(RecreateError::Unsettled { stage, cause, then })
        }
    }
}

/// Finishes or undoes what a crash left half done, from the last step of each operation in the journal. The step of
/// each outcome that is `Ok` says [`RecreateStage::Finished`] or [`RecreateStage::Undone`], for the caller to record;
/// one that is an error is for another try.
pub async fn sweep(
    builder: &dyn ContainerBuilder,
    unfinished: Vec<RecreateStep>,
) -> Vec<(RecreateStep, Result<Settled, EngineError>)> {
    let mut swept = Vec::with_capacity(unfinished.len());
    for mut step in unfinished {
        let settled = settle(builder, &step).await;
        match settled {
            Ok(Settled::Finished) => step.stage = RecreateStage::Finished,
            Ok(Settled::Undone) => step.stage = RecreateStage::Undone,
            Err(_) => {}
        }
        swept.push((step, settled));
    }
    swept
}

fn aside(name: &ContainerName, mark: &str, op: &OperationId) -> ContainerName {
    let short = &name.as_str()[..name.as_str().len().min(100)];
    let op: String = op.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    ContainerName::new(format!("{short}{mark}{op}")).expect("a name with letters and digits after it")
}

async fn survey(
    builder: &dyn ContainerBuilder,
    inspect: &Value,
    volumes: AnonymousVolumes,
) -> Result<Surroundings, EngineError> {
    let image = async |at| match convert::text(inspect, at) {
        Some(reference) => builder.image_id(reference).await,
        None => Ok(None),
    };
    let namespace_exists = match plan::shared_namespace(inspect) {
        Some(other) => look(builder, other).await?.is_some(),
        None => true,
    };
    let named_image = image("/Config/Image").await?;
    Ok(Surroundings {
        named_image,
        image_exists: image("/Image").await?.is_some(),
        namespace_exists,
        volumes,
    })
}

struct Run<'a> {
    builder: &'a dyn ContainerBuilder,
    journal: &'a dyn StepJournal,
    step: RecreateStep,
    /// Not in the journal: who sets a half-done recreate right stops nothing in good order any more.
    stop_timeout: Option<Duration>,
}

impl Run<'_> {
    async fn forward(&mut self, plan: &RecreatePlan) -> Result<(), StepError> {
        let (builder, old) = (self.builder, &plan.old);
        self.enter(RecreateStage::Create).await?;
        let new = builder.create(&self.step.new_aside, &plan.body).await?;
        self.step.new = Some(new.clone());
        self.enter(RecreateStage::Connect).await?;
        for network in &plan.disconnect {
            builder.disconnect(network, &new).await?;
        }
        for (network, endpoint) in &plan.connect {
            builder.connect(network, &new, endpoint).await?;
        }
        self.enter(RecreateStage::StopOld).await?;
        builder.stop(old, self.stop_timeout).await?;
        self.enter(RecreateStage::RenameOld).await?;
        builder.rename(old, &self.step.old_aside).await?;
        self.enter(RecreateStage::RenameNew).await?;
        builder.rename(&new, &plan.name).await?;
        self.enter(RecreateStage::Start).await?;
        builder.start(&new).await?;
        self.enter(RecreateStage::RemoveOld).await?;
        Ok(builder.remove(old, AnonymousVolumes::Keep).await?)
    }

    async fn enter(&mut self, stage: RecreateStage) -> Result<(), JournalError> {
        self.step.stage = stage;
        self.journal.record(&self.step).await
    }

    /// Records the end. Where that fails, a sweep finds nothing left to do.
    async fn close(&mut self, stage: RecreateStage) {
        if let Err(error) = self.enter(stage).await {
            tracing::warn!(op = %self.step.op, %error, "the end of a recreate is not recorded");
        }
    }
}

/// Finishes when the new container was ever started, undoes otherwise.
async fn settle(builder: &dyn ContainerBuilder, step: &RecreateStep) -> Result<Settled, EngineError> {
    match step.stage {
        RecreateStage::Finished => return Ok(Settled::Finished),
        RecreateStage::Undone => return Ok(Settled::Undone),
        _ => {}
    }
    let new = match &step.new {
        Some(id) => look(builder, id.as_str()).await?,
        None => look(builder, step.new_aside.as_str()).await?,
    };
    let started = new.as_ref().is_some_and(|new| convert::time(new, "/State/StartedAt").is_some());
    // Whoever removed the new one after it was started did not mean to get the old one back.
    if started || step.stage == RecreateStage::RemoveOld {
        builder.remove(&step.old, AnonymousVolumes::Keep).await?;
        return Ok(Settled::Finished);
    }
    if let Some(id) = new.as_ref().and_then(|new| convert::text(new, "/Id")) {
        let id = ContainerId::new(id).map_err(|error| EngineError::Malformed(error.to_string()))?;
        builder.remove(&id, AnonymousVolumes::Keep).await?;
    }
    let Some(old) = look(builder, step.old.as_str()).await? else { return Ok(Settled::Undone) };
    if convert::text(&old, "/Name").map(|name| name.trim_start_matches('/')) == Some(step.old_aside.as_str())
    {
        builder.rename(&step.old, &step.name).await?;
    }
    // Before that, it was not we who stopped it.
    if step.was_running && step.stage >= RecreateStage::StopOld {
        builder.start(&step.old).await?;
    }
    Ok(Settled::Undone)
}

async fn look(builder: &dyn ContainerBuilder, id: &str) -> Result<Option<Value>, EngineError> {
    match builder.inspect_raw(id).await {
        Ok(inspect) => Ok(Some(inspect)),
        Err(EngineError::NoSuchContainer(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
