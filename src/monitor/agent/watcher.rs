//! Follows the engine: subscribe, list, then every change as it happens, and a list now and then. What the owner
//! sees of a container is never older than what it saw of it before: looks at one container follow each other, and none
//! is under way while all are listed.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keeper::{self, Keep, Keeper};
use super::looks::{Looks, Seen, Step};
use super::steps::{settle, settle_once};
use super::{AgentParts, Message};
use crate::docker::{ContainerAction, EngineError, EngineEvent};
use crate::model::{ContainerFacts, ContainerId, OperationId, Timestamp};
use crate::monitor::decide::{Input, Sign, SignKind};

/// Between two lists, which mend whatever an event stream may have lost. Less than a minute, as the engine tells in whole
/// minutes for how long a container has been up: so one that was started shortly before need not be read again so often.
const RECONCILE_EVERY: Duration = Duration::from_secs(55);
/// Between two lists for which every container is read, and not only those that the engine lists with something new.
const READ_ALL_EVERY: Duration = Duration::from_mins(10);
/// Waits between attempts to reach the engine: doubling from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// How long setting one half-done recreate right may keep the first list waiting.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at containers that could not be looked at before.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The engine has told all of the time before when it is silent for so long; and how much is waited for at most.
const SILENCE: Duration = Duration::from_millis(100);
const TOLD_WITHIN: Duration = Duration::from_secs(2);
const TOLD_AT_ONCE: usize = 10_000;
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

/// The asking and the answering end.
pub(super) fn refresher() -> (Refresher, mpsc::Receiver<Refresh>) {
    let (sender, requests) = mpsc::channel(WAITING);
    (Refresher(sender), requests)
}

