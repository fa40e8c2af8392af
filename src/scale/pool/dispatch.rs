//! Which container a request goes to, and who waits: pure.
//!
//! ```text
//! arrive ──a container is free──────────────────────► at work ──done──► gone
//!    │                                                ▲    │
//!    ├──none is──► waiting ──one becomes free─────────┘    └─again─► at the head of those waiting, or at work
//!    │                └──leaves, timed out──► gone
//!    └──too many wait──► refused
//! ```
//!
//! A container is free when it is trusted, not draining, has fewer requests than it may have and, where its CPU counts, that
//! has calmed down. Of several free ones that with the fewest requests is chosen, then that with the lowest number, so
//! that the others become idle and can be removed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::tally::{Counted, Outcome, Tally};
use crate::scale::control::Micros;

/// A container of a pool: each that is started has a number of its own, growing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberId(pub(crate) u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// What becomes of a request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It goes there.
    At(MemberId),
    /// It waits.
    Waits(Ticket),
    /// It is refused: as many wait as may.
    Refused,
}

/// A request that waited and now goes to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) ticket: Ticket,
    pub(crate) member: MemberId,
}

/// How requests are dealt out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Requests that a container may have at once; at least 1.
    pub(crate) concurrency: u32,
    /// Requests that may wait.
    pub(crate) queue: u32,
    /// A container counts as free only below this CPU use, percent of one core.
    pub(crate) free_cpu: Option<f64>,
}

/// A container as the dispatcher sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    /// Requests it works on.
    pub(crate) in_flight: u32,
    /// When its newest request came to it or, without one, its last one ended.
    pub(crate) since: Micros,
    /// Requests it answered.
    pub(crate) served: u64,
    /// It gets no more requests.
    pub(crate) draining: bool,
    /// A connection to it failed; it gets none until it was looked at.
    pub(crate) suspect: bool,
    /// Its CPU was not seen calm since its last request.
    warm: bool,
}

/// All containers of a pool and all requests that wait for one.
#[derive(Debug)]
pub(crate) struct Dispatch {
    rules: Rules,
    seats: BTreeMap<MemberId, Seat>,
    waiting: VecDeque<Ticket>,
    tickets: u64,
    tally: Tally,
    open: bool,
}

impl Dispatch {
    pub(crate) fn new(rules: Rules, now: Micros) -> Self {
        Self {
            rules,
            seats: BTreeMap::new(),
            waiting: VecDeque::new(),
            tickets: 0,
            tally: Tally::new(now),
            open: true,
        }
    }

    /// A request comes.
    pub(crate) fn arrive(&mut self, now: Micros) -> Placed {
        self.pass(now);
        let backlog = self.waiting.len() + self.in_flight() as usize;
        self.tally.arrived(u32::try_from(backlog).unwrap_or(u32::MAX));
        if !self.open {
            self.tally.refused();
            return Placed::Refused;
        }
        // Whoever waits goes first: a container may be free that is none for them only when nobody waits.
        if self.waiting.is_empty()
            && let Some(member) = self.free()
        {
            self.seat(member, now);
            return Placed::At(member);
        }
        if self.waiting.len() >= self.rules.queue as usize {
            self.tally.refused();
            return Placed::Refused;
        }
        let ticket = self.ticket();
        self.waiting.push_back(ticket);
        Placed::Waits(ticket)
    }

    /// A request whose container failed it before it was answered, and that may be repeated: it waits before all others.
    /// Its container is suspect from now on.
    pub(crate) fn again(&mut self, member: MemberId, now: Micros) -> (Placed, Vec<Called>) {
        self.suspect(member);
        let called = self.vacate(member, now);
        self.tally.retried();
        if !self.open {
            self.tally.refused();
            return (Placed::Refused, called);
        }
        let placed = if let Some(member) = self.free() {
            self.seat(member, now);
            Placed::At(member)
        } else {
            let ticket = self.ticket();
            self.waiting.push_front(ticket);
            Placed::Waits(ticket)
        };
        (placed, called)
    }

    /// A request ends that a container works on; who goes there next.
    pub(crate) fn done(&mut self, member: MemberId, counted: Counted, now: Micros) -> Vec<Called> {
        if counted.outcome == Outcome::Served
            && let Some(seat) = self.seats.get_mut(&member)
        {
            seat.served += 1;
        }
        let called = self.vacate(member, now);
        self.tally.ended(counted, now);
        called
    }

    /// A request waits no longer: its client left, or it waited too long. False when it was called meanwhile.
    pub(crate) fn leave(&mut self, ticket: Ticket, outcome: Outcome, now: Micros) -> bool {
        let Some(at) = self.waiting.iter().position(|waiting| *waiting == ticket) else { return false };
        self.pass(now);
        self.waiting.remove(at);
        self.tally.left(outcome);
        true
    }

