//! The probes to one address: those in flight, and the test they feed in the order they were sent.
//!
//! ```text
//!             surprise: one lost, or without an answer
//!   sure ───────────────────────────────────────────────► in doubt
//!  (slow) ◄─────────────────────────────────────────────  (fast)
//!             decided: sound, or lossy and known to be
//! ```
//!
//! A new address is in doubt. One whose loss is established is surprised by an answer instead.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::sprt::{Bounds, Conclusion, Test};
use crate::model::{Evidence, Mono};
use crate::monitor::ping::ProbeOutcome;

/// An answer that takes longer is a reason for doubt, though none for a verdict: containers of this host answer within a
/// millisecond.
pub(super) const OVERDUE: Duration = Duration::from_millis(100);

/// Probes after which an address that is not tested has been looked at.
const UNTESTED_PROBES: u32 = 10;

/// Fewer probes say nothing of the network: then what the test before came to does.
const TELLING_PROBES: u32 = 5;

/// What probes to an address are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It has never answered: an answer is waited for.
    Hear,
    /// Its loss is tested.
    Test,
    /// Its loss is only measured: no loss is above a threshold of 100.
    Measure,
}

/// How fast an address is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Slow,
    Fast,
}

/// The end of one test.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// None where nothing was tested.
    pub(super) evidence: Option<Evidence>,
    pub(super) outcome: ProbeOutcome,
}

/// Probes sent together, one after the other.
#[derive(Debug)]
struct Flying {
    volley: u64,
    first: Mono,
    last: Mono,
    /// Comes when all of them have ended.
    outcome: Option<ProbeOutcome>,
}

/// One address.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) address: IpAddr,
    purpose: Purpose,
    bounds: Bounds,
    lossy: bool,
    in_doubt: bool,
    flying: VecDeque<Flying>,
    test: Test,
    /// The last test that ended since the container's check began.
    pub(super) ended: Option<Ended>,
    /// The last that ended at all, for the network's sake.
    before: Option<ProbeOutcome>,
}

impl Stream {
    pub(super) fn new(address: IpAddr, purpose: Purpose, bounds: Bounds) -> Self {
        Self {
            address,
            purpose,
            bounds,
            lossy: false,
            in_doubt: true,
            flying: VecDeque::new(),
            test: Test::default(),
            ended: None,
            before: None,
        }
    }

    /// Whether it is still what was asked for; hearing becomes testing by itself.
    pub(super) fn is(&self, purpose: Purpose, bounds: &Bounds) -> bool {
        let heard = purpose == Purpose::Hear && self.purpose == Purpose::Test;
        (self.purpose == purpose || heard) && self.bounds == *bounds
    }

    /// Takes in whether its loss is established.
    pub(super) fn know(&mut self, lossy: bool) {
        if lossy && !self.lossy {
            self.in_doubt = false;
        }
        self.lossy = lossy;
    }

    pub(super) fn pace(&self) -> Pace {
        if self.in_doubt { Pace::Fast } else { Pace::Slow }
    }

    /// Probes are sent to it from `first` to `last`.
    pub(super) fn send(&mut self, volley: u64, first: Mono, last: Mono) {
        self.flying.push_back(Flying { volley, first, last, outcome: None });
    }

    /// An answer that is overdue at `now` is a surprise.
    pub(super) fn look(&mut self, now: Mono) {
        let overdue = |flying: &Flying| flying.outcome.is_none() && flying.last + OVERDUE <= now;
        if self.purpose == Purpose::Test && !self.lossy && self.flying.iter().any(overdue) {
            self.in_doubt = true;
        }
    }

    /// Takes in what came of a volley; says how the test ended, if one did. A volley counts when all before it have
    /// ended: answers are known long before losses are, and would outrun them.
    pub(super) fn take(&mut self, volley: u64, outcome: ProbeOutcome) -> Option<Conclusion> {
        let flying = self.flying.iter_mut().find(|flying| flying.volley == volley)?;
        let news = if self.lossy { outcome.received > 0 } else { outcome.received < outcome.sent };
        if self.purpose == Purpose::Test && news {
            self.in_doubt = true;
        }
        let heard = self.purpose == Purpose::Hear && outcome.received > 0;
        flying.outcome = Some(outcome);
        if heard {
            // It had no answer to give before: what is still open of that need not be waited for.
            self.flying.retain(|flying| flying.volley >= volley);
            self.test = Test::default();
        }
        let mut ended = None;
        while let Some(Flying { first, last, outcome: Some(mut outcome), .. }) =
            self.flying.pop_front_if(|flying| flying.outcome.is_some())
        {
            if heard && self.purpose == Purpose::Hear {
                outcome.sent = outcome.received;
            }
            self.test.add(&self.bounds, first, last, &outcome);
            ended = self.conclude().or(ended);
            if ended == Some(Conclusion::Lossy) {
                break;
            }
        }
        ended
    }

    fn conclude(&mut self) -> Option<Conclusion> {
        let purpose = self.purpose;
        let conclusion = match purpose {
            Purpose::Test => {
                let known = self.flying.iter().filter_map(|flying| flying.outcome.as_ref());
                let ahead = known.map(|outcome| self.bounds.score(outcome)).sum();
                self.test.conclusion(&self.bounds, ahead)?
            }
            Purpose::Hear if self.test.loss().is_some_and(|loss| loss.percent() < 100.0) => {
                self.purpose = Purpose::Test;
                Conclusion::Sound
            }
            Purpose::Hear | Purpose::Measure => {
                let seen = self.test.probes() >= UNTESTED_PROBES && self.test.spans_enough(&self.bounds);
                seen.then_some(Conclusion::Sound)?
            }
        };
        let test = std::mem::take(&mut self.test);
        let (outcome, evidence) = (test.outcome(self.address), test.evidence(&self.bounds));
        self.before = Some(outcome.clone());
        self.ended = Some(Ended { evidence: (purpose == Purpose::Test).then_some(evidence), outcome });
        self.in_doubt = match (purpose, conclusion) {
            (Purpose::Test, Conclusion::Lossy) => !self.lossy,
            (Purpose::Test, Conclusion::Unproven) => true,
            // Heard for the first time: now it can be tested.
            (Purpose::Hear, _) => self.purpose == Purpose::Test,
            (Purpose::Test | Purpose::Measure, _) => false,
        };
        Some(conclusion)
    }

    /// How it stands now, for the network's sake.
    pub(super) fn standing(&self) -> ProbeOutcome {
        let present = self.test.outcome(self.address);
        let before = self.before.as_ref().filter(|_| present.sent < TELLING_PROBES);
        let mut standing = match before {
            Some(before) => before.clone(),
            None if present.sent < TELLING_PROBES => ProbeOutcome { sent: 0, received: 0, ..present },
            None => present,
        };
        standing.rtts.clear();
        standing
    }
}