pub(super) fn spawn(
    tracker: &TaskTracker,
    parts: &AgentParts,
    unfinished: Vec<OperationId>,
    inbox: mpsc::Sender<Message>,
    keeper: Keeper,
    shutdown: &CancellationToken,
) -> Refresher {
    let (refresher, requests) = refresher();
    let (parts, shutdown, beside) = (parts.clone(), shutdown.clone(), tracker.clone());
    tracker.spawn(async move {
        let last_event = keeper::last_engine_event(&parts.db).await;
        let watcher = Watcher {
            looks: Looks::new(parts.source.clone()),
            parts,
            tracker: beside,
            shutdown: shutdown.clone(),
            unfinished,
            inbox,
            keeper,
            requests,
            last_event,
            unseen: VecDeque::new(),
        };
        tokio::select! {
            () = watcher.run() => {}
            () = shutdown.cancelled() => {}
        }
    });
    refresher
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
    looks: Looks,
    /// Containers to look at again, and what is to be told once that was done.
    unseen: VecDeque<(ContainerId, Option<Input>)>,
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
                    if self.give_up_looks().await.is_err() {
                        return;
                    }
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

    /// Passes on what waits for facts that cannot be had now; looks are made up for.
    async fn answer_while_away(&mut self, span: Duration) {
        let deadline = sleep(span);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                () = &mut deadline => return,
                Some(Refresh { id, then }) = self.requests.recv() => match then {
                    Input::Looked(_) => self.look_later(id, Some(then)),
                    then => drop(self.inbox.send(Message::Input(then)).await),
                },
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
        let mut told = self.told_so_far(&mut events).await?;
        for op in std::mem::take(&mut self.unfinished) {
            self.settle(op).await;
        }
        let mut all_read = Instant::now();
        let all = source.list().await?;
        let ids = all.iter().map(|facts| facts.id.clone()).collect();
        self.begin_history(&all);
        // Without what was told while the list was made, a stop would look like a crash in it.
        let meanwhile = self.told_so_far(&mut events).await?;
        told.extend(meanwhile.iter().cloned());
        self.send(Message::Engine(info)).await?;
        self.tell(Input::EngineBack).await?;
        self.tell(Input::Listed(all, told.iter().filter_map(sign_of).collect())).await?;
        for event in meanwhile {
            self.follow_up(event).await?;
        }
        self.keeper.keep(Keep::Existing(ids));

        let mut reconcile = interval_at(Instant::now() + RECONCILE_EVERY, RECONCILE_EVERY);
        reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut again = interval_at(Instant::now() + LOOK_AGAIN, LOOK_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next(), if self.looks.has_room() => match event {
                    Some(event) => self.take(event?).await?,
                    None => return Err(event_stream_ended().into()),
                },
                Some(request) = self.requests.recv(), if self.looks.has_room() => {
                    self.add(request.id, Step::Look(Some(request.then))).await?;
                }
                Some(seen) = self.looks.next() => self.seen(seen).await?,
                // One at a time: several that hang must not keep the others waiting.
                _ = again.tick() => if let Some((id, then)) = self.unseen.pop_front() {
                    self.add(id, Step::Look(then)).await?;
                },
                _ = reconcile.tick() => {
                    while let Some(seen) = self.looks.next().await {
                        self.seen(seen).await?;
                    }
                    let all = if all_read.elapsed() < READ_ALL_EVERY {
                        source.relist().await?
                    } else {
                        all_read = Instant::now();
                        source.list().await?
                    };
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
    async fn settle(&mut self, op: OperationId) {
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

    async fn take(&mut self, event: EngineEvent) -> Result<(), Stop> {
        self.note_time(&event);
        if let Some(sign) = sign_of(&event) {
            self.add(event.id.clone(), Step::Tell(Input::Told(sign))).await?;
        }
        self.follow_up(event).await
    }

    /// Tells what the event's container is now.
    async fn follow_up(&mut self, event: EngineEvent) -> Result<(), Stop> {
        let step = match event.action {
            ContainerAction::Kill => return Ok(()),
            ContainerAction::Destroy => Step::Tell(Input::Gone(event.id.clone())),
            _ => Step::Look(None),
        };
        self.add(event.id, step).await
    }

    async fn add(&mut self, id: ContainerId, step: Step) -> Result<(), Stop> {
        let now = self.looks.add(id, step);
        self.tell_all(now).await
    }

    /// What the engine has told by now: it is through when it is silent for a moment.
    async fn told_so_far(
        &mut self,
        events: &mut BoxStream<'static, Result<EngineEvent, EngineError>>,
    ) -> Result<Vec<EngineEvent>, Stop> {
        let (mut told, latest) = (Vec::new(), Instant::now() + TOLD_WITHIN);
        while told.len() < TOLD_AT_ONCE {
            let silence = (Instant::now() + SILENCE).min(latest);
            let Ok(event) = timeout_at(silence, events.next()).await else { break };
            let event = event.ok_or_else(event_stream_ended)??;
            self.note_time(&event);
            told.push(event);
        }
        Ok(told)
    }

    /// Tells the owner what was seen of a container, and what comes after that. A container that cannot be looked at now
    /// is looked at again; that it was looked at is told only when it was.
    async fn seen(&mut self, seen: Seen) -> Result<(), Stop> {
        let Seen { id, facts, then } = seen;
        let error = match facts {
            Ok(facts) => {
                self.tell(Input::Seen(Box::new(facts))).await?;
                None
            }
            Err(EngineError::NoSuchContainer(_)) => {
                self.tell(Input::Gone(id.clone())).await?;
                None
            }
            Err(error) => Some(error),
        };
        match (&error, then) {
            (Some(_), Some(looked @ Input::Looked(_))) => self.look_later(id.clone(), Some(looked)),
            (error, then) => {
                if matches!(error, Some(EngineError::TimedOut(..))) {
                    self.look_later(id.clone(), None);
                }
                self.tell_all(then).await?;
            }
        }
        if let Some(error) = error {
            tracing::warn!(container = id.short(), %error, "a container cannot be inspected");
            if matches!(error, EngineError::Unreachable(_)) {
                return Err(error.into());
            }
        }
        let after = self.looks.after(&id);
        self.tell_all(after).await
    }

    /// Tells what is to be told without further looks; those that were asked for are made up for.
    async fn give_up_looks(&mut self) -> Result<(), Stop> {
        for (id, step) in self.looks.give_up() {
            match step {
                Step::Look(looked @ Some(Input::Looked(_))) => self.look_later(id, looked),
                Step::Look(then) => self.tell_all(then).await?,
                Step::Tell(input) => self.tell(input).await?,
            }
        }
        Ok(())
    }

    fn look_later(&mut self, id: ContainerId, then: Option<Input>) {
        match self.unseen.iter_mut().find(|(unseen, _)| *unseen == id) {
            Some((_, waiting)) => *waiting = then.or(waiting.take()),
            None => self.unseen.push_back((id, then)),
        }
    }

    async fn tell_all(&mut self, inputs: impl IntoIterator<Item = Input>) -> Result<(), Stop> {
        for input in inputs {
            self.tell(input).await?;
        }
        Ok(())
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

    /// Where an engine had no container yet, its first event begins what can be asked for.
    fn note_time(&mut self, event: &EngineEvent) {
        let first = self.last_event.is_none();
        self.last_event = self.last_event.max(Some(event.time));
        if first || matches!(event.action, ContainerAction::Die(_)) {
            self.keeper.keep(Keep::LastEngineEvent(event.time));
        }
    }

    async fn tell(&mut self, input: Input) -> Result<(), Stop> {
        self.send(Message::Input(input)).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Stop> {
        self.inbox.send(message).await.map_err(|_| Stop::Ending)
    }
}

fn event_stream_ended() -> EngineError {
    EngineError::Unreachable("its event stream ended".to_owned())
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
