//! Does to containers what was decided: journaled before, timed, and looked at after.

use std::fmt::Display;
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
            ActionKind::Start => self.builder.start(&action.id).await.map_err(Trouble::from),
            ActionKind::Restart => self.restart(&action.id).await,
            // Cut in two, nobody would know of it.
            ActionKind::Recreate if journaled.is_err() => {
                self.restart_instead(&action, "the journal does not take it").await
            }
            ActionKind::Recreate => match self.recreate(&action).await {
                Some(done) => done,
                // The journal has it for the next start.
                None => return,
            },
        };
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (outcome, result) = match done {
            Ok(()) => (ActionOutcome::Done, ActionResult::Done(took)),
            Err(trouble) => (ActionOutcome::Failed(trouble.to_string()), result_of(trouble)),
        };
        log_if_failed(&self.db.finish(action.op.clone(), outcome, Timestamp::now()).await);
        self.refresher.refresh(action.id, Input::Acted(action.op, result)).await;
    }
}

impl Actuator {
    /// Destroys and creates anew; what cannot be made again as it is, is restarted instead. `None`: the agent
    /// ends before what was left half done is set right.
    async fn recreate(&self, action: &Action) -> Option<Result<(), Trouble>> {
        let journal = Journal { db: &self.db };
        let order = RecreateOrder {
            op: action.op.clone(),
            id: action.id.clone(),
            volumes: self.volumes,
            stop_timeout: self.stop_timeout,
            join: action.join.clone(),
        };
        Some(match recreate(self.builder.as_ref(), &journal, &order).await {
            Ok(_) => Ok(()),
            Err(RecreateError::Refused(why)) => self.restart_instead(action, why).await,
            // Nothing was touched: what needs no journal can still be done.
            Err(RecreateError::Undone { stage: RecreateStage::Create, cause: StepError::Journal(error) }) => {
                self.restart_instead(action, error).await
            }
            Err(
                RecreateError::Engine(error) | RecreateError::Undone { cause: StepError::Engine(error), .. },
            ) => Err(error.into()),
            Err(error @ RecreateError::Undone { .. }) => Err(Trouble::Recreate(error.to_string())),
            Err(error @ RecreateError::Unsettled { .. }) => {
                tracing::error!(container = %action.name, %error, "trying again to set it right");
                let settled = settle(self.builder.as_ref(), &self.db, &action.op);
                Err(Trouble::Recreate(match self.shutdown.run_until_cancelled(settled).await? {
                    Settlement::Settled => error.to_string(),
                    Settlement::GivenUp(words) => words,
                }))
            }
        })
    }

    async fn restart_instead(&self, action: &Action, why: impl Display) -> Result<(), Trouble> {
        tracing::warn!(container = %action.name, %why, "not recreated, restarted instead");
        self.restart(&action.id).await
    }

    async fn restart(&self, id: &ContainerId) -> Result<(), Trouble> {
        Ok(self.builder.restart(id, self.stop_timeout).await?)
    }
}

/// Why an action was not done.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// The engine's reason.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What became of a recreate.
    #[error("{0}")]
    Recreate(String),
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
        drill: action.drill,
    }
}

fn result_of(trouble: Trouble) -> ActionResult {
    match trouble {
        Trouble::Engine(EngineError::NoSuchContainer(_)) => ActionResult::Gone,
        Trouble::Engine(EngineError::Unreachable(why)) => ActionResult::NotReached(why),
        other => ActionResult::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::mpsc;

    use super::*;
    use crate::docker::fake::{Behaviour, Call, FakeEngine, Op};
    use crate::model::Actor;
    use crate::monitor::agent::steps::ATTEMPTS;
    use crate::monitor::agent::watcher::{Refresh, refresher};
    use crate::store::Untaken;

    /// An actuator on a scripted engine with one container.
    struct Lab {
        engine: FakeEngine,
        db: AgentDb,
        actuator: Actuator,
        requests: mpsc::Receiver<Refresh>,
        recreate: Action,
        _dir: tempfile::TempDir,
    }

    fn lab() -> Lab {
        let (engine, dir) = (FakeEngine::new(), tempfile::tempdir().unwrap());
        let recreate = Action {
            op: "op".parse().unwrap(),
            id: engine.run("web", &json!({})),
            name: "web".parse().unwrap(),
            kind: ActionKind::Recreate,
            join: None,
            by: Actor::Agent,
            reason: "100 % loss".to_owned(),
            drill: None,
        };
        let db = AgentDb::open(&dir.path().join("data")).unwrap();
        let (refresher, requests) = refresher();
        let actuator = Actuator {
            builder: Arc::new(engine.clone()),
            db: db.clone(),
            stop_timeout: None,
            volumes: AnonymousVolumes::Remove,
            refresher,
            shutdown: CancellationToken::new(),
        };
        Lab { engine, db, actuator, requests, recreate, _dir: dir }
    }

    impl Lab {
        /// What the owner is told of it.
        async fn act(&mut self) -> ActionResult {
            self.actuator.clone().act(self.recreate.clone()).await;
            match self.requests.recv().await.unwrap().then {
                Input::Acted(_, result) => result,
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_journal_does_not_take_is_restarted_instead_of_recreated() {
        for untaken in [Untaken::Begin, Untaken::Step] {
            let mut lab = lab();
            lab.db.refuse(untaken).await;
            let result = lab.act().await;
            assert!(matches!(result, ActionResult::Done(_)), "{untaken:?}: {result:?}");
            let restart = Call::Restart(lab.recreate.id.clone(), None);
            assert_eq!(lab.engine.changes(), [restart], "{untaken:?}");
            assert!(lab.db.unfinished().await.unwrap().is_empty(), "{untaken:?}");
        }
        let mut closed = lab();
        closed.db.close().await;
        assert!(matches!(closed.act().await, ActionResult::Done(_)));
        assert_eq!(closed.engine.changes(), [Call::Restart(closed.recreate.id.clone(), None)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_recreate_that_cannot_be_set_right_is_given_up_and_told() {
        let mut lab = lab();
        let no = || Behaviour::Fail(EngineError::Refused("the file system is read-only".to_owned()));
        lab.engine.next(Op::Rename, no());
        for _ in 0..=ATTEMPTS {
            lab.engine.next(Op::Remove, no());
        }
        let begun = Instant::now();
        let ActionResult::Failed(why) = lab.act().await else { panic!("it cannot succeed") };
        assert!(why.contains("read-only") && why.contains("web-dockhealth-new-"), "{why}");
        let minutes = begun.elapsed().as_secs() / 60;
        assert!((25..35).contains(&minutes), "{minutes} min");
        let tries = lab.engine.calls().into_iter().filter(|call| call.op() == Op::Remove).count();
        assert_eq!(tries, 1 + ATTEMPTS as usize, "at once, and then again and again");
        let journal = lab.db.journal_since(Timestamp::from_millis(0)).await.unwrap();
        assert_eq!(journal[0].outcome, Some(ActionOutcome::Failed(why)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_recreate_is_not_given_up_while_the_engine_is_away() {
        let mut lab = lab();
        let away = || Behaviour::Fail(EngineError::Unreachable("it is away".to_owned()));
        lab.engine.next(Op::Rename, away());
        for _ in 0..=2 * ATTEMPTS {
            lab.engine.next(Op::Remove, away());
        }
        let result = lab.act().await;
        assert!(
            matches!(&result, ActionResult::Failed(why) if why.starts_with("recreate failed")),
            "{result:?}"
        );
        assert_eq!(lab.engine.names(), [("web".to_owned(), true)]);
        assert!(lab.db.unfinished().await.unwrap().is_empty());
    }
}
