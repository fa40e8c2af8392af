//! What happened to requests: counted over a period, and since the start. Pure.

use crate::scale::control::Micros;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its container answered it, with any status.
    Served,
    /// It was told that there is no place for it.
    Refused,
    /// Its container died or was silent.
    Failed,
    /// Its client left.
    Left,
}

/// A request that a container worked on, as it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    /// When it came.
    pub(crate) arrived: Micros,
    /// When it came to its container.
    pub(crate) begun: Micros,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// Requests since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) arrivals: u64,
    pub(crate) served: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) left: u64,
    pub(crate) retried: u64,
}

/// A sum and how many it is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    sum: Micros,
    count: u32,
}

impl Sum {
    fn add(&mut self, span: Micros) {
        self.sum += span;
        self.count += 1;
    }

    /// Seconds; `None` of nothing.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum.seconds() / f64::from(self.count))
    }
}

/// The counts of a period.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// When it began.
    pub(crate) begun: Micros,
    /// Until when time was counted.
    pub(crate) until: Micros,
    pub(crate) arrivals: u32,
    backlog: u64,
    pub(crate) backlog_max: Option<u32>,
    /// Requests that containers are through with, whatever came of them.
    pub(crate) completions: u32,
    pub(crate) waits: Sum,
    pub(crate) services: Sum,
    pub(crate) sojourns: Sum,
    /// Time summed over containers that had a request.
    pub(crate) busy: Micros,
    /// Time summed over requests that containers worked on.
    pub(crate) in_service: Micros,
    pub(crate) totals: Totals,
}

impl Tally {
    pub(crate) fn new(now: Micros) -> Self {
        Self {
            begun: now,
            until: now,
            arrivals: 0,
            backlog: 0,
            backlog_max: None,
            completions: 0,
            waits: Sum::default(),
            services: Sum::default(),
            sojourns: Sum::default(),
            busy: Micros::ZERO,
            in_service: Micros::ZERO,
            totals: Totals::default(),
        }
    }

    /// An empty one that goes on from this one.
    pub(crate) fn next(&self, now: Micros) -> Self {
        Self { totals: self.totals, ..Self::new(now) }
    }

    /// Requests that each of those that came found before it: their mean.
    pub(crate) fn backlog_mean(&self) -> Option<f64> {
        (self.arrivals > 0).then(|| self.backlog as f64 / f64::from(self.arrivals))
    }

    pub(crate) fn arrived(&mut self, backlog: u32) {
        self.arrivals += 1;
        self.totals.arrivals += 1;
        self.backlog += u64::from(backlog);
        self.backlog_max = self.backlog_max.max(Some(backlog));
    }

    pub(crate) fn refused(&mut self) {
        self.totals.refused += 1;
    }

    pub(crate) fn retried(&mut self) {
        self.totals.retried += 1;
    }

    /// One that waited left the queue without a container.
    pub(crate) fn left(&mut self, outcome: Outcome) {
        self.count(outcome);
    }

    pub(crate) fn ended(&mut self, counted: Counted, now: Micros) {
        self.completions += 1;
        self.waits.add(counted.begun.saturating_sub(counted.arrived));
        if counted.outcome == Outcome::Served {
            self.services.add(now.saturating_sub(counted.begun));
            self.sojourns.add(now.saturating_sub(counted.arrived));
        }
        self.count(counted.outcome);
    }

    /// Time passes in which so many containers and requests are at work.
    pub(crate) fn pass(&mut self, busy: u32, in_flight: u32, now: Micros) {
        let passed = now.saturating_sub(self.until);
        self.busy += Micros(passed.0.saturating_mul(busy.into()));
        self.in_service += Micros(passed.0.saturating_mul(in_flight.into()));
        self.until = self.until.max(now);
    }

    fn count(&mut self, outcome: Outcome) {
        let totals = &mut self.totals;
        let count = match outcome {
            Outcome::Served => &mut totals.served,
            Outcome::Refused => &mut totals.refused,
            Outcome::Failed => &mut totals.failed,
            Outcome::Left => &mut totals.left,
        };
        *count += 1;
    }
}
