//! Who needs whom: a container that fails while what it needs is down or failing is most likely its victim, so that is
//! healed first. Every wait has an end: it must not depend on a container that nobody heals.

use std::time::Duration;

use super::Hold;
use super::state::HostState;
use super::watch::{Ailment, End, Watch};
use crate::model::{HealthcheckStatus, Needs, Now, RunState};

/// How long a container waits for what it needs. As long as a start, its grace and two sweeps take.
const WAITS: Duration = Duration::from_mins(1);
/// How long it waits for the owner of its network namespace, without which the engine refuses to start it: each try
/// would only spend its budget.
const WAITS_FOR_OWNER: Duration = Duration::from_mins(10);

impl HostState {
    /// What `watch` waits for before it is healed of `ailment`.
    pub(super) fn dependency(&self, watch: &Watch, ailment: Ailment, now: Now) -> Option<Hold> {
        let history = self.histories.get(&watch.facts.name);
        let since = history.and_then(|history| history.ailing_since).unwrap_or(now.mono);
        let held = |other: &Watch, how: &str, waits: Duration| {
            let until = since + waits;
            let hold = || Hold::Dependency { on: other.facts.name.to_string(), how: how.to_owned(), until };
            (now.mono < until).then(hold)
        };
        let down = matches!(ailment, Ailment::Down(_));
        if let Some(owner) = self.owner_of(watch) {
            let follows = down || matches!(ailment, Ailment::Detached);
            let waits = if down { WAITS_FOR_OWNER } else { WAITS };
            let how = match self.trouble(owner, Needs::Started, ailment) {
                // It runs: whatever else it has, there is a namespace to be started in.
                Some(_) if follows && owner.is_running() && !self.is_under_way(&owner.facts.name) => None,
                how => how,
            };
            if let Some(hold) = how.and_then(|how| held(owner, how, waits)) {
                return Some(hold);
            }
        }
        for link in &watch.facts.links {
            let linked = self.watches.values().find(|other| other.facts.is_called(link));
            let trouble =
                linked.and_then(|other| Some((other, self.trouble(other, Needs::Started, ailment)?)));
            if let Some(hold) = trouble.and_then(|(other, how)| held(other, how, WAITS)) {
                return Some(hold);
            }
        }
        let project = watch.facts.project()?;
        watch.facts.depends_on().into_iter().find_map(|needed| {
            let mut first = None;
            let replicas = self.watches.values().filter(|other| {
                other.facts.project() == Some(project)
                    && other.facts.service() == Some(needed.service)
                    && other.facts.id != watch.facts.id
            });
            // One replica that is well will do.
            for replica in replicas {
                let how = self.trouble(replica, needed.needs, ailment)?;
                first.get_or_insert((replica, how));
            }
            let (replica, how) = first?;
            held(replica, how, WAITS)
        })
    }

    /// What is wrong with `needed`, as far as it may be why another has `ailment`.
    fn trouble(&self, needed: &Watch, needs: Needs, ailment: Ailment) -> Option<&'static str> {
        if self.is_under_way(&needed.facts.name) {
            return Some("is being healed");
        }
        match needed.facts.state {
            RunState::Exited | RunState::Dead => {
                let finished = needed.facts.exit_code == Some(0)
                    && (needs == Needs::Completed || matches!(needed.ended, Some((_, End::Crashed))));
                return (!finished).then_some("is down");
            }
            RunState::Restarting => return Some("is being restarted by the engine"),
            RunState::Running => {}
            // Paused, created, removed: nobody heals it, so there is nothing to wait for.
            _ => return None,
        }
        match needed.ailment() {
            Some(Ailment::Unhealthy) => return Some("is unhealthy"),
            Some(Ailment::Lossy(_)) => return Some("loses packets"),
            Some(Ailment::Detached) => return Some("lost its network"),
            Some(Ailment::Down(_)) | None => {}
        }
        let starting = |check: crate::model::Healthcheck| check.status == HealthcheckStatus::Starting;
        if needs == Needs::Healthy && needed.facts.healthcheck.is_some_and(starting) {
            return Some("is still starting");
        }
        // What runs can be started against; what failed beside it is judged anew by the sweep that finds the other well.
        let judged_anew = matches!(ailment, Ailment::Lossy(_) | Ailment::Unhealthy);
        (judged_anew && self.acted_on(&needed.facts.name)).then_some("was healed a moment ago")
    }
}
