//! From what was counted and measured in a period to what a controller is told and people read. Pure.

use std::collections::BTreeMap;

use super::dispatch::MemberId;
use super::tally::Tally;
use crate::model::{PoolCounts, PoolPeriod};
use crate::scale::control::{Micros, Observation};

/// How far back containers count for the mean age, seconds.
pub(super) const AGE_WINDOW: f64 = 240.0;

/// What the sensors say of one period.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Measured {
    /// CPU that containers used, percent of one core.
    pub(super) containers: BTreeMap<MemberId, f64>,
    /// CPU that the host used, percent of one core.
    pub(super) host: Option<f64>,
}

/// Everything that is known at the end of a period.
#[derive(Debug)]
pub(super) struct Moment<'a> {
    pub(super) tally: &'a Tally,
    pub(super) waiting: u32,
    pub(super) in_flight: u32,
    pub(super) counts: PoolCounts,
    /// What each container that starts will still take.
    pub(super) remaining: Vec<Micros>,
    pub(super) boot: Option<Micros>,
    /// `None` where nothing was measured.
    pub(super) measured: Option<&'a Measured>,
    /// Containers that have run for all the period.
    pub(super) steady: &'a [MemberId],
    /// The ages of all that run, seconds.
    pub(super) ages: &'a [f64],
    pub(super) millicores: u32,
    /// Whether there was a period before this moment.
    pub(super) first: bool,
}

impl Moment<'_> {
    /// How long the period was.
    fn span(&self) -> Micros {
        self.tally.until.saturating_sub(self.tally.begun)
    }

    /// CPU time that the pool used; `None` when that of one that ran all the time is not known.
    fn cpu(&self) -> Option<Micros> {
        let known = &self.measured?.containers;
        let all = self.steady.iter().all(|member| known.contains_key(member));
        all.then(|| self.of_percent(known.values().sum()))
    }

    fn host_cpu(&self) -> Option<Micros> {
        Some(self.of_percent(self.measured?.host?))
    }

    fn of_percent(&self, percent: f64) -> Micros {
        Micros::from_seconds(percent / 100.0 * self.span().seconds())
    }

    /// What a controller is told.
    pub(super) fn observation(&self) -> Observation {
        Observation {
            at: self.tally.until,
            period: if self.first { Micros::ZERO } else { self.span() },
            queued: self.waiting,
            in_flight: self.in_flight,
            arrivals: self.tally.arrivals,
            completions: self.tally.completions,
            in_service: self.tally.in_service,
            ready: self.counts.ready,
            starting: self.remaining.clone(),
            draining: self.counts.draining,
            cpu: self.cpu(),
            host_cpu: self.host_cpu(),
            millicores: self.millicores,
            boot: self.boot,
        }
    }

    /// What people read.
    pub(super) fn period(&self) -> PoolPeriod {
        let seconds = self.span().seconds();
        let (tally, cpu, host) = (self.tally, self.cpu(), self.host_cpu());
        let cores = f64::from(self.millicores) / 1000.0;
        let per_second = |span: Micros| (seconds > 0.0).then(|| span.seconds() / seconds);
        let young: Vec<f64> = self.ages.iter().copied().filter(|age| *age <= AGE_WINDOW).collect();
        PoolPeriod {
            seconds,
            arrivals: tally.arrivals,
            backlog_mean: tally.backlog_mean(),
            backlog_max: tally.backlog_max,
            completions: tally.completions,
            waiting: self.waiting,
            in_flight: self.in_flight,
            wait_mean: tally.waits.mean(),
            sojourn_mean: tally.sojourns.mean(),
            service_mean: tally.services.mean(),
            busy_seconds: tally.busy.seconds(),
            cpu_seconds: cpu.map(Micros::seconds),
            host_utilisation: host
                .and_then(per_second)
                .filter(|_| cores > 0.0)
                .map(|used| (used / cores).min(1.0)),
            others_cores: host.zip(cpu).and_then(|(host, cpu)| per_second(host.saturating_sub(cpu))),
            age_mean: (!young.is_empty()).then(|| young.iter().sum::<f64>() / young.len() as f64),
            boot_seconds: self.boot.map(Micros::seconds),
            counts: self.counts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::pool::tally::{Counted, Outcome};

    fn tally() -> Tally {
        let at = Micros::from_secs;
        let mut tally = Tally::new(at(10));
        tally.arrived(0);
        tally.arrived(3);
        tally.pass(2, 3, at(12));
        let counted = Counted { arrived: at(6), begun: at(9), outcome: Outcome::Served };
        tally.ended(counted, at(12));
        tally
    }

    fn moment<'a>(tally: &'a Tally, measured: Option<&'a Measured>, steady: &'a [MemberId]) -> Moment<'a> {
        Moment {
            tally,
            waiting: 1,
            in_flight: 2,
            counts: PoolCounts { starting: 1, ready: 2, busy: 2, draining: 0, removing: 0 },
            remaining: vec![Micros(5)],
            boot: None,
            measured,
            steady,
            ages: &[10.0, 30.0, 1000.0],
            millicores: 2000,
            first: false,
        }
    }

    #[test]
    fn a_period_is_what_was_counted_and_measured_in_it() {
        let measured =
            Measured { containers: [(MemberId(1), 50.0), (MemberId(2), 25.0)].into(), host: Some(125.0) };
        let (tally, steady) = (tally(), [MemberId(1)]);
        let moment = moment(&tally, Some(&measured), &steady);
        let period = moment.period();
        assert_eq!((period.seconds, period.arrivals, period.completions), (2.0, 2, 1));
        assert_eq!((period.backlog_mean, period.backlog_max), (Some(1.5), Some(3)));
        assert_eq!(
            (period.wait_mean, period.service_mean, period.sojourn_mean),
            (Some(3.0), Some(3.0), Some(6.0))
        );
        assert_eq!((period.busy_seconds, period.cpu_seconds), (4.0, Some(1.5)));
        assert_eq!((period.host_utilisation, period.others_cores), (Some(0.625), Some(0.5)));
        assert_eq!(period.age_mean, Some(20.0), "those started in the last 4 minutes");
        let seen = moment.observation();
        assert_eq!((seen.period, seen.in_service), (Micros::from_secs(2), Micros::from_secs(6)));
        assert_eq!((seen.requests(), seen.containers()), (3, 3));
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let tally = Tally::new(Micros::ZERO);
        let period = moment(&tally, None, &[]).period();
        assert_eq!((period.wait_mean, period.backlog_mean, period.backlog_max), (None, None, None));
        assert_eq!((period.cpu_seconds, period.host_utilisation, period.others_cores), (None, None, None));
        let measured = Measured { containers: [(MemberId(1), 50.0)].into(), host: None };
        let steady = [MemberId(1), MemberId(2)];
        assert_eq!(
            moment(&tally, Some(&measured), &steady).observation().cpu,
            None,
            "one of them is not known"
        );
    }
}
