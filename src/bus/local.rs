//! The bus within one process: `dockhealth up`, and tests.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::mailbox::{self, mailbox};
use super::{Bus, BusError, BusStatus, DesiredChange, DesiredUpdate, Incoming, Responder, Subject};
use crate::model::DesiredState;

/// Where the local bus keeps the desired state over restarts.
#[async_trait]
pub trait DesiredStore: Send + Sync + 'static {
    /// Stores one change: on return it survives the process. The error says why it could not.
    async fn put(&self, change: &DesiredChange) -> Result<(), String>;
}

/// A bus within this process; clones are the same bus.
#[derive(Clone)]
pub struct LocalBus(Arc<Inner>);

struct Inner {
    subscribers: Mutex<Vec<Subscriber>>,
    /// How many messages were delivered.
    delivered: AtomicU64,
    dropped: Arc<AtomicU64>,
    /// Held while a change is stored and told, so changes keep one order.
    store: tokio::sync::Mutex<Box<dyn DesiredStore>>,
    desired: watch::Sender<Arc<DesiredState>>,
    status: watch::Sender<BusStatus>,
}

struct Subscriber {
    subject: Subject,
    /// Of those with the same subject and group one gets a message: the one that has waited longest for one.
    group: Option<String>,
    served: u64,
    mailbox: mailbox::Sender<Incoming>,
}

impl LocalBus {
    /// A bus whose desired state is `desired`, as `store` has it.
    pub fn new(desired: DesiredState, store: impl DesiredStore) -> Self {
        Self(Arc::new(Inner {
            subscribers: Mutex::default(),
            delivered: AtomicU64::new(0),
            dropped: Arc::default(),
            store: tokio::sync::Mutex::new(Box::new(store)),
            desired: watch::Sender::new(Arc::new(desired)),
            status: watch::Sender::new(BusStatus::Connected),
        }))
    }

    /// How many messages slow subscribers have lost.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    fn subscribers(&self) -> MutexGuard<'_, Vec<Subscriber>> {
        self.0.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands `payload` to everyone who listens on `subject`.
    fn deliver(&self, subject: &Subject, payload: &Bytes, reply: impl Fn() -> Option<Responder>) {
        let mut subscribers = self.subscribers();
        subscribers.retain(|subscriber| !subscriber.mailbox.is_closed());
        let turn = self.0.delivered.fetch_add(1, Ordering::Relaxed) + 1;
        let mut groups: Vec<String> = Vec::new();
        subscribers.sort_by_key(|subscriber| subscriber.served);
        for subscriber in subscribers.iter_mut().filter(|s| s.subject.matches(subject)) {
            if let Some(group) = &subscriber.group {
                if groups.contains(group) {
                    continue;
                }
                groups.push(group.clone());
                subscriber.served = turn;
            }
            let message = Incoming { subject: subject.clone(), payload: payload.clone(), reply: reply() };
            subscriber.mailbox.send(message);
        }
    }

