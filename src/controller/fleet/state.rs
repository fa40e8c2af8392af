//! What is known of the fleet, as a pure function of what was heard and when.
//!
//! ```text
//!            first word                    silent for 15 s
//!   unknown ────────────► live ──────────────────────────────► silent
//!                          ▲                                      │
//!                          └───────────── any word ───────────────┘
//! ```
//!
//! A *speaker* is one agent process, told apart by its nonce. Two speakers of one host are a conflict only when
//! each was heard after the other had begun: an agent that restarts has a new nonce too, but its old one never
//! speaks again. One engine under two host names is judged the same way, so renaming a host is no conflict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::skew::Skew;
use crate::bus::HostReport;
use crate::model::{Actor, EngineId, EventDraft, EventKind, HostName, InstanceId, Mono, Now, Timestamp};

/// How long after its last word a host is live.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(15);

/// The most hosts that are kept; reports of further ones are refused and counted.
pub(crate) const MAX_HOSTS: usize = 4096;

/// The most agent processes kept for one host: two make a conflict, the rest are spares for quick restarts.
const MAX_SPEAKERS: usize = 4;

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

#[derive(Debug, Clone)]
struct Speaker {
    nonce: Uuid,
    instance: InstanceId,
    engine: Option<EngineId>,
    first: Mono,
    last: Mono,
}

impl Speaker {
    /// Whether both spoke in turns: each was heard after the other's first word.
    fn overlaps(&self, other: &Self) -> bool {
        self.last > other.first && other.last > self.first
    }

    fn is_live(&self, now: Now) -> bool {
        now.mono - self.last < SILENT_AFTER
    }
}

#[derive(Debug)]
struct Host {
    seen: Arc<HostSnapshot>,
    heard: Mono,
    speakers: Vec<Speaker>,
    clock: Skew,
}

impl Host {
    fn new(seen: HostSnapshot, now: Now, clock: Skew) -> Self {
        Self { seen: Arc::new(seen), heard: now.mono, speakers: Vec::new(), clock }
    }

    /// Notes what time it is there.
    fn note_clock(&mut self, report: &HostReport, now: Now) -> Option<FleetEvent> {
        let told = self.clock.hear(&report.host, report.time, now.wall);
        let seen = Arc::make_mut(&mut self.seen);
        (seen.clock_offset_ms, seen.clock_skewed) = (self.clock.offset_ms(), self.clock.is_skewed());
        told.map(|draft| FleetEvent { host: report.host.clone(), draft })
    }

    fn note_speaker(&mut self, report: &HostReport, now: Now) {
        let engine = report.engine.id.clone();
        if let Some(known) = self.speakers.iter_mut().find(|s| s.nonce == report.nonce) {
            known.last = now.mono;
            known.engine = engine.or(known.engine.take());
            return;
        }
        if self.speakers.len() == MAX_SPEAKERS {
            let oldest = (0..MAX_SPEAKERS).min_by_key(|i| self.speakers[*i].last).unwrap_or(0);
            self.speakers.remove(oldest);
        }
        self.speakers.push(Speaker {
            nonce: report.nonce,
            instance: report.instance.clone(),
            engine,
            first: now.mono,
            last: now.mono,
        });
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
        host.note_speaker(&report, now);
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
            shown == Some(report.nonce) || host.speakers.iter().any(|s| s.nonce == report.nonce)
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
            host.speakers.retain(|s| s.is_live(now));
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
        let speaks_for = |h: &&Host| h.speakers.iter().any(|s| s.engine.as_ref() == Some(engine));
        self.hosts.values().filter(speaks_for).map(|h| h.seen.name.clone()).collect()
    }

    /// Judges the identity of `names` anew.
    fn judge(&mut self, names: BTreeSet<HostName>, now: Now) -> Vec<FleetEvent> {
        let mut events = Vec::new();
        for name in names {
            let found = self.conflict_of(&name, now);
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            let draft = match (&host.seen.conflict, &found) {
                (None, Some((reason, data))) => {
                    EventDraft::new(EventKind::IdentityConflict, Actor::Controller, reason.clone())
                        .with(data.clone())
                }
                (Some(_), None) => EventDraft::new(
                    EventKind::IdentityResolved,
                    Actor::Controller,
                    format!("one agent alone speaks for host {name} again"),
                ),
                _ => {
                    Arc::make_mut(&mut host.seen).conflict = found.map(|(reason, _)| reason);
                    continue;
                }
            };
            Arc::make_mut(&mut host.seen).conflict = found.map(|(reason, _)| reason);
            events.push(FleetEvent { host: name, draft });
        }
        events
    }

