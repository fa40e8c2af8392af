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

/// How far apart the numbers of the plans lie that are tried first.
const COARSE: usize = 6;

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

/// The cheapest plan so far.
#[derive(Debug, Clone, Copy)]
struct Best {
    /// What it costs, how far its first number is from what is there, and its second from its first.
    rank: (f64, u32, u32),
    /// Its first number.
    first: u32,
}

/// Everything about the periods ahead that does not depend on the plan.
struct Search<'a> {
    terms: &'a Terms,
    settings: &'a ControlSettings,
    there: u32,
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
        // A good plan of a few is known soon, and most of the others are dearer before they are played to the end.
        let few = self.cheapest_of(None, COARSE);
        let best = self.cheapest_of(few, 1);
        let first = best.map_or(self.there, |best| best.first);
        let one = self.play(self.start, first, (0, 1), (0.0, 0), f64::INFINITY);
        (first, one.map_or(self.start.requests, |one| one.requests))
    }

    /// The best of `known` and of the plans whose numbers lie `apart`.
    fn cheapest_of(&self, known: Option<Best>, apart: usize) -> Option<Best> {
        let (lowest, highest) = (self.terms.lowest, self.terms.highest);
        let mut best = known;
        // What is there beyond the bounds must go in any case.
        let stay = self.settings.bounds.max().min(self.there);
        let stay = (stay > highest).then_some(stay);
        let turn = self.terms.boot_periods.min(self.come.len());
        for first in (lowest..=highest).step_by(apart).chain(stay) {
            let limit = |best: Option<Best>| best.map_or(f64::INFINITY, |best| best.rank.0 + 1e-6);
            let Some(begun) = self.play(self.start, first, (0, turn), (0.0, 0), limit(best)) else {
                continue;
            };
            let more = f64::from(first.saturating_sub(self.there));
            for second in (lowest..=highest.max(first)).step_by(apart) {
                let rest = (turn, self.come.len());
                let Some(end) = self.play(begun, second, rest, (more, turn), limit(best)) else { continue };
                let cost = ((end.cost + self.tail(&end)) * 1e6).round() / 1e6;
                let rank = (cost, first.abs_diff(self.there), second.abs_diff(first));
                if best.is_none_or(|best| rank < best.rank) {
                    best = Some(Best { rank, first });
                }
            }
        }
        best
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
        let pace = period_s / service_s;
        let keeps = period_s * self.settings.container_cost * wanted;
        let steps = span.0..span.1;
        let begun_earlier = self.ramp[steps.clone()].iter();
        let periods = self.come[steps.clone()].iter().zip(&self.booted[steps]);
        for (((come, booted), now), before) in periods.zip(&self.ramp).zip(begun_earlier) {
            let ready = course.old + booted + ordered * now + earlier.0 * before;
            let in_reach = course.requests + come / 2.0;
            let at_work = least(least(least(ready, wanted) * concurrency, in_reach), useful);
            let after = course.requests - least(in_reach, pace * at_work) + come;
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

/// The smaller of two numbers, neither of which is none.
fn least(one: f64, other: f64) -> f64 {
    if one < other { one } else { other }
}
