//! Wald's sequential probability ratio test of one address's loss, and the bounds it decides by.
//!
//! Each lost probe adds `ln(p1/p0)` to a score, each answered one `ln((1-p1)/(1-p0))`, which is negative: the score is the
//! logarithm of how many times likelier what was seen is when `p1` of all probes are lost than when `p0` are. The test
//! ends when the score leaves the range between two bounds (A. Wald, *Sequential Analysis*, 1947). Of all tests with the
//! same error rates it needs the fewest probes on average, at `p0` and at `p1` (Wald and Wolfowitz, 1948).

use std::time::Duration;

use crate::model::{Evidence, LossPercent, Mono, Threshold};
use crate::monitor::decide::ErrorRates;
use crate::monitor::ping::ProbeOutcome;

/// No verdict stands on less.
pub(super) const LEAST_EVIDENCE: Duration = Duration::from_secs(1);

/// A year, seconds.
const YEAR: f64 = 31_557_600.0;

/// Thresholds are tested as if they were within these: at 0 a single lost probe would be proof, and the nearer both losses
/// are to 100 the more probes it takes to tell them apart.
const LOWEST: f64 = 1.0;
const HIGHEST: f64 = 99.0;

/// A test ends after so many probes, whatever it looks for: 100 s of the fast rate, and longer than the least evidence may
/// be set to.
const MOST_PROBES: u32 = 10_000;

/// A test of which so many probes, and most, say nothing ends.
const MOST_VOID: u32 = 20;

/// Round trips kept of a test, the newest ones.
const RTTS_KEPT: usize = 64;

/// The two losses a test decides between, as shares: at the threshold or below it; and what is to be found, 20 points
/// above, but no more than 95 %, and from a threshold of 90 % on half way to 100 %.
fn hypotheses(threshold: Threshold) -> (f64, f64) {
    let sound = threshold.percent().clamp(LOWEST, HIGHEST);
    let lossy = if sound > 90.0 { f64::midpoint(sound, 100.0) } else { (sound + 20.0).min(95.0) };
    (sound / 100.0, lossy / 100.0)
}

/// What the tests of one address go by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    threshold: Threshold,
    /// What a lost probe adds to the score; positive.
    lost: f64,
    /// What an answered one adds; negative.
    answered: f64,
    /// The score that decides against the address.
    fail: f64,
    /// The score that clears it.
    pass: f64,
    /// How long its evidence must span.
    span: Duration,
}

impl Bounds {
    /// The bounds for a container with this many `addresses`.
    ///
    /// **To fail.** No test is shorter than the least evidence, `span`, so a year has at most `year / span` decisions on
    /// each address, at whatever rate it is probed (at the slow rate there are a tenth of that). With `r` false restarts
    /// allowed a year, each decision may be wrong with the probability `a = r / (addresses x year / span)`. When the
    /// loss is `p0`, the ratio of likelihoods is a martingale with the mean 1, so by Ville's inequality it ever reaches `1/a`
    /// with a probability of at most `a`: the bound is `ln(1/a)`. Whatever else is asked for before a test stops there can
    /// only make that rarer, so neither the changing rate, nor the least evidence, nor the ceiling, nor the truncation
    /// weakens it; below `p0` it is far more than kept. At 0.001 a year, 1 s and one address: `a = 3.2e-11`, the bound 24.2.
    ///
    /// **To pass.** By the same argument with the losses exchanged, `ln(miss / 2)` lets at most half of the misses pass.
    ///
    /// **Truncation.** The other half is for tests that come to no end. By Hoeffding's inequality the score of `n` probes
    /// that are lost at `p1` stays `range x sqrt(n ln(2/miss) / 2)` or more below its mean, `n x drift`, with a
    /// probability of `miss / 2` at most. At a threshold of 50 and a miss of 0.01 its mean less that reaches the bound after
    /// 758 probes, at 90 after 7,900. Above 90 it may be more than [`MOST_PROBES`], and more is missed than asked for.
    pub(super) fn new(threshold: Threshold, rates: &ErrorRates, addresses: usize) -> Self {
        let (sound, lossy) = hypotheses(threshold);
        let lost = (lossy / sound).ln();
        let answered = ((1.0 - lossy) / (1.0 - sound)).ln();
        let span = rates.min_evidence.max(LEAST_EVIDENCE);
        let decisions = YEAR / span.as_secs_f64() * addresses.max(1) as f64;
        let fail = (decisions / rates.false_restarts_per_year).ln().max(1.0);
        Self { threshold, lost, answered, fail, pass: (rates.miss / 2.0).ln(), span }
    }

