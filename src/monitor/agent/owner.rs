//! The task that owns the state of the host: feeds the core, does what it decides, answers who asks.

mod told;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actuator::Actuator;
use super::clock::Clock;
use super::faults::FaultAsk;
use super::keeper::{Keep, Keeper};
use super::network::Newest;
use super::{AgentParts, AgentSettings, Message, faults, pools, processes, sweep};
use crate::bus::{AgentCommand, AgentReply, CommandError, EngineReport, EngineStatus};
use crate::docker::{EngineInfo, EngineMachine};
use crate::model::{
    Actor, CheckKind, ContainerName, DesiredState, Event, EventDraft, EventId, EventKind, FaultNote, Freeze,
    HostIdentity, Timestamp, clean,
};
use crate::monitor::decide::{Decision, Detector, DrillOrder, FleetWord, HostState, Input, Memory, Target};

/// Events kept per container for `why`, and containers they are kept for.
const EVENTS_KEPT: usize = 50;
const STORIES_KEPT: usize = 4096;
/// The longest name of a drill's scenario that is repeated.
const SCENARIO_SHOWN: usize = 80;
/// The longest the owner sleeps, so that what depends on wall time (a freeze's end) is never missed for long.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// What the owner is wired to.
pub(super) struct Wiring {
    pub(super) clock: Clock,
    pub(super) tracker: TaskTracker,
    pub(super) inbox: mpsc::Sender<Message>,
    pub(super) keeper: Keeper,
    pub(super) actuator: Actuator,
    /// Told when a report would read differently.
    pub(super) changed: Arc<Notify>,
    /// Takes orders of campaigns of faults.
    pub(super) faults: mpsc::Sender<FaultAsk>,
    /// Reaches whoever keeps the host's pools.
    pub(super) pools: pools::Desk,
    /// What is measured of the containers' network.
    pub(super) network: Newest,
}

pub(super) struct Owner {
    settings: AgentSettings,
    parts: AgentParts,
    wiring: Wiring,
    state: HostState,
    engine: EngineReport,
    engine_machine: EngineMachine,
    identity: HostIdentity,
    desired_synced: bool,
    nonce: uuid::Uuid,
    reports: u64,
    sweeping: bool,
    /// It was said that sweeps take longer than their interval.
    late: bool,
    /// Questions about containers that were asked before the engine was; `None` once it was.
    early: Option<Vec<(AgentCommand, oneshot::Sender<AgentReply>)>>,
    /// What happened to each container, newest last, and the event its present trouble began with.
    stories: BTreeMap<ContainerName, Story>,
    /// Bounds how many containers' processes are watched at once.
    watches: Arc<Semaphore>,
}

#[derive(Default)]
struct Story {
    events: VecDeque<Event>,
    trouble: Option<EventId>,
}

impl Owner {
    pub(super) fn new(settings: AgentSettings, parts: AgentParts, wiring: Wiring, memory: Memory) -> Self {
        let nonce = uuid::Uuid::new_v4();
        let process = nonce.simple().to_string();
        let now = wiring.clock.now();
        let (host, policy, own) = (settings.host.clone(), settings.policy.clone(), settings.own.clone());
        let state = HostState::new(host, policy, own, &process[..12], memory, now);
        let unknown = "not reached yet".to_owned();
        let engine =
            EngineReport { status: EngineStatus::Unreachable, id: None, version: None, error: Some(unknown) };
        Self {
            settings,
            parts,
            wiring,
            state,
            engine,
            engine_machine: EngineMachine::default(),
            identity: HostIdentity::default(),
            desired_synced: false,
            nonce,
            reports: 0,
            sweeping: false,
            late: false,
            early: Some(Vec::new()),
            stories: BTreeMap::new(),
            watches: Arc::new(Semaphore::new(processes::AT_ONCE)),
        }
    }

