//! What a controller sees of one period.

use serde::{Deserialize, Serialize};

use super::Micros;

/// What was seen of a pool in the period that just ended, and how it stands now. Counters are of the period alone, not
/// since the start. What could not be measured is `None`, never 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Now, since the controller began; it only grows.
    pub at: Micros,
    /// How long the period really was, T. Zero for the first observation of all, which has no period behind it.
    pub period: Micros,
    /// Requests that wait for a container now.
    pub queued: u32,
    /// Requests that containers work on now.
    pub in_flight: u32,
    /// Requests that came in the period, A.
    pub arrivals: u32,
    /// Requests that ended in the period, n, whatever came of them.
    pub completions: u32,
    /// Time that requests spent in containers in the period, summed over requests, B: three at work all period count
    /// three periods. With one request per container, this is the containers' busy time.
    pub in_service: Micros,
    /// Containers that take requests, idle or busy; not those that start or drain.
    pub ready: u32,
    /// For each container that was ordered and is not ready: the time it will still take, as far as is known; zero when it
    /// takes longer than expected. In any order.
    pub starting: Vec<Micros>,
    /// Containers that end as soon as their requests have.
    pub draining: u32,
    /// CPU time that the pool's containers used in the period, summed over cores, U; `None` when not measured.
    pub cpu: Option<Micros>,
    /// CPU time that the whole host used in the period, the pool included; `None` when not measured.
    pub host_cpu: Option<Micros>,
    /// The host's cores, C, in thousandths of one: 2 cores are 2000.
    pub millicores: u32,
    /// How long a container took from the order to being ready, averaged over the last ones; `None` when none started yet.
    pub boot: Option<Micros>,
}

impl Observation {
    /// Requests in the system, r: waiting and at work.
    pub fn requests(&self) -> u32 {
        self.queued.saturating_add(self.in_flight)
    }

    /// Containers that count, p: ready and starting, not draining. To count those that start takes the dead time out of the
    /// loop: what was ordered is not ordered again.
    pub fn containers(&self) -> u32 {
        self.ready.saturating_add(u32::try_from(self.starting.len()).unwrap_or(u32::MAX))
    }
}
