//! The agent of one host: tasks around the pure core.
//!
//! ```text
//!  engine ──► watcher ──┐ inputs                 ┌─► actuator ──► engine, journal
//!  network ◄─ sweeps ◄──┼── owner (HostState) ───┼─► keeper ──► agent.db (events, evidence, desired state)
//!  bus ─────► desired ──┤                        └─► outbox ──► bus
//!  bus, socket ─ asks ──┤
//!  files ───► sampling ─┘ ticks of samples ──────────► lane ──► bus
//!  kernel ──► network ──── intervals ─────────────────────────► bus, sampling, owner (`why`)
//! ```
//!
//! Orders of campaigns of faults go on to whoever plays them ([`FaultPlayer`]), and what that does comes back as events.
//! So do pools ([`PoolKeeper`]), which are desired state.
//!
//! The owner is the only one to hold the state. The others end when `shutdown` is cancelled; stopping the agent
//! changes no container.

mod actuator;
mod clock;
mod delivery;
mod desired;
mod faults;
mod keeper;
mod lane;
mod looks;
mod network;
mod outbox;
mod owner;
mod pool_meter;
mod pools;
mod processes;
mod references;
mod reporter;
mod sampling;
mod socket;
mod starvation;
mod steps;
mod streams;
mod sweep;
#[cfg(test)]
mod tests;
mod watcher;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::{AgentCommand, AgentReply, Bus, Capability};
use crate::docker::{AnonymousVolumes, ContainerBuilder, ContainerSource};
use crate::metrics::{Machine, Subject};
use crate::model::{
    ActionKind, ActionOutcome, Actor, ContainerName, EventDraft, EventKind, FaultNote, HostIdentity,
    HostName, JournalEntry, Timestamp,
};
use crate::net::{NetworkSettings, NetworkView};
use crate::store::{AgentDb, StoreError};

use super::decide::{Attachment, Detector, Efficacy, Memory, OwnContainers, Policy, Target};
use super::ping::Pinger;

pub use faults::{FaultAsk, FaultPlayer};
pub use lane::{LaneParts, metric_lane};
pub use pools::{PoolAsk, PoolKeeper, PoolLines, Pools};
pub use sampling::Sampling;

/// What waits for the owner at most; whoever sends more waits.
const INBOX: usize = 256;

/// How long actions under way are waited for at the end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How long requests to pools are waited for at the end, beyond what their keeper gives them.
const POOLS_END_WITHIN: Duration = Duration::from_secs(40);

/// How an agent works, beside its policy.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// This host's name in the fleet.
    pub host: HostName,
    /// What decisions follow.
    pub policy: Policy,
    /// Between the beginnings of two sweeps.
    pub interval: Duration,
    /// Between two reports.
    pub report_interval: Duration,
    /// Overrides the containers' own stop timeouts.
    pub stop_timeout: Option<Duration>,
    /// What recreate does with anonymous volumes; `None`: it refuses.
    pub anonymous_volumes: Option<AnonymousVolumes>,
    /// Where the local socket is made; `None`: there is none.
    pub socket: Option<PathBuf>,
    /// Containers never touched.
    pub own: OwnContainers,
    /// The machine's addresses, told in reports.
    pub addresses: Vec<IpAddr>,
    /// What works here and what does not, told in reports.
    pub capabilities: Vec<Capability>,
    /// Where the engine's containers run.
    pub machine: Machine,
}

/// The edges an agent works with.
#[derive(Clone)]
pub struct AgentParts {
    /// Reads the engine.
    pub source: Arc<dyn ContainerSource>,
    /// Changes containers.
    pub builder: Arc<dyn ContainerBuilder>,
    /// Probes addresses; `None` where no ICMP socket is allowed: containers are judged by state and HEALTHCHECK alone.
    pub pinger: Option<Arc<dyn Pinger>>,
    /// Reaches the controller.
    pub bus: Arc<dyn Bus>,
    /// Remembers.
    pub db: AgentDb,
    /// How the host is measured; `None`: it is not.
    pub sampling: Option<Sampling>,
    /// How the containers' network is measured; `None`: it is not, for they run on another machine.
    pub network: Option<NetworkSettings>,
    /// Plays campaigns of faults that are ordered over the bus; `None`: nobody does.
    pub faults: Option<Arc<dyn FaultPlayer>>,
    /// Keeps the pools that this host is to have; `None`: nobody does.
    pub pools: Option<Arc<dyn PoolKeeper>>,
}

