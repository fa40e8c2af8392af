//! Tells agents that their identity is disputed, so that they heal nothing by label while it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::FleetView;
use crate::bus::{AgentCommand, Bus, Subject, encode};
use crate::model::HostName;

/// How often a host is told again: agents believe it for 30 s, so a few lost messages do no harm.
const AGAIN: Duration = Duration::from_secs(5);

/// How long an answer is waited for. All agents that speak as that host hear the question; the first answer is enough.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Whom to tell of a conflict, and who was told when.
#[derive(Debug, Default)]
pub(super) struct Disputes {
    told: BTreeMap<HostName, Instant>,
}

impl Disputes {
    /// The hosts of `view` in conflict that are to be told now, with what they are told; they count as told.
    pub(super) fn due(&mut self, view: &FleetView, now: Instant) -> Vec<(HostName, String)> {
        let disputed = |name: &HostName| view.get(name).is_some_and(|seen| seen.conflict.is_some());
        self.told.retain(|name, _| disputed(name));
        let mut due = Vec::new();
        for (name, seen) in view {
            let Some(reason) = &seen.conflict else { continue };
            if self.told.get(name).is_none_or(|at| now - *at >= AGAIN) {
                self.told.insert(name.clone(), now);
                due.push((name.clone(), reason.clone()));
            }
        }
        due
    }
}

/// Gives `host` this word without making the caller wait. What is lost is said again.
pub(super) fn tell(tasks: &TaskTracker, bus: Arc<dyn Bus>, host: HostName, word: AgentCommand) {
    tasks.spawn(async move {
        let subject = Subject::Command(host.clone());
        if let Err(error) = bus.request(&subject, encode(&word), ANSWER_WITHIN).await {
            tracing::debug!(%host, %error, "it was not told; it will be again");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fleet::HostSnapshot;
    use crate::controller::fleet::state::Presence;
    use crate::model::Timestamp;

    fn view(hosts: &[(&str, Option<&str>)]) -> FleetView {
        let snapshot = |(name, conflict): &(&str, Option<&str>)| {
            let name: HostName = name.parse().unwrap();
            let at = Timestamp::from_millis(0);
            let conflict = conflict.map(str::to_owned);
            let presence = Presence::Live;
            let seen = HostSnapshot {
                name: name.clone(),
                presence,
                first_seen: at,
                last_seen: at,
                conflict,
                clock_offset_ms: None,
                clock_skewed: false,
                report: None,
            };
            (name, Arc::new(seen))
        };
        hosts.iter().map(snapshot).collect()
    }

    #[test]
    fn who_is_in_conflict_is_told_at_once_and_every_5_s_until_it_ends() {
        let (mut disputes, start) = (Disputes::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let both = view(&[("a", Some("two agents")), ("b", None), ("c", Some("same engine"))]);
        let told = disputes.due(&both, at(0));
        let told: Vec<_> = told.iter().map(|(host, reason)| (host.as_str(), reason.as_str())).collect();
        assert_eq!(told, [("a", "two agents"), ("c", "same engine")]);
        assert!(disputes.due(&both, at(4999)).is_empty());
        assert_eq!(disputes.due(&both, at(5000)).len(), 2);
        assert!(disputes.due(&view(&[("a", None)]), at(5001)).is_empty());
        assert_eq!(disputes.due(&both, at(5002)).len(), 2, "a new conflict is told at once");
    }
}
