//! Pools of this host: what is wanted goes to whoever keeps them, and how they are becomes reports, samples and events. How
//! they are run is not known here.
//!
//! ```text
//!  desired state ──► owner ── wanted ──► keeper ──► containers
//!                      ▲                   │
//!                      └─────── told ◄─────┘ ──► sampling
//! ```

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{AgentParts, Message};
use crate::bus::{AgentReply, CommandError, MAX_POOLS};
use crate::model::{
    Actor, EventDraft, EventKind, PoolCounts, PoolDecision, PoolHealth, PoolName, PoolProblem, PoolSpec,
    PoolStatus, clean,
};

/// Questions that wait; further ones are refused.
const ASKS: usize = 16;
/// Decisions that are told at most: they must fit into a message.
const MOST_DECISIONS: usize = 500;

/// What the pools of a host are to be, by name.
pub type Pools = BTreeMap<PoolName, PoolSpec>;

/// A question for the newest decisions of a pool, at most so many; the answer, newest first, is `None` where there is no such
/// pool or it does not run.
pub type PoolAsk = (PoolName, usize, oneshot::Sender<Option<Vec<PoolDecision>>>);

/// What a keeper of pools is wired to.
#[derive(Debug)]
pub struct PoolLines {
    /// What they are to be, and again whenever that changes.
    pub wanted: watch::Receiver<Pools>,
    /// What they are asked.
    pub asks: mpsc::Receiver<PoolAsk>,
    /// Takes how they are, by name: each that is wanted, also where this host will not have it, and those that end; a few
    /// times a second at most.
    pub told: watch::Sender<Vec<PoolStatus>>,
}

/// Keeps pools on this host.
#[async_trait]
pub trait PoolKeeper: Send + Sync {
    /// Makes the pools what they are to be and keeps them so, until `shutdown`. Their containers stay then.
    async fn keep(&self, lines: PoolLines, shutdown: CancellationToken);
}

/// The owner's end.
pub(super) struct Desk {
    wanted: watch::Sender<Pools>,
    asks: mpsc::Sender<PoolAsk>,
    told: watch::Receiver<Vec<PoolStatus>>,
    known: BTreeMap<PoolName, Known>,
}

/// What was last known of a pool.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    health: PoolHealth,
    wanted: u32,
    /// Those that work are left out: that changes with every request.
    counts: PoolCounts,
    problem: Option<PoolProblem>,
    /// It was told that it began.
    begun: bool,
    /// It was told that it is not well, and not that it is again.
    ailing: Option<PoolHealth>,
}

/// Starts whoever keeps the pools; the owner is told [`Message::Pools`] when they changed.
pub(super) fn spawn(
    tracker: &TaskTracker,
    parts: &AgentParts,
    wanted: Pools,
    owner: &mpsc::Sender<Message>,
    shutdown: &CancellationToken,
) -> Desk {
    let (wanted, to_keep) = watch::channel(bounded(wanted));
    let (asks, asked) = mpsc::channel(ASKS);
    let (tells, told) = watch::channel(Vec::new());
    if let Some(keeper) = parts.pools.clone() {
        let lines = PoolLines { wanted: to_keep, asks: asked, told: tells };
        let (shutdown, ends) = (shutdown.clone(), shutdown.clone());
        tracker.spawn(async move { keeper.keep(lines, shutdown).await });
        let follow = follow(told.clone(), owner.clone());
        tracker.spawn(ends.run_until_cancelled_owned(follow));
    }
    Desk { wanted, asks, told, known: BTreeMap::new() }
}

/// Ends with the keeper, or with the owner.
async fn follow(mut told: watch::Receiver<Vec<PoolStatus>>, owner: mpsc::Sender<Message>) {
    while told.changed().await.is_ok() && owner.send(Message::Pools).await.is_ok() {}
}

fn bounded(mut pools: Pools) -> Pools {
    if let Some((first_left_out, _)) = pools.iter().nth(MAX_POOLS) {
        let name = first_left_out.clone();
        tracing::warn!("more than {MAX_POOLS} pools are wanted here; {name} and those after it are left out");
        pools.split_off(&name);
    }
    pools
}

