//! Follows the engine: subscribe, list, then every change as it happens, and a full list now and then. One task asks
//! for facts, one request after the other, so that what the owner sees is never older than what it saw before.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keeper::{self, Keep, Keeper};
use super::steps::{settle, settle_once};
use super::{AgentParts, Message};
use crate::docker::{ContainerAction, ContainerSource, EngineError, EngineEvent};
use crate::model::{ContainerFacts, ContainerId, OperationId, Timestamp};
use crate::monitor::decide::{Input, Sign, SignKind};

/// Between two full lists, which mend whatever an event stream may have lost.
pub const RECONCILE_EVERY: Duration = Duration::from_mins(1);
/// Waits between attempts to reach the engine: doubling from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// How long setting one half-done recreate right may keep the first list waiting.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);
/// Requests that wait at most.
const WAITING: usize = 64;

/// A container to look at now, and what to tell the owner after what was seen.
pub(super) struct Refresh {
    pub(super) id: ContainerId,
    pub(super) then: Input,
}

/// Asks for fresh facts.
#[derive(Clone)]
pub(super) struct Refresher(mpsc::Sender<Refresh>);

impl Refresher {
    pub(super) async fn refresh(&self, id: ContainerId, then: Input) {
        // The watcher is gone only when the agent ends; nobody waits for the answer then.
        let _ = self.0.send(Refresh { id, then }).await;
    }
}

pub(super) fn spawn(
    tracker: &TaskTracker,
    parts: &AgentParts,
    unfinished: Vec<OperationId>,
    inbox: mpsc::Sender<Message>,
    keeper: Keeper,
    shutdown: &CancellationToken,
) -> Refresher {
    let (sender, requests) = mpsc::channel(WAITING);
    let (parts, shutdown, beside) = (parts.clone(), shutdown.clone(), tracker.clone());
    tracker.spawn(async move {
        let last_event = keeper::last_engine_event(&parts.db).await;
        let watcher = Watcher {
            parts,
            tracker: beside,
            shutdown: shutdown.clone(),
            unfinished,
            inbox,
            keeper,
            requests,
            last_event,
        };
        tokio::select! {
            () = watcher.run() => {}
            () = shutdown.cancelled() => {}
        }
    });
    Refresher(sender)
}

struct Watcher {
    parts: AgentParts,
    tracker: TaskTracker,
    shutdown: CancellationToken,
    /// Recreates of an earlier process that were not through.
    unfinished: Vec<OperationId>,
    inbox: mpsc::Sender<Message>,
    keeper: Keeper,
    requests: mpsc::Receiver<Refresh>,
    /// The newest event seen: after a reconnect the engine tells what came since.
    last_event: Option<Timestamp>,
}

/// Why following the engine stopped.
enum Stop {
    /// The engine is away.
    Lost(EngineError),
    /// The owner is gone: the agent ends.
    Ending,
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Lost(error)
    }
}

impl Watcher {
    async fn run(mut self) {
        let mut retry = RETRY_FIRST;
        loop {
            let followed_since = Instant::now();
            match self.follow().await {
                Stop::Ending => return,
                Stop::Lost(error) => {
                    let lost = Message::Input(Input::EngineLost(error.to_string()));
                    if self.inbox.send(lost).await.is_err() {
                        return;
                    }
                }
            }
            if followed_since.elapsed() > RETRY_LAST {
                retry = RETRY_FIRST;
            }
            self.answer_while_away(retry).await;
            retry = (retry * 2).min(RETRY_LAST);
        }
    }

