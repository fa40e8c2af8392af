//! Whether actions on one container help: each is measured before and after, the outcomes make a score, and where
//! several in a row did not help, no more are worth their outage.
//!
//! ```text
//!          action                 done              grace over, then three conclusive checks
//!  (none) ────────► under trial ────────► settling ────────────────────────────────────────► helped
//!                                            │  it still ails ─► no change, or worse when it is graver
//!                                            └─ stopped on order, replaced, nothing told in 5 min ─► unknown
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::watch::{Ailment, End};
use crate::model::{
    ActionKind, Actor, AilmentKind, Assessment, ContainerId, Effect, EffectCounts, Figures,
    HealthcheckStatus, LossPercent, OperationId, Threshold, Timestamp,
};

/// Conclusive checks after the grace period that judge an action which seems to have helped. One that did not is known
/// as soon as its failure is confirmed.
pub(super) const CHECKS: u32 = 3;
/// How long after the grace period they are waited for.
pub(super) const WITHIN: Duration = Duration::from_mins(5);
/// How many outcomes are kept to be shown.
const RECENT: usize = 10;
/// Loss that grew by less is the same, percentage points: 20 probes are no finer.
const WORSE_BY: f64 = 10.0;
/// A round trip that grew as much, and by 50 ms, is worse where loss is the same.
const SLOWER: f64 = 2.0;
const SLOWER_MS: f64 = 50.0;

/// What is known of how actions on one container went; kept over a restart of the agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Efficacy {
    /// The container of that name it is about; another one begins without a streak.
    subject: Option<ContainerId>,
    counts: EffectCounts,
    recent: VecDeque<Assessment>,
    trial: Option<Trial>,
    streak: Option<Streak>,
}

/// Actions in a row that did not help against one ailment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Streak {
    ailment: AilmentKind,
    actions: u32,
    /// When the last action against it began, whatever came of that.
    last: Timestamp,
    /// What the last left behind.
    after: Figures,
}

/// An action whose outcome is not known yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Trial {
    pub(super) op: OperationId,
    pub(super) time: Timestamp,
    pub(super) kind: ActionKind,
    pub(super) by: Actor,
    pub(super) ailment: AilmentKind,
    pub(super) before: Figures,
    /// Whether it could be pinged before.
    pub(super) was_pingable: bool,
    /// Whether a recreate's new container was seen.
    is_replaced: bool,
    progress: Progress,
    seen: Seen,
}

/// How far an action has come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Progress {
    UnderWay,
    Failed,
    Done(Option<Timestamp>),
}

/// What checks after the grace period told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Seen {
    checks: u32,
    /// Checks in which nothing answered at all, of an address that has not answered since.
    silent: u32,
    /// Probes that count, and those of them that were lost.
    sent: f64,
    lost: f64,
    rtt_ms: Option<f64>,
}

/// One conclusive check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Told {
    /// So many probes were sent to the worst address, with this loss and round trip.
    Figures(u32, LossPercent, Option<f64>),
    /// Nothing answered, and nothing has since the action.
    Silence,
}

/// A container after an action on it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct After {
    pub(super) ailment: Option<Ailment>,
    pub(super) running: bool,
    pub(super) healthcheck: Option<HealthcheckStatus>,
    pub(super) grace_over: bool,
    pub(super) pingable: bool,
    pub(super) threshold: Threshold,
    /// No longer waited for.
    pub(super) late: bool,
}

impl Efficacy {
    /// An action begins. One before it that was not judged by now ends unknown.
    pub(super) fn begin(&mut self, subject: &ContainerId, trial: Trial) -> Option<Assessment> {
        let before = self.conclude(Effect::Unknown);
        self.subject = Some(subject.clone());
        self.trial = Some(trial);
        before
    }

    /// The container was acted on though nothing ailed it: what is under trial can't be told from that any more.
    pub(super) fn disturb(&mut self) -> Option<Assessment> {
        self.conclude(Effect::Unknown)
    }

    /// The action `op` was not done; whether that was tried at all.
    pub(super) fn not_done(&mut self, op: &OperationId, tried: Tried) {
        if !self.tries(op) {
            return;
        }
        match (tried, &mut self.trial) {
            (Tried::AndFailed, Some(trial)) => trial.progress = Progress::Failed,
            _ => self.trial = None,
        }
    }

