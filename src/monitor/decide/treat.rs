//! Treats every container by what ails it and by what holds: says it, acts, and notices that it is well again.

use std::time::Duration;

use std::collections::BTreeMap;

use serde_json::json;

use super::efficacy::Tried;
use super::state::{HostState, OurAction, UnderWay};
use super::watch::{Ailment, LastLook, Watch};
use super::words::{ailment_data, past};
use super::{Action, ActionResult, Decision, Hold, Listing, RestartMode};
use crate::model::{
    ActionKind, Actor, ContainerId, ContainerName, EventDraft, EventKind, Mono, Namespace, Now, OperationId,
    Verdict, format_span,
};

impl HostState {
    pub(super) fn treat_all(&mut self, now: Now, out: &mut Vec<Decision>) {
        self.wake = None;
        if self.disputed.as_ref().is_some_and(|(_, until)| *until <= now.mono) {
            self.disputed = None;
        }
        self.host_restarts.expire(self.policy.host_budget.window, now.mono);
        self.say_freeze(now, out);
        self.deploys.expire(now.mono);
        self.give_up_guesses(now, out);
        self.mark_detached(now.mono);
        self.assess(now, out);
        let ids: Vec<ContainerId> = self.watches.keys().cloned().collect();
        for id in ids {
            self.treat(&id, now, out);
        }
        self.ask_for_leave(now, out);
        self.wake_no_later(self.breaker.wake_at());
        self.put_under_trial(now, out);
        self.wake_no_later(self.disputed.as_ref().map(|(_, until)| *until));
        let freeze_ends = self.freeze_at(now.wall).and_then(|(_, freeze)| freeze.until);
        self.wake_no_later(self.drill_until());
        self.wake_no_later(freeze_ends.map(|until| now.mono_at(until)));
    }

    pub(super) fn wake_no_later(&mut self, at: Option<Mono>) {
        self.wake = [self.wake, at].into_iter().flatten().min();
    }

    fn say_freeze(&mut self, now: Now, out: &mut Vec<Decision>) {
        let frozen = self.freeze_at(now.wall).map(|(how, freeze)| (how, freeze.clone()));
        let how = frozen.as_ref().map(|(how, _)| how.clone());
        if how == self.freeze_said {
            return;
        }
        let draft = match &frozen {
            Some((how, freeze)) => {
                let until =
                    freeze.until.map_or("until it is lifted".to_owned(), |until| format!("until {until}"));
                EventDraft::new(EventKind::Frozen, Actor::Agent, format!("Healing is frozen {how}, {until}."))
            }
            None => EventDraft::new(EventKind::Unfrozen, Actor::Agent, "Healing goes on."),
        };
        self.freeze_said = how;
        out.push(Decision::Emit(draft));
    }

    /// Marks running containers whose network namespace belongs to a container that was started after them.
    fn mark_detached(&mut self, now: Mono) {
        let mut detached = BTreeMap::new();
        for watch in self.watches.values().filter(|watch| watch.is_running()) {
            let Some(owner) = self.owner_of(watch) else { continue };
            let left_behind = owner.is_running() && owner.facts.started_at > watch.facts.started_at;
            // Someone who restarts both (compose) is given as long as a start's grace; after our own action it is on us.
            let settled = owner.running_since.is_some_and(|since| since + self.policy.grace <= now);
            let by_us = watch.cut_off_by_us || self.acted_on(&owner.facts.name);
            if left_behind && (settled || by_us) {
                detached.insert(watch.facts.id.clone(), by_us);
            }
        }
        for (id, watch) in &mut self.watches {
            watch.detached = detached.contains_key(id);
            watch.cut_off_by_us |= detached.get(id) == Some(&true);
        }
    }

    pub(super) fn owner_of(&self, watch: &Watch) -> Option<&Watch> {
        let Namespace::Container(owner) = &watch.facts.namespace else { return None };
        let called = |name: &str| self.watches.values().find(|other| other.facts.is_called(name));
        called(owner).or_else(|| called(self.former_owners.get(owner)?.as_str()))
    }

    /// The container of the same name as the one whose network namespace `watch` was made to share, when that is gone:
    /// the engine names it by its id, so no restart finds the new one.
    pub(super) fn rejoins(&self, watch: &Watch) -> Option<ContainerId> {
        let Namespace::Container(named) = &watch.facts.namespace else { return None };
        let owner = self.owner_of(watch)?;
        (!owner.facts.is_called(named)).then(|| owner.facts.id.clone())
    }

    pub(super) fn acted_on(&self, name: &ContainerName) -> bool {
        self.histories.get(name).is_some_and(|history| history.ours.is_some() || history.under_way.is_some())
    }

