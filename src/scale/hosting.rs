//! The pools that a host of a fleet is to have: begins, changes and ends their runners as what is wanted changes.
//!
//! ```text
//!              claim, listen            wanted otherwise: at once, or by another runner
//!  wanted ───────────────────► running ───────────────────────────────────┐
//!   ▲  │ fails: told, tried      │ ▲────────────────────────────────────────┘
//!   └──┘ again                   │ not wanted any more
//!                                ▼
//!                    requests finish ──► containers removed ──► gone
//! ```
//!
//! When the process ends, containers stay; the next adopts them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::pool::{PoolClaim, PoolConfig, PoolHandle, PoolParts, pool};
use crate::docker::{AnonymousVolumes, PoolEngine};
use crate::metrics::{Machine, Sensors, StatsSource, UsageSampler, host_identity};
use crate::model::{
    Consent, PoolCounts, PoolDecision, PoolHealth, PoolName, PoolProblem, PoolSpec, PoolStatus, PoolTotals,
    Timestamp, clean,
};

/// How long requests may take that are under way when a pool ends, changes what it is made of, or its agent ends.
const GRACE: Duration = Duration::from_secs(30);
/// Between two attempts to begin a pool, or to remove its containers.
const AGAIN: Duration = Duration::from_secs(5);
/// Between two looks at how a pool is, at least: it changes with every request.
const PACE: Duration = Duration::from_millis(250);
/// The longest text of an engine that is told.
const LONGEST: usize = 300;

/// A question for the newest decisions of a pool, at most so many; the answer is `None` where there is no such pool.
pub type DecisionsAsk = (PoolName, usize, oneshot::Sender<Option<Vec<PoolDecision>>>);

/// What hosting is wired to.
#[derive(Debug)]
pub struct HostingLines {
    /// What pools are to be, by name.
    pub wanted: watch::Receiver<BTreeMap<PoolName, PoolSpec>>,
    /// What they are asked.
    pub asks: mpsc::Receiver<DecisionsAsk>,
    /// Takes how they are, by name.
    pub told: watch::Sender<Vec<PoolStatus>>,
}

/// Hosts pools.
#[derive(Clone)]
pub struct Hosting {
    /// Whether the host's own configuration allows it.
    pub consent: Consent,
    /// The engine of this host.
    pub engine: Arc<dyn PoolEngine>,
    /// The same, asked what containers use where the kernel's files do not tell.
    pub stats: Arc<dyn StatsSource>,
    /// Where its containers run.
    pub machine: Machine,
}

/// How a pool is, wherever that is known.
#[derive(Clone)]
enum Said {
    Idle(Box<PoolStatus>),
    Running(PoolHandle),
}

/// One pool, as the host sees it.
struct Hosted {
    wants: watch::Sender<Option<PoolSpec>>,
    said: watch::Receiver<Option<Said>>,
}

