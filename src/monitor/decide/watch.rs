//! What is known of one container: its facts, how it ended, which of its addresses ever answered, its last
//! checks, and what ails it.
//!
//! ```text
//!            started                       check fails        confirmed
//!  (ended) ──────────► grace ──► sound ───────────────► suspect ───────► lossy
//!     ▲                            ▲  ◄──────────────────┘ passes          │ restarted
//!     └── crashed / told to stop   └──────────────────────── grace ◄───────┘
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{
    AddressCheck, CheckKind, CheckRecord, ContainerFacts, Evidence, HealthcheckStatus, LossPercent, Mono,
    Now, RunState, Threshold, Timestamp, Verdict,
};
use crate::monitor::ping::ProbeOutcome;

use super::answers::{Answers, Attachment};
use super::{Checked, Finding, Policy, Sign, SignKind};

/// How many checks are kept for `why`.
pub(super) const CHECKS_KEPT: usize = 20;

/// A `die` this soon after a `kill` was asked for: longer than programs are usually given to stop. A later one is a
/// crash of its own: the signal was survived.
const KILL_TO_DIE: Duration = Duration::from_mins(10);

/// How a container that does not run came to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It ended by itself, was killed from inside or by the kernel, or went down with the engine.
    Crashed,
    /// Someone told the engine to stop it.
    Told,
}

/// The look at a container before it is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum LastLook {
    /// Not asked for.
    #[default]
    Not,
    /// Asked for.
    Asked,
    /// It was still down.
    Done,
}

/// What is wrong with a container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Ailment {
    /// It does not run.
    Down(End),
    /// Its own HEALTHCHECK says so.
    Unhealthy,
    /// Confirmed loss above the threshold.
    Lossy(LossPercent),
    /// It runs in a network namespace that its owner has left behind by a restart.
    Detached,
}

/// All that is known of one container.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any of them may hold with any other"
)]
pub(super) struct Watch {
    pub(super) facts: ContainerFacts,
    /// When it was first seen not running since its last run, and how it ended.
    pub(super) ended: Option<(Mono, End)>,
    /// When its present run was first seen.
    pub(super) running_since: Option<Mono>,
    /// The last signal the engine sent it on someone's order.
    killed_at: Option<Timestamp>,
    /// A `die` was seen since its last start, so how it ended is known.
    died_told: Option<End>,
    /// Whether it was looked at once more since it was told to stop.
    pub(super) last_look: LastLook,
    /// It ran before the engine was lost and did not after: whatever the engine tells of that end, nobody ordered it.
    ended_with_engine: bool,
    pub(super) answers: Answers,
    pub(super) checks: VecDeque<CheckRecord>,
    /// Network of the worst address of the last failed check.
    pub(super) failed_network: Option<String>,
    /// Loss confirmed, and not refuted since.
    pub(super) lossy: Option<LossPercent>,
    /// What it was confirmed by, where a sequential test did.
    pub(super) proof: Option<Evidence>,
    /// A sweep of this run was judged (any verdict).
    pub(super) judged: bool,
    /// Its network namespace's owner restarted after it.
    pub(super) detached: bool,
    /// By an action of ours on the owner: it is followed whoever lists it.
    pub(super) cut_off_by_us: bool,
}

impl Watch {
    pub(super) fn new(facts: ContainerFacts, now: Now) -> Self {
        let running = facts.state == RunState::Running;
        let since = facts.started_at.map_or(now.mono, |at| now.mono_at(at).min(now.mono));
        let mut watch = Self {
            facts,
            ended: None,
            running_since: running.then_some(since),
            killed_at: None,
            died_told: None,
            last_look: LastLook::default(),
            ended_with_engine: false,
            answers: Answers::default(),
            checks: VecDeque::new(),
            failed_network: None,
            lossy: None,
            proof: None,
            judged: false,
            detached: false,
            cut_off_by_us: false,
        };
        watch.note_end(now);
        watch
    }

