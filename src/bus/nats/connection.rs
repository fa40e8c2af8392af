//! One connection to NATS servers: kept up for ever, watched, with requests that fail fast.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, ClientError, Event, Message, ServerError, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::options::{NatsOptions, NatsOptionsError};
use crate::bus::{BusError, BusStatus};
use crate::model::clean;

/// How long the server may take for a round trip or for taking a message off our hands.
const ROUND_TRIP: Duration = Duration::from_secs(2);
/// How much later than the answer to a round trip the client may hand over a refusal that came before it.
const REFUSAL_WITHIN: Duration = Duration::from_millis(20);
/// How many different complaints of the server are logged; the same one is logged once.
const LOGGED: usize = 64;

/// A connection; clones are the same one. It closes when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Connection(Arc<Shared>);

struct Shared {
    line: Line,
    status: watch::Receiver<BusStatus>,
    /// Grows by one with each new connection to a server.
    epoch: watch::Receiver<u64>,
    dropped: Arc<AtomicU64>,
    supervisor: AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Connection {
    /// Starts to connect, and never fails because no server answers.
    pub(super) async fn open(options: &NatsOptions) -> Result<Self, NatsOptionsError> {
        let (urls, options) = options.resolve()?;
        let (events, events_receiver) = mpsc::channel(256);
        let options = options.event_callback(move |event| {
            let events = events.clone();
            async move { drop(events.send(event).await) }
        });
        let servers = urls.join(", ");
        let connecting = BusStatus::Disconnected(format!("not yet connected to {servers}"));
        let client = options.connect(urls).await.map_err(|e| NatsOptionsError(vec![e.to_string()]))?;
        let (refusals, _) = broadcast::channel(64);
        let line = Line { client, refusals };
        let (status, status_receiver) = watch::channel(connecting);
        let (epoch, epoch_receiver) = watch::channel(0);
        let dropped = Arc::default();
        let supervisor = Supervisor {
            line: line.clone(),
            servers,
            status,
            epoch,
            dropped: Arc::clone(&dropped),
            logged: BTreeSet::new(),
        };
        let supervisor = tokio::spawn(supervisor.run(events_receiver)).abort_handle();
        let (status, epoch) = (status_receiver, epoch_receiver);
        Ok(Self(Arc::new(Shared { line, status, epoch, dropped, supervisor })))
    }

    pub(super) fn status(&self) -> watch::Receiver<BusStatus> {
        self.0.status.clone()
    }

    /// How many connections there were, and when there is another.
    pub(super) fn epoch(&self) -> watch::Receiver<u64> {
        self.0.epoch.clone()
    }

    /// Where losses are counted.
    pub(super) fn dropped(&self) -> &Arc<AtomicU64> {
        &self.0.dropped
    }

    /// Sends without waiting for anyone.
    pub(super) async fn publish(&self, subject: String, payload: Bytes) -> Result<(), BusError> {
        self.check(payload.len())?;
        let sent = tokio::time::timeout(ROUND_TRIP, self.0.line.client.publish(subject, payload)).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(BusError::Disconnected(e.to_string())),
            Err(_) => Err(BusError::Disconnected("the server takes no more messages".into())),
        }
    }

    /// Subscribes, as one of `group` where there is one; on return the server knows of it, when one is connected.
    pub(super) async fn listen(
        &self,
        subject: String,
        group: Option<String>,
    ) -> Result<Subscriber, BusError> {
        let line = &self.0.line;
        let mut refusals = line.refusals.subscribe();
        let lost = |e: async_nats::SubscribeError| BusError::Disconnected(e.to_string());
        let subscriber = match group {
            Some(group) => line.client.queue_subscribe(subject.clone(), group).await,
            None => line.client.subscribe(subject.clone()).await,
        };
        let subscriber = subscriber.map_err(lost)?;
        if *self.0.status.borrow() == BusStatus::Connected {
            // A refusal was sent before the answer, but the client hands it over by another way.
            let known = async {
                line.round_trip().await;
                tokio::time::sleep(REFUSAL_WITHIN).await;
            };
            tokio::select! {
                refusal = refusal_of(&mut refusals, &subject) => return Err(BusError::Refused(refusal)),
                () = known => {}
            }
        }
        Ok(subscriber)
    }

    /// Sends with an inbox of its own for the answers; the first may be a "no responders".
    pub(super) async fn ask_many(&self, question: Question) -> Result<Subscriber, BusError> {
        self.check(question.payload.len())?;
        self.0.line.ask(question).await
    }

    /// Sends and waits for one answer.
    pub(super) async fn ask(&self, question: Question, within: Duration) -> Result<Message, BusError> {
        let subject = question.subject.clone();
        let mut refusals = self.0.line.refusals.subscribe();
        let mut status = self.status();
        let mut answers = self.ask_many(question).await?;
        tokio::select! {
            lost = status.wait_for(|status| *status != BusStatus::Connected) => {
                let why = lost.map_or_else(|e| e.to_string(), |_| format!("no answer on {subject} before the loss"));
                Err(BusError::Disconnected(why))
            }
            refusal = refusal_of(&mut refusals, &subject) => Err(BusError::Refused(refusal)),
            answer = tokio::time::timeout(within, answers.next()) => match answer {
                Ok(Some(message)) if message.status != Some(StatusCode::NO_RESPONDERS) => Ok(message),
                _ => Err(BusError::NoAnswer(subject)),
            },
        }
    }

