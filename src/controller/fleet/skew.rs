//! How far a host's clock is from ours, as its reports tell: pure.
//!
//! A report that was held up on its way looks like one of a clock that is behind. So of the last few the one furthest
//! ahead counts.

use std::collections::VecDeque;

use crate::model::{Actor, EventDraft, EventKind, HostName, Timestamp, format_span};

/// How many reports are considered.
const REPORTS: usize = 3;

/// A clock that is further off is skewed, milliseconds either way; one that was, agrees again when it is less than the
/// second off.
const SKEWED_MS: u64 = 30_000;
const AGREES_MS: u64 = 25_000;

/// A host's clock.
#[derive(Debug, Default)]
pub(super) struct Skew {
    /// Of the last reports, oldest first: how far the host's clock was ahead, milliseconds.
    offsets: VecDeque<i64>,
    skewed: bool,
}

impl Skew {
    /// One that was told to be skewed or not.
    pub(super) fn known(skewed: bool) -> Self {
        Self { offsets: VecDeque::new(), skewed }
    }

    /// How far it is ahead, milliseconds; behind where negative; `None` before a report was heard.
    pub(super) fn offset_ms(&self) -> Option<i64> {
        self.offsets.iter().max().copied()
    }

    /// Whether it is too far off.
    pub(super) fn is_skewed(&self) -> bool {
        self.skewed
    }

    /// Takes in a report made at `said` by `host`'s clock and heard at `heard` by ours.
    pub(super) fn hear(&mut self, host: &HostName, said: Timestamp, heard: Timestamp) -> Option<EventDraft> {
        if self.offsets.len() == REPORTS {
            self.offsets.pop_front();
        }
        self.offsets.push_back(said.millis().saturating_sub(heard.millis()));
        let offset = self.offset_ms()?;
        let skewed = if self.skewed {
            offset.unsigned_abs() >= AGREES_MS
        } else {
            self.offsets.len() == REPORTS && offset.unsigned_abs() > SKEWED_MS
        };
        if skewed == self.skewed {
            return None;
        }
        self.skewed = skewed;
        let (kind, reason) = if skewed {
            let words = words(offset);
            let reason = format!("the clock of host {host} is {words} the controller's: have NTP set both");
            (EventKind::ClockSkewed, reason)
        } else {
            (EventKind::ClockAgrees, format!("the clock of host {host} agrees with the controller's again"))
        };
        let draft = EventDraft::new(kind, Actor::Controller, reason);
        Some(draft.with(serde_json::json!({ "offset_ms": offset })))
    }
}

/// `2m ahead of`, `31s behind`.
fn words(offset_ms: i64) -> String {
    let span = format_span(std::time::Duration::from_secs(offset_ms.unsigned_abs() / 1000));
    if offset_ms > 0 { format!("{span} ahead of") } else { format!("{span} behind") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hears a report every 5 s, each with how far its host's clock is ahead and how long it was held up, in seconds; gives
    /// what was told, with the number of the report.
    fn told(mut skew: Skew, reports: &[(i64, i64)]) -> (Vec<String>, Option<i64>) {
        let host = "h".parse().unwrap();
        let mut told = Vec::new();
        for (n, (ahead, held_up)) in (0..).zip(reports) {
            let made = n * 5_000;
            let said = Timestamp::from_millis(made + ahead * 1000);
            let heard = Timestamp::from_millis(made + held_up * 1000);
            if let Some(draft) = skew.hear(&host, said, heard) {
                told.push(format!("{n} {}: {}", draft.kind, draft.reason));
            }
        }
        (told, skew.offset_ms())
    }

    #[test]
    fn two_minutes_either_way_are_told_once_and_so_is_their_end() {
        let (ahead, offset) = told(Skew::default(), &[(120, 0); 10]);
        assert_eq!(
            ahead,
            ["2 clock_skewed: the clock of host h is 2m ahead of the controller's: have NTP set both"]
        );
        assert_eq!(offset, Some(120_000));
        let (behind, offset) = told(Skew::default(), &[(-120, 0); 10]);
        assert!(behind.len() == 1 && behind[0].contains("is 2m behind the controller's"), "{behind:?}");
        assert_eq!(offset, Some(-120_000));

        let mended: Vec<_> = [(-120, 0); 4].into_iter().chain([(0, 0); 4]).collect();
        let (told_mended, offset) = told(Skew::default(), &mended);
        assert_eq!((told_mended.len(), offset), (2, Some(0)));
        assert!(told_mended[1].starts_with("4 clock_agrees"), "{told_mended:?}");
    }

    #[test]
    fn small_differences_and_reports_that_were_held_up_are_no_skew() {
        let held_up = [(0, 0), (0, 60), (0, 90), (1, 0), (0, 45), (0, 0), (29, 0), (30, 0), (30, 0), (30, 0)];
        assert_eq!(told(Skew::default(), &held_up).0, [""; 0]);
        assert_eq!(told(Skew::default(), &[(400, 0), (400, 0)]).0, [""; 0], "two reports are not enough");
    }

    #[test]
    fn at_the_limit_it_does_not_flap_and_after_a_restart_it_is_not_told_anew() {
        let around: Vec<_> = [31, 29, 31, 29, 26, 31].into_iter().map(|ahead| (ahead, 0)).collect();
        assert_eq!(told(Skew::default(), &around).0.len(), 1);
        assert_eq!(told(Skew::known(true), &[(120, 0); 5]).0, [""; 0]);
        let (over, _) = told(Skew::known(true), &[(1, 0); 5]);
        assert!(over.len() == 1 && over[0].starts_with("0 clock_agrees"), "{over:?}");
    }
}
