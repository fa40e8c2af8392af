//! All streams of one host: who is probed when, and which checks have ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use super::sprt::{Bounds, Conclusion};
use super::stream::{OVERDUE, Pace, Purpose, Stream};
use crate::model::{ContainerId, Mono, Threshold, Timestamp};
use crate::monitor::decide::{Checked, ErrorRates, Finding, Target};
use crate::monitor::ping::ProbeOutcome;

/// Between two probes to an address that is not in doubt.
const SLOW: Duration = Duration::from_millis(500);
/// Between two probes to one that is.
const FAST: Duration = Duration::from_millis(10);
/// Fast probes a second, of all addresses together: of more than 20 in doubt, each is probed less often.
const FAST_A_SECOND: u64 = 2_000;
/// How long checks that ended well wait for others, to be told together.
const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// Probes to be sent now, one to each address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volley {
    /// Names it when it ends.
    pub id: u64,
    /// Where to, each once.
    pub addresses: Vec<IpAddr>,
}

/// What the shell tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Whom to probe from now on, complete.
    Targets(Vec<Target>),
    /// The probe of that volley to one of its addresses has ended.
    Ended(u64, ProbeOutcome),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Send these; tell of each as soon as it has ended, even if it could not be sent.
    Probe(Volley),
    /// Checks have ended; with how all the others stand ([`Finding::UnderWay`]), so that networks can be judged.
    Judge(Vec<Checked>),
}

#[derive(Debug)]
struct Container {
    started_at: Option<Timestamp>,
    streams: Vec<Stream>,
}

/// Every stream of a host.
#[derive(Debug)]
pub struct Streams {
    rates: ErrorRates,
    containers: BTreeMap<ContainerId, Container>,
    /// Whose addresses they are.
    owners: HashMap<IpAddr, Vec<ContainerId>>,
    next_slow: Mono,
    next_fast: Mono,
    /// When answers to the last slow probes are overdue.
    overdue_at: Option<Mono>,
    /// Checks that ended, and when they are to be told.
    ended: Vec<Checked>,
    tell_at: Option<Mono>,
    last_volley: u64,
}

impl Streams {
    /// No stream yet.
    pub fn new(rates: ErrorRates) -> Self {
        Self {
            rates,
            containers: BTreeMap::new(),
            owners: HashMap::new(),
            next_slow: Mono(i64::MIN),
            next_fast: Mono(i64::MIN),
            overdue_at: None,
            ended: Vec::new(),
            tell_at: None,
            last_volley: 0,
        }
    }

    /// Takes in one event; returns what is to be done.
    pub fn on(&mut self, event: Event, now: Mono) -> Vec<Decision> {
        match event {
            Event::Targets(targets) => self.retarget(targets),
            Event::Ended(volley, outcome) => self.end(volley, &outcome, now),
            Event::Tick => {}
        }
        let mut out = Vec::new();
        if self.overdue_at.is_some_and(|at| at <= now) {
            self.overdue_at = None;
            self.streams_mut().for_each(|stream| stream.look(now));
        }
        self.probe_slow(now, &mut out);
        self.probe_fast(now, &mut out);
        self.tell(now, &mut out);
        out
    }

    /// When to tick at the latest; `None` while nobody is probed.
    pub fn wake_at(&self) -> Option<Mono> {
        if self.containers.is_empty() {
            return self.tell_at;
        }
        let doubt = self.streams().any(|stream| stream.pace() == Pace::Fast).then_some(self.next_fast);
        [Some(self.next_slow), doubt, self.overdue_at, self.tell_at].into_iter().flatten().min()
    }

    fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.containers.values().flat_map(|container| &container.streams)
    }

    fn streams_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.containers.values_mut().flat_map(|container| &mut container.streams)
    }

    /// Keeps the streams that are wanted as they were; a new run, address or threshold begins anew.
    fn retarget(&mut self, targets: Vec<Target>) {
        let mut known = std::mem::take(&mut self.containers);
        self.owners.clear();
        for target in targets {
            let before = known.remove(&target.id).filter(|known| known.started_at == target.started_at);
            let mut before = before.map_or_else(Vec::new, |container| container.streams);
            for address in &target.addresses {
                self.owners.entry(*address).or_default().push(target.id.clone());
            }
            let bounds = Bounds::new(target.threshold, &self.rates, target.addresses.len());
            let streams = target.addresses.iter().map(|&address| {
                let purpose = purpose(&target, address);
                let kept = before.iter().position(|s| s.address == address && s.is(purpose, &bounds));
                let mut stream = match kept {
                    Some(place) => before.swap_remove(place),
                    None => Stream::new(address, purpose, bounds),
                };
                stream.know(target.lossy);
                stream
            });
            let streams = streams.collect();
            self.containers.insert(target.id, Container { started_at: target.started_at, streams });
        }
    }

    fn end(&mut self, volley: u64, outcome: &ProbeOutcome, now: Mono) {
        for id in self.owners.get(&outcome.address).into_iter().flatten() {
            let Some(container) = self.containers.get_mut(id) else { continue };
            let Some(stream) = container.streams.iter_mut().find(|s| s.address == outcome.address) else {
                continue;
            };
            let conclusion = stream.take(volley, outcome.clone(), now);
            let Some(checked) =
                conclusion.and_then(|conclusion| container.check(id, outcome.address, conclusion))
            else {
                continue;
            };
            let urgent = matches!(checked.finding, Finding::Lossy(..));
            let at = if urgent { now } else { now + TOLD_WITHIN };
            self.tell_at = Some(self.tell_at.map_or(at, |known| known.min(at)));
            self.ended.push(checked);
        }
    }

    fn probe_slow(&mut self, now: Mono, out: &mut Vec<Decision>) {
        if now < self.next_slow {
            return;
        }
        // What was missed is not caught up with.
        self.next_slow = now + SLOW;
        if self.send(Pace::Slow, now, out) {
            self.overdue_at = Some(now + OVERDUE);
        }
    }

    fn probe_fast(&mut self, now: Mono, out: &mut Vec<Decision>) {
        if now < self.next_fast {
            return;
        }
        let doubtful = self.streams().filter(|stream| stream.pace() == Pace::Fast).count() as u64;
        let spacing = FAST.max(Duration::from_millis((doubtful * 1000).div_ceil(FAST_A_SECOND)));
        if self.send(Pace::Fast, now, out) {
            self.next_fast = now + spacing;
        }
    }

    /// Sends to all addresses of this pace; says whether there are any.
    fn send(&mut self, pace: Pace, now: Mono, out: &mut Vec<Decision>) -> bool {
        let id = self.last_volley + 1;
        let mut addresses = BTreeSet::new();
        for stream in self.streams_mut().filter(|stream| stream.pace() == pace) {
            stream.send(id, now);
            addresses.insert(stream.address);
        }
        if addresses.is_empty() {
            return false;
        }
        self.last_volley = id;
        out.push(Decision::Probe(Volley { id, addresses: addresses.into_iter().collect() }));
        true
    }

    fn tell(&mut self, now: Mono, out: &mut Vec<Decision>) {
        if self.tell_at.is_none_or(|at| now < at) {
            return;
        }
        self.tell_at = None;
        let mut all = std::mem::take(&mut self.ended);
        let told: BTreeSet<ContainerId> = all.iter().map(|checked| checked.id.clone()).collect();
        let others = self.containers.iter().filter(|(id, _)| !told.contains(id));
        all.extend(others.map(|(id, container)| Checked {
            id: id.clone(),
            started_at: container.started_at,
            outcomes: container.streams.iter().map(Stream::standing).collect(),
            finding: Finding::UnderWay,
        }));
        out.push(Decision::Judge(all));
    }
}

impl Container {
    /// The check that the end of the test of `address` ends, if it does.
    fn check(&mut self, id: &ContainerId, address: IpAddr, conclusion: Conclusion) -> Option<Checked> {
        let proof = self.streams.iter().find(|stream| stream.address == address)?.ended.as_ref()?.evidence;
        let finding = match (conclusion, proof) {
            (Conclusion::Lossy, Some(proof)) => Finding::Lossy(address, proof),
            _ if self.streams.iter().any(|stream| stream.ended.is_none()) => return None,
            _ => {
                let proofs = self.streams.iter().filter_map(|stream| stream.ended.as_ref()?.evidence);
                Finding::Sound(proofs.max_by(|a, b| a.score.total_cmp(&b.score)))
            }
        };
        let outcome = |stream: &mut Stream| match stream.ended.take() {
            Some(ended) => ended.outcome,
            None => stream.standing(),
        };
        let outcomes = self.streams.iter_mut().map(outcome).collect();
        Some(Checked { id: id.clone(), started_at: self.started_at, outcomes, finding })
    }
}

fn purpose(target: &Target, address: IpAddr) -> Purpose {
    // No loss is above 100.
    let never = Threshold::new(100.0).is_ok_and(|most| target.threshold >= most);
    match () {
        () if !target.counting.contains(&address) => Purpose::Hear,
        () if never => Purpose::Measure,
        () => Purpose::Test,
    }
}
