//! What the antagonist did, with the exact times.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::chaos::drill::{Injected, Roster};
use crate::chaos::{AntagonistNews, Phase, Scenario};
use crate::cmd::output::note;
use crate::model::{ContainerName, Threshold, Timestamp};

/// The most faults that are kept.
const MOST_FAULTS: usize = 100_000;

/// Listens to the antagonist.
pub(super) struct Recorder<'a> {
    scenario: &'a Scenario,
    thresholds: &'a BTreeMap<ContainerName, Threshold>,
    roster: watch::Sender<Roster>,
    /// The phase of the last turn.
    phase: Option<usize>,
    pub(super) faults: Vec<Injected>,
    /// Why it ended early.
    pub(super) aborted: Option<String>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(
        scenario: &'a Scenario,
        thresholds: &'a BTreeMap<ContainerName, Threshold>,
        roster: watch::Sender<Roster>,
    ) -> Self {
        Self { scenario, thresholds, roster, phase: None, faults: Vec::new(), aborted: None }
    }

    /// Takes in news, and shows it.
    pub(super) fn hear(&mut self, news: &AntagonistNews) {
        let now = Timestamp::now();
        match news {
            AntagonistNews::Phase(name) => self.phase = self.next_phase(name),
            AntagonistNews::Did { attack, took, .. } => {
                let phase = self.phase();
                let fault = Injected {
                    container: attack.name.clone(),
                    fault: attack.fault.clone(),
                    phase: phase.name.clone(),
                    expect: phase.expect,
                    threshold: self.thresholds.get(&attack.name).copied(),
                    asked: before(now, *took),
                    done: now,
                    over: None,
                };
                if self.faults.len() < MOST_FAULTS {
                    self.faults.push(fault);
                }
                self.roster.send_modify(|roster| roster.attacked(&attack.name));
            }
            AntagonistNews::Over(ended) => {
                let name = &ended.lease.name;
                let mut of_it = self.faults.iter_mut().rev().filter(|fault| fault.container == *name);
                if let Some(fault) = of_it.next() {
                    fault.over.get_or_insert(now);
                }
                self.roster.send_modify(|roster| roster.over(name, Instant::now()));
            }
            AntagonistNews::Aborted(why) => self.aborted = Some(why.clone()),
            AntagonistNews::Ended { .. } => {
                for fault in self.faults.iter_mut().filter(|fault| fault.over.is_none()) {
                    fault.over = Some(now);
                    self.roster.send_modify(|roster| roster.over(&fault.container, Instant::now()));
                }
            }
            _ => {}
        }
        note(&news.to_string());
    }

    /// The next phase of that name: several may share one.
    fn next_phase(&self, name: &str) -> Option<usize> {
        let from = self.phase.map_or(0, |phase| phase + 1);
        let found = self.scenario.phases.iter().skip(from).position(|phase| phase.name == name);
        found.map(|index| from + index).or(self.phase)
    }

    /// The phase of this turn; a scenario of a single one does not name it.
    fn phase(&self) -> &'a Phase {
        &self.scenario.phases[self.phase.unwrap_or_default()]
    }
}

fn before(time: Timestamp, span: Duration) -> Timestamp {
    let span = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(time.millis().saturating_sub(span))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::Attack;

    #[test]
    fn phases_are_told_apart_also_by_the_same_name() {
        let phase = |within: &str| {
            format!(
                "[[phase]]\nname = \"p\"\nfaults = [\"stop\"]\nevery = \"1s\"\nfor = \"2s\"\n\
                 expect = {{ outcome = \"healed\", within = \"{within}\" }}\n"
            )
        };
        let scenario: Scenario = format!("name = \"x\"\n{}{}", phase("1s"), phase("9s")).parse().unwrap();
        let thresholds = BTreeMap::new();
        let (roster, _) = watch::channel(Roster::default());
        let mut recorder = Recorder::new(&scenario, &thresholds, roster);
        let attack = Attack {
            id: "0123456789ab".parse().unwrap(),
            name: "web".parse().unwrap(),
            fault: "stop".parse().unwrap(),
            lease: None,
        };
        for _ in 0..2 {
            recorder.hear(&AntagonistNews::Phase("p".into()));
            let (attack, how) = (attack.clone(), String::new());
            recorder.hear(&AntagonistNews::Did { attack, took: Duration::from_secs(2), how });
        }
        let within: Vec<_> = recorder.faults.iter().map(|f| f.expect.unwrap().within.as_secs()).collect();
        assert_eq!(within, [1, 9]);
        let fault = &recorder.faults[0];
        assert_eq!(fault.done.since(fault.asked), Duration::from_secs(2));
    }
}
