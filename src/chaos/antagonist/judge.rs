//! What became of faults, against what was expected of them. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::chaos::{Attack, Expectation, ExpectedOutcome, Fault, Scenario};
use crate::model::{ContainerFacts, ContainerId, ContainerName, RunState, Timestamp};

/// A word on one fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Whom.
    pub name: ContainerName,
    /// What was done to it.
    pub fault: Fault,
    /// What was expected.
    pub expected: Expectation,
    /// Whether it came so.
    pub met: bool,
    /// How long after the fault that was seen.
    pub after: Duration,
}

/// The faults of which something is expected still.
#[derive(Debug, Default)]
pub(super) struct Judge {
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    id: ContainerId,
    name: ContainerName,
    fault: Fault,
    expected: Expectation,
    /// When the container had last been started; `None`: not known before it is first seen.
    started_at: Option<Timestamp>,
    since: Instant,
    /// The antagonist itself ended what was to be healed.
    undone: bool,
}

impl Judge {
    /// Whether nothing is expected any more.
    pub(super) fn is_done(&self) -> bool {
        self.watched.is_empty()
    }

    /// Expects something of `attack`, made at `since` on a container that had last been started at `started_at`.
    pub(super) fn watch(
        &mut self,
        attack: &Attack,
        expected: Expectation,
        started_at: Option<Timestamp>,
        since: Instant,
    ) {
        if expected.outcome == ExpectedOutcome::Quarantined {
            return;
        }
        self.watched.push(Watched {
            id: attack.id.clone(),
            name: attack.name.clone(),
            fault: attack.fault.clone(),
            expected,
            // A restart is a start of ours: what comes after it counts.
            started_at: started_at.filter(|_| attack.fault != Fault::Restart),
            since,
            undone: false,
        });
    }

    /// The antagonist ended its fault on this container.
    pub(super) fn undone(&mut self, id: &ContainerId) {
        for watched in
            self.watched.iter_mut().filter(|watched| watched.id == *id && watched.fault.kind().takes_down())
        {
            watched.undone = true;
        }
    }

    /// What is certain now; it is not expected any more.
    pub(super) fn judge(&mut self, containers: &[ContainerFacts], now: Instant) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        self.watched.retain_mut(|watched| match watched.outcome(containers, now) {
            None => true,
            Some(met) => {
                verdicts.push(Verdict {
                    name: watched.name.clone(),
                    fault: watched.fault.clone(),
                    expected: watched.expected,
                    met,
                    after: now.saturating_duration_since(watched.since),
                });
                false
            }
        });
        verdicts
    }
}

impl Watched {
    fn outcome(&mut self, containers: &[ContainerFacts], now: Instant) -> Option<bool> {
        let over = now.saturating_duration_since(self.since) >= self.expected.within;
        // Recreated, it has another id.
        let found = containers
            .iter()
            .find(|container| container.id == self.id)
            .or_else(|| containers.iter().find(|container| container.name == self.name));
        let started = found.is_some_and(|container| {
            let before =
                *self.started_at.get_or_insert(container.started_at.unwrap_or(Timestamp::from_millis(0)));
            container.id != self.id || container.started_at.is_some_and(|at| at != before)
        });
        let runs = found.is_some_and(|container| container.state == RunState::Running);
        match self.expected.outcome {
            ExpectedOutcome::Healed if self.undone => Some(false),
            ExpectedOutcome::Healed if runs && (started || self.fault == Fault::Restart) => Some(true),
            ExpectedOutcome::Healed => over.then_some(false),
            // Whoever is given up is known to its healer alone: it is not watched.
            _ if self.undone => Some(true),
            _ if started || found.is_none() => Some(false),
            _ => over.then_some(true),
        }
    }
}

