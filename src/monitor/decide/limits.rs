//! Brakes that count: budgets over a sliding window, and the backoff between two actions.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Mono, Rate};

/// The moments of the last actions within a sliding window.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    moments: VecDeque<Mono>,
}

impl Window {
    /// Notes an action at `at`; moments may come out of order when a journal is read back.
    pub(super) fn note(&mut self, at: Mono) {
        let place = self.moments.partition_point(|moment| *moment <= at);
        self.moments.insert(place, at);
    }

    /// Takes back the action noted at `at`: it never reached the engine.
    pub(super) fn take_back(&mut self, at: Mono) {
        if let Some(place) = self.moments.iter().rposition(|moment| *moment == at) {
            self.moments.remove(place);
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.moments.clear();
    }

    /// Forgets what is older than `window`, so that the window stays bounded by its budget.
    pub(super) fn expire(&mut self, window: Duration, now: Mono) {
        while self.moments.front().is_some_and(|moment| *moment + window <= now) {
            self.moments.pop_front();
        }
    }

    /// How many actions fall within `window` before `now`.
    pub(super) fn count(&self, window: Duration, now: Mono) -> u32 {
        let inside = self.moments.iter().filter(|moment| **moment + window > now).count();
        u32::try_from(inside).unwrap_or(u32::MAX)
    }

    /// Whether `rate` allows no further action now.
    pub(super) fn is_spent(&self, rate: Rate, now: Mono) -> bool {
        self.count(rate.window, now) >= rate.count
    }

    /// The newest action.
    pub(super) fn last(&self) -> Option<Mono> {
        self.moments.back().copied()
    }
}

/// The wait after the `count`-th action within the budget's window: `first`, doubling, at most `longest`.
pub(super) fn backoff(first: Duration, longest: Duration, count: u32) -> Duration {
    if count == 0 {
        return Duration::ZERO;
    }
    let factor = 1_u32.checked_shl(count - 1).unwrap_or(u32::MAX);
    first.checked_mul(factor).unwrap_or(longest).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn backoff_doubles_up_to_its_longest() {
        let wait = |count| backoff(Duration::from_secs(10), Duration::from_mins(10), count).as_secs();
        assert_eq!([0, 1, 2, 3, 4, 7, 40].map(wait), [0, 10, 20, 40, 80, 600, 600]);
    }

    proptest! {
        #[test]
        fn whoever_asks_first_never_exceeds_the_rate(
            gaps in proptest::collection::vec(0_i64..4_000, 1..200),
            count in 0_u32..6,
            window in 1_u64..10_000,
        ) {
            let rate = Rate { count, window: Duration::from_millis(window) };
            let (mut taken, mut actions, mut now) = (Window::default(), Vec::new(), Mono(0));
            for gap in gaps {
                now = Mono(now.0 + gap);
                if !taken.is_spent(rate, now) {
                    taken.note(now);
                    actions.push(now);
                }
                taken.expire(rate.window, now);
                prop_assert!(taken.moments.len() <= count as usize);
            }
            for (i, first) in actions.iter().enumerate() {
                let inside = actions[i..].iter().filter(|a| **a < *first + rate.window).count();
                prop_assert!(inside <= count as usize);
            }
        }
    }
}
