//! What a request costs, and how much of it the host can bear at once: from CPU time and completions, by the utilisation
//! law.
//!
//! How long requests take says little: the more containers share the cores, the longer each request takes, and a controller
//! that answers with more containers makes it worse. CPU time for each request, D, does not grow with contention, nor do the
//! cores a that a request at work uses while there are enough; and S = D / a is what it would take alone.

use super::{ControlSettings, Micros, Observation};

/// What is remembered of demand fades with this time constant, seconds.
const MEMORY_S: f64 = 240.0;
/// What others use of the host, likewise.
const OTHERS_S: f64 = 30.0;
/// How far the newest period moves the cores that a request uses.
const SHARE_GAIN: f64 = 0.3;
/// Above this utilisation of the host, requests may get less than they would use.
const SATURATED: f64 = 0.9;
/// Even then each that wants the CPU gets about its fair part; who uses less than this of that does not want more.
const HARDLY: f64 = 0.1;
/// The least cores that a request is taken to use; what uses less hardly uses any, and no number of cores bounds it.
const LEAST_SHARE: f64 = 0.02;
/// Completions, as far as remembered, from which on a mean is taken.
const ENOUGH: f64 = 2.0;
/// The least of the host that the pool is taken to have, cores, however busy the others are.
const LEAST_CORES: f64 = 0.1;
/// The least time that a request is taken to need, seconds.
const LEAST_SERVICE_S: f64 = 1e-4;

/// Estimates, each a guess until something was measured.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// CPU seconds and completions, where CPU time was measured.
    cpu: f64,
    cpu_completions: f64,
    /// Seconds that requests were at work, and completions.
    in_service: f64,
    completions: f64,
    /// CPU seconds a completion, D; `None` until measured.
    demand: Option<f64>,
    /// Cores used by a request at work on a host that is not saturated, a, unbounded; `None` until measured.
    share: Option<f64>,
    /// Cores used by others; `None` until measured.
    others: Option<f64>,
    /// Whether periods went by, and in none of them CPU time was measured.
    blind: bool,
    cores: f64,
    most_share: f64,
    guess_s: f64,
    allowed: f64,
}

impl Load {
    pub(super) fn new(settings: &ControlSettings) -> Self {
        Self {
            cpu: 0.0,
            cpu_completions: 0.0,
            in_service: 0.0,
            completions: 0.0,
            demand: None,
            share: None,
            others: None,
            blind: false,
            cores: 1.0,
            most_share: settings.container_millicores.map_or(1.0, |quota| f64::from(quota.max(1)) / 1000.0),
            guess_s: settings.service_guess.seconds(),
            allowed: settings.load,
        }
    }

    /// Takes in what was seen of a period that is longer than nothing.
    pub(super) fn saw(&mut self, seen: &Observation) {
        let period = seen.period.seconds();
        let fade = (-period / MEMORY_S).exp();
        let completed = f64::from(seen.completions);
        let in_service = seen.in_service.seconds();
        self.cores = f64::from(seen.millicores.max(1)) / 1000.0;
        self.in_service = fade * self.in_service + in_service;
        self.completions = fade * self.completions + completed;
        let Some(cpu) = seen.cpu.map(Micros::seconds) else {
            self.blind |= self.share.is_none() && self.demand.is_none();
            return;
        };
        self.blind = false;
        self.cpu = fade * self.cpu + cpu;
        self.cpu_completions = fade * self.cpu_completions + completed;
        if self.cpu_completions >= ENOUGH {
            self.demand = Some(self.cpu / self.cpu_completions);
        }
        let host = seen.host_cpu.map(Micros::seconds);
        if let Some(host) = host {
            let now = (host - cpu).max(0.0) / period;
            let weight = 1.0 - (-period / OTHERS_S).exp();
            self.others = Some(self.others.map_or(now, |before| before + weight * (now - before)));
        }
        if in_service > 0.0 {
            let utilisation = host.unwrap_or(cpu).max(cpu) / (self.cores * period);
            let fair = self.cores / (in_service / period + self.others.unwrap_or(0.0)).max(1.0);
            let used = cpu / in_service;
            if utilisation >= SATURATED && used >= HARDLY * fair {
                return;
            }
            let before = self.share.unwrap_or(self.most_share.min(1.0));
            self.share = Some((before + SHARE_GAIN * (used - before)).min(self.most_share));
        }
    }

    /// Cores that a request at work uses, a, as far as it can be told.
    pub(super) fn share(&self) -> f64 {
        self.share
            .unwrap_or(self.most_share.min(1.0))
            .clamp(LEAST_SHARE.min(self.most_share), self.most_share)
    }

