//! Campaigns that somebody else orders: one at a time on a host, each a lease of its own.
//!
//! ```text
//!              begin                end, its time, not renewed,        all is undone
//!   (nothing) ──────► playing ──── shutdown ────────────► ending ─────────────────► ended
//!                     │     ▲                                                         │
//!                     └─────┘ renew                                    begin: another ┘
//! ```
//!
//! What an agent before left in the ledger is undone at the start, and tried again while something is left.

mod ground;
mod news;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::news::NewsLog;
use super::order::scenario_of;
use super::{
    AntagonistConfig, AntagonistNews, AttackMode, Draw, Noted, Scenario, Summary, Swept, note_of_swept,
    run_antagonist, schedule,
};
use crate::bus::{
    AgentCommand, AgentReply, ChaosNews, ChaosOrder, ChaosReport, ChaosState, ChaosSummary, CommandError,
};
use crate::model::{Consent, FaultNote, HostName, Timestamp, clean, format_span};

pub use ground::{Ground, HostGround};

/// A command, and where its answer goes.
pub type CampaignAsk = (AgentCommand, oneshot::Sender<AgentReply>);

/// How long a host goes on without a renewal, at least and at most.
const WITHIN: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_mins(1);
/// Between two attempts to undo what an earlier run left.
const SWEEP_AGAIN: Duration = Duration::from_secs(10);
/// Lines that wait to be kept; a campaign says a few a turn.
const LINES: usize = 1024;
/// The longest plan that is told, bytes: it must fit into a message.
const LONGEST_PLAN: usize = 512 * 1024;

/// Plays campaigns on one host.
pub struct Campaigns {
    /// The host's name, which is mixed into the seed.
    pub host: HostName,
    /// Whether it may.
    pub consent: Consent,
    /// Where.
    pub ground: Arc<dyn Ground>,
}

/// The seed of one host of a campaign: hosts with the same containers shall not suffer the same at the same time.
pub fn seed_of_host(seed: u64, host: &HostName) -> u64 {
    Draw { seed, phase: 0, turn: 0 }.number("host", host.as_str())
}

impl Campaigns {
    /// Answers `asks` and tells `notes` of each fault, until `shutdown` and the end of all its faults.
    pub async fn play(
        &self,
        asks: mpsc::Receiver<CampaignAsk>,
        notes: mpsc::Sender<FaultNote>,
        shutdown: CancellationToken,
    ) {
        let (said, lines) = mpsc::channel(LINES);
        let sweep_at = Some(Instant::now());
        let stage = Stage { campaigns: self, notes, said, current: None, sweeping: None, sweep_at };
        stage.run(asks, lines, &shutdown).await;
    }
}

/// The campaign that is played, or was last.
struct Campaign {
    id: Uuid,
    by: String,
    since: Timestamp,
    within: Duration,
    /// When it ends unless it is renewed.
    until: Instant,
    end: CancellationToken,
    /// Why it was ended before its time.
    why: Option<String>,
    state: ChaosState,
    news: NewsLog,
    task: Option<JoinHandle<(Summary, usize)>>,
    summary: Option<ChaosSummary>,
}

impl Campaign {
    fn end(&mut self, why: Option<String>) {
        if self.state != ChaosState::Playing {
            return;
        }
        if let Some(why) = &why {
            self.news.push(ChaosNews { time: Timestamp::now(), text: format!("ends early: {why}") });
        }
        (self.why, self.state) = (why, ChaosState::Ending);
        self.end.cancel();
    }

    fn report(&self, after: u64) -> AgentReply {
        let (news, next) = self.news.after(after);
        let (campaign, state, summary) = (self.id, self.state, self.summary.clone());
        AgentReply::Chaos(Box::new(ChaosReport { campaign, state, news, next, summary }))
    }
}

struct Stage<'a> {
    campaigns: &'a Campaigns,
    notes: mpsc::Sender<FaultNote>,
    said: mpsc::Sender<ChaosNews>,
    current: Option<Campaign>,
    sweeping: Option<JoinHandle<Vec<Swept>>>,
    sweep_at: Option<Instant>,
}

