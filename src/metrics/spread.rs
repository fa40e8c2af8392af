//! The mean, the largest and the percentiles of values that come one by one, in bounded memory. Pure.
//!
//! The first [`EXACT`] values are kept as they are. Beyond that they are counted in buckets whose bounds grow by 2 %, as in
//! DDSketch (Masson, Rim, Lee: "DDSketch", VLDB 2019): a percentile is then within 1 % of a value that was measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many values are kept as they are.
pub const EXACT: usize = 256;

/// How much larger each bucket's bound is than that of the one before.
const GROWTH: f64 = 1.02;
/// What is smaller counts as zero, what is larger as this much: some 3,000 buckets at most.
const LEAST: f64 = 1e-9;
const MOST: f64 = 1e18;

/// Values that are gathered over a span. None is negative.
pub trait Gather: Default {
    /// Takes one more.
    fn add(&mut self, value: f64);
}

/// Their mean and the largest.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MeanMax {
    count: u64,
    sum: f64,
    max: f64,
}

impl MeanMax {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean; `None` where there was none.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// The largest.
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }
}

impl Gather for MeanMax {
    fn add(&mut self, value: f64) {
        self.max = if self.count == 0 { value } else { self.max.max(value) };
        self.count += 1;
        self.sum += value;
    }
}

/// Their mean, the largest, and percentiles.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spread {
    total: MeanMax,
    held: Held,
}

#[derive(Debug, Clone, PartialEq)]
enum Held {
    Exact(Vec<f64>),
    /// How many lie in each bucket, by the power of [`GROWTH`] that bounds it; zeros by the least there is.
    Buckets(BTreeMap<i32, u64>),
}

impl Default for Held {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

/// What values over a span come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many there were.
    pub samples: u64,
    /// Their mean.
    pub mean: f64,
    /// The largest.
    pub max: f64,
    /// The median; percentiles are by nearest rank.
    pub p50: f64,
    /// At most 5 % were above it.
    pub p95: f64,
    /// At most 1 % were above it.
    pub p99: f64,
}

impl Gather for Spread {
    fn add(&mut self, value: f64) {
        self.total.add(value);
        match &mut self.held {
            Held::Exact(values) if values.len() < EXACT => values.push(value),
            Held::Exact(values) => {
                let mut buckets = BTreeMap::new();
                for value in values.drain(..).chain([value]) {
                    *buckets.entry(bucket(value)).or_default() += 1;
                }
                self.held = Held::Buckets(buckets);
            }
            Held::Buckets(buckets) => *buckets.entry(bucket(value)).or_default() += 1,
        }
    }
}

impl Spread {
    /// What they come to; `None` where there was none.
    pub fn summary(&self) -> Option<Summary> {
        let (mean, max) = (self.total.mean()?, self.total.max()?);
        let [p50, p95, p99] = self.percentiles([50, 95, 99]);
        Some(Summary { samples: self.total.count(), mean, max, p50, p95, p99 })
    }

    fn percentiles<const N: usize>(&self, percents: [u64; N]) -> [f64; N] {
        let rank = |percent: u64| (self.total.count.saturating_mul(percent)).div_ceil(100).max(1);
        match &self.held {
            Held::Exact(values) => {
                let mut sorted = values.clone();
                sorted.sort_unstable_by(f64::total_cmp);
                percents.map(|percent| {
                    let at = usize::try_from(rank(percent) - 1).unwrap_or(usize::MAX);
                    sorted.get(at).or(sorted.last()).copied().unwrap_or(0.0)
                })
            }
            Held::Buckets(buckets) => percents.map(|percent| {
                let (rank, mut passed) = (rank(percent), 0);
                let found = buckets.iter().find(|(_, count)| {
                    passed += **count;
                    passed >= rank
                });
                found.map_or(self.total.max, |(bucket, _)| middle(*bucket).min(self.total.max))
            }),
        }
    }
}

fn bucket(value: f64) -> i32 {
    if value < LEAST {
        return i32::MIN;
    }
    #[expect(clippy::cast_possible_truncation, reason = "from -1046 to 2093 by the bounds above")]
    let power = (value.min(MOST).ln() / GROWTH.ln()).ceil() as i32;
    power
}

/// The value that is within 1 % of all in the bucket.
fn middle(bucket: i32) -> f64 {
    if bucket == i32::MIN { 0.0 } else { 2.0 * GROWTH.powi(bucket) / (GROWTH + 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn summary(values: &[f64]) -> Option<Summary> {
        let mut spread = Spread::default();
        for value in values {
            spread.add(*value);
        }
        spread.summary()
    }

    fn largest(values: &[f64]) -> f64 {
        values.iter().copied().fold(0.0, f64::max)
    }

    /// Whether both are the very same number.
    fn same(a: f64, b: f64) -> bool {
        a.to_bits() == b.to_bits()
    }

    /// By the definition: the smallest value that at least so many percent are not above.
    fn percentile(values: &[f64], percent: u64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let enough = |(n, _): &(u64, &f64)| n * 100 >= percent * values.len() as u64;
        *(1_u64..).zip(&sorted).find(enough).unwrap().1
    }

    #[test]
    fn nothing_comes_to_nothing_and_one_value_to_itself() {
        assert_eq!(summary(&[]), None);
        let one = Summary { samples: 1, mean: 7.0, max: 7.0, p50: 7.0, p95: 7.0, p99: 7.0 };
        assert_eq!(summary(&[7.0]), Some(one));
        assert_eq!(MeanMax::default().mean(), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut spread = Spread::default();
        for n in 0..200_000_u32 {
            spread.add(f64::from(n).powi(4) * 1e-12);
        }
        let Held::Buckets(buckets) = &spread.held else { panic!("so many are counted in buckets") };
        assert!(buckets.len() < 3_200, "{}", buckets.len());
    }

    proptest! {
        #[test]
        fn few_values_are_summarised_exactly(values in proptest::collection::vec(0.0..1e12_f64, 1..EXACT)) {
            let got = summary(&values).unwrap();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            prop_assert!((got.mean - mean).abs() <= mean * 1e-9);
            prop_assert!(same(got.max, largest(&values)));
            for (got, percent) in [(got.p50, 50), (got.p95, 95), (got.p99, 99)] {
                prop_assert!(same(got, percentile(&values, percent)), "p{}", percent);
            }
        }

        #[test]
        fn many_are_within_a_percent(
            values in proptest::collection::vec(prop_oneof![Just(0.0), 1e-6..1.0_f64, 1.0..1e15_f64], EXACT + 1..3 * EXACT),
        ) {
            let got = summary(&values).unwrap();
            prop_assert_eq!(got.samples, values.len() as u64);
            prop_assert!(same(got.max, largest(&values)));
            for (got, percent) in [(got.p50, 50), (got.p95, 95), (got.p99, 99)] {
                let exact = percentile(&values, percent);
                prop_assert!((got - exact).abs() <= exact * 0.010_001, "p{} is {}, not {}", percent, got, exact);
            }
        }

        #[test]
        fn mean_and_max_are_those_of_all(values in proptest::collection::vec(0.0..1e9_f64, 1..100)) {
            let mut both = MeanMax::default();
            for value in &values {
                both.add(*value);
            }
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            prop_assert!((both.mean().unwrap() - mean).abs() < 1e-3);
            prop_assert!(same(both.max().unwrap(), largest(&values)));
        }
    }
}