    /// Passes on what waits for facts that cannot be had now.
    async fn answer_while_away(&mut self, span: Duration) {
        let deadline = sleep(span);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                () = &mut deadline => return,
                Some(request) = self.requests.recv() => {
                    let _ = self.inbox.send(Message::Input(request.then)).await;
                }
            }
        }
    }

    async fn follow(&mut self) -> Stop {
        match self.try_follow().await {
            Ok(()) => Stop::Ending,
            Err(stop) => stop,
        }
    }

    async fn try_follow(&mut self) -> Result<(), Stop> {
        let source = self.parts.source.clone();
        let info = source.info().await?;
        let mut events = source.events(self.last_event).await?;
        for op in std::mem::take(&mut self.unfinished) {
            self.settle(op).await;
        }
        let all = source.list().await?;
        let ids = all.iter().map(|facts| facts.id.clone()).collect();
        self.begin_history(&all);
        // What the engine told of the time before is here by now; what comes later is treated as it comes.
        let mut signs = Vec::new();
        while let Some(Some(event)) = events.next().now_or_never() {
            let event = event?;
            self.note_time(&event);
            signs.extend(sign_of(&event));
        }
        self.send(Message::Engine(info)).await?;
        self.tell(Input::EngineBack).await?;
        self.tell(Input::Listed(all, signs)).await?;
        self.keeper.keep(Keep::Existing(ids));

        let mut reconcile = interval_at(Instant::now() + RECONCILE_EVERY, RECONCILE_EVERY);
        reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.take(source.as_ref(), event?).await?,
                    None => return Err(EngineError::Unreachable("its event stream ended".to_owned()).into()),
                },
                Some(request) = self.requests.recv() => {
                    let seen = self.look(source.as_ref(), &request.id).await;
                    self.tell(request.then).await?;
                    seen?;
                }
                _ = reconcile.tick() => {
                    let all = source.list().await?;
                    self.keeper.keep(Keep::Existing(all.iter().map(|facts| facts.id.clone()).collect()));
                    if let Some(time) = self.last_event {
                        self.keeper.keep(Keep::LastEngineEvent(time));
                    }
                    self.tell(Input::Listed(all, Vec::new())).await?;
                }
            }
        }
    }

    /// Tries once to set a half-done recreate right; what that does not do goes on beside, so that it keeps nothing
    /// else waiting.
    async fn settle(&self, op: OperationId) {
        let (builder, db) = (self.parts.builder.clone(), self.parts.db.clone());
        if let Ok(None) = timeout(SETTLE_WITHIN, settle_once(builder.as_ref(), &db, &op)).await {
            return;
        }
        let shutdown = self.shutdown.clone();
        self.tracker.spawn(async move {
            // The owner hears of what came of it by what it changes; the rest is in the log and the journal.
            drop(shutdown.run_until_cancelled(settle(builder.as_ref(), &db, &op)).await);
        });
    }

    async fn take(&mut self, source: &dyn ContainerSource, event: EngineEvent) -> Result<(), Stop> {
        self.note_time(&event);
        if let Some(sign) = sign_of(&event) {
            self.tell(Input::Told(sign)).await?;
        }
        match event.action {
            ContainerAction::Kill => Ok(()),
            ContainerAction::Destroy => self.tell(Input::Gone(event.id)).await,
            _ => self.look(source, &event.id).await,
        }
    }

    /// Tells the owner a container's present facts.
    async fn look(&mut self, source: &dyn ContainerSource, id: &ContainerId) -> Result<(), Stop> {
        match source.inspect(id.as_str()).await {
            Ok(facts) => self.tell(Input::Seen(Box::new(facts))).await,
            Err(EngineError::NoSuchContainer(_)) => self.tell(Input::Gone(id.clone())).await,
            Err(error @ EngineError::Unreachable(_)) => Err(error.into()),
            Err(error) => {
                tracing::warn!(container = id.short(), %error, "a container cannot be inspected");
                Ok(())
            }
        }
    }

    /// Before any event is seen, the newest start tells where the engine's clock stands: what comes later can be asked
    /// for when the connection is lost.
    fn begin_history(&mut self, all: &[ContainerFacts]) {
        let newest = || all.iter().filter_map(|facts| facts.started_at).max();
        if let Some(time) = self.last_event.is_none().then(newest).flatten() {
            self.last_event = Some(time);
            self.keeper.keep(Keep::LastEngineEvent(time));
        }
    }

    fn note_time(&mut self, event: &EngineEvent) {
        self.last_event = self.last_event.max(Some(event.time));
        if matches!(event.action, ContainerAction::Die(_)) {
            self.keeper.keep(Keep::LastEngineEvent(event.time));
        }
    }

    async fn tell(&self, input: Input) -> Result<(), Stop> {
        self.send(Message::Input(input)).await
    }

    async fn send(&self, message: Message) -> Result<(), Stop> {
        self.inbox.send(message).await.map_err(|_| Stop::Ending)
    }
}

fn sign_of(event: &EngineEvent) -> Option<Sign> {
    let kind = match event.action {
        ContainerAction::Kill => SignKind::Killed,
        ContainerAction::Die(_) => SignKind::Died,
        ContainerAction::Stop => SignKind::Stopped,
        _ => return None,
    };
    Some(Sign { id: event.id.clone(), time: event.time, kind })
}