    /// Takes in fresh facts. `engine_was_lost` says that the engine has been away since the last ones.
    pub(super) fn update(&mut self, facts: ContainerFacts, engine_was_lost: bool, now: Now) {
        let ran = self.is_running();
        let new_run = facts.started_at != self.facts.started_at;
        self.facts = facts;
        if self.is_running() && (new_run || !ran) {
            self.running_since = Some(now.mono);
            self.ended = None;
            self.killed_at = None;
            self.died_told = None;
            self.last_look = LastLook::default();
            self.ended_with_engine = false;
            self.cut_off_by_us = false;
            self.forget_loss();
        } else if !self.is_running() {
            self.running_since = None;
            self.forget_loss();
            if ran && engine_was_lost && self.died_told.is_none() {
                self.ended_with_engine = true;
                self.died_told = Some(End::Crashed);
            }
            self.note_end(now);
        }
        self.answers.update(&self.facts);
    }

    fn note_end(&mut self, now: Now) {
        if !matches!(self.facts.state, RunState::Exited | RunState::Dead) {
            self.ended = None;
            return;
        }
        let end = self.died_told.unwrap_or_else(|| guess_end(&self.facts));
        match &mut self.ended {
            Some((_, known)) => *known = end,
            None => self.ended = Some((now.mono, end)),
        }
    }

    /// Takes in what the engine told of its end; signs of an earlier run are passed over, and those of an engine that
    /// stops what was left of its former life as it begins.
    pub(super) fn note(&mut self, sign: &Sign) {
        if self.ended_with_engine {
            return;
        }
        if self.facts.started_at.is_some_and(|started| sign.time < started) {
            return;
        }
        match sign.kind {
            SignKind::Killed => self.killed_at = Some(sign.time),
            SignKind::Died => {
                let told = self.killed_at.is_some_and(|at| sign.time.since(at) <= KILL_TO_DIE);
                self.know_end(if told { End::Told } else { End::Crashed });
            }
            SignKind::Stopped => self.know_end(End::Told),
        }
    }

    fn know_end(&mut self, end: End) {
        self.died_told = Some(end);
        if let Some((_, known)) = &mut self.ended {
            *known = end;
        }
    }

    /// It ended while we restarted it, and nobody is left to start it: that is no stop of anyone's.
    pub(super) fn note_interrupted(&mut self) {
        self.know_end(End::Crashed);
    }

    /// The engine is away. One that ends in order stops its containers, and may tell of it before it is gone: an end
    /// that was told and could not be looked at any more is the engine's doing.
    pub(super) fn note_engine_lost(&mut self) {
        if self.is_running() {
            self.died_told = None;
        }
    }

    /// Whether `facts` show it running again after somebody told it to stop.
    pub(super) fn is_run_anew(&self, facts: &ContainerFacts) -> bool {
        let told = self.killed_at.is_some() || self.died_told == Some(End::Told);
        told && facts.state == RunState::Running && facts.started_at != self.facts.started_at
    }

    pub(super) fn is_running(&self) -> bool {
        self.facts.state == RunState::Running
    }

    /// Forgets what checks found.
    pub(super) fn forget_loss(&mut self) {
        self.lossy = None;
        self.proof = None;
        self.failed_network = None;
        self.judged = false;
        self.detached = false;
    }

    /// When its grace ends: `grace` after the start, or the healthcheck's start period when that is longer.
    pub(super) fn grace_until(&self, policy: &Policy) -> Option<Mono> {
        let start_period = self.facts.healthcheck.map_or(Duration::ZERO, |check| check.start_period);
        self.running_since.map(|since| since + policy.grace.max(start_period))
    }

    /// Whether loss counts at `address`.
    pub(super) fn counts(&self, address: IpAddr, policy: &Policy) -> bool {
        policy.assume_pingable || self.answers.has(address)
    }

    /// Whether its first check is still to come.
    pub(super) fn awaits_check(&self) -> bool {
        !self.judged && !self.facts.addresses().is_empty()
    }

