//! The owner of a pool: brings the plan what happens, and does what it decides.

mod adopt;
mod decide;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::desk::{Desk, Endpoint};
use super::dispatch::MemberId;
use super::plan::{Order, Plan, Work, Works};
use super::record::PoolLog;
use super::report::{Known, Report};
use super::spec::PoolConfig;
use super::works::Hands;
use crate::docker::EngineError;
use crate::metrics::Sensors;
use crate::model::{
    ContainerFacts, ContainerId, MetricTick, PoolContainerState as Stage, PoolDecision, PoolStatus, Timestamp,
};
use crate::scale::control::{ControlSettings, Controller, Micros, Record};
use crate::scale::proxy::Connections;

/// What the tasks of a pool tell its owner.
pub(super) enum Happened {
    /// A container was made.
    Created(MemberId, ContainerId),
    /// Its start failed; it is being removed.
    Failed(MemberId, String),
    /// It is ready.
    Ready(MemberId, Box<ContainerFacts>, SocketAddr),
    /// It is gone.
    Removed(MemberId),
    /// A suspect one was looked at.
    Looked(MemberId, Result<(), String>),
    /// The engine's events are followed from now on.
    Following,
    /// They are not any more.
    EngineLost(EngineError),
    /// A container ended.
    Ended(ContainerId, Option<i64>),
    /// All containers, as of when that was asked, and what new ones would be made from.
    Listed(Micros, Result<(Vec<ContainerFacts>, String), EngineError>),
    /// The sensors were read.
    Measured(Box<Sensors>, Option<MetricTick>),
}

/// What others ask the owner.
pub(super) enum Ask {
    /// The newest decisions, newest first, at most so many.
    Decisions(usize, oneshot::Sender<Vec<PoolDecision>>),
    /// How it is at this moment.
    Status(oneshot::Sender<PoolStatus>),
    /// To be controlled otherwise from now on; answered once it is.
    Change(Box<PoolConfig>, oneshot::Sender<()>),
}

/// One container, beside what the plan knows of it.
struct Body {
    known: Known,
    /// Its id, and when that became known.
    id: Option<(ContainerId, Micros)>,
    facts: Option<Box<ContainerFacts>>,
    /// When it was ready.
    ready: Option<Micros>,
    give_up: CancellationToken,
    looking: bool,
}

/// The owner.
pub(super) struct Owner {
    pub(super) hands: Arc<Hands>,
    pub(super) desk: Arc<Desk>,
    pub(super) tasks: TaskTracker,
    pub(super) status: watch::Sender<PoolStatus>,
    pub(super) millicores: u32,
    pub(super) sensors: Option<Box<Sensors>>,
    pub(super) log: Option<PoolLog>,
    /// What runs, for whoever reads its CPU between two decisions.
    pub(super) running: watch::Sender<Vec<(MemberId, ContainerFacts)>>,
    controller: Box<dyn Controller>,
    control: ControlSettings,
    plan: Plan,
    bodies: BTreeMap<MemberId, Body>,
    /// What new containers are made from; `None` until those that are there were looked at.
    fingerprint: Option<Arc<str>>,
    engine: Option<(String, Timestamp)>,
    measuring: bool,
    decided: bool,
    decisions: VecDeque<PoolDecision>,
    since: Timestamp,
    pub(super) ending: bool,
}

/// What an owner begins with.
pub(super) struct Beginning {
    pub(super) hands: Arc<Hands>,
    pub(super) desk: Arc<Desk>,
    pub(super) sensors: Option<Sensors>,
    pub(super) millicores: u32,
    pub(super) log: Option<PoolLog>,
    pub(super) running: watch::Sender<Vec<(MemberId, ContainerFacts)>>,
}

impl Owner {
    pub(super) fn new(beginning: Beginning) -> (Self, watch::Receiver<PoolStatus>) {
        let Beginning { hands, desk, sensors, millicores, log, running } = beginning;
        let config = &hands.config;
        let (control, plan) = (config.control(), Plan::new(config.bounds));
        let controller = config.controller.build(&control);
        let since = Timestamp::now();
        let report = Report {
            config,
            plan: &plan,
            look: &desk.look(),
            works: &Works::new(),
            known: &BTreeMap::new(),
            engine: None,
            decision: None,
            since,
            now: since,
            mono: desk.now(),
            ending: false,
        };
        let (status, watched) = watch::channel(report.status());
        let begins = Record::Begins { controller: config.controller, settings: control.clone() };
        let mut owner = Self {
            hands,
            desk,
            tasks: TaskTracker::new(),
            status,
            millicores,
            sensors: sensors.map(Box::new),
            log,
            running,
            controller,
            control,
            plan,
            bodies: BTreeMap::new(),
            fingerprint: None,
            engine: None,
            measuring: false,
            decided: false,
            decisions: VecDeque::new(),
            since,
            ending: false,
        };
        owner.write(&begins);
        (owner, watched)
    }