    /// The action `op` was done.
    pub(super) fn done(&mut self, op: &OperationId) {
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.op == *op) {
            trial.progress = Progress::Done(None);
        }
    }

    /// What is seen now under its name. Another container than the one acted on, unless we put it there ourselves, is
    /// judged anew. Returns what the change concluded.
    pub(super) fn meet(&mut self, id: &ContainerId, now: Timestamp) -> Option<Assessment> {
        if let Some(Trial { progress: Progress::Done(at @ None), .. }) = &mut self.trial {
            *at = Some(now);
        }
        if self.subject.as_ref() == Some(id) || self.is_blank() {
            return None;
        }
        self.subject = Some(id.clone());
        let recreated = |trial: &&mut Trial| trial.kind == ActionKind::Recreate && !trial.is_replaced;
        if let Some(trial) = self.trial.as_mut().filter(recreated) {
            trial.is_replaced = true;
            return None;
        }
        self.streak = None;
        self.conclude(Effect::Unknown)
    }

    /// A check after the grace period.
    pub(super) fn check(&mut self, told: Told) {
        let Some(trial) = self.trial.as_mut().filter(|trial| matches!(trial.progress, Progress::Done(_)))
        else {
            return;
        };
        match told {
            Told::Silence if trial.was_pingable => trial.seen.silent += 1,
            Told::Silence => {}
            Told::Figures(sent, loss, rtt_ms) => {
                trial.seen.checks += 1;
                trial.seen.sent += f64::from(sent);
                trial.seen.lost += f64::from(sent) * loss.percent() / 100.0;
                trial.seen.rtt_ms = rtt_ms.or(trial.seen.rtt_ms);
            }
        }
    }

    /// Judges the action under trial by how its container is now; `None`: that cannot be said yet.
    pub(super) fn judge(&mut self, after: &After) -> Option<Assessment> {
        let effect = effect(self.trial.as_ref()?, after)?;
        self.conclude(effect)
    }

    /// When the action under trial was done.
    pub(super) fn done_at(&self) -> Option<Timestamp> {
        match self.trial.as_ref()?.progress {
            Progress::Done(at) => at,
            _ => None,
        }
    }

    /// Whether `op` is under trial.
    fn tries(&self, op: &OperationId) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.op == *op)
    }

    /// Whether no action is under trial.
    pub(super) fn is_settled(&self) -> bool {
        self.trial.is_none()
    }

    /// Whether nothing is known.
    pub(super) fn is_blank(&self) -> bool {
        self.trial.is_none() && self.streak.is_none()
    }

    /// What did not help may be tried again; returns how many actions in a row that were.
    pub(super) fn forgive(&mut self) -> u32 {
        self.streak.take().map_or(0, |streak| streak.actions)
    }

    /// The action under trial is forgotten: nobody saw its end.
    pub(super) fn forget_trial(&mut self) {
        self.trial = None;
    }

    /// How many actions in a row did not help against `ailment`.
    pub(super) fn in_vain(&self, ailment: AilmentKind) -> u32 {
        self.streak.filter(|streak| streak.ailment == ailment).map_or(0, |streak| streak.actions)
    }

    /// Until when nothing is done against `ailment`, since `enough` actions in a row did not help, and in which words;
    /// `enough` 0: never. Every `retry` one more is tried, so that it never ends for good.
    pub(super) fn futile(
        &self,
        ailment: AilmentKind,
        enough: u32,
        retry: Duration,
        now: Timestamp,
    ) -> Option<(Timestamp, String)> {
        let streak = self.streak.filter(|streak| streak.ailment == ailment)?;
        let until = streak.last.after(retry);
        if enough == 0 || streak.actions < enough || now >= until {
            return None;
        }
        let left = match (ailment, streak.after.loss_percent) {
            (AilmentKind::Loss, Some(loss)) => format!("left its loss at {loss}"),
            (AilmentKind::Unhealthy, _) => "left it unhealthy".to_owned(),
            _ => "left it as it was".to_owned(),
        };
        Some((until, format!("the last {} restarts {left}", streak.actions)))
    }

    /// All that was counted.
    pub(super) fn counts(&self) -> EffectCounts {
        self.counts
    }

    /// The last outcomes, oldest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = &Assessment> {
        self.recent.iter()
    }

    fn conclude(&mut self, effect: Effect) -> Option<Assessment> {
        let trial = self.trial.take()?;
        let assessment = Assessment {
            op: trial.op,
            time: trial.time,
            kind: trial.kind,
            by: trial.by,
            ailment: trial.ailment,
            effect,
            before: trial.before,
            after: trial.seen.figures(),
        };
        self.note(&assessment);
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(assessment.clone());
        Some(assessment)
    }

    fn note(&mut self, assessment: &Assessment) {
        self.counts.count(assessment.effect);
        let same = self.streak.filter(|streak| streak.ailment == assessment.ailment);
        self.streak = match assessment.effect {
            Effect::Helped => None,
            Effect::Unknown => same.map(|streak| Streak { last: assessment.time, ..streak }).or(self.streak),
            Effect::NoChange | Effect::Worse => Some(Streak {
                ailment: assessment.ailment,
                actions: same.map_or(0, |streak| streak.actions).saturating_add(1),
                last: assessment.time,
                after: assessment.after,
            }),
        };
    }
}