impl Hosting {
    /// Keeps the pools what they are to be, until `shutdown` and until what was accepted by then is answered.
    pub async fn host(&self, lines: HostingLines, shutdown: CancellationToken) {
        let HostingLines { mut wanted, mut asks, told } = lines;
        let (mut pools, mut tasks) = (BTreeMap::<PoolName, Hosted>::new(), JoinSet::new());
        let news = Arc::new(Notify::new());
        loop {
            let now_wanted = wanted.borrow_and_update().clone();
            for (name, hosted) in &pools {
                let spec = now_wanted.get(name);
                hosted.wants.send_if_modified(|known| {
                    let changed = known.as_ref() != spec;
                    *known = spec.cloned();
                    changed
                });
            }
            for (name, spec) in now_wanted {
                let Entry::Vacant(place) = pools.entry(name) else { continue };
                let (wants, wanted) = watch::channel(Some(spec));
                let (says, said) = watch::channel(None);
                let one = One {
                    hosting: self.clone(),
                    name: place.key().clone(),
                    says,
                    news: news.clone(),
                    shutdown: shutdown.clone(),
                };
                tasks.spawn(one.run(wanted));
                place.insert(Hosted { wants, said });
            }
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { break },
                Some(done) = tasks.join_next() => {
                    if let Err(error) = done {
                        tracing::error!(%error, "the task of a pool failed");
                    }
                    // It is begun anew above if it is wanted again by now.
                    pools.retain(|_, hosted| !hosted.wants.is_closed());
                }
                () = news.notified() => {}
                Some((name, count, answer)) = asks.recv() => {
                    let handle = match pools.get(&name).and_then(Hosted::said) {
                        Some(Said::Running(handle)) => Some(handle),
                        _ => None,
                    };
                    tokio::spawn(async move {
                        let decisions = match handle {
                            Some(handle) => handle.decisions(count).await,
                            None => None,
                        };
                        // Who asked may be gone.
                        let _ = answer.send(decisions);
                    });
                    continue;
                }
                () = shutdown.cancelled() => break,
            }
            tell(&told, &pools);
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Removes the containers of a pool that nobody runs.
    async fn remove(&self, name: &PoolName) -> Result<(), String> {
        let of = |error: crate::docker::EngineError| clean(&error.to_string(), LONGEST);
        for facts in self.engine.list().await.map_err(of)? {
            if facts.pool() == Some(name.as_str()) {
                self.engine.remove(&facts.id, AnonymousVolumes::Remove).await.map_err(of)?;
            }
        }
        Ok(())
    }
}

fn tell(told: &watch::Sender<Vec<PoolStatus>>, pools: &BTreeMap<PoolName, Hosted>) {
    let status = |hosted: &Hosted| match hosted.said()? {
        Said::Idle(status) => Some(*status),
        Said::Running(handle) => Some(handle.watch().borrow().clone()),
    };
    let all: Vec<PoolStatus> = pools.values().filter_map(status).collect();
    told.send_if_modified(|known| {
        let changed = *known != all;
        *known = all;
        changed
    });
}

impl Hosted {
    fn said(&self) -> Option<Said> {
        self.said.borrow().clone()
    }
}

/// The task of one pool.
struct One {
    hosting: Hosting,
    name: PoolName,
    says: watch::Sender<Option<Said>>,
    news: Arc<Notify>,
    shutdown: CancellationToken,
}

/// A pool at work, and who else may not work on it.
struct Running {
    handle: PoolHandle,
    work: JoinHandle<()>,
    stop: CancellationToken,
    _claim: PoolClaim,
}

/// Why a pool does not run.
struct Trouble {
    since: Timestamp,
    failures: u32,
}

impl One {
    /// Ends with `shutdown`, or once the pool is not wanted any more and nothing is left of it.
    async fn run(self, mut wanted: watch::Receiver<Option<PoolSpec>>) {
        let mut trouble: Option<Trouble> = None;
        // It outlives its runners, so that whoever comes in between waits and is not refused.
        let mut listener: Option<std::net::TcpListener> = None;
        while !self.shutdown.is_cancelled() {
            let Some(spec) = wanted.borrow_and_update().clone() else {
                listener = None;
                if self.remove(&mut wanted).await {
                    break;
                }
                continue;
            };
            match self.begin(&spec, &mut listener).await {
                Ok(running) => {
                    trouble = None;
                    self.attend(running, &mut wanted).await;
                }
                Err(what) => {
                    let now = Timestamp::now();
                    let trouble = trouble.get_or_insert(Trouble { since: now, failures: 0 });
                    trouble.failures = trouble.failures.saturating_add(1);
                    let problem = PoolProblem {
                        what,
                        since: trouble.since,
                        failures: trouble.failures,
                        retry_at: Some(now.after(AGAIN)),
                    };
                    self.say(Said::Idle(Box::new(idle(&self.name, spec, problem))));
                    tokio::select! {
                        () = sleep(AGAIN) => {}
                        _ = wanted.changed() => {}
                        () = self.shutdown.cancelled() => {}
                    }
                }
            }
        }
    }

    fn say(&self, said: Said) {
        self.says.send_replace(Some(said));
        self.news.notify_one();
    }

