//! How a container is and why, for reports and for `why`. Reads the same state the decisions read.

use std::sync::Arc;

use super::Hold;
use super::brakes::maintained_by_label;
use super::state::{History, HostState, UnderWay};
use super::watch::Watch;
use crate::bus::ContainerReport;
use crate::metrics::{NetworkUse, Subject};
use crate::model::{
    CheckRecord, ContainerFacts, ContainerName, EfficacyReport, Freeze, Health, LossPercent, Maintenance,
    NetworkRules, Now, RunState, Threshold, Timestamp, Verdict, clean,
};

/// What the core can tell of one container for `why`.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// As in reports.
    pub container: ContainerReport,
    /// The threshold that holds for it.
    pub threshold: Threshold,
    /// Why it is on the list or not.
    pub monitored_by: String,
    /// Its last checks, newest last.
    pub checks: Vec<CheckRecord>,
    /// The brakes, each in one plain sentence.
    pub brakes: Vec<String>,
    /// What healing has come to; `None`: nothing was done to it yet.
    pub efficacy: Option<EfficacyReport>,
}

impl HostState {
    /// Every container as reports show it, in the order of their names.
    pub fn reports(&self, now: Now) -> Vec<ContainerReport> {
        let mut all: Vec<ContainerReport> =
            self.watches.values().map(|watch| self.report(watch, now)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Every container, to be measured.
    pub fn subjects(&self) -> Vec<Subject> {
        let facts = || self.watches.values().map(|watch| &watch.facts);
        let find = |owner: &str| facts().find(|facts| facts.is_called(owner));
        let subject = |watch: &'_ Watch| {
            let (loss_percent, rtt_ms) = watch.last_figures();
            Subject {
                restarts: Some(self.histories.get(&watch.facts.name).map_or(0, |history| history.restarts)),
                loss_percent: loss_percent.map(LossPercent::percent),
                rtt_ms,
                ..Subject::new(&watch.facts, NetworkUse::of(&watch.facts, find))
            }
        };
        self.watches.values().map(subject).collect()
    }

    /// Every container, and the rules of what of their network is to be measured.
    pub fn network(&self) -> (Vec<ContainerFacts>, Arc<NetworkRules>) {
        let facts = self.watches.values().map(|watch| watch.facts.clone()).collect();
        (facts, Arc::new(self.desired.rules.clone().unwrap_or_default()))
    }

    /// The threshold in force on this host.
    pub fn threshold_in_force(&self) -> Threshold {
        self.threshold()
    }

    /// The freeze that holds this host at `wall`.
    pub fn freeze_in_force(&self, wall: Timestamp) -> Option<Freeze> {
        self.freeze_at(wall).map(|(_, freeze)| freeze.clone())
    }

    /// Whether this host has a container called `name`.
    pub fn has(&self, name: &ContainerName) -> bool {
        self.watches.values().any(|watch| watch.facts.name == *name)
    }

    /// Why `name` is what it is; `None`: there is none.
    pub fn explain(&self, name: &ContainerName, now: Now) -> Option<Explanation> {
        let watch = self.watches.values().find(|watch| watch.facts.name == *name)?;
        Some(Explanation {
            container: self.report(watch, now),
            threshold: self.threshold_of(name),
            monitored_by: self.listing(watch).to_string(),
            checks: watch.checks.iter().cloned().collect(),
            brakes: self.brakes(watch, now),
            efficacy: self.efficacy_of(watch, now),
        })
    }

    fn report(&self, watch: &Watch, now: Now) -> ContainerReport {
        let facts = &watch.facts;
        let (health, reason) = self.health(watch, now);
        let (loss_percent, rtt_ms) = watch.last_figures();
        let mut networks: Vec<String> = facts.networks.iter().map(|net| net.network.clone()).collect();
        networks.sort();
        ContainerReport {
            name: facts.name.clone(),
            id: facts.id.clone(),
            image: facts.image.clone(),
            status: facts.state,
            monitored: self.listing(watch).is_monitored(),
            health,
            loss_percent,
            rtt_ms,
            restarts: Some(self.histories.get(&facts.name).map_or(0, |history| history.restarts)),
            networks,
            addresses: facts.addresses(),
            project: facts.project().map(str::to_owned),
            service: facts.service().map(str::to_owned),
            reason,
            outcomes: self.outcomes_of(watch),
            maintenance_by_label: maintained_by_label(watch, now).is_some(),
        }
    }

    fn health(&self, watch: &Watch, now: Now) -> (Health, String) {
        let listing = self.listing(watch);
        if !listing.is_monitored() {
            return (Health::Unmonitored, listing.to_string());
        }
        if let Some(why) = &self.engine_lost {
            return (Health::Unknown, format!("the Docker engine is unreachable: {why}"));
        }
        let none = History::default();
        let history = self.histories.get(&watch.facts.name).unwrap_or(&none);
        if let Some(UnderWay { kind, .. }) = &history.under_way {
            return (Health::Recovering, format!("a {} is under way", kind.as_str()));
        }
        match watch.ailment() {
            Some(ailment) => {
                let reason = self.reason_of(&watch.facts.id, ailment);
                match self.hold(watch, ailment, listing, now) {
                    Some(hold) => (health_when_held(&hold), format!("{reason}; {hold}")),
                    None => (Health::Failing, reason),
                }
            }
            None if history.quarantined.is_some() => {
                let since = history.quarantined.expect("checked by the guard");
                (Health::Quarantined, format!("{}; {}", how_it_runs(watch), Hold::Quarantined(since)))
            }
            None => self.health_without_ailment(watch, history, now),
        }
    }

    fn health_without_ailment(&self, watch: &Watch, history: &History, now: Now) -> (Health, String) {
        match watch.facts.state {
            RunState::Running => {}
            RunState::Restarting => {
                return (Health::Failing, "the engine's own restart policy is restarting it".to_owned());
            }
            RunState::Paused => {
                return (Health::Unknown, "it is paused; paused containers are never healed".to_owned());
            }
            RunState::Created => return (Health::Unknown, "it was created and never started".to_owned()),
            other => return (Health::Unknown, format!("the engine says {}", other.as_str())),
        }
        let in_grace = watch.grace_until(&self.policy).is_some_and(|until| now.mono < until);
        let last = watch.checks.back().filter(|_| watch.judged);
        let above = |loss| self.threshold_of(&watch.facts.name).is_exceeded_by(loss);
        match last.map(|check| (check.verdict, check.loss_percent)) {
            Some((Verdict::Pass, Some(loss))) if above(loss) => (
                Health::Degraded,
                format!(
                    "loses {loss} in its last test, which does not prove that it stays above its threshold"
                ),
            ),
            Some((Verdict::Pass, Some(loss))) if loss.percent() > 0.0 => (
                Health::Degraded,
                format!("loses {loss}, not above its threshold of {}", self.threshold_of(&watch.facts.name)),
            ),
            Some((Verdict::Pass, _)) => (Health::Healthy, "runs and answers every probe".to_owned()),
            Some((Verdict::Fail, loss)) if in_grace => {
                let loss = loss.map_or(String::new(), |loss| format!("loses {loss}; "));
                (Health::Recovering, format!("{loss}it was started less than its grace ago"))
            }
            Some((Verdict::Fail, loss)) => {
                let text =
                    loss.map_or("fails its check".to_owned(), |loss| format!("loses {loss} of its packets"));
                match self.acquittal(watch, now.mono) {
                    Some(hold) => (Health::Frozen, format!("{text}; {hold}")),
                    None => (Health::Failing, format!("{text}; that is being confirmed")),
                }
            }
            Some((Verdict::Inconclusive, _)) | None if history.ours.is_some() && in_grace => {
                (Health::Recovering, "we acted on it a moment ago".to_owned())
            }
            Some((Verdict::Inconclusive, _)) if history.ours.is_some_and(|ours| ours.was_pingable) => {
                (Health::Failing, "runs, and has not answered since our last action on it".to_owned())
            }
            Some((Verdict::Inconclusive, _)) if watch.answers.is_pingable() => (
                Health::Unknown,
                "no probe of the last check counted: the agent itself did not get to run".to_owned(),
            ),
            Some((Verdict::Inconclusive, _)) => {
                let how = "no address of it has answered since it was last configured";
                (Health::NotPingable, format!("{how}: judged by its state and HEALTHCHECK alone"))
            }
            None if watch.facts.addresses().is_empty() => (
                Health::NotPingable,
                "it has no address of its own: judged by its state and HEALTHCHECK alone".to_owned(),
            ),
            None => (Health::Unknown, "not checked yet".to_owned()),
        }
    }

    fn brakes(&self, watch: &Watch, now: Now) -> Vec<String> {
        let mut brakes = Vec::new();
        let listing = self.listing(watch);
        if let Some(hold) = watch.ailment().and_then(|ailment| self.hold(watch, ailment, listing, now)) {
            brakes.push(format!("held now: {hold}"));
        }
        let policy = &self.policy;
        let used = self
            .histories
            .get(&watch.facts.name)
            .map_or(0, |h| h.actions.count(policy.budget.window, now.mono));
        brakes.push(format!("budget: {used} of {} used", policy.budget));
        let host_used = self.host_restarts_of(&watch.facts.name).count(policy.host_budget.window, now.mono);
        brakes.push(format!("host budget: {host_used} of {} used", policy.host_budget));
        brakes.extend(self.drill_words(&watch.facts.name));
        brakes.extend(self.efficacy_brake(watch));
        if let Some(until) = watch.grace_until(policy).filter(|until| now.mono < *until) {
            let seconds = (until - now.mono).as_secs() + 1;
            brakes.push(format!("grace after its start: {seconds} s left"));
        }
        brakes.extend(self.fleet.words());
        for (shared, tally) in self.breaker.open() {
            brakes.push(format!("breaker open for {shared}: {} of {} failed", tally.failing, tally.pingable));
        }
        let faults =
            watch.facts.networks.iter().filter_map(|net| self.references.fault(&watch.facts, &net.network));
        brakes.extend(faults.map(|fault| fault.to_string()));
        if let Some(why) = self.fleet.hold(now.mono) {
            brakes.push(format!("fleet breaker open: {why}"));
        }
        if let Some((late, _)) = self.starved.filter(|(_, until)| now.mono < *until) {
            brakes.push(format!(
                "the agent itself did not get to run: its timers were {:.1} s late, so the probes of that check do not \
                 count",
                late.as_secs_f64()
            ));
        }
        if let Some(Maintenance::Unreadable(text)) = watch.facts.maintenance_label() {
            brakes.push(format!(
                "its label dockhealth.maintenance={} is passed over: it is neither true, false nor a time as \
                 2026-11-22T08:30:00Z",
                clean(text, 60)
            ));
        }
        if let Some((how, _)) = self.freeze_at(now.wall) {
            brakes.push(format!("healing is frozen: {how}"));
        }
        if let Some((why, _)) = &self.disputed {
            brakes.push(format!("identity conflict: {why}"));
        }
        brakes
    }
}

fn health_when_held(hold: &Hold) -> Health {
    match hold {
        Hold::Quarantined(_) => Health::Quarantined,
        Hold::UnderWay => Health::Recovering,
        hold if hold.is_freeze() => Health::Frozen,
        hold if hold.is_left_alone() => Health::Unknown,
        _ => Health::Failing,
    }
}

fn how_it_runs(watch: &Watch) -> &'static str {
    if watch.is_running() { "runs" } else { "does not run" }
}