    fn treat(&mut self, id: &ContainerId, now: Now, out: &mut Vec<Decision>) {
        let watch = &self.watches[id];
        let name = watch.facts.name.clone();
        let follows_ours = watch.detached && watch.cut_off_by_us;
        let listing = self.listing(watch);
        if listing == Listing::Own || (!listing.is_monitored() && !follows_ours) {
            if let Some(history) = self.histories.get_mut(&name) {
                history.said_failing = false;
                history.said_hold = None;
                history.ailing_since = None;
            }
            // Nobody checks it from now on: what was seen is old, should it be listed again.
            self.watches.get_mut(id).expect("treated by its id").forget_loss();
            return;
        }
        let Some(ailment) = watch.ailment() else {
            if let Some(history) = self.histories.get_mut(&name) {
                history.ailing_since = None;
            }
            self.say_recovered(id, now, out);
            return;
        };
        self.histories.entry(name.clone()).or_default().ailing_since.get_or_insert(now.mono);
        let watch = &self.watches[id];
        let (hold, proof) = (self.hold(watch, ailment, listing, now), watch.proof);
        self.wake_no_later(hold.as_ref().and_then(Hold::until));
        self.wake_no_later(hold.as_ref().and_then(Hold::wall_until).map(|until| now.mono_at(until)));
        let left_alone = hold.as_ref().is_some_and(Hold::is_left_alone);
        let reason = self.reason_of(id, ailment);
        let history = self.histories.entry(name.clone()).or_default();
        if !left_alone && self.engine_lost.is_none() && !history.said_failing {
            history.said_failing = true;
            out.push(Decision::Emit(
                EventDraft::new(EventKind::ContainerFailing, Actor::Agent, format!("{name} {reason}."))
                    .about(&name)
                    .with(ailment_data(ailment, proof)),
            ));
        }
        match hold {
            None => self.act(id, ailment, reason, now, out),
            Some(Hold::Looking) => self.look(id, out),
            Some(Hold::FleetLeave(_) | Hold::FleetBudget(_)) => self.fleet.wait(),
            Some(hold) => self.say_hold(&name, &hold, &reason, out),
        }
    }

    fn look(&mut self, id: &ContainerId, out: &mut Vec<Decision>) {
        let watch = self.watches.get_mut(id).expect("treated by its id");
        if watch.last_look == LastLook::Not {
            watch.last_look = LastLook::Asked;
            out.push(Decision::Look(id.clone()));
        }
    }

    fn say_hold(&mut self, name: &ContainerName, hold: &Hold, reason: &str, out: &mut Vec<Decision>) {
        let history = self.histories.entry(name.clone()).or_default();
        let kind = match hold {
            Hold::ToldToStop | Hold::Finished => EventKind::ContainerLeft,
            Hold::DryRun => EventKind::WouldAct,
            _ => return,
        };
        if history.said_hold.as_ref() == Some(hold) {
            return;
        }
        history.said_hold = Some(hold.clone());
        if kind == EventKind::ContainerLeft {
            history.said_failing = false;
        }
        let text = match kind {
            EventKind::WouldAct => format!("{name} {reason}; without --dry-run it would be healed now."),
            _ => format!("{name} is left down: {hold}."),
        };
        out.push(Decision::Emit(EventDraft::new(kind, Actor::Agent, text).about(name)));
    }

    fn act(&mut self, id: &ContainerId, ailment: Ailment, reason: String, now: Now, out: &mut Vec<Decision>) {
        let name = self.watches[id].facts.name.clone();
        let budget = self.policy.budget;
        let history = self.histories.entry(name.clone()).or_default();
        if history.actions.is_spent(budget, now.mono) {
            history.quarantined = Some(now.wall);
            out.push(Decision::Quarantine(name.clone(), now.wall));
            let text = format!(
                "{name} {reason}, and {} restarts within {} did not help: it is left alone until `dockhealth release {name}`.",
                budget.count,
                format_span(budget.window)
            );
            out.push(Decision::Emit(
                EventDraft::new(EventKind::Quarantined, Actor::Agent, text).about(&name),
            ));
            return;
        }
        let kind = self.kind_for(id, ailment);
        if kind == ActionKind::Start {
            self.starts.expire(Duration::from_secs(1), now.mono);
            self.starts.note(now.mono);
        } else {
            self.note_host_restart(&name, now.mono);
        }
        self.begin(id, kind, Actor::Agent, reason, Some(now.mono), out);
    }

    pub(super) fn kind_for(&self, id: &ContainerId, ailment: Ailment) -> ActionKind {
        let watch = &self.watches[id];
        let shared =
            self.watches.values().any(|other| self.owner_of(other).is_some_and(|o| o.facts.id == *id));
        if self.rejoins(watch).is_some() {
            return ActionKind::Recreate;
        }
        match ailment {
            Ailment::Down(_) => ActionKind::Start,
            // A new container has a new id, which those who share its network namespace could not follow.
            _ if self.policy.restart_mode == RestartMode::Restart || shared || watch.facts.auto_remove => {
                ActionKind::Restart
            }
            _ => ActionKind::Recreate,
        }
    }

