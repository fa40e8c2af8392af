//! What the controller tells while the demo plays, line by line.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::stage::{full, short};
use crate::client::{Api, ContainerView};
use crate::cmd::Failure;
use crate::cmd::output::print;
use crate::model::{Actor, ContainerName, Event, EventKind};

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Actions of the healer.
const ACTIONS: [EventKind; 3] =
    [EventKind::ContainerStarted, EventKind::ContainerRestarted, EventKind::ContainerRecreated];

/// The events since the demo began.
pub(super) struct Story {
    api: Api,
    began: Instant,
    cursor: u64,
    events: Vec<Event>,
}

impl Story {
    /// Begins after what happened before.
    pub(super) fn begin(api: Api) -> Result<Self, Failure> {
        let newest: Vec<Event> = api.get("/events?limit=1")?;
        let cursor = newest.first().map_or(0, |event| event.seq);
        Ok(Self { api, began: Instant::now(), cursor, events: Vec::new() })
    }

    /// A line of the demo itself.
    pub(super) fn say(&self, line: &str) -> Result<(), Failure> {
        print(&format!("{:6.1} s  -- {line}\n", self.began.elapsed().as_secs_f64()))
    }

    /// Reads what happened, and prints what is about the cast.
    fn listen(&mut self) -> Result<(), Failure> {
        let news: Vec<Event> = self.api.get(&format!("/events?after={}", self.cursor))?;
        for event in news {
            self.cursor = event.seq;
            if let Some(name) = event.container.as_ref().and_then(short) {
                let at = self.began.elapsed().as_secs_f64();
                print(&format!("{at:6.1} s  {name:<10}  {}\n", event.reason))?;
            }
            self.events.push(event);
        }
        Ok(())
    }

    /// Listens for so long.
    pub(super) async fn watch_for(&mut self, span: Duration) -> Result<(), Failure> {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.listen()?;
            sleep(ASK_EVERY).await;
        }
        self.listen()
    }

    /// Listens until one more `kind` of event than now was told of one of the cast.
    pub(super) async fn until(
        &mut self,
        name: &str,
        kind: EventKind,
        within: Duration,
    ) -> Result<(), Failure> {
        // What was told before the attack is not its healing; only quarantine may have come meanwhile.
        let before = if kind == EventKind::Quarantined { 0 } else { self.count(&[name], kind) };
        self.until_count(&[name], kind, before + 1, within).await
    }

    /// Listens until so many such events were told of these in all.
    pub(super) async fn until_count(
        &mut self,
        names: &[&str],
        kind: EventKind,
        count: usize,
        within: Duration,
    ) -> Result<(), Failure> {
        let end = Instant::now() + within;
        loop {
            self.listen()?;
            if self.count(names, kind) >= count {
                return Ok(());
            }
            if Instant::now() > end {
                let what = names.join(", ");
                return Err(Failure::Failed(format!("{what}: no {kind} within {} s", within.as_secs())));
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Waits until one of the cast passes its checks.
    pub(super) async fn until_well(&mut self, name: &str, within: Duration) -> Result<(), Failure> {
        let end = Instant::now() + within;
        while !self.view(name)?.is_some_and(|view| ["healthy", "degraded"].contains(&view.health.as_str())) {
            if Instant::now() > end {
                return Err(Failure::Failed(format!(
                    "{name} does not answer: see `dockhealth why {}`",
                    full(name)
                )));
            }
            self.listen()?;
            sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    /// The loss that one of the cast shows, percent.
    pub(super) fn loss_of(&self, name: &str) -> Result<f64, Failure> {
        let loss = self.view(name)?.and_then(|view| view.loss_percent);
        loss.ok_or_else(|| Failure::Failed(format!("{name} was not checked")))
    }

    /// How many such events were told of these.
    pub(super) fn count(&self, names: &[&str], kind: EventKind) -> usize {
        let about =
            |event: &&Event| event.container.as_ref().and_then(short).is_some_and(|n| names.contains(&n));
        self.events.iter().filter(|event| event.kind == kind).filter(about).count()
    }

    /// How often the healer acted on one of the cast.
    pub(super) fn actions_on(&self, name: &str) -> usize {
        ACTIONS.iter().map(|kind| self.count(&[name], *kind)).sum()
    }

    /// How often the healer acted on one of these by itself; what an operator ordered meanwhile is theirs.
    pub(super) fn actions_on_any(&self, names: &BTreeSet<ContainerName>) -> usize {
        let theirs = |event: &&Event| event.container.as_ref().is_some_and(|name| names.contains(name));
        let own = |event: &&Event| event.by == Actor::Agent && ACTIONS.contains(&event.kind);
        self.events.iter().filter(own).filter(theirs).count()
    }

    /// Everybody else's containers that are on nobody's list.
    pub(super) fn others(&self) -> Result<BTreeSet<ContainerName>, Failure> {
        let all: Vec<ContainerView> = self.api.get("/containers?monitored=false")?;
        Ok(all.into_iter().map(|view| view.name).filter(|name| short(name).is_none()).collect())
    }

    fn view(&self, name: &str) -> Result<Option<ContainerView>, Failure> {
        let all: Vec<ContainerView> = self.api.get("/containers?monitored=true")?;
        Ok(all.into_iter().find(|view| view.name.as_str() == full(name)))
    }
}
