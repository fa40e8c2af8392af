//! A pool: containers of one image behind one address, as many as its controller wants.
//!
//! ```text
//!  clients ──► proxy ──► desk (dispatch, pure) ──► containers
//!                          │ counts   ▲ add, drain, remove
//!  sensors ──► observe ◄───┘          │
//!                 │ Observation       │
//!                 ▼                   │
//!            controller ──► plan ──► owner ──► works: make, wait for, look at, remove ──► engine
//!                            ▲                    │
//!  engine's events ──────────┴── happened ◄───────┘
//! ```
//!
//! A container gets requests once it answered a readiness check. One whose connection fails gets none until it did again.
//! Stopping the runner stops no container: the next runner of that name adopts them.

mod claim;
mod desk;
mod dispatch;
mod follow;
mod observe;
mod plan;
mod record;
mod report;
mod runner;
mod spec;
mod tally;
#[cfg(test)]
mod tests;
mod works;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::docker::PoolEngine;
use crate::metrics::{Sensors, UsageSampler};
use crate::model::{PoolDecision, PoolStatus};
use crate::scale::proxy::{Limits, Proxy, serve};
pub(crate) use dispatch::Rules;
use runner::{Ask, Beginning, Owner};
use works::Hands;

pub(crate) use desk::{Desk, Endpoint, Lease, Told};
#[cfg(test)]
pub(crate) use dispatch::MemberId;
pub(crate) use tally::Outcome;

pub use claim::{ClaimError, PoolClaim};
pub use record::PoolLog;
pub use spec::{POOL_LABEL, PoolConfig, PoolSpecError};

/// What tasks tell the owner, at most, before they wait for it.
const INBOX: usize = 256;
/// Questions that wait for the owner, at most.
const QUESTIONS: usize = 16;
/// Time between two looks at all containers, for what no event told.
const LIST_EVERY: Duration = Duration::from_secs(30);

/// What a pool runs with.
pub struct PoolParts {
    /// The engine of this host.
    pub engine: Arc<dyn PoolEngine>,
    /// Reads what containers and host use, once a period; `None`: that is not known.
    pub sensors: Option<Sensors>,
    /// Reads what containers use in between, where a container's CPU says whether it is free.
    pub calm: Option<UsageSampler>,
    /// The host's cores, in thousandths of one.
    pub millicores: u32,
    /// Where requests come in.
    pub listener: TcpListener,
    /// How long requests may take that are under way when the pool is told to end.
    pub grace: Duration,
    /// Where observations and decisions are recorded.
    pub log: Option<PoolLog>,
}

/// A pool at work.
#[derive(Debug, Clone)]
pub struct PoolHandle {
    status: watch::Receiver<PoolStatus>,
    ask: mpsc::Sender<Ask>,
}

impl PoolHandle {
    /// How it is now; once it ended, how it was at its end.
    pub async fn status(&self) -> PoolStatus {
        let (answer, answered) = oneshot::channel();
        match self.ask.send(Ask::Status(answer)).await {
            Ok(()) => answered.await.unwrap_or_else(|_| self.status.borrow().clone()),
            Err(_) => self.status.borrow().clone(),
        }
    }

    /// How it is, as it changes; requests alone are told of once a period.
    pub fn watch(&self) -> watch::Receiver<PoolStatus> {
        self.status.clone()
    }

    /// Makes it what `config` says while it runs; false where it must be ended and run anew for that, or has ended.
    pub async fn change(&self, config: PoolConfig) -> bool {
        if !config.is_near(&self.status.borrow().spec) {
            return false;
        }
        let (done, changed) = oneshot::channel();
        self.ask.send(Ask::Change(Box::new(config), done)).await.is_ok() && changed.await.is_ok()
    }

    /// Its newest decisions, newest first, at most so many; `None` once it ended.
    pub async fn decisions(&self, count: usize) -> Option<Vec<PoolDecision>> {
        let (answer, answered) = oneshot::channel();
        self.ask.send(Ask::Decisions(count, answer)).await.ok()?;
        answered.await.ok()
    }
}

/// A pool; the future runs it until `shutdown`, then finishes what was accepted. Its containers stay.
pub fn pool(
    config: PoolConfig,
    parts: PoolParts,
    shutdown: CancellationToken,
) -> (PoolHandle, impl Future<Output = ()> + Send) {
    let PoolParts { engine, sensors, calm, millicores, listener, grace, log } = parts;
    let spec = config.spec();
    let rules = Rules {
        concurrency: spec.concurrency,
        queue: spec.queue,
        free_cpu: spec.free_cpu_percent.filter(|_| calm.is_some()),
    };
    let limits = Limits {
        queue: Duration::from_millis(spec.queue_timeout_ms),
        silence: Duration::from_millis(spec.request_timeout_ms),
    };
    let (tell, mut happened) = mpsc::channel(INBOX);
    let (ask, mut asks) = mpsc::channel(QUESTIONS);
    let (running, to_read) = watch::channel(Vec::new());
    let desk = Desk::new(rules);
    let mut periods = interval(config.period());
    periods.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let hands = Arc::new(Hands { engine, config, tell });
    let beginning = Beginning { hands: hands.clone(), desk: desk.clone(), sensors, millicores, log, running };
    let (mut owner, status) = Owner::new(beginning);
    let work = async move {
        let ended = CancellationToken::new();
        let _end = ended.clone().drop_guard();
        tokio::spawn(ended.clone().run_until_cancelled_owned(follow::events(hands)));
        if let Some(sampler) = calm {
            tokio::spawn(ended.run_until_cancelled_owned(follow::calm(sampler, to_read, desk.clone())));
        }
        let proxy = Arc::new(Proxy::new(desk.clone(), limits));
        let mut serving = tokio::spawn(serve(listener, proxy, shutdown.clone(), grace));
        let mut lists = interval(LIST_EVERY);
        lists.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first list follows the events.
        lists.tick().await;
        loop {
            tokio::select! {
                biased;
                Some(what) = happened.recv() => owner.on(what),
                _ = &mut serving => {
                    owner.ending = true;
                    owner.settle();
                    break;
                }
                () = shutdown.cancelled(), if !owner.ending => {
                    owner.ending = true;
                    owner.settle();
                }
                () = desk.news() => owner.settle(),
                Some(ask) = asks.recv() => owner.answer(ask),
                _ = periods.tick() => owner.period(),
                _ = lists.tick() => owner.list(),
            }
        }
    };
    (PoolHandle { status, ask }, work)
}