    pub(super) async fn run(
        mut self,
        desired: DesiredState,
        local_freeze: Option<Freeze>,
        mut messages: mpsc::Receiver<Message>,
        shutdown: &CancellationToken,
    ) {
        let version = env!("CARGO_PKG_VERSION");
        let text = format!("The agent of {} (dockhealth {version}) began to work.", self.settings.host);
        self.emit(EventDraft::new(EventKind::AgentStarted, Actor::Agent, text));
        self.feed(Input::Desired(Box::new(desired)));
        self.feed(Input::LocalFreeze(local_freeze));
        let mut sweeps = interval(self.settings.interval);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = self.wake_at();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
                _ = sweeps.tick() => self.sweep(),
                () = sleep_until(wake) => self.feed(Input::Tick),
                () = shutdown.cancelled() => break,
            }
        }
        // What came in order, and would be lost.
        messages.close();
        while let Ok(message) = messages.try_recv() {
            if let Message::Fault(note) = message {
                self.emit_fault(&note);
            }
        }
        self.emit(EventDraft::new(EventKind::AgentStopped, Actor::Agent, "The agent ended in order."));
    }

    fn wake_at(&self) -> Instant {
        let latest = Instant::now() + LONGEST_SLEEP;
        self.state.wake_at().map_or(latest, |at| self.wiring.clock.instant(at).min(latest))
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Input(input) => {
                match &input {
                    Input::EngineLost(why) => {
                        self.engine.status = EngineStatus::Unreachable;
                        self.engine.error = Some(why.clone());
                    }
                    Input::Swept(CheckKind::Sweep, _) => self.sweeping = false,
                    Input::Desired(state) => self.wiring.pools.want(state.pools_of(&self.settings.host)),
                    _ => {}
                }
                let knows = matches!(input, Input::Listed(..) | Input::EngineLost(_));
                self.feed(input);
                let early = if knows { self.early.take() } else { None };
                for (command, answer) in early.into_iter().flatten() {
                    self.take(Message::Ask(command, answer));
                }
            }
            Message::Engine(EngineInfo { id, version, machine, .. }) => {
                self.engine_machine = machine;
                self.engine = EngineReport {
                    status: EngineStatus::Reachable,
                    id: Some(id),
                    version: Some(version),
                    error: None,
                };
            }
            Message::DesiredSynced => self.desired_synced = true,
            Message::Capability(capability) => {
                let known = &mut self.settings.capabilities;
                known.retain(|other| other.name != capability.name);
                known.push(capability);
            }
            Message::Fault(note) => self.emit_fault(&note),
            Message::Pools => self.look_at_pools(),
            Message::Identity(identity) => self.identity = *identity,
            // Who asked may be gone, when the agent ends.
            Message::Targets(answer) => drop(answer.send(self.state.targets())),
            Message::References(answer) => drop(answer.send(self.state.references())),
            Message::Network(answer) => drop(answer.send((self.network_view(), self.nonce))),
            Message::Subjects(answer) => drop(answer.send(self.state.subjects())),
            Message::Ask(command, answer) => {
                // An agent that has just started must not say that there are no containers.
                if let Some(early) = self.early.as_mut().filter(|_| is_about_containers(&command)) {
                    early.push((command, answer));
                    return;
                }
                self.answer(command, answer);
            }
        }
    }

    fn feed(&mut self, input: Input) {
        let changes = !matches!(input, Input::Tick);
        for decision in self.state.on(input, self.wiring.clock.now()) {
            self.carry_out(decision);
        }
        if changes {
            self.wiring.changed.notify_one();
        }
    }

    fn carry_out(&mut self, decision: Decision) {
        let keeper = &self.wiring.keeper;
        match decision {
            Decision::Confirm(targets) => self.check(CheckKind::Confirm, targets),
            Decision::Act(action) => {
                tracing::info!(
                    container = %action.name, op = %action.op, kind = %action.kind, reason = %action.reason, "acting"
                );
                self.wiring.tracker.spawn(self.wiring.actuator.clone().act(action));
            }
            Decision::Look(id) => drop(self.wiring.tracker.spawn(self.wiring.actuator.clone().look(id))),
            Decision::Emit(draft) => self.emit(draft),
            Decision::Report => self.wiring.changed.notify_one(),
            Decision::Remember(id, attachments) => keeper.keep(Keep::Answered(id, attachments)),
            Decision::Quarantine(name, since) => keeper.keep(Keep::Quarantine(name, since)),
            Decision::Score(name, score) => {
                let json = serde_json::to_string(&score).expect("plain data becomes JSON");
                keeper.keep(Keep::Score(name, json, Timestamp::now()));
            }
            Decision::Release(name, at) => keeper.keep(Keep::Release(name, at)),
        }
    }

    fn look_at_pools(&mut self) {
        let (drafts, changed) = self.wiring.pools.look();
        for draft in drafts {
            self.emit(draft);
        }
        if changed {
            self.wiring.changed.notify_one();
        }
    }

    /// What was done to a container on purpose; within a drill it carries its id too.
    fn emit_fault(&mut self, note: &FaultNote) {
        let drill_id = self.state.drill_of(&note.container);
        self.emit(EventDraft { drill_id, ..note.draft() });
    }

    fn emit(&mut self, mut draft: EventDraft) {
        if let Some(story) = draft.container.as_ref().and_then(|name| self.stories.get(name)) {
            draft.cause_id = draft.cause_id.or(story.trouble);
        }
        let event = draft.stamp(&self.settings.host, Timestamp::now());
        log(&event);
        if let Some(name) = &event.container {
            self.remember(name.clone(), event.clone());
        }
        self.wiring.keeper.keep(Keep::Event(event));
    }

    fn remember(&mut self, name: ContainerName, event: Event) {
        if self.stories.len() >= STORIES_KEPT && !self.stories.contains_key(&name) {
            let state = &self.state;
            self.stories.retain(|name, _| state.has(name));
        }
        let story = self.stories.entry(name).or_default();
        match event.kind {
            EventKind::ContainerFailing => story.trouble = Some(event.id),
            EventKind::ContainerRecovered => story.trouble = None,
            _ => {}
        }
        if story.events.len() == EVENTS_KEPT {
            story.events.pop_front();
        }
        story.events.push_back(event);
    }

    // ---- checks -------------------------------------------------------------------------------

    fn sweep(&mut self) {
        let streamed =
            matches!(self.settings.policy.detector, Detector::Sprt(_)) && self.parts.pinger.is_some();
        if streamed {
            return;
        }
        if self.sweeping {
            if !std::mem::replace(&mut self.late, true) {
                tracing::warn!("sweeps take longer than --interval, so some are left out");
            }
            return;
        }
        let targets = self.state.targets();
        if !targets.is_empty() {
            self.sweeping = true;
            self.check(CheckKind::Sweep, targets);
        }
    }

    fn check(&self, kind: CheckKind, targets: Vec<Target>) {
        let (inbox, pinger) = (self.wiring.inbox.clone(), self.parts.pinger.clone());
        let (policy, references) = (self.settings.policy.clone(), self.state.references());
        self.wiring.tracker.spawn(async move {
            let checked = match pinger {
                None => sweep::unprobed(&targets),
                Some(pinger) => {
                    let count = sweep::count(&policy, kind);
                    let (references, checked) = tokio::join!(
                        sweep::references(pinger.as_ref(), count, &references),
                        sweep::check(pinger.as_ref(), &policy, kind, &targets)
                    );
                    let _ = inbox.send(Message::Input(Input::References(references))).await;
                    checked.unwrap_or_else(|error| {
                        tracing::warn!(%error, "nothing could be probed");
                        sweep::unprobed(&targets)
                    })
                }
            };
            tracing::debug!(?kind, containers = checked.len(), "checked");
            let _ = inbox.send(Message::Input(Input::Swept(kind, checked))).await;
        });
    }

    // ---- answers ------------------------------------------------------------------------------

    fn answer(&mut self, command: AgentCommand, to: oneshot::Sender<AgentReply>) {
        let reply = match command {
            AgentCommand::Report => AgentReply::Report(Box::new(self.report())),
            AgentCommand::Why { container } => match self.why(&container) {
                Some(why) => AgentReply::Why(Box::new(why)),
                None => no_such(&container),
            },
            AgentCommand::Processes { container, limit } => return self.processes(&container, limit, to),
            AgentCommand::Restart { container } | AgentCommand::Release { container }
                if !self.state.has(&container) =>
            {
                no_such(&container)
            }
            AgentCommand::Restart { container } => match self.state.restart_refusal(&container) {
                Some(reason) => AgentReply::Error(CommandError::Refused { reason }),
                None => self.done(Input::Restart(container)),
            },
            AgentCommand::Release { container } => self.done(Input::Release(container)),
            AgentCommand::Freeze { for_ms } => {
                let since = Timestamp::now();
                let until = for_ms.map(|ms| since.after(Duration::from_millis(ms)));
                self.freeze(Some(Freeze { since, until, by: "the agent's own socket".to_owned() }))
            }
            AgentCommand::Unfreeze => self.freeze(None),
            AgentCommand::Drill { id, scenario, containers, for_ms } => match self.state.drill_refusal(id) {
                Some(reason) => AgentReply::Error(CommandError::Refused { reason }),
                None => self.done(Input::Drill(DrillOrder {
                    id,
                    scenario: clean(&scenario, SCENARIO_SHOWN),
                    containers: containers.into_iter().collect(),
                    lasts: Duration::from_millis(for_ms),
                })),
            },
            AgentCommand::ChaosBegin { .. }
            | AgentCommand::ChaosPlan { .. }
            | AgentCommand::ChaosRenew { .. }
            | AgentCommand::ChaosEnd { .. } => return faults::order(&self.wiring.faults, command, to),
            AgentCommand::Pool { pool, decisions } => {
                return self.wiring.pools.answer(&self.wiring.tracker, pool, decisions, to);
            }
            AgentCommand::Fault { note } => {
                self.emit_fault(&note);
                AgentReply::Done
            }
            AgentCommand::Disputed { reason } => self.done(Input::Disputed(reason)),
            AgentCommand::Fleet { nonce, .. } if nonce != self.nonce => {
                AgentReply::Error(CommandError::Refused {
                    reason: "that is for an earlier process".to_owned(),
                })
            }
            AgentCommand::Fleet { budget, asked, restarts, hold, .. } => {
                let leave = asked.map(|asked| (asked, restarts));
                self.done(Input::Fleet(FleetWord { budget, leave, hold }))
            }
        };
        // Who asked may have given up; that is theirs to handle.
        let _ = to.send(reply);
    }

    /// Takes a second, in which others are answered.
    fn processes(&self, name: &ContainerName, limit: u32, to: oneshot::Sender<AgentReply>) {
        let subject = self.state.subjects().into_iter().find(|subject| subject.name == *name);
        match (subject, self.watches.clone().try_acquire_owned()) {
            (None, _) => drop(to.send(no_such(name))),
            (Some(_), Err(_)) => drop(to.send(processes::too_many())),
            (Some(subject), Ok(permit)) => {
                let machine = self.settings.machine.clone();
                self.wiring.tracker.spawn(async move {
                    let _ = to.send(processes::list(&machine, &subject, limit).await);
                    drop(permit);
                });
            }
        }
    }

    fn done(&mut self, input: Input) -> AgentReply {
        self.feed(input);
        AgentReply::Done
    }

    fn freeze(&mut self, freeze: Option<Freeze>) -> AgentReply {
        self.wiring.keeper.keep(Keep::LocalFreeze(freeze.clone()));
        self.done(Input::LocalFreeze(freeze))
    }
}