    pub(super) fn begin(
        &mut self,
        id: &ContainerId,
        kind: ActionKind,
        by: Actor,
        reason: String,
        counts_at: Option<Mono>,
        out: &mut Vec<Decision>,
    ) {
        let name = self.watches[id].facts.name.clone();
        let was_pingable = self.watches[id].answers.was_pingable();
        self.next_op += 1;
        let op =
            OperationId::new(format!("{}-{}", self.process, self.next_op)).expect("built of printable parts");
        let history = self.histories.entry(name.clone()).or_default();
        if let Some(at) = counts_at {
            history.actions.note(at);
        }
        history.under_way =
            Some(UnderWay { op: op.clone(), kind, by, counted_at: counts_at, seen_begin: false });
        history.unreached = None;
        let known = history.ours.is_some_and(|ours| ours.was_pingable);
        history.ours = Some(OurAction { was_pingable: was_pingable || known });
        let join = self.rejoins(&self.watches[id]);
        out.push(Decision::Act(Action { op, id: id.clone(), name, kind, join, by, reason, drill: None }));
    }

    pub(super) fn acted(&mut self, op: &OperationId, result: ActionResult, out: &mut Vec<Decision>) {
        let found = self
            .histories
            .iter_mut()
            .find(|(_, h)| h.under_way.as_ref().is_some_and(|under_way| under_way.op == *op));
        let Some((name, history)) = found else { return };
        let name = name.clone();
        let Some(UnderWay { kind, by, counted_at, .. }) = history.under_way.take() else { return };
        match result {
            ActionResult::Done(took_ms) => {
                history.efficacy.done(op);
                history.restarts += 1;
                let event = match kind {
                    ActionKind::Start => EventKind::ContainerStarted,
                    ActionKind::Restart => EventKind::ContainerRestarted,
                    ActionKind::Recreate => EventKind::ContainerRecreated,
                };
                let text = format!("{name} was {} in {:.1} s.", past(kind), took_ms as f64 / 1000.0);
                let data = json!({ "op": op, "took_ms": took_ms });
                out.push(Decision::Emit(EventDraft::new(event, by, text).about(&name).with(data)));
            }
            ActionResult::Gone => {
                history.ours = None;
                history.efficacy.not_done(op, Tried::Not);
            }
            ActionResult::NotReached(_) => {
                // It may have been stopped for it before the engine went: that was us, as its facts will show.
                history.interrupted = true;
                history.efficacy.not_done(op, Tried::Not);
                // Whose calls never come through while the engine answers others must not be tried for ever.
                match counted_at {
                    Some(at) if self.engine_lost.is_some() => self.take_back(&name, at, kind),
                    counted => history.unreached = counted.map(|at| (at, kind)),
                }
            }
            ActionResult::Failed(why) => {
                history.efficacy.not_done(op, Tried::AndFailed);
                let text = format!("{name} could not be {}: {why}.", past(kind));
                let data = json!({ "op": op });
                let draft = EventDraft::new(EventKind::ActionFailed, by, text).about(&name).with(data);
                out.push(Decision::Emit(draft));
                // A restart that failed half way left it down: that was us and no order to stop.
                let stopped = self.watches.values_mut().filter(|watch| watch.facts.name == name);
                stopped.for_each(Watch::note_interrupted);
            }
        }
    }

    fn say_recovered(&mut self, id: &ContainerId, now: Now, out: &mut Vec<Decision>) {
        let watch = &self.watches[id];
        let name = watch.facts.name.clone();
        let Some(history) = self.histories.get(&name) else { return };
        if !watch.is_running()
            || history.under_way.is_some()
            || !(history.said_failing || history.ours.is_some())
        {
            return;
        }
        let grace_over = watch.grace_until(&self.policy).is_none_or(|until| until <= now.mono);
        let passed = watch.judged && watch.checks.back().is_some_and(|check| check.verdict == Verdict::Pass);
        let silent = history.ours.is_some_and(|ours| ours.was_pingable) && !watch.answers.is_pingable();
        let unpingable = !watch.answers.is_pingable() && !watch.awaits_check() && !silent;
        let well = passed || (grace_over && unpingable);
        if !well {
            if !grace_over {
                let until = watch.grace_until(&self.policy);
                self.wake_no_later(until);
            }
            return;
        }
        let said_failing = history.said_failing;
        let history = self.histories.get_mut(&name).expect("found above");
        history.ours = None;
        history.said_failing = false;
        history.said_hold = None;
        if said_failing {
            let loss = self.watches[id].last_figures().0;
            let how = loss.map_or("it runs, and cannot be pinged".to_owned(), |loss| format!("loss {loss}"));
            let text = format!("{name} is well again: {how}.");
            out.push(Decision::Emit(
                EventDraft::new(EventKind::ContainerRecovered, Actor::Agent, text).about(&name),
            ));
        }
    }
}
