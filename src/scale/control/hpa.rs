//! What Kubernetes' horizontal pod autoscaler would do, with requests per container as its metric: a comparison.

use super::held::Window;
use super::outlook::upwards;
use super::{ControlSettings, Controller, Decision, Micros, Observation, Rule};

/// It looks so often.
const SYNC: Micros = Micros::from_secs(15);
/// It leaves alone what is so near.
const TOLERANCE: f64 = 0.1;
/// It shrinks only to the most it wanted within this time.
const DOWN: Micros = Micros::from_secs(300);

/// The horizontal pod autoscaler with one request per container (and slot of it) as its target.
#[derive(Debug)]
pub(super) struct Hpa {
    settings: ControlSettings,
    next: Micros,
    wanted: Window<u32>,
}

impl Hpa {
    pub(super) fn new(settings: &ControlSettings) -> Self {
        Self { settings: settings.clone(), next: Micros::ZERO, wanted: Window::new(DOWN) }
    }
}

impl Controller for Hpa {
    fn decide(&mut self, seen: &Observation) -> Decision {
        let there = seen.containers();
        let bounds = self.settings.bounds;
        if seen.at < self.next {
            let reason = "it looks every 15 s".to_owned();
            return Decision::to(bounds.clamp(there), seen, Rule::Steady, reason, None);
        }
        self.next = seen.at + SYNC;
        let slots = f64::from(there.max(1)) * f64::from(self.settings.concurrency.max(1));
        let ratio = f64::from(seen.requests()) / slots;
        let wanted = if (ratio - 1.0).abs() <= TOLERANCE { there } else { upwards(f64::from(there) * ratio) };
        // At most 4 more, or twice as many.
        let wanted = bounds.clamp(wanted).min(there.saturating_add(there.max(4)));
        let target = bounds.clamp(self.wanted.hold(seen.at, wanted, there));
        let reason = format!("{} requests for {there} containers: {wanted} wanted", seen.requests());
        Decision::to(target, seen, Rule::between(there, target, wanted), reason, None)
    }
}
