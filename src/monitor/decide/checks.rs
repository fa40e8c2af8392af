//! What a round of checks says: of what is shared first, then of each container.

use std::collections::BTreeSet;

use serde_json::json;

use super::reference::LOOPBACK;
use super::shared::{BreakerChange, Member, Shared};
use super::state::HostState;
use super::watch::Watch;
use super::{Checked, Decision, Finding};
use crate::model::{Actor, CheckKind, EventDraft, EventKind, Now, Verdict};

impl HostState {
    pub(super) fn swept(&mut self, kind: CheckKind, results: &[Checked], now: Now, out: &mut Vec<Decision>) {
        if self.engine_lost.is_some() {
            return;
        }
        if kind == CheckKind::Sweep {
            self.judge_shared(results, now, out);
        }
        let mut suspects = Vec::new();
        for result in results.iter().filter(|result| result.finding != Finding::UnderWay) {
            let Some(watch) = self.watches.get(&result.id) else { continue };
            let same_run = watch.is_running() && watch.facts.started_at == result.started_at;
            if !same_run || self.is_under_way(&watch.facts.name) {
                continue;
            }
            let threshold = self.threshold_of(&watch.facts.name);
            let policy = &self.policy;
            let watch = self.watches.get_mut(&result.id).expect("found above");
            let (record, first_answers) = watch.judge(kind, result, threshold, policy, now);
            if !first_answers.is_empty() {
                out.push(Decision::Remember(result.id.clone(), first_answers));
            }
            self.note_effect(&result.id, &record, now);
            let (watch, policy) = (self.watches.get_mut(&result.id).expect("found above"), &self.policy);
            let in_grace = watch.grace_until(policy).is_some_and(|until| now.mono < until);
            let acquitted = self.acquittal(&self.watches[&result.id], now.mono).is_some();
            let watch = self.watches.get_mut(&result.id).expect("found above");
            match record.verdict {
                Verdict::Pass => (watch.lossy, watch.proof) = (None, None),
                Verdict::Fail if in_grace || acquitted => {}
                Verdict::Fail => {
                    let confirmed = kind == CheckKind::Confirm
                        || policy.confirm_probes == 0
                        || watch.lossy.is_some()
                        || record.evidence.is_some();
                    if confirmed {
                        (watch.lossy, watch.proof) = (record.loss_percent, record.evidence);
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

    /// Judges what is shared. What fails behind a gateway that loses packets too is explained by that.
    fn judge_shared(&mut self, results: &[Checked], now: Now, out: &mut Vec<Decision>) {
        let (mut members, mut names, mut behind) = (Vec::new(), Vec::new(), BTreeSet::new());
        for result in results {
            let Some(watch) = self.watches.get(&result.id) else { continue };
            if watch.facts.started_at != result.started_at {
                continue;
            }
            let threshold = self.threshold_of(&watch.facts.name);
            let mut networks = watch.networks_tallied(&result.outcomes, threshold);
            // What it shows behind such a gateway says nothing of what it shares, good or bad.
            networks.retain(|network, failing| match self.references.fault(&watch.facts, network) {
                Some(fault) if *failing => {
                    behind.insert((fault.network.clone(), fault.to_string()));
                    false
                }
                _ => true,
            });
            if networks.is_empty() {
                continue;
            }
            let failing = networks.values().any(|failing| *failing);
            let others = Self::shared_beside_networks(watch).map(|shared| (shared, failing));
            let networks = networks.into_iter().map(|(network, failing)| (Shared::Network(network), failing));
            members.push(networks.chain(others).collect::<Member>());
            names.push(watch.facts.name.clone());
        }
        let listed = self.watches.values().filter(|watch| self.listing(watch).is_monitored());
        let monitored = listed.flat_map(Self::shared).collect();
        let changes = self.breaker.judge(&members, &monitored, now.mono);
        self.say_faults(behind, out);
        for change in changes {
            let drill = match &change {
                BreakerChange::Opened(shared, _) => {
                    let fails = |member: &Member| member.get(shared) == Some(&true);
                    let failing = members.iter().zip(&names).filter(|(member, _)| fails(member));
                    let failing: Vec<_> = failing.map(|(_, name)| name.clone()).collect();
                    self.drill_behind(shared, &failing)
                }
                BreakerChange::Closed(shared) | BreakerChange::GivenUp(shared) => {
                    self.drill_had_opened(shared)
                }
            };
            out.push(Decision::Emit(EventDraft { drill_id: drill, ..told(change) }));
        }
    }

    fn say_faults(&mut self, behind: BTreeSet<(Option<String>, String)>, out: &mut Vec<Decision>) {
        for (network, words) in behind {
            if self.faults_said.insert(network.clone()) {
                let text = format!("Containers fail, but {words}: nothing is restarted for loss there.");
                out.push(Decision::Emit(
                    EventDraft::new(EventKind::BreakerOpened, Actor::Agent, text).with(fault_data(network)),
                ));
            }
        }
        let lossy = |network: &Option<String>| match network {
            None => self.references.is_lossy(LOOPBACK),
            Some(network) => {
                let gateways = |watch: &Watch| self.references.fault(&watch.facts, network).is_some();
                self.watches.values().any(gateways)
            }
        };
        let over: Vec<Option<String>> =
            self.faults_said.iter().filter(|network| !lossy(network)).cloned().collect();
        for network in over {
            self.faults_said.remove(&network);
            let text = "The host's own addresses answer again; loss is healed as before.";
            out.push(Decision::Emit(
                EventDraft::new(EventKind::BreakerClosed, Actor::Agent, text).with(fault_data(network)),
            ));
        }
    }

    /// Goes on where a guess was not borne out for too long.
    pub(super) fn give_up_guesses(&mut self, now: Now, out: &mut Vec<Decision>) {
        let given_up = self.breaker.expire(now.mono);
        out.extend(given_up.into_iter().map(|change| Decision::Emit(told(change))));
    }
}

fn fault_data(network: Option<String>) -> serde_json::Value {
    match network {
        Some(network) => json!({ "shared": "gateway", "network": network }),
        None => json!({ "shared": "loopback" }),
    }
}

fn data(shared: &Shared) -> serde_json::Value {
    let mut data = json!({ "shared": shared.kind(), "name": shared.name() });
    if let Shared::Network(network) = shared {
        data["network"] = json!(network);
    }
    data
}

/// What the history says of a breaker.
fn told(change: BreakerChange) -> EventDraft {
    let draft = |kind, shared: &Shared, text| EventDraft::new(kind, Actor::Agent, text).with(data(shared));
    match change {
        BreakerChange::Opened(shared, tally) => {
            let text = format!(
                "{} of {} pingable containers of {shared} fail at once: that is to blame, so nothing is restarted for \
                 loss there.",
                tally.failing, tally.pingable
            );
            let mut draft = draft(EventKind::BreakerOpened, &shared, text);
            draft.data["failing"] = json!(tally.failing);
            draft.data["pingable"] = json!(tally.pingable);
            draft
        }
        BreakerChange::Closed(shared) => {
            let text = format!("Loss within {shared} is no longer shared; it is healed there as before.");
            draft(EventKind::BreakerClosed, &shared, text)
        }
        BreakerChange::GivenUp(shared) => {
            let text = format!(
                "Much of {shared} still fails, and nothing bore out that it is to blame: loss is healed there as before."
            );
            draft(EventKind::BreakerClosed, &shared, text)
        }
    }
}
