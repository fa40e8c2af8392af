//! The queue between the bus and one subscriber: bounded, and when it is full the oldest goes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use tokio::sync::Notify;

/// How many messages wait for a slow subscriber before it loses the oldest.
pub(super) const CAPACITY: usize = 1024;

struct Queue<T> {
    items: VecDeque<T>,
    reader: Option<Waker>,
    sender_gone: bool,
    receiver_gone: bool,
}

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    receiver_gone: Notify,
    dropped: Arc<AtomicU64>,
}

impl<T> Shared<T> {
    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bus's end.
pub(super) struct Sender<T>(Arc<Shared<T>>);

/// The subscriber's end; ends when the sender is gone and everything was read.
pub(super) struct Receiver<T>(Arc<Shared<T>>);

/// A mailbox of [`CAPACITY`] messages; what it loses is added to `dropped`.
pub(super) fn mailbox<T>(dropped: Arc<AtomicU64>) -> (Sender<T>, Receiver<T>) {
    let queue = Queue { items: VecDeque::new(), reader: None, sender_gone: false, receiver_gone: false };
    let shared = Arc::new(Shared { queue: Mutex::new(queue), receiver_gone: Notify::new(), dropped });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Sender<T> {
    /// Puts `item` last, and drops the oldest when that makes too many.
    pub(super) fn send(&self, item: T) {
        let mut queue = self.0.queue();
        if queue.items.len() == CAPACITY {
            queue.items.pop_front();
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        queue.items.push_back(item);
        if let Some(reader) = queue.reader.take() {
            reader.wake();
        }
    }

    /// Whether nobody will ever read what is sent.
    pub(super) fn is_closed(&self) -> bool {
        self.0.queue().receiver_gone
    }

    /// Waits until nobody will ever read what is sent.
    pub(super) async fn closed(&self) {
        while !self.is_closed() {
            self.0.receiver_gone.notified().await;
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.sender_gone = true;
        if let Some(reader) = queue.reader.take() {
            reader.wake();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.receiver_gone = true;
        queue.items.clear();
        drop(queue);
        self.0.receiver_gone.notify_one();
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut queue = self.0.queue();
        match queue.items.pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None if queue.sender_gone => Poll::Ready(None),
            None => {
                queue.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    #[tokio::test]
    async fn a_full_mailbox_loses_the_oldest_and_counts_it() {
        let dropped = Arc::new(AtomicU64::new(0));
        let (sender, receiver) = mailbox(dropped.clone());
        for n in 0..CAPACITY + 3 {
            sender.send(n);
        }
        drop(sender);
        let read: Vec<usize> = receiver.collect().await;
        assert_eq!(read, (3..CAPACITY + 3).collect::<Vec<_>>());
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn each_end_learns_that_the_other_is_gone() {
        let (sender, receiver) = mailbox::<u8>(Arc::default());
        let waiting = tokio::spawn(async move { sender.closed().await });
        drop(receiver);
        waiting.await.unwrap();

        let (sender, mut receiver) = mailbox::<u8>(Arc::default());
        let reading = tokio::spawn(async move { receiver.next().await });
        drop(sender);
        assert_eq!(reading.await.unwrap(), None);
    }
}
