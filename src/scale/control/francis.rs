//! The model predictive controller, after DockerAWM's Francis controller: it plays plans through a model of the pool and
//! takes the first step of the cheapest.
//!
//! ```text
//! p(k+1) = p(k) + u(k)                                      containers
//! r(k+1) = r(k) - min(r(k) + eta/2, T/S min(e, r(k) + eta/2, X)) + eta      requests; e: containers that are ready
//! ```
//!
//! A plan is p1 containers until what is started now is ready, then p2; all pairs are tried. It costs the waiting of
//! requests, the time of containers, and starts. `docs/autoscale.md` has it in words.

use super::outlook::{Outlook, Terms, upwards};
use super::{ControlSettings, Controller, Decision, Observation};

/// Periods that a plan is looked ahead, at least and at most.
const SHORTEST: f64 = 6.0;
const LONGEST: f64 = 30.0;

/// The model predictive controller.
#[derive(Debug)]
pub(super) struct Francis {
    outlook: Outlook,
}

impl Francis {
    pub(super) fn new(settings: &ControlSettings) -> Self {
        Self { outlook: Outlook::new(settings) }
    }
}

impl Controller for Francis {
    fn decide(&mut self, seen: &Observation) -> Decision {
        let terms = self.outlook.saw(seen);
        let (wanted, requests) = Search::new(&self.outlook, &terms, seen).cheapest();
        self.outlook.settle(seen, &terms, wanted, requests)
    }
}

/// A plan as far as it was played.
#[derive(Debug, Clone, Copy)]
struct Course {
    cost: f64,
    requests: f64,
    /// Containers that were ready at first and still count.
    old: f64,
    /// Containers wanted in the step before.
    wanted: f64,
}

/// Everything about the periods ahead that does not depend on the plan.
struct Search<'a> {
    terms: &'a Terms,
    settings: &'a ControlSettings,
    there: u32,
    lowest: u32,
    start: Course,
    /// For each period ahead: requests that come.
    come: Vec<f64>,
    /// For each period ahead: how many of those that start now are ready, on average over the period.
    booted: Vec<f64>,
    /// How much of a container that is ordered is ready in the first period, the second, and so on.
    ramp: Vec<f64>,
}

impl<'a> Search<'a> {
    fn new(outlook: &'a Outlook, terms: &'a Terms, seen: &Observation) -> Self {
        let period = terms.period_s;
        let steps = ((terms.boot_s + 2.0 * terms.service_s) / period).ceil().clamp(SHORTEST, LONGEST);
        let steps = upwards(steps);
        let ahead = |step: u32| outlook.arrivals.ahead(i32::try_from(step).unwrap_or(i32::MAX));
        let ready_by =
            |step: u32, after_s: f64| ((period * f64::from(step + 1) - after_s) / period).clamp(0.0, 1.0);
        let there = seen.containers();
        Self {
            terms,
            settings: &outlook.settings,
            there,
            lowest: terms.lowest,
            start: Course {
                cost: 0.0,
                requests: f64::from(seen.requests()),
                old: f64::from(seen.ready),
                wanted: f64::from(there),
            },
            come: (0..steps).map(|step| ahead(step + 1) * period).collect(),
            booted: (0..steps)
                .map(|step| seen.starting.iter().map(|left| ready_by(step, left.seconds())).sum())
                .collect(),
            ramp: (0..steps).map(|step| ready_by(step, terms.boot_s)).collect(),
        }
    }

    /// The first number of the cheapest plan, the least change among equals; and the requests expected a period from now.
    fn cheapest(&self) -> (u32, f64) {
        let (lowest, highest) = (self.lowest, self.terms.highest);
        let mut best: Option<((f64, u32, u32), u32)> = None;
        let mut expected = self.start.requests;
        // What is there beyond the bounds must go in any case.
        let stay = self.settings.bounds.max().min(self.there);
        let stay = (stay > highest).then_some(stay);
        for first in (lowest..=highest).chain(stay) {
            let limit = best.map_or(f64::INFINITY, |((cost, ..), _)| cost + 1e-6);
            let turn = self.terms.boot_periods.min(self.come.len());
            let Some(begun) = self.play(self.start, first, (0, turn), (0.0, 0), limit) else { continue };
            let more = f64::from(first.saturating_sub(self.there));
            for second in lowest..=highest.max(first) {
                let limit = best.map_or(f64::INFINITY, |((cost, ..), _)| cost + 1e-6);
                let rest = (turn, self.come.len());
                let Some(end) = self.play(begun, second, rest, (more, turn), limit) else { continue };
                let cost = ((end.cost + self.tail(&end)) * 1e6).round() / 1e6;
                let rank = (cost, first.abs_diff(self.there), second.abs_diff(first));
                if best.is_none_or(|(least, _)| rank < least) {
                    best = Some((rank, first));
                    let one = self.play(self.start, first, (0, 1), (0.0, 0), f64::INFINITY);
                    expected = one.map_or(expected, |one| one.requests);
                }
            }
        }
        (best.map_or(self.there, |(_, first)| first), expected)
    }

    /// Plays `wanted` containers for the periods from `span.0` to before `span.1`, with `earlier.0` ordered at the
    /// beginning, of a plan that turned at `earlier.1`; `None` as soon as it costs more than `limit`.
    fn play(
        &self,
        from: Course,
        wanted: u32,
        span: (usize, usize),
        earlier: (f64, usize),
        limit: f64,
    ) -> Option<Course> {
        let Terms { period_s, service_s, concurrency, useful, .. } = *self.terms;
        let wanted = f64::from(wanted);
        let ordered = (wanted - from.wanted).max(0.0);
        let mut course = from;
        course.cost += self.settings.start_cost * service_s * ordered;
        if wanted < from.wanted {
            course.old = course.old.min(wanted);
        }
        course.wanted = wanted;
        let keeps = period_s * self.settings.container_cost * wanted;
        for step in span.0..span.1 {
            let ready = course.old
                + self.booted[step]
                + ordered * self.ramp[step - span.0]
                + earlier.0 * self.ramp[step];
            let come = self.come[step];
            let in_reach = course.requests + come / 2.0;
            let at_work = (ready.min(wanted) * concurrency).min(in_reach).min(useful);
            let after = course.requests - in_reach.min(period_s / service_s * at_work) + come;
            course.cost += period_s * (course.requests + after) / 2.0 + keeps;
            course.requests = after;
            if course.cost > limit {
                return None;
            }
        }
        Some(course)
    }

    /// What it costs to work off what is left at the end of a plan.
    fn tail(&self, end: &Course) -> f64 {
        let at_once = (end.wanted * self.terms.concurrency).min(self.terms.useful);
        let rate = at_once / self.terms.service_s;
        end.requests * end.requests / (2.0 * rate)
            + self.settings.container_cost * end.wanted * end.requests / rate
    }
}