impl Stage<'_> {
    async fn run(
        mut self,
        mut asks: mpsc::Receiver<CampaignAsk>,
        mut lines: mpsc::Receiver<ChaosNews>,
        shutdown: &CancellationToken,
    ) {
        loop {
            let lapses = self.current.as_ref().filter(|c| c.state == ChaosState::Playing).map(|c| c.until);
            let played = self.current.as_mut().and_then(|campaign| campaign.task.as_mut());
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = until(lapses) => self.lapse(),
                Some(line) = lines.recv() => self.keep(line),
                outcome = joined(played) => self.ended(outcome, &mut lines),
                swept = joined(self.sweeping.as_mut()) => self.swept(swept.unwrap_or_default()),
                () = until(self.sweep_at), if self.sweeping.is_none() => self.sweep(),
                Some((command, answer)) = asks.recv() => self.answer(command, answer).await,
            }
        }
        let Some(campaign) = &mut self.current else { return };
        campaign.end(Some("the agent ends".to_owned()));
        // Whoever waits for the agent bounds this; then the holders of the faults undo them by themselves.
        let _ = joined(campaign.task.as_mut()).await;
    }

    /// Nobody said for too long that it should go on.
    fn lapse(&mut self) {
        let Some(campaign) = &mut self.current else { return };
        let why = format!("nobody has renewed it for {}", format_span(campaign.within));
        tracing::warn!(campaign = %campaign.id, "the campaign of faults ends: {why}");
        campaign.end(Some(why));
    }

    fn keep(&mut self, line: ChaosNews) {
        if let Some(campaign) = &mut self.current {
            tracing::info!(campaign = %campaign.id, "{}", line.text);
            campaign.news.push(line);
        }
    }

    fn ended(&mut self, outcome: Option<(Summary, usize)>, lines: &mut mpsc::Receiver<ChaosNews>) {
        while let Ok(line) = lines.try_recv() {
            self.keep(line);
        }
        let Some(campaign) = &mut self.current else { return };
        let failed = || {
            (
                Summary {
                    aborted: Some("it failed inside; the agent's log says why".into()),
                    ..Summary::default()
                },
                0,
            )
        };
        let (summary, lost) = outcome.unwrap_or_else(failed);
        campaign.task = None;
        campaign.state = ChaosState::Ended;
        campaign.summary = Some(ChaosSummary {
            faults: summary.faults,
            met: summary.met,
            missed: summary.missed,
            aborted: summary.aborted.or(campaign.why.take()),
            lost: u32::try_from(lost).unwrap_or(u32::MAX),
        });
        self.sweep_at = Some(Instant::now());
    }

    // ---- what is left of earlier runs -----------------------------------------------------------

    fn sweep(&mut self) {
        self.sweep_at = None;
        let ground = self.campaigns.ground.clone();
        self.sweeping = Some(tokio::spawn(async move { ground.sweep().await }));
    }

    fn swept(&mut self, swept: Vec<Swept>) {
        self.sweeping = None;
        for swept in swept {
            if swept.outcome.is_err() {
                self.sweep_at = Some(Instant::now() + SWEEP_AGAIN);
            }
            let note = note_of_swept(&swept);
            tracing::warn!("{}", AntagonistNews::Swept(swept));
            if let Some(note) = note {
                tell(&self.notes, note);
            }
        }
    }

    // ---- answers --------------------------------------------------------------------------------

    async fn answer(&mut self, command: AgentCommand, answer: oneshot::Sender<AgentReply>) {
        let host = &self.campaigns.host;
        let reply = match command {
            _ if self.campaigns.consent == Consent::Refused => Err(format!(
                "host {host} does not allow chaos; only its own configuration can: start its agent with --chaos, \
                 DOCKHEALTH_CHAOS=true or `chaos = true` in its settings file"
            )),
            AgentCommand::ChaosBegin { campaign, by, within_ms, order } => {
                self.begin(campaign, clean(&by, 100), Duration::from_millis(within_ms), &order).await
            }
            AgentCommand::ChaosPlan { order } => {
                let (ground, host) = (self.campaigns.ground.clone(), host.clone());
                tokio::spawn(async move {
                    let turns = plan(ground.as_ref(), &host, &order).await;
                    let _ = answer.send(turns.unwrap_or_else(refused));
                });
                return;
            }
            AgentCommand::ChaosRenew { campaign, after } => self.renew(campaign, after),
            AgentCommand::ChaosEnd { campaign } => self.end(campaign),
            _ => Err("that is no command about campaigns".to_owned()),
        };
        // Who asked may have given up; that is theirs to handle.
        let _ = answer.send(reply.unwrap_or_else(refused));
    }

    async fn begin(
        &mut self,
        id: Uuid,
        by: String,
        within: Duration,
        order: &ChaosOrder,
    ) -> Result<AgentReply, String> {
        let host = &self.campaigns.host;
        match &mut self.current {
            // The answer to its beginning was lost.
            Some(campaign) if campaign.id == id => return Ok(campaign.report(0)),
            Some(campaign) if campaign.state != ChaosState::Ended => {
                let doing = if campaign.state == ChaosState::Playing { "plays" } else { "still undoes" };
                return Err(format!(
                    "host {host} {doing} campaign {}, which {} began at {}: wait for its end, or end it with \
                     `dockhealth antagonist --host {host} --sweep`",
                    campaign.id, campaign.by, campaign.since
                ));
            }
            _ => {}
        }
        if !WITHIN.contains(&within) {
            let (least, most) = (format_span(*WITHIN.start()), format_span(*WITHIN.end()));
            return Err(format!(
                "renewed_within: {} is out of range: give from {least} to {most}",
                format_span(within)
            ));
        }
        let ground = self.campaigns.ground.clone();
        let (scenario, seed) = scenario(ground.as_ref(), host, order)?;
        let mode = if order.dry_run { AttackMode::DryRun } else { AttackMode::Act };
        if mode == AttackMode::Act {
            ground.check(&scenario).await?;
        }
        let arena = ground.arena(mode)?;
        let end = CancellationToken::new();
        tracing::info!(campaign = %id, by, scenario = scenario.name, "begins a campaign of faults");
        let play = Play {
            config: AntagonistConfig { scenario, seed, mode },
            ground,
            arena: Noted::new(arena, Some(id), {
                let notes = self.notes.clone();
                move |note| tell(&notes, note)
            }),
            said: self.said.clone(),
            end: end.clone(),
        };
        let campaign = Campaign {
            id,
            by,
            since: Timestamp::now(),
            within,
            until: Instant::now() + within,
            end,
            why: None,
            state: ChaosState::Playing,
            news: NewsLog::default(),
            task: Some(tokio::spawn(play.run())),
            summary: None,
        };
        Ok(self.current.insert(campaign).report(0))
    }

    /// The campaign of this id.
    fn known(&mut self, id: Uuid) -> Result<&mut Campaign, String> {
        let host = &self.campaigns.host;
        self.current.as_mut().filter(|campaign| campaign.id == id).ok_or_else(|| {
            format!("host {host} has no campaign {id}: its agent was started anew, or plays another")
        })
    }

    fn renew(&mut self, id: Uuid, after: u64) -> Result<AgentReply, String> {
        let campaign = self.known(id)?;
        campaign.until = Instant::now() + campaign.within;
        Ok(campaign.report(after))
    }

    fn end(&mut self, id: Option<Uuid>) -> Result<AgentReply, String> {
        self.sweep_at.get_or_insert_with(Instant::now);
        let campaign = if let Some(id) = id {
            self.known(id)?
        } else {
            let host = &self.campaigns.host;
            let played = self.current.as_mut().filter(|campaign| campaign.state != ChaosState::Ended);
            played
                .ok_or_else(|| format!("host {host} plays no campaign; what an earlier run left is undone"))?
        };
        let told = if id.is_none() { Some("somebody ended it".to_owned()) } else { None };
        campaign.end(told);
        Ok(campaign.report(u64::MAX))
    }
}

