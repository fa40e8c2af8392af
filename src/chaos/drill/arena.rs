//! Who may be attacked in a drill: those who take part and have recovered from the last fault, since of two faults at once
//! nobody could tell which was found.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::chaos::{Arena, Attack, Begun, Ended, Spared, Told};
use crate::model::{ContainerId, ContainerName};

/// So long after a fault is over, the healer's word of it may still be on its way.
const NEWS_TAKE: Duration = Duration::from_secs(3);
/// Who has not recovered so long after its fault is over, never may: it is free again.
const PATIENCE: Duration = Duration::from_mins(2);

/// How far a container has come since its last fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resting {
    /// The healer said that it fails, and not yet that it is well.
    failing: bool,
    /// Since the fault was over it was seen well: its checks pass, so that the next fault can be told from this one.
    well: bool,
    /// The healer gave it up: it never is healthy to it, even when it runs and answers.
    given_up: bool,
    /// When its fault was over; `None`: it is not.
    over: Option<Instant>,
}

/// How far all have come that were attacked.
#[derive(Debug, Clone, Default)]
pub struct Roster(BTreeMap<ContainerName, Resting>);

impl Roster {
    /// A fault was done to it.
    pub fn attacked(&mut self, name: &ContainerName) {
        self.0.insert(name.clone(), Resting::default());
    }

    /// Its fault is over.
    pub fn over(&mut self, name: &ContainerName, now: Instant) {
        if let Some(resting) = self.0.get_mut(name) {
            resting.over = Some(now);
        }
    }

    /// The healer said that it fails.
    pub fn fails(&mut self, name: &ContainerName) {
        if let Some(resting) = self.0.get_mut(name) {
            (resting.failing, resting.well) = (true, false);
        }
    }

    /// The healer gave it up.
    pub fn given_up(&mut self, name: &ContainerName) {
        if let Some(resting) = self.0.get_mut(name) {
            (resting.failing, resting.given_up) = (false, true);
        }
    }

    /// The healer said that it is well again.
    pub fn recovered(&mut self, name: &ContainerName) {
        if let Some(resting) = self.0.get_mut(name) {
            resting.failing = false;
            resting.well |= resting.given_up && resting.over.is_some();
        }
    }

    /// Its checks pass.
    pub fn seen_well(&mut self, name: &ContainerName) {
        if let Some(resting) = self.0.get_mut(name) {
            resting.well = resting.over.is_some() && !resting.failing;
        }
    }

    /// Those of which it is not known yet whether their checks pass.
    pub fn waiting(&self) -> impl Iterator<Item = &ContainerName> {
        let waits = |resting: &Resting| resting.over.is_some() && !resting.failing && !resting.well;
        self.0.iter().filter(move |(_, resting)| waits(resting)).map(|(name, _)| name)
    }

    /// Whether it still carries a fault, or recovers from it.
    pub fn is_resting(&self, name: &ContainerName, now: Instant) -> bool {
        self.0.get(name).is_some_and(|resting| resting.rests(now))
    }

    /// Whether all have recovered.
    pub fn is_quiet(&self, now: Instant) -> bool {
        !self.0.values().any(|resting| resting.rests(now))
    }
}

impl Resting {
    fn rests(self, now: Instant) -> bool {
        let Some(over) = self.over else { return true };
        let waits = if self.failing || !self.well { PATIENCE } else { NEWS_TAKE };
        now < over + waits
    }
}

/// An arena in which only those are attacked who take part, and who have recovered.
pub struct DrillArena<'a, A: ?Sized> {
    arena: &'a mut A,
    taking_part: BTreeSet<ContainerName>,
    roster: watch::Receiver<Roster>,
}

impl<'a, A: Arena + ?Sized> DrillArena<'a, A> {
    /// Attacks are made in `arena`, on those of `taking_part` alone.
    pub fn new(
        arena: &'a mut A,
        taking_part: BTreeSet<ContainerName>,
        roster: watch::Receiver<Roster>,
    ) -> Self {
        Self { arena, taking_part, roster }
    }
}

#[async_trait]
impl<A: Arena + ?Sized> Arena for DrillArena<'_, A> {
    async fn begin(&mut self, attack: &Attack) -> Result<Begun, String> {
        self.arena.begin(attack).await
    }

    async fn begin_all(&mut self, attacks: &[Attack], told: &mut Told<'_>) {
        self.arena.begin_all(attacks, told).await;
    }

    fn busy(&self) -> BTreeSet<ContainerId> {
        self.arena.busy()
    }

    fn release(&mut self, container: &ContainerId) {
        self.arena.release(container);
    }

    fn spares(&self, name: &ContainerName) -> Option<Spared> {
        if !self.taking_part.contains(name) {
            return Some(Spared::Outside);
        }
        self.roster.borrow().is_resting(name, Instant::now()).then_some(Spared::Recovering)
    }

    async fn ended(&mut self) -> Ended {
        self.arena.ended().await
    }

    async fn end_all(&mut self) -> Vec<Ended> {
        self.arena.end_all().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_rests_until_its_fault_is_over_and_it_is_well_or_given_up_on() {
        let (web, now) = ("web".parse().unwrap(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut roster = Roster::default();
        roster.fails(&web);
        assert!(roster.is_quiet(now), "nobody attacked it");
        roster.attacked(&web);
        assert!(roster.is_resting(&web, after(999)));
        roster.over(&web, now);
        assert!(roster.is_resting(&web, after(3)) && roster.waiting().eq([&web]));
        roster.seen_well(&web);
        assert!(roster.is_resting(&web, after(2)) && !roster.is_resting(&web, after(3)));
        roster.fails(&web);
        assert!(roster.is_resting(&web, after(119)) && !roster.is_quiet(after(119)));
        assert!(roster.is_quiet(after(120)), "nobody waits for ever");
        roster.recovered(&web);
        assert!(!roster.is_quiet(after(3)), "its checks are to come");
        roster.seen_well(&web);
        assert!(roster.is_quiet(after(3)));
    }

    #[test]
    fn who_was_given_up_rests_until_it_is_well_again() {
        let (web, now) = ("web".parse().unwrap(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut roster = Roster::default();
        roster.attacked(&web);
        roster.fails(&web);
        roster.given_up(&web);
        roster.over(&web, now);
        assert!(roster.is_resting(&web, after(119)), "it may be started by whoever ended the fault");
        roster.recovered(&web);
        assert!(roster.is_quiet(after(3)), "none of its checks is to come: it is quarantined");
    }
}
