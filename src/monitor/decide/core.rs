//! The state of one host, and how inputs become decisions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::breaker::{Breaker, BreakerChange};
use super::limits::{Window, backoff};
use super::listing::{listing, on_stop};
use super::watch::{Ailment, Attachment, End, LastLook, Watch};
use super::{
    Action, ActionResult, Checked, Decision, Hold, Input, Listing, OwnContainers, Policy, RestartMode, Sign,
    Target,
};
use crate::model::{
    ActionKind, Actor, CheckKind, ContainerFacts, ContainerId, ContainerName, DesiredEntry, DesiredState,
    EventDraft, EventKind, Freeze, HostName, Mono, Namespace, Now, OnStop, OperationId, Rate, Threshold,
    Timestamp, Verdict,
};

/// How long the controller's word of a disputed identity is believed without being repeated.
const DISPUTE_LASTS: Duration = Duration::from_secs(30);
/// A deploy by compose takes longer between stop and removal than `docker restart` does.
const COMPOSE_SETTLES: u32 = 4;

/// What an agent remembers over its own restart.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Actions of the past, by container, that count against its budget.
    pub actions: Vec<(ContainerName, ActionKind, Timestamp)>,
    /// Actions that had begun and whose end nobody saw.
    pub interrupted: Vec<ContainerName>,
    /// Quarantined containers, and since when.
    pub quarantined: BTreeMap<ContainerName, Timestamp>,
    /// When containers were last released: what was before does not count.
    pub released: BTreeMap<ContainerName, Timestamp>,
    /// How often each was ever acted on.
    pub restarts: BTreeMap<ContainerName, u64>,
    /// Addresses that have answered.
    pub answered: BTreeMap<ContainerId, Vec<Attachment>>,
}

/// What is remembered of a container by name, over its recreation.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) actions: Window,
    pub(super) restarts: u64,
    pub(super) quarantined: Option<Timestamp>,
    pub(super) under_way: Option<(OperationId, ActionKind)>,
    /// It was said to fail, and not yet to have recovered.
    pub(super) said_failing: bool,
    /// The last action of ours since which it has not been well; whether it could be pinged before.
    pub(super) ours: Option<OurAction>,
    /// What was last said of why it is left alone or would be acted on, so that it is said once.
    said_hold: Option<Hold>,
    interrupted: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct OurAction {
    pub(super) was_pingable: bool,
}

/// Everything known of one host.
#[derive(Debug, Clone)]
pub struct HostState {
    pub(super) host: HostName,
    pub(super) policy: Policy,
    pub(super) own: OwnContainers,
    pub(super) desired: DesiredState,
    pub(super) local_freeze: Option<Freeze>,
    pub(super) disputed: Option<(String, Mono)>,
    pub(super) engine_lost: Option<String>,
    pub(super) watches: BTreeMap<ContainerId, Watch>,
    pub(super) histories: BTreeMap<ContainerName, History>,
    pub(super) breaker: Breaker,
    pub(super) host_restarts: Window,
    starts: Window,
    answered: BTreeMap<ContainerId, Vec<Attachment>>,
    engine_was_lost: bool,
    freeze_said: Option<String>,
    process: String,
    next_op: u64,
    wake: Option<Mono>,
}

impl HostState {
    /// A host of which nothing is known yet but what `memory` tells. `process` is a text unique to this process; the
    /// ids of its actions begin with it.
    pub fn new(
        host: HostName,
        policy: Policy,
        own: OwnContainers,
        process: &str,
        memory: Memory,
        now: Now,
    ) -> Self {
        let mut state = Self {
            host,
            policy,
            own,
            desired: DesiredState::default(),
            local_freeze: None,
            disputed: None,
            engine_lost: None,
            watches: BTreeMap::new(),
            histories: BTreeMap::new(),
            breaker: Breaker::default(),
            host_restarts: Window::default(),
            starts: Window::default(),
            answered: memory.answered,
            engine_was_lost: false,
            freeze_said: None,
            process: process.to_owned(),
            next_op: 0,
            wake: None,
        };
        for (name, kind, at) in memory.actions {
            if kind != ActionKind::Start {
                state.host_restarts.note(now.mono_at(at));
            }
            if memory.released.get(&name).is_none_or(|released| at > *released) {
                state.histories.entry(name).or_default().actions.note(now.mono_at(at));
            }
        }
        for (name, since) in memory.quarantined {
            state.histories.entry(name).or_default().quarantined = Some(since);
        }
        for (name, count) in memory.restarts {
            state.histories.entry(name).or_default().restarts = count;
        }
        for name in memory.interrupted {
            state.histories.entry(name).or_default().interrupted = true;
        }
        state
    }