/// Whether an action that was not done was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tried {
    /// It was, and did not succeed.
    AndFailed,
    /// It was not, or there was nothing left to do it to.
    Not,
}

impl Trial {
    /// An action that begins now.
    pub(super) fn new(
        (op, kind, by): (OperationId, ActionKind, Actor),
        ailment: AilmentKind,
        before: Figures,
        was_pingable: bool,
        time: Timestamp,
    ) -> Self {
        let (progress, seen) = (Progress::UnderWay, Seen::default());
        Self { op, time, kind, by, ailment, before, was_pingable, is_replaced: false, progress, seen }
    }
}

impl Seen {
    fn figures(&self) -> Figures {
        let silent = (self.checks == 0 && self.silent > 0).then_some(LossPercent::ALL);
        let loss =
            if self.sent > 0.0 { LossPercent::new(self.lost * 100.0 / self.sent).ok() } else { silent };
        Figures { loss_percent: loss, rtt_ms: self.rtt_ms }
    }
}

/// The word for what ails it.
pub(super) fn kind_of(ailment: Ailment) -> AilmentKind {
    match ailment {
        Ailment::Down(_) => AilmentKind::Down,
        Ailment::Unhealthy => AilmentKind::Unhealthy,
        Ailment::Detached => AilmentKind::Detached,
        Ailment::Lossy(_) => AilmentKind::Loss,
    }
}

/// The graver, the larger.
fn gravity(ailment: AilmentKind) -> u8 {
    match ailment {
        AilmentKind::Down => 4,
        AilmentKind::Unhealthy => 3,
        AilmentKind::Detached => 2,
        AilmentKind::Loss => 1,
        AilmentKind::Other => 0,
    }
}

fn effect(trial: &Trial, after: &After) -> Option<Effect> {
    match trial.progress {
        Progress::UnderWay => return None,
        Progress::Failed => return Some(Effect::NoChange),
        Progress::Done(_) => {}
    }
    let unless_late = |effect| after.late.then_some(effect);
    match after.ailment {
        // Told to stop, it says nothing of the action.
        Some(Ailment::Down(End::Told)) => return Some(Effect::Unknown),
        Some(Ailment::Down(End::Crashed)) if trial.ailment == AilmentKind::Down => {
            return Some(Effect::NoChange);
        }
        Some(Ailment::Down(End::Crashed)) => return Some(Effect::Worse),
        _ if !after.running => return unless_late(Effect::Unknown),
        _ if !after.grace_over => return None,
        Some(ailment) => return Some(still_ailing(trial, kind_of(ailment))),
        None => {}
    }
    let seen = &trial.seen;
    if seen.silent >= CHECKS && !after.pingable {
        return Some(Effect::NoChange);
    }
    if after.healthcheck == Some(HealthcheckStatus::Starting) {
        return unless_late(Effect::Unknown);
    }
    let enough = seen.checks >= CHECKS || (after.late && seen.checks > 0);
    if !enough && (after.pingable || trial.was_pingable) {
        return unless_late(Effect::Unknown);
    }
    let lossy = seen.figures().loss_percent.is_some_and(|loss| after.threshold.is_exceeded_by(loss));
    Some(if lossy { still_ailing(trial, AilmentKind::Loss) } else { Effect::Helped })
}

/// Nothing less grave than before is a change for the better; the same is compared by its figures.
fn still_ailing(trial: &Trial, now: AilmentKind) -> Effect {
    match gravity(now).cmp(&gravity(trial.ailment)) {
        std::cmp::Ordering::Less => Effect::Helped,
        std::cmp::Ordering::Greater => Effect::Worse,
        std::cmp::Ordering::Equal => {
            let (before, after) = (trial.before, trial.seen.figures());
            let grew = |(before, after): (LossPercent, LossPercent)| after.percent() - before.percent();
            let loss = before.loss_percent.zip(after.loss_percent).map(grew);
            let slower = before
                .rtt_ms
                .zip(after.rtt_ms)
                .is_some_and(|(before, after)| after >= before * SLOWER && after >= before + SLOWER_MS);
            let same = loss.is_none_or(|grew| grew > -WORSE_BY);
            if loss.is_some_and(|grew| grew >= WORSE_BY) || (slower && same) {
                Effect::Worse
            } else {
                Effect::NoChange
            }
        }
    }
}

#[cfg(test)]
#[path = "efficacy_tests.rs"]
mod tests;
