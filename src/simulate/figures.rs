//! How the simulated agents fare: what was made, what was acknowledged, and how long that took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// Lags are told apart by the millisecond up to a minute; longer ones count as that.
const LONGEST_MS: usize = 60_000;

/// Figures that all simulated agents add to.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) made: AtomicU64,
    pub(super) samples: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) unanswered: AtomicU64,
    pub(super) waiting: AtomicU64,
    lags: Mutex<Lags>,
}

/// What simulated agents did, from the beginning or since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Ticks made.
    pub ticks: u64,
    /// Samples in them.
    pub samples: u64,
    /// Ticks that were not made because this machine could not keep up.
    pub skipped: u64,
    /// Ticks that the controller acknowledged, so that they are stored.
    pub acknowledged: u64,
    /// Ticks of which it refused something for good.
    pub refused: u64,
    /// Ticks dropped because too many waited.
    pub dropped: u64,
    /// Deliveries that were not answered in time, and are tried again.
    pub unanswered: u64,
    /// Ticks that wait now.
    pub waiting: u64,
    /// From the moment a tick was due to its acknowledgement, milliseconds: the median; null where none came.
    pub lag_p50_ms: Option<u64>,
    /// The 99th percentile.
    pub lag_p99_ms: Option<u64>,
    /// The longest; 60000 stands for all above, too.
    pub lag_max_ms: Option<u64>,
}

impl Default for Figures {
    fn default() -> Self {
        let none = || AtomicU64::new(0);
        Self {
            made: none(),
            samples: none(),
            skipped: none(),
            acknowledged: none(),
            refused: none(),
            dropped: none(),
            unanswered: none(),
            waiting: none(),
            lags: Mutex::new(Lags { recent: vec![0; LONGEST_MS + 1], all: vec![0; LONGEST_MS + 1] }),
        }
    }
}

impl Figures {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a tick that was acknowledged so long after it was due.
    pub(super) fn acknowledge(&self, lag: Duration) {
        Self::add(&self.acknowledged, 1);
        let at = usize::try_from(lag.as_millis()).unwrap_or(LONGEST_MS).min(LONGEST_MS);
        self.lags.lock().unwrap_or_else(PoisonError::into_inner).recent[at] += 1;
    }

    /// All from the beginning, and the lags since the last look.
    pub(super) fn look(&self) -> Progress {
        let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = lags.take_recent();
        self.progress(&recent)
    }

    /// All from the beginning, lags too.
    pub(super) fn total(&self) -> Progress {
        let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        lags.take_recent();
        self.progress(&lags.all)
    }

    fn progress(&self, lags: &[u32]) -> Progress {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Progress {
            ticks: of(&self.made),
            samples: of(&self.samples),
            skipped: of(&self.skipped),
            acknowledged: of(&self.acknowledged),
            refused: of(&self.refused),
            dropped: of(&self.dropped),
            unanswered: of(&self.unanswered),
            waiting: of(&self.waiting),
            lag_p50_ms: quantile(lags, 50),
            lag_p99_ms: quantile(lags, 99),
            lag_max_ms: quantile(lags, 100),
        }
    }
}

/// How often each lag was seen, by the millisecond.
#[derive(Debug)]
struct Lags {
    recent: Vec<u32>,
    all: Vec<u32>,
}

impl Lags {
    /// Those since the last call; they count among all from now on.
    fn take_recent(&mut self) -> Vec<u32> {
        for (all, recent) in self.all.iter_mut().zip(&self.recent) {
            *all = all.saturating_add(*recent);
        }
        std::mem::replace(&mut self.recent, vec![0; LONGEST_MS + 1])
    }
}

/// The lag that so many percent do not exceed.
fn quantile(counts: &[u32], percent: u64) -> Option<u64> {
    let all: u64 = counts.iter().copied().map(u64::from).sum();
    let wanted = (all * percent).div_ceil(100);
    let mut seen = 0;
    let at = counts.iter().position(|count| {
        seen += u64::from(*count);
        all > 0 && seen >= wanted
    });
    at.map(|at| at as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_seen() {
        let figures = Figures::default();
        let lags = |progress: Progress| (progress.lag_p50_ms, progress.lag_p99_ms, progress.lag_max_ms);
        assert_eq!(lags(figures.look()), (None, None, None));
        (1..=100).for_each(|ms| figures.acknowledge(Duration::from_millis(ms)));
        assert_eq!(lags(figures.look()), (Some(50), Some(99), Some(100)));
        figures.acknowledge(Duration::from_hours(1));
        assert_eq!(lags(figures.look()), (Some(60_000), Some(60_000), Some(60_000)));
        assert_eq!(lags(figures.total()), (Some(51), Some(100), Some(60_000)));
        assert_eq!(figures.total().acknowledged, 101);
    }
}
