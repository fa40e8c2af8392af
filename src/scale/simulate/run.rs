//! The course of events.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::figures::{Served, figures};
use super::host::{Due, Host};
use super::{Dispatch, Outcome, Plan, Step};
use crate::scale::control::{Change, Controller, Micros, Observation, Phase, StartBackoff, changes};

/// No simulation goes on for longer: 30 days, seconds.
const LONGEST_S: f64 = 30.0 * 86_400.0;
/// How long a container takes to be ready, as shares of the mean.
const BOOTS: std::ops::RangeInclusive<f64> = 0.8..=1.4;
/// How far the newest start moves the average.
const BOOT_GAIN: f64 = 0.3;

/// Why something cannot be simulated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimulateError {
    /// Nothing comes.
    #[error("there are no requests to simulate")]
    NoRequests,
    /// The others leave nothing.
    #[error("others use all cores of the host: leave some to the pool")]
    NoCores,
    /// It does not end.
    #[error("the requests are not done after 30 days: give more cores, or less work")]
    TooLong,
}

/// Plays a plan until every request is done.
pub fn simulate(plan: &Plan) -> Result<Outcome, SimulateError> {
    if plan.arrivals.is_empty() {
        return Err(SimulateError::NoRequests);
    }
    if plan.others >= plan.millicores || plan.share == 0 {
        return Err(SimulateError::NoCores);
    }
    let mut run = Run::new(plan);
    while run.served.len() < plan.arrivals.len() {
        if run.host.now_s > LONGEST_S {
            return Err(SimulateError::TooLong);
        }
        run.next();
    }
    Ok(Outcome {
        figures: figures(&run.served, &run.steps, run.host.container_s, run.peak),
        steps: run.steps,
        starts: run.starts,
        refused: run.refused,
    })
}

