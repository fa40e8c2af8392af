//! What a round of checks says: of networks first, then of each container.

use std::collections::BTreeMap;

use serde_json::json;

use super::breaker::{BreakerChange, NetworkTally};
use super::state::HostState;
use super::{Checked, Decision};
use crate::model::{Actor, CheckKind, EventDraft, EventKind, Now, Verdict};

impl HostState {
    pub(super) fn swept(&mut self, kind: CheckKind, results: &[Checked], now: Now, out: &mut Vec<Decision>) {
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
            self.note_effect(&result.id, &record, now);
            let (watch, policy) = (self.watches.get_mut(&result.id).expect("found above"), &self.policy);
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
        let mut tallies = BTreeMap::<String, NetworkTally>::new();
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
        let listed = self.watches.values().filter(|watch| self.listing(watch).is_monitored());
        let monitored =
            listed.flat_map(|watch| watch.facts.networks.iter().map(|net| net.network.clone())).collect();
        for change in self.breaker.judge(&tallies, &monitored) {
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
}
