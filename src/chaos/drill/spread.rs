//! How long things took, in four figures.

use crate::model::Spread;

/// The figures of `spans`, milliseconds, in any order; `None`: there are none. Percentiles by nearest rank.
pub(super) fn spread(mut spans: Vec<u64>) -> Option<Spread> {
    spans.sort_unstable();
    let rank = |percent: usize| spans.get((spans.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some(Spread { count: spans.len() as u64, p50_ms: rank(50)?, p95_ms: rank(95)?, max_ms: *spans.last()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranks_are_the_nearest() {
        let of = |spans: &[u64]| spread(spans.to_vec()).map(|s| (s.count, s.p50_ms, s.p95_ms, s.max_ms));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some((1, 7, 7, 7)));
        assert_eq!(of(&[4, 1, 3, 2]), Some((4, 2, 4, 4)));
        assert_eq!(of(&(1..=100).collect::<Vec<_>>()), Some((100, 50, 95, 100)));
    }

    proptest! {
        #[test]
        fn they_are_in_order_and_were_seen(spans in proptest::collection::vec(0_u64..1000, 1..50)) {
            let figures = spread(spans.clone()).unwrap();
            prop_assert!(figures.p50_ms <= figures.p95_ms && figures.p95_ms <= figures.max_ms);
            let half = spans.iter().filter(|span| **span <= figures.p50_ms).count();
            prop_assert!(half * 2 >= spans.len());
            prop_assert!([figures.p50_ms, figures.p95_ms, figures.max_ms].iter().all(|ms| spans.contains(ms)));
        }
    }
}
