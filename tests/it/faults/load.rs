//! Load while others are killed: containers that are crashed and killed one after the other, and lists without end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::rig::{DEADLINE, Fleet};
use crate::support::wait_for;

/// How far the load has come, and whether it is to end.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) healed: AtomicUsize,
    /// Lists that every host answered.
    pub(super) whole_lists: AtomicUsize,
    pub(super) ended: AtomicBool,
}

impl Progress {
    /// Waits until a fault that was made from now on is healed, and a list asked for from now on is whole.
    pub(super) fn wait_for_more(&self) {
        // One of each may be under way already.
        let healed = self.healed.load(Relaxed) + 2;
        let listed = self.whole_lists.load(Relaxed) + 2;
        wait_for("faults are healed and lists are whole", DEADLINE, || {
            let more = self.healed.load(Relaxed) >= healed && self.whole_lists.load(Relaxed) >= listed;
            (more || self.ended.load(Relaxed)).then_some(())
        });
        assert!(!self.ended.load(Relaxed), "the load ended early");
    }
}

/// Ends the load when dropped, however the test or one of its threads comes to its end.
pub(super) struct Ending<'a>(pub(super) &'a Progress);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Relaxed);
    }
}

/// How a container is brought down.
#[derive(Debug, Clone, Copy)]
pub(super) enum Blow {
    /// Its process ends behind the engine's back.
    Crash,
    /// `docker kill`.
    Kill,
}

/// One fault: from when it was made until the container ran again.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) container: String,
    pub(super) made: Instant,
    pub(super) healed: Instant,
}

impl Fault {
    /// Whether what the agent told of it may have been in its memory alone at `moment`.
    pub(super) fn was_open_at(&self, moment: Instant) -> bool {
        self.made <= moment && moment <= self.healed + Duration::from_secs(3)
    }
}

/// Brings `victims` down in turn, each when the one before runs again, until it is to end.
pub(super) fn faults(fleet: &Fleet, victims: &[(&str, Blow)], progress: &Progress) -> Vec<Fault> {
    let _ending = Ending(progress);
    let mut faults = Vec::new();
    for (name, blow) in victims.iter().cycle() {
        if progress.ended.load(Relaxed) {
            break;
        }
        let made = Instant::now();
        let before = fleet.engine.inspect(name, "{{.State.StartedAt}}");
        match blow {
            Blow::Crash => fleet.engine.crash(name),
            Blow::Kill => drop(fleet.engine.docker(&["kill", name])),
        }
        loop {
            let again = fleet.engine.inspect(name, "{{.State.StartedAt}}") != before;
            if again && fleet.engine.is_running(name) {
                break;
            }
            assert!(made.elapsed() < DEADLINE, "{name} was not healed ({blow:?})");
            std::thread::sleep(Duration::from_millis(50));
        }
        faults.push(Fault { container: (*name).to_owned(), made, healed: Instant::now() });
        progress.healed.fetch_add(1, Relaxed);
    }
    faults
}

/// Lists until it is to end. Whenever all hosts answered, no monitored container is missing.
pub(super) fn lists(fleet: &Fleet, monitored: &[&str], progress: &Progress) {
    let _ending = Ending(progress);
    while !progress.ended.load(Relaxed) {
        let answer = fleet.ask("GET", "/api/v1/containers?monitored=true", "");
        std::thread::sleep(Duration::from_millis(50));
        let Some(answer) = answer.filter(|answer| answer.status == 200) else { continue };
        if answer.expected.as_deref() != Some("1")
            || answer.missing.as_deref().is_some_and(|missing| !missing.is_empty())
        {
            continue;
        }
        let listed = answer.json.as_array().expect("a list");
        let lost: Vec<_> =
            monitored.iter().filter(|name| !listed.iter().any(|c| c["name"] == ***name)).collect();
        assert!(lost.is_empty(), "the host answered and its list lacks {lost:?}: {answer:?}");
        progress.whole_lists.fetch_add(1, Relaxed);
    }
}

/// How many of `faults` befell each container.
pub(super) fn by_container<'a>(faults: impl IntoIterator<Item = &'a Fault>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for fault in faults {
        *counts.entry(fault.container.as_str()).or_insert(0) += 1;
    }
    counts
}
