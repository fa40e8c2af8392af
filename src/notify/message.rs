//! A notification in dockhealth's own words, of which the templates make what each service understands.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::plan::{NoticeScope, Planned};
use crate::model::{
    ContainerName, EventKind, HostName, Incident, IncidentId, IncidentKind, NoticeId, NoticeKind, PoolName,
    Timestamp, TrackedIncident, clean, format_span,
};

/// The version of the JSON: it grows with what old readers would misread.
const VERSION: u32 = 1;

/// Incidents that are listed one by one; of the rest only how many they are.
const LISTED: usize = 50;

/// Those that stand in the text for people.
const LINES: usize = 20;

/// The longest reason that is passed on, characters.
const LONGEST_REASON: usize = 300;

/// Hosts that a title names.
const NAMED: usize = 3;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A host, engine or network is away, or a container was given up.
    Critical,
    /// Something else is wrong.
    Warning,
    /// Nothing is.
    Info,
}

/// An incident as it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NoticeIncident {
    /// Its id, as in `GET /api/v1/incidents`.
    #[schema(value_type = String, format = Uuid)]
    pub id: IncidentId,
    /// What it is about.
    pub kind: IncidentKind,
    /// The host.
    #[schema(value_type = String)]
    pub host: HostName,
    /// The container, where it is about one.
    #[schema(value_type = Option<String>)]
    pub container: Option<ContainerName>,
    /// The network, where it is about one.
    pub network: Option<String>,
    /// The pool, where it is about one.
    #[schema(value_type = Option<String>)]
    pub pool: Option<PoolName>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    /// When it ended; null while open.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_at: Option<Timestamp>,
    /// How long it took, seconds; null while open.
    pub lasted_seconds: Option<u64>,
    /// Whether its container is left alone because restarts did not help.
    pub quarantined: bool,
    /// What was done about it last, e.g. `container_restarted`; null when nothing was.
    pub healed_by: Option<EventKind>,
    /// What ended it, e.g. `container_recovered`; null while open.
    pub ended_by: Option<EventKind>,
    /// The newest event's reason.
    pub reason: String,
}

/// A notification: what the template `json` sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Notice {
    /// The version of this JSON: 1.
    pub v: u32,
    /// Names this notification. It stays the same when it is sent again, also as the header `Idempotency-Key`.
    #[schema(value_type = String, format = Uuid)]
    pub id: NoticeId,
    /// What it tells.
    pub kind: NoticeKind,
    /// How bad it is.
    pub severity: Severity,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// One line for people.
    pub title: String,
    /// More lines for people.
    pub text: String,
    /// What it is about.
    pub scope: NoticeScope,
    /// The notification of the problem that is over; null unless this is a recovery.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub answers: Option<NoticeId>,
    /// Of a recovery: how many incidents told with it are not over.
    pub still_open: u64,
    /// Of a problem of hosts or engines: how many containers are monitored there; null where unknown or something else.
    pub monitored: Option<u64>,
    /// What it tells of, at most 50.
    pub incidents: Vec<NoticeIncident>,
    /// How many more there are.
    pub left_out: u64,
    /// Where more is to be seen: `--public-url`.
    pub url: Option<String>,
}

/// What a notification is made with, beside what it tells.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// Its id.
    pub id: NoticeId,
    /// When it is made.
    pub time: Timestamp,
    /// Where more is to be seen.
    pub url: Option<&'a str>,
}

impl Stamp<'_> {
    fn notice(self, kind: NoticeKind, scope: NoticeScope) -> Notice {
        Notice {
            v: VERSION,
            id: self.id,
            kind,
            severity: Severity::Info,
            time: self.time,
            title: String::new(),
            text: String::new(),
            scope,
            answers: None,
            still_open: 0,
            monitored: None,
            incidents: Vec::new(),
            left_out: 0,
            url: self.url.map(str::to_owned),
        }
    }
}

impl Notice {
    /// A notification that only tries whether it arrives.
    pub fn test(stamp: Stamp<'_>, host: &HostName) -> Self {
        let mut notice = stamp.notice(NoticeKind::Test, NoticeScope::Host { host: host.clone() });
        notice.title = format!("dockhealth on {host}: this is a test");
        notice.text = "Nothing is wrong. Incidents will be told of here.".into();
        notice
    }

