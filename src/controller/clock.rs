//! The two clocks of this process, read by owner tasks alone.

use std::time::Instant;

use crate::model::{Mono, Now, Timestamp};

/// Both clocks; monotonic time counts from when it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Now {
        let mono = i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX);
        Now { mono: Mono(mono), wall: Timestamp::now() }
    }
}
