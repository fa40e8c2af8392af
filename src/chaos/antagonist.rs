//! The antagonist: plays a scenario on the containers that consent, and undoes what it did.

mod judge;
mod news;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::CancellationToken;

use self::judge::{Judge, down_percent};
use super::{Arena, Attack, Begun, Course, Ended, Fault, FaultKind, Moment, Scenario, Spared, Turn, Undone};
use crate::docker::ContainerSource;
use crate::model::{ContainerFacts, ContainerId, ContainerName, RunState};

pub use judge::Verdict;
pub use news::AntagonistNews;

/// Whether attacks are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttackMode {
    /// They are.
    Act,
    /// They are only told.
    DryRun,
}

/// How the antagonist attacks.
#[derive(Debug, Clone)]
pub struct AntagonistConfig {
    /// What it does, to whom, and when.
    pub scenario: Scenario,
    /// Decides what the scenario leaves open: the same seed does the same to the same containers at the same turn.
    pub seed: u64,
    /// Whether attacks are carried out.
    pub mode: AttackMode,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Faults that were done.
    pub faults: u32,
    /// Of those: stops.
    pub stops: u32,
    /// How many came out as expected.
    pub met: u32,
    /// How many did not.
    pub missed: u32,
    /// Why it ended early.
    pub aborted: Option<String>,
}

/// Containers that are looked at while something is expected of them, so often.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The end of a lease whose container was healed is waited for so long.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// Plays the scenario until its end or `shutdown`. A fault of the engine is told and survived. While it plays, what it
/// takes down without a lease stays for the healer; at its end all faults are undone, and those named that nobody had
/// healed.
pub async fn run_antagonist<E, A>(
    config: &AntagonistConfig,
    engine: &E,
    arena: &mut A,
    shutdown: &CancellationToken,
    say: impl FnMut(AntagonistNews) + Send,
) -> Summary
where
    E: ContainerSource + ?Sized,
    A: Arena + ?Sized,
{
    let play = Play {
        config,
        engine,
        arena,
        say,
        judge: Judge::default(),
        summary: Summary::default(),
        engine_faults: 0,
        phase: None,
        downed: BTreeSet::new(),
    };
    play.run(shutdown).await
}

struct Play<'a, E: ?Sized, A: ?Sized, S> {
    config: &'a AntagonistConfig,
    engine: &'a E,
    arena: &'a mut A,
    say: S,
    judge: Judge,
    summary: Summary,
    /// Turns in a row that failed because of the engine.
    engine_faults: u32,
    /// The phase of the last turn.
    phase: Option<u32>,
    /// Who was taken down, and not seen to run since.
    downed: BTreeSet<ContainerId>,
}

