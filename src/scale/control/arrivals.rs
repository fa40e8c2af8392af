//! How many requests will come: Holt's method with a damped trend.

use std::collections::VecDeque;

/// Time constants of the level and of the trend, seconds.
const LEVEL_S: f64 = 30.0;
const TREND_S: f64 = 120.0;
/// What is left of the trend after each period ahead.
const DAMPING: f64 = 0.9;
/// Periods that are remembered, for the highest rate and the dispersion.
const WINDOW: usize = 60;
/// The trend is used only while the variance of the counts is below so many times their mean: what comes in bursts has no
/// trend, and what is Poisson has 1.
const STEADY_DISPERSION: f64 = 4.0;

/// The rate of arrivals, requests a second, and where it goes.
#[derive(Debug, Clone)]
pub(super) struct Arrivals {
    level: f64,
    trend: f64,
    dispersion: f64,
    highest: f64,
    window: VecDeque<f64>,
}

impl Arrivals {
    pub(super) fn new() -> Self {
        Self {
            level: 0.0,
            trend: 0.0,
            dispersion: 1.0,
            highest: 0.0,
            window: VecDeque::with_capacity(WINDOW),
        }
    }

    /// `count` requests came within `seconds`, which must be above 0.
    pub(super) fn saw(&mut self, count: f64, seconds: f64) {
        let rate = count / seconds;
        let (alpha, beta) = (1.0 - (-seconds / LEVEL_S).exp(), 1.0 - (-seconds / TREND_S).exp());
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(rate);
        let before = self.level;
        self.level = alpha * rate + (1.0 - alpha) * (before + DAMPING * self.trend);
        self.trend = beta * (self.level - before) + (1.0 - beta) * DAMPING * self.trend;
        let periods = self.window.len() as f64;
        let mean = self.window.iter().sum::<f64>() / periods;
        let variance = self.window.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / periods;
        self.dispersion = if mean > 0.0 { variance * seconds / mean } else { 1.0 };
        self.highest = self.window.iter().copied().fold(0.0, f64::max);
    }

    /// Whether requests come one by one rather than in bursts.
    pub(super) fn steady(&self) -> bool {
        self.dispersion < STEADY_DISPERSION
    }

    /// The rate expected `periods` ahead, at least 1; never below 0 nor above the highest that was seen in the window.
    pub(super) fn ahead(&self, periods: i32) -> f64 {
        let trend = if self.steady() {
            self.trend * DAMPING * (1.0 - DAMPING.powi(periods)) / (1.0 - DAMPING)
        } else {
            0.0
        };
        (self.level + trend).clamp(0.0, self.highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_learns_a_steady_rate_and_forgets_it() {
        let mut arrivals = Arrivals::new();
        assert!(arrivals.ahead(1).abs() < f64::EPSILON);
        (0..150).for_each(|_| arrivals.saw(6.0, 2.0));
        assert!((arrivals.ahead(1) - 3.0).abs() < 0.05, "{arrivals:?}");
        (0..150).for_each(|_| arrivals.saw(0.0, 2.0));
        assert!(arrivals.ahead(30) < 0.01, "{arrivals:?}");
    }

    #[test]
    fn a_rise_is_expected_to_go_on_but_bursts_are_not() {
        let mut rising = Arrivals::new();
        (0..60).for_each(|step| rising.saw(10.0 + f64::from(step) / 10.0, 2.0));
        assert!(rising.ahead(10) > rising.ahead(1), "{rising:?}");
        let mut bursts = Arrivals::new();
        (0..60).for_each(|step| bursts.saw(if step % 20 == 19 { 40.0 } else { 0.0 }, 2.0));
        assert!((bursts.ahead(10) - bursts.ahead(1)).abs() < f64::EPSILON, "{bursts:?}");
    }

    proptest! {
        #[test]
        fn forecasts_stay_between_nothing_and_what_was_seen(
            seen in proptest::collection::vec((0_u32..100_000, 0.001_f64..100.0), 0..100), ahead in 1_i32..60
        ) {
            let mut arrivals = Arrivals::new();
            for (count, seconds) in &seen {
                arrivals.saw(f64::from(*count), *seconds);
            }
            let highest = seen.iter().map(|(count, seconds)| f64::from(*count) / seconds).fold(0.0, f64::max);
            prop_assert!((0.0..=highest).contains(&arrivals.ahead(ahead)));
        }
    }
}
