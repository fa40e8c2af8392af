//! What is told when, and what belongs together. Pure: incidents and time in, notifications out.
//!
//! ```text
//!   incident opens ──► due by the policy ──► its group collects for --notify-wait ──► told, once
//!        │                   │                          │                               │
//!        └── over before ────┴──────────────────────────┘ told to nobody                ▼
//!                                                        end told, once ◄── over, and so for --notify-wait
//! ```
//!
//! Groups are host over project over container: what a silent host or a lost engine has is the host's; so is what a failing
//! network has, the network's. While such a cause is open it covers what opens later; what is left when it is over stands
//! for itself. [`MANY`] groups of one host that wait together become one of the host, and as many hosts one of the fleet.
//!
//! Nothing but the pauses is kept here: whether an incident was told stands with the incident, in the store. So a restart
//! delays what was being collected by one more pause, and neither loses nor repeats anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::policy::{Cause, Due, Policy};
use crate::model::{ContainerName, HostName, Incident, IncidentKind, Mono, NoticeId, Now, TrackedIncident};

/// From this many on, groups of one host that wait together are told as one, and so are hosts.
const MANY: usize = 3;

/// What a notification is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "level", rename_all = "snake_case")]
pub enum NoticeScope {
    /// Several hosts.
    Fleet,
    /// A host.
    Host {
        /// The host.
        #[schema(value_type = String)]
        host: HostName,
    },
    /// A network of a host.
    Network {
        /// The host.
        #[schema(value_type = String)]
        host: HostName,
        /// The network.
        network: String,
    },
    /// A compose project on a host.
    Project {
        /// The host.
        #[schema(value_type = String)]
        host: HostName,
        /// The project.
        project: String,
    },
    /// A container.
    Container {
        /// The host.
        #[schema(value_type = String)]
        host: HostName,
        /// The container.
        #[schema(value_type = String)]
        container: ContainerName,
    },
}

impl NoticeScope {
    /// The host, where it is about one.
    pub(super) fn host(&self) -> Option<&HostName> {
        match self {
            Self::Fleet => None,
            Self::Host { host }
            | Self::Network { host, .. }
            | Self::Project { host, .. }
            | Self::Container { host, .. } => Some(host),
        }
    }
}

/// What is known of a container beside its incidents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Its compose project.
    pub project: Option<String>,
    /// Its networks.
    pub networks: Vec<String>,
    /// Whether somebody works on it: nothing is told of it then.
    pub in_maintenance: bool,
}

/// Who knows it.
pub trait Facts {
    /// What is known of a container; the default where nothing is.
    fn container(&self, host: &HostName, container: &ContainerName) -> ContainerFacts;
}

/// A notification to be made.
#[derive(Debug, PartialEq)]
pub enum Planned<'a> {
    /// Something is wrong.
    Problem {
        /// What it is about.
        scope: NoticeScope,
        /// What is told, once.
        members: Vec<&'a TrackedIncident>,
    },
    /// What was told is over.
    Recovery {
        /// The notification of the problem.
        of: NoticeId,
        /// Whose end is told, once.
        over: Vec<&'a TrackedIncident>,
        /// What was told with it and is not over.
        still_open: Vec<&'a TrackedIncident>,
    },
}

/// What is to be told now, and when to look again if nothing happens before.
#[derive(Debug, PartialEq)]
pub struct Plan<'a> {
    /// What is to be told now.
    pub notices: Vec<Planned<'a>>,
    /// When to look again.
    pub wake: Option<Mono>,
}

/// A group that may be collecting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Problem(NoticeScope),
    Recovery(NoticeId),
}

/// The groups that collect, and since when.
#[derive(Debug, Default)]
pub struct Planner {
    since: BTreeMap<Key, Mono>,
}

/// Incidents of one scope that were not told of.
#[derive(Debug, Default)]
struct Group<'a> {
    /// Those that make it be told.
    due: Vec<&'a TrackedIncident>,
    /// Those that go along.
    along: Vec<&'a TrackedIncident>,
}