impl<E, A, S> Play<'_, E, A, S>
where
    E: ContainerSource + ?Sized,
    A: Arena + ?Sized,
    S: FnMut(AntagonistNews) + Send,
{
    async fn run(mut self, shutdown: &CancellationToken) -> Summary {
        let (scenario, seed) = (&self.config.scenario, self.config.seed);
        (self.say)(AntagonistNews::Began(Box::new(self.config.clone())));
        let begins = Instant::now();
        let ends = scenario.lasts().map(|lasts| begins + lasts);
        let mut moments = scenario.moments(seed);
        let mut next = moments.next();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.summary.aborted.is_none() {
            let turn = until(next.as_ref().map(|moment| later(begins, moment.at)));
            // What is expected of the last faults may come after the scenario's end.
            let end = until(ends.filter(|_| self.judge.is_done()));
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = end => break,
                ended = self.arena.ended() => self.over(ended),
                () = turn => {
                    let moment = next.take().expect("the branch waits for one");
                    self.turn(&moment, shutdown).await;
                    // Turns that were missed while one took long are left out.
                    let now = begins.elapsed();
                    next = moments.by_ref().find(|moment| moment.at >= now);
                }
                _ = looks.tick(), if !self.judge.is_done() => self.look().await,
            }
        }
        self.end().await
    }

    /// Lists the containers and judges by them; `None` when the engine does not answer.
    async fn list(&mut self) -> Option<Vec<ContainerFacts>> {
        match self.engine.list().await {
            Ok(containers) => {
                self.engine_faults = 0;
                self.judge_by(&containers);
                Some(containers)
            }
            Err(error) => {
                self.engine_faults += 1;
                (self.say)(AntagonistNews::EngineFault(error));
                let most = self.config.scenario.abort.engine_faults;
                if most.is_some_and(|most| self.engine_faults >= most) {
                    self.abort(format!("the engine failed {} times in a row", self.engine_faults));
                }
                None
            }
        }
    }

    /// Between turns; that the engine does not answer is told at the next one.
    async fn look(&mut self) {
        if let Ok(containers) = self.engine.list().await {
            self.judge_by(&containers);
        }
    }

    fn judge_by(&mut self, containers: &[ContainerFacts]) {
        for verdict in self.judge.judge(containers, Instant::now()) {
            let count = if verdict.met { &mut self.summary.met } else { &mut self.summary.missed };
            *count += 1;
            (self.say)(AntagonistNews::Judged(verdict));
        }
        self.watch_limits(containers);
    }

    fn watch_limits(&mut self, containers: &[ContainerFacts]) {
        let abort = self.config.scenario.abort;
        let down = down_percent(&self.config.scenario, containers);
        if let (Some(most), Some(down)) = (abort.down_percent, down)
            && down >= most
        {
            self.abort(format!("{down} % of the targets do not run"));
        }
        if abort.missed.is_some_and(|most| self.summary.missed >= most) {
            self.abort(format!("{} faults did not come out as expected", self.summary.missed));
        }
    }

    fn abort(&mut self, why: String) {
        if self.summary.aborted.is_none() {
            (self.say)(AntagonistNews::Aborted(why.clone()));
            self.summary.aborted = Some(why);
        }
    }

    async fn turn(&mut self, moment: &Moment<'_>, shutdown: &CancellationToken) {
        if self.phase.replace(moment.draw.phase) != Some(moment.draw.phase)
            && self.config.scenario.phases.len() > 1
        {
            (self.say)(AntagonistNews::Phase(moment.phase.name.clone()));
        }
        let Some(containers) = self.list().await else { return };
        if self.summary.aborted.is_some() {
            return;
        }
        let mut busy = self.release_healed(&containers).await;
        let room = self.config.scenario.max_concurrent.saturating_sub(busy.len());
        if room == 0 {
            (self.say)(AntagonistNews::Full(busy.len()));
            return;
        }
        // Whom a phase attacks again and again, it does not let recover.
        let again = moment.phase.course != Course::Anew;
        let spared = |container: &&ContainerFacts| match self.arena.spares(&container.name) {
            Some(Spared::Recovering) => !again,
            Some(Spared::Outside) => true,
            None => false,
        };
        busy.extend(containers.iter().filter(spared).map(|container| container.id.clone()));
        let attacks = Turn { draw: moment.draw, phase: moment.phase, busy: &busy, room }.attacks(&containers);
        if attacks.is_empty() {
            (self.say)(AntagonistNews::Nobody);
        }
        if shutdown.is_cancelled() {
            return;
        }
        match self.config.mode {
            AttackMode::DryRun => {
                for attack in attacks {
                    (self.say)(AntagonistNews::WouldDo(attack));
                }
            }
            AttackMode::Act => self.attack(moment, &attacks, &containers).await,
        }
    }

    /// Whoever was healed is free again, once its lease is over: until then its holder may start what the next attack
    /// stops. Who is not free.
    async fn release_healed(&mut self, containers: &[ContainerFacts]) -> BTreeSet<ContainerId> {
        let runs: BTreeSet<&ContainerId> =
            containers.iter().filter(|c| c.state == RunState::Running).map(|c| &c.id).collect();
        let (healed, others): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.downed).into_iter().partition(|id| runs.contains(id));
        self.downed = others;
        for id in &healed {
            self.arena.release(id);
        }
        let end = Instant::now() + RELEASE_WITHIN;
        while !self.arena.busy().is_disjoint(&healed) {
            match tokio::time::timeout_at(end, self.arena.ended()).await {
                Ok(ended) => self.over(ended),
                Err(_) => break,
            }
        }
        self.arena.busy()
    }

    /// Makes the attacks of a turn at once.
    async fn attack(&mut self, moment: &Moment<'_>, attacks: &[Attack], containers: &[ContainerFacts]) {
        let asked = Instant::now();
        let Self { arena, say, judge, summary, downed, .. } = self;
        let mut told = |attack: &Attack, outcome: Result<Begun, String>| {
            let attack = attack.clone();
            match outcome {
                Ok(begun) => {
                    summary.faults += 1;
                    summary.stops += u32::from(attack.fault == Fault::Stop);
                    if attack.fault.kind().takes_down() {
                        downed.insert(attack.id.clone());
                    }
                    if let Some(expect) = moment.phase.expect {
                        let before = containers.iter().find(|container| container.id == attack.id);
                        judge.watch(&attack, expect, before.and_then(|c| c.started_at), Instant::now());
                    }
                    say(AntagonistNews::Did { attack, took: asked.elapsed(), how: begun.how });
                }
                Err(why) => say(AntagonistNews::Refused { attack, why }),
            }
        };
        arena.begin_all(attacks, &mut told).await;
    }

    fn over(&mut self, ended: Ended) {
        self.downed.remove(&ended.lease.container);
        if matches!(ended.outcome, Ok(Undone::ByUs)) {
            self.judge.undone(&ended.lease.container);
        }
        (self.say)(AntagonistNews::Over(ended));
    }

    async fn end(mut self) -> Summary {
        let (mut down, mut lost) = (Vec::<ContainerName>::new(), Vec::new());
        for ended in self.arena.end_all().await {
            let kind = ended.lease.fault.kind();
            match ended.outcome {
                Ok(Undone::ByUs) if kind.takes_down() || kind == FaultKind::Oom => {
                    down.push(ended.lease.name);
                }
                Ok(_) => {}
                Err(why) => {
                    tracing::warn!(container = %ended.lease.name, fault = %ended.lease.fault, why, "not undone");
                    lost.push(ended.lease.name);
                }
            }
        }
        down.sort();
        lost.sort();
        let only_stops = self.config.scenario.kinds() == BTreeSet::from([FaultKind::Stop]);
        (self.say)(AntagonistNews::Ended { summary: self.summary.clone(), only_stops, down, lost });
        self.summary
    }
}

/// `span` after `from`; a time that never comes is a day away, since by then something else has happened.
fn later(from: Instant, span: Duration) -> Instant {
    from.checked_add(span).unwrap_or_else(|| from + Duration::from_hours(24))
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
pub(super) mod tests;
