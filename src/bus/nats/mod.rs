//! The bus over NATS servers; `docs/protocol.md` has all that goes over the wire.

mod bucket;
mod connection;
mod options;
mod watcher;

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream::BoxStream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use self::connection::{Connection, Question};
use self::watcher::Watcher;
use super::mailbox::mailbox;
use super::{Bus, BusError, BusStatus, DesiredChange, DesiredUpdate, Incoming, Responder, Subject};

pub use self::options::{NatsOptions, NatsOptionsError, Role};

/// A bus over NATS servers; clones share one connection, which closes with the last of them, their subscriptions and
/// watches. What was published in that moment may be lost: who must know that it arrived makes a request.
#[derive(Clone)]
pub struct NatsBus {
    connection: Connection,
    role: Role,
}

impl NatsBus {
    /// Starts to connect, and goes on for ever: only bad options are an error. [`Bus::status`] tells the rest.
    pub async fn connect(options: NatsOptions) -> Result<Self, NatsOptionsError> {
        let connection = Connection::open(&options).await?;
        Ok(Self { connection, role: options.role })
    }

    /// How many messages slow subscribers have lost.
    pub fn dropped(&self) -> u64 {
        self.connection.dropped().load(Ordering::Relaxed)
    }

    fn read(&self, mut messages: Subscriber) -> BoxStream<'static, Incoming> {
        let (sender, receiver) = mailbox(self.connection.dropped().clone());
        tokio::spawn(async move {
            // The client would drop the newest; read at once, so that the mailbox drops the oldest.
            loop {
                tokio::select! {
                    message = messages.next() => match message {
                        Some(message) => sender.send(message),
                        None => return,
                    },
                    () = sender.closed() => return,
                }
            }
        });
        let connection = self.connection.clone();
        receiver.filter_map(move |message| ready(incoming(&connection, message))).boxed()
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.connection.publish(subject.to_string(), payload).await
    }

    async fn subscribe(&self, subject: &Subject) -> Result<BoxStream<'static, Incoming>, BusError> {
        Ok(self.read(self.connection.listen(subject.to_string(), None).await?))
    }

    async fn subscribe_shared(
        &self,
        subject: &Subject,
        group: &str,
    ) -> Result<BoxStream<'static, Incoming>, BusError> {
        Ok(self.read(self.connection.listen(subject.to_string(), Some(group.to_owned())).await?))
    }

    async fn request(&self, subject: &Subject, payload: Bytes, within: Duration) -> Result<Bytes, BusError> {
        let question = Question::new(subject.to_string(), payload);
        Ok(self.connection.ask(question, within).await?.payload)
    }

    async fn request_many(
        &self,
        subject: &Subject,
        payload: Bytes,
        within: Duration,
    ) -> Result<BoxStream<'static, Bytes>, BusError> {
        let answers = self.connection.ask_many(Question::new(subject.to_string(), payload)).await?;
        let answers = answers
            .take_while(|message| ready(message.status != Some(StatusCode::NO_RESPONDERS)))
            .map(|message| message.payload)
            .take_until(tokio::time::sleep(within));
        Ok(answers.boxed())
    }

    async fn put_desired(&self, change: DesiredChange) -> Result<(), BusError> {
        bucket::put(&self.connection, &change).await
    }

    async fn watch_desired(&self) -> Result<BoxStream<'static, DesiredUpdate>, BusError> {
        let (updates, receiver) = mpsc::channel(256);
        tokio::spawn(Watcher::new(self.connection.clone(), self.role.clone(), updates).run());
        Ok(ReceiverStream::new(receiver).boxed())
    }

    fn status(&self) -> watch::Receiver<BusStatus> {
        self.connection.status()
    }
}

/// Reads a message; `None` when its subject is none of ours.
fn incoming(connection: &Connection, message: Message) -> Option<Incoming> {
    let subject = Subject::parse(&message.subject)?;
    let reply = message.reply.filter(|reply| may_answer(reply)).map(|reply| {
        let connection = connection.clone();
        Responder::new(move |payload| async move { connection.publish(reply.to_string(), payload).await })
    });
    Some(Incoming { subject, payload: message.payload, reply })
}

/// Whether an answer may be sent to `reply`: an inbox, or the server's own stand-in for one of another account. The
/// asker chooses it freely, and must not make us write elsewhere with our rights, as into the desired state.
fn may_answer(reply: &str) -> bool {
    reply.starts_with("_INBOX") || reply.starts_with("_R_.")
}

#[cfg(test)]
mod tests {
    use super::may_answer;

    #[test]
    fn nobody_makes_us_write_elsewhere() {
        for inbox in ["_INBOX.a.b", "_INBOX_agent-web1.x", "_R_.abc.def"] {
            assert!(may_answer(inbox), "{inbox}");
        }
        for other in ["$KV.dockhealth.threshold", "$JS.API.STREAM.DELETE.x", "dockhealth.v1.host.b.cmd", ""] {
            assert!(!may_answer(other), "{other}");
        }
    }
}