impl Planner {
    /// What is to be told of `tracked` now. What is told must be marked as such before the next call, or comes again.
    pub fn plan<'a>(
        &mut self,
        tracked: &'a [TrackedIncident],
        facts: &impl Facts,
        policy: &Policy,
        now: Now,
    ) -> Plan<'a> {
        let mut plan = Plan { notices: Vec::new(), wake: None };
        let (groups, due_in) = groups(tracked, facts, policy, now);
        let recoveries = recoveries(tracked);
        let waiting: BTreeSet<Key> = groups
            .keys()
            .map(|scope| Key::Problem(scope.clone()))
            .chain(recoveries.keys().map(|of| Key::Recovery(*of)))
            .collect();
        self.since.retain(|key, _| waiting.contains(key));
        for key in waiting {
            self.since.entry(key).or_insert(now.mono);
        }
        let ripe = |key: &Key| self.since.get(key).is_some_and(|since| now.mono - *since >= policy.wait);
        for (of, (over, still_open)) in recoveries {
            if ripe(&Key::Recovery(of)) {
                plan.notices.push(Planned::Recovery { of, over, still_open });
            }
        }
        let ripe_scopes: BTreeSet<NoticeScope> =
            groups.keys().filter(|scope| ripe(&Key::Problem((*scope).clone()))).cloned().collect();
        plan.notices.extend(merged(groups, &ripe_scopes));
        let collecting = self.since.values().map(|since| *since + policy.wait).filter(|at| *at > now.mono);
        plan.wake = collecting.chain(due_in.map(|span| now.mono + span)).min();
        plan
    }
}

/// How long an incident has been known. A clock that was set back makes it old, not for ever young.
fn age(tracked: &TrackedIncident, now: Now) -> Duration {
    if tracked.seen > now.wall { Duration::MAX } else { now.wall.since(tracked.seen) }
}

/// What covers others: silent hosts, lost engines and failing networks, each with whether somebody was told of it already.
#[derive(Debug, Default)]
struct Covers<'a> {
    silent: BTreeMap<&'a HostName, bool>,
    engines: BTreeMap<&'a HostName, bool>,
    networks: BTreeMap<(&'a HostName, &'a str), bool>,
}

impl<'a> Covers<'a> {
    fn of(tracked: impl Iterator<Item = &'a TrackedIncident>, policy: &Policy) -> Self {
        let mut covers = Self::default();
        for one in tracked {
            let (incident, told) = (&one.incident, one.incident.notification.is_some());
            match incident.kind {
                IncidentKind::Host if policy.on.contains(&Cause::Host) => {
                    *covers.silent.entry(&incident.host).or_default() |= told;
                }
                IncidentKind::Engine if policy.on.contains(&Cause::Engine) => {
                    *covers.engines.entry(&incident.host).or_default() |= told;
                }
                IncidentKind::Network if policy.on.contains(&Cause::Network) => {
                    let network = incident.network.as_deref().unwrap_or_default();
                    *covers.networks.entry((&incident.host, network)).or_default() |= told;
                }
                _ => {}
            }
        }
        covers
    }

    /// Whether what `incident` tells of its host has a cause there that is open, and if so, whether that was told.
    fn of_host(&self, incident: &Incident) -> Option<bool> {
        let silent = || self.silent.get(&incident.host).copied();
        match incident.kind {
            IncidentKind::Host => None,
            IncidentKind::Engine => silent(),
            _ => silent().or_else(|| self.engines.get(&incident.host).copied()),
        }
    }
}

/// The groups that have something to be told, and when the next incident that is not due yet may become so.
fn groups<'a>(
    tracked: &'a [TrackedIncident],
    facts: &impl Facts,
    policy: &Policy,
    now: Now,
) -> (BTreeMap<NoticeScope, Group<'a>>, Option<Duration>) {
    let open = || tracked.iter().filter(|one| one.is_open() && one.incident.drill_id.is_none());
    let covers = Covers::of(open(), policy);
    let mut groups: BTreeMap<NoticeScope, Group<'a>> = BTreeMap::new();
    let mut due_in: Option<Duration> = None;
    for one in open().filter(|one| one.incident.notification.is_none()) {
        let Some((scope, covered)) = scope_of(one, &covers, facts) else { continue };
        let age = age(one, now);
        match policy.due(one, age) {
            Due::Now if !covered => groups.entry(scope).or_default().due.push(one),
            Due::In(_) | Due::Now | Due::Never if covered => groups.entry(scope).or_default().along.push(one),
            Due::In(span) => {
                due_in = Some(due_in.map_or(span, |least| least.min(span)));
                // What fails only now may be well again before anyone has read of it.
                if age >= policy.wait {
                    groups.entry(scope).or_default().along.push(one);
                }
            }
            Due::Now | Due::Never => {}
        }
    }
    groups.retain(|_, group| !group.due.is_empty());
    (groups, due_in)
}