    /// Takes in one input; returns what is to be done, in order.
    pub fn on(&mut self, input: Input, now: Now) -> Vec<Decision> {
        let mut out = Vec::new();
        match input {
            Input::Listed(all, signs) => self.listed(all, &signs, now),
            Input::Seen(facts) => self.seen(*facts, now),
            Input::Looked(id) => self.looked(&id),
            Input::Gone(id) => drop(self.watches.remove(&id)),
            Input::Told(sign) => self.told(&sign),
            Input::EngineLost(why) => self.engine_lost(why, &mut out),
            Input::EngineBack => self.engine_back(&mut out),
            Input::Desired(desired) => self.desired = desired,
            Input::LocalFreeze(freeze) => self.local_freeze = freeze,
            Input::Disputed(reason) => self.disputed = Some((reason, now.mono + DISPUTE_LASTS)),
            Input::Swept(kind, results) => self.swept(kind, &results, now, &mut out),
            Input::Acted(op, result) => self.acted(&op, result, &mut out),
            Input::Restart(name) => self.restart_by_operator(&name, &mut out),
            Input::Release(name) => self.release(&name, now, &mut out),
            Input::Tick => {}
        }
        self.treat_all(now, &mut out);
        out
    }

    /// When the next brake or freeze ends by itself: the shell ticks then at the latest.
    pub fn wake_at(&self) -> Option<Mono> {
        self.wake
    }

    /// Every container that a sweep checks now.
    pub fn targets(&self) -> Vec<Target> {
        if self.engine_lost.is_some() {
            return Vec::new();
        }
        self.watches
            .values()
            .filter(|watch| watch.is_running() && self.listing(watch).is_monitored())
            .filter(|watch| !self.is_under_way(&watch.facts.name))
            .map(|watch| self.target(watch))
            .filter(|target| !target.addresses.is_empty())
            .collect()
    }

    fn target(&self, watch: &Watch) -> Target {
        Target {
            id: watch.facts.id.clone(),
            name: watch.facts.name.clone(),
            started_at: watch.facts.started_at,
            addresses: watch.facts.addresses(),
            threshold: self.threshold_of(&watch.facts.name),
        }
    }

    // ---- what is known ------------------------------------------------------------------------

    fn listed(&mut self, all: Vec<ContainerFacts>, signs: &[Sign], now: Now) {
        let ids: std::collections::BTreeSet<ContainerId> = all.iter().map(|facts| facts.id.clone()).collect();
        self.watches.retain(|id, _| ids.contains(id));
        for facts in all {
            self.seen(facts, now);
        }
        for sign in signs {
            self.told(sign);
        }
        // After the engine's word, which only tells that it was stopped: that was us, half way.
        for watch in self.watches.values_mut() {
            let history = self.histories.get_mut(&watch.facts.name);
            if history.is_some_and(|history| std::mem::take(&mut history.interrupted)) {
                watch.note_interrupted();
            }
        }
        self.engine_was_lost = false;
        self.answered.clear();
        let (watches, budget) = (&self.watches, self.policy.budget);
        self.histories.retain(|name, history| {
            history.actions.expire(budget.window, now.mono);
            watches.values().any(|watch| watch.facts.name == *name)
                || !history.is_forgettable(budget, now.mono)
        });
    }

    fn seen(&mut self, facts: ContainerFacts, now: Now) {
        if let Some(watch) = self.watches.get_mut(&facts.id) {
            watch.update(facts, self.engine_was_lost, now);
            return;
        }
        let mut watch = Watch::new(facts, now);
        if let Some(known) = self.answered.get(&watch.facts.id) {
            watch.remember(known);
        }
        self.watches.insert(watch.facts.id.clone(), watch);
    }

