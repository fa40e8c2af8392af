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
        let law = Law { gain: GAIN, service_s: terms.service_s, period_s: terms.period_s };
        let at_work = law.at_work(rate, requests);
        let wanted = upwards(at_work / terms.concurrency).clamp(terms.lowest, terms.highest);
        let serving = (f64::from(wanted.min(seen.ready)) * terms.concurrency).min(terms.useful);
        let come = rate * terms.period_s;
        let in_reach = requests + come / 2.0;
        let served = in_reach.min(terms.period_s / terms.service_s * serving.min(in_reach));
        self.outlook.settle(seen, &terms, wanted, requests - served + come)
    }
}

/// The control law.
#[derive(Debug, Clone, Copy)]
struct Law {
    gain: f64,
    service_s: f64,
    period_s: f64,
}

impl Law {
    /// How many requests should be at work at once, where `rate` come a second and `requests` are here.
    fn at_work(&self, rate: f64, requests: f64) -> f64 {
        let steady = rate * self.service_s;
        (steady + self.gain * (requests - steady) * self.service_s / self.period_s).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest deviation from the steady state in the first and in the last 20 of 1,000 periods, where what is
    /// decided works `dead` periods later and S is guessed `guess` times too long.
    fn swing(gain: f64, dead: usize, guess: f64) -> (f64, f64) {
        let (rate, service_s, period_s) = (1e6, 10.0, 2.0);
        let law = Law { gain, service_s: service_s * guess, period_s };
        let steady = rate * service_s * guess;
        let mut at_work = vec![steady; dead];
        let mut requests = steady + 1.0;
        let mut off = Vec::new();
        for _ in 0..1_000 {
            at_work.push(law.at_work(rate, requests));
            let now = at_work.remove(0);
            // What is at work above or below the steady state is what is worked off more or less.
            requests -= period_s / service_s * (now - steady);
            off.push((requests - steady).abs());
        }
        let most = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
        (most(&off[..20]), most(&off[980..]))
    }

    #[test]
    fn it_is_stable_up_to_the_gain_that_theory_allows() {
        for dead in 0..=3_u8 {
            let limit = 2.0 * (std::f64::consts::PI / (2.0 * (2.0 * f64::from(dead) + 1.0))).sin();
            for guess in [0.8, 1.0, 1.25] {
                let (first, last) = swing(0.98 * limit / guess, dead.into(), guess);
                assert!(last < 0.5 * first, "{dead} periods late: {first} then {last}");
                let (first, last) = swing(1.02 * limit / guess, dead.into(), guess);
                assert!(last > 2.0 * first, "{dead} periods late: {first} then {last}");
            }
        }
        assert!(GAIN < 2.0 * (std::f64::consts::PI / 10.0).sin(), "stable even two periods late");
    }
}