    /// A container is ready.
    pub(crate) fn add(&mut self, member: MemberId, now: Micros) -> Vec<Called> {
        self.pass(now);
        let seat = Seat { in_flight: 0, since: now, served: 0, draining: false, suspect: false, warm: false };
        self.seats.entry(member).or_insert(seat);
        self.call(now)
    }

    /// A container is gone; what it worked on is told to be done by whoever asked for it.
    pub(crate) fn remove(&mut self, member: MemberId, now: Micros) {
        self.pass(now);
        self.seats.remove(&member);
    }

    /// A container gets no more requests.
    pub(crate) fn drain(&mut self, member: MemberId) {
        if let Some(seat) = self.seats.get_mut(&member) {
            seat.draining = true;
        }
    }

    /// A container that drained gets requests again.
    pub(crate) fn undrain(&mut self, member: MemberId, now: Micros) -> Vec<Called> {
        if let Some(seat) = self.seats.get_mut(&member) {
            seat.draining = false;
        }
        self.call(now)
    }

    /// A connection to a container failed.
    pub(crate) fn suspect(&mut self, member: MemberId) {
        if let Some(seat) = self.seats.get_mut(&member) {
            seat.suspect = true;
        }
    }

    /// It was looked at and is well.
    pub(crate) fn trust(&mut self, member: MemberId, now: Micros) -> Vec<Called> {
        if let Some(seat) = self.seats.get_mut(&member) {
            seat.suspect = false;
        }
        self.call(now)
    }

    /// What CPU containers were seen to use, percent of one core.
    pub(crate) fn cpu(&mut self, seen: &[(MemberId, f64)], now: Micros) -> Vec<Called> {
        let Some(limit) = self.rules.free_cpu else { return Vec::new() };
        for (member, percent) in seen {
            if let Some(seat) = self.seats.get_mut(member) {
                seat.warm = *percent >= limit;
            }
        }
        self.call(now)
    }

    /// No request is taken any more; those that wait are returned, to be refused.
    pub(crate) fn close(&mut self, now: Micros) -> Vec<Ticket> {
        self.pass(now);
        self.open = false;
        for _ in 0..self.waiting.len() {
            self.tally.left(Outcome::Refused);
        }
        self.waiting.drain(..).collect()
    }

    /// What was counted since the last time it was taken.
    pub(crate) fn take(&mut self, now: Micros) -> Tally {
        self.pass(now);
        let fresh = self.tally.next(now);
        std::mem::replace(&mut self.tally, fresh)
    }

    /// What was counted so far, since the start.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Every container.
    pub(crate) fn seats(&self) -> &BTreeMap<MemberId, Seat> {
        &self.seats
    }

    /// Requests that wait.
    pub(crate) fn queued(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)
    }

    /// Requests that containers work on.
    pub(crate) fn in_flight(&self) -> u32 {
        self.seats.values().map(|seat| seat.in_flight).sum()
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn free(&self) -> Option<MemberId> {
        let may = |seat: &Seat| {
            seat.in_flight < self.rules.concurrency && !seat.draining && !seat.suspect && !seat.warm
        };
        let free = self.seats.iter().filter(|(_, seat)| may(seat));
        free.min_by_key(|(member, seat)| (seat.in_flight, **member)).map(|(member, _)| *member)
    }

    fn seat(&mut self, member: MemberId, now: Micros) {
        self.pass(now);
        let seat = self.seats.get_mut(&member).expect("a free container is known");
        seat.in_flight += 1;
        seat.since = now;
    }

    /// One request less at a container, and who goes to those that are free.
    fn vacate(&mut self, member: MemberId, now: Micros) -> Vec<Called> {
        self.pass(now);
        if let Some(seat) = self.seats.get_mut(&member) {
            seat.in_flight = seat.in_flight.saturating_sub(1);
            if seat.in_flight == 0 {
                seat.since = now;
                seat.warm = self.rules.free_cpu.is_some();
            }
        }
        self.call(now)
    }

    /// Lets those that wait go to what is free.
    fn call(&mut self, now: Micros) -> Vec<Called> {
        let mut called = Vec::new();
        while !self.waiting.is_empty()
            && let Some(member) = self.free()
        {
            let ticket = self.waiting.pop_front().expect("just looked");
            self.seat(member, now);
            called.push(Called { ticket, member });
        }
        called
    }

    /// Time passes with things as they are.
    fn pass(&mut self, now: Micros) {
        let busy = self.seats.values().filter(|seat| seat.in_flight > 0).count();
        self.tally.pass(u32::try_from(busy).unwrap_or(u32::MAX), self.in_flight(), now);
    }
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