    fn add(&self, subject: &Subject, group: Option<String>) -> BoxStream<'static, Incoming> {
        let (sender, receiver) = mailbox(self.0.dropped.clone());
        let subject = subject.clone();
        self.subscribers().push(Subscriber { subject, group, served: 0, mailbox: sender });
        receiver.boxed()
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.deliver(subject, &payload, || None);
        Ok(())
    }

    async fn subscribe(&self, subject: &Subject) -> Result<BoxStream<'static, Incoming>, BusError> {
        Ok(self.add(subject, None))
    }

    async fn subscribe_shared(
        &self,
        subject: &Subject,
        group: &str,
    ) -> Result<BoxStream<'static, Incoming>, BusError> {
        Ok(self.add(subject, Some(group.to_owned())))
    }

    async fn request(&self, subject: &Subject, payload: Bytes, within: Duration) -> Result<Bytes, BusError> {
        let mut answers = self.request_many(subject, payload, within).await?;
        answers.next().await.ok_or_else(|| BusError::NoAnswer(subject.to_string()))
    }

    async fn request_many(
        &self,
        subject: &Subject,
        payload: Bytes,
        within: Duration,
    ) -> Result<BoxStream<'static, Bytes>, BusError> {
        // Ends by itself when every responder has answered or was dropped: each holds a sender.
        let (answers, receiver) = mpsc::channel(mailbox::CAPACITY);
        self.deliver(subject, &payload, || {
            let answers = answers.clone();
            let send = move |answer| async move {
                // An asker that has left wants no answer any more.
                let _ = answers.send(answer).await;
                Ok(())
            };
            Some(Responder::new(send))
        });
        Ok(ReceiverStream::new(receiver).take_until(tokio::time::sleep(within)).boxed())
    }

    async fn put_desired(&self, change: DesiredChange) -> Result<(), BusError> {
        let bus = self.0.clone();
        // A task of its own: a caller that leaves midway must not part what is stored from what is told.
        let put = tokio::spawn(async move {
            let store = bus.store.lock().await;
            store
                .put(&change)
                .await
                .map_err(|e| BusError::Refused(format!("cannot store the desired state: {e}")))?;
            bus.desired.send_modify(|state| change.apply(Arc::make_mut(state)));
            Ok(())
        });
        put.await.unwrap_or_else(|e| Err(BusError::Refused(format!("cannot store the desired state: {e}"))))
    }

    async fn watch_desired(&self) -> Result<BoxStream<'static, DesiredUpdate>, BusError> {
        let mut desired = self.0.desired.subscribe();
        let (updates, receiver) = mpsc::channel(mailbox::CAPACITY);
        tokio::spawn(async move {
            let mut told = desired.borrow_and_update().clone();
            let first = std::iter::once(DesiredUpdate::Resync)
                .chain(DesiredChange::all_of(&told).into_iter().map(DesiredUpdate::Change))
                .chain([DesiredUpdate::Synced]);
            let mut news: Vec<DesiredUpdate> = first.collect();
            loop {
                for update in news.drain(..) {
                    if updates.send(update).await.is_err() {
                        return;
                    }
                }
                let closed = pin!(updates.closed());
                tokio::select! {
                    () = closed => return,
                    changed = desired.changed() => if changed.is_err() { return },
                }
                // The difference to what was told, not each change: a slow watcher costs no memory.
                let now = desired.borrow_and_update().clone();
                news.extend(DesiredChange::between(&told, &now).into_iter().map(DesiredUpdate::Change));
                told = now;
            }
        });
        Ok(ReceiverStream::new(receiver).boxed())
    }

    fn status(&self) -> watch::Receiver<BusStatus> {
        self.0.status.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HostName, Threshold};

    /// Notes what it stores, or fails; stores only when told to.
    #[derive(Clone, Default)]
    struct Notes {
        stored: Arc<Mutex<Vec<DesiredChange>>>,
        gate: Option<Arc<tokio::sync::Semaphore>>,
        failing: bool,
    }

    #[async_trait]
    impl DesiredStore for Notes {
        async fn put(&self, change: &DesiredChange) -> Result<(), String> {
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            if self.failing {
                return Err("the disk is full".into());
            }
            self.stored.lock().unwrap().push(change.clone());
            Ok(())
        }
    }

    fn threshold(percent: f64) -> DesiredChange {
        DesiredChange::Threshold(Some(Threshold::new(percent).unwrap()))
    }

    async fn told(updates: &mut BoxStream<'static, DesiredUpdate>) -> DesiredUpdate {
        updates.next().await.unwrap()
    }

    #[tokio::test]
    async fn a_change_is_stored_before_it_is_told_even_when_its_author_leaves() {
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let notes = Notes { gate: Some(gate.clone()), ..Notes::default() };
        let bus = LocalBus::new(DesiredState::default(), notes.clone());
        let mut updates = bus.watch_desired().await.unwrap();
        assert_eq!(told(&mut updates).await, DesiredUpdate::Resync);
        assert_eq!(told(&mut updates).await, DesiredUpdate::Synced);

        let author = {
            let bus = bus.clone();
            tokio::spawn(async move { bus.put_desired(threshold(1.0)).await })
        };
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert!(futures_util::poll!(updates.next()).is_pending(), "not stored yet");
        author.abort();
        gate.add_permits(1);
        assert_eq!(told(&mut updates).await, DesiredUpdate::Change(threshold(1.0)));
        assert_eq!(*notes.stored.lock().unwrap(), [threshold(1.0)]);
    }

    #[tokio::test]
    async fn what_cannot_be_stored_is_refused_and_not_told() {
        let bus = LocalBus::new(DesiredState::default(), Notes { failing: true, ..Notes::default() });
        let error = bus.put_desired(threshold(1.0)).await.unwrap_err();
        assert!(matches!(&error, BusError::Refused(why) if why.contains("disk is full")), "{error:?}");
        let mut updates = bus.watch_desired().await.unwrap();
        assert_eq!(told(&mut updates).await, DesiredUpdate::Resync);
        assert_eq!(told(&mut updates).await, DesiredUpdate::Synced);
    }

    #[tokio::test]
    async fn it_starts_with_what_the_store_had() {
        let state = DesiredState { threshold: Some(Threshold::new(9.0).unwrap()), ..DesiredState::default() };
        let bus = LocalBus::new(state, Notes::default());
        let mut updates = bus.watch_desired().await.unwrap();
        assert_eq!(told(&mut updates).await, DesiredUpdate::Resync);
        assert_eq!(told(&mut updates).await, DesiredUpdate::Change(threshold(9.0)));
        assert_eq!(told(&mut updates).await, DesiredUpdate::Synced);
    }

    #[tokio::test]
    async fn a_slow_reader_loses_the_oldest_and_it_is_counted() {
        let bus = LocalBus::new(DesiredState::default(), Notes::default());
        let subject = Subject::Report(HostName::new("a").unwrap());
        let mut slow = bus.subscribe(&Subject::AllReports).await.unwrap();
        for n in 0..mailbox::CAPACITY + 2 {
            bus.publish(&subject, n.to_string().into()).await.unwrap();
        }
        assert_eq!(slow.next().await.unwrap().payload, "2");
        assert_eq!(bus.dropped(), 2);
    }

    #[tokio::test]
    async fn a_reader_that_left_is_forgotten() {
        let bus = LocalBus::new(DesiredState::default(), Notes::default());
        for _ in 0..3 {
            drop(bus.subscribe(&Subject::List).await.unwrap());
        }
        bus.publish(&Subject::List, Bytes::new()).await.unwrap();
        assert_eq!(bus.subscribers().len(), 0);
    }
}
