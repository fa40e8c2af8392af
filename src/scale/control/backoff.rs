//! Starts that fail: the next ones wait longer and longer.

use serde::{Deserialize, Serialize};

use super::Micros;

/// The pause after the first failure; doubled by each further one.
const FIRST: Micros = Micros::from_secs(1);
/// Where that doubling ends.
const LONGEST: Micros = Micros::from_secs(60);

/// When containers may be started, after starts that failed.
///
/// ```text
/// open ──failed──► waiting ──pause over──► probing: one start at a time ──started──► open
///                     ▲                        │
///                     └── failed, pause doubled┘
/// ```
///
/// What was wanted meanwhile is not saved up: the controller is asked anew every period, so that no more are started at
/// the end than are needed then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartBackoff {
    failures: u32,
    next: Micros,
}

impl StartBackoff {
    /// A start failed at `now`. Those that fail while waiting, having begun together, count once.
    pub fn failed(&mut self, now: Micros) {
        if self.failures > 0 && now < self.next {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.next = now + self.pause();
    }

    /// A container that was started became ready.
    pub fn started(&mut self) {
        *self = Self::default();
    }

    /// How many containers may be started at `now`, with so many `starting` already; `None`: any number.
    pub fn allowed(&self, now: Micros, starting: usize) -> Option<usize> {
        match self.failures {
            0 => None,
            _ if now < self.next || starting > 0 => Some(0),
            _ => Some(1),
        }
    }

    /// Failures in a row, 0 when the last start went well, and when the next may be tried.
    pub fn state(&self) -> (u32, Micros) {
        (self.failures, self.next)
    }

    fn pause(&self) -> Micros {
        Micros(FIRST.0 << self.failures.saturating_sub(1).min(20)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_minute_and_then_one_is_tried_at_a_time() {
        let mut backoff = StartBackoff::default();
        let at = Micros::from_secs;
        assert_eq!(backoff.allowed(at(0), 9), None);
        let mut now = at(0);
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            backoff.failed(now);
            backoff.failed(now); // it began together with the first
            now += at(pause);
            assert_eq!(backoff.allowed(now.saturating_sub(Micros(1)), 0), Some(0));
            assert_eq!(backoff.allowed(now, 0), Some(1));
            assert_eq!(backoff.allowed(now, 1), Some(0), "one at a time");
        }
        assert_eq!(backoff.state(), (8, now));
        backoff.started();
        assert_eq!(backoff.allowed(now, 5), None);
    }
}
