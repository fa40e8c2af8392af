//! What is told of a pool. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::desk::Look;
use super::dispatch::MemberId;
use super::plan::{Plan, Trouble, Works};
use super::spec::PoolConfig;
use crate::model::{PoolContainer, PoolDecision, PoolHealth, PoolProblem, PoolStatus, PoolTotals, Timestamp};
use crate::scale::control::Micros;

/// What the plan does not know of a container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) since: Timestamp,
    pub(super) address: Option<SocketAddr>,
    pub(super) cpu_percent: Option<f64>,
}

/// All that a status is made from.
pub(super) struct Report<'a> {
    pub(super) config: &'a PoolConfig,
    pub(super) plan: &'a Plan,
    pub(super) look: &'a Look,
    pub(super) works: &'a Works,
    pub(super) known: &'a BTreeMap<MemberId, Known>,
    /// What is wrong with the engine, and since when.
    pub(super) engine: Option<&'a (String, Timestamp)>,
    pub(super) decision: Option<&'a PoolDecision>,
    pub(super) since: Timestamp,
    pub(super) now: Timestamp,
    pub(super) mono: Micros,
    pub(super) ending: bool,
}

impl Report<'_> {
    pub(super) fn status(&self) -> PoolStatus {
        let (look, counts) = (self.look, self.plan.stages(self.works));
        let problem = self.problem();
        let health = match (self.ending, counts.ready, problem.is_some()) {
            (true, ..) => PoolHealth::Ending,
            (_, 0, true) => PoolHealth::Down,
            (_, 0, false) => PoolHealth::Starting,
            (.., true) => PoolHealth::Degraded,
            (.., false) => PoolHealth::Serving,
        };
        PoolStatus {
            name: self.config.name.clone(),
            spec: self.config.spec.clone(),
            health,
            problem,
            since: self.since,
            time: self.now,
            wanted: self.plan.target(),
            containers: self.containers(),
            counts,
            waiting: look.queued,
            in_flight: look.in_flight,
            totals: self.totals(),
            decision: self.decision.cloned(),
        }
    }

    fn problem(&self) -> Option<PoolProblem> {
        let wall = |at: Micros| {
            if at > self.mono {
                self.now.after(at.saturating_sub(self.mono).into())
            } else {
                Timestamp::from_millis(self.now.millis() - millis(self.mono.saturating_sub(at)))
            }
        };
        let trouble = self.plan.trouble(self.mono);
        match (self.engine, trouble) {
            (Some((what, since)), trouble) => Some(PoolProblem {
                what: what.clone(),
                since: *since,
                failures: trouble.as_ref().map_or(0, |trouble| trouble.failures),
                retry_at: trouble.and_then(|trouble| trouble.retry_at).map(wall),
            }),
            (None, Some(Trouble { what, since, failures, retry_at })) => {
                Some(PoolProblem { what, since: wall(since), failures, retry_at: retry_at.map(wall) })
            }
            (None, None) => None,
        }
    }

    fn containers(&self) -> Vec<PoolContainer> {
        let seats: BTreeMap<MemberId, _> = self.look.seats.iter().copied().collect();
        let mut all: Vec<PoolContainer> = self
            .plan
            .members()
            .iter()
            .filter_map(|(member, entry)| {
                let (known, seat) = (self.known.get(member)?, seats.get(member));
                Some(PoolContainer {
                    name: self.config.container_name(entry.slot),
                    slot: entry.slot,
                    state: entry.stage,
                    address: known.address,
                    since: known.since,
                    in_flight: seat.map_or(0, |seat| seat.in_flight),
                    served: seat.map_or(0, |seat| seat.served),
                    cpu_percent: known.cpu_percent,
                })
            })
            .collect();
        all.sort_by_key(|container| container.slot);
        all
    }

    fn totals(&self) -> PoolTotals {
        let (requests, containers) = (self.look.tally.totals, self.plan.counts());
        PoolTotals {
            arrivals: requests.arrivals,
            served: requests.served,
            refused: requests.refused,
            failed: requests.failed,
            left: requests.left,
            retried: requests.retried,
            started: containers.started,
            start_failures: containers.start_failures,
            removed: containers.removed,
            lost: containers.lost,
        }
    }
}

fn millis(span: Micros) -> i64 {
    i64::try_from(span.0 / 1000).unwrap_or(i64::MAX)
}
