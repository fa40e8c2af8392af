//! Assesses what was done: gathers what [`Efficacy`](super::Efficacy) judges by, and says what came of each action.

use serde_json::json;

use super::efficacy::{After, CHECKS, Told, Trial, WITHIN, kind_of};
use super::state::{History, HostState};
use super::watch::{Ailment, Watch};
use super::{Decision, Hold};
use crate::model::{
    Actor, AddressCheck, AilmentKind, Assessment, CheckRecord, ContainerId, ContainerName, Effect,
    EffectCounts, EfficacyReport, EventDraft, EventKind, Figures, Now, Timestamp, Verdict, format_span,
};

impl HostState {
    /// Puts actions that were begun just now under trial, where something ails the container. Its facts are still those
    /// of before.
    pub(super) fn put_under_trial(&mut self, now: Now, out: &mut Vec<Decision>) {
        let fresh = |history: &mut History| {
            let under_way = history.under_way.as_mut().filter(|under_way| !under_way.seen_begin)?;
            under_way.seen_begin = true;
            Some((under_way.op.clone(), under_way.kind, under_way.by))
        };
        let begun: Vec<_> = self
            .histories
            .iter_mut()
            .filter_map(|(name, history)| Some((name.clone(), fresh(history)?)))
            .collect();
        for (name, what) in begun {
            let Some(watch) = self.watches.values().find(|watch| watch.facts.name == name) else { continue };
            let efficacy = &mut self.histories.get_mut(&name).expect("named above").efficacy;
            let unjudged = match watch.ailment() {
                None => efficacy.disturb(),
                Some(ailment) => {
                    let before = figures_before(watch, ailment);
                    let trial =
                        Trial::new(what, kind_of(ailment), before, watch.answers.was_pingable(), now.wall);
                    let unjudged = efficacy.begin(&watch.facts.id, trial);
                    out.push(Decision::Score(name.clone(), Box::new(efficacy.clone())));
                    unjudged
                }
            };
            self.conclude(&name, unjudged, out);
        }
    }

    /// What a check told, for the action under trial.
    pub(super) fn note_effect(&mut self, id: &ContainerId, record: &CheckRecord, now: Now) {
        let Some(watch) = self.watches.get(id) else { return };
        let in_grace = watch.grace_until(&self.policy).is_some_and(|until| now.mono < until);
        let excused = self.acquittal(watch, now.mono).is_some();
        let Some(told) = told(record).filter(|_| !in_grace && !excused) else { return };
        if let Some(history) = self.histories.get_mut(&watch.facts.name) {
            history.efficacy.check(told);
        }
    }

