//! Drills: what a campaign of faults causes is marked with its id and has budgets of its own, and when it is over
//! everything that healing remembers of those containers is as it was before.
//!
//! ```text
//!            told of it                nothing ails it               drill over, or nobody repeats it
//!  (none) ─────────────► is to take part ─────────────► takes part ────────────────────────────────► (none)
//!                                                       marked; budget,                   budget, quarantine and
//!                                                       score and quarantine              score are those of before
//!                                                       begin anew
//! ```
//!
//! A container that fails, is quarantined or is being acted on when the drill begins does not take part before that is
//! over: what it has then is nobody's drill.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::efficacy::Efficacy;
use super::limits::Window;
use super::shared::Shared;
use super::state::{History, HostState};
use super::{Decision, DrillOrder};
use crate::model::{ActionKind, Actor, ContainerName, DrillId, EventDraft, EventKind, Mono, Now};

/// The longest time that a drill is believed without being repeated.
const LONGEST: Duration = Duration::from_mins(1);

/// A drill on this host.
#[derive(Debug, Clone)]
pub(super) struct Drill {
    id: DrillId,
    scenario: String,
    /// Those that are to take part.
    meant: BTreeSet<ContainerName>,
    until: Mono,
    /// Those that take part, and what was known of them before.
    set_aside: BTreeMap<ContainerName, SetAside>,
    /// Its own count against the host's budget of restarts.
    host_restarts: Window,
    /// Breakers that it opened.
    breakers: BTreeSet<Shared>,
}

/// What healing remembered of a container before a drill.
#[derive(Debug, Clone, Default)]
struct SetAside {
    actions: Window,
    efficacy: Efficacy,
}

impl Drill {
    /// Whether something of `name` is remembered for after it.
    pub(super) fn holds(&self, name: &ContainerName) -> bool {
        self.set_aside.contains_key(name)
    }
}

impl HostState {
    /// Why a drill cannot begin, or go on; `None`: it can.
    pub fn drill_refusal(&self, id: DrillId) -> Option<String> {
        let other = self.drill.as_ref().filter(|drill| drill.id != id)?;
        Some(format!("another drill is under way on this host: {} ({})", other.scenario, other.id))
    }

    /// A drill begins, goes on, or is over.
    pub(super) fn drill_told(&mut self, order: DrillOrder, now: Now, out: &mut Vec<Decision>) {
        if self.drill_refusal(order.id).is_some() {
            return;
        }
        if order.lasts.is_zero() {
            self.end_drill("it is over", out);
            return;
        }
        let until = now.mono + order.lasts.min(LONGEST);
        if let Some(drill) = &mut self.drill {
            (drill.until, drill.meant) = (until, order.containers);
            return;
        }
        let text = format!(
            "A drill of the scenario {} began: {} containers take part. What it causes is marked, told to nobody, and \
             counts in budgets of its own.",
            order.scenario,
            order.containers.len()
        );
        let data = json!({ "scenario": order.scenario, "containers": order.containers.len() });
        let draft = EventDraft::new(EventKind::DrillStarted, Actor::Agent, text).with(data);
        out.push(Decision::Emit(draft.of_drill(order.id)));
        self.drill = Some(Drill {
            id: order.id,
            scenario: order.scenario,
            meant: order.containers,
            until,
            set_aside: BTreeMap::new(),
            host_restarts: Window::default(),
            breakers: BTreeSet::new(),
        });
    }

    /// Ends a drill that nobody repeats.
    pub(super) fn expire_drill(&mut self, now: Mono, out: &mut Vec<Decision>) {
        let Some(drill) = &mut self.drill else { return };
        drill.host_restarts.expire(self.policy.host_budget.window, now);
        if drill.until <= now {
            self.end_drill("nobody went on with it", out);
        }
    }

    fn end_drill(&mut self, how: &str, out: &mut Vec<Decision>) {
        let Some(drill) = self.drill.take() else { return };
        for (name, before) in drill.set_aside {
            restore(self.histories.entry(name).or_default(), before);
        }
        let text = format!(
            "The drill of the scenario {} ended: {how}. Budgets, quarantines and scores are what they were before.",
            drill.scenario
        );
        let draft = EventDraft::new(EventKind::DrillEnded, Actor::Agent, text);
        out.push(Decision::Emit(draft.with(json!({ "scenario": drill.scenario })).of_drill(drill.id)));
    }

    /// Marks what is decided about containers that take part, and keeps what healing learns of them from lasting.
    pub(super) fn mark_drill(&self, out: &mut Vec<Decision>) {
        let Some(drill) = &self.drill else { return };
        let takes_part = |name: &ContainerName| drill.set_aside.contains_key(name);
        out.retain(|decision| match decision {
            Decision::Quarantine(name, _) | Decision::Score(name, _) => !takes_part(name),
            _ => true,
        });
        for decision in out {
            match decision {
                Decision::Emit(draft) if draft.container.as_ref().is_some_and(takes_part) => {
                    draft.drill_id = Some(drill.id);
                }
                Decision::Act(action) if takes_part(&action.name) => action.drill = Some(drill.id),
                _ => {}
            }
        }
    }

