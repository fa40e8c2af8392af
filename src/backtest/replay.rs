//! One host's record through [`HostState`], on a virtual clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Assume, Change, ContainerRecord, Deed, HostRecord, Remark, Replayed, Sample};
use crate::model::{
    CheckKind, ContainerFacts, ContainerId, DesiredState, EventKind, Healthcheck, HealthcheckStatus, Mono,
    Namespace, NetworkAttachment, Now, OperationId, RestartPolicy, RunState, Timestamp,
};
use crate::monitor::decide::{
    Action, ActionResult, Attachment, Checked, Decision, Finding, HostState, Input, Memory, OwnContainers,
    Policy, Sign, SignKind, Target,
};
use crate::monitor::ping::ProbeOutcome;

/// How long a virtual action takes, and the check that confirms a failure.
const ACTION_TAKES: i64 = 1_000;
const CONFIRM_TAKES: i64 = 3_000;
/// Probes that stand for a recorded figure: it is held against the threshold as it was recorded.
const PROBES: u32 = 10_000;
/// Actions this near to each other are the same, milliseconds.
const SAME_WITHIN: i64 = 60_000;
/// How many of a container's actions are listed.
const LISTED: usize = 1_000;

/// What is replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The policy.
    pub policy: Policy,
    /// The thresholds in force, where the policy's own is not to hold for all.
    pub desired: DesiredState,
    /// Between the starts of two sweeps; above zero.
    pub interval: Duration,
    /// The first moment.
    pub from: Timestamp,
    /// The last.
    pub to: Timestamp,
    /// Between two recorded figures.
    pub resolution: Duration,
    /// What becomes of a container that was not really restarted.
    pub assume: Assume,
}

/// What `plan` would have done on one host.
pub fn replay(record: &HostRecord, plan: &Plan) -> Vec<Replayed> {
    let mut world = World::new(record, plan);
    world.run();
    world.containers.into_values().map(|one| one.replayed(record)).collect()
}

/// Something that happens at a moment of the replay.
#[derive(Debug)]
enum Happening {
    Recorded(ContainerId, Change),
    Sweep,
    Confirm(Vec<Target>),
    Done(ContainerId, OperationId),
}

/// A happening in its order; of those at one moment, the one planned first comes first.
struct Planned(i64, u64, Happening);

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

struct World<'a> {
    plan: &'a Plan,
    state: HostState,
    now: i64,
    planned: BinaryHeap<Reverse<Planned>>,
    count: u64,
    containers: BTreeMap<ContainerId, Container<'a>>,
}

/// One container as the virtual engine has it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Container<'a> {
    record: &'a ContainerRecord,
    facts: ContainerFacts,
    /// The first sample that is not over.
    next: usize,
    down: bool,
    unhealthy: bool,
    /// A virtual action healed it, and the record has not been well since.
    healed: bool,
    /// Its present run is not in the record.
    virtual_run: bool,
    would: Vec<Deed>,
    remarks: Vec<Remark>,
}

impl<'a> World<'a> {
    fn new(record: &'a HostRecord, plan: &'a Plan) -> Self {
        let start = plan.from.millis();
        let mut containers = BTreeMap::new();
        let mut answered = BTreeMap::new();
        for (number, of) in (0_u32..).zip(&record.containers) {
            let facts = facts(number, of, Timestamp::from_millis(start - 86_400_000));
            let attachment = Attachment {
                address: facts.addresses()[0],
                endpoint_id: facts.networks[0].endpoint_id.clone(),
                started_at: facts.started_at,
            };
            answered.insert(facts.id.clone(), vec![attachment]);
            containers.insert(facts.id.clone(), Container::new(of, facts));
        }
        let at = now(start);
        let memory = Memory { answered, ..Memory::default() };
        let own = OwnContainers::default();
        let state = HostState::new(record.host.clone(), plan.policy.clone(), own, "backtest", memory, at);
        let mut world = Self { plan, state, now: start, planned: BinaryHeap::new(), count: 0, containers };
        for (id, change, time) in world.changes() {
            world.plan_at(time, Happening::Recorded(id, change));
        }
        world.plan_at(start, Happening::Sweep);
        world
    }

    fn changes(&self) -> Vec<(ContainerId, Change, i64)> {
        let (from, to) = (self.plan.from, self.plan.to);
        let of = |(id, one): (&ContainerId, &Container<'_>)| {
            let inside = one.record.changes.iter().filter(|(time, _)| (from..=to).contains(time));
            inside.map(|(time, change)| (id.clone(), *change, time.millis())).collect::<Vec<_>>()
        };
        self.containers.iter().flat_map(of).collect()
    }

    fn plan_at(&mut self, time: i64, what: Happening) {
        self.count += 1;
        self.planned.push(Reverse(Planned(time, self.count, what)));
    }