    /// Takes in what happened, and does what follows.
    pub(super) fn on(&mut self, happened: Happened) {
        let now = self.desk.now();
        match happened {
            Happened::Created(member, id) => {
                if let Some(body) = self.bodies.get_mut(&member) {
                    body.id = Some((id, now));
                }
            }
            Happened::Failed(member, what) => {
                tracing::warn!(pool = %self.name(), what, "a container does not start");
                self.plan.failed(member, &what, now);
            }
            Happened::Ready(member, facts, address) => self.ready(member, facts, address, now),
            Happened::Removed(member) => {
                self.desk.remove(member);
                self.plan.removed(member);
                self.bodies.remove(&member);
                self.tell_running();
            }
            Happened::Looked(member, looked) => self.looked(member, looked, now),
            Happened::Following => self.list(),
            Happened::EngineLost(error) | Happened::Listed(_, Err(error)) => self.engine_lost(&error),
            Happened::Ended(id, code) => self.ended(&id, code, now),
            Happened::Listed(asked, Ok((all, fingerprint))) => {
                self.engine = None;
                self.listed(asked, &all, &fingerprint, now);
            }
            Happened::Measured(sensors, tick) => {
                self.sensors = Some(sensors);
                if std::mem::take(&mut self.measuring) {
                    let measured = tick.map(|tick| self.measured(&tick));
                    self.decide(measured.as_ref());
                }
            }
        }
        self.settle();
    }

    /// Answers whoever asks.
    pub(super) fn answer(&mut self, ask: Ask) {
        // Who asked may be gone.
        match ask {
            Ask::Decisions(count, to) => {
                drop(to.send(self.decisions.iter().rev().take(count).cloned().collect()));
            }
            Ask::Status(to) => {
                self.publish();
                drop(to.send(self.status.borrow().clone()));
            }
            Ask::Change(config, to) => {
                self.change(*config);
                let _ = to.send(());
            }
        }
    }

    /// Its controller begins anew, for what it learned was within other bounds; containers and requests notice nothing.
    fn change(&mut self, config: PoolConfig) {
        self.control = config.control();
        self.controller = config.controller.build(&self.control);
        self.write(&Record::Begins { controller: config.controller, settings: self.control.clone() });
        self.decided = false;
        self.plan.resize(config.bounds);
        let Hands { engine, tell, .. } = self.hands.as_ref();
        self.hands = Arc::new(Hands { engine: engine.clone(), config, tell: tell.clone() });
        self.settle();
    }