    /// Takes in those that are to take part and that nothing ails by now.
    pub(super) fn enrol(&mut self, out: &mut Vec<Decision>) {
        let Some(drill) = &self.drill else { return };
        let new: Vec<ContainerName> =
            drill.meant.iter().filter(|name| !drill.set_aside.contains_key(*name)).cloned().collect();
        for name in new {
            let watch = self.watches.values().find(|watch| watch.facts.name == name);
            let sound = watch.is_some_and(|watch| watch.is_running() && watch.ailment().is_none());
            let history = self.histories.entry(name.clone()).or_default();
            let busy = history.under_way.is_some() || history.said_failing || history.quarantined.is_some();
            if !sound || busy {
                continue;
            }
            // The next fault will change what is under trial: that can't be told apart.
            let unjudged = history.efficacy.disturb();
            self.conclude(&name, unjudged, out);
            let history = self.histories.entry(name.clone()).or_default();
            let before = SetAside {
                actions: std::mem::take(&mut history.actions),
                efficacy: std::mem::take(&mut history.efficacy),
            };
            history.unreached = None;
            self.drill.as_mut().expect("seen above").set_aside.insert(name, before);
        }
    }

    /// A release is about what was before the drill too: the container leaves it, and may take part anew.
    pub(super) fn leave_drill(&mut self, name: &ContainerName) {
        let before = self.drill.as_mut().and_then(|drill| drill.set_aside.remove(name));
        if let Some(before) = before {
            restore(self.histories.entry(name.clone()).or_default(), before);
        }
    }

    /// When the drill ends, should nobody repeat it.
    pub(super) fn drill_until(&self) -> Option<Mono> {
        self.drill.as_ref().map(|drill| drill.until)
    }

    /// The drill that `name` takes part in.
    pub fn drill_of(&self, name: &ContainerName) -> Option<DrillId> {
        self.drill.as_ref().filter(|drill| drill.holds(name)).map(|drill| drill.id)
    }

    /// The line that `why` shows of a container that takes part.
    pub(super) fn drill_words(&self, name: &ContainerName) -> Option<String> {
        let drill = self.drill.as_ref().filter(|drill| drill.holds(name))?;
        Some(format!(
            "drill of the scenario {} ({}): budgets, quarantine and score are its own until it ends",
            drill.scenario, drill.id
        ))
    }

    /// Whether `name` takes part in a drill.
    pub(super) fn is_drilled(&self, name: &ContainerName) -> bool {
        self.drill_of(name).is_some()
    }

    /// The restarts that count against the host's budget when `name` is to be restarted.
    pub(super) fn host_restarts_of(&self, name: &ContainerName) -> &Window {
        match &self.drill {
            Some(drill) if drill.set_aside.contains_key(name) => &drill.host_restarts,
            _ => &self.host_restarts,
        }
    }

    /// Notes a restart of `name` against the host's budget, and the fleet's, unless a drill has its own.
    pub(super) fn note_host_restart(&mut self, name: &ContainerName, at: Mono) {
        match &mut self.drill {
            Some(drill) if drill.set_aside.contains_key(name) => drill.host_restarts.note(at),
            _ => {
                self.host_restarts.note(at);
                self.fleet.spend();
            }
        }
    }

    /// Takes an action on `name` that never reached the engine back from the budgets.
    pub(super) fn take_back(&mut self, name: &ContainerName, at: Mono, kind: ActionKind) {
        if let Some(history) = self.histories.get_mut(name) {
            history.actions.take_back(at);
        }
        if kind == ActionKind::Start {
            return;
        }
        match &mut self.drill {
            Some(drill) if drill.set_aside.contains_key(name) => drill.host_restarts.take_back(at),
            _ => self.host_restarts.take_back(at),
        }
    }

    /// The drill that opened this breaker, where all that fails there takes part in it.
    pub(super) fn drill_behind(&mut self, shared: &Shared, failing: &[ContainerName]) -> Option<DrillId> {
        let drill = self.drill.as_mut()?;
        if !failing.iter().all(|name| drill.set_aside.contains_key(name)) {
            return None;
        }
        drill.breakers.insert(shared.clone());
        Some(drill.id)
    }

    /// The drill that had opened this breaker, which closes.
    pub(super) fn drill_had_opened(&mut self, shared: &Shared) -> Option<DrillId> {
        let drill = self.drill.as_mut()?;
        drill.breakers.remove(shared).then_some(drill.id)
    }
}

fn restore(history: &mut History, before: SetAside) {
    history.actions = before.actions;
    history.efficacy = before.efficacy;
    history.quarantined = None;
    history.unreached = None;
}
