//! Latencies counted in the kernel: two buckets to each power of two.

use serde::{Deserialize, Serialize};

/// How many buckets there are.
pub const LATENCY_BUCKETS: usize = 64;

/// Below this there is one bucket, the first.
const FIRST_NS: u64 = 256;

/// How often packets took how long.
///
/// Bucket 0 has what took below 384 ns. Bucket `b` begins at 256 ns · 2^(b/2) for even `b`, and at half as much again as
/// the one before for odd `b`: 256, 384, 512, 768, 1024, 1536 ... The last begins at 824 s and has all that is longer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyHistogram {
    /// How many packets were timed.
    pub count: u64,
    /// What they took together, nanoseconds.
    pub sum_ns: u64,
    /// The longest, nanoseconds. The kernel tells it since the pair was first seen, so it does not fall.
    pub max_ns: u64,
    /// (bucket, count) of those buckets that are not empty, in their order.
    pub buckets: Vec<(u8, u64)>,
}

impl LatencyHistogram {
    /// From what the kernel counted in each bucket.
    pub fn new(counts: &[u64; LATENCY_BUCKETS], sum_ns: u64, max_ns: u64) -> Self {
        let filled = (0_u8..).zip(counts).filter(|(_, count)| **count > 0);
        let buckets: Vec<(u8, u64)> = filled.map(|(bucket, count)| (bucket, *count)).collect();
        let count = buckets.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        Self { count, sum_ns, max_ns, buckets }
    }

    /// Where `bucket` begins, nanoseconds.
    pub fn begins_ns(bucket: u8) -> u64 {
        let whole = FIRST_NS << u32::from(bucket / 2).min(40);
        match bucket {
            0 => 0,
            odd if odd % 2 == 1 => whole + whole / 2,
            _ => whole,
        }
    }

    /// Adds another one's packets.
    pub fn add(&mut self, other: &Self) {
        let mut counts = [0_u64; LATENCY_BUCKETS];
        for (bucket, count) in self.buckets.iter().chain(&other.buckets) {
            let slot = &mut counts[usize::from(*bucket).min(LATENCY_BUCKETS - 1)];
            *slot = slot.saturating_add(*count);
        }
        let sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        *self = Self::new(&counts, sum_ns, self.max_ns.max(other.max_ns));
    }

    /// What they took on average, microseconds; `None` when there were none.
    pub fn mean_us(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum_ns as f64 / self.count as f64 / 1000.0)
    }

    /// What the share `q` (0 to 1) of the packets took at most, microseconds: within its bucket by the line from its
    /// begin to its end. At most a fifth off, for that is half of the widest bucket. `None` when there were none.
    pub fn quantile_us(&self, q: f64) -> Option<f64> {
        let wanted = self.count as f64 * q.clamp(0.0, 1.0);
        let mut below = 0.0;
        for (bucket, count) in &self.buckets {
            let count = *count as f64;
            if below + count >= wanted && count > 0.0 {
                let (from, to) =
                    (Self::begins_ns(*bucket) as f64, Self::begins_ns(bucket.saturating_add(1)) as f64);
                let at = from + (to - from) * ((wanted - below) / count).clamp(0.0, 1.0);
                return Some(at.min(self.max_ns.max(1) as f64) / 1000.0);
            }
            below += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As `bpf/net.bpf.c` does it.
    fn bucket_of(ns: u64) -> usize {
        if ns < FIRST_NS {
            return 0;
        }
        let log = ns.ilog2();
        let half = (ns >> (log - 1)) & 1;
        usize::try_from(2 * (u64::from(log) - 8) + half).unwrap().min(LATENCY_BUCKETS - 1)
    }

    fn of(latencies: &[u64]) -> LatencyHistogram {
        let mut counts = [0; LATENCY_BUCKETS];
        for ns in latencies {
            counts[bucket_of(*ns)] += 1;
        }
        LatencyHistogram::new(&counts, latencies.iter().sum(), latencies.iter().copied().max().unwrap_or(0))
    }

    #[test]
    fn buckets_begin_where_the_kernel_says() {
        for bucket in 1..u8::try_from(LATENCY_BUCKETS).unwrap() {
            let begins = LatencyHistogram::begins_ns(bucket);
            assert_eq!(bucket_of(begins), usize::from(bucket));
            assert_eq!(bucket_of(begins - 1), usize::from(bucket) - 1);
        }
    }

    #[test]
    fn of_none_nothing_is_said() {
        let none = LatencyHistogram::default();
        assert_eq!((none.quantile_us(0.5), none.mean_us()), (None, None));
    }

    proptest! {
        #[test]
        fn a_quantile_is_near(mut latencies in proptest::collection::vec(300_u64..1 << 40, 1..200), q in 0.01_f64..1.0) {
            let histogram = of(&latencies);
            latencies.sort_unstable();
            let below = |ns: &u64| (latencies.iter().filter(|other| *other <= ns).count()) as f64;
            let wanted = latencies.len() as f64 * q;
            let exact = *latencies.iter().find(|ns| below(ns) >= wanted).unwrap() as f64 / 1000.0;
            let said = histogram.quantile_us(q).unwrap();
            prop_assert!(said >= exact * 0.6 && said <= exact * 1.55, "{said} for {exact}");
        }

        #[test]
        fn two_added_are_one_of_both(a in proptest::collection::vec(0_u64..1 << 45, 0..50), b in proptest::collection::vec(0_u64..1 << 45, 0..50)) {
            let mut sum = of(&a);
            sum.add(&of(&b));
            prop_assert_eq!(sum, of(&[a, b].concat()));
        }

        #[test]
        fn hostile_ones_do_not_panic(buckets in proptest::collection::vec(any::<(u8, u64)>(), 0..9), q in any::<f64>()) {
            let mut histogram = LatencyHistogram { count: 7, sum_ns: u64::MAX, max_ns: 3, buckets };
            let _ = histogram.quantile_us(q);
            histogram.add(&histogram.clone());
        }
    }
}
