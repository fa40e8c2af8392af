//! What is known of the fleet, as a pure function of what was heard and when.
//!
//! ```text
//!            first word                    silent for 15 s
//!   unknown ────────────► live ──────────────────────────────► silent
//!                          ▲                                      │
//!                          └───────────── any word ───────────────┘
//! ```

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::identity::{Conflict, Speakers};
use super::skew::Skew;
use crate::bus::HostReport;
use crate::model::{Actor, EngineId, EventDraft, EventKind, HostName, Mono, Now, Timestamp};

/// How long after its last word a host is live.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(15);

/// The most hosts that are kept; reports of further ones are refused and counted.
pub(crate) const MAX_HOSTS: usize = 4096;

/// Whether a host is heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It spoke within the last 15 s.
    Live,
    /// It did not.
    Silent,
}

/// One host as views read it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HostSnapshot {
    pub(crate) name: HostName,
    pub(crate) presence: Presence,
    pub(crate) first_seen: Timestamp,
    pub(crate) last_seen: Timestamp,
    /// Who else claims its name or engine, in one plain sentence.
    pub(crate) conflict: Option<String>,
    /// How far its clock is ahead of ours, milliseconds; `None` before it spoke to this process.
    pub(crate) clock_offset_ms: Option<i64>,
    /// Whether that is too far.
    pub(crate) clock_skewed: bool,
    /// Its newest report, perhaps from before this controller process began.
    pub(crate) report: Option<Arc<HostReport>>,
}

impl HostSnapshot {
    pub(crate) fn is_live(&self) -> bool {
        self.presence == Presence::Live
    }
}

/// Every host that is known, as views read it.
pub(crate) type FleetView = BTreeMap<HostName, Arc<HostSnapshot>>;

/// A host from before this controller process began.
#[derive(Debug, Clone)]
pub(crate) struct KnownHost {
    pub(crate) name: HostName,
    pub(crate) first_seen: Timestamp,
    pub(crate) last_seen: Timestamp,
    /// Whether its silence was told already; otherwise it has 15 s to speak.
    pub(crate) presence: Presence,
    /// Whether it was told that its clock is off.
    pub(crate) clock_skewed: bool,
    /// Its last report, for `?stale=true`.
    pub(crate) report: Option<Arc<HostReport>>,
}

/// An event the fleet's state gives rise to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FleetEvent {
    pub(crate) host: HostName,
    pub(crate) draft: EventDraft,
}

/// A report that cannot be taken: there are [`MAX_HOSTS`] already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FleetFull;

#[derive(Debug)]
struct Host {
    seen: Arc<HostSnapshot>,
    heard: Mono,
    speakers: Speakers,
    clock: Skew,
}

impl Host {
    fn new(seen: HostSnapshot, now: Now, clock: Skew) -> Self {
        Self { seen: Arc::new(seen), heard: now.mono, speakers: Speakers::default(), clock }
    }

    /// Notes what time it is there.
    fn note_clock(&mut self, report: &HostReport, now: Now) -> Option<FleetEvent> {
        let told = self.clock.hear(&report.host, report.time, now.wall);
        let seen = Arc::make_mut(&mut self.seen);
        (seen.clock_offset_ms, seen.clock_skewed) = (self.clock.offset_ms(), self.clock.is_skewed());
        told.map(|draft| FleetEvent { host: report.host.clone(), draft })
    }

    /// Whether `report` is older than what is shown: lists and pushes of one process may overtake each other.
    fn is_outdated(&self, report: &HostReport) -> bool {
        self.seen.report.as_ref().is_some_and(|shown| shown.nonce == report.nonce && shown.seq > report.seq)
    }
}

/// Everything known of the fleet.
#[derive(Debug, Default)]
pub(crate) struct FleetState {
    hosts: BTreeMap<HostName, Host>,
    /// Since when the bus cannot be heard; nobody is called silent then.
    deaf: bool,
    /// When the bus was last heard again: everyone has 15 s from then.
    heard_again: Option<Mono>,
}

impl FleetState {
    /// Takes up what an earlier controller process knew.
    pub(crate) fn restore(&mut self, known: impl IntoIterator<Item = KnownHost>, now: Now) {
        for host in known.into_iter().take(MAX_HOSTS) {
            let KnownHost { name, first_seen, last_seen, presence, clock_skewed, report } = host;
            let seen = HostSnapshot {
                name: name.clone(),
                presence,
                first_seen,
                last_seen,
                conflict: None,
                clock_offset_ms: None,
                clock_skewed,
                report,
            };
            self.hosts.insert(name, Host::new(seen, now, Skew::known(clock_skewed)));
        }
    }

