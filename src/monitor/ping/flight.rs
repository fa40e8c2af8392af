//! The flight table: which probe to send when, what was answered, lost or void, and what is certain. Pure: time
//! and nonces are arguments, packets are someone else's.
//!
//! One probe:
//!
//! ```text
//!          next_probe                    answer in time
//!   due ─────────────────► in flight ─────────────────────► received
//!                              │ ├───── deadline ─────────► lost
//!                              │ └───── deadline, starved ► void
//!                              └─────── not sent ─────────► void
//! ```
//!
//! Only an answer that arrives within the timeout and agrees with check, number, sequence, nonce and source address
//! counts, once; duplicates and late answers are ignored.
//!
//! An address is *settled* when all its probes are, or as soon as its loss is certain to end above the plan's
//! threshold: when even an answer to every probe that is still open would not save it.
//!
//! **Starved**: when the table is advanced later than it asked for by more than half a timeout, the process did not
//! run. Answers may then have overflowed the socket's buffer, so probes that were in flight and stay without an
//! answer are void. This errs towards leaving a container alone.
//!
//! Within a check every probe has the same timeout and probes are sent in a fixed order, so deadlines pass in the
//! order of sending: a queue serves as the timer, and nothing is allocated for a probe once it has grown.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::packet::Tag;
use super::{ProbeOutcome, ProbePlan};
use crate::model::LossPercent;

/// The pause between the first probes of two addresses of one check: twice what one costs to send, so that a
/// sweep of thousands bursts into no queue and 500 addresses still start within 4 ms.
const STAGGER: Duration = Duration::from_micros(8);
/// Longer spacings and timeouts are taken as this; sums of times can then never overflow.
const LONGEST: Duration = Duration::from_hours(24);

/// Names a check within the table.
pub(super) type CheckId = u32;

/// A probe to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transmit {
    /// Where to.
    pub(super) address: IpAddr,
    /// Its place among the probes to that address.
    pub(super) sequence: u16,
    /// What identifies it.
    pub(super) tag: Tag,
}

/// When the outcome of an address is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// With all others.
    Whole,
    /// As soon as it is settled.
    Each,
}

/// Every check in progress.
#[derive(Debug)]
pub(super) struct Flight {
    checks: Vec<Check>,
    next_id: CheckId,
}

#[derive(Debug)]
struct Check {
    id: CheckId,
    plan: ProbePlan,
    stagger: Duration,
    /// When the present round began.
    round_at: Instant,
    round: u32,
    /// The target whose turn it is in this round.
    turn: usize,
    targets: Vec<Target>,
    /// Targets not yet settled.
    open: usize,
    /// Targets that settled since they were last taken out; nothing for who waits for the whole.
    told: Vec<usize>,
    telling: Telling,
    /// Probes in the order they were sent; the front one is in flight.
    probes: VecDeque<Probe>,
    /// The front probe's number.
    front: u32,
}

#[derive(Debug)]
struct Target {
    address: IpAddr,
    received: u32,
    lost: u32,
    void: u32,
    rtts: Vec<Duration>,
    settled: bool,
}

#[derive(Debug)]
struct Probe {
    nonce: u64,
    sent_at: Instant,
    target: usize,
    sequence: u16,
    state: ProbeState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProbeState {
    InFlight,
    /// In flight while the process was starved.
    Suspect,
    Over,
}

impl Flight {
    /// An empty table; checks are numbered from `first_id`.
    pub(super) fn new(first_id: CheckId) -> Self {
        Self { checks: Vec::new(), next_id: first_id }
    }

    /// Takes up a check of `addresses`, whose first probe is due at once.
    pub(super) fn begin(
        &mut self,
        addresses: &[IpAddr],
        plan: ProbePlan,
        telling: Telling,
        now: Instant,
    ) -> CheckId {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let plan =
            ProbePlan { spacing: plan.spacing.min(LONGEST), timeout: plan.timeout.min(LONGEST), ..plan };
        let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let target = |&address| Target {
            address,
            received: 0,
            lost: 0,
            void: 0,
            rtts: Vec::with_capacity(plan.count.min(64) as usize),
            settled: plan.count == 0,
        };
        self.checks.push(Check {
            id,
            plan,
            stagger: STAGGER.min(plan.spacing / count.max(1)),
            round_at: now,
            round: 0,
            turn: 0,
            targets: addresses.iter().map(target).collect(),
            open: if plan.count == 0 { 0 } else { addresses.len() },
            told: if plan.count == 0 { (0..addresses.len()).collect() } else { Vec::new() },
            telling,
            probes: VecDeque::with_capacity(addresses.len()),
            front: 0,
        });
        id
    }