    fn conflict_of(&self, name: &HostName, now: Now) -> Option<(String, serde_json::Value)> {
        let host = self.hosts.get(name)?;
        let live = || host.speakers.iter().filter(|s| s.is_live(now));
        for (index, one) in live().enumerate() {
            if let Some(other) = live().skip(index + 1).find(|other| one.overlaps(other)) {
                let reason = format!(
                    "two agents speak as host {name}: stop one, or give it another name with --hostname"
                );
                let data =
                    json!({"nonces": [one.nonce, other.nonce], "instances": [one.instance, other.instance]});
                return Some((reason, data));
            }
            let elsewhere = self.hosts.values().filter(|h| h.seen.name != *name).find(|h| {
                let same = |s: &&Speaker| s.engine.is_some() && s.engine == one.engine && s.is_live(now);
                h.speakers.iter().filter(same).any(|s| s.overlaps(one))
            });
            if let Some(elsewhere) = elsewhere {
                let other = &elsewhere.seen.name;
                let reason = format!(
                    "hosts {name} and {other} report the same Docker engine: stop one agent, or give a cloned machine's \
                     engine its own id (remove /etc/docker/key.json or engine-id, restart Docker)"
                );
                let data = json!({"engine": one.engine, "hosts": [name, other]});
                return Some((reason, data));
            }
        }
        None
    }
}