impl Desk {
    /// What the pools are to be from now on.
    pub(super) fn want(&self, pools: Pools) {
        let pools = bounded(pools);
        self.wanted.send_if_modified(|known| {
            let changed = *known != pools;
            *known = pools;
            changed
        });
    }

    /// How they are.
    pub(super) fn statuses(&self) -> Vec<PoolStatus> {
        self.told.borrow().iter().take(MAX_POOLS).cloned().collect()
    }

    /// The same, for whoever samples.
    pub(super) fn follow(&self) -> watch::Receiver<Vec<PoolStatus>> {
        self.told.clone()
    }

    /// What happened since the last look, and whether a report would read differently.
    pub(super) fn look(&mut self) -> (Vec<EventDraft>, bool) {
        let statuses = self.statuses();
        let mut drafts = Vec::new();
        let mut after = BTreeMap::new();
        for status in &statuses {
            let (known, said) = next(self.known.remove(&status.name), status);
            drafts.extend(said);
            after.insert(status.name.clone(), known);
        }
        let gone = std::mem::take(&mut self.known);
        drafts.extend(gone.into_keys().map(|name| ended(&name)));
        let changed = !drafts.is_empty() || self.differ(&after);
        self.known = after;
        (drafts, changed)
    }

    fn differ(&self, after: &BTreeMap<PoolName, Known>) -> bool {
        self.known != *after
    }

    /// Answers how a pool is; takes no longer than its keeper does.
    pub(super) fn answer(
        &self,
        tracker: &TaskTracker,
        pool: PoolName,
        decisions: u32,
        to: oneshot::Sender<AgentReply>,
    ) {
        let refuse = |reason: String| AgentReply::Error(CommandError::Refused { reason });
        let (answer, answered) = oneshot::channel();
        let status = self.told.borrow().iter().find(|status| status.name == pool).cloned();
        let Some(status) = status else {
            let _ = to.send(refuse(format!("this host has no pool {pool}")));
            return;
        };
        let decisions = usize::try_from(decisions).unwrap_or(MOST_DECISIONS).min(MOST_DECISIONS);
        if self.asks.try_send((pool, decisions, answer)).is_err() {
            let _ = to.send(refuse("too many ask about pools; try again".to_owned()));
            return;
        }
        tracker.spawn(async move {
            // A pool that has just ended has none to tell.
            let decisions = answered.await.ok().flatten().unwrap_or_default();
            // Who asked may have given up; that is theirs to handle.
            let _ = to.send(AgentReply::Pool { status: Box::new(status), decisions });
        });
    }
}

/// What is known of a pool after `status`, and what happened since.
fn next(before: Option<Known>, status: &PoolStatus) -> (Known, Vec<EventDraft>) {
    let mut drafts = Vec::new();
    let (mut begun, mut ailing) = before.map_or((false, None), |known| (known.begun, known.ailing));
    let bad = matches!(status.health, PoolHealth::Degraded | PoolHealth::Down);
    if !begun && !bad {
        begun = true;
        drafts.push(started(status));
    }
    match (status.health, ailing) {
        (PoolHealth::Degraded | PoolHealth::Down, None) | (PoolHealth::Down, Some(PoolHealth::Degraded)) => {
            ailing = Some(status.health);
            drafts.push(degraded(status));
        }
        (PoolHealth::Serving, Some(_)) => {
            ailing = None;
            drafts.push(recovered(status));
        }
        _ => {}
    }
    let known = Known {
        health: status.health,
        wanted: status.wanted,
        counts: PoolCounts { busy: 0, ..status.counts },
        problem: status.problem.clone(),
        begun,
        ailing,
    };
    (known, drafts)
}

fn draft(kind: EventKind, status: &PoolStatus, text: String) -> EventDraft {
    let data = json!({
        "pool": status.name,
        "health": status.health.as_str(),
        "wanted": status.wanted,
        "ready": status.counts.ready,
        "starts_failed": status.problem.as_ref().map(|problem| problem.failures),
    });
    EventDraft::new(kind, Actor::Agent, text).with(data)
}

fn started(status: &PoolStatus) -> EventDraft {
    let PoolSpec { image, min, max, listen, .. } = &status.spec;
    let image = clean(image, 200);
    let text = format!("Pool {} began: {min} to {max} containers of {image} behind {listen}.", status.name);
    draft(EventKind::PoolStarted, status, text)
}

