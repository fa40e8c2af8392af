//! The owner of what is known of the fleet: hears every report, asks all agents for a list, tells who is silent.

mod asking;
mod brake;
mod dispute;
mod identity;
mod known;
mod round;
mod skew;
mod state;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Update;
use super::clock::Clock;
use super::counters::{Counter, Counters};
use super::history::History;
use super::listen::listen;
use super::ticks::Ticks;
use crate::bus::{
    AgentCommand, Bus, BusError, BusStatus, ContainerReport, HostReport, Incoming, PROTOCOL_VERSION, Subject,
    decode,
};
use crate::model::{HostName, PoolStatus, Rate, Timestamp};
use crate::store::ControllerDb;

pub(crate) use asking::Listing;
use asking::{Asking, Waiter};
pub(crate) use brake::COUNTED_LONGER;
use brake::FleetBrake;
use dispute::Disputes;
pub(crate) use known::known_hosts;
use known::row_of;
use round::Round;
use state::FleetEvent;
pub use state::Presence;
pub(crate) use state::{FleetState, FleetView, HostSnapshot, KnownHost, MAX_HOSTS};

/// How many callers may wait to be heard; one beyond that waits to hand its question over.
const QUEUE: usize = 256;

/// How often silence is looked for.
const TICK: Duration = Duration::from_secs(1);

/// How often a host's last word is stored: what a restart of the controller may forget of it.
const SAVE_EVERY: Duration = Duration::from_mins(1);

enum Command {
    List(Waiter),
    Forget(HostName, oneshot::Sender<()>),
}

/// A handle of the fleet.
#[derive(Clone)]
pub(crate) struct Fleet {
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<Arc<FleetView>>,
}

impl Fleet {
    /// What is known now.
    pub(crate) fn view(&self) -> Arc<FleetView> {
        self.view.borrow().clone()
    }

    /// One host, by its name.
    pub(crate) fn host(&self, name: &HostName) -> Option<Arc<HostSnapshot>> {
        self.view.borrow().get(name).cloned()
    }

    /// Asks every live host; returns when all have answered or the response window has passed. Callers at the same
    /// time share one round.
    pub(crate) async fn list(&self) -> Result<Arc<Listing>, BusError> {
        let ending = || BusError::Disconnected("the controller is shutting down".into());
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::List(reply)).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }

    /// Forgets a host. Should it speak again, it is a new one.
    pub(crate) async fn forget(&self, host: HostName) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Forget(host, reply)).await.is_ok() {
            // An error means that the controller is ending.
            let _ = answer.await;
        }
    }
}

/// What the owner needs.
pub(crate) struct FleetParts {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) db: ControllerDb,
    pub(crate) history: History,
    pub(crate) counters: Arc<Counters>,
    pub(crate) updates: broadcast::Sender<Update>,
    pub(crate) ticks: Ticks,
    pub(crate) clock: Clock,
    pub(crate) known: Vec<KnownHost>,
    /// The agent within this process, which will report: expected, by this name, until anyone has.
    pub(crate) own_agent: Option<HostName>,
    /// How long a list waits for answers.
    pub(crate) window: Duration,
    /// How many restarts all hosts together may do.
    pub(crate) budget: Option<Rate>,
    /// How long ago each of the restarts was that count against it.
    pub(crate) restarted: Vec<Duration>,
}

/// Makes the handle and the owner's task, which ends with `shutdown`.
pub(crate) fn fleet(
    parts: FleetParts,
    shutdown: CancellationToken,
) -> (Fleet, impl Future<Output = ()> + Send) {
    let mut state = FleetState::default();
    state.restore(parts.known.iter().cloned(), parts.clock.now());
    let (commands, queue) = mpsc::channel(QUEUE);
    let (publish, view) = watch::channel(Arc::new(state.view()));
    let mut brake = FleetBrake::new(parts.budget, parts.restarted.iter().copied(), parts.clock.now().mono);
    if parts.known.is_empty() {
        brake = brake.without_predecessor();
    }
    let owner = Owner {
        parts,
        brake,
        state,
        publish,
        asking: None,
        asked: false,
        saved: Instant::now(),
        disputes: Disputes::default(),
        telling: TaskTracker::new(),
    };
    (Fleet { commands, view }, owner.run(queue, shutdown))
}