    fn told(&mut self, sign: &Sign) {
        let Some(watch) = self.watches.get_mut(&sign.id) else { return };
        // Signals of our own restarts are no one's order to stop.
        let ours = self.histories.get(&watch.facts.name).is_some_and(|history| history.under_way.is_some());
        if !ours {
            watch.note(sign);
        }
    }

    fn looked(&mut self, id: &ContainerId) {
        if let Some(watch) = self.watches.get_mut(id).filter(|watch| watch.last_look == LastLook::Asked) {
            watch.last_look = LastLook::Done;
        }
    }

    fn engine_lost(&mut self, why: String, out: &mut Vec<Decision>) {
        if self.engine_lost.is_none() {
            let reason = format!(
                "The Docker engine does not answer: {why}. Containers are not blamed; healing waits."
            );
            out.push(Decision::Emit(EventDraft::new(EventKind::EngineUnreachable, Actor::Engine, reason)));
        }
        self.engine_lost = Some(why);
        self.engine_was_lost = true;
        self.watches.values_mut().for_each(Watch::note_engine_lost);
    }

    fn engine_back(&mut self, out: &mut Vec<Decision>) {
        if self.engine_lost.take().is_some() {
            let reason = "The Docker engine answers again.";
            out.push(Decision::Emit(EventDraft::new(EventKind::EngineReachable, Actor::Engine, reason)));
        }
    }

    pub(super) fn entry(&self, name: &ContainerName) -> Option<&DesiredEntry> {
        self.desired.entry(&self.host, name)
    }

    pub(super) fn threshold(&self) -> Threshold {
        self.desired.threshold.unwrap_or(self.policy.threshold)
    }

    pub(super) fn threshold_of(&self, name: &ContainerName) -> Threshold {
        self.entry(name).and_then(|entry| entry.threshold).unwrap_or_else(|| self.threshold())
    }

    pub(super) fn listing(&self, watch: &Watch) -> Listing {
        let disputed = self.disputed.as_ref().map(|(reason, _)| reason.as_str());
        listing(&watch.facts, self.entry(&watch.facts.name), &self.own, &self.policy, disputed)
    }

    fn is_under_way(&self, name: &ContainerName) -> bool {
        self.histories.get(name).is_some_and(|history| history.under_way.is_some())
    }

    pub(super) fn freeze_at(&self, wall: Timestamp) -> Option<(String, &Freeze)> {
        let local = self.local_freeze.as_ref().filter(|freeze| freeze.holds_at(wall));
        let local = local.map(|freeze| ("on this host, by the agent's own socket".to_owned(), freeze));
        let desired = self.desired.freeze_at(&self.host, wall);
        local.or_else(|| desired.map(|(scope, freeze)| (format!("on {scope}, by {}", freeze.by), freeze)))
    }

    // ---- checks -------------------------------------------------------------------------------

    fn swept(&mut self, kind: CheckKind, results: &[Checked], now: Now, out: &mut Vec<Decision>) {
        if self.engine_lost.is_some() {
            return;
        }
        if kind == CheckKind::Sweep {
            self.judge_networks(results, out);
        }
        let mut suspects = Vec::new();
        for result in results {
            let Some(watch) = self.watches.get(&result.id) else { continue };
            let same_run = watch.is_running() && watch.facts.started_at == result.started_at;
            if !same_run || self.is_under_way(&watch.facts.name) {
                continue;
            }
            let threshold = self.threshold_of(&watch.facts.name);
            let policy = &self.policy;
            let watch = self.watches.get_mut(&result.id).expect("found above");
            let (record, first_answers) = watch.judge(kind, &result.outcomes, threshold, policy, now);
            if !first_answers.is_empty() {
                out.push(Decision::Remember(result.id.clone(), first_answers));
            }
            let in_grace = watch.grace_until(policy).is_some_and(|until| now.mono < until);
            let breaker = watch.failed_network.as_ref().is_some_and(|network| self.breaker.is_open(network));
            match record.verdict {
                Verdict::Pass => watch.lossy = None,
                Verdict::Fail if in_grace || breaker => {}
                Verdict::Fail => {
                    let confirmed =
                        kind == CheckKind::Confirm || policy.confirm_probes == 0 || watch.lossy.is_some();
                    if confirmed {
                        watch.lossy = record.loss_percent;
                    } else {
                        suspects.push(result.id.clone());
                    }
                }
                Verdict::Inconclusive => {}
            }
        }
        if !suspects.is_empty() {
            let targets = suspects.iter().map(|id| self.target(&self.watches[id])).collect();
            out.push(Decision::Confirm(targets));
        }
    }

