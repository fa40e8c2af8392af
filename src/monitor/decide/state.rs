//! The state of one host, and how inputs become decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::answers::Attachment;
use super::deploys::Deploys;
use super::drill::Drill;
use super::efficacy::Efficacy;
use super::fleet::Fleet;
use super::limits::Window;
use super::listing::listing;
use super::reference::{LOOPBACK, References};
use super::shared::{Breaker, Shared};
use super::watch::{LastLook, Watch};
use super::{Decision, Hold, Input, Listing, OwnContainers, Policy, Sign, Target};
use crate::model::{
    ActionKind, Actor, ContainerFacts, ContainerId, ContainerName, DesiredEntry, DesiredState, EventDraft,
    EventKind, Freeze, HostName, Mono, Namespace, Now, OperationId, Rate, Threshold, Timestamp,
};

/// How long the controller's word of a disputed identity is believed without being repeated.
const DISPUTE_LASTS: Duration = Duration::from_secs(30);

/// How long `why` tells of the agent's own starvation.
const STARVATION_SHOWN: Duration = Duration::from_mins(1);

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
    /// How actions on each went.
    pub scores: BTreeMap<ContainerName, Efficacy>,
    /// Addresses that have answered.
    pub answered: BTreeMap<ContainerId, Vec<Attachment>>,
}

/// What is remembered of a container by name, over its recreation.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) actions: Window,
    pub(super) restarts: u64,
    pub(super) quarantined: Option<Timestamp>,
    pub(super) under_way: Option<UnderWay>,
    /// It was said to fail, and not yet to have recovered.
    pub(super) said_failing: bool,
    /// The last action of ours since which it has not been well; whether it could be pinged before.
    pub(super) ours: Option<OurAction>,
    /// What was last said of why it is left alone or would be acted on, so that it is said once.
    pub(super) said_hold: Option<Hold>,
    pub(super) interrupted: bool,
    /// Since when something has ailed it without a break.
    pub(super) ailing_since: Option<Mono>,
    /// An action that did not reach an engine which was not known to be away; it counts unless that turns out.
    pub(super) unreached: Option<(Mono, ActionKind)>,
    pub(super) efficacy: Efficacy,
}

