//! How long to wait before a receiver is tried again.

use std::time::Duration;

/// The pause after the first failure; doubled by each further one.
const FIRST: Duration = Duration::from_secs(1);

/// Where that doubling ends.
const LONGEST: Duration = Duration::from_mins(10);

/// The longest that a receiver's own `Retry-After` is waited for.
const LONGEST_ASKED: Duration = Duration::from_hours(1);

/// The pause after `failures` in a row. `jitter`, from 0 to 1, shortens it by at most half, so that those who failed
/// together do not come back together. What the receiver asked for is waited for at least, up to an hour.
pub(crate) fn pause(failures: u32, asked: Option<Duration>, jitter: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32 << failures.saturating_sub(1).min(20)).min(LONGEST);
    let own = doubled.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0);
    own.max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_minutes_and_heed_what_was_asked() {
        let secs = |failures| pause(failures, None, 0.0).as_secs();
        assert_eq!([1, 2, 3, 9, 10, 11, 12, u32::MAX].map(secs), [1, 2, 4, 256, 512, 600, 600, 600]);
        assert_eq!(pause(1, None, 1.0), Duration::from_millis(500));
        assert_eq!(pause(1, Some(Duration::from_secs(30)), 0.5), Duration::from_secs(30));
        assert_eq!(pause(1, Some(Duration::MAX), 0.5), LONGEST_ASKED);
        assert_eq!(pause(9, Some(Duration::from_secs(1)), 0.0).as_secs(), 256);
    }
}