    /// Forgets a check nobody waits for any more.
    pub(super) fn cancel(&mut self, id: CheckId) {
        self.checks.retain(|check| check.id != id);
    }

    /// When something happens next if no answer comes; `None` when nothing is in progress.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.checks.iter().filter_map(Check::next_due).min()
    }

    /// Lets the deadlines up to `now` pass. Answers that arrived before `now` must have been given already.
    pub(super) fn advance(&mut self, now: Instant) {
        for check in &mut self.checks {
            check.advance(now);
        }
    }

    /// Answers may have been missed: a probe now in flight that stays without one is void, not lost.
    pub(super) fn doubt_open_probes(&mut self) {
        self.checks.iter_mut().for_each(Check::doubt_open_probes);
    }

    /// The next probe due by `now`, which is in flight from then on, tagged with `nonce`.
    pub(super) fn next_probe(&mut self, now: Instant, nonce: u64) -> Option<Transmit> {
        self.checks.iter_mut().find_map(|check| check.next_probe(now, nonce))
    }

    /// The probe could not be sent: it is void.
    pub(super) fn not_sent(&mut self, tag: Tag) {
        if let Some(check) = self.checks.iter_mut().find(|check| check.id == tag.check) {
            check.not_sent(tag);
        }
    }

    /// An answer from `source` that reached the host at `arrived`; says whether it answers a probe in time.
    pub(super) fn answer(&mut self, tag: Tag, sequence: u16, source: IpAddr, arrived: Instant) -> bool {
        let check = self.checks.iter_mut().find(|check| check.id == tag.check);
        check.is_some_and(|check| check.answer(tag, sequence, source, arrived))
    }

    /// Takes out the addresses that have settled, of checks that tell of each.
    pub(super) fn take_settled(&mut self) -> Vec<(CheckId, ProbeOutcome)> {
        let telling = self.checks.iter_mut().filter(|check| check.telling == Telling::Each);
        telling.flat_map(Check::take_settled).collect()
    }

    /// Takes out a check whose addresses are all settled. Of one that tells of each, nothing is left to say.
    pub(super) fn take_finished(&mut self) -> Option<(CheckId, Vec<ProbeOutcome>)> {
        let position = self.checks.iter().position(|check| check.open == 0)?;
        let mut check = self.checks.swap_remove(position);
        Some((check.id, check.targets.iter_mut().map(Target::take_outcome).collect()))
    }
}

impl Check {
    /// When the probe whose turn it is goes out; `None` when all rounds are over.
    fn send_due(&self) -> Option<Instant> {
        let turn = u32::try_from(self.turn).unwrap_or(u32::MAX);
        (self.open > 0 && self.round < self.plan.count).then(|| self.round_at + self.stagger * turn)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.probes.front().map(|probe| probe.sent_at + self.plan.timeout)
    }

    fn next_due(&self) -> Option<Instant> {
        if self.open == 0 {
            return None;
        }
        [self.send_due(), self.next_deadline()].into_iter().flatten().min()
    }

    fn advance(&mut self, now: Instant) {
        let late = self.next_due().map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        if late > self.plan.timeout / 2 {
            self.doubt_open_probes();
        }
        // What was missed is not caught up with in a burst: the rounds to come move.
        if let Some(behind) = self.send_due().map(|due| now.saturating_duration_since(due))
            && behind > self.plan.spacing
        {
            self.round_at += behind;
        }
        while let Some(probe) = self.probes.front()
            && probe.sent_at + self.plan.timeout <= now
        {
            let (target, state) = (probe.target, probe.state);
            match state {
                ProbeState::InFlight => self.settle(target, |target| target.lost += 1),
                ProbeState::Suspect => self.settle(target, |target| target.void += 1),
                ProbeState::Over => {}
            }
            self.pop_front();
            self.trim();
        }
    }

    fn take_settled(&mut self) -> impl Iterator<Item = (CheckId, ProbeOutcome)> {
        let (id, targets) = (self.id, &mut self.targets);
        self.told.drain(..).map(move |place| (id, targets[place].take_outcome()))
    }

