//! The brakes of the whole fleet, pure: how many restarts all hosts together may do, and whether so many of them fail at
//! once that none of their containers is to blame.
//!
//! **Budget.** Agents ask for leave; each restart that is allowed counts from that moment for the budget's window and
//! [`COUNTED_LONGER`], within which it is done or forfeit. So in no window are more done than the budget has, however
//! messages are lost or late: an agent takes no leave for a question of its own that is older than 10 s.
//!
//! **Several hosts.** Agents believe it for 20 s and are told every 5, so with a silent controller each judges by itself
//! again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::state::{FleetView, HostSnapshot};
use crate::bus::{AgentCommand, FleetReport, HostReport};
use crate::model::{Actor, EventDraft, EventKind, HostName, Mono, Rate};

/// How much longer than its window leave is counted, since it is used that much later at most; and how long a new
/// controller gives none, since an earlier one may have.
pub(crate) const COUNTED_LONGER: Duration = Duration::from_secs(20);

/// How often a host is told the same again.
const AGAIN: Duration = Duration::from_secs(5);

/// A common failure that nothing bears out for so long no longer keeps anyone from being healed.
const GUESS_HOLDS: Duration = Duration::from_mins(10);

/// Hosts that may fail at once for one reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// All of them.
    Fleet,
    /// Those with an address in the same network: a /24, or a /64.
    Segment(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("the fleet"),
            Self::Segment(network) => write!(f, "network {network}"),
        }
    }
}

/// How a scope's hosts are.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    hosts: usize,
    failing: usize,
}

impl Tally {
    fn is_broken(self) -> bool {
        self.failing >= 3 && self.failing * 2 >= self.hosts
    }

    fn is_well(self) -> bool {
        self.failing * 2 < self.hosts || self.failing <= 1
    }
}

#[derive(Debug)]
struct Open {
    since: Mono,
    why: String,
}

/// The last question of a host and what it was answered.
#[derive(Debug)]
struct Answer {
    nonce: Uuid,
    asked: i64,
    restarts: u32,
}

/// What the fleet is held by.
#[derive(Debug)]
pub(crate) struct FleetBrake {
    budget: Option<Rate>,
    begun: Mono,
    /// When each restart was allowed that still counts.
    granted: VecDeque<Mono>,
    answers: BTreeMap<HostName, Answer>,
    open: BTreeMap<Scope, Open>,
    /// Scopes that failed for too long, until they have been well.
    given_up: BTreeSet<Scope>,
    /// When each host was last told something unasked, and what it was told to hold for.
    told: BTreeMap<HostName, (Mono, Option<String>)>,
}

impl FleetBrake {
    /// A brake that knows of restarts done this long before `now`.
    pub(crate) fn new(budget: Option<Rate>, done: impl IntoIterator<Item = Duration>, now: Mono) -> Self {
        let moment = |ago: Duration| Mono(now.0 - i64::try_from(ago.as_millis()).unwrap_or(i64::MAX / 2));
        let mut granted: Vec<Mono> = done.into_iter().map(moment).collect();
        granted.sort_unstable();
        Self {
            budget,
            begun: now,
            granted: granted.into(),
            answers: BTreeMap::new(),
            open: BTreeMap::new(),
            given_up: BTreeSet::new(),
            told: BTreeMap::new(),
        }
    }

    /// Looks at all hosts; returns what the history is to say.
    pub(crate) fn judge(&mut self, view: &FleetView, now: Mono) -> Vec<EventDraft> {
        self.answers.retain(|host, _| view.contains_key(host));
        self.told.retain(|host, _| view.contains_key(host));
        let mut tallies = BTreeMap::<Scope, Tally>::new();
        for seen in view.values().filter(|seen| seen.is_live()) {
            let Some(report) = &seen.report else { continue };
            let Some(failing) = is_failing(report) else { continue };
            for scope in scopes(report) {
                let tally = tallies.entry(scope).or_default();
                tally.hosts += 1;
                tally.failing += usize::from(failing);
            }
        }
        let is_well = |scope: &Scope| tallies.get(scope).is_none_or(|tally| tally.is_well());
        self.given_up.retain(|scope| !is_well(scope));
        let mut events = Vec::new();
        let (open, given_up) = (&mut self.open, &mut self.given_up);
        open.retain(|scope, opened| {
            let over = if is_well(scope) {
                "Not many hosts of SCOPE fail any more; each heals its loss as before."
            } else if now - opened.since >= GUESS_HOLDS {
                given_up.insert(scope.clone());
                "Many hosts of SCOPE still fail, and nothing bore out a common cause; each heals its loss as before."
            } else {
                return true;
            };
            let text = over.replace("SCOPE", &scope.to_string());
            events.push(EventDraft::new(EventKind::BreakerClosed, Actor::Controller, text).with(data(scope)));
            false
        });
        for (scope, tally) in tallies.iter().filter(|(_, tally)| tally.is_broken()) {
            // What all of them share is named, not each part of it as well.
            let known = self.open.contains_key(scope)
                || self.open.contains_key(&Scope::Fleet)
                || self.given_up.contains(scope);
            if known {
                continue;
            }
            let why = format!("{} of {} hosts of {scope} lose packets at once", tally.failing, tally.hosts);
            let text = format!("{why}: nothing is restarted for loss there.");
            let mut draft =
                EventDraft::new(EventKind::BreakerOpened, Actor::Controller, text).with(data(scope));
            draft.data["failing"] = json!(tally.failing);
            draft.data["hosts"] = json!(tally.hosts);
            events.push(draft);
            self.open.insert(scope.clone(), Open { since: now, why });
        }
        events
    }

