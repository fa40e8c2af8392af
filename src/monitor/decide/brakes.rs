//! The brakes, in the order they are asked: the first that holds decides.

use std::time::Duration;

use super::limits::backoff;
use super::listing::on_stop;
use super::state::{History, HostState};
use super::watch::{Ailment, End, LastLook, Watch};
use super::{Hold, Listing};
use crate::model::{ActionKind, Maintenance, Mono, Now, OnStop, Rate, RunState};

/// A deploy by compose takes longer between stop and removal than `docker restart` does.
const COMPOSE_SETTLES: u32 = 4;
/// How long a container that is about to replace another may keep it from being started; a deploy that takes longer was
/// given up.
const DEPLOY_TAKES: Duration = Duration::from_mins(1);

impl HostState {
    /// The first brake that holds `watch`; `None`: act.
    pub(super) fn hold(&self, watch: &Watch, ailment: Ailment, listing: Listing, now: Now) -> Option<Hold> {
        let name = &watch.facts.name;
        let entry = self.entry(name);
        let history = self.histories.get(name);
        if let Some(why) = &self.engine_lost {
            return Some(Hold::EngineUnreachable(why.clone()));
        }
        if history.is_some_and(|history| history.under_way.is_some()) {
            return Some(Hold::UnderWay);
        }
        if let Some(hold) = self.left_down(watch, ailment, listing, now) {
            return Some(hold);
        }
        if let Some(since) = history.and_then(|history| history.quarantined) {
            return Some(Hold::Quarantined(since));
        }
        if let Some(until) = entry.and_then(|entry| entry.maintenance_until).filter(|until| now.wall < *until)
        {
            return Some(Hold::Maintenance(until));
        }
        if let Some(hold) = maintained_by_label(watch, now) {
            return Some(hold);
        }
        if let Some((how, _)) = self.freeze_at(now.wall) {
            return Some(Hold::Frozen(how));
        }
        if let Some(hold) = self.being_deployed(watch, ailment, now) {
            return Some(hold);
        }
        if let Some(hold) = self.dependency(watch, ailment, now) {
            return Some(hold);
        }
        if let (Ailment::Lossy(_), Some(hold)) = (ailment, self.acquittal(watch, now.mono)) {
            return Some(hold);
        }
        if self.policy.dry_run {
            return Some(Hold::DryRun);
        }
        if let Some(hold) = history.and_then(|history| self.futile(history, ailment, now)) {
            return Some(hold);
        }
        if let Some(until) = history.and_then(|history| self.backoff_until(history, now.mono)) {
            return Some(Hold::Backoff(until));
        }
        match ailment {
            Ailment::Down(_) => {
                let second = Rate { count: self.policy.starts_per_second, window: Duration::from_secs(1) };
                let spent = self.starts.is_spent(second, now.mono);
                spent.then_some(Hold::StartRate(now.mono + Duration::from_millis(250)))
            }
            _ if self.restarts_under_way() >= self.policy.restarts_at_once => Some(Hold::HostBusy),
            _ if self.host_restarts_of(name).is_spent(self.policy.host_budget, now.mono) => {
                Some(Hold::HostBudget)
            }
            _ if self.is_drilled(name) => None,
            _ => self.fleet.withholds(now.mono),
        }
    }

    /// Whether somebody is deploying its project. What crashed is started all the same: that was nobody's doing.
    fn being_deployed(&self, watch: &Watch, ailment: Ailment, now: Now) -> Option<Hold> {
        let crashed = matches!(ailment, Ailment::Down(End::Crashed));
        let project = watch.facts.project().filter(|_| !crashed && !watch.cut_off_by_us)?;
        let until = self.deploys.until(project, now.mono)?;
        Some(Hold::Deploy(project.to_owned(), until))
    }

    /// Whether it is down and that is nobody's fault.
    fn left_down(&self, watch: &Watch, ailment: Ailment, listing: Listing, now: Now) -> Option<Hold> {
        let Ailment::Down(end) = ailment else { return None };
        if end == End::Crashed {
            let finished = watch.facts.exit_code == Some(0) && listing == Listing::Everything;
            return finished.then_some(Hold::Finished);
        }
        let (since, _) = watch.ended?;
        let longer = if watch.facts.project().is_some() { COMPOSE_SETTLES } else { 1 };
        let settled = since + self.policy.settle * longer;
        if now.mono < settled {
            return Some(Hold::Settling(settled));
        }
        let deploy_over = since + DEPLOY_TAKES;
        if now.mono < deploy_over
            && let Some(other) = self.watches.values().find(|other| is_about_to_replace(other, watch))
        {
            return Some(Hold::Replaced(other.facts.name.to_string(), deploy_over));
        }
        let entry = self.entry(&watch.facts.name);
        match on_stop(&watch.facts, entry, listing, &self.policy) {
            OnStop::Leave => Some(Hold::ToldToStop),
            OnStop::Restart => (watch.last_look != LastLook::Done).then_some(Hold::Looking),
        }
    }

    fn backoff_until(&self, history: &History, now: Mono) -> Option<Mono> {
        let count = history.actions.count(self.policy.budget.window, now);
        if count >= self.policy.budget.count {
            // Nothing is left to wait for: it is quarantined now.
            return None;
        }
        let until = history.actions.last()? + backoff(self.policy.backoff, self.policy.backoff_max, count);
        (now < until).then_some(until)
    }

    fn restarts_under_way(&self) -> usize {
        let restarts = |history: &&History| {
            history.under_way.as_ref().is_some_and(|under_way| under_way.kind != ActionKind::Start)
        };
        self.histories.values().filter(restarts).count()
    }
}

/// Whether its label says that it is being maintained now.
pub(super) fn maintained_by_label(watch: &Watch, now: Now) -> Option<Hold> {
    match watch.facts.maintenance_label()? {
        Maintenance::Open => Some(Hold::MaintenanceLabel(None)),
        Maintenance::Until(until) if now.wall < until => Some(Hold::MaintenanceLabel(Some(until))),
        Maintenance::Until(_) | Maintenance::Over | Maintenance::Unreadable(_) => None,
    }
}

/// Whether compose made `new` to replace `old`: created and not started yet, of the same project, and its label names the
/// old one by id, by name, or by the end of its name (`web-1` of `shop-web-1`). The label stays on it for life, so later
/// it says nothing.
fn is_about_to_replace(new: &Watch, old: &Watch) -> bool {
    let Some(named) = new.facts.replaces().filter(|named| !named.is_empty()) else { return false };
    let name = old.facts.name.as_str();
    let ends_with = || name.strip_suffix(named).is_some_and(|rest| rest.ends_with(['-', '_']));
    new.facts.id != old.facts.id
        && new.facts.state == RunState::Created
        && new.facts.project() == old.facts.project()
        && (old.facts.id.as_str() == named || name == named || ends_with())
}