struct Run<'a> {
    plan: &'a Plan,
    controller: Box<dyn Controller>,
    every_s: f64,
    host: Host,
    queue: VecDeque<usize>,
    /// Arrivals that came.
    came: usize,
    served: Vec<Served>,
    rng: StdRng,
    backoff: StartBackoff,
    boot_s: Option<f64>,
    next_tick_s: f64,
    /// At the last tick: what had come, ended, and been used.
    last: (usize, usize, f64, f64),
    steps: Vec<Step>,
    peak: u32,
    starts: u32,
    refused: u32,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan) -> Self {
        let settings = plan.told();
        let least = plan.controller.bounds(settings.bounds).min();
        let free = f64::from(plan.millicores - plan.others) / 1000.0;
        Self {
            plan,
            controller: plan.controller.build(&settings),
            every_s: settings.period.seconds(),
            host: Host::new(least, free, f64::from(plan.share) / 1000.0),
            queue: VecDeque::new(),
            came: 0,
            served: Vec::with_capacity(plan.arrivals.len()),
            rng: StdRng::seed_from_u64(plan.seed ^ 0xb007),
            backoff: StartBackoff::default(),
            boot_s: None,
            next_tick_s: 0.0,
            last: (0, 0, 0.0, 0.0),
            steps: Vec::new(),
            peak: least,
            starts: 0,
            refused: 0,
        }
    }

    /// The next event: of several at once, first what ends, then what comes, then what becomes ready, then the tick.
    fn next(&mut self) {
        let due = self.host.due();
        let arrival_s = self.plan.arrivals.get(self.came).map(|one| one.at.seconds());
        let due_s = due.map_or(f64::INFINITY, |(at_s, _)| at_s);
        let arrival_s = arrival_s.unwrap_or(f64::INFINITY);
        let now_s = due_s.min(arrival_s).min(self.next_tick_s);
        self.host.advance(now_s);
        match due {
            Some((at_s, Due::Done(id))) if at_s <= now_s => self.done(id),
            _ if arrival_s <= now_s => self.arrive(now_s),
            Some((at_s, Due::Ready(id))) if at_s <= now_s => self.ready(id),
            _ => {
                self.next_tick_s = now_s + self.every_s;
                self.tick();
                self.hand_out();
                return;
            }
        }
        if self.plan.dispatch == Dispatch::Event {
            self.hand_out();
        }
    }

    fn done(&mut self, id: u32) {
        if let Some(work) = self.host.done(id) {
            self.served.push(Served {
                arrived: self.plan.arrivals[work.request].at.seconds(),
                begun: work.begun_s,
                ended: self.host.now_s,
            });
        }
    }

    fn arrive(&mut self, now_s: f64) {
        while self.plan.arrivals.get(self.came).is_some_and(|one| one.at.seconds() <= now_s) {
            self.queue.push_back(self.came);
            self.came += 1;
        }
    }

    fn ready(&mut self, id: u32) {
        if let Some(took_s) = self.host.ready(id) {
            self.boot_s = Some(self.boot_s.map_or(took_s, |mean| mean + BOOT_GAIN * (took_s - mean)));
            self.backoff.started();
        }
    }

    fn hand_out(&mut self) {
        while let Some(request) = self.queue.front().copied() {
            if !self.host.dispatch(request, self.plan.arrivals[request].service.seconds()) {
                break;
            }
            self.queue.pop_front();
        }
    }

    fn tick(&mut self) {
        let seen = self.observe();
        let decision = self.controller.decide(&seen);
        for change in changes(decision.delta, &self.host.members()) {
            match change {
                Change::Start => self.start(seen.at),
                Change::Cancel(id) | Change::Remove(id) => self.host.remove(id),
                Change::Drain(id) | Change::Undrain(id) => self.host.turn_drain(id),
            }
        }
        let count = |phase| self.host.count(phase);
        self.peak = self.peak.max(count(Phase::Starting) + count(Phase::Idle) + count(Phase::Busy));
        self.steps.push(Step { seen, decision });
    }

    fn start(&mut self, now: Micros) {
        if self.backoff.allowed(now, self.host.count(Phase::Starting) as usize) == Some(0) {
            return;
        }
        self.starts += 1;
        if self.plan.refused.is_some_and(|(from, to)| (from..to).contains(&now)) {
            self.refused += 1;
            self.backoff.failed(now);
            return;
        }
        let boot_s = self.plan.boot.seconds() * self.rng.random_range(BOOTS);
        self.host.start(boot_s);
    }

    /// What the controller sees. What came before the first tick counts as come in a period before it.
    fn observe(&mut self) -> Observation {
        let host = &self.host;
        let period_s = self.every_s;
        let (came, ended, cpu_s, in_service_s) = self.last;
        self.last = (self.came, self.served.len(), host.cpu_s, host.in_service_s);
        let count = |now: usize, before: usize| u32::try_from(now - before).unwrap_or(u32::MAX);
        let used_s = host.cpu_s - cpu_s;
        let boot_s = self.boot_s.unwrap_or(self.plan.settings.boot_guess.seconds());
        let left = |age_s: f64| Micros::from_seconds(boot_s - age_s);
        let busy = host.count(Phase::Busy);
        Observation {
            at: Micros::from_seconds(host.now_s),
            period: Micros::from_seconds(period_s),
            queued: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            in_flight: busy + host.count(Phase::Draining),
            arrivals: count(self.came, came),
            completions: count(self.served.len(), ended),
            in_service: Micros::from_seconds(host.in_service_s - in_service_s),
            ready: host.count(Phase::Idle) + busy,
            starting: host.starting().into_iter().map(left).collect(),
            draining: host.count(Phase::Draining),
            cpu: Some(Micros::from_seconds(used_s)),
            host_cpu: Some(Micros::from_seconds(used_s + f64::from(self.plan.others) / 1000.0 * period_s)),
            millicores: self.plan.millicores,
            boot: self.boot_s.map(Micros::from_seconds),
        }
    }
}
