//! Brings notifications to one receiver, one after the other, until it has taken them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::counters::Counter;
use super::{Notifications, TargetHealth, is_tried_once};
use crate::model::{Actor, EventDraft, EventKind};
use crate::notify::{Answer, Notice, PostVerdict, Poster, Target, pause};
use crate::store::{Attempt, DeliveryState, Due};

/// A notification that could not be delivered for so long is given up.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

/// So many attempts fail in a row before an event tells it; a refusal is told at once.
const TOLD_AFTER: u32 = 3;

/// The pause before the store is asked again after it failed.
const STORE_AGAIN: Duration = Duration::from_secs(5);

/// How long an attempt under way may go on when the controller ends, so that its outcome is not lost.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Brings notifications to one receiver.
pub(super) struct Courier {
    target: Target,
    id: String,
    poster: Arc<Poster>,
    handle: Notifications,
    queued: watch::Receiver<u64>,
    not_before: Option<Instant>,
}

impl Courier {
    pub(super) fn new(target: Target, poster: Arc<Poster>, handle: Notifications) -> Self {
        let (id, queued) = (target.id(), handle.queued.subscribe());
        Self { target, id, poster, handle, queued, not_before: None }
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            self.queued.borrow_and_update();
            let pause = match self.handle.db.next_delivery(&self.id).await {
                Ok(Some(due)) => match self.not_before.filter(|at| *at > Instant::now()) {
                    Some(until) if !is_tried_once(due.notice.kind) => Some(until),
                    _ => {
                        self.deliver(due, &shutdown).await;
                        continue;
                    }
                },
                Ok(None) => None,
                Err(error) => {
                    tracing::debug!(%error, "the queue of notifications cannot be read");
                    Some(Instant::now() + STORE_AGAIN)
                }
            };
            let rest = async {
                let time = async {
                    match pause {
                        Some(until) => tokio::time::sleep_until(until).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = time => {}
                    _ = self.queued.changed() => {}
                }
            };
            shutdown.run_until_cancelled(rest).await;
        }
    }

    async fn deliver(&mut self, due: Due, shutdown: &CancellationToken) {
        let now = self.handle.clock.now().wall;
        let too_old = now.since(due.notice.made) >= GIVE_UP_AFTER;
        let failures = self.handle.health(&self.target).failures;
        let answer = if too_old && failures > 0 {
            let detail = "given up: it could not be delivered for 24 h".into();
            Answer { verdict: PostVerdict::Refused, status: None, detail }
        } else {
            match self.post(&due, shutdown).await {
                Some(answer) => answer,
                None => return,
            }
        };
        let once = is_tried_once(due.notice.kind);
        let state = match answer.verdict {
            PostVerdict::Taken => DeliveryState::Delivered,
            PostVerdict::Later(_) if !once => DeliveryState::Waiting,
            PostVerdict::Later(_) | PostVerdict::Refused => DeliveryState::Failed,
        };
        self.count(state, answer.verdict);
        let (status, detail) = (answer.status, answer.detail.clone());
        let attempt = Attempt { state, at: self.handle.clock.now().wall, status, detail };
        self.note(due.n, attempt, shutdown).await;
        self.handle.tried.send_modify(|count| *count += 1);
        if answer.verdict == PostVerdict::Taken || !once {
            self.heed(&due, answer).await;
        }
    }

    /// One attempt; `None` where the controller ends before it is known what it came to: it is made again.
    async fn post(&self, due: &Due, shutdown: &CancellationToken) -> Option<Answer> {
        let notice: Notice = match serde_json::from_str(&due.notice.body) {
            Ok(notice) => notice,
            Err(error) => {
                let detail = format!("it cannot be read any more: {error}");
                return Some(Answer { verdict: PostVerdict::Refused, status: None, detail });
            }
        };
        let (poster, target) = (self.poster.clone(), self.target.clone());
        let post = tokio::task::spawn_blocking(move || poster.post(&notice, &target));
        let ending = async {
            shutdown.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        let outcome = tokio::select! {
            outcome = post => outcome,
            () = ending => return None,
        };
        Some(outcome.unwrap_or_else(|error| {
            tracing::error!("a notification could not be sent: {error}");
            let detail = "something failed inside; the controller's log says what".into();
            Answer { verdict: PostVerdict::Later(None), status: None, detail }
        }))
    }

    fn count(&self, state: DeliveryState, verdict: PostVerdict) {
        match state {
            DeliveryState::Delivered => self.handle.counters.count(Counter::NotificationsDelivered),
            DeliveryState::Failed => self.handle.counters.count(Counter::NotificationsFailed),
            DeliveryState::Waiting => {}
        }
        if verdict != PostVerdict::Taken {
            self.handle.counters.count(Counter::NotificationAttemptsFailed);
        }
    }

    /// Notes what an attempt came to, until the store takes it: what was delivered must not be sent again only because a
    /// disk is full.
    async fn note(&self, n: i64, attempt: Attempt, shutdown: &CancellationToken) {
        loop {
            let noted = self.handle.db.note_attempt(&self.id, n, attempt.clone()).await;
            if self.handle.history.note(noted).is_ok() {
                return;
            }
            let pause = tokio::time::sleep(STORE_AGAIN);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Takes note of how it goes with the receiver, and tells it where that changes.
    async fn heed(&mut self, due: &Due, answer: Answer) {
        let now = self.handle.clock.now().wall;
        let before = self.handle.health(&self.target);
        let mut health = before.clone();
        let shown = self.target.shown();
        let said = if answer.verdict == PostVerdict::Taken {
            self.not_before = None;
            health = TargetHealth::default();
            before.told.then(|| (EventKind::NotifyWorks, format!("notifications reach {shown} again")))
        } else {
            health.failures = before.failures.saturating_add(1);
            health.since = before.since.or(Some(now));
            health.detail = Some(answer.detail.clone());
            if let PostVerdict::Later(asked) = answer.verdict {
                let pause = pause(health.failures, asked, rand::random());
                self.not_before = Some(Instant::now() + pause);
            }
            let tell = answer.verdict == PostVerdict::Refused || health.failures >= TOLD_AFTER;
            health.told |= tell;
            (tell && !before.told).then(|| {
                let reason = format!(
                    "notifications do not reach {shown}: it {}; the first of them: {}",
                    answer.detail, due.notice.title
                );
                (EventKind::NotifyFailing, reason)
            })
        };
        let id = self.id.clone();
        self.handle.healths.send_modify(|healths| drop(healths.insert(id, health)));
        if let Some((kind, reason)) = said {
            let data = serde_json::json!({ "receiver": shown, "status": answer.status });
            self.handle
                .history
                .record(None, EventDraft::new(kind, Actor::Controller, reason).with(data), now)
                .await;
        }
    }
}
