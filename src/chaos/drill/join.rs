//! Joins faults with what the healer says: which events answer which fault, and whether that was what was wanted. Pure.
//!
//! Nobody carries two faults at once, so an event about a container answers the last fault on it, as long as that is in
//! force or has just passed, or else the fault whose trouble it goes on with. An action that answers none is a false alarm,
//! unless its container was down, which calls for a start whoever did it, or takes no part: then it may have troubles of its
//! own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::chaos::{Expectation, ExpectedOutcome, Fault, FaultKind};
use crate::model::{
    Actor, ContainerName, DrillFault, Event, EventKind, FalseAlarm, FaultOutcome, FaultWanted, Threshold,
    Timestamp,
};

/// So long after a fault is over, what is found of its container is still its doing: checks see the past.
const PASSES: Duration = Duration::from_secs(30);

/// Loss so far above the threshold, percentage points, must be found: the sequential test's own alternative.
const SURELY: f64 = 20.0;
/// But of so much loss at most.
const SURELY_MOST: f64 = 95.0;

/// A fault that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Injected {
    /// Whom it was done to.
    pub container: ContainerName,
    /// What.
    pub fault: Fault,
    /// The phase.
    pub phase: String,
    /// What the phase expects of it.
    pub expect: Option<Expectation>,
    /// The threshold of its container; `None`: unknown.
    pub threshold: Option<Threshold>,
    /// When it was begun.
    pub asked: Timestamp,
    /// When it was in force.
    pub done: Timestamp,
    /// When it was over; `None`: that was not heard.
    pub over: Option<Timestamp>,
}

/// All that is joined.
#[derive(Debug, Clone, Default)]
pub struct Story {
    /// The faults.
    pub faults: Vec<Injected>,
    /// What the host's agent said meanwhile.
    pub events: Vec<Event>,
    /// Those who take part.
    pub containers: BTreeSet<ContainerName>,
    /// Which containers each needs.
    pub needs: BTreeMap<ContainerName, BTreeSet<ContainerName>>,
}

/// What comes of joining.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Joined {
    /// In the order they were done.
    pub(super) faults: Vec<DrillFault>,
    /// Actions that nothing called for, those on faults that were to be borne among them, oldest first.
    pub(super) alarms: Vec<FalseAlarm>,
    /// Actions on what was down without a fault of ours, or takes no part.
    pub(super) others: u64,
    /// How often something shared was found to blame.
    pub(super) shared: u64,
    /// What did not come out as wanted.
    pub(super) findings: Vec<String>,
}

/// How one fault was answered.
#[derive(Debug, Clone, Default)]
struct Answered {
    failing: Option<Timestamp>,
    actions: Vec<FalseAlarm>,
    recovered: Option<Timestamp>,
    given_up: Option<Timestamp>,
    left: bool,
}

/// What a container was last said to suffer from, and by which fault.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    fault: Option<usize>,
    down: bool,
}