/// The share of the containers that may be attacked at all which do not run, percent, rounded down; those that were never
/// started don't count. `None` when there is none.
pub(super) fn down_percent(scenario: &Scenario, containers: &[ContainerFacts]) -> Option<u8> {
    let targets = containers.iter().filter(|container| {
        container.state != RunState::Created
            && scenario.phases.iter().any(|phase| phase.targets.allow(container))
    });
    let (mut all, mut down) = (0_usize, 0_usize);
    for container in targets {
        all += 1;
        down += usize::from(container.state != RunState::Running);
    }
    u8::try_from((down * 100).checked_div(all)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::fixtures::container;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    struct Case {
        judge: Judge,
        container: ContainerFacts,
        since: Instant,
    }

    fn case(fault: &str, outcome: ExpectedOutcome) -> Case {
        let container = ContainerFacts { started_at: Some(at(1)), ..container("web", &[]) };
        let (id, name) = (container.id.clone(), container.name.clone());
        let attack = Attack { id, name, fault: fault.parse().unwrap(), lease: None };
        let (mut judge, since) = (Judge::default(), Instant::now());
        let expected = Expectation { outcome, within: Duration::from_secs(30) };
        judge.watch(&attack, expected, container.started_at, since);
        Case { judge, container, since }
    }

    impl Case {
        /// The verdict `seconds` later, and when it was.
        fn after(&mut self, seconds: u64) -> Option<bool> {
            let now = self.since + Duration::from_secs(seconds);
            let verdicts = self.judge.judge(std::slice::from_ref(&self.container), now);
            verdicts.first().map(|verdict| verdict.met)
        }
    }

    #[test]
    fn healed_is_a_start_after_the_fault() {
        let mut stop = case("stop", ExpectedOutcome::Healed);
        stop.container.state = RunState::Exited;
        assert_eq!(stop.after(5), None);
        (stop.container.state, stop.container.started_at) = (RunState::Running, Some(at(9)));
        assert_eq!(stop.after(9), Some(true));
        assert!(stop.judge.is_done());
        let mut late = case("loss=100%", ExpectedOutcome::Healed);
        assert_eq!((late.after(29), late.after(30)), (None, Some(false)));
    }

    #[test]
    fn what_the_antagonist_undid_was_not_healed() {
        let mut stop = case("stop", ExpectedOutcome::Healed);
        stop.judge.undone(&stop.container.id);
        stop.container.started_at = Some(at(9));
        assert_eq!(stop.after(9), Some(false));
        let mut loss = case("loss=100%", ExpectedOutcome::Healed);
        loss.judge.undone(&loss.container.id);
        assert_eq!(loss.after(9), None, "its end restarts nothing");
    }

    #[test]
    fn untouched_is_no_start_and_no_other_container_of_the_name() {
        let mut quiet = case("loss=5%", ExpectedOutcome::Untouched);
        assert_eq!((quiet.after(29), quiet.after(30)), (None, Some(true)));
        let mut restarted = case("loss=5%", ExpectedOutcome::Untouched);
        restarted.container.started_at = Some(at(4));
        assert_eq!(restarted.after(5), Some(false));
        let mut recreated = case("loss=5%", ExpectedOutcome::Untouched);
        recreated.container.id = container("other", &[]).id;
        assert_eq!(recreated.after(5), Some(false));
    }

    #[test]
    fn a_restart_of_ours_is_no_healing_by_others() {
        let mut restart = case("restart", ExpectedOutcome::Untouched);
        restart.container.started_at = Some(at(3));
        assert_eq!(restart.after(1), None);
        restart.container.started_at = Some(at(5));
        assert_eq!(restart.after(2), Some(false));
        assert_eq!(case("restart", ExpectedOutcome::Healed).after(1), Some(true));
    }

    #[test]
    fn the_share_that_is_down_counts_targets_alone() {
        let scenario: Scenario =
            "name = \"x\"\ntargets = [\"web-*\"]\n[[phase]]\nname = \"p\"\nfor = \"1s\"\n".parse().unwrap();
        assert_eq!(down_percent(&scenario, &[container("db", &[])]), None);
        let mut all = vec![container("web-1", &[]), container("web-2", &[]), container("web-3", &[])];
        all[0].state = RunState::Exited;
        all[1].state = RunState::Paused;
        let created = ContainerFacts { state: RunState::Created, ..container("web-4", &[]) };
        all.extend([created, container("db", &[])]);
        assert_eq!(down_percent(&scenario, &all), Some(66));
    }
}