fn live(name: &HostName, reason: String, report: &HostReport) -> FleetEvent {
    let data = json!({"agent_version": report.agent_version, "instance": report.instance});
    let draft = EventDraft::new(EventKind::HostLive, Actor::Controller, reason).with(data);
    FleetEvent { host: name.clone(), draft }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{EngineReport, EngineStatus, PROTOCOL_VERSION};
    use crate::model::Threshold;

    fn at(seconds: i64) -> Now {
        Now { mono: Mono(seconds * 1000), wall: Timestamp::from_millis(1_000_000 + seconds * 1000) }
    }

    fn report(host: &str, nonce: u128, engine: &str) -> Arc<HostReport> {
        Arc::new(HostReport {
            v: PROTOCOL_VERSION,
            host: host.parse().unwrap(),
            instance: format!("instance-{nonce}").parse().unwrap(),
            nonce: Uuid::from_u128(nonce),
            seq: 1,
            time: Timestamp::from_millis(1_000_000),
            agent_version: "0.1.0".into(),
            addresses: Vec::new(),
            engine: EngineReport {
                status: EngineStatus::Reachable,
                id: Some(engine.parse().unwrap()),
                version: None,
                error: None,
            },
            capabilities: Vec::new(),
            freeze: None,
            dry_run: false,
            threshold: Threshold::default(),
            desired_synced: true,
            outbox: None,
            identity: None,
            containers: Vec::new(),
        })
    }

    enum Step {
        /// At a second: host, nonce, engine.
        Says(i64, &'static str, u128, &'static str),
        Tick(i64),
        Deaf(i64),
        Hears(i64),
    }
    use Step::{Deaf, Hears, Says, Tick};

    /// Runs the steps; gives "second kind host" for each event.
    fn run(steps: &[Step]) -> Vec<String> {
        let mut fleet = FleetState::default();
        let mut told = Vec::new();
        for step in steps {
            let (second, events) = match *step {
                Says(t, host, nonce, engine) => {
                    let mut said = report(host, nonce, engine);
                    Arc::make_mut(&mut said).time = at(t).wall;
                    (t, fleet.feed(said, at(t)).unwrap())
                }
                Tick(t) => (t, fleet.tick(at(t))),
                Deaf(t) => {
                    fleet.hearing(false, at(t));
                    (t, Vec::new())
                }
                Hears(t) => {
                    fleet.hearing(true, at(t));
                    (t, Vec::new())
                }
            };
            told.extend(events.iter().map(|e| format!("{second} {} {}", e.draft.kind, e.host)));
        }
        told
    }

    #[test]
    fn a_host_is_silent_15_s_after_its_last_word_and_says_so_once() {
        let told = run(&[
            Says(0, "a", 1, "E"),
            Says(5, "a", 1, "E"),
            Tick(19),
            Tick(20),
            Tick(60),
            Says(61, "a", 1, "E"),
        ]);
        assert_eq!(told, ["0 host_live a", "20 host_silent a", "61 host_live a"]);
    }

    #[test]
    fn while_the_bus_is_down_nobody_is_silent_and_then_all_have_15_s() {
        let told = run(&[Says(0, "a", 1, "E"), Deaf(3), Tick(100), Hears(110), Tick(124), Tick(125)]);
        assert_eq!(told, ["0 host_live a", "125 host_silent a"]);
    }

    #[test]
    fn two_processes_speaking_in_turns_are_a_conflict_until_one_is_silent() {
        let told = run(&[
            Says(0, "a", 1, "E"),
            Says(2, "a", 2, "E"),
            Says(5, "a", 1, "E"),
            Says(7, "a", 2, "E"),
            Tick(19),
            Says(19, "a", 2, "E"),
            Tick(20),
        ]);
        assert_eq!(told, ["0 host_live a", "5 identity_conflict a", "20 identity_resolved a"]);
    }

    #[test]
    fn a_restarted_agent_and_a_renamed_host_are_no_conflict() {
        let told = run(&[
            Says(0, "a", 1, "E"),
            Says(1, "a", 2, "E"),
            Says(2, "a", 3, "E"),
            Says(3, "b", 4, "E"),
            Says(8, "b", 4, "E"),
            Tick(9),
        ]);
        assert_eq!(told, ["0 host_live a", "3 host_live b"]);
    }

    #[test]
    fn one_engine_under_two_names_is_a_conflict_of_both() {
        let told = run(&[
            Says(0, "a", 1, "E"),
            Says(0, "c", 3, "F"),
            Says(1, "b", 2, "E"),
            Says(5, "a", 1, "E"),
            Says(10, "a", 1, "E"),
            Says(10, "c", 3, "F"),
            Tick(16),
        ]);
        assert_eq!(
            told,
            [
                "0 host_live a",
                "0 host_live c",
                "1 host_live b",
                "5 identity_conflict a",
                "5 identity_conflict b",
                "16 host_silent b",
                "16 identity_resolved a",
                "16 identity_resolved b",
            ]
        );
    }

    #[test]
    fn restored_hosts_have_15_s_to_speak_and_told_silence_is_not_told_again() {
        let mut fleet = FleetState::default();
        let known = |name: &str, presence| KnownHost {
            name: name.parse().unwrap(),
            first_seen: Timestamp::from_millis(0),
            last_seen: Timestamp::from_millis(0),
            presence,
            clock_skewed: false,
            report: None,
        };
        fleet.restore([known("a", Presence::Live), known("b", Presence::Silent)], at(0));
        assert_eq!(fleet.live().len(), 1);
        assert!(fleet.tick(at(14)).is_empty());
        let events = fleet.tick(at(15));
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].host.as_str(), events[0].draft.kind), ("a", EventKind::HostSilent));
        let events = fleet.feed(report("b", 1, "E"), at(16)).unwrap();
        assert_eq!(events[0].draft.kind, EventKind::HostLive);
    }

    #[test]
    fn an_overtaken_report_counts_as_a_word_but_is_not_shown() {
        let mut fleet = FleetState::default();
        let mut newer = (*report("a", 1, "E")).clone();
        newer.seq = 7;
        fleet.feed(Arc::new(newer), at(0)).unwrap();
        fleet.feed(report("a", 1, "E"), at(10)).unwrap();
        let host = fleet.host(&"a".parse().unwrap()).unwrap();
        assert_eq!(host.report.as_ref().unwrap().seq, 7);
        assert!(fleet.tick(at(24)).is_empty());
    }

    #[test]
    fn the_fleet_is_bounded() {
        let mut fleet = FleetState::default();
        for n in 0..MAX_HOSTS {
            fleet.feed(report(&format!("h{n}"), n as u128, &format!("e{n}")), at(0)).unwrap();
        }
        assert_eq!(fleet.feed(report("one-more", 9, "E"), at(0)), Err(FleetFull));
        assert!(fleet.forget(&"h0".parse().unwrap()));
        assert!(fleet.feed(report("one-more", 9, "E"), at(0)).is_ok());
    }
}