impl Story {
    /// Joins it.
    pub(super) fn join(&self) -> Joined {
        let mut order: Vec<usize> = (0..self.faults.len()).collect();
        order.sort_by_key(|index| (self.faults[*index].asked, *index));
        let faults: Vec<&Injected> = order.into_iter().map(|index| &self.faults[index]).collect();
        let mut events: Vec<&Event> = self.events.iter().collect();
        events.sort_by_key(|event| (event.time, event.seq));
        let mut joined = Joined::default();
        let mut answers = vec![Answered::default(); faults.len()];
        let mut shared = Vec::new();
        let mut troubles = BTreeMap::<&ContainerName, Trouble>::new();
        for event in events {
            let Some(name) = &event.container else {
                if event.kind == EventKind::BreakerOpened {
                    shared.push(event.time);
                }
                continue;
            };
            let last = faults.iter().rposition(|f| f.container == *name && f.asked <= event.time);
            let present = last.filter(|index| faults[*index].reaches(event.time));
            let trouble = troubles.get(name).copied();
            let answers_to = present.or(trouble.and_then(|trouble| trouble.fault));
            match event.kind {
                EventKind::ContainerFailing => {
                    let down = event.data.get("ailment").and_then(|word| word.as_str());
                    let down = matches!(down, Some("down" | "detached"));
                    troubles.insert(name, Trouble { fault: present, down });
                    if let Some(fault) = present {
                        answers[fault].failing.get_or_insert(event.time);
                    }
                }
                EventKind::ContainerRecovered => {
                    troubles.remove(name);
                    if let Some(fault) = answers_to.filter(|fault| answers[*fault].is_noticed()) {
                        answers[fault].recovered.get_or_insert(event.time);
                    }
                }
                EventKind::Quarantined => {
                    if let Some(fault) = answers_to {
                        answers[fault].given_up.get_or_insert(event.time);
                    }
                }
                EventKind::ContainerLeft => {
                    if let Some(fault) = answers_to {
                        answers[fault].left = true;
                    }
                }
                kind if is_action(kind) && event.by == Actor::Agent => {
                    let reason = event.reason.clone();
                    let alarm =
                        FalseAlarm { time: event.time, container: name.clone(), action: kind, reason };
                    match answers_to {
                        Some(fault) => answers[fault].actions.push(alarm),
                        None if trouble.is_some_and(|trouble| trouble.down) => joined.others += 1,
                        None if !self.containers.contains(name) => joined.others += 1,
                        None => joined.alarms.push(alarm),
                    }
                }
                _ => {}
            }
        }
        joined.shared = shared.len() as u64;
        joined.findings = joined
            .alarms
            .iter()
            .map(|alarm| {
                format!(
                    "{}: {} at {}, though no fault called for it",
                    alarm.container, alarm.action, alarm.time
                )
            })
            .collect();
        let given_up = Self::given_up(&faults, &answers);
        for (index, fault) in faults.iter().enumerate() {
            let mut told = fault.told(&answers[index]);
            let (outcome, why) = self.judge(index, &faults, &answers, &shared, &given_up);
            told.outcome = outcome;
            if let Some(why) = why {
                joined.findings.push(format!("{}: {} at {}{why}", told.container, told.fault, told.injected));
            }
            if matches!(told.wanted, FaultWanted::Untouched | FaultWanted::Shared) {
                joined.alarms.extend(answers[index].actions.iter().cloned());
            }
            joined.faults.push(told);
        }
        joined.alarms.sort_by(|a, b| (a.time, &a.container).cmp(&(b.time, &b.container)));
        joined
    }

    /// Of containers that are to be given up: the last fault of each phase on each, and when the first was done and it was
    /// given up.
    fn given_up(
        faults: &[&Injected],
        answers: &[Answered],
    ) -> BTreeMap<usize, (Timestamp, Option<Timestamp>)> {
        let mut groups = BTreeMap::<(&ContainerName, &str), (usize, Timestamp, Option<Timestamp>)>::new();
        for (index, fault) in
            faults.iter().enumerate().filter(|(_, f)| f.wanted() == FaultWanted::Quarantined)
        {
            let at = answers[index].given_up;
            let group = groups.entry((&fault.container, &fault.phase)).or_insert((index, fault.done, None));
            group.0 = index;
            group.2 = group.2.or(at);
        }
        groups.into_values().map(|(last, first, at)| (last, (first, at))).collect()
    }

    /// What came of a fault, and in what it is not what was wanted.
    fn judge(
        &self,
        index: usize,
        faults: &[&Injected],
        answers: &[Answered],
        shared: &[Timestamp],
        given_up: &BTreeMap<usize, (Timestamp, Option<Timestamp>)>,
    ) -> (FaultOutcome, Option<String>) {
        let (fault, answered) = (faults[index], &answers[index]);
        let within = fault.expect.map(|expect| expect.within).unwrap_or_default();
        let wrong = |why: &str| (FaultOutcome::Wrong, Some(why.to_owned()));
        let missed = || {
            let left = if answered.left { "; it was left down on purpose (on-stop)" } else { "" };
            (FaultOutcome::Missed, Some(format!(" was not found{left}")))
        };
        let good = (FaultOutcome::AsExpected, None);
        match fault.wanted() {
            FaultWanted::Nothing => (FaultOutcome::NotJudged, None),
            FaultWanted::Found if answered.is_noticed() => good,
            FaultWanted::Found => missed(),
            FaultWanted::Healed => match answered.actions.first() {
                None if !answered.is_noticed() => missed(),
                None => (FaultOutcome::Late, Some(" was found, and nothing was done".to_owned())),
                Some(action) if action.time.since(fault.done) > within => {
                    let took = action.time.since(fault.done).as_secs_f64();
                    let within = within.as_secs_f64();
                    (
                        FaultOutcome::Late,
                        Some(format!(" was healed after {took:.1} s, not within {within} s")),
                    )
                }
                Some(action) => match self.started_too_early(fault, action, faults, answers) {
                    None => good,
                    Some(needed) => wrong(&format!(" was answered before {needed} was, which it needs")),
                },
            },
            FaultWanted::Untouched if answered.actions.is_empty() => good,
            FaultWanted::Untouched => wrong(" was to be borne, and was acted on"),
            FaultWanted::Shared if !answered.actions.is_empty() => {
                wrong(" was to be blamed on what is shared, and was acted on")
            }
            FaultWanted::Shared if answered.failing.is_some() => {
                wrong(" was to be blamed on what is shared, and was blamed on its container")
            }
            FaultWanted::Shared => {
                let end = fault.done.after(within);
                if shared.iter().any(|at| *at >= fault.asked && *at <= end) { good } else { missed() }
            }
            FaultWanted::Quarantined => match given_up.get(&index) {
                Some((_, None)) => (FaultOutcome::Late, Some(" never led to quarantine".to_owned())),
                Some((first, Some(at))) if at.since(*first) > within => {
                    let took = at.since(*first).as_secs_f64();
                    (FaultOutcome::Late, Some(format!(" led to quarantine only after {took:.0} s")))
                }
                // Of a loop the last fault is judged, for all.
                None | Some(_) => good,
            },
        }
    }