    fn judge_networks(&mut self, results: &[Checked], out: &mut Vec<Decision>) {
        let mut tallies = BTreeMap::<String, super::breaker::NetworkTally>::new();
        for result in results {
            let Some(watch) = self.watches.get(&result.id) else { continue };
            if watch.facts.started_at != result.started_at {
                continue;
            }
            let threshold = self.threshold_of(&watch.facts.name);
            for (network, failed) in watch.networks_tallied(&result.outcomes, threshold) {
                let tally = tallies.entry(network).or_default();
                tally.pingable += 1;
                tally.failing += u32::from(failed);
            }
        }
        for change in self.breaker.judge(&tallies) {
            let draft = match change {
                BreakerChange::Opened { network, tally } => EventDraft::new(
                    EventKind::BreakerOpened,
                    Actor::Agent,
                    format!(
                        "{} of {} pingable containers of network {network} fail at once: the network is to blame, \
                         so nothing is restarted for loss there.",
                        tally.failing, tally.pingable
                    ),
                )
                .with(json!({ "network": network, "failing": tally.failing, "pingable": tally.pingable })),
                BreakerChange::Closed { network } => EventDraft::new(
                    EventKind::BreakerClosed,
                    Actor::Agent,
                    format!("Network {network} is well again; loss is healed there as before."),
                )
                .with(json!({ "network": network })),
            };
            out.push(Decision::Emit(draft));
        }
    }

    // ---- treatment ----------------------------------------------------------------------------

    fn treat_all(&mut self, now: Now, out: &mut Vec<Decision>) {
        self.wake = None;
        if self.disputed.as_ref().is_some_and(|(_, until)| *until <= now.mono) {
            self.disputed = None;
        }
        self.host_restarts.expire(self.policy.host_budget.window, now.mono);
        self.say_freeze(now, out);
        self.mark_detached(now.mono);
        let ids: Vec<ContainerId> = self.watches.keys().cloned().collect();
        for id in ids {
            self.treat(&id, now, out);
        }
        self.wake_no_later(self.disputed.as_ref().map(|(_, until)| *until));
        let freeze_ends = self.freeze_at(now.wall).and_then(|(_, freeze)| freeze.until);
        self.wake_no_later(freeze_ends.map(|until| now.mono_at(until)));
    }

    fn wake_no_later(&mut self, at: Option<Mono>) {
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
        let mut detached = Vec::new();
        for watch in self.watches.values().filter(|watch| watch.is_running()) {
            let Some(owner) = self.owner_of(watch) else { continue };
            let left_behind = owner.is_running() && owner.facts.started_at > watch.facts.started_at;
            // Someone who restarts both (compose) is given as long as a start's grace; after our own action it is on us.
            let settled = owner.running_since.is_some_and(|since| since + self.policy.grace <= now);
            if left_behind && (settled || self.acted_on(&owner.facts.name)) {
                detached.push(watch.facts.id.clone());
            }
        }
        for (id, watch) in &mut self.watches {
            watch.detached = detached.contains(id);
        }
    }

    fn owner_of(&self, watch: &Watch) -> Option<&Watch> {
        let Namespace::Container(owner) = &watch.facts.namespace else { return None };
        self.watches
            .values()
            .find(|other| other.facts.id.as_str() == owner || other.facts.name.as_str() == owner)
    }

    fn acted_on(&self, name: &ContainerName) -> bool {
        self.histories.get(name).is_some_and(|history| history.ours.is_some() || history.under_way.is_some())
    }