    /// What the pool needs; the error says in words what is missing.
    async fn begin(
        &self,
        spec: &PoolSpec,
        listener: &mut Option<std::net::TcpListener>,
    ) -> Result<Running, String> {
        let hosting = &self.hosting;
        if hosting.consent == Consent::Refused {
            return Err("this host allows no pools; --pools of its agent does".to_owned());
        }
        let Machine::Here(root) = &hosting.machine else {
            return Err("this agent's engine is on another machine, whose pools it cannot reach".to_owned());
        };
        let config = PoolConfig::new(self.name.clone(), spec.clone(), BTreeMap::new())
            .map_err(|error| error.to_string())?;
        let claim = PoolClaim::take(&self.name).map_err(|error| error.to_string())?;
        let listener = listen(spec, listener).map_err(|error| format!("listen {}: {error}", spec.listen))?;
        let info = hosting.engine.info().await.map_err(|error| clean(&error.to_string(), LONGEST))?;
        let cores = host_identity(Path::new(root)).cores.or(info.machine.cores).unwrap_or(1);
        let sensors = Sensors::start(&hosting.machine, hosting.stats.clone())
            .map_err(|error| format!("the sensors' thread does not start: {error}"))?;
        let stats = Some(hosting.stats.clone());
        let parts = PoolParts {
            engine: hosting.engine.clone(),
            sensors: Some(sensors),
            calm: spec.free_cpu_percent.map(|_| UsageSampler::new(&hosting.machine, stats)),
            millicores: cores.saturating_mul(1000),
            listener,
            grace: GRACE,
            log: None,
        };
        let stop = self.shutdown.child_token();
        let (handle, work) = pool(config, parts, stop.clone());
        Ok(Running { handle, work: tokio::spawn(work), stop, _claim: claim })
    }

    /// Runs it until it must be begun anew, or ends.
    async fn attend(&self, running: Running, wanted: &mut watch::Receiver<Option<PoolSpec>>) {
        let Running { handle, mut work, stop, _claim } = running;
        tracing::info!(pool = %self.name, "the pool runs");
        self.say(Said::Running(handle.clone()));
        let paced = stop.clone().run_until_cancelled_owned(paced(handle.clone(), self.news.clone()));
        tokio::spawn(paced);
        loop {
            tokio::select! {
                _ = &mut work => break,
                told = wanted.changed() => {
                    let spec = wanted.borrow().clone().filter(|_| told.is_ok());
                    let config = spec.and_then(|spec| {
                        PoolConfig::new(self.name.clone(), spec, BTreeMap::new()).ok()
                    });
                    let made = match config {
                        Some(config) => handle.change(config).await,
                        None => false,
                    };
                    if !made {
                        stop.cancel();
                        self.news.notify_one();
                        // A panic in it is told by the runtime.
                        let _ = work.await;
                        break;
                    }
                }
            }
        }
        stop.cancel();
        let last = PoolStatus { containers: Vec::new(), ..handle.status().await };
        self.say(Said::Idle(Box::new(last)));
    }

    /// Removes what is left of it; `false`: it is wanted again, or that failed and is to be tried again.
    async fn remove(&self, wanted: &mut watch::Receiver<Option<PoolSpec>>) -> bool {
        if self.hosting.consent == Consent::Refused {
            return true;
        }
        let removed = match PoolClaim::take(&self.name) {
            // Another process runs it: they are that one's.
            Err(_) => return true,
            Ok(_claim) => self.hosting.remove(&self.name).await,
        };
        let Err(what) = removed else { return true };
        tracing::warn!(pool = %self.name, what, "containers of a pool that ended are not removed yet");
        tokio::select! {
            () = sleep(AGAIN) => {}
            _ = wanted.changed() => {}
            () = self.shutdown.cancelled() => {}
        }
        false
    }
}

/// Tells that a pool changed, not too often.
async fn paced(handle: PoolHandle, news: Arc<Notify>) {
    let mut status = handle.watch();
    while status.changed().await.is_ok() {
        news.notify_one();
        sleep(PACE).await;
    }
}

/// A listener for a runner: of the one that is there already, if it is where the pool is to be reached.
fn listen(spec: &PoolSpec, held: &mut Option<std::net::TcpListener>) -> std::io::Result<TcpListener> {
    let here = |held: &std::net::TcpListener| held.local_addr().is_ok_and(|at| at == spec.listen);
    let listener = if let Some(listener) = held.take().filter(here) {
        listener
    } else {
        let listener = std::net::TcpListener::bind(spec.listen)?;
        listener.set_nonblocking(true)?;
        listener
    };
    let own = TcpListener::from_std(listener.try_clone()?);
    *held = Some(listener);
    own
}

/// How a pool is that cannot be run.
fn idle(name: &PoolName, spec: PoolSpec, problem: PoolProblem) -> PoolStatus {
    PoolStatus {
        name: name.clone(),
        health: PoolHealth::Down,
        since: problem.since,
        problem: Some(problem),
        time: Timestamp::now(),
        wanted: spec.min,
        containers: Vec::new(),
        counts: PoolCounts::default(),
        waiting: 0,
        in_flight: 0,
        totals: PoolTotals::default(),
        decision: None,
        spec,
    }
}
