//! The one place where the agent reads clocks.

use tokio::time::Instant;

use crate::model::{Mono, Now, Timestamp};

/// Monotonic time since the agent's start, beside wall time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// This moment on both clocks.
    pub(super) fn now(self) -> Now {
        let millis = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        Now { mono: Mono(millis), wall: Timestamp::now() }
    }

    /// The moment a timer must fire for `at`.
    pub(super) fn instant(self, at: Mono) -> Instant {
        self.origin + (at - Mono(0))
    }
}
