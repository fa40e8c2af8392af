//! When the lane may try again.

use std::time::Duration;

use tokio::time::Instant;

/// Waits after a failed delivery: doubling from the first to the last, each shortened by up to a half at random, so that a
/// fleet does not return in one moment.
const FIRST: Duration = Duration::from_millis(500);
const LAST: Duration = Duration::from_secs(10);

/// When the next attempt may be made.
pub(super) struct Retry {
    at: Instant,
    wait: Duration,
    failing: bool,
}

impl Retry {
    /// At once.
    pub(super) fn new() -> Self {
        Self { at: Instant::now(), wait: FIRST, failing: false }
    }

    /// When it may be made.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Whether it may be made now.
    pub(super) fn is_due(&self) -> bool {
        self.at <= Instant::now()
    }

    /// Whether the last one failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }

    /// The last one failed just now.
    pub(super) fn failed(&mut self) {
        self.at = Instant::now() + self.wait.mul_f64(rand::random_range(0.5..=1.0));
        self.wait = (self.wait * 2).min(LAST);
        self.failing = true;
    }

    /// The last one succeeded just now; the next waits for `pause`.
    pub(super) fn succeeded(&mut self, pause: Duration) {
        *self = Self { at: Instant::now() + pause, ..Self::new() };
    }
}
