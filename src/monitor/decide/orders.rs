//! What an operator may order past the brakes.

use super::state::HostState;
use super::watch::{Ailment, End};
use super::{Decision, Listing};
use crate::model::{Actor, ContainerName, EventDraft, EventKind, Now};

impl HostState {
    /// Why an operator's restart of `name` cannot be done; `None`: it can.
    pub fn restart_refusal(&self, name: &ContainerName) -> Option<String> {
        let watch = self.watches.values().find(|watch| watch.facts.name == *name)?;
        if let Some(why) = &self.engine_lost {
            return Some(format!("the Docker engine is unreachable ({why}); try again when it is back"));
        }
        if self.listing(watch) == Listing::Own {
            return Some("it is a part of dockhealth itself; restart it with docker".to_owned());
        }
        if self.is_under_way(name) {
            return Some("an action on it is under way; try again when it is through".to_owned());
        }
        None
    }

    pub(super) fn restart_by_operator(&mut self, name: &ContainerName, out: &mut Vec<Decision>) {
        if self.restart_refusal(name).is_some() {
            return;
        }
        let Some(watch) = self.watches.values().find(|watch| watch.facts.name == *name) else { return };
        let id = watch.facts.id.clone();
        let ailment = if watch.is_running() { Ailment::Detached } else { Ailment::Down(End::Told) };
        let kind = self.kind_for(&id, ailment);
        self.begin(&id, kind, Actor::Operator, "an operator asked for it".to_owned(), None, out);
    }

    pub(super) fn release(&mut self, name: &ContainerName, now: Now, out: &mut Vec<Decision>) {
        self.leave_drill(name);
        let history = self.histories.entry(name.clone()).or_default();
        let was = history.quarantined.take();
        history.actions.clear();
        let in_vain = history.efficacy.forgive();
        let futile = self.policy.futile_after > 0 && in_vain >= self.policy.futile_after;
        out.push(Decision::Release(name.clone(), now.wall));
        if in_vain > 0 {
            out.push(Decision::Score(name.clone(), Box::new(history.efficacy.clone())));
        }
        if was.is_some() || futile {
            let from = if was.is_some() { " from quarantine" } else { "" };
            let text = format!("{name} was released{from}; its restart budget begins anew.");
            out.push(Decision::Emit(EventDraft::new(EventKind::Released, Actor::Operator, text).about(name)));
        }
    }
}
