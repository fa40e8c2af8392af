//! The end of a period: what was counted and measured, what the controller makes of it.

use super::{Body, Happened, MemberId, Owner};
use crate::metrics::{NetworkUse, Subject};
use crate::model::{MetricTick, PoolDecision, SeriesName, Timestamp};
use crate::scale::control::{Decision, Record};
use crate::scale::pool::observe::{Measured, Moment};

/// Decisions that are remembered.
const DECISIONS: usize = 1000;

impl Owner {
    /// A period ends: reads the sensors, then decides. Before it is known what is there, nothing is decided.
    pub(in crate::scale::pool) fn period(&mut self) {
        if self.fingerprint.is_none() {
            return self.publish();
        }
        if std::mem::take(&mut self.measuring) {
            // They did not answer for a whole period.
            self.decide(None);
        } else if let Some(mut sensors) = self.sensors.take() {
            self.measuring = true;
            let of =
                |body: &Body| body.facts.as_ref().map(|facts| Subject::new(facts, NetworkUse::Namespace));
            let subjects = self.bodies.values().filter_map(of).collect();
            let step = u32::try_from(self.hands.config.period().as_secs()).unwrap_or(u32::MAX).max(1);
            let hands = self.hands.clone();
            self.tasks.spawn(async move {
                let tick = sensors.tick(Timestamp::now().millis() / 1000, step, subjects).await;
                hands.tell(Happened::Measured(sensors, tick)).await;
            });
        } else {
            self.decide(None);
        }
        self.settle();
    }

    /// What the sensors say, by container.
    pub(super) fn measured(&mut self, tick: &MetricTick) -> Measured {
        let cpu = SeriesName::of("cpu_percent");
        let mut measured = Measured { host: tick.host.get(&cpu), ..Measured::default() };
        for (member, body) in &mut self.bodies {
            let Some(facts) = &body.facts else { continue };
            let values =
                tick.containers.iter().find(|(name, _)| **name == facts.name).map(|(_, values)| values);
            body.known.cpu_percent = values.and_then(|values| values.get(&cpu));
            measured.containers.extend(body.known.cpu_percent.map(|percent| (*member, percent)));
        }
        measured
    }

    pub(super) fn decide(&mut self, measured: Option<&Measured>) {
        let (tally, look, works, now) = (self.desk.take(), self.desk.look(), self.works(), Timestamp::now());
        let steady: Vec<MemberId> = self
            .bodies
            .iter()
            .filter(|(_, body)| body.ready.is_some_and(|ready| ready < tally.begun))
            .map(|(member, _)| *member)
            .collect();
        let ages: Vec<f64> = self
            .bodies
            .values()
            .filter(|body| body.ready.is_some())
            .map(|body| now.since(body.known.since).as_secs_f64())
            .collect();
        let moment = Moment {
            tally: &tally,
            waiting: look.queued,
            in_flight: look.in_flight,
            counts: self.plan.stages(&works),
            remaining: self.plan.remaining(self.control.boot_guess, self.desk.now()),
            boot: self.plan.boot(),
            measured,
            steady: &steady,
            ages: &ages,
            millicores: self.millicores,
            first: !std::mem::replace(&mut self.decided, true),
        };
        let (seen, period) = (moment.observation(), moment.period());
        let decision = self.controller.decide(&seen);
        self.plan.want(decision.target);
        self.tell(&decision, seen.containers());
        let before = self.decisions.back().and_then(|before| before.forecast);
        self.remember(PoolDecision {
            time: now,
            period,
            have: seen.containers(),
            want: decision.target,
            reason: decision.reason.clone(),
            forecast: decision.forecast.map(|forecast| forecast.arrivals),
            forecast_was: before,
        });
        self.write(&Record::Decided { seen, decision });
    }

    fn tell(&self, decision: &Decision, have: u32) {
        let (pool, want, reason) = (self.name(), decision.target, &decision.reason);
        if decision.delta == 0 {
            tracing::debug!(%pool, have, want, reason, "decided");
        } else {
            tracing::info!(%pool, have, want, reason, "decided");
        }
    }

    fn remember(&mut self, decision: PoolDecision) {
        if self.decisions.len() == DECISIONS {
            self.decisions.pop_front();
        }
        self.decisions.push_back(decision);
    }

    pub(super) fn write(&mut self, record: &Record) {
        let Some(log) = &mut self.log else { return };
        match log.add(record) {
            Ok(true) => return,
            Ok(false) => tracing::warn!(pool = %self.name(), "the record is full; nothing more is recorded"),
            Err(error) => {
                tracing::warn!(pool = %self.name(), %error, "the record cannot be written; it ends");
            }
        }
        self.log = None;
    }
}