/// An action that was begun and of whose end nothing is known yet.
#[derive(Debug, Clone)]
pub(super) struct UnderWay {
    pub(super) op: OperationId,
    pub(super) kind: ActionKind,
    pub(super) by: Actor,
    /// When it was counted against the budgets; an operator's never is.
    pub(super) counted_at: Option<Mono>,
    /// Whether what it comes to is watched already, or nothing ailed the container as it began.
    pub(super) seen_begin: bool,
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
    pub(super) references: References,
    /// Networks whose gateway was said to lose packets, and `None` for loopback.
    pub(super) faults_said: BTreeSet<Option<String>>,
    /// Names of containers that are gone, by their ids, as long as others are to share their network namespaces.
    pub(super) former_owners: BTreeMap<String, ContainerName>,
    pub(super) deploys: Deploys,
    pub(super) fleet: Fleet,
    /// The drill that is under way.
    pub(super) drill: Option<Drill>,
    /// How late the agent itself was, and until when that is shown.
    pub(super) starved: Option<(Duration, Mono)>,
    /// All containers were listed once: what appears from then on was made by someone.
    listed_once: bool,
    pub(super) host_restarts: Window,
    pub(super) starts: Window,
    pub(super) answered: BTreeMap<ContainerId, Vec<Attachment>>,
    pub(super) engine_was_lost: bool,
    pub(super) freeze_said: Option<String>,
    pub(super) process: String,
    pub(super) next_op: u64,
    pub(super) wake: Option<Mono>,
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
            references: References::default(),
            faults_said: BTreeSet::new(),
            former_owners: BTreeMap::new(),
            deploys: Deploys::default(),
            fleet: Fleet::default(),
            drill: None,
            starved: None,
            listed_once: false,
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
                state.host_restarts.note(now.mono_at(at).min(now.mono));
            }
            if memory.released.get(&name).is_none_or(|released| at > *released) {
                state.histories.entry(name).or_default().actions.note(now.mono_at(at).min(now.mono));
            }
        }
        for (name, since) in memory.quarantined {
            state.histories.entry(name).or_default().quarantined = Some(since);
        }
        for (name, count) in memory.restarts {
            state.histories.entry(name).or_default().restarts = count;
        }
        for (name, score) in memory.scores {
            state.histories.entry(name).or_default().efficacy = score;
        }
        for name in memory.interrupted {
            let history = state.histories.entry(name).or_default();
            history.interrupted = true;
            history.efficacy.forget_trial();
        }
        state
    }

    /// Takes in one input; returns what is to be done, in order.
    pub fn on(&mut self, input: Input, now: Now) -> Vec<Decision> {
        let mut out = Vec::new();
        self.expire_drill(now.mono, &mut out);
        match input {
            Input::Listed(all, signs) => self.listed(all, &signs, now, &mut out),
            Input::Seen(facts) => self.seen(*facts, now),
            Input::Looked(id) => self.looked(&id),
            Input::Gone(id) => self.gone(&id, &mut out),
            Input::Told(sign) => self.told(&sign),
            Input::EngineLost(why) => self.engine_lost(why, &mut out),
            Input::EngineBack => self.engine_back(&mut out),
            Input::Desired(desired) => self.desired = *desired,
            Input::LocalFreeze(freeze) => self.local_freeze = freeze,
            Input::Disputed(reason) => self.disputed = Some((reason, now.mono + DISPUTE_LASTS)),
            Input::References(outcomes) => self.references.hear(&outcomes, self.threshold()),
            Input::Starved(late) => self.starved = Some((late, now.mono + STARVATION_SHOWN)),
            Input::Fleet(word) => self.fleet_said(word, now),
            Input::Swept(kind, results) => self.swept(kind, &results, now, &mut out),
            Input::Acted(op, result) => self.acted(&op, result, &mut out),
            Input::Drill(order) => self.drill_told(order, now, &mut out),
            Input::Restart(name) => self.restart_by_operator(&name, &mut out),
            Input::Release(name) => self.release(&name, now, &mut out),
            Input::Tick => {}
        }
        self.treat_all(now, &mut out);
        self.mark_drill(&mut out);
        self.enrol(&mut out);
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

    /// The host's own addresses that tell whether a loss is its own fault, to be probed with every round of checks.
    pub fn references(&self) -> Vec<IpAddr> {
        if self.engine_lost.is_some() {
            return Vec::new();
        }
        let checked =
            self.watches.values().filter(|watch| watch.is_running() && self.listing(watch).is_monitored());
        let gateways = checked.flat_map(|watch| &watch.facts.networks).flat_map(|net| &net.gateways).copied();
        let all: BTreeSet<IpAddr> = gateways.chain([LOOPBACK]).collect();
        all.into_iter().collect()
    }

    /// What `watch` shares with others.
    pub(super) fn shared(watch: &Watch) -> impl Iterator<Item = Shared> {
        let networks = watch.facts.networks.iter().map(|net| Shared::Network(net.network.clone()));
        networks.chain(Self::shared_beside_networks(watch))
    }

    pub(super) fn shared_beside_networks(watch: &Watch) -> impl Iterator<Item = Shared> {
        let project = watch.facts.project().map(|project| Shared::Project(project.to_owned()));
        let image = Some(&watch.facts.image).filter(|image| !image.is_empty()).cloned().map(Shared::Image);
        project.into_iter().chain(image).chain([Shared::Host])
    }

    /// What keeps loss that `watch` shows from being blamed on it.
    pub(super) fn acquittal(&self, watch: &Watch, now: Mono) -> Option<Hold> {
        let network = watch.failed_network.as_ref()?;
        if let Some(fault) = self.references.fault(&watch.facts, network) {
            return Some(Hold::HostFault(fault));
        }
        let shared: Vec<Shared> = std::iter::once(Shared::Network(network.clone()))
            .chain(Self::shared_beside_networks(watch))
            .collect();
        if let Some(open) = self.breaker.open_among(shared.iter()) {
            return Some(Hold::Breaker(open.clone()));
        }
        self.fleet.hold(now).map(|why| Hold::FleetBreaker(why.to_owned()))
    }

    pub(super) fn target(&self, watch: &Watch) -> Target {
        let addresses = watch.facts.addresses();
        let counts = |address: &&IpAddr| watch.counts(**address, &self.policy);
        Target {
            id: watch.facts.id.clone(),
            name: watch.facts.name.clone(),
            started_at: watch.facts.started_at,
            counting: addresses.iter().filter(counts).copied().collect(),
            addresses,
            lossy: watch.lossy.is_some(),
            threshold: self.threshold_of(&watch.facts.name),
        }
    }

    fn listed(&mut self, all: Vec<ContainerFacts>, signs: &[Sign], now: Now, out: &mut Vec<Decision>) {
        let ids: std::collections::BTreeSet<ContainerId> = all.iter().map(|facts| facts.id.clone()).collect();
        let gone: Vec<ContainerId> = self.watches.keys().filter(|id| !ids.contains(*id)).cloned().collect();
        for id in &gone {
            self.gone(id, out);
        }
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
        let followed = |id: &String| {
            self.watches
                .values()
                .any(|watch| matches!(&watch.facts.namespace, Namespace::Container(of) if of == id))
        };
        let unfollowed: Vec<String> = self.former_owners.keys().filter(|id| !followed(id)).cloned().collect();
        for id in &unfollowed {
            self.former_owners.remove(id);
        }
        self.engine_was_lost = false;
        self.listed_once = true;
        self.answered.clear();
        let (watches, budget, drill) = (&self.watches, self.policy.budget, &self.drill);
        let drilled = |name: &ContainerName| drill.as_ref().is_some_and(|drill| drill.holds(name));
        self.histories.retain(|name, history| {
            history.actions.expire(budget.window, now.mono);
            watches.values().any(|watch| watch.facts.name == *name)
                || drilled(name)
                || !history.is_forgettable(budget, now.mono)
        });
    }

    fn gone(&mut self, id: &ContainerId, out: &mut Vec<Decision>) {
        let Some(gone) = self.watches.remove(id) else { return };
        let name = &gone.facts.name;
        // A recreate of ours removes the old one, and tells itself how it ends.
        if let Some(history) = self.histories.get_mut(name).filter(|history| history.under_way.is_none())
            && (std::mem::take(&mut history.said_failing) || history.quarantined.is_some())
        {
            let text = format!("{name} was removed.");
            out.push(Decision::Emit(
                EventDraft::new(EventKind::ContainerRemoved, Actor::Engine, text).about(name),
            ));
        }
        let follows = |watch: &Watch| watch.facts.namespace == Namespace::Container(id.to_string());
        if self.watches.values().any(follows) {
            self.former_owners.insert(id.to_string(), gone.facts.name);
        }
    }

    fn seen(&mut self, facts: ContainerFacts, now: Now) {
        self.note_deploy(&facts, now);
        if let Some(watch) = self.watches.get_mut(&facts.id) {
            watch.update(facts, self.engine_was_lost, now);
            return;
        }
        let mut watch = Watch::new(facts, now);
        if let Some(known) = self.answered.get(&watch.facts.id) {
            watch.answers.remember(known, &watch.facts);
        }
        self.watches.insert(watch.facts.id.clone(), watch);
    }

    /// Notes what somebody does to a compose project: a new container, or one that was told to stop and runs again.
    fn note_deploy(&mut self, facts: &ContainerFacts, now: Now) {
        let Some(project) = facts.project() else { return };
        let seen_change = match self.watches.get(&facts.id) {
            None => self.listed_once,
            Some(watch) => watch.is_run_anew(facts),
        };
        let nobody = self.engine_was_lost || facts.name.is_aside() || self.acted_on(&facts.name);
        if seen_change && !nobody {
            self.deploys.note(project, &facts.id, now.mono);
        }
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
        self.deploys.clear();
        let unreached = |(name, history): (&ContainerName, &mut History)| {
            history.unreached.take().map(|(at, kind)| (name.clone(), at, kind))
        };
        let unreached: Vec<_> = self.histories.iter_mut().filter_map(unreached).collect();
        for (name, at, kind) in unreached {
            self.take_back(&name, at, kind);
        }
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

    pub(super) fn is_under_way(&self, name: &ContainerName) -> bool {
        self.histories.get(name).is_some_and(|history| history.under_way.is_some())
    }

    pub(super) fn freeze_at(&self, wall: Timestamp) -> Option<(String, &Freeze)> {
        let local = self.local_freeze.as_ref().filter(|freeze| freeze.holds_at(wall));
        let local = local.map(|freeze| ("on this host, by the agent's own socket".to_owned(), freeze));
        let desired = self.desired.freeze_at(&self.host, wall);
        local.or_else(|| desired.map(|(scope, freeze)| (format!("on {scope}, by {}", freeze.by), freeze)))
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