    /// Refuses what cannot be sent now: nothing is queued for a server that is away, and a message above the
    /// server's limit would end the connection.
    fn check(&self, bytes: usize) -> Result<(), BusError> {
        if let BusStatus::Disconnected(why) = &*self.0.status.borrow() {
            return Err(BusError::Disconnected(why.clone()));
        }
        let limit = self.0.line.client.max_payload();
        if bytes > limit {
            return Err(BusError::TooLarge { bytes, limit });
        }
        Ok(())
    }
}

/// A message that wants answers.
pub(super) struct Question {
    pub(super) subject: String,
    pub(super) headers: async_nats::HeaderMap,
    pub(super) payload: Bytes,
}

impl Question {
    pub(super) fn new(subject: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { subject: subject.into(), headers: async_nats::HeaderMap::new(), payload: payload.into() }
    }
}

/// The client, and what the server complained of.
#[derive(Clone)]
struct Line {
    client: Client,
    refusals: broadcast::Sender<String>,
}

impl Line {
    async fn ask(&self, question: Question) -> Result<Subscriber, BusError> {
        let Question { subject, headers, payload } = question;
        let inbox = self.client.new_inbox();
        let send = async {
            let answers = self.client.subscribe(inbox.clone()).await.map_err(|e| e.to_string())?;
            let sent = if headers.is_empty() {
                self.client.publish_with_reply(subject, inbox, payload).await
            } else {
                self.client.publish_with_reply_and_headers(subject, inbox, headers, payload).await
            };
            sent.map_err(|e| e.to_string()).map(|()| answers)
        };
        match tokio::time::timeout(ROUND_TRIP, send).await {
            Ok(answers) => answers.map_err(BusError::Disconnected),
            Err(_) => Err(BusError::Disconnected("the server takes no more messages".into())),
        }
    }

    /// Waits until the server has done all we sent so far. A question that nobody answers: the server says so, or
    /// complains that we may not ask.
    async fn round_trip(&self) {
        let inbox = self.client.new_inbox();
        let prefix = inbox.rsplit_once('.').map_or(inbox.as_str(), |(prefix, _)| prefix);
        let subject = format!("{prefix}.sync");
        let mut refusals = self.refusals.subscribe();
        let Ok(mut answers) = self.ask(Question::new(subject.clone(), Bytes::new())).await else { return };
        tokio::select! {
            _ = refusal_of(&mut refusals, &subject) => {}
            _ = tokio::time::timeout(ROUND_TRIP, answers.next()) => {}
        }
    }
}

/// Waits for the server's complaint about `subject`.
async fn refusal_of(refusals: &mut broadcast::Receiver<String>, subject: &str) -> String {
    let quoted = format!("\"{subject}\"");
    loop {
        match refusals.recv().await {
            Ok(text) if text.contains(&quoted) => return text,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Owns the status: turns the client's events into it.
struct Supervisor {
    line: Line,
    servers: String,
    status: watch::Sender<BusStatus>,
    epoch: watch::Sender<u64>,
    dropped: Arc<AtomicU64>,
    logged: BTreeSet<String>,
}

impl Supervisor {
    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            match event {
                Event::Connected => {
                    // Only now the server knows all our subscriptions.
                    self.line.round_trip().await;
                    info!(servers = self.servers, "connected to NATS");
                    // In this order: whoever sees the status must not take this connection for the next.
                    self.epoch.send_modify(|epoch| *epoch += 1);
                    self.status.send_replace(BusStatus::Connected);
                }
                Event::Disconnected | Event::Closed => {
                    self.disconnected(format!("the connection to {} was lost", self.servers));
                }
                Event::ClientError(ClientError::Other(error)) => {
                    self.disconnected(format!("cannot connect to {}: {error}", self.servers));
                }
                Event::ServerError(ServerError::Other(text)) => self.complaint(&text),
                Event::ServerError(error) => self.complaint(&error.to_string()),
                Event::SlowConsumer(_) => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
                Event::ClientError(_) | Event::LameDuckMode | Event::Draining => {}
            }
        }
    }

    fn disconnected(&mut self, why: String) {
        let status = BusStatus::Disconnected(why);
        if *self.status.borrow() != status {
            let BusStatus::Disconnected(why) = &status else { return };
            warn!("NATS: {why}");
            self.status.send_replace(status);
        }
    }

    fn complaint(&mut self, text: &str) {
        let text = clean(text, 300);
        if self.logged.len() < LOGGED && self.logged.insert(text.clone()) {
            warn!("NATS: the server complains: {text}");
        }
        // Nobody waits for it: then it was only worth the log.
        let _ = self.line.refusals.send(text);
    }
}