    /// Judges every action that can be judged by now.
    pub(super) fn assess(&mut self, now: Now, out: &mut Vec<Decision>) {
        let names: Vec<ContainerName> = self
            .histories
            .iter()
            .filter(|(_, history)| history.under_way.is_none() && !history.efficacy.is_blank())
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let Some(watch) = self.watches.values().find(|watch| watch.facts.name == name) else { continue };
            let id = watch.facts.id.clone();
            let efficacy = &mut self.histories.get_mut(&name).expect("named above").efficacy;
            let concluded = efficacy.meet(&id, now.wall);
            let done = efficacy.done_at();
            self.conclude(&name, concluded, out);
            if self.histories[&name].efficacy.is_settled() || self.engine_lost.is_some() {
                continue;
            }
            let after = self.after(&self.watches[&id], done.is_some_and(|at| self.is_late(at, now)), now);
            let efficacy = &mut self.histories.get_mut(&name).expect("named above").efficacy;
            let concluded = efficacy.judge(&after);
            self.conclude(&name, concluded, out);
        }
    }

    fn is_late(&self, done: Timestamp, now: Now) -> bool {
        now.wall.since(done) > self.policy.grace + WITHIN
    }

    fn after(&self, watch: &Watch, late: bool, now: Now) -> After {
        let grace = watch.grace_until(&self.policy);
        After {
            ailment: watch.ailment(),
            running: watch.is_running(),
            healthcheck: watch.facts.healthcheck.map(|check| check.status),
            grace_over: grace.is_some_and(|until| until <= now.mono),
            pingable: watch.answers.is_pingable(),
            threshold: self.threshold_of(&watch.facts.name),
            late: late && grace.is_none_or(|until| until + WITHIN <= now.mono),
        }
    }

    /// Keeps what came of an action, and says it.
    pub(super) fn conclude(
        &self,
        name: &ContainerName,
        concluded: Option<Assessment>,
        out: &mut Vec<Decision>,
    ) {
        let (Some(history), Some(assessment)) = (self.histories.get(name), concluded) else { return };
        let efficacy = &history.efficacy;
        out.push(Decision::Score(name.clone(), Box::new(efficacy.clone())));
        out.push(Decision::Emit(
            EventDraft::new(EventKind::ActionAssessed, Actor::Agent, sentence(name, &assessment))
                .about(name)
                .with(json!({
                    "op": assessment.op,
                    "effect": assessment.effect,
                    "ailment": assessment.ailment,
                    "before": assessment.before,
                    "after": assessment.after,
                })),
        ));
        let in_vain = efficacy.in_vain(assessment.ailment);
        let failed = matches!(assessment.effect, Effect::NoChange | Effect::Worse);
        if failed && in_vain == self.policy.futile_after && restarts(assessment.ailment) {
            let text = format!(
                "Restarting {name} does not help: {in_vain} times in a row it did not. It is left alone for {}, until \
                 it is replaced, or until `dockhealth release {name}`.",
                format_span(self.policy.futile_retry)
            );
            let data =
                json!({ "ailment": assessment.ailment, "actions": in_vain, "after": assessment.after });
            out.push(Decision::Emit(
                EventDraft::new(EventKind::HealingFutile, Actor::Agent, text).about(name).with(data),
            ));
        }
    }

    /// The brake: restarts that never help are not worth their outage. What is down costs nothing to start; its budget
    /// bounds that.
    pub(super) fn futile(&self, history: &History, ailment: Ailment, now: Now) -> Option<Hold> {
        let kind = kind_of(ailment);
        let (enough, retry) = (self.policy.futile_after, self.policy.futile_retry);
        let (until, why) =
            restarts(kind).then(|| history.efficacy.futile(kind, enough, retry, now.wall)).flatten()?;
        Some(Hold::Futile(until, why))
    }

    /// The score as reports have it; `None`: nothing was done to it yet.
    pub(super) fn efficacy_of(&self, watch: &Watch, now: Now) -> Option<EfficacyReport> {
        let history = self.histories.get(&watch.facts.name)?;
        let efficacy = &history.efficacy;
        if efficacy.counts().total() == 0 {
            return None;
        }
        let futile = watch.ailment().and_then(|ailment| self.futile(history, ailment, now));
        Some(EfficacyReport {
            outcomes: efficacy.counts(),
            recent: efficacy.recent().cloned().collect(),
            futile: futile.map(|hold| hold.to_string()),
        })
    }

    /// The score in figures; `None`: nothing was done to it yet.
    pub(super) fn outcomes_of(&self, watch: &Watch) -> Option<EffectCounts> {
        let counts = self.histories.get(&watch.facts.name)?.efficacy.counts();
        (counts.total() > 0).then_some(counts)
    }

    /// The brake as one sentence of `why`, once an action did not help.
    pub(super) fn efficacy_brake(&self, watch: &Watch) -> Option<String> {
        let efficacy = &self.histories.get(&watch.facts.name)?.efficacy;
        if efficacy.counts().total() == 0 && efficacy.is_settled() {
            return None;
        }
        let counts = efficacy.counts();
        let unknown = match counts.unknown {
            0 => String::new(),
            unknown => format!(", of {unknown} that is unknown"),
        };
        let trial = if efficacy.is_settled() {
            String::new()
        } else {
            format!(", one is under trial ({CHECKS} checks after its grace)")
        };
        Some(format!("efficacy: {} of {} actions helped{unknown}{trial}", counts.helped, counts.total()))
    }
}

/// Whether what is done against it is a restart of something that runs.
fn restarts(ailment: AilmentKind) -> bool {
    ailment != AilmentKind::Down
}

fn figures_before(watch: &Watch, ailment: Ailment) -> Figures {
    let (last, rtt_ms) = watch.last_figures();
    let loss_percent = match ailment {
        Ailment::Lossy(loss) => Some(loss),
        Ailment::Down(_) => None,
        _ => last,
    };
    Figures { loss_percent, rtt_ms }
}

/// What a check says of an action; one that the agent was starved in says nothing.
fn told(record: &CheckRecord) -> Option<Told> {
    let worst = record.addresses.iter().filter(|address| address.loss() == record.loss_percent);
    if let (Verdict::Pass | Verdict::Fail, Some(loss)) = (record.verdict, record.loss_percent) {
        let sent = worst.map(|address| address.sent).max()?;
        let rtt = record.addresses.iter().filter_map(|address| address.rtt_ms).max_by(f64::total_cmp);
        return Some(Told::Figures(sent, loss, rtt));
    }
    let silent = |address: &AddressCheck| address.sent > 0 && address.received == 0;
    (!record.addresses.is_empty() && record.addresses.iter().all(silent)).then_some(Told::Silence)
}

fn sentence(name: &ContainerName, assessment: &Assessment) -> String {
    let effect = match assessment.effect {
        Effect::Helped => "helped",
        Effect::NoChange => "did not help",
        Effect::Worse => "made it worse",
        Effect::Unknown => "could not be measured",
    };
    let loss = |figures: Figures| figures.loss_percent.map_or("unknown".to_owned(), |loss| loss.to_string());
    let (before, after) = (loss(assessment.before), loss(assessment.after));
    let rtt = assessment.before.rtt_ms.zip(assessment.after.rtt_ms);
    let rtt = rtt.map(|(before, after)| format!("; round trip {before:.2} ms before, {after:.2} ms after"));
    let rtt = rtt.unwrap_or_default();
    format!("The {} of {name} {effect}: loss {before} before, {after} after{rtt}.", assessment.kind)
}
