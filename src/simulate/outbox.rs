//! What a simulated agent has yet to deliver: in memory, bounded, the newest ticks first as real agents do.

use std::collections::VecDeque;

use bytes::Bytes;
use uuid::Uuid;

use crate::bus::{OutboxBatch, OutboxItem, PROTOCOL_VERSION, encode_batch};
use crate::model::{Event, HostName, MetricTick};

/// Events that wait at most; the oldest go first.
const EVENTS: usize = 200;

/// One delivery.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Delivery {
    /// One tick, encoded when it was made.
    Tick {
        /// When it was due, unix milliseconds.
        due: i64,
        /// The batch.
        batch: Bytes,
    },
    /// All events that wait.
    Events {
        /// The number of the last of them.
        last: u64,
        /// The batch.
        batch: Bytes,
    },
}

/// Ticks and events of one host.
#[derive(Debug)]
pub(super) struct Outbox {
    host: HostName,
    /// The ids of the two lanes.
    sessions: [Uuid; 2],
    ticks: VecDeque<(i64, Bytes)>,
    ticks_made: u64,
    bytes: usize,
    most_bytes: usize,
    events: VecDeque<Event>,
    events_made: u64,
}

impl Outbox {
    /// An empty one that keeps ticks of at most so many bytes, and always one.
    pub(super) fn new(host: HostName, most_bytes: usize) -> Self {
        Self {
            host,
            sessions: [Uuid::new_v4(), Uuid::new_v4()],
            ticks: VecDeque::new(),
            ticks_made: 0,
            bytes: 0,
            most_bytes,
            events: VecDeque::new(),
            events_made: 0,
        }
    }

    /// How many items wait.
    pub(super) fn len(&self) -> usize {
        self.ticks.len() + self.events.len()
    }

    /// Takes a tick in; returns how many old ones were dropped for it.
    pub(super) fn push_tick(&mut self, due: i64, tick: MetricTick) -> u64 {
        self.ticks_made += 1;
        let batch = self.batch(0, self.ticks_made, vec![OutboxItem::Metrics(tick)]);
        self.bytes += batch.len();
        self.ticks.push_back((due, batch));
        self.shrink()
    }

    /// Takes in what happened.
    pub(super) fn push_events(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.events_made += 1;
            self.events.push_back(event);
        }
        while self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }

    /// What to deliver next: events, then the newest tick, which is taken out.
    pub(super) fn next(&mut self) -> Option<Delivery> {
        if !self.events.is_empty() {
            let items = self.events.iter().cloned().map(OutboxItem::Event).collect();
            let last = self.events_made;
            return Some(Delivery::Events { last, batch: self.batch(1, last, items) });
        }
        let (due, batch) = self.ticks.pop_back()?;
        self.bytes -= batch.len();
        Some(Delivery::Tick { due, batch })
    }

    /// Puts back what was not acknowledged; returns how many old ticks were dropped for it.
    pub(super) fn put_back(&mut self, delivery: Delivery) -> u64 {
        let Delivery::Tick { due, batch } = delivery else { return 0 };
        self.bytes += batch.len();
        let at = self.ticks.partition_point(|(other, _)| *other < due);
        self.ticks.insert(at, (due, batch));
        self.shrink()
    }

    /// Forgets the events that are stored.
    pub(super) fn forget_events(&mut self, through: u64) {
        let first = self.events_made + 1 - self.events.len() as u64;
        let stored = through.saturating_add(1).saturating_sub(first);
        let stored = usize::try_from(stored).map_or(self.events.len(), |n| n.min(self.events.len()));
        self.events.drain(..stored);
    }

    fn shrink(&mut self) -> u64 {
        let mut dropped = 0;
        while self.bytes > self.most_bytes && self.ticks.len() > 1 {
            self.bytes -= self.ticks.pop_front().map_or(0, |(_, batch)| batch.len());
            dropped += 1;
        }
        dropped
    }

    fn batch(&self, lane: usize, seq: u64, items: Vec<OutboxItem>) -> Bytes {
        let (host, session) = (self.host.clone(), self.sessions[lane]);
        encode_batch(&OutboxBatch { v: PROTOCOL_VERSION, host, session, seq, items })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::decode_batch;
    use crate::model::{Actor, EventDraft, EventKind, Timestamp};

    fn outbox(most_bytes: usize) -> Outbox {
        Outbox::new("sim-0001".parse().unwrap(), most_bytes)
    }

    fn tick(time: i64) -> MetricTick {
        MetricTick { time, step: 10, ..MetricTick::default() }
    }

    fn due(delivery: Option<&Delivery>) -> Option<i64> {
        match delivery? {
            Delivery::Tick { due, .. } => Some(*due),
            Delivery::Events { .. } => None,
        }
    }

    #[test]
    fn the_newest_goes_first_and_comes_back_to_its_place() {
        let mut outbox = outbox(1 << 20);
        (1..=3).for_each(|n| assert_eq!(outbox.push_tick(n, tick(n)), 0));
        let third = outbox.next().unwrap();
        outbox.push_tick(4, tick(4));
        assert_eq!(outbox.put_back(third), 0);
        let order: Vec<_> = std::iter::from_fn(|| due(outbox.next().as_ref())).collect();
        assert_eq!((order, outbox.len(), outbox.bytes), (vec![4, 3, 2, 1], 0, 0));
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes() {
        let mut outbox = outbox(500);
        let dropped: u64 = (1..=50).map(|n| outbox.push_tick(n, tick(n))).sum();
        assert_eq!(dropped + outbox.ticks.len() as u64, 50);
        assert!(outbox.bytes <= 500 && outbox.ticks.len() > 1, "{outbox:?}");
        assert_eq!(due(outbox.next().as_ref()), Some(50));
    }

    #[test]
    fn events_are_numbered_without_gaps_and_stay_until_they_are_stored() {
        let mut outbox = outbox(1 << 20);
        let event = || {
            EventDraft::new(EventKind::ContainerFailing, Actor::Agent, "x")
                .stamp(&"sim-0001".parse().unwrap(), Timestamp::from_millis(1))
        };
        let sent = |outbox: &mut Outbox| match outbox.next() {
            Some(Delivery::Events { last, batch }) => {
                let batch = decode_batch(&batch).unwrap().batch;
                assert_eq!(batch.seq, last);
                Some((last, batch.items.len()))
            }
            _ => None,
        };
        outbox.push_events([event(), event()]);
        assert_eq!(sent(&mut outbox), Some((2, 2)));
        outbox.push_events([event()]);
        outbox.forget_events(2);
        assert_eq!(sent(&mut outbox), Some((3, 1)));
        outbox.forget_events(1);
        assert_eq!(sent(&mut outbox), Some((3, 1)));
        outbox.forget_events(u64::MAX);
        assert_eq!(sent(&mut outbox), None);
        outbox.push_events((0..300).map(|_| event()));
        assert_eq!(sent(&mut outbox), Some((303, EVENTS)));
    }
}