    /// What `planned` tells. `problem` is the notification that a recovery answers, where it is still kept.
    pub fn of(planned: &Planned<'_>, problem: Option<&Self>, stamp: Stamp<'_>) -> Self {
        match planned {
            Planned::Problem { scope, members } => {
                let mut notice = stamp.notice(NoticeKind::Problem, scope.clone());
                notice.title = problem_title(scope, members);
                notice.severity = if members.iter().any(|one| is_critical(one)) {
                    Severity::Critical
                } else {
                    Severity::Warning
                };
                notice.list(members, began);
                notice
            }
            Planned::Recovery { of, over, still_open } => {
                let scope = problem.map_or_else(|| common_scope(over), |problem| problem.scope.clone());
                let mut notice = stamp.notice(NoticeKind::Recovery, scope);
                notice.answers = Some(*of);
                notice.still_open = still_open.len() as u64;
                notice.title = recovery_title(&notice.scope, over, still_open.len());
                notice.list(over, ended);
                notice
            }
        }
    }

    /// The same, where hosts or engines are away that have so many monitored containers.
    #[must_use]
    pub fn with_monitored(mut self, containers: u64) -> Self {
        self.monitored = Some(containers);
        let line = match containers {
            1 => "1 container is monitored there".into(),
            many => format!("{many} containers are monitored there"),
        };
        self.text = format!("{line}\n{}", self.text);
        self
    }

    /// Lists incidents, and in the text by `line` each; those that cause the others come first.
    fn list(&mut self, members: &[&TrackedIncident], line: fn(&TrackedIncident) -> String) {
        let mut members = members.to_vec();
        members.sort_by_key(|one| {
            let incident = &one.incident;
            (incident.kind == IncidentKind::Container, incident.host.clone(), incident.container.clone())
        });
        let mut lines: Vec<String> = members.iter().take(LINES).map(|one| line(one)).collect();
        if members.len() > LINES {
            lines.push(format!("and {} more", members.len() - LINES));
        }
        self.text = lines.join("\n");
        self.incidents = members.iter().take(LISTED).map(|one| told(one)).collect();
        self.left_out = members.len().saturating_sub(LISTED) as u64;
    }
}

fn told(one: &TrackedIncident) -> NoticeIncident {
    let incident = &one.incident;
    NoticeIncident {
        id: incident.id,
        kind: incident.kind,
        host: incident.host.clone(),
        container: incident.container.clone(),
        network: incident.network.as_deref().map(|network| clean(network, LONGEST_REASON)),
        pool: incident.pool.clone(),
        opened_at: incident.opened_at,
        closed_at: incident.closed_at,
        lasted_seconds: incident.closed_at.map(|closed| closed.since(incident.opened_at).as_secs()),
        quarantined: one.quarantined,
        healed_by: incident.healed_by,
        ended_by: incident.ended_by,
        reason: clean(&incident.reason, LONGEST_REASON),
    }
}

fn is_critical(one: &TrackedIncident) -> bool {
    use IncidentKind as K;
    one.quarantined || matches!(one.incident.kind, K::Host | K::Engine | K::Network | K::Shared)
}

/// `HOST/CONTAINER`, or what else it is about.
fn subject(incident: &Incident) -> String {
    let host = &incident.host;
    if let Some(pool) = &incident.pool {
        return format!("pool {host}/{pool}");
    }
    match (&incident.container, &incident.network, incident.kind) {
        (Some(container), _, _) => format!("{host}/{container}"),
        (None, Some(network), _) => format!("network {} on {host}", clean(network, 100)),
        (None, None, IncidentKind::Engine) => format!("the Docker engine of {host}"),
        (None, None, IncidentKind::Shared) => format!("what containers of {host} share"),
        (None, None, IncidentKind::Clock) => format!("the clock of {host}"),
        (None, None, _) => format!("host {host}"),
    }
}

fn began(one: &TrackedIncident) -> String {
    let incident = &one.incident;
    let reason = clean(&incident.reason, LONGEST_REASON);
    format!("{}: {} (since {})", subject(incident), reason.trim_end_matches('.'), incident.opened_at)
}

fn ended(one: &TrackedIncident) -> String {
    let incident = &one.incident;
    let lasted = incident.closed_at.map(|closed| closed.since(incident.opened_at)).unwrap_or_default();
    let how = match (incident.kind, incident.ended_by, incident.healed_by) {
        (_, Some(EventKind::HostForgotten), _) => "the host was forgotten",
        (IncidentKind::Container, Some(EventKind::Unmonitored), _) => "taken off the list",
        (IncidentKind::Container, Some(EventKind::ContainerLeft), _) => "left down, as it was told to stop",
        (IncidentKind::Container, Some(EventKind::ContainerRemoved), _) => "its container was removed",
        (IncidentKind::Container, _, Some(EventKind::ContainerStarted)) => "healed: dockhealth started it",
        (IncidentKind::Container, _, Some(EventKind::ContainerRestarted)) => {
            "healed: dockhealth restarted it"
        }
        (IncidentKind::Container, _, Some(EventKind::ContainerRecreated)) => {
            "healed: dockhealth recreated it"
        }
        (IncidentKind::Container, _, _) => "well again without our doing",
        _ => "well again",
    };
    format!("{}: {how}, after {}", subject(incident), rounded(lasted))
}