struct Owner {
    parts: FleetParts,
    state: FleetState,
    publish: watch::Sender<Arc<FleetView>>,
    asking: Option<Asking>,
    /// Whether who is there was asked for, and waited for, before.
    asked: bool,
    saved: Instant,
    disputes: Disputes,
    brake: FleetBrake,
    /// Hosts being told of a dispute, or of the fleet: bounded by how often they are told and how long that may take.
    telling: TaskTracker,
}

impl Owner {
    async fn run(mut self, mut queue: mpsc::Receiver<Command>, shutdown: CancellationToken) {
        let mut reports = pin!(listen(self.parts.bus.clone(), Subject::AllReports, None));
        let mut status = self.parts.bus.status();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let hears = *status.borrow_and_update() == BusStatus::Connected;
        self.state.hearing(hears, self.parts.clock.now());
        self.greet().await;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(message) = reports.next() => self.pushed(message).await,
                answer = answer(&mut self.asking) => match answer {
                    Some(payload) => self.answered(&payload).await,
                    None => self.finish(),
                },
                Some(command) = queue.recv() => self.obey(command).await,
                Ok(()) = status.changed() => {
                    let hears = *status.borrow_and_update() == BusStatus::Connected;
                    self.state.hearing(hears, self.parts.clock.now());
                    if hears {
                        self.greet().await;
                    }
                }
                _ = ticks.tick() => self.tick().await,
            }
        }
        self.telling.close();
        self.telling.wait().await;
        self.save_all().await;
    }

    /// Asks who is there, so that nobody need wait for the next regular reports: at the start, and when the bus is
    /// back.
    async fn greet(&mut self) {
        if self.asking.is_some() {
            return;
        }
        if let Err((error, _)) = self.begin(Vec::new()).await {
            tracing::debug!(%error, "the agents cannot be asked yet");
        }
    }

    /// Begins a round for `waiters`.
    async fn begin(&mut self, waiters: Vec<Waiter>) -> Result<(), (BusError, Vec<Waiter>)> {
        let answers = match self.ask().await {
            Ok(answers) => answers.fuse(),
            Err(error) => return Err((error, waiters)),
        };
        let until = Instant::now() + self.parts.window;
        let mut expected = self.state.live();
        if expected.is_empty() {
            expected.extend(self.parts.own_agent.clone());
        }
        self.asking = Some(Asking { round: Round::new(expected), answers, until, waiters });
        Ok(())
    }

    /// Whether the round has no use in waiting longer. Before who is there was waited for once, that nobody is
    /// expected does not mean that nobody is there.
    fn is_done(&self) -> bool {
        let done = |asking: &Asking| {
            asking.round.is_complete() && (self.asked || !asking.round.answered().is_empty())
        };
        self.asking.as_ref().is_some_and(done)
    }

    async fn ask(&mut self) -> Result<BoxStream<'static, Bytes>, BusError> {
        if let BusStatus::Disconnected(why) = &*self.parts.bus.status().borrow() {
            return Err(BusError::Disconnected(why.clone()));
        }
        self.parts.counters.count(Counter::ListRounds);
        let question = serde_json::json!({"v": PROTOCOL_VERSION}).to_string();
        let window = self.parts.window;
        let asked = self.parts.bus.request_many(&Subject::List, question.into(), window);
        let late = || BusError::NoAnswer(Subject::List.to_string());
        tokio::time::timeout(window, asked).await.unwrap_or_else(|_| Err(late()))
    }

    /// Takes a report that its host pushed. An agent's first one answers the list as well: before it, its answers
    /// could not count.
    async fn pushed(&mut self, message: Incoming) {
        let taken = match decode::<HostReport>(&message.payload) {
            Ok(report) if message.subject.host() == Some(&report.host) => {
                let (host, first) = (report.host.clone(), !self.state.knows(&report));
                let taken = self.feed(report).await;
                if let (Ok(()), Some(asking)) = (&taken, self.asking.as_mut().filter(|_| first)) {
                    if let Some(expected) = &self.parts.own_agent {
                        asking.round.forget(expected);
                    }
                    asking.round.answer(host);
                }
                if taken.is_ok() {
                    self.parts.own_agent = None;
                }
                taken
            }
            Ok(report) => Err(format!("a report of {} came on {}", report.host, message.subject)),
            Err(error) => Err(format!("a report on {}: {error}", message.subject)),
        };
        self.refuse(taken);
        self.finish_if_done();
    }

    /// Takes an answer to the list. Any agent may answer in any name, unlike a push, which the broker lets only its
    /// own host send: so an answer counts only with a nonce that its host has pushed before.
    async fn answered(&mut self, payload: &Bytes) {
        let taken = match decode::<HostReport>(payload) {
            Ok(report) if !self.state.knows(&report) => {
                if let Some(asking) = &mut self.asking {
                    asking.round.hear_too_early(&report.host);
                }
                Err(format!("an answer to the list as host {}, which has not pushed that nonce", report.host))
            }
            Ok(report) => {
                let host = report.host.clone();
                let taken = self.feed(report).await;
                if let (Ok(()), Some(asking)) = (&taken, &mut self.asking) {
                    asking.round.answer(host);
                }
                taken
            }
            Err(error) => Err(format!("an answer to the list: {error}")),
        };
        self.refuse(taken);
        self.finish_if_done();
    }

    /// Ends a round that callers wait for; one that greets goes on until its time is over.
    fn finish_if_done(&mut self) {
        if self.asking.as_ref().is_some_and(|asking| !asking.waiters.is_empty()) && self.is_done() {
            self.finish();
        }
    }

    fn refuse(&self, taken: Result<(), String>) {
        if let Err(why) = taken {
            self.parts.counters.count(Counter::ReportsRefused);
            tracing::debug!("a report was refused: {why}");
        }
    }

    async fn feed(&mut self, report: HostReport) -> Result<(), String> {
        let host = report.host.clone();
        let before = self.state.host(&host).cloned();
        let events = self
            .state
            .feed(Arc::new(report), self.parts.clock.now())
            .map_err(|_| format!("host {host} is one too many: forget some with DELETE /hosts/NAME"))?;
        self.parts.counters.count(Counter::Reports);
        self.changed(events).await;
        self.tell_fleet(&host);
        if before.is_none() {
            self.save(&host).await;
        }
        let after = self.state.host(&host);
        let told = before.as_ref().and_then(containers);
        if let Some(after) = after.filter(|after| told != containers(after)) {
            // An error means that nobody follows the stream.
            let _ = self.parts.updates.send(Update::Containers(after.clone()));
        }
        let told = before.as_ref().and_then(pools).unwrap_or_default();
        if let Some(after) = after.filter(|after| told != pools(after).unwrap_or_default()) {
            let _ = self.parts.updates.send(Update::Pools(after.clone()));
        }
        Ok(())
    }

    async fn tick(&mut self) {
        let events = self.state.tick(self.parts.clock.now());
        self.changed(events).await;
        let (view, now) = (self.publish.borrow().clone(), self.parts.clock.now());
        for draft in self.brake.judge(&view, now.mono) {
            self.parts.history.record(None, draft, now.wall).await;
        }
        for host in view.keys() {
            self.tell_fleet(host);
        }
        if self.saved.elapsed() >= SAVE_EVERY {
            self.save_all().await;
        }
    }

    /// Publishes the fleet as it is now, and what that gave rise to.
    async fn changed(&mut self, events: Vec<FleetEvent>) {
        let view = Arc::new(self.state.view());
        let before = self.publish.send_replace(view.clone());
        for (name, host) in view.iter() {
            if before.get(name).is_none_or(|old| !Arc::ptr_eq(old, host) && differs(old, host)) {
                // An error means that nobody follows the stream.
                let _ = self.parts.updates.send(Update::Host(host.clone()));
            }
        }
        for (host, reason) in self.disputes.due(&view, Instant::now()) {
            let word = AgentCommand::Disputed { reason };
            dispute::tell(&self.telling, self.parts.bus.clone(), host, word);
        }
        let wall = self.parts.clock.now().wall;
        for FleetEvent { host, draft } in events {
            self.save(&host).await;
            self.parts.history.record(Some(host), draft, wall).await;
        }
    }

    /// Tells `host` what it must know of the others.
    fn tell_fleet(&mut self, host: &HostName) {
        let Some(seen) = self.state.host(host) else { return };
        let Some(word) = self.brake.word(seen, self.parts.clock.now().mono) else { return };
        dispute::tell(&self.telling, self.parts.bus.clone(), host.clone(), word);
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::List(reply) => self.list(reply).await,
            Command::Forget(host, reply) => {
                self.state.forget(&host);
                self.parts.ticks.forget(&host);
                if let Some(asking) = &mut self.asking {
                    asking.round.forget(&host);
                }
                self.publish.send_replace(Arc::new(self.state.view()));
                let forgotten = self.parts.db.forget_host(&host).await;
                if let Err(error) = self.parts.history.note(forgotten) {
                    tracing::warn!(%host, %error, "the host's row could not be removed");
                }
                // The caller may have gone; the host is forgotten all the same.
                let _ = reply.send(());
            }
        }
    }

    async fn list(&mut self, reply: Waiter) {
        // What nobody waits for any more has had part of its time, and may have heard what is old by now.
        self.asking.take_if(|asking| {
            asking.waiters.retain(|waiter| !waiter.is_closed());
            asking.waiters.is_empty()
        });
        if let Some(asking) = &mut self.asking {
            asking.waiters.push(reply);
        } else if let Err((error, waiters)) = self.begin(vec![reply]).await {
            for waiter in waiters {
                // A caller that has gone needs no answer.
                let _ = waiter.send(Err(error.clone()));
            }
        }
        self.finish_if_done();
    }

    /// Ends the round and answers its callers.
    fn finish(&mut self) {
        let Some(Asking { round, waiters, .. }) = self.asking.take() else { return };
        self.asked |= round.is_complete();
        self.parts.counters.add(Counter::ListMissing, round.missing().count() as u64);
        let listing = Arc::new(Listing { round, view: self.publish.borrow().clone() });
        for waiter in waiters {
            // A caller that has gone needs no answer.
            let _ = waiter.send(Ok(listing.clone()));
        }
    }

    async fn save(&mut self, host: &HostName) {
        let Some(seen) = self.state.host(host) else { return };
        let Some(row) = row_of(seen) else { return };
        // A failure is logged and shown by the history; the row is written again within a minute.
        let _ = self.parts.history.note(self.parts.db.save_host(row).await);
    }

    async fn save_all(&mut self) {
        self.saved = Instant::now();
        for host in self.state.live() {
            self.save(&host).await;
        }
    }
}

/// The round's next answer; `None` when its time is over. Waits for ever when there is no round.
async fn answer(asking: &mut Option<Asking>) -> Option<Bytes> {
    match asking {
        Some(asking) => asking.next().await,
        None => std::future::pending().await,
    }
}

fn containers(seen: &Arc<HostSnapshot>) -> Option<&[ContainerReport]> {
    seen.report.as_ref().map(|report| report.containers.as_slice())
}

fn pools(seen: &Arc<HostSnapshot>) -> Option<&[PoolStatus]> {
    seen.report.as_ref().map(|report| report.pools.as_slice())
}

/// Whether a host changed in what the stream tells of it: more than the time of its last word, and its clock by a second.
fn differs(old: &HostSnapshot, new: &HostSnapshot) -> bool {
    let told = |seen: &HostSnapshot| {
        let mut dto = super::http::dto::Host::new(seen);
        (dto.last_seen, dto.clock_offset_ms) = (Timestamp::from_millis(0), None);
        dto
    };
    let clock = match (old.clock_offset_ms, new.clock_offset_ms) {
        (Some(before), Some(now)) => before.abs_diff(now) >= 1000,
        (before, now) => before != now,
    };
    clock || told(old) != told(new)
}