    /// What `fault`'s container needs, had a fault then, and was answered only later.
    fn started_too_early<'a>(
        &self,
        fault: &Injected,
        action: &FalseAlarm,
        faults: &[&'a Injected],
        answers: &[Answered],
    ) -> Option<&'a ContainerName> {
        let needs = self.needs.get(&fault.container)?;
        let later =
            |answered: &Answered| answered.actions.first().is_none_or(|first| first.time > action.time);
        let then = |other: &Injected| {
            other.fault.kind().takes_down()
                && other.done <= action.time
                && other.over.is_none_or(|over| over > action.time)
        };
        let mut all = faults.iter().zip(answers);
        let found =
            all.find(|(other, answered)| needs.contains(&other.container) && then(other) && later(answered));
        found.map(|(other, _)| &other.container)
    }
}

impl Injected {
    /// Whether what is said at `time` may be about it.
    fn reaches(&self, time: Timestamp) -> bool {
        self.over.is_none_or(|over| time <= over.after(PASSES))
    }

    /// What should come of it.
    fn wanted(&self) -> FaultWanted {
        match (self.expect.map(|expect| expect.outcome), &self.fault) {
            (Some(ExpectedOutcome::Healed), _) => FaultWanted::Healed,
            (Some(ExpectedOutcome::Untouched), _) => FaultWanted::Untouched,
            (Some(ExpectedOutcome::Quarantined), _) => FaultWanted::Quarantined,
            (Some(ExpectedOutcome::Shared), _) => FaultWanted::Shared,
            (None, Fault::Loss(loss)) => match self.threshold {
                Some(threshold) if loss.percent() >= (threshold.percent() + SURELY).min(SURELY_MOST) => {
                    FaultWanted::Found
                }
                _ => FaultWanted::Nothing,
            },
            (None, fault) if matches!(fault.kind(), FaultKind::Stop | FaultKind::Kill) => FaultWanted::Found,
            (None, _) => FaultWanted::Nothing,
        }
    }

    fn told(&self, answered: &Answered) -> DrillFault {
        let after = |time: Timestamp| u64::try_from(time.since(self.done).as_millis()).unwrap_or(u64::MAX);
        let first = answered.actions.first();
        DrillFault {
            container: self.container.clone(),
            fault: self.fault.to_string(),
            kind: self.fault.kind().word().to_owned(),
            phase: self.phase.clone(),
            injected: self.done,
            over: self.over,
            wanted: self.wanted(),
            within_ms: self.expect.map(|e| u64::try_from(e.within.as_millis()).unwrap_or(u64::MAX)),
            outcome: FaultOutcome::NotJudged,
            detect_ms: answered.failing.map(after),
            act_ms: first.map(|action| after(action.time)),
            recover_ms: answered.recovered.map(after),
            quarantine_ms: answered.given_up.map(after),
            action: first.map(|action| action.action),
            actions: answered.actions.len() as u64,
        }
    }
}

impl Answered {
    fn is_noticed(&self) -> bool {
        self.failing.is_some() || !self.actions.is_empty() || self.given_up.is_some()
    }
}

/// Whether it is said of an action.
fn is_action(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::ContainerStarted | EventKind::ContainerRestarted | EventKind::ContainerRecreated
    )
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