    /// Removes what drains and is idle, looks at what is suspect, does what there is to do, and tells how things stand.
    pub(super) fn settle(&mut self) {
        let now = self.desk.now();
        for (member, seat) in self.desk.look().seats {
            let stage = self.plan.members().get(&member).map(|entry| entry.stage);
            match stage {
                Some(Stage::Draining) if seat.in_flight == 0 => {
                    if let Some(order) = self.plan.idle(member) {
                        self.carry_out(order);
                    }
                }
                Some(Stage::Ready) if seat.suspect => self.look_at(member),
                _ => {}
            }
        }
        if self.fingerprint.is_some() && !self.ending {
            for order in self.plan.settle(&self.works(), now) {
                self.carry_out(order);
            }
        }
        self.publish();
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Start(member, slot) => {
                let give_up = CancellationToken::new();
                self.bodies.insert(member, Body::new(Timestamp::now(), give_up.clone()));
                let fingerprint = self.fingerprint.clone().expect("nothing is started before");
                self.tasks.spawn(self.hands.clone().bring_up(member, slot, fingerprint, give_up));
            }
            Order::Cancel(member) => {
                if let Some(body) = self.bodies.get(&member) {
                    body.give_up.cancel();
                }
            }
            Order::Serve(member) => {
                let (Some(body), Some(entry)) = (self.bodies.get(&member), self.plan.members().get(&member))
                else {
                    return;
                };
                if let Some(address) = body.known.address {
                    self.desk.add(Endpoint {
                        member,
                        name: self.hands.config.container_name(entry.slot),
                        address,
                        gone: CancellationToken::new(),
                        connections: Connections::default(),
                    });
                }
            }
            Order::Drain(member) => {
                self.desk.drain(member);
                let idle = |work: &Work| work.in_flight == 0;
                if self.works().get(&member).is_none_or(idle)
                    && let Some(order) = self.plan.idle(member)
                {
                    self.carry_out(order);
                }
            }
            Order::Undrain(member) => self.desk.undrain(member),
            Order::Remove(member) => self.remove(member),
        }
    }

    fn remove(&mut self, member: MemberId) {
        self.desk.remove(member);
        let Some(body) = self.bodies.get(&member) else { return };
        if let Some((id, _)) = body.id.clone() {
            let hands = self.hands.clone();
            self.tasks.spawn(async move { hands.take_down(member, id).await });
        }
    }

    fn ready(&mut self, member: MemberId, facts: Box<ContainerFacts>, address: SocketAddr, now: Micros) {
        let Some(body) = self.bodies.get_mut(&member) else { return };
        (body.facts, body.known.address, body.ready) = (Some(facts), Some(address), Some(now));
        match self.plan.ready(member, now) {
            Some(order) => self.carry_out(order),
            // It was given up at this very moment.
            None => self.remove(member),
        }
        self.tell_running();
    }

    fn ended(&mut self, id: &ContainerId, code: Option<i64>, now: Micros) {
        let is = |body: &Body| body.id.as_ref().is_some_and(|(known, _)| known == id);
        let Some((member, body)) = self.bodies.iter().find(|(_, body)| is(body)) else { return };
        let (member, was_ready) = (*member, body.ready.is_some());
        match code {
            Some(code) => self.lost(member, &format!("it ended with exit code {code}"), now),
            None if was_ready => self.lost(member, "it was removed", now),
            // It never ran: whoever starts it is told why.
            None => {}
        }
    }

    fn lost(&mut self, member: MemberId, what: &str, now: Micros) {
        if let Some(order) = self.plan.lost(member, what, now) {
            tracing::warn!(pool = %self.name(), what, "a container of the pool is lost");
            self.carry_out(order);
        }
    }

    fn look_at(&mut self, member: MemberId) {
        let Some(body) = self.bodies.get_mut(&member) else { return };
        let Some(address) = body.known.address.filter(|_| !body.looking) else { return };
        body.looking = true;
        let hands = self.hands.clone();
        self.tasks.spawn(async move {
            let looked = hands.until_ready(address).await;
            hands.tell(Happened::Looked(member, looked)).await;
        });
    }

    fn looked(&mut self, member: MemberId, looked: Result<(), String>, now: Micros) {
        let Some(body) = self.bodies.get_mut(&member) else { return };
        body.looking = false;
        match looked {
            Ok(()) => self.desk.trust(member),
            Err(what) => {
                if let Some(order) = self.plan.sick(member, now) {
                    tracing::warn!(pool = %self.name(), what, "a container of the pool answers no more");
                    self.carry_out(order);
                }
            }
        }
    }

    fn engine_lost(&mut self, error: &EngineError) {
        let what = error.to_string();
        if self.engine.is_none() {
            tracing::warn!(pool = %self.name(), what, "the engine is not there");
        }
        let since = self.engine.as_ref().map_or_else(Timestamp::now, |(_, since)| *since);
        self.engine = Some((what, since));
    }

    fn publish(&self) {
        let known = self.bodies.iter().map(|(member, body)| (*member, body.known)).collect();
        let report = Report {
            config: &self.hands.config,
            plan: &self.plan,
            look: &self.desk.look(),
            works: &self.works(),
            known: &known,
            engine: self.engine.as_ref(),
            decision: self.decisions.back(),
            since: self.since,
            now: Timestamp::now(),
            mono: self.desk.now(),
            ending: self.ending,
        };
        let status = report.status();
        let before = self.status.borrow().health;
        if status.health != before {
            let (pool, health, ready) = (self.name(), status.health.as_str(), status.counts.ready);
            let why = status.problem.as_ref().map(|problem| problem.what.as_str());
            tracing::info!(%pool, health, ready, why, "the pool's health changed");
        }
        self.status.send_replace(status);
    }

    fn tell_running(&self) {
        let of = |(member, body): (&MemberId, &Body)| Some((*member, body.facts.as_deref()?.clone()));
        self.running.send_replace(self.bodies.iter().filter_map(of).collect());
    }

    fn works(&self) -> Works {
        let seats = self.desk.look().seats;
        seats.iter().map(|(id, seat)| (*id, Work { in_flight: seat.in_flight, since: seat.since })).collect()
    }

    fn name(&self) -> &crate::model::PoolName {
        self.hands.config.name()
    }
}

impl Body {
    fn new(since: Timestamp, give_up: CancellationToken) -> Self {
        let known = Known { since, address: None, cpu_percent: None };
        Self { known, id: None, facts: None, ready: None, give_up, looking: false }
    }
}