fn degraded(status: &PoolStatus) -> EventDraft {
    let why = status.problem.as_ref().map_or_else(
        || "no container is ready".to_owned(),
        |problem| clean(problem.what.trim_end_matches('.'), 300),
    );
    let how =
        if status.health == PoolHealth::Down { "is down" } else { "serves, but is not as it should be" };
    draft(EventKind::PoolDegraded, status, format!("Pool {} {how}: {why}.", status.name))
}

fn recovered(status: &PoolStatus) -> EventDraft {
    let ready = status.counts.ready;
    let text = format!("Pool {} is well again: {ready} of {} wanted are ready.", status.name, status.wanted);
    draft(EventKind::PoolRecovered, status, text)
}

fn ended(name: &PoolName) -> EventDraft {
    EventDraft::new(EventKind::PoolEnded, Actor::Agent, format!("Pool {name} ended."))
        .with(json!({ "pool": name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(health: PoolHealth, ready: u32) -> PoolStatus {
        let recorded = include_str!("../../../tests/fixtures/protocol/v1/agent_reply_pool.json");
        let reply: serde_json::Value = serde_json::from_str(recorded).unwrap();
        let status: PoolStatus = serde_json::from_value(reply["status"].clone()).unwrap();
        let bad = matches!(health, PoolHealth::Down | PoolHealth::Degraded);
        let problem = bad.then(|| PoolProblem {
            what: "no such image.".into(),
            since: status.since,
            failures: 3,
            retry_at: None,
        });
        PoolStatus { health, problem, counts: PoolCounts { ready, ..PoolCounts::default() }, ..status }
    }

    #[test]
    fn what_happens_to_a_pool_is_told_once() {
        use EventKind as E;
        use PoolHealth as H;
        let (told, statuses) = watch::channel(Vec::new());
        let mut desk = Desk {
            wanted: watch::channel(Pools::new()).0,
            asks: mpsc::channel(1).0,
            told: statuses,
            known: BTreeMap::new(),
        };
        for (now, expected) in [
            (Some(H::Starting), &[E::PoolStarted][..]),
            (Some(H::Serving), &[]),
            (Some(H::Degraded), &[E::PoolDegraded]),
            (Some(H::Degraded), &[]),
            (Some(H::Down), &[E::PoolDegraded]),
            (Some(H::Degraded), &[]),
            (Some(H::Starting), &[]),
            (Some(H::Serving), &[E::PoolRecovered]),
            (Some(H::Ending), &[]),
            (None, &[E::PoolEnded]),
            // Refused from the first: it did not begin.
            (Some(H::Down), &[E::PoolDegraded]),
            (Some(H::Serving), &[E::PoolStarted, E::PoolRecovered]),
        ] {
            told.send_replace(now.map(|health| status(health, 1)).into_iter().collect());
            let kinds: Vec<E> = desk.look().0.iter().map(|draft| draft.kind).collect();
            assert_eq!(kinds, expected, "{now:?}");
        }
    }

    #[test]
    fn a_report_is_due_for_what_people_see_and_not_for_each_request() {
        let (told, statuses) = watch::channel(vec![status(PoolHealth::Serving, 1)]);
        let mut desk = Desk {
            wanted: watch::channel(Pools::new()).0,
            asks: mpsc::channel(1).0,
            told: statuses,
            known: BTreeMap::new(),
        };
        assert!(desk.look().1);
        let busy = PoolStatus { in_flight: 9, waiting: 4, ..status(PoolHealth::Serving, 1) };
        told.send_replace(vec![PoolStatus { counts: PoolCounts { busy: 1, ..busy.counts }, ..busy }]);
        assert!(!desk.look().1);
        told.send_replace(vec![status(PoolHealth::Serving, 2)]);
        assert!(desk.look().1);
    }

    #[test]
    fn no_host_has_more_pools_than_fit_into_its_report() {
        let spec = status(PoolHealth::Serving, 1).spec;
        let many: Pools = (10..60).map(|n| (format!("p{n}").parse().unwrap(), spec.clone())).collect();
        let kept = bounded(many);
        assert_eq!((kept.len(), kept.keys().next().unwrap().as_str()), (MAX_POOLS, "p10"));
    }
}
