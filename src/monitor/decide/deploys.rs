//! Deploys: when somebody replaces or restarts several containers of one compose project, it is left to them for a while.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::{ContainerId, Mono};

/// Changes this close together belong to one deploy.
const TOGETHER: Duration = Duration::from_secs(30);
/// Containers that make a deploy; one alone is no project's.
const SEVERAL: usize = 2;
/// How long after its last change a deploy is over.
const QUIET: Duration = Duration::from_secs(15);
/// The longest that one deploy holds; whoever goes on changing things for longer does something else.
const LONGEST: Duration = Duration::from_mins(5);

/// What changed in one project lately.
#[derive(Debug, Clone, Default)]
struct Project {
    changes: VecDeque<(Mono, ContainerId)>,
    /// Since when and until when it is held.
    held: Option<(Mono, Mono)>,
}

/// Projects in which something changed lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Deploys {
    projects: BTreeMap<String, Project>,
}

impl Deploys {
    /// Notes that somebody made `id` of `project`, or restarted it.
    pub(super) fn note(&mut self, project: &str, id: &ContainerId, now: Mono) {
        self.expire(now);
        let project = self.projects.entry(project.to_owned()).or_default();
        project.changes.retain(|(_, known)| known != id);
        project.changes.push_back((now, id.clone()));
        match &mut project.held {
            Some((since, until)) => *until = (now + QUIET).min(*since + LONGEST),
            None if project.changes.len() >= SEVERAL => project.held = Some((now, now + QUIET)),
            None => {}
        }
    }

    /// Forgets what is over.
    pub(super) fn expire(&mut self, now: Mono) {
        self.projects.retain(|_, project| {
            project.changes.retain(|(at, _)| *at + TOGETHER > now);
            // One that was held for as long as may be is held again only after all was quiet.
            !project.changes.is_empty()
        });
    }

    /// Forgets all: the engine took them down, and nobody deployed anything.
    pub(super) fn clear(&mut self) {
        self.projects.clear();
    }

    /// Until when `project` is held.
    pub(super) fn until(&self, project: &str, now: Mono) -> Option<Mono> {
        let (_, until) = self.projects.get(project)?.held?;
        (now < until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u8) -> ContainerId {
        ContainerId::new(format!("{n:064x}")).unwrap()
    }

    #[test]
    fn two_containers_within_half_a_minute_make_a_deploy_that_ends_when_it_is_quiet() {
        let mut deploys = Deploys::default();
        deploys.note("shop", &id(1), Mono(0));
        deploys.note("shop", &id(1), Mono(1_000));
        assert_eq!(deploys.until("shop", Mono(1_000)), None, "one container, twice");
        deploys.note("shop", &id(2), Mono(40_000));
        assert_eq!(deploys.until("shop", Mono(40_000)), None, "too far apart");
        deploys.note("shop", &id(1), Mono(50_000));
        assert_eq!(deploys.until("shop", Mono(50_000)), Some(Mono(65_000)));
        deploys.note("shop", &id(3), Mono(60_000));
        assert_eq!(deploys.until("shop", Mono(74_999)), Some(Mono(75_000)));
        assert_eq!((deploys.until("shop", Mono(75_000)), deploys.until("other", Mono(60_000))), (None, None));
    }

    proptest! {
        #[test]
        fn no_deploy_holds_for_longer_than_five_minutes(
            changes in proptest::collection::vec((0_u8..4, 0_i64..20_000), 1..100),
        ) {
            let (mut deploys, mut now, mut held_since) = (Deploys::default(), 0, None);
            for (n, gap) in changes {
                for at in (now..now + gap).step_by(1_000) {
                    match deploys.until("shop", Mono(at)) {
                        Some(_) => prop_assert!(at - *held_since.get_or_insert(at) <= 300_000),
                        None => held_since = None,
                    }
                }
                now += gap;
                deploys.note("shop", &id(n), Mono(now));
            }
            prop_assert!(deploys.until("shop", Mono(now + 15_000)).is_none(), "quiet ends it");
        }
    }
}