    /// Judges one check. Returns the record, and the attachments that answered for the first time.
    pub(super) fn judge(
        &mut self,
        kind: CheckKind,
        checked: &Checked,
        threshold: Threshold,
        policy: &Policy,
        now: Now,
    ) -> (CheckRecord, Vec<Attachment>) {
        let Checked { outcomes, finding, .. } = checked;
        let first_answers = self.answers.hear(outcomes, &self.facts);
        let grace_over = self.grace_until(policy).is_some_and(|until| until <= now.mono);
        if grace_over && outcomes.iter().any(|o| o.sent > o.void) {
            self.answers.forget_before();
        }

        let counts = |o: &&ProbeOutcome| self.counts(o.address, policy);
        let tried = |o: &&ProbeOutcome| match finding {
            Finding::Lossy(address, _) => o.address == *address,
            _ => true,
        };
        let tells = |o: &&ProbeOutcome| o.sent > 0 && o.sent >= o.void;
        let worst = outcomes
            .iter()
            .filter(counts)
            .filter(tried)
            .filter(tells)
            .filter_map(|o| Some((LossPercent::of(o.sent.saturating_sub(o.received), o.sent)?, o)))
            .max_by(|(a, _), (b, _)| a.percent().total_cmp(&b.percent()));
        let verdict = match worst {
            None => Verdict::Inconclusive,
            Some((loss, _)) => match finding {
                Finding::Counted if threshold.is_exceeded_by(loss) => Verdict::Fail,
                Finding::Lossy(..) => Verdict::Fail,
                _ => Verdict::Pass,
            },
        };
        let evidence = match finding {
            Finding::Lossy(_, evidence) => Some(*evidence),
            Finding::Sound(evidence) => *evidence,
            Finding::Counted | Finding::UnderWay => None,
        };
        match (verdict, worst) {
            (Verdict::Fail, Some((_, o))) => {
                self.failed_network = self.facts.network_of(o.address).map(str::to_owned);
            }
            (Verdict::Pass, _) => self.failed_network = None,
            _ => {}
        }
        self.judged = true;
        let record = CheckRecord {
            time: now.wall,
            kind,
            verdict,
            loss_percent: worst.map(|(loss, _)| loss),
            threshold,
            addresses: outcomes.iter().map(address_check).collect(),
            evidence: evidence.filter(|_| worst.is_some()),
        };
        if self.checks.len() == CHECKS_KEPT {
            self.checks.pop_front();
        }
        self.checks.push_back(record.clone());
        (record, first_answers)
    }

    /// The networks it counts for in the breaker's tally, each with whether its address there failed.
    pub(super) fn networks_tallied(
        &self,
        outcomes: &[ProbeOutcome],
        threshold: Threshold,
    ) -> BTreeMap<String, bool> {
        let mut networks = BTreeMap::new();
        for outcome in outcomes.iter().filter(|o| o.sent > 0 && self.answers.has(o.address)) {
            let Some(network) = self.facts.network_of(outcome.address) else { continue };
            let loss = LossPercent::of(outcome.sent.saturating_sub(outcome.received), outcome.sent);
            let failed = loss.is_some_and(|loss| threshold.is_exceeded_by(loss));
            *networks.entry(network.to_owned()).or_insert(false) |= failed;
        }
        networks
    }

    /// What is wrong with it now, the gravest first.
    pub(super) fn ailment(&self) -> Option<Ailment> {
        if let Some((_, end)) = self.ended {
            return Some(Ailment::Down(end));
        }
        if !self.is_running() {
            return None;
        }
        if self.facts.healthcheck.is_some_and(|check| check.status == HealthcheckStatus::Unhealthy) {
            return Some(Ailment::Unhealthy);
        }
        if self.detached {
            return Some(Ailment::Detached);
        }
        self.lossy.map(Ailment::Lossy)
    }

    /// Loss and median round trip of the last check that tells one, while the container runs.
    pub(super) fn last_figures(&self) -> (Option<LossPercent>, Option<f64>) {
        let Some(last) = self.checks.back().filter(|_| self.is_running() && self.judged) else {
            return (None, None);
        };
        let slowest = last.addresses.iter().filter_map(|a| a.rtt_ms).max_by(f64::total_cmp);
        (last.loss_percent, slowest)
    }
}

/// How a container ended that nobody saw end: these exit codes are what a stop leaves behind.
fn guess_end(facts: &ContainerFacts) -> End {
    let as_after_a_stop = matches!(facts.exit_code, Some(0 | 130 | 137 | 143)) && !facts.oom_killed;
    if as_after_a_stop { End::Told } else { End::Crashed }
}

fn address_check(outcome: &ProbeOutcome) -> AddressCheck {
    let mut rtts = outcome.rtts.clone();
    rtts.sort_unstable();
    let median = rtts.get(rtts.len() / 2).map(|rtt| rtt.as_secs_f64() * 1000.0);
    AddressCheck { address: outcome.address, sent: outcome.sent, received: outcome.received, rtt_ms: median }
}