    fn treat(&mut self, id: &ContainerId, now: Now, out: &mut Vec<Decision>) {
        let watch = &self.watches[id];
        let name = watch.facts.name.clone();
        let follows_ours =
            watch.detached && self.owner_of(watch).is_some_and(|owner| self.acted_on(&owner.facts.name));
        let listing = self.listing(watch);
        if listing == Listing::Own || (!listing.is_monitored() && !follows_ours) {
            if let Some(history) = self.histories.get_mut(&name) {
                history.said_failing = false;
                history.said_hold = None;
            }
            return;
        }
        let Some(ailment) = watch.ailment() else {
            self.say_recovered(id, now, out);
            return;
        };
        let hold = self.hold(watch, ailment, listing, now);
        self.wake_no_later(hold.as_ref().and_then(Hold::until));
        if let Some(Hold::Maintenance(until)) = &hold {
            self.wake_no_later(Some(now.mono_at(*until)));
        }
        let left_alone = hold.as_ref().is_some_and(Hold::is_left_alone);
        let reason = self.reason_of(id, ailment);
        let history = self.histories.entry(name.clone()).or_default();
        if !left_alone && self.engine_lost.is_none() && !history.said_failing {
            history.said_failing = true;
            out.push(Decision::Emit(
                EventDraft::new(EventKind::ContainerFailing, Actor::Agent, format!("{name} {reason}."))
                    .about(&name)
                    .with(ailment_data(ailment)),
            ));
        }
        match hold {
            None => self.act(id, ailment, reason, now, out),
            Some(Hold::Looking) => self.look(id, out),
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
        if let Some((how, _)) = self.freeze_at(now.wall) {
            return Some(Hold::Frozen(how));
        }
        if let (Ailment::Lossy(_), Some(network)) = (ailment, &watch.failed_network)
            && self.breaker.is_open(network)
        {
            return Some(Hold::Breaker(network.clone()));
        }
        if self.policy.dry_run {
            return Some(Hold::DryRun);
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
            _ if self.host_restarts.is_spent(self.policy.host_budget, now.mono) => Some(Hold::HostBudget),
            _ => None,
        }
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
        let (id, name) = (watch.facts.id.as_str(), watch.facts.name.as_str());
        let replaces =
            |other: &&Watch| other.facts.replaces().is_some_and(|old| old == name || id.starts_with(old));
        if let Some(other) = self.watches.values().find(replaces) {
            return Some(Hold::Replaced(other.facts.name.to_string()));
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
            history.under_way.as_ref().is_some_and(|(_, kind)| *kind != ActionKind::Start)
        };
        self.histories.values().filter(restarts).count()
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
                "{name} {reason}, and {budget} restarts did not help: it is left alone until `dockhealth release {name}`."
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
            self.host_restarts.note(now.mono);
        }
        self.begin(id, kind, Actor::Agent, reason, Some(now.mono), out);
    }

    fn kind_for(&self, id: &ContainerId, ailment: Ailment) -> ActionKind {
        let watch = &self.watches[id];
        let shared =
            self.watches.values().any(|other| self.owner_of(other).is_some_and(|o| o.facts.id == *id));
        match ailment {
            Ailment::Down(_) => ActionKind::Start,
            // A new container has a new id, which those who share its network namespace could not follow.
            _ if self.policy.restart_mode == RestartMode::Restart || shared || watch.facts.auto_remove => {
                ActionKind::Restart
            }
            _ => ActionKind::Recreate,
        }
    }

    fn begin(
        &mut self,
        id: &ContainerId,
        kind: ActionKind,
        by: Actor,
        reason: String,
        counts_at: Option<Mono>,
        out: &mut Vec<Decision>,
    ) {
        let name = self.watches[id].facts.name.clone();
        let was_pingable = self.watches[id].is_pingable();
        self.next_op += 1;
        let op =
            OperationId::new(format!("{}-{}", self.process, self.next_op)).expect("built of printable parts");
        let history = self.histories.entry(name.clone()).or_default();
        if let Some(at) = counts_at {
            history.actions.note(at);
        }
        history.under_way = Some((op.clone(), kind));
        let known = history.ours.is_some_and(|ours| ours.was_pingable);
        history.ours = Some(OurAction { was_pingable: was_pingable || known });
        out.push(Decision::Act(Action { op, id: id.clone(), name, kind, by, reason }));
    }