/// What reaches the owner.
enum Message {
    /// Something the core must know.
    Input(super::decide::Input),
    /// The engine answers, and who it is.
    Engine(crate::docker::EngineInfo),
    /// The desired state was seen from the bus.
    DesiredSynced,
    /// What is to be told besides of what works here; replaces what was told by that name.
    Capability(Capability),
    /// The host's identity card, but for its engine.
    Identity(Box<HostIdentity>),
    /// The host's own addresses that are to be probed.
    References(oneshot::Sender<Vec<IpAddr>>),
    /// Every container, to be measured.
    Subjects(oneshot::Sender<Vec<Subject>>),
    /// Who is on this host, what of their network is to be measured, and the nonce that reports carry.
    Network(oneshot::Sender<(NetworkView, uuid::Uuid)>),
    /// Every container whose loss is to be tested.
    Targets(oneshot::Sender<Vec<Target>>),
    /// A fault that was done on purpose, or is over.
    Fault(FaultNote),
    /// Pools changed.
    Pools,
    /// A command, and where its answer goes.
    Ask(AgentCommand, oneshot::Sender<AgentReply>),
}

/// Asks the owner, and the database what the owner does not know.
#[derive(Clone)]
struct Asker {
    owner: mpsc::Sender<Message>,
    db: AgentDb,
}

impl Asker {
    /// The answer; `None` when the agent is ending.
    async fn ask(&self, command: AgentCommand) -> Option<AgentReply> {
        let (answer, answered) = oneshot::channel();
        self.owner.send(Message::Ask(command, answer)).await.ok()?;
        let mut reply = answered.await.ok()?;
        if let AgentReply::Report(report) = &mut reply {
            report.outbox = self.db.outbox_len().await.ok();
        }
        Some(reply)
    }
}

/// Runs an agent until `shutdown`. Errors are those of its database at the start; later ones are logged and survived.
pub async fn run(
    settings: AgentSettings,
    mut parts: AgentParts,
    shutdown: CancellationToken,
) -> Result<(), StoreError> {
    let clock = clock::Clock::start();
    let unfinished = parts.db.unfinished().await?;
    let memory = recall(&parts.db, &settings.policy).await?;
    let interrupted: Vec<_> = unfinished.iter().map(interruption).collect();
    // What was recreated is set right step by step when the engine answers; the rest the engine did, or not.
    let (half_done, cut_off): (Vec<_>, Vec<_>) =
        unfinished.into_iter().partition(|entry| entry.kind == ActionKind::Recreate && entry.step.is_some());
    for entry in cut_off {
        let outcome = ActionOutcome::Failed("the agent ended before it was through".to_owned());
        parts.db.finish(entry.op, outcome, Timestamp::now()).await?;
    }
    let half_done = half_done.into_iter().map(|entry| entry.op).collect();
    let desired = parts.db.load_desired().await?;
    let tracker = TaskTracker::new();
    let (inbox, messages) = mpsc::channel(INBOX);
    let wakeful = |pinger| Arc::new(starvation::Wakeful::new(pinger, inbox.clone())) as Arc<dyn Pinger>;
    parts.pinger = parts.pinger.map(wakeful);
    let asker = Asker { owner: inbox.clone(), db: parts.db.clone() };
    let (keeper, outbox_grew) = keeper::spawn(&tracker, &parts.db, &settings.host);

    for draft in interrupted {
        keeper.keep(keeper::Keep::Event(draft.stamp(&settings.host, Timestamp::now())));
    }
    let lane = LaneParts {
        host: settings.host.clone(),
        bus: parts.bus.clone(),
        db: parts.db.clone(),
        told: outbox_grew.clone(),
    };
    let (ticks, lane) = metric_lane(lane, shutdown.clone());
    tracker.spawn(lane);
    outbox::spawn(&tracker, &parts, &settings.host, outbox_grew, &shutdown);
    let refresher = watcher::spawn(&tracker, &parts, half_done, inbox.clone(), keeper.clone(), &shutdown);
    desired::spawn(&tracker, &parts.bus, desired.clone(), inbox.clone(), keeper.clone(), &shutdown);
    let pool_tasks = TaskTracker::new();
    let pools = pools::spawn(&pool_tasks, &parts, desired.pools_of(&settings.host), &inbox, &shutdown);
    let changed = reporter::spawn(&tracker, &parts.bus, &settings, &asker, &shutdown);
    if let Some(path) = &settings.socket {
        socket::spawn(&tracker, path.clone(), asker, &shutdown);
    }
    sampling::spawn_identity(&tracker, &settings.machine, &inbox, &shutdown);
    let (measured, newest) = watch::channel(network::Measured::default());
    if let Some(network) = parts.network.clone() {
        let (host, bus) = (settings.host.clone(), parts.bus.clone());
        let wiring = network::Wiring { host, bus, owner: inbox.clone(), measured };
        network::spawn(&tracker, network, wiring, &shutdown);
    }
    if let Some(sampling) = parts.sampling.clone() {
        let wiring =
            sampling::Wiring { owner: inbox.clone(), ticks, network: newest.clone(), pools: pools.follow() };
        sampling::spawn(&tracker, &settings.machine, sampling, wiring, &shutdown);
    }
    let actuator = actuator::Actuator::new(&parts, &settings, refresher, &shutdown);
    if let (Detector::Sprt(rates), Some(pinger)) = (settings.policy.detector, parts.pinger.clone()) {
        let probe_timeout = settings.policy.probe_timeout;
        references::spawn(&tracker, pinger.clone(), inbox.clone(), &shutdown);
        let wiring = streams::Wiring { pinger, probe_timeout, clock, inbox: inbox.clone() };
        streams::spawn(&tracker, rates, wiring, &shutdown);
    }
    let faults =
        faults::spawn(&tracker, &parts, faults::Told::new(&settings.host, &inbox, &keeper), &shutdown);
    let local_freeze = keeper::load_freeze(&parts.db).await?;
    let owner = owner::Owner::new(
        settings,
        parts,
        owner::Wiring {
            clock,
            tracker: tracker.clone(),
            inbox,
            keeper,
            actuator,
            changed,
            faults,
            network: newest,
            pools,
        },
        memory,
    );
    owner.run(desired, local_freeze, messages, &shutdown).await;
    tracker.close();
    if timeout(END_WITHIN, tracker.wait()).await.is_err() {
        tracing::warn!("an action was still under way; the journal has it for the next start");
    }
    pool_tasks.close();
    if timeout(POOLS_END_WITHIN, pool_tasks.wait()).await.is_err() {
        tracing::warn!("requests to pools were given up");
    }
    Ok(())
}