    fn run(&mut self) {
        self.feed(Input::Desired(Box::new(self.plan.desired.clone())));
        let all = self.containers.values().map(|one| one.facts.clone()).collect();
        self.feed(Input::Listed(all, Vec::new()));
        let end = self.plan.to.millis();
        while let Some(time) =
            self.planned.peek().map(|Reverse(planned)| planned.0).filter(|time| *time <= end)
        {
            let wake = self.state.wake_at().map(|at| at.0.max(self.now + 1)).filter(|wake| *wake < time);
            if let Some(wake) = wake {
                self.now = wake;
                self.feed(Input::Tick);
                continue;
            }
            let Some(Reverse(Planned(_, _, what))) = self.planned.pop() else { return };
            self.now = time.max(self.now);
            self.happen(what);
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Sweep => {
                let interval = i64::try_from(self.plan.interval.as_millis()).unwrap_or(i64::MAX).max(1);
                self.plan_at(self.now.saturating_add(interval), Happening::Sweep);
                let targets = self.state.targets();
                let checked = self.check(&targets);
                self.feed(Input::Swept(CheckKind::Sweep, checked));
            }
            Happening::Confirm(targets) => {
                let checked = self.check(&targets);
                self.feed(Input::Swept(CheckKind::Confirm, checked));
            }
            Happening::Recorded(id, change) => self.recorded(&id, change),
            Happening::Done(id, op) => self.done(&id, op),
        }
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for decision in self.state.on(input, now(self.now)) {
                match decision {
                    Decision::Confirm(targets) => {
                        self.plan_at(self.now + CONFIRM_TAKES, Happening::Confirm(targets));
                    }
                    Decision::Look(id) => inputs.push(Input::Looked(id)),
                    Decision::Act(action) => self.act(action),
                    Decision::Emit(draft)
                        if matches!(draft.kind, EventKind::Quarantined | EventKind::HealingFutile) =>
                    {
                        let time = Timestamp::from_millis(self.now);
                        let of =
                            |one: &&mut Container<'_>| Some(&one.record.name) == draft.container.as_ref();
                        if let Some(one) = self.containers.values_mut().find(of) {
                            one.remarks.push(Remark { time, text: draft.reason });
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn act(&mut self, action: Action) {
        let time = Timestamp::from_millis(self.now);
        if let Some(one) = self.containers.get_mut(&action.id) {
            one.would.push(Deed {
                time,
                kind: action.kind,
                reason: format!("{} {}", action.name, action.reason),
            });
        }
        self.plan_at(self.now + ACTION_TAKES, Happening::Done(action.id, action.op));
    }

    fn done(&mut self, id: &ContainerId, op: OperationId) {
        let Some(one) = self.containers.get_mut(id) else { return };
        one.virtual_run = true;
        one.healed = self.plan.assume == Assume::Heals;
        one.begin_run(self.now);
        let mut seen = vec![one.facts.clone()];
        if !one.healed && one.down {
            one.end_run();
            seen.push(one.facts.clone());
        } else if !one.healed && one.unhealthy {
            one.facts.healthcheck = Some(healthcheck(HealthcheckStatus::Unhealthy));
            seen.push(one.facts.clone());
        }
        for facts in seen {
            self.feed(Input::Seen(Box::new(facts)));
        }
        self.feed(Input::Acted(op, ActionResult::Done(ACTION_TAKES.unsigned_abs())));
    }

    fn recorded(&mut self, id: &ContainerId, change: Change) {
        let Some(one) = self.containers.get_mut(id) else { return };
        // What the record tells of the way out of a trouble that was healed already is no news.
        let was_healed = one.healed && one.facts.state == RunState::Running;
        match change {
            Change::Down | Change::Unhealthy => one.healed = false,
            Change::Run | Change::Well => (one.down, one.unhealthy) = (false, false),
        }
        match change {
            Change::Down => {
                one.down = true;
                one.end_run();
            }
            Change::Unhealthy => {
                one.unhealthy = true;
                one.facts.healthcheck = Some(healthcheck(HealthcheckStatus::Unhealthy));
            }
            Change::Run | Change::Well if was_healed => return,
            Change::Run => {
                one.virtual_run = false;
                one.begin_run(self.now);
            }
            Change::Well => {
                if one.facts.state != RunState::Running {
                    one.virtual_run = false;
                    one.begin_run(self.now);
                }
                if one.facts.healthcheck.is_some() {
                    one.facts.healthcheck = Some(healthcheck(HealthcheckStatus::Healthy));
                }
            }
        }
        let facts = one.facts.clone();
        if change == Change::Down {
            let time = Timestamp::from_millis(self.now);
            self.feed(Input::Told(Sign { id: id.clone(), time, kind: SignKind::Died }));
        }
        self.feed(Input::Seen(Box::new(facts)));
    }

    fn check(&mut self, targets: &[Target]) -> Vec<Checked> {
        let (now, resolution) = (self.now, self.plan.resolution);
        let mut checked = Vec::with_capacity(targets.len());
        for target in targets {
            let Some(one) = self.containers.get_mut(&target.id) else { continue };
            let Some((loss, rtt_ms)) = one.figures(now, resolution, target.threshold.percent()) else {
                continue;
            };
            let outcome = |address: &IpAddr| outcome(*address, loss, rtt_ms, one.virtual_run);
            checked.push(Checked {
                id: target.id.clone(),
                started_at: target.started_at,
                outcomes: target.addresses.iter().map(outcome).collect(),
                finding: Finding::Counted,
            });
        }
        checked
    }
}

impl<'a> Container<'a> {
    fn new(record: &'a ContainerRecord, facts: ContainerFacts) -> Self {
        Self {
            record,
            facts,
            next: 0,
            down: false,
            unhealthy: false,
            healed: false,
            virtual_run: false,
            would: Vec::new(),
            remarks: Vec::new(),
        }
    }

    fn begin_run(&mut self, now: i64) {
        self.facts.state = RunState::Running;
        self.facts.exit_code = None;
        self.facts.started_at = Some(Timestamp::from_millis(now));
        if self.facts.healthcheck.is_some() {
            self.facts.healthcheck = Some(healthcheck(HealthcheckStatus::Healthy));
        }
    }

    fn end_run(&mut self) {
        self.facts.state = RunState::Exited;
        self.facts.exit_code = Some(1);
    }

    /// Loss and round trip at `now`; `None`: nothing was recorded then.
    fn figures(&mut self, now: i64, resolution: Duration, threshold: f64) -> Option<(f64, Option<f64>)> {
        let samples = &self.record.samples;
        while samples.get(self.next).is_some_and(|sample| sample.time.millis() <= now) {
            self.next += 1;
        }
        let oldest = now - 2 * i64::try_from(resolution.as_millis()).unwrap_or(i64::MAX / 2);
        let last = self.next.checked_sub(1).and_then(|last| samples.get(last));
        let last = last.filter(|sample| sample.time.millis() > oldest);
        if self.healed {
            let well = |sample: &&Sample| sample.loss <= threshold && !self.down && !self.unhealthy;
            match last.filter(well) {
                Some(_) => self.healed = false,
                None => return Some((0.0, None)),
            }
        }
        last.map(|sample| (sample.loss, sample.rtt_ms))
    }

    fn replayed(self, record: &HostRecord) -> Replayed {
        let (mut would, mut did) = (self.would, self.record.did.clone());
        let same = matches(&would, &did);
        let (extra, prevented) = (would.len() as u64 - same, did.len() as u64 - same);
        would.truncate(LISTED);
        did.truncate(LISTED);
        let mut remarks = self.remarks;
        remarks.truncate(LISTED);
        Replayed {
            hostname: record.host.clone(),
            name: self.record.name.clone(),
            samples: self.record.samples.len() as u64,
            would_restart: would,
            did,
            remarks,
            same,
            extra,
            prevented,
        }
    }
}

/// How many of both lists, each oldest first, lie within a minute of one of the other, each counted once.
fn matches(would: &[Deed], did: &[Deed]) -> u64 {
    let (mut would, mut did) = (would.iter().peekable(), did.iter().peekable());
    let mut same = 0;
    while let (Some(a), Some(b)) = (would.peek(), did.peek()) {
        let apart = a.time.millis() - b.time.millis();
        if apart.abs() <= SAME_WITHIN {
            same += 1;
            would.next();
            did.next();
        } else if apart < 0 {
            would.next();
        } else {
            did.next();
        }
    }
    same
}

fn now(millis: i64) -> Now {
    Now { mono: Mono(millis), wall: Timestamp::from_millis(millis) }
}

fn healthcheck(status: HealthcheckStatus) -> Healthcheck {
    Healthcheck { status, start_period: Duration::ZERO }
}

/// Total loss was only ever recorded of a run that had answered before; a run that is not in the record has not.
fn outcome(address: IpAddr, loss: f64, rtt_ms: Option<f64>, virtual_run: bool) -> ProbeOutcome {
    let share = (100.0 - loss.clamp(0.0, 100.0)) / 100.0;
    // In range: a share of PROBES.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to PROBES")]
    let received = (share * f64::from(PROBES)).round() as u32;
    let received = if virtual_run { received } else { received.max(1) };
    let rtt = rtt_ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
    let rtts = rtt.filter(|_| received > 0).into_iter().collect();
    ProbeOutcome { address, sent: PROBES, received, void: 0, rtts }
}

fn facts(number: u32, record: &ContainerRecord, started: Timestamp) -> ContainerFacts {
    let network = record.network.clone().unwrap_or_else(|| format!("network of {}", record.name));
    ContainerFacts {
        id: ContainerId::new(format!("{number:064x}")).expect("64 hexadecimal digits"),
        name: record.name.clone(),
        image: String::new(),
        state: RunState::Running,
        exit_code: None,
        oom_killed: false,
        healthcheck: None,
        started_at: Some(started),
        finished_at: None,
        restart_count: None,
        restart_policy: RestartPolicy::No,
        labels: BTreeMap::from([("dockhealth.monitor".to_owned(), "true".to_owned())]),
        namespace: Namespace::Own,
        networks: vec![NetworkAttachment {
            network,
            endpoint_id: format!("endpoint {number}"),
            ipv4: Some(Ipv4Addr::from(0x0a00_0001 + number)),
            ipv6: None,
            gateways: Vec::new(),
        }],
        published: Vec::new(),
        pid: None,
        auto_remove: false,
        links: Vec::new(),
    }
}