    /// What these probes add to the score.
    pub(super) fn score(&self, outcome: &ProbeOutcome) -> f64 {
        let lost = outcome.sent.saturating_sub(outcome.received);
        f64::from(lost) * self.lost + f64::from(outcome.received) * self.answered
    }

    /// What a lost probe adds.
    pub(super) fn lost(&self) -> f64 {
        self.lost
    }

    /// `score`, within the bounds.
    pub(super) fn clamped(&self, score: f64) -> f64 {
        score.clamp(self.pass, self.fail)
    }

    /// Whether `score` clears the address.
    pub(super) fn clears(&self, score: f64) -> bool {
        score <= self.pass
    }
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// More is lost than the threshold allows.
    Lossy,
    /// It is not.
    Sound,
    /// Neither, after as many probes as a test may take: taken for sound.
    Unproven,
    /// Most probes say nothing, by the agent's own fault.
    Void,
}

/// A test under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Test {
    score: f64,
    /// The lowest that the score has been.
    lowest: f64,
    /// When the first probe after that was sent: what speaks against the address begins there.
    rising_since: Option<Mono>,
    /// When its first and its last probe were sent.
    first: Option<Mono>,
    last: Mono,
    sent: u32,
    received: u32,
    void: u32,
    rtts: Vec<Duration>,
}

impl Test {
    /// Takes in what came of a probe sent at `at`, after all before.
    pub(super) fn add(&mut self, bounds: &Bounds, at: Mono, outcome: &ProbeOutcome) {
        self.first.get_or_insert(at);
        self.last = self.last.max(at);
        self.sent = self.sent.saturating_add(outcome.sent);
        self.received = self.received.saturating_add(outcome.received);
        self.void = self.void.saturating_add(outcome.void);
        // A ceiling: what is lost while the evidence is too short makes up for no answer after it.
        self.score = (self.score + bounds.score(outcome)).min(bounds.fail);
        self.rtts.extend(&outcome.rtts);
        self.rtts.drain(..self.rtts.len().saturating_sub(RTTS_KEPT));
        if self.score <= self.lowest {
            (self.lowest, self.rising_since) = (self.score, None);
        } else if outcome.sent > 0 {
            self.rising_since.get_or_insert(at);
        }
    }

    /// Whether it ends here. `likely` is the score that it will have, as far as can be seen already: an outage that is
    /// over restarts nothing.
    pub(super) fn conclusion(&self, bounds: &Bounds, likely: f64) -> Option<Conclusion> {
        let spans = |since: Option<Mono>| since.is_some_and(|since| self.last - since >= bounds.span);
        let above = self.loss().is_some_and(|loss| bounds.threshold.is_exceeded_by(loss));
        if above && self.score.min(likely) >= bounds.fail && spans(self.rising_since) {
            return Some(Conclusion::Lossy);
        }
        if !spans(self.first) {
            return None;
        }
        if self.void >= MOST_VOID && self.void > self.sent {
            return Some(Conclusion::Void);
        }
        if self.score <= bounds.pass {
            return Some(Conclusion::Sound);
        }
        (self.probes() >= MOST_PROBES).then_some(Conclusion::Unproven)
    }

    pub(super) fn score(&self) -> f64 {
        self.score
    }

    /// The share lost so far.
    pub(super) fn loss(&self) -> Option<LossPercent> {
        LossPercent::of(self.sent.saturating_sub(self.received), self.sent)
    }

    /// Probes that ended, whether they count or not.
    pub(super) fn probes(&self) -> u32 {
        self.sent.saturating_add(self.void)
    }

    /// Whether its probes span as long as a verdict needs.
    pub(super) fn spans_enough(&self, bounds: &Bounds) -> bool {
        self.first.is_some_and(|first| self.last - first >= bounds.span)
    }

    /// Where it stands.
    pub(super) fn evidence(&self, bounds: &Bounds) -> Evidence {
        Evidence { score: self.score, to_fail: bounds.fail, to_pass: bounds.pass }
    }

    /// What was counted so far, as a check of `address` tells it.
    pub(super) fn outcome(&self, address: std::net::IpAddr) -> ProbeOutcome {
        ProbeOutcome {
            address,
            sent: self.sent,
            received: self.received,
            void: self.void,
            rtts: self.rtts.clone(),
        }
    }
}
