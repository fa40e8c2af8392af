//! Which containers of a pool are started, drained and removed: pure.
//!
//! ```text
//! start ──► Starting ──ready──► Ready ──drain──► Draining ──idle──► Removing ──removed──► gone
//!              │                  │  ◄──undrain──    │                  ▲
//!              │ failed, given up │ ended            │ ended            │
//!              └──────────────────┴──────────────────┴──────────────────┘
//! ```
//!
//! Level-triggered: [`Plan::settle`] compares what there is with what is wanted, and may be called at any time. A container that
//! works on a request is never ended: even an idle one is drained first, since a request may be on its way to it.

use std::collections::{BTreeMap, BTreeSet};

use super::dispatch::MemberId;
use crate::model::{PoolContainerState as Stage, PoolCounts};
use crate::scale::control::{Bounds, Change, Member, Micros, Phase, StartBackoff, changes};

/// One that ends this soon after it was ready counts as a start that failed.
const STEADY: Micros = Micros::from_secs(10);
/// How long a number is not used again after a start under it failed: its port may be somebody else's.
const HELD: Micros = Micros::from_secs(60);
/// The weight of the newest in how long containers take to be ready.
const NEWEST: f64 = 0.3;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Make and start one, with this number in its name and port.
    Start(MemberId, u32),
    /// Give up the start of this one.
    Cancel(MemberId),
    /// Give it requests.
    Serve(MemberId),
    /// Give it no more requests.
    Drain(MemberId),
    /// Give it requests again.
    Undrain(MemberId),
    /// Stop and remove it.
    Remove(MemberId),
}

/// What a container works on; without an entry it is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    /// Requests.
    pub(crate) in_flight: u32,
    /// When the newest came or, with none, the last one ended.
    pub(crate) since: Micros,
}

/// What every container works on.
pub(crate) type Works = BTreeMap<MemberId, Work>;

/// A container of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its number in names and ports.
    pub(crate) slot: u32,
    pub(crate) stage: Stage,
    /// When it was ordered or adopted.
    pub(crate) since: Micros,
    ready_at: Option<Micros>,
    drained_at: Micros,
    adopted: bool,
    /// It leaves for good, and is not undrained.
    sick: bool,
}

/// Why containers cannot be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) what: String,
    pub(crate) since: Micros,
    pub(crate) failures: u32,
    /// When the next is tried; `None` while one is under way.
    pub(crate) retry_at: Option<Micros>,
}

/// What happened to containers since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) started: u64,
    pub(crate) start_failures: u64,
    pub(crate) removed: u64,
    pub(crate) lost: u64,
}

/// All containers of a pool, and how many are wanted.
#[derive(Debug)]
pub(crate) struct Plan {
    bounds: Bounds,
    members: BTreeMap<MemberId, Entry>,
    made: u64,
    target: u32,
    starts: StartBackoff,
    ends: StartBackoff,
    trouble: Option<(String, Micros)>,
    held: BTreeMap<u32, Micros>,
    boot: Option<Micros>,
    counts: Counts,
}