    fn doubt_open_probes(&mut self) {
        for probe in self.probes.iter_mut().filter(|p| p.state == ProbeState::InFlight) {
            probe.state = ProbeState::Suspect;
        }
    }

    fn next_probe(&mut self, now: Instant, nonce: u64) -> Option<Transmit> {
        if self.send_due()? > now {
            return None;
        }
        let target = self.turn;
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
        let sequence = self.round as u16;
        #[expect(clippy::cast_possible_truncation, reason = "numbers wrap, long after a probe's deadline")]
        let number = self.front.wrapping_add(self.probes.len() as u32);
        self.probes.push_back(Probe { nonce, sent_at: now, target, sequence, state: ProbeState::InFlight });
        self.pass_turn();
        let tag = Tag { nonce, check: self.id, number };
        Some(Transmit { address: self.targets[target].address, sequence, tag })
    }

    /// Moves on to the next target that is not settled.
    fn pass_turn(&mut self) {
        loop {
            self.turn += 1;
            if self.turn == self.targets.len() {
                self.turn = 0;
                self.round += 1;
                self.round_at += self.plan.spacing;
            }
            if self.open == 0 || self.round == self.plan.count || !self.targets[self.turn].settled {
                return;
            }
        }
    }

    fn not_sent(&mut self, tag: Tag) {
        if let Some(target) = self.end(tag, |_, _| true) {
            self.settle(target, |target| target.void += 1);
            self.trim();
        }
    }

    fn answer(&mut self, tag: Tag, sequence: u16, source: IpAddr, arrived: Instant) -> bool {
        let timeout = self.plan.timeout;
        let mut rtt = Duration::ZERO;
        let target = self.end(tag, |probe, address| {
            rtt = arrived.saturating_duration_since(probe.sent_at);
            probe.sequence == sequence && address == source && rtt <= timeout
        });
        let Some(target) = target else { return false };
        self.settle(target, |target| {
            target.received += 1;
            target.rtts.push(rtt);
        });
        self.trim();
        true
    }

    /// Ends the flight of the probe with this tag where `agrees` says so; returns its target.
    fn end(&mut self, tag: Tag, agrees: impl FnOnce(&Probe, IpAddr) -> bool) -> Option<usize> {
        let position = tag.number.wrapping_sub(self.front) as usize;
        let probe = self.probes.get_mut(position)?;
        let target = &self.targets[probe.target];
        let flying = probe.state != ProbeState::Over && !target.settled;
        if !flying || probe.nonce != tag.nonce || !agrees(probe, target.address) {
            return None;
        }
        probe.state = ProbeState::Over;
        Some(probe.target)
    }

    /// Books a probe's end on its target, and settles that when nothing can change its verdict any more.
    fn settle(&mut self, place: usize, book: impl FnOnce(&mut Target)) {
        let target = &mut self.targets[place];
        if target.settled {
            return;
        }
        book(target);
        if target.received + target.lost + target.void == self.plan.count
            || target.fails_for_certain(&self.plan)
        {
            target.settled = true;
            self.open -= 1;
            self.told.push(place);
            if self.open > 0 && self.targets[self.turn].settled && self.round < self.plan.count {
                self.pass_turn();
            }
        }
    }

    /// Drops what is over from the front, so that the front one's deadline is the next.
    fn trim(&mut self) {
        while let Some(probe) = self.probes.front()
            && (probe.state == ProbeState::Over || self.targets[probe.target].settled)
        {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        self.probes.pop_front();
        self.front = self.front.wrapping_add(1);
    }
}

impl Target {
    /// Whether its loss ends above the threshold even if every open probe is answered.
    fn fails_for_certain(&self, plan: &ProbePlan) -> bool {
        let least = LossPercent::of(self.lost, plan.count - self.void);
        plan.threshold.zip(least).is_some_and(|(threshold, least)| threshold.is_exceeded_by(least))
    }

    /// What came of it; leaves it without its round trips.
    fn take_outcome(&mut self) -> ProbeOutcome {
        ProbeOutcome {
            address: self.address,
            sent: self.received + self.lost,
            received: self.received,
            void: self.void,
            rtts: std::mem::take(&mut self.rtts),
        }
    }
}

#[cfg(test)]
#[path = "flight_tests.rs"]
mod tests;
