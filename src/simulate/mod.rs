//! A fleet that is not there, on a bus that is: for benchmarks, for trying out dashboards, for demonstrations.
//!
//! ```text
//!  SimHost (pure, seeded) ──► SimAgent ──► bus ──► a real controller
//!      walks, faults           reports, list answers, outbox batches as real agents send them
//! ```
//!
//! Nobody is to take these hosts for real ones: their names begin with `sim-`, their engines and images say
//! `simulated`, and [`run`] looks first who is there.

mod agent;
mod figures;
mod host;
mod outbox;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError, HostReport, Subject, decode};
use crate::model::{HostName, Timestamp};
use agent::{Schedule, SimAgent};
use figures::Figures;
use host::{SimHost, host_name};
use outbox::Outbox;

pub use figures::Progress;
pub use host::{PREFIX, SimFault};

/// How long hosts that are there already have to say so.
const LOOK: Duration = Duration::from_secs(2);
/// What all simulated agents together keep for a controller that is away, bytes; at least one tick each.
const WAITING_BYTES: usize = 64 << 20;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Which hosts are simulated, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct SimPlan {
    /// How many hosts.
    pub hosts: u32,
    /// How many containers on each.
    pub containers: u32,
    /// Seconds between two ticks of a host.
    pub step: u32,
    /// What chance grows from.
    pub seed: u64,
    /// What may happen.
    pub faults: Vec<SimFault>,
    /// Whether hosts that are real may be on the same bus.
    pub company: Company,
}

/// Whether hosts that are real may be on the same bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// They may not.
    SimulatedOnly,
    /// The operator said that they may.
    RealToo,
}

/// Why there is no simulation.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Real hosts are on this bus.
    #[error("{count} real hosts are on this bus ({example}): give --beside-real-hosts if that is meant")]
    RealHosts {
        /// How many answered.
        count: usize,
        /// One of them.
        example: HostName,
    },
    /// Hosts of these names are there already.
    #[error("the names of {count} hosts are in use on this bus ({example}): another simulation runs there")]
    NamesInUse {
        /// How many.
        count: usize,
        /// One of them.
        example: HostName,
    },
    /// The bus fails.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Simulates on `buses`, which the hosts share in turn, until `shutdown`; `tell` is told how it goes. Returns how it went.
pub async fn run(
    plan: &SimPlan,
    buses: &[Arc<dyn Bus>],
    shutdown: &CancellationToken,
    mut tell: impl FnMut(&Progress),
) -> Result<Progress, SimError> {
    let Some(first) = buses.first() else { return Ok(Figures::default().total()) };
    look_round(plan, first.as_ref()).await?;
    let figures = Arc::new(Figures::default());
    let stop = shutdown.child_token();
    let mut agents = JoinSet::new();
    for (number, bus) in (1..=plan.hosts).zip(buses.iter().cycle()) {
        let host = SimHost::new(
            number,
            plan.containers,
            plan.seed,
            plan.faults.clone(),
            uuid::Uuid::new_v4(),
            Timestamp::now().millis() / 1_000,
        );
        let outbox = Outbox::new(host.name.clone(), WAITING_BYTES / plan.hosts as usize);
        let between = Duration::from_secs(plan.step.into());
        let schedule = Schedule { step: plan.step, turn: between * (number - 1) / plan.hosts };
        let agent = SimAgent { host, outbox, bus: bus.clone(), schedule, figures: figures.clone() };
        agents.spawn(agent.run(stop.clone()));
    }
    let mut times = tokio::time::interval_at(tokio::time::Instant::now() + TELL_EVERY, TELL_EVERY);
    let mut failed = None;
    loop {
        tokio::select! {
            _ = times.tick() => tell(&figures.look()),
            ended = agents.join_next() => match ended {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => {
                    failed.get_or_insert(error);
                    stop.cancel();
                }
                Some(Err(panicked)) => {
                    failed.get_or_insert(BusError::Malformed(panicked.to_string()));
                    stop.cancel();
                }
            },
        }
    }
    failed.map_or_else(|| Ok(figures.total()), |error| Err(error.into()))
}

/// Asks who is on the bus, and goes no further where it is somebody whom the simulation could be mistaken for.
async fn look_round(plan: &SimPlan, bus: &dyn Bus) -> Result<(), SimError> {
    // A single answer tells whether we may ask at all; the others follow the second time.
    match bus.request(&Subject::List, bytes::Bytes::new(), LOOK).await {
        Err(BusError::NoAnswer(_)) => return Ok(()),
        other => drop(other?),
    }
    let mut answers = bus.request_many(&Subject::List, bytes::Bytes::new(), LOOK).await?;
    let (mut real, mut taken) = (Vec::new(), Vec::new());
    while let Some(answer) = answers.next().await {
        // What cannot be read is of another version, and so of nobody we made.
        let Ok(report) = decode::<HostReport>(&answer) else { continue };
        if !report.host.as_str().starts_with(PREFIX) {
            real.push(report.host);
        } else if (1..=plan.hosts).any(|number| host_name(number) == report.host) {
            taken.push(report.host);
        }
    }
    if let Some(example) = taken.first().cloned() {
        return Err(SimError::NamesInUse { count: taken.len(), example });
    }
    match real.first().cloned() {
        Some(example) if plan.company == Company::SimulatedOnly => {
            Err(SimError::RealHosts { count: real.len(), example })
        }
        _ => Ok(()),
    }
}
