//! What Knative's pod autoscaler would do, with requests in flight as its metric: a comparison.

use super::held::Window;
use super::outlook::upwards;
use super::{ControlSettings, Controller, Decision, Micros, Observation, Rule};

/// The share of its slots that a container is to have in use.
const TARGET: f64 = 0.7;
/// Means are taken over this time, and over the shorter one to notice a panic.
const STABLE: Micros = Micros::from_secs(60);
const PANIC: Micros = Micros::from_secs(6);
/// It panics when the shorter mean asks for so many times what is ready.
const PANIC_AT: u32 = 2;

/// The Knative pod autoscaler.
#[derive(Debug)]
pub(super) struct Kpa {
    settings: ControlSettings,
    requests: Window<u32>,
    panic_until: Option<Micros>,
    /// The most wanted since the panic began.
    panicked: u32,
}

impl Kpa {
    pub(super) fn new(settings: &ControlSettings) -> Self {
        Self { settings: settings.clone(), requests: Window::new(STABLE), panic_until: None, panicked: 0 }
    }

    /// Containers for the mean of what was in the system less than `span` before `now`.
    fn asks(&self, now: Micros, span: Micros) -> u32 {
        let those = || self.requests.values().filter(|(at, _)| *at + span > now);
        let (count, sum) = (those().count(), those().map(|(_, requests)| f64::from(requests)).sum::<f64>());
        let slots = TARGET * f64::from(self.settings.concurrency.max(1));
        upwards(sum / count.max(1) as f64 / slots)
    }
}

impl Controller for Kpa {
    fn decide(&mut self, seen: &Observation) -> Decision {
        let there = seen.containers();
        self.requests.push(seen.at, seen.requests());
        let (stable, urgent) = (self.asks(seen.at, STABLE + Micros(1)), self.asks(seen.at, PANIC));
        if urgent >= PANIC_AT.saturating_mul(seen.ready.max(1)) {
            self.panic_until = Some(seen.at + STABLE);
        }
        let panics = self.panic_until.is_some_and(|until| seen.at < until);
        self.panicked = if panics { self.panicked.max(urgent).max(there) } else { 0 };
        let wanted = if panics { self.panicked } else { stable };
        // It at most halves at once.
        let target = self.settings.bounds.clamp(wanted.max(seen.ready / 2));
        let mode = if panics { "in panic" } else { "stable" };
        let reason = format!("{stable} containers by the minute, {urgent} by the last 6 s; {mode}");
        Decision::to(target, seen, Rule::between(there, target, wanted), reason, None)
    }
}
