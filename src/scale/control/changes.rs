//! From a number of containers to which ones: pure, for the pool and the simulator alike.

use super::Micros;

/// One container of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<Id> {
    /// Who it is.
    pub id: Id,
    /// What it does.
    pub phase: Phase,
    /// Since when, in the time of [`super::Observation::at`]; for a busy one, when its newest request came to it.
    pub since: Micros,
}

/// What a container of a pool does.
///
/// ```text
/// start ──► Starting ──ready──► Idle ◄──request──► Busy
///              │ cancel           │ remove           │ drain
///              ▼                  ▼                  ▼
///             gone ◄──────────── gone ◄── last ── Draining ──undrain──► Busy
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Ordered, not ready.
    Starting,
    /// Ready, without a request.
    Idle,
    /// At work.
    Busy,
    /// At work for the last time.
    Draining,
}

/// What is to be done to a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<Id> {
    /// Order one more.
    Start,
    /// Let this one, which drains, take requests again.
    Undrain(Id),
    /// Give up this one, which is not ready.
    Cancel(Id),
    /// Remove this one, which is idle.
    Remove(Id),
    /// Give this one no more requests, and remove it when it has none.
    Drain(Id),
}

/// How a pool gets `delta` containers more or fewer. A busy one is never ended: it drains.
///
/// More: those that drain take requests again, newest drained first, before any is started. Fewer: those that start are given
/// up first, newest first; then idle ones, longest idle first; then busy ones drain, first those whose newest request is
/// the newest, for it will take longest. A `delta` beyond what is there ends at none.
pub fn changes<Id: Copy + Ord>(delta: i32, members: &[Member<Id>]) -> Vec<Change<Id>> {
    let wanted = usize::try_from(delta.unsigned_abs()).unwrap_or(usize::MAX);
    let of = |phase: Phase| {
        let mut those: Vec<&Member<Id>> = members.iter().filter(|one| one.phase == phase).collect();
        those.sort_by_key(|one| (one.since, one.id));
        if phase != Phase::Idle {
            those.reverse();
        }
        those.into_iter().map(|one| one.id)
    };
    if delta > 0 {
        let undrained = of(Phase::Draining).map(Change::Undrain);
        return undrained.chain(std::iter::repeat(Change::Start)).take(wanted).collect();
    }
    let gone = of(Phase::Starting).map(Change::Cancel).chain(of(Phase::Idle).map(Change::Remove));
    gone.chain(of(Phase::Busy).map(Change::Drain)).take(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Vec<Member<u32>> {
        let of = |id, phase, since| Member { id, phase, since: Micros(since) };
        vec![
            of(1, Phase::Busy, 10),
            of(2, Phase::Busy, 90),
            of(3, Phase::Idle, 20),
            of(4, Phase::Idle, 5),
            of(5, Phase::Starting, 80),
            of(6, Phase::Starting, 85),
            of(7, Phase::Draining, 30),
            of(8, Phase::Draining, 40),
        ]
    }

    #[test]
    fn more_are_undrained_before_any_is_started() {
        use Change::{Start, Undrain};
        assert_eq!(changes(1, &pool()), [Undrain(8)]);
        assert_eq!(changes(4, &pool()), [Undrain(8), Undrain(7), Start, Start]);
        assert_eq!(changes::<u32>(2, &[]), [Start, Start]);
    }

    #[test]
    fn fewer_are_those_that_start_then_idle_ones_then_busy_ones_drain() {
        use Change::{Cancel, Drain, Remove};
        let all = [Cancel(6), Cancel(5), Remove(4), Remove(3), Drain(2), Drain(1)];
        for count in 0..=6 {
            assert_eq!(changes(-count, &pool()), all[..usize::try_from(count).unwrap()]);
        }
        assert_eq!(changes(i32::MIN, &pool()), all);
    }
}