/// A span as people say it, without milliseconds.
fn rounded(span: std::time::Duration) -> String {
    let seconds = span.as_secs();
    if seconds >= 120 {
        return format!("{} min {} s", seconds / 60, seconds % 60);
    }
    format_span(std::time::Duration::from_secs(seconds.max(1)))
}

fn problem_title(scope: &NoticeScope, members: &[&TrackedIncident]) -> String {
    let has = |kind| members.iter().any(|one| one.incident.kind == kind);
    let containers = members.iter().filter(|one| one.incident.container.is_some()).count();
    match scope {
        NoticeScope::Fleet => {
            let silent = hosts(members.iter().filter(|one| one.incident.kind == IncidentKind::Host));
            if silent.len() > 1 {
                return format!("{} hosts are silent: {}", silent.len(), names(&silent));
            }
            let hosts = hosts(members.iter());
            format!("{} incidents on {} hosts: {}", members.len(), hosts.len(), names(&hosts))
        }
        NoticeScope::Host { host } if has(IncidentKind::Host) => format!("Host {host} is silent"),
        NoticeScope::Host { host } if has(IncidentKind::Engine) => {
            format!("The Docker engine of host {host} does not answer")
        }
        NoticeScope::Host { host } if has(IncidentKind::Shared) => {
            format!("Much on host {host} fails at once")
        }
        NoticeScope::Host { host } if containers > 0 => format!("{containers} containers on {host} fail"),
        NoticeScope::Host { host } if has(IncidentKind::Identity) => {
            format!("More than one agent claims the identity of host {host}")
        }
        NoticeScope::Host { host } if has(IncidentKind::Clock) => format!("The clock of host {host} is off"),
        NoticeScope::Host { host } if has(IncidentKind::Pool) => format!("A pool of host {host} fails"),
        NoticeScope::Host { host } => format!("{} incidents on host {host}", members.len()),
        NoticeScope::Network { host, network } => format!("Network {} on {host} fails", clean(network, 100)),
        NoticeScope::Project { host, project } if containers > 1 => {
            format!("{containers} containers of {} on {host} fail", clean(project, 100))
        }
        NoticeScope::Project { host, .. } | NoticeScope::Container { host, .. } => {
            let one = members.first();
            let name = one.and_then(|one| one.incident.container.as_ref());
            let how = match one {
                Some(one) if one.quarantined => "is quarantined",
                Some(one) if one.action_failed => "could not be healed",
                _ => "fails",
            };
            format!("Container {host}/{} {how}", name.map_or("", ContainerName::as_str))
        }
    }
}

fn recovery_title(scope: &NoticeScope, over: &[&TrackedIncident], still_open: usize) -> String {
    let what = match scope {
        NoticeScope::Fleet => format!("Over: {} incidents on {}", over.len(), names(&hosts(over.iter()))),
        NoticeScope::Host { host } => format!("Host {host} is well again"),
        NoticeScope::Network { host, network } => {
            format!("Network {} on {host} is well again", clean(network, 100))
        }
        NoticeScope::Project { host, project } if over.len() > 1 => {
            format!("{} containers of {} on {host} are well again", over.len(), clean(project, 100))
        }
        NoticeScope::Project { host, .. } | NoticeScope::Container { host, .. } => {
            let name = over.first().and_then(|one| one.incident.container.as_ref());
            let given_up = over.iter().all(|one| {
                matches!(
                    one.incident.ended_by,
                    Some(EventKind::Unmonitored | EventKind::ContainerLeft | EventKind::ContainerRemoved)
                )
            });
            let how = if given_up { "is no longer watched for" } else { "is well again" };
            format!("Container {host}/{} {how}", name.map_or("", ContainerName::as_str))
        }
    };
    if still_open == 0 { what } else { format!("{what}, but {still_open} told with it still fail") }
}

fn hosts<'a>(members: impl Iterator<Item = &'a &'a TrackedIncident>) -> BTreeSet<&'a str> {
    members.map(|one| one.incident.host.as_str()).collect()
}

fn names(hosts: &BTreeSet<&str>) -> String {
    let named: Vec<&str> = hosts.iter().take(NAMED).copied().collect();
    match hosts.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// What incidents told together are about, where nobody remembers.
fn common_scope(members: &[&TrackedIncident]) -> NoticeScope {
    let hosts = hosts(members.iter());
    match (members, hosts.len()) {
        ([one], _) => match one.incident.container.clone() {
            Some(container) => NoticeScope::Container { host: one.incident.host.clone(), container },
            None => NoticeScope::Host { host: one.incident.host.clone() },
        },
        ([one, ..], 1) => NoticeScope::Host { host: one.incident.host.clone() },
        _ => NoticeScope::Fleet,
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
