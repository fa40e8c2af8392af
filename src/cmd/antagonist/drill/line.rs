//! The line to the controller: it is told that the drill goes on, and tells what the host's agent says. Its events are read
//! by their cursor, so none is lost while it is away.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::cast::is_well;
use crate::chaos::drill::Roster;
use crate::client::{Api, ApiError, ContainerView, Method};
use crate::cmd::Failure;
use crate::model::{DrillId, DrillReport, DrillRequest, Event, EventKind};

/// Between two questions for events.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// Between two questions how those are who are to recover.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two words that the drill goes on; the agent believes each for 20 s.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// After so long without a word that arrived, the agent has ended the drill.
const LAPSES: Duration = Duration::from_secs(20);
/// The agent's word that a drill began, or ended, is waited for so long.
const WORD_WITHIN: Duration = Duration::from_secs(20);
/// Events asked for at once.
const PAGE: usize = 1_000;
/// The most events that are kept: a drill with more has gone on for days.
const MOST_EVENTS: usize = 500_000;

/// The line.
pub(super) struct Line {
    api: Api,
    id: DrillId,
    request: DrillRequest,
    roster: watch::Sender<Roster>,
    cursor: u64,
    renewed: Instant,
    looked: Instant,
    events: Vec<Event>,
    /// What went wrong, each once.
    troubles: Vec<String>,
}

impl Line {
    /// Begins the drill; returns once the host's agent has said so.
    pub(super) fn begin(
        api: Api,
        id: DrillId,
        request: DrillRequest,
        roster: watch::Sender<Roster>,
    ) -> Result<Self, Failure> {
        let newest: Vec<Event> = api.get("/events?limit=1")?;
        let cursor = newest.first().map_or(0, |event| event.seq);
        let renewed = Instant::now();
        let mut line = Self {
            api,
            id,
            request,
            roster,
            cursor,
            renewed,
            looked: renewed,
            events: Vec::new(),
            troubles: Vec::new(),
        };
        line.renew()?;
        if line.wait_for(EventKind::DrillStarted)? {
            return Ok(line);
        }
        Err(Failure::Unreachable(format!(
            "the agent of host {} took the drill, but its word of that did not arrive within {} s",
            line.request.hostname,
            WORD_WITHIN.as_secs()
        )))
    }

    /// Follows until `stop` is dropped.
    pub(super) fn follow(mut self, stop: &Receiver<()>) -> Self {
        loop {
            match stop.recv_timeout(ASK_EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return self,
            }
            // What was not heard now is asked for again: the cursor stands.
            if let Err(error) = self.listen() {
                tracing::debug!(%error, "no events");
            }
            if self.looked.elapsed() >= LOOK_EVERY {
                self.looked = Instant::now();
                self.look();
            }
            if self.renewed.elapsed() >= RENEW_EVERY {
                let _ = self.renew();
            }
        }
    }

    /// Ends the drill; what the agent said until then, and what went wrong, a sentence each.
    pub(super) fn end(mut self) -> (Api, Vec<Event>, Vec<String>) {
        let ended = self.send(Method::Delete, "", None).map_err(Failure::from);
        match ended.and_then(|()| self.wait_for(EventKind::DrillEnded)) {
            Ok(true) => {}
            Ok(false) => self.note("the agent's last word did not arrive: events may be missing"),
            Err(error) => self.note(&format!("the drill could not be ended in order: {error}")),
        }
        (self.api, self.events, self.troubles)
    }

    fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(), ApiError> {
        self.api.send(method, &format!("/drills/{}{path}", self.id), body).map(drop)
    }

    fn renew(&mut self) -> Result<(), ApiError> {
        let sent = self.send(Method::Put, "", Some(&json!(self.request)));
        if self.renewed.elapsed() > LAPSES {
            self.note(
                "the controller or the agent was away for so long that the drill's mark lapsed meanwhile",
            );
        }
        if sent.is_ok() {
            self.renewed = Instant::now();
        }
        sent
    }

    fn note(&mut self, trouble: &str) {
        if !self.troubles.iter().any(|known| known == trouble) {
            self.troubles.push(trouble.to_owned());
        }
    }

    /// Reads what happened since.
    fn listen(&mut self) -> Result<(), ApiError> {
        loop {
            let path = format!("/events?after={}&host={}&limit={PAGE}", self.cursor, self.request.hostname);
            let news: Vec<Event> = self.api.get(&path)?;
            let count = news.len();
            for event in news {
                self.cursor = event.seq;
                self.hear(event);
            }
            if count < PAGE {
                return Ok(());
            }
        }
    }

    /// Sees who is well again.
    fn look(&self) {
        if self.roster.borrow().waiting().next().is_none() {
            return;
        }
        let path = format!("/containers?host={}", self.request.hostname);
        let Ok(views) = self.api.get::<Vec<ContainerView>>(&path) else { return };
        self.roster.send_modify(|roster| {
            views.iter().filter(|view| is_well(view)).for_each(|view| roster.seen_well(&view.name));
        });
    }

    fn hear(&mut self, event: Event) {
        if let Some(name) = &event.container {
            match event.kind {
                EventKind::ContainerFailing => self.roster.send_modify(|roster| roster.fails(name)),
                EventKind::Quarantined => self.roster.send_modify(|roster| roster.given_up(name)),
                EventKind::ContainerRecovered | EventKind::ContainerRemoved => {
                    self.roster.send_modify(|roster| roster.recovered(name));
                }
                _ => {}
            }
        }
        if self.events.len() < MOST_EVENTS {
            self.events.push(event);
        } else {
            self.note("it went on for too long: later events are left out");
        }
    }

    /// Whether the agent's word of this kind about this drill arrives in time.
    fn wait_for(&mut self, kind: EventKind) -> Result<bool, Failure> {
        let end = Instant::now() + WORD_WITHIN;
        loop {
            self.listen()?;
            if self.events.iter().rev().any(|event| event.kind == kind && event.drill_id == Some(self.id)) {
                return Ok(true);
            }
            if Instant::now() > end {
                return Ok(false);
            }
            std::thread::sleep(ASK_EVERY);
        }
    }
}

/// Stores the report.
pub(super) fn store(api: &Api, report: &DrillReport) -> Result<(), ApiError> {
    let path = format!("/drills/{}/report", report.id);
    api.send(Method::Put, &path, Some(&json!(report))).map(drop)
}