/// The group an incident belongs to, and whether its cause is another incident; `None` where nobody is to be told of it,
/// or not before its cause, which was told, is over.
fn scope_of(one: &TrackedIncident, covers: &Covers<'_>, facts: &impl Facts) -> Option<(NoticeScope, bool)> {
    let incident = &one.incident;
    let host = incident.host.clone();
    let about = incident.container.as_ref().map(|container| facts.container(&host, container));
    if about.as_ref().is_some_and(|about| about.in_maintenance) {
        return None;
    }
    match covers.of_host(incident) {
        Some(true) => return None,
        Some(false) => return Some((NoticeScope::Host { host }, true)),
        None => {}
    }
    let Some((container, about)) = incident.container.clone().zip(about) else {
        return Some(match (incident.kind, &incident.network) {
            (IncidentKind::Network, Some(network)) => {
                (NoticeScope::Network { host, network: network.clone() }, false)
            }
            _ => (NoticeScope::Host { host }, false),
        });
    };
    let failing = about.networks.iter().filter(|_| one.lossy).find_map(|network| {
        let told = covers.networks.get(&(&incident.host, network.as_str()))?;
        Some((network, *told))
    });
    match (failing, about.project) {
        (Some((_, true)), _) => None,
        (Some((network, false)), _) => Some((NoticeScope::Network { host, network: network.clone() }, true)),
        (None, Some(project)) => Some((NoticeScope::Project { host, project }, false)),
        (None, None) => Some((NoticeScope::Container { host, container }, false)),
    }
}

/// What is told of `groups`, of which those of `ripe` have collected long enough.
fn merged<'a>(groups: BTreeMap<NoticeScope, Group<'a>>, ripe: &BTreeSet<NoticeScope>) -> Vec<Planned<'a>> {
    let mut by_host: BTreeMap<HostName, Vec<(NoticeScope, Group<'a>)>> = BTreeMap::new();
    for (scope, group) in groups {
        let host = scope.host().expect("only merging makes a group of the fleet").clone();
        by_host.entry(host).or_default().push((scope, group));
    }
    let is_ripe = |scope: &NoticeScope| ripe.contains(scope);
    let members = |group: Group<'a>| group.due.into_iter().chain(group.along);
    let all_hosts = by_host.len() >= MANY;
    if all_hosts && by_host.values().flatten().any(|(scope, _)| is_ripe(scope)) {
        let members = by_host.into_values().flatten().flat_map(|(_, group)| members(group)).collect();
        return vec![Planned::Problem { scope: NoticeScope::Fleet, members }];
    }
    let mut told = Vec::new();
    for (host, groups) in by_host {
        if groups.len() >= MANY && groups.iter().any(|(scope, _)| is_ripe(scope)) {
            let members = groups.into_iter().flat_map(|(_, group)| members(group)).collect();
            told.push(Planned::Problem { scope: NoticeScope::Host { host }, members });
            continue;
        }
        for (scope, group) in groups.into_iter().filter(|(scope, _)| is_ripe(scope)) {
            told.push(Planned::Problem { scope, members: members(group).collect() });
        }
    }
    told
}

/// The ends to be told: of all that was told together, or of the cause of the rest before that.
type Ends<'a> = (Vec<&'a TrackedIncident>, Vec<&'a TrackedIncident>);

fn recoveries(tracked: &[TrackedIncident]) -> BTreeMap<NoticeId, Ends<'_>> {
    let mut told: BTreeMap<NoticeId, Ends<'_>> = BTreeMap::new();
    for one in tracked {
        if let Some(notice) = one.incident.notification {
            let (over, open) = told.entry(notice).or_default();
            if one.is_open() { open.push(one) } else { over.push(one) }
        }
    }
    let is_cause = |one: &&TrackedIncident| one.incident.kind != IncidentKind::Container;
    told.retain(|_, (over, open)| !over.is_empty() && (open.is_empty() || over.iter().any(is_cause)));
    told
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
