//! The closed form of [`super::francis`]: proportional control about Little's law.
//!
//! ```text
//! p = lambda S + kappa (r - lambda S) S / T
//! ```
//!
//! In steady state lambda S requests are at work (Little), and so many containers are busy. What is more is a backlog, and is
//! worked off at the gain kappa. With d periods of dead time between decision and effect the loop is stable while
//! kappa (1 + delta) < 2 sin(pi / (2 (2 d + 1))), delta the relative error of S, and does not swing while it is at most 1
//! (d = 0) or 0.25 (d = 1). Containers that start are counted, which leaves no dead time.

use super::outlook::{Outlook, upwards};
use super::{ControlSettings, Controller, Decision, Observation};

/// kappa: stable with up to two periods of dead time.
const GAIN: f64 = 0.5;

/// The regulator.
#[derive(Debug)]
pub(super) struct Regulator {
    outlook: Outlook,
}

impl Regulator {
    pub(super) fn new(settings: &ControlSettings) -> Self {
        Self { outlook: Outlook::new(settings) }
    }
}

impl Controller for Regulator {
    fn decide(&mut self, seen: &Observation) -> Decision {
        let terms = self.outlook.saw(seen);
        let requests = f64::from(seen.requests());
        let rate = self.outlook.arrivals.ahead(1);
        let at_work = law(rate, requests, terms.service_s, terms.period_s);
        let wanted = upwards(at_work / terms.concurrency).min(terms.highest);
        let wanted = wanted.max(self.outlook.settings.bounds.min());
        let serving = (f64::from(wanted.min(seen.ready)) * terms.concurrency).min(terms.useful);
        let come = rate * terms.period_s;
        let in_reach = requests + come / 2.0;
        let served = in_reach.min(terms.period_s / terms.service_s * serving.min(in_reach));
        self.outlook.settle(seen, &terms, wanted, requests - served + come)
    }
}

/// How many requests should be at work at once.
fn law(rate: f64, requests: f64, service_s: f64, period_s: f64) -> f64 {
    let steady = rate * service_s;
    (steady + GAIN * (requests - steady) * service_s / period_s).max(0.0)
}