    /// What `host` is to be told now; it counts as told.
    pub(crate) fn word(&mut self, seen: &HostSnapshot, now: Mono) -> Option<AgentCommand> {
        let report = seen.report.as_ref().filter(|_| seen.is_live())?;
        // Older agents would not understand.
        let question = report.fleet?;
        let hold = scopes(report).find_map(|scope| Some(self.open.get(&scope)?.why.clone()));
        let (last, held) = self.told.get(&seen.name).cloned().unzip();
        let again = last.is_none_or(|last| now - last >= AGAIN);
        let news = held.flatten() != hold || (hold.is_some() && again);
        let differs = question.budget != self.budget && again;
        let leave = self.answer(report, question, now);
        if leave.is_none() && !news && !differs {
            return None;
        }
        self.told.insert(seen.name.clone(), (now, hold.clone()));
        Some(AgentCommand::Fleet {
            nonce: report.nonce,
            budget: self.budget,
            asked: leave.map(|_| question.asked),
            restarts: leave.unwrap_or(0),
            hold,
        })
    }

    /// How many restarts `question` is allowed. The same question has the same answer, since that may have been lost.
    fn answer(&mut self, report: &HostReport, question: FleetReport, now: Mono) -> Option<u32> {
        let budget = self.budget.filter(|_| question.wanted > 0)?;
        let known = self.answers.get(&report.host);
        if let Some(same) = known.filter(|known| known.nonce == report.nonce && known.asked == question.asked)
        {
            return Some(same.restarts);
        }
        while self.granted.front().is_some_and(|at| *at + budget.window + COUNTED_LONGER <= now) {
            self.granted.pop_front();
        }
        let counted = u32::try_from(self.granted.len()).unwrap_or(u32::MAX);
        let left = if now < self.begun + COUNTED_LONGER { 0 } else { budget.count.saturating_sub(counted) };
        let restarts = question.wanted.min(left);
        self.granted.extend(std::iter::repeat_n(now, restarts as usize));
        let answer = Answer { nonce: report.nonce, asked: question.asked, restarts };
        self.answers.insert(report.host.clone(), answer);
        Some(restarts)
    }
}

/// Whether at least half of a host's containers that can be pinged lose more than the threshold; `None`: none can.
fn is_failing(report: &HostReport) -> Option<bool> {
    let losses = report.containers.iter().filter(|container| container.monitored);
    let losses: Vec<bool> = losses
        .filter_map(|container| Some(report.threshold.is_exceeded_by(container.loss_percent?)))
        .collect();
    let failing = losses.iter().filter(|lossy| **lossy).count();
    (!losses.is_empty()).then_some(failing > 0 && failing * 2 >= losses.len())
}

/// What a host may share a failure with.
fn scopes(report: &HostReport) -> impl Iterator<Item = Scope> {
    let segments: BTreeSet<String> = report.addresses.iter().filter_map(segment).collect();
    std::iter::once(Scope::Fleet).chain(segments.into_iter().map(Scope::Segment))
}

fn segment(address: &IpAddr) -> Option<String> {
    match address {
        IpAddr::V4(v4) if !v4.is_loopback() && !v4.is_link_local() => {
            let [a, b, c, _] = v4.octets();
            Some(format!("{a}.{b}.{c}.0/24"))
        }
        IpAddr::V6(v6) if !v6.is_loopback() && !v6.is_unicast_link_local() => {
            let mut segments = v6.segments();
            segments[4..].fill(0);
            Some(format!("{}/64", std::net::Ipv6Addr::from(segments)))
        }
        _ => None,
    }
}

fn data(scope: &Scope) -> serde_json::Value {
    match scope {
        Scope::Fleet => json!({ "shared": "fleet" }),
        Scope::Segment(network) => json!({ "shared": "segment", "name": network }),
    }
}
