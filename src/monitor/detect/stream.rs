//! The probes to one address: those in flight, and the test they feed in the order they were sent.
//!
//! ```text
//!             one without an answer for 100 ms
//!   sure ─────────────────────────────────────────► in doubt
//!  (slow) ◄───────────────────────────────────────  (fast)
//!             enough answers to clear it since
//! ```
//!
//! A new address is in doubt. Once loss is established it is the other way round: an answer begins the doubt, a verdict
//! ends it.

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

/// A probe.
#[derive(Debug)]
struct Flying {
    volley: u64,
    at: Mono,
    /// What came of it.
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

    /// A probe is sent to it.
    pub(super) fn send(&mut self, volley: u64, at: Mono) {
        self.flying.push_back(Flying { volley, at, outcome: None });
    }

    /// The score that the test will have, as far as it can be seen now: what is overdue will be lost. Newer probes are left
    /// out, answered or not, since of those only answers can be known. Kept within the bounds.
    fn likely(&self, now: Mono) -> f64 {
        let old_enough = self.flying.iter().take_while(|flying| flying.at + OVERDUE <= now);
        old_enough.fold(self.bounds.clamped(self.test.score()), |score, flying| {
            let step =
                flying.outcome.as_ref().map_or(self.bounds.lost(), |outcome| self.bounds.score(outcome));
            self.bounds.clamped(score + step)
        })
    }

    /// Whether there is doubt: what is lost or overdue begins it, what clears the address ends it.
    pub(super) fn look(&mut self, now: Mono) {
        if self.purpose != Purpose::Test || self.lossy {
            return;
        }
        let overdue = |flying: &Flying| flying.outcome.is_none() && flying.at + OVERDUE <= now;
        if self.bounds.clears(self.likely(now)) {
            self.in_doubt = false;
        } else if self.flying.iter().any(overdue) {
            self.in_doubt = true;
        }
    }

    /// Takes in what came of a probe; says how the test ended, if it did. A probe counts when all before it have ended:
    /// answers are known long before losses are, and would outrun them.
    pub(super) fn take(&mut self, volley: u64, outcome: ProbeOutcome, now: Mono) -> Option<Conclusion> {
        let place = self.flying.binary_search_by_key(&volley, |flying| flying.volley).ok()?;
        let answered = outcome.received > 0;
        self.flying[place].outcome = Some(outcome);
        match self.purpose {
            Purpose::Test if self.lossy && answered => self.in_doubt = true,
            // It had no answer to give before: what is still open of that need not be waited for.
            Purpose::Hear if answered => {
                self.flying.drain(..place);
                self.test = Test::default();
            }
            _ => {}
        }
        let mut ended = None;
        while let Some(Flying { at, outcome: Some(outcome), .. }) =
            self.flying.pop_front_if(|flying| flying.outcome.is_some())
        {
            self.test.add(&self.bounds, at, &outcome);
            ended = self.conclude(now).or(ended);
            if ended == Some(Conclusion::Lossy) {
                break;
            }
        }
        self.look(now);
        ended
    }

    fn conclude(&mut self, now: Mono) -> Option<Conclusion> {
        let purpose = self.purpose;
        let conclusion = match purpose {
            Purpose::Test => self.test.conclusion(&self.bounds, self.likely(now))?,
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
