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
    /// Before this no leave is given.
    from: Mono,
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
            from: now + COUNTED_LONGER,
            granted: granted.into(),
            answers: BTreeMap::new(),
            open: BTreeMap::new(),
            given_up: BTreeSet::new(),
            told: BTreeMap::new(),
        }
    }

    /// The same where no controller was before, whose leave might still be used.
    #[must_use]
    pub(crate) fn without_predecessor(self) -> Self {
        Self { from: Mono(i64::MIN), ..self }
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
        let (last, known) = self.told.get(&seen.name).cloned().unzip();
        let again = last.is_none_or(|last| now - last >= AGAIN);
        let news = known.flatten() != hold || (hold.is_some() && again);
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
        let left = if now < self.from { 0 } else { budget.count.saturating_sub(counted) };
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::state::Presence;
    use super::*;
    use crate::bus::{ContainerReport, EngineReport, EngineStatus};
    use crate::model::{Health, LossPercent, RunState, Threshold, Timestamp};

    const BUDGET: Rate = Rate { count: 3, window: Duration::from_mins(1) };

    fn container(loss: f64) -> ContainerReport {
        ContainerReport {
            name: "c".parse().unwrap(),
            id: "0123456789ab".parse().unwrap(),
            image: String::new(),
            status: RunState::Running,
            monitored: true,
            health: Health::Failing,
            loss_percent: Some(LossPercent::new(loss).unwrap()),
            rtt_ms: None,
            restarts: None,
            networks: Vec::new(),
            addresses: Vec::new(),
            project: None,
            service: None,
            reason: String::new(),
            outcomes: None,
            maintenance_by_label: false,
        }
    }

    /// A live host at an address, with a container of each loss, that says `fleet` of itself.
    fn host(name: &str, address: &str, losses: &[f64], fleet: Option<FleetReport>) -> Arc<HostSnapshot> {
        let (name, at): (HostName, _) = (name.parse().unwrap(), Timestamp::from_millis(0));
        let unknown = EngineStatus::Unreachable;
        let report = HostReport {
            v: 1,
            host: name.clone(),
            instance: "i".parse().unwrap(),
            nonce: Uuid::from_u128(7),
            seq: 1,
            time: at,
            agent_version: String::new(),
            addresses: vec![address.parse().unwrap()],
            engine: EngineReport { status: unknown, id: None, version: None, error: None },
            capabilities: Vec::new(),
            freeze: None,
            dry_run: false,
            threshold: Threshold::default(),
            desired_synced: true,
            outbox: None,
            identity: None,
            fleet,
            containers: losses.iter().map(|loss| container(*loss)).collect(),
            pools: Vec::new(),
        };
        Arc::new(HostSnapshot {
            name,
            presence: Presence::Live,
            first_seen: at,
            last_seen: at,
            conflict: None,
            clock_offset_ms: None,
            clock_skewed: false,
            report: Some(Arc::new(report)),
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "as it stands in a report")]
    fn wants(asked: i64, wanted: u32) -> Option<FleetReport> {
        Some(FleetReport { budget: Some(BUDGET), asked, wanted })
    }

    fn allowed(word: Option<AgentCommand>) -> Option<u32> {
        match word? {
            AgentCommand::Fleet { asked: Some(_), restarts, .. } => Some(restarts),
            _ => None,
        }
    }

    #[test]
    fn leave_is_given_once_for_each_question_until_the_budget_is_spent() {
        let mut brake = FleetBrake::new(Some(BUDGET), [Duration::from_secs(50)], Mono(0));
        let mut ask =
            |name, asked, at| allowed(brake.word(&host(name, "10.0.0.1", &[], wants(asked, 2)), Mono(at)));
        assert_eq!(ask("a", 1, 0), Some(0), "a controller before this one may have given leave");
        assert_eq!(ask("a", 2, 20_000), Some(2));
        assert_eq!(ask("a", 2, 20_001), Some(2), "the answer may have been lost, and counts once");
        assert_eq!(ask("b", 1, 20_002), Some(0), "one was done before this process began");
        assert_eq!(ask("b", 2, 30_001), Some(1), "which no longer counts");
        assert_eq!(ask("b", 3, 99_999), Some(0));
        assert_eq!(ask("b", 4, 100_000), Some(2), "20 s after its window, since it may be used so late");
    }

    #[test]
    fn a_host_is_told_what_it_does_not_know_and_older_agents_nothing() {
        let mut brake = FleetBrake::new(Some(BUDGET), [], Mono(0));
        let knows_none = Some(FleetReport { budget: None, asked: 0, wanted: 0 });
        assert!(brake.word(&host("a", "10.0.0.1", &[], knows_none), Mono(0)).is_some());
        assert_eq!(brake.word(&host("a", "10.0.0.1", &[], knows_none), Mono(4_999)), None, "not that often");
        assert!(brake.word(&host("a", "10.0.0.1", &[], knows_none), Mono(5_000)).is_some());
        assert_eq!(brake.word(&host("a", "10.0.0.1", &[], wants(0, 0)), Mono(60_000)), None, "it knows all");
        assert_eq!(brake.word(&host("old", "10.0.0.1", &[100.0], None), Mono(0)), None);
    }

    #[test]
    fn several_hosts_that_fail_at_once_are_told_so_until_they_are_well() {
        let view = |losses: &[(&str, f64)]| -> FleetView {
            let hosts = losses.iter().enumerate().map(|(n, (address, loss))| {
                let name = format!("h{n}");
                (name.parse().unwrap(), host(&name, address, &[*loss, 0.0], wants(0, 0)))
            });
            hosts.collect()
        };
        let (mut brake, kinds) = (FleetBrake::new(Some(BUDGET), [], Mono(0)), |events: Vec<EventDraft>| {
            events.into_iter().map(|event| (event.kind, event.data["shared"].clone())).collect::<Vec<_>>()
        });
        let two = view(&[("10.0.0.1", 100.0), ("10.0.0.2", 100.0), ("10.0.0.3", 0.0)]);
        assert!(brake.judge(&two, Mono(0)).is_empty(), "two hosts may have troubles of their own");
        let most = view(&[("10.0.0.1", 100.0), ("10.0.0.2", 60.0), ("10.1.0.3", 100.0), ("10.2.0.4", 0.0)]);
        assert_eq!(kinds(brake.judge(&most, Mono(0))), [(EventKind::BreakerOpened, "fleet".into())]);
        assert!(brake.judge(&most, Mono(1)).is_empty());
        let held = |word: Option<AgentCommand>| match word {
            Some(AgentCommand::Fleet { hold, .. }) => Some(hold),
            _ => None,
        };
        let well = &most[&"h3".parse().unwrap()].clone();
        let why = "3 of 4 hosts of the fleet lose packets at once".to_owned();
        assert_eq!(held(brake.word(well, Mono(1))), Some(Some(why.clone())));
        assert_eq!(held(brake.word(well, Mono(4_999))), None);
        assert_eq!(held(brake.word(well, Mono(5_001))), Some(Some(why)), "it is believed for a while only");
        let over = view(&[("10.0.0.1", 100.0), ("10.0.0.2", 0.0), ("10.1.0.3", 0.0), ("10.2.0.4", 0.0)]);
        assert_eq!(kinds(brake.judge(&over, Mono(6_000))), [(EventKind::BreakerClosed, "fleet".into())]);
        assert_eq!(held(brake.word(well, Mono(6_001))), Some(None), "told at once");
        assert_eq!(held(brake.word(well, Mono(60_000))), None);

        let rack = view(&[
            ("10.0.0.1", 100.0),
            ("10.0.0.2", 100.0),
            ("10.0.0.3", 100.0),
            ("10.1.0.1", 0.0),
            ("10.1.0.2", 0.0),
            ("10.1.0.3", 0.0),
            ("10.1.0.4", 0.0),
        ]);
        assert_eq!(kinds(brake.judge(&rack, Mono(0))), [(EventKind::BreakerOpened, "segment".into())]);
        assert_eq!(held(brake.word(&rack[&"h6".parse().unwrap()], Mono(0))), None, "that is another one");
        assert_eq!(kinds(brake.judge(&rack, Mono(600_000))), [(EventKind::BreakerClosed, "segment".into())]);
        assert!(brake.judge(&rack, Mono(600_001)).is_empty(), "that guess had its time");
    }

    proptest! {
        /// However hosts ask: in no window, with the time that leave lasts, is more allowed than the budget has.
        #[test]
        fn no_window_has_more_leave_than_the_budget(
            questions in proptest::collection::vec((0_u8..4, 0_i64..6, 0_u32..5, 0_i64..20_000), 1..150),
            count in 0_u32..6,
        ) {
            let budget = Rate { count, ..BUDGET };
            let mut brake = FleetBrake::new(Some(budget), [], Mono(0));
            let (mut now, mut given, mut seen) = (0, Vec::new(), BTreeSet::new());
            for (name, asked, wanted, gap) in questions {
                now += gap;
                let question = Some(FleetReport { budget: Some(budget), asked: now - asked, wanted });
                let leave = allowed(brake.word(&host(&format!("h{name}"), "10.0.0.1", &[], question), Mono(now)));
                if leave.is_some() && seen.insert((name, now - asked)) {
                    given.extend(std::iter::repeat_n(now, leave.unwrap_or(0) as usize));
                }
            }
            let longest = 60_000 + 20_000;
            for first in &given {
                let inside = given.iter().filter(|at| *at >= first && **at < first + longest).count();
                prop_assert!(inside <= count as usize, "{inside} of {count}");
            }
        }
    }
}