fn is_about_containers(command: &AgentCommand) -> bool {
    match command {
        AgentCommand::Report
        | AgentCommand::Why { .. }
        | AgentCommand::Processes { .. }
        | AgentCommand::Restart { .. }
        | AgentCommand::Release { .. } => true,
        AgentCommand::Freeze { .. }
        | AgentCommand::Unfreeze
        | AgentCommand::Disputed { .. }
        | AgentCommand::Drill { .. }
        | AgentCommand::Fleet { .. }
        | AgentCommand::ChaosBegin { .. }
        | AgentCommand::ChaosPlan { .. }
        | AgentCommand::ChaosRenew { .. }
        | AgentCommand::ChaosEnd { .. }
        | AgentCommand::Pool { .. }
        | AgentCommand::Fault { .. } => false,
    }
}

fn no_such(container: &ContainerName) -> AgentReply {
    AgentReply::Error(CommandError::NoSuchContainer { container: container.to_string() })
}

/// Transitions are logged as they are told: troubles as warnings, the rest as information.
fn log(event: &Event) {
    let container = event.container.as_ref().map(ContainerName::as_str);
    match event.kind {
        EventKind::ContainerFailing
        | EventKind::ActionFailed
        | EventKind::Quarantined
        | EventKind::HealingFutile
        | EventKind::BreakerOpened
        | EventKind::PoolDegraded
        | EventKind::EngineUnreachable => tracing::warn!(kind = %event.kind, container, "{}", event.reason),
        _ => tracing::info!(kind = %event.kind, container, "{}", event.reason),
    }
}