struct Play<N> {
    config: AntagonistConfig,
    ground: Arc<dyn Ground>,
    arena: Noted<N>,
    said: mpsc::Sender<ChaosNews>,
    end: CancellationToken,
}

impl<N: FnMut(FaultNote) + Send> Play<N> {
    /// What came of it, and how many faults could not be undone.
    async fn run(mut self) -> (Summary, usize) {
        let (mut left, said) = (0, self.said);
        let say = |news: AntagonistNews| {
            if let AntagonistNews::Ended { lost, .. } = &news {
                left = lost.len();
            }
            let line = ChaosNews { time: Timestamp::now(), text: clean(&news.to_string(), 1_000) };
            if said.try_send(line).is_err() {
                tracing::warn!("lines about a campaign come faster than they are kept: one is left out");
            }
        };
        let engine = self.ground.engine();
        let summary = run_antagonist(&self.config, engine.as_ref(), &mut self.arena, &self.end, say).await;
        (summary, left)
    }
}

/// What `order` means on this host.
fn scenario(ground: &dyn Ground, host: &HostName, order: &ChaosOrder) -> Result<(Scenario, u64), String> {
    let mut scenario = scenario_of(order)?;
    scenario.spare(ground.own().as_ref());
    let seed = order.seed.or(scenario.seed).unwrap_or_else(rand::random);
    Ok((scenario, seed_of_host(seed, host)))
}

async fn plan(ground: &dyn Ground, host: &HostName, order: &ChaosOrder) -> Result<AgentReply, String> {
    let (scenario, seed) = scenario(ground, host, order)?;
    let end = scenario.lasts().ok_or("for: a plan must end: say how long it lasts, for example 10m")?;
    let containers = ground.engine().list().await.map_err(|error| error.to_string())?;
    let turns =
        serde_json::to_value(schedule(&scenario, seed, &containers, end)).expect("plain data becomes JSON");
    if turns.to_string().len() > LONGEST_PLAN {
        return Err(format!(
            "for: that plan is longer than {} KiB: give a shorter span",
            LONGEST_PLAN / 1024
        ));
    }
    Ok(AgentReply::ChaosPlan { turns })
}

fn refused(reason: String) -> AgentReply {
    AgentReply::Error(CommandError::Refused { reason })
}

fn tell(notes: &mpsc::Sender<FaultNote>, note: FaultNote) {
    if let Err(error) = notes.try_send(note) {
        tracing::warn!(%error, "a fault is missing in the history");
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What a task came to, `None` when it failed; waits for ever when there is none.
async fn joined<T>(task: Option<&mut JoinHandle<T>>) -> Option<T> {
    match task {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}