/// What the history says of an action that an agent before did not live to tell the end of.
fn interruption(entry: &JournalEntry) -> EventDraft {
    let text = format!(
        "The agent ended during the {} of {}; what became of it is judged anew.",
        entry.kind, entry.container
    );
    let draft = EventDraft::new(EventKind::ActionInterrupted, Actor::Agent, text)
        .about(&entry.container)
        .with(serde_json::json!({ "op": entry.op }));
    EventDraft { drill_id: entry.drill, ..draft }
}

/// What the database remembers that decisions need.
async fn recall(db: &AgentDb, policy: &Policy) -> Result<Memory, StoreError> {
    let longest = policy.budget.window.max(policy.host_budget.window);
    let since = Timestamp::from_millis(
        Timestamp::now().millis().saturating_sub(i64::try_from(longest.as_millis()).unwrap_or(i64::MAX)),
    );
    let journal = db.journal_since(since).await?;
    let mut answered = BTreeMap::<_, Vec<Attachment>>::new();
    for row in db.answered().await? {
        answered.entry(row.container_id).or_default().push(Attachment {
            address: row.address,
            endpoint_id: row.endpoint_id,
            started_at: row.started_at,
        });
    }
    let interrupted = db.unfinished().await?.into_iter().map(|entry| entry.container).collect();
    Ok(Memory {
        actions: journal
            .into_iter()
            .filter(|entry| entry.by == Actor::Agent && entry.drill.is_none())
            .map(|entry| (entry.container, entry.kind, entry.started))
            .collect(),
        interrupted,
        quarantined: db.quarantined().await?,
        released: db.releases().await?,
        restarts: db.restart_counts().await?,
        answered,
        scores: scores(db.scores().await?),
    })
}

/// What of the scores can be read; one of a later version counts as none.
fn scores(rows: BTreeMap<ContainerName, String>) -> BTreeMap<ContainerName, Efficacy> {
    let read = |(name, json): (ContainerName, String)| match serde_json::from_str(&json) {
        Ok(score) => Some((name, score)),
        Err(error) => {
            tracing::warn!(container = %name, %error, "how actions on it went cannot be read and is forgotten");
            None
        }
    };
    rows.into_iter().filter_map(read).collect()
}
