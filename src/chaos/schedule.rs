//! When a dummy loses packets, and how many: pure, and the same for the same seed.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::model::{LossPercent, format_span};

/// Why a loss plan makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LossPlanError {
    /// Not a range of percentages.
    #[error("loss from {0} to {1} %: give two whole percentages from 1 to 100, the lower one first")]
    Loss(u8, u8),
    /// Not a range of spans.
    #[error("spans from {} to {}: give two spans of at least 100ms and at most 1d, the shorter one first", format_span(*.0), format_span(*.1))]
    Spans(Duration, Duration),
}

/// When packets are lost, and how many.
#[derive(Debug, Clone, PartialEq)]
pub enum LossPlan {
    /// Always the same share, from the start.
    Steady(LossPercent),
    /// None for a random span, a random share for a random span, and so on.
    Random(RandomLoss),
}

impl LossPlan {
    /// The usual random one: 20 to 100 percent, for 5 to 30 seconds.
    pub fn usual(seed: u64) -> Self {
        Self::Random(RandomLoss {
            seed,
            loss: 20..=100,
            spans: Duration::from_secs(5)..=Duration::from_secs(30),
        })
    }

    /// The seed to repeat it with, where chance plays a part.
    pub fn seed(&self) -> Option<u64> {
        match self {
            Self::Steady(_) => None,
            Self::Random(random) => Some(random.seed),
        }
    }

    /// Its phases, without end.
    pub fn phases(&self) -> Box<dyn Iterator<Item = LossPhase> + Send> {
        match self {
            Self::Steady(loss) => Box::new(std::iter::repeat(LossPhase { loss: Some(*loss), lasts: STEADY })),
            Self::Random(random) => Box::new(random.phases()),
        }
    }
}

/// A steady loss is set anew this often.
const STEADY: Duration = Duration::from_hours(24);

/// Loss of a random share for a random span, then none for a random span, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RandomLoss {
    seed: u64,
    loss: RangeInclusive<u8>,
    spans: RangeInclusive<Duration>,
}

impl RandomLoss {
    /// Losses in whole percent and spans, each range inclusive.
    pub fn new(
        seed: u64,
        loss: RangeInclusive<u8>,
        spans: RangeInclusive<Duration>,
    ) -> Result<Self, LossPlanError> {
        if loss.is_empty() || *loss.start() == 0 || *loss.end() > 100 {
            return Err(LossPlanError::Loss(*loss.start(), *loss.end()));
        }
        let allowed = Duration::from_millis(100)..=Duration::from_hours(24);
        if spans.is_empty() || !allowed.contains(spans.start()) || !allowed.contains(spans.end()) {
            return Err(LossPlanError::Spans(*spans.start(), *spans.end()));
        }
        Ok(Self { seed, loss, spans })
    }

    /// Its phases, without end. The first is quiet, so that an address has answered before it falls silent.
    pub fn phases(&self) -> impl Iterator<Item = LossPhase> + Send + use<> {
        let plan = self.clone();
        let mut rng = StdRng::seed_from_u64(plan.seed);
        let mut lossy = true;
        std::iter::from_fn(move || {
            lossy = !lossy;
            let lasts = rng.random_range(plan.spans.clone());
            let loss = lossy.then(|| {
                let percent = rng.random_range(plan.loss.clone());
                LossPercent::new(f64::from(percent)).expect("checked to be at most 100")
            });
            Some(LossPhase { loss, lasts })
        })
    }
}

/// One part of a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossPhase {
    /// The share of packets to lose; `None` is quiet.
    pub loss: Option<LossPercent>,
    /// For how long.
    pub lasts: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plans_that_make_no_sense_are_refused() {
        let seconds = |a, b| Duration::from_secs(a)..=Duration::from_secs(b);
        let (empty, down) = (RangeInclusive::new(50, 20), RangeInclusive::new(0, 20));
        for loss in [empty, down, 20..=101] {
            assert!(matches!(RandomLoss::new(1, loss, seconds(5, 30)), Err(LossPlanError::Loss(..))));
        }
        for spans in [seconds(30, 5), seconds(0, 5), seconds(5, 100_000)] {
            let error = RandomLoss::new(1, 20..=100, spans).unwrap_err();
            assert!(error.to_string().contains("at least 100ms"), "{error}");
        }
        let usual = RandomLoss::new(3, 20..=100, seconds(5, 30)).map(LossPlan::Random);
        assert_eq!(usual, Ok(LossPlan::usual(3)));
    }

    proptest! {
        #[test]
        fn phases_alternate_within_their_ranges_and_repeat_with_the_seed(
            seed: u64, low in 1..=100_u8, width in 0..100_u8, shortest in 100..5000_u64, more in 0..5000_u64
        ) {
            let high = low.saturating_add(width).min(100);
            let spans = Duration::from_millis(shortest)..=Duration::from_millis(shortest + more);
            let plan = RandomLoss::new(seed, low..=high, spans.clone()).unwrap();
            let phases: Vec<_> = plan.phases().take(40).collect();
            for (n, phase) in phases.iter().enumerate() {
                prop_assert!(spans.contains(&phase.lasts));
                prop_assert_eq!(phase.loss.is_some(), n % 2 == 1);
                let range = f64::from(low)..=f64::from(high);
                prop_assert!(phase.loss.is_none_or(|loss| range.contains(&loss.percent())));
            }
            prop_assert_eq!(phases, plan.phases().take(40).collect::<Vec<_>>());
        }
    }
}