impl Plan {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            members: BTreeMap::new(),
            made: 0,
            target: bounds.min(),
            starts: StartBackoff::default(),
            ends: StartBackoff::default(),
            trouble: None,
            held: BTreeMap::new(),
            boot: None,
            counts: Counts::default(),
        }
    }

    /// How many there may be from now on.
    pub(crate) fn resize(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        self.want(self.target);
    }

    /// How many are wanted from now on.
    pub(crate) fn want(&mut self, target: u32) {
        self.target = self.bounds.clamp(target);
    }

    /// One is there already, of this pool and as it should be: it serves once it is ready.
    pub(crate) fn adopt(&mut self, slot: u32, now: Micros) -> MemberId {
        self.insert(slot, Stage::Starting, true, now)
    }

    /// One is there already that must go.
    pub(crate) fn discard(&mut self, slot: u32, now: Micros) -> MemberId {
        self.insert(slot, Stage::Removing, true, now)
    }

    /// It is ready.
    pub(crate) fn ready(&mut self, member: MemberId, now: Micros) -> Option<Order> {
        let entry = self.members.get_mut(&member).filter(|entry| entry.stage == Stage::Starting)?;
        entry.stage = Stage::Ready;
        entry.ready_at = Some(now);
        if !entry.adopted {
            self.counts.started += 1;
            let took = now.saturating_sub(entry.since);
            let smooth = |before: Micros| {
                Micros::from_seconds(before.seconds() * (1.0 - NEWEST) + took.seconds() * NEWEST)
            };
            self.boot = Some(self.boot.map_or(took, smooth));
        }
        self.starts.started();
        if self.ends.state().0 == 0 {
            self.trouble = None;
        }
        Some(Order::Serve(member))
    }

    /// Its start failed; what is left of it is being removed.
    pub(crate) fn failed(&mut self, member: MemberId, what: &str, now: Micros) {
        let Some(entry) = self.members.get_mut(&member).filter(|entry| entry.stage == Stage::Starting) else {
            return;
        };
        entry.stage = Stage::Removing;
        self.held.insert(entry.slot, now + HELD);
        self.counts.start_failures += 1;
        self.starts.failed(now);
        self.complain(what, now);
    }

    /// It ended by itself or by somebody else, or answers no more; what is left of it is to be removed.
    pub(crate) fn lost(&mut self, member: MemberId, what: &str, now: Micros) -> Option<Order> {
        let entry = self.members.get_mut(&member)?;
        match entry.stage {
            Stage::Removing | Stage::Unknown => return None,
            Stage::Starting => {
                self.failed(member, what, now);
                return Some(Order::Cancel(member));
            }
            Stage::Ready | Stage::Draining => {}
        }
        let stage = std::mem::replace(&mut entry.stage, Stage::Removing);
        self.counts.lost += 1;
        let early = entry.ready_at.is_some_and(|at| now.saturating_sub(at) < STEADY);
        if stage == Stage::Ready && early {
            self.ends.failed(now);
            self.complain(&format!("containers end as soon as they are ready: {what}"), now);
        }
        Some(Order::Remove(member))
    }

    /// It drains and has nothing left to do.
    pub(crate) fn idle(&mut self, member: MemberId) -> Option<Order> {
        let entry = self.members.get_mut(&member).filter(|entry| entry.stage == Stage::Draining)?;
        entry.stage = Stage::Removing;
        self.counts.removed += u64::from(!entry.sick);
        Some(Order::Remove(member))
    }

    /// It answers no more: it gets no more requests, and is replaced.
    pub(crate) fn sick(&mut self, member: MemberId, now: Micros) -> Option<Order> {
        let entry = self.members.get_mut(&member).filter(|entry| entry.stage == Stage::Ready)?;
        entry.stage = Stage::Draining;
        entry.drained_at = now;
        entry.sick = true;
        self.counts.lost += 1;
        Some(Order::Drain(member))
    }

    /// It is gone.
    pub(crate) fn removed(&mut self, member: MemberId) {
        self.members.remove(&member);
    }

    /// What is to be done to have as many as are wanted.
    pub(crate) fn settle(&mut self, works: &Works, now: Micros) -> Vec<Order> {
        self.held.retain(|_, until| *until > now);
        let steady = |entry: &Entry| entry.ready_at.is_some_and(|at| now.saturating_sub(at) >= STEADY);
        if self.ends.state().0 > 0 && self.members.values().any(|e| e.stage == Stage::Ready && steady(e)) {
            self.ends.started();
            if self.starts.state().0 == 0 {
                self.trouble = None;
            }
        }
        let counts = self.stages(works);
        let have = i64::from(counts.starting + counts.ready);
        let delta = i32::try_from(i64::from(self.target) - have).unwrap_or(0);
        if delta == 0 {
            return Vec::new();
        }
        let starting = counts.starting as usize;
        let allowed = [&self.starts, &self.ends].into_iter().filter_map(|b| b.allowed(now, starting)).min();
        let mut starts = allowed.unwrap_or(usize::MAX);
        let wanted = changes(delta, &self.control_members(works));
        wanted.into_iter().filter_map(|change| self.order(change, &mut starts, now)).collect()
    }

    /// Every container by when it was ordered.
    pub(crate) fn members(&self) -> &BTreeMap<MemberId, Entry> {
        &self.members
    }

    /// How many are wanted.
    pub(crate) fn target(&self) -> u32 {
        self.target
    }

    /// How long one takes to be ready, smoothed; `None` when none did yet.
    pub(crate) fn boot(&self) -> Option<Micros> {
        self.boot
    }

    /// What happened to containers since the start.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Why containers cannot be started; `None` when they can, as far as is known.
    pub(crate) fn trouble(&self, now: Micros) -> Option<Trouble> {
        let (what, since) = self.trouble.clone()?;
        let worst = [&self.starts, &self.ends].map(StartBackoff::state);
        let (failures, next) = worst.into_iter().max_by_key(|(failures, next)| (*next, *failures))?;
        Some(Trouble { what, since, failures, retry_at: Some(next).filter(|next| *next > now) })
    }

    /// For each that starts: how long it will still take; zero when it takes longer than others.
    pub(crate) fn remaining(&self, guess: Micros, now: Micros) -> Vec<Micros> {
        let boot = self.boot.unwrap_or(guess);
        let starting = self.members.values().filter(|entry| entry.stage == Stage::Starting);
        starting.map(|entry| boot.saturating_sub(now.saturating_sub(entry.since))).collect()
    }

    /// How many are in which stage.
    pub(crate) fn stages(&self, works: &Works) -> PoolCounts {
        let mut counts = PoolCounts::default();
        for (member, entry) in &self.members {
            match entry.stage {
                Stage::Starting => counts.starting += 1,
                Stage::Ready => {
                    counts.ready += 1;
                    counts.busy += u32::from(works.get(member).is_some_and(|work| work.in_flight > 0));
                }
                Stage::Draining => counts.draining += 1,
                Stage::Removing | Stage::Unknown => counts.removing += 1,
            }
        }
        counts
    }

    /// The containers as controllers know them; those that leave for good are none of theirs.
    fn control_members(&self, works: &Works) -> Vec<Member<MemberId>> {
        let member = |(id, entry): (&MemberId, &Entry)| {
            let work = works.get(id);
            let busy = work.filter(|work| work.in_flight > 0);
            let (phase, since) = match entry.stage {
                Stage::Starting => (Phase::Starting, entry.since),
                Stage::Ready => match busy {
                    Some(busy) => (Phase::Busy, busy.since),
                    None => (Phase::Idle, work.map_or(entry.since, |work| work.since)),
                },
                Stage::Draining if !entry.sick => (Phase::Draining, entry.drained_at),
                Stage::Draining | Stage::Removing | Stage::Unknown => return None,
            };
            Some(Member { id: *id, phase, since })
        };
        self.members.iter().filter_map(member).collect()
    }

    fn order(&mut self, change: Change<MemberId>, starts: &mut usize, now: Micros) -> Option<Order> {
        let mut stage = |member: MemberId, stage| {
            if let Some(entry) = self.members.get_mut(&member) {
                entry.stage = stage;
                entry.drained_at = now;
            }
        };
        Some(match change {
            Change::Start => {
                // Those being removed count too: however slow that is, there are never more than twice the most.
                let room = (self.members.len() as u64) < 2 * u64::from(self.bounds.max());
                if *starts == 0 || !room {
                    return None;
                }
                *starts -= 1;
                let slot = self.free_slot();
                Order::Start(self.insert(slot, Stage::Starting, false, now), slot)
            }
            Change::Undrain(member) => {
                stage(member, Stage::Ready);
                Order::Undrain(member)
            }
            Change::Cancel(member) => {
                stage(member, Stage::Removing);
                self.counts.removed += 1;
                Order::Cancel(member)
            }
            Change::Remove(member) | Change::Drain(member) => {
                stage(member, Stage::Draining);
                Order::Drain(member)
            }
        })
    }

    fn insert(&mut self, slot: u32, stage: Stage, adopted: bool, now: Micros) -> MemberId {
        self.made += 1;
        let member = MemberId(self.made);
        let entry = Entry { slot, stage, since: now, ready_at: None, drained_at: now, adopted, sick: false };
        self.members.insert(member, entry);
        member
    }

    /// The lowest number that is neither used nor held; when all are, the lowest that is not used.
    fn free_slot(&self) -> u32 {
        let used: BTreeSet<u32> = self.members.values().map(|entry| entry.slot).collect();
        let most = 3 * self.bounds.max();
        let free = |slot: &u32| !used.contains(slot);
        let good = (0..most).find(|slot| free(slot) && !self.held.contains_key(slot));
        good.or_else(|| (0..most).find(free)).expect("there are fewer containers than numbers")
    }

    fn complain(&mut self, what: &str, now: Micros) {
        let since = self.trouble.as_ref().map_or(now, |(_, since)| *since);
        self.trouble = Some((what.to_owned(), since));
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