    /// Takes in what a host said.
    pub(crate) fn feed(&mut self, report: Arc<HostReport>, now: Now) -> Result<Vec<FleetEvent>, FleetFull> {
        let name = report.host.clone();
        let mut events = Vec::new();
        if !self.hosts.contains_key(&name) {
            if self.hosts.len() >= MAX_HOSTS {
                return Err(FleetFull);
            }
            events.push(live(&name, format!("host {name} spoke for the first time"), &report));
            let seen = HostSnapshot {
                name: name.clone(),
                presence: Presence::Live,
                first_seen: now.wall,
                last_seen: now.wall,
                conflict: None,
                clock_offset_ms: None,
                clock_skewed: false,
                report: None,
            };
            self.hosts.insert(name.clone(), Host::new(seen, now, Skew::default()));
        }
        let host = self.hosts.get_mut(&name).expect("present or just inserted");
        if host.seen.presence == Presence::Silent {
            let silence =
                crate::model::format_span(Duration::from_secs(now.wall.since(host.seen.last_seen).as_secs()));
            events.push(live(&name, format!("host {name} speaks again after {silence}"), &report));
            Arc::make_mut(&mut host.seen).presence = Presence::Live;
        }
        host.heard = now.mono;
        Arc::make_mut(&mut host.seen).last_seen = now.wall;
        host.speakers.note(&report, now);
        events.extend(host.note_clock(&report, now));
        let engine = report.engine.id.clone();
        if !host.is_outdated(&report) {
            Arc::make_mut(&mut host.seen).report = Some(report);
        }
        let mut touched = self.on_engine(engine.as_ref());
        touched.insert(name);
        events.extend(self.judge(touched, now));
        Ok(events)
    }

    /// Whether `report` is of an agent process that its host is known to have. Its nonce is a secret of the two: it
    /// was pushed where none but that host may, by this or an earlier controller process's hearing.
    pub(crate) fn knows(&self, report: &HostReport) -> bool {
        self.hosts.get(&report.host).is_some_and(|host| {
            let shown = host.seen.report.as_ref().map(|shown| shown.nonce);
            shown == Some(report.nonce) || host.speakers.knows(report.nonce)
        })
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<FleetEvent> {
        if self.deaf {
            return Vec::new();
        }
        let mut events = Vec::new();
        for (name, host) in &mut self.hosts {
            let since = self.heard_again.map_or(host.heard, |again| again.max(host.heard));
            if host.seen.presence == Presence::Live && now.mono - since >= SILENT_AFTER {
                Arc::make_mut(&mut host.seen).presence = Presence::Silent;
                let reason = format!(
                    "host {name} was last heard at {}: its agent, the machine or the network between is down",
                    host.seen.last_seen
                );
                let draft = EventDraft::new(EventKind::HostSilent, Actor::Controller, reason);
                events.push(FleetEvent { host: name.clone(), draft });
            }
            host.speakers.forget_silent(now);
        }
        let in_conflict = self.hosts.values().filter(|h| h.seen.conflict.is_some());
        let in_conflict: BTreeSet<_> = in_conflict.map(|h| h.seen.name.clone()).collect();
        events.extend(self.judge(in_conflict, now));
        events
    }

    /// Notes whether the bus can be heard: while it cannot, silence says nothing of hosts.
    pub(crate) fn hearing(&mut self, hears: bool, now: Now) {
        if hears && self.deaf {
            self.heard_again = Some(now.mono);
        }
        self.deaf = !hears;
    }

    /// Forgets a host; true when it was known.
    pub(crate) fn forget(&mut self, name: &HostName) -> bool {
        self.hosts.remove(name).is_some()
    }

    /// The live hosts: those a list waits for.
    pub(crate) fn live(&self) -> BTreeSet<HostName> {
        self.hosts.values().filter(|h| h.seen.is_live()).map(|h| h.seen.name.clone()).collect()
    }

    /// One host as views read it.
    pub(crate) fn host(&self, name: &HostName) -> Option<&Arc<HostSnapshot>> {
        self.hosts.get(name).map(|h| &h.seen)
    }

    /// Every host as views read it.
    pub(crate) fn view(&self) -> FleetView {
        self.hosts.iter().map(|(name, host)| (name.clone(), host.seen.clone())).collect()
    }

    fn on_engine(&self, engine: Option<&EngineId>) -> BTreeSet<HostName> {
        let Some(engine) = engine else { return BTreeSet::new() };
        self.hosts.values().filter(|h| h.speakers.speak_for(engine)).map(|h| h.seen.name.clone()).collect()
    }

    /// Judges the identity of `names` anew.
    fn judge(&mut self, names: BTreeSet<HostName>, now: Now) -> Vec<FleetEvent> {
        let mut events = Vec::new();
        for name in names {
            let found = self.conflict_of(&name, now);
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            let draft = match (&host.seen.conflict, &found) {
                (None, Some(Conflict { reason, data })) => {
                    EventDraft::new(EventKind::IdentityConflict, Actor::Controller, reason.clone())
                        .with(data.clone())
                }
                (Some(_), None) => EventDraft::new(
                    EventKind::IdentityResolved,
                    Actor::Controller,
                    format!("one agent alone speaks for host {name} again"),
                ),
                _ => {
                    Arc::make_mut(&mut host.seen).conflict = found.map(|conflict| conflict.reason);
                    continue;
                }
            };
            Arc::make_mut(&mut host.seen).conflict = found.map(|conflict| conflict.reason);
            events.push(FleetEvent { host: name, draft });
        }
        events
    }

    fn conflict_of(&self, name: &HostName, now: Now) -> Option<Conflict> {
        let host = self.hosts.get(name)?;
        let others = self.hosts.iter().filter(|(other, _)| *other != name);
        host.speakers.conflict(name, &others.map(|(other, host)| (other, &host.speakers)), now)
    }
}

fn live(name: &HostName, reason: String, report: &HostReport) -> FleetEvent {
    let data = json!({"agent_version": report.agent_version, "instance": report.instance});
    let draft = EventDraft::new(EventKind::HostLive, Actor::Controller, reason).with(data);
    FleetEvent { host: name.clone(), draft }
}