    fn acted(&mut self, op: &OperationId, result: ActionResult, out: &mut Vec<Decision>) {
        let found =
            self.histories.iter_mut().find(|(_, h)| h.under_way.as_ref().is_some_and(|(o, _)| o == op));
        let Some((name, history)) = found else { return };
        let name = name.clone();
        let Some((_, kind)) = history.under_way.take() else { return };
        match result {
            ActionResult::Done(took_ms) => {
                history.restarts += 1;
                let event = match kind {
                    ActionKind::Start => EventKind::ContainerStarted,
                    ActionKind::Restart => EventKind::ContainerRestarted,
                    ActionKind::Recreate => EventKind::ContainerRecreated,
                };
                let text = format!("{name} was {} in {:.1} s.", past(kind), took_ms as f64 / 1000.0);
                let data = json!({ "op": op, "took_ms": took_ms });
                out.push(Decision::Emit(EventDraft::new(event, Actor::Agent, text).about(&name).with(data)));
            }
            ActionResult::Gone => history.ours = None,
            ActionResult::NotReached(_) => history.actions.take_back(),
            ActionResult::Failed(why) => {
                let text = format!("{name} could not be {}: {why}.", past(kind));
                let data = json!({ "op": op });
                let draft =
                    EventDraft::new(EventKind::ActionFailed, Actor::Agent, text).about(&name).with(data);
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
        let silent = history.ours.is_some_and(|ours| ours.was_pingable) && !watch.is_pingable();
        let well = passed || (grace_over && !watch.is_pingable() && !silent);
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

    // ---- an operator's orders -----------------------------------------------------------------

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

    fn restart_by_operator(&mut self, name: &ContainerName, out: &mut Vec<Decision>) {
        if self.restart_refusal(name).is_some() {
            return;
        }
        let Some(watch) = self.watches.values().find(|watch| watch.facts.name == *name) else { return };
        let id = watch.facts.id.clone();
        let ailment = if watch.is_running() { Ailment::Detached } else { Ailment::Down(End::Told) };
        let kind = self.kind_for(&id, ailment);
        self.begin(&id, kind, Actor::Operator, "an operator asked for it".to_owned(), None, out);
    }

    fn release(&mut self, name: &ContainerName, now: Now, out: &mut Vec<Decision>) {
        let history = self.histories.entry(name.clone()).or_default();
        let was = history.quarantined.take();
        history.actions.clear();
        out.push(Decision::Release(name.clone(), now.wall));
        if was.is_some() {
            let text = format!("{name} was released from quarantine; its restart budget begins anew.");
            out.push(Decision::Emit(EventDraft::new(EventKind::Released, Actor::Operator, text).about(name)));
        }
    }

    /// What ails `id`, as the second half of a sentence that begins with its name.
    pub(super) fn reason_of(&self, id: &ContainerId, ailment: Ailment) -> String {
        let watch = &self.watches[id];
        match ailment {
            Ailment::Down(end) => {
                let code = watch.facts.exit_code.map_or(String::new(), |code| format!(", exit code {code}"));
                let how = match end {
                    End::Told => "was told to stop",
                    End::Crashed if watch.facts.oom_killed => "was killed for want of memory",
                    End::Crashed => "ended by itself",
                };
                format!("is down: it {how}{code}")
            }
            Ailment::Unhealthy => "is unhealthy by its own HEALTHCHECK".to_owned(),
            Ailment::Detached => {
                "lost its network: the container whose network it shares was restarted".to_owned()
            }
            Ailment::Lossy(loss) => {
                format!(
                    "loses {loss} of its packets, above its threshold of {}",
                    self.threshold_of(&watch.facts.name)
                )
            }
        }
    }
}

impl History {
    /// Whether nothing would be lost by forgetting it.
    fn is_forgettable(&self, budget: Rate, now: Mono) -> bool {
        self.quarantined.is_none()
            && self.under_way.is_none()
            && !self.interrupted
            && self.actions.count(budget.window, now) == 0
    }
}

fn past(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::Start => "started",
        ActionKind::Restart => "restarted",
        ActionKind::Recreate => "recreated",
    }
}

fn ailment_data(ailment: Ailment) -> serde_json::Value {
    match ailment {
        Ailment::Down(End::Crashed) => json!({ "ailment": "down", "end": "crashed" }),
        Ailment::Down(End::Told) => json!({ "ailment": "down", "end": "told_to_stop" }),
        Ailment::Unhealthy => json!({ "ailment": "unhealthy" }),
        Ailment::Detached => json!({ "ailment": "detached" }),
        Ailment::Lossy(loss) => json!({ "ailment": "loss", "loss_percent": loss }),
    }
}