    /// What a request takes alone, S, seconds.
    pub(super) fn service_s(&self) -> f64 {
        let waits_elsewhere = self.share.is_some_and(|share| share < LEAST_SHARE);
        let measured = (self.completions >= ENOUGH).then(|| self.in_service / self.completions);
        let service = match self.demand {
            // It hardly uses the CPU, so that nothing keeps it from its own pace.
            _ if waits_elsewhere => measured.unwrap_or(self.guess_s),
            Some(demand) => demand / self.share(),
            // Nobody measures its CPU: what it takes is all that is known.
            None => measured.unwrap_or(self.guess_s),
        };
        service.max(LEAST_SERVICE_S)
    }

    /// Requests that can be at work at once without taking cores from each other, X; `None` when CPU time is not
    /// measured.
    pub(super) fn useful(&self) -> Option<f64> {
        let free = (self.cores - self.others.unwrap_or(0.0)).max(LEAST_CORES);
        (!self.blind).then(|| self.allowed * free / self.share())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::control::Bounds;

    fn settings() -> ControlSettings {
        ControlSettings::new(Bounds::new(1, 16).unwrap())
    }

    /// A period of 2 s on 4 cores in which `busy` requests were at work, each using `cores`, and `done` ended.
    fn period(busy: u64, cores: f64, done: u32, others: f64) -> Observation {
        let cpu = Micros::from_seconds(2.0 * busy as f64 * cores);
        Observation {
            period: Micros::from_secs(2),
            in_service: Micros::from_secs(2 * busy),
            completions: done,
            cpu: Some(cpu),
            host_cpu: Some(cpu + Micros::from_seconds(2.0 * others)),
            millicores: 4_000,
            ..Observation::default()
        }
    }

    #[test]
    fn contention_changes_neither_the_service_time_nor_what_is_useful() {
        let mut load = Load::new(&settings());
        assert!((load.service_s() - 5.0).abs() < 1e-9, "a guess at first");
        // Two at work, one core each, 4 s each; then eight share four cores and take 8 s each.
        (0..40).for_each(|_| load.saw(&period(2, 1.0, 1, 0.0)));
        let alone = (load.service_s(), load.useful().unwrap());
        (0..40).for_each(|_| load.saw(&period(8, 0.5, 2, 0.0)));
        let shared = (load.service_s(), load.useful().unwrap());
        assert!((alone.0 - 4.0).abs() < 0.1 && (alone.1 - 4.0).abs() < 0.01, "{alone:?}");
        assert!((shared.0 - 4.0).abs() < 0.1 && (shared.1 - 4.0).abs() < 0.01, "{shared:?}");
    }

    #[test]
    fn others_and_waiting_change_what_is_useful() {
        let mut load = Load::new(&settings());
        (0..100).for_each(|_| load.saw(&period(1, 0.2, 1, 3.0)));
        assert!((load.useful().unwrap() - 5.0).abs() < 0.1, "one core left, a fifth for each: {load:?}");
        assert!((load.service_s() - 2.0).abs() < 0.05, "{load:?}");
    }

    #[test]
    fn requests_that_hardly_use_the_cpu_take_what_they_take() {
        let mut load = Load::new(&settings());
        (0..100).for_each(|_| load.saw(&period(3, 0.000_1, 2, 0.0)));
        assert!((load.service_s() - 3.0).abs() < 0.05, "{load:?}");
        assert!((load.useful().unwrap() - 200.0).abs() < 1e-9, "{load:?}");
        let mut idle = Load::new(&settings());
        (0..100).for_each(|_| idle.saw(&period(3, 0.0, 2, 0.0)));
        assert!((idle.service_s() - 3.0).abs() < 0.05, "{idle:?}");
    }

    #[test]
    fn on_a_host_that_others_fill_only_what_hardly_uses_the_cpu_is_told() {
        let mut sleeps = Load::new(&settings());
        (0..100).for_each(|_| sleeps.saw(&period(3, 0.001, 2, 3.99)));
        assert!((sleeps.service_s() - 3.0).abs() < 0.05, "{sleeps:?}");
        let mut computes = Load::new(&settings());
        (0..100).for_each(|_| computes.saw(&period(3, 0.3, 2, 3.1)));
        assert!((computes.share() - 1.0).abs() < 1e-9, "it may be kept waiting: {computes:?}");
    }

    #[test]
    fn without_cpu_times_nothing_is_said_of_what_is_useful() {
        let mut load = Load::new(&settings());
        let blind = Observation { cpu: None, host_cpu: None, ..period(3, 1.0, 1, 0.0) };
        (0..10).for_each(|_| load.saw(&blind));
        assert!(load.useful().is_none());
        assert!((load.service_s() - 6.0).abs() < 0.05, "{load:?}");
    }
}
