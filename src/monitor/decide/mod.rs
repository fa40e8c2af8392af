//! All decisions about one host's containers, pure: `(state, input, now) -> decisions`. No clock, socket or engine.
//!
//! The state is level-triggered: each input updates what is known, then every container is treated anew by what ails
//! it and by the brakes that hold it, so a lost or doubled input changes nothing for long.

mod answers;
mod assess;
mod brakes;
mod checks;
mod dependencies;
mod deploys;
mod drill;
mod efficacy;
mod fleet;
mod hold;
mod limits;
mod listing;
mod orders;
mod policy;
mod reference;
mod shared;
mod state;
#[cfg(test)]
mod tests;
mod treat;
mod view;
mod watch;
mod words;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{
    ActionKind, Actor, CheckKind, ContainerFacts, ContainerId, ContainerName, DesiredState, DrillId,
    EventDraft, Evidence, Freeze, OperationId, Threshold, Timestamp,
};
use crate::monitor::ping::ProbeOutcome;

pub use answers::Attachment;
pub use efficacy::Efficacy;
pub use fleet::{FleetQuestion, FleetWord};
pub use hold::Hold;
pub use listing::{Listing, OwnContainers};
pub use policy::{Detector, ErrorRates, Policy, RestartMode};
pub use reference::HostFault;
pub use shared::Shared;
pub use state::{HostState, Memory};
pub use view::Explanation;

/// A container to be checked, as it was when the check began.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Which.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// Its present run: a result for another run is not judged.
    pub started_at: Option<Timestamp>,
    /// Where it is probed.
    pub addresses: Vec<IpAddr>,
    /// Those of them whose loss counts: they have answered before.
    pub counting: Vec<IpAddr>,
    /// Its loss is established already, so that only an answer would be news.
    pub lossy: bool,
    /// The loss that fails it.
    pub threshold: Threshold,
}

/// How a check came to its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finding {
    /// Its probes are counted, and the loss held against the threshold.
    Counted,
    /// A sequential test is under way: it tells how the network is, and nothing of the container.
    UnderWay,
    /// Every address was tested, and none fails; what the least sound one of them was judged by.
    Sound(Option<Evidence>),
    /// The test of this address decided against it.
    Lossy(IpAddr, Evidence),
}

/// What probing one target gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// Which.
    pub id: ContainerId,
    /// The run it belonged to when the check began.
    pub started_at: Option<Timestamp>,
    /// Each address.
    pub outcomes: Vec<ProbeOutcome>,
    /// What they are to be taken for.
    pub finding: Finding,
}

/// Something to be done to a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Its own id, in journal, log and events.
    pub op: OperationId,
    /// To which container.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// What.
    pub kind: ActionKind,
    /// When it is recreated: whose network namespace it is to share, in place of one that is gone.
    pub join: Option<ContainerId>,
    /// Who wants it.
    pub by: Actor,
    /// Why, in one plain sentence.
    pub reason: String,
    /// The drill that it is part of: it counts in no budget but that one's.
    pub drill: Option<DrillId>,
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionResult {
    /// Done, after so many milliseconds.
    Done(u64),
    /// The container is gone; nothing is left to do.
    Gone,
    /// The engine could not be reached: it does not count.
    NotReached(String),
    /// It was tried and failed.
    Failed(String),
}

/// What the engine tells of a container's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignKind {
    /// It was sent a signal on someone's order.
    Killed,
    /// It ended.
    Died,
    /// `docker stop` of it is through.
    Stopped,
}

/// A sign of how a container ended, and when it was given by the engine's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// Which container.
    pub id: ContainerId,
    /// When; signs of a run before the present one say nothing of it.
    pub time: Timestamp,
    /// What.
    pub kind: SignKind,
}

/// What is said of a drill on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillOrder {
    /// Which.
    pub id: DrillId,
    /// The scenario's name.
    pub scenario: String,
    /// The containers that take part.
    pub containers: BTreeSet<ContainerName>,
    /// How long it goes on, unless it is said again; zero: it is over.
    pub lasts: Duration,
}

/// What the shell tells the core.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Every container of the engine, complete; and what the engine told of the time before, oldest first.
    Listed(Vec<ContainerFacts>, Vec<Sign>),
    /// One container's present facts.
    Seen(Box<ContainerFacts>),
    /// What [`Decision::Look`] asked for was seen, as far as it could be.
    Looked(ContainerId),
    /// There is no such container any more.
    Gone(ContainerId),
    /// The engine told something that says how a container ended.
    Told(Sign),
    /// The engine does not answer; why.
    EngineLost(String),
    /// It answers again; the full list follows.
    EngineBack,
    /// The desired state, complete.
    Desired(Box<DesiredState>),
    /// The freeze set on this host by the agent's own socket.
    LocalFreeze(Option<Freeze>),
    /// Two agents claim this host or its engine, as the controller says; believed for a while only.
    Disputed(String),
    /// How addresses of the host's own answer ([`HostState::references`]): told before the round of checks that was
    /// probed with them.
    References(Vec<ProbeOutcome>),
    /// The agent itself did not get to run for so long, so what was probed meanwhile does not count.
    Starved(Duration),
    /// What the controller says of the other hosts.
    Fleet(FleetWord),
    /// One round of checks is through.
    Swept(CheckKind, Vec<Checked>),
    /// An action is through.
    Acted(OperationId, ActionResult),
    /// A drill begins, goes on, or is over.
    Drill(DrillOrder),
    /// An operator wants this container restarted, past every brake.
    Restart(ContainerName),
    /// An operator ends its quarantine.
    Release(ContainerName),
    /// Time has passed.
    Tick,
}

/// What the core tells the shell to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Check these again, longer, now.
    Confirm(Vec<Target>),
    /// Look at this container again before it is started, and answer [`Input::Looked`]: someone may be starting it.
    Look(ContainerId),
    /// Do this.
    Act(Action),
    /// Tell everyone.
    Emit(EventDraft),
    /// Report to the controller now: it is asked for something.
    Report,
    /// Keep over a restart of the agent: these addresses have answered.
    Remember(ContainerId, Vec<Attachment>),
    /// Keep over a restart of the agent: quarantined since then.
    Quarantine(ContainerName, Timestamp),
    /// Keep over a restart of the agent: how actions on it went.
    Score(ContainerName, Box<Efficacy>),
    /// Keep over a restart of the agent: released, its budget begins anew.
    Release(ContainerName, Timestamp),
}
