//! The last hour of the network: the last ten minutes in slots of ten seconds, what is older in slots of a minute. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::project::{Traffics, bound};

/// Seconds of a slot of the near past, and of one of the rest.
pub(crate) const FINE: i64 = 10;
pub(crate) const COARSE: i64 = 60;

/// How long slots stay fine, and how long they stay at all, seconds.
pub(crate) const FINE_SPAN: i64 = 600;
pub(crate) const SPAN: i64 = 3600;

/// The most pairs in all slots together; beyond that the oldest slots are forgotten first. One takes about a kilobyte.
pub(crate) const MAX_ROWS: usize = 100_000;

/// What ended within some seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Slot {
    /// The last second of it, unix time: a multiple of its width.
    pub(crate) end: i64,
    pub(crate) traffics: Traffics,
}

/// The slots of an hour, each list in the order of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Windows {
    fine: VecDeque<Arc<Slot>>,
    coarse: VecDeque<Arc<Slot>>,
}

fn slot_end(second: i64, width: i64) -> i64 {
    second.div_euclid(width) * width + if second.rem_euclid(width) == 0 { 0 } else { width }
}

impl Windows {
    /// Takes in what ended at `second`. What is older than an hour is passed over.
    pub(crate) fn add(&mut self, second: i64, traffics: &Traffics, now: i64) {
        if second > now - FINE_SPAN {
            into(&mut self.fine, slot_end(second, FINE), traffics);
        } else if second > now - SPAN {
            into(&mut self.coarse, slot_end(second, COARSE), traffics);
        }
        self.age(now);
    }

    /// Makes slots of a minute of those that are no longer near, and forgets the oldest.
    pub(crate) fn age(&mut self, now: i64) {
        while let Some(first) = self.fine.front() {
            // A whole minute at a time, so that none is in both lists.
            if slot_end(first.end, COARSE) > now - FINE_SPAN {
                break;
            }
            let slot = self.fine.pop_front().expect("just seen");
            into(&mut self.coarse, slot_end(slot.end, COARSE), &slot.traffics);
        }
        while self.coarse.front().is_some_and(|slot| slot.end <= now - SPAN) {
            self.coarse.pop_front();
        }
        let mut rows = self.rows();
        while rows > MAX_ROWS && self.coarse.len() + self.fine.len() > 1 {
            let oldest = self.coarse.pop_front().or_else(|| self.fine.pop_front());
            rows -= oldest.map_or(0, |slot| slot.traffics.pairs.len());
        }
    }

    /// Pairs in all slots.
    pub(crate) fn rows(&self) -> usize {
        self.slots().map(|slot| slot.traffics.pairs.len()).sum()
    }

    fn slots(&self) -> impl DoubleEndedIterator<Item = &Arc<Slot>> {
        self.coarse.iter().chain(&self.fine)
    }

    /// The end of the newest slot.
    pub(crate) fn newest(&self) -> Option<i64> {
        self.slots().map(|slot| slot.end).max()
    }

    /// The end of the oldest.
    pub(crate) fn oldest(&self) -> Option<i64> {
        self.slots().map(|slot| slot.end).min()
    }

    /// All that ended after `from` and not after `to`.
    pub(crate) fn sum(&self, from: i64, to: i64) -> Traffics {
        let mut sum = Traffics::default();
        for slot in self.slots().filter(|slot| slot.end > from && slot.end <= to) {
            sum.add(&slot.traffics);
        }
        sum
    }

    /// What `visit` makes of each `width` seconds that ended after `from` and not after `to`; `None` where nothing is known.
    pub(crate) fn series<T: Default>(
        &self,
        (from, to): (i64, i64),
        width: i64,
        mut visit: impl FnMut(&mut T, &Traffics),
    ) -> Vec<(i64, Option<T>)> {
        let (first, last) = (slot_end(from + 1, width), slot_end(to, width));
        let mut points: BTreeMap<i64, Option<T>> =
            (0..=(last - first) / width).map(|n| (first + n * width, None)).collect();
        for slot in self.slots() {
            if let Some(point) = points.get_mut(&slot_end(slot.end, width)) {
                visit(point.get_or_insert_default(), &slot.traffics);
            }
        }
        points.into_iter().collect()
    }
}

fn into(slots: &mut VecDeque<Arc<Slot>>, end: i64, traffics: &Traffics) {
    let at = match slots.binary_search_by_key(&end, |slot| slot.end) {
        Ok(at) => at,
        Err(at) => {
            slots.insert(at, Arc::new(Slot { end, ..Slot::default() }));
            at
        }
    };
    let slot = Arc::make_mut(&mut slots[at]);
    slot.traffics.add(traffics);
    bound(&mut slot.traffics);
}

#[cfg(test)]
mod tests {
    use super::super::node::Node;
    use super::*;
    use crate::model::{Protocol, Traffic};
    use proptest::prelude::*;

    fn traffics(bytes: u64) -> Traffics {
        let mut out = Traffics::default();
        let host = "a".parse().unwrap();
        let ends = (Node::Host(host), Node::OUTSIDE);
        let sent = Traffic { bytes, packets: Some(1), segments: Some(1) };
        out.pairs.entry(ends).or_default().flow(Protocol::Udp).sent = Some(sent);
        out
    }

    fn bytes(traffics: &Traffics) -> u64 {
        traffics.pairs.values().filter_map(|pair| pair.total().traffic()).map(|traffic| traffic.bytes).sum()
    }

    #[test]
    fn a_slot_has_what_ended_within_it() {
        for (second, width, end) in [(100, 10, 100), (101, 10, 110), (109, 10, 110), (0, 60, 0), (1, 60, 60)]
        {
            assert_eq!(slot_end(second, width), end, "{second} {width}");
        }
    }

    #[test]
    fn what_is_too_much_makes_the_oldest_go() {
        let mut windows = Windows::default();
        let mut many = Traffics::default();
        for n in 0..40_000_u32 {
            let ends = (Node::External(Some(std::net::Ipv4Addr::from(n).into())), Node::OUTSIDE);
            many.pairs.insert(ends, super::super::pair::Pair::default());
        }
        for slot in 0..8 {
            windows.add(1_000_000 + slot * 10, &many, 1_000_100);
        }
        assert_eq!(
            (windows.rows(), windows.oldest(), windows.newest()),
            (80_000, Some(1_000_060), Some(1_000_070))
        );
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_twice_within_the_hour(intervals in proptest::collection::vec((0_i64..5_000, 1_u64..1000), 1..80)) {
            let start = 1_700_000_000;
            let mut windows = Windows::default();
            let mut intervals = intervals;
            intervals.sort_unstable();
            for (second, bytes) in &intervals {
                windows.add(start + second, &traffics(*bytes), start + second);
            }
            let now = start + intervals.last().unwrap().0;
            let whole: u64 = intervals.iter().filter(|(second, _)| start + second > now - SPAN + COARSE).map(|(_, bytes)| bytes).sum();
            let most: u64 = intervals.iter().filter(|(second, _)| start + second > now - SPAN - COARSE).map(|(_, bytes)| bytes).sum();
            let sum = bytes(&windows.sum(0, now + COARSE));
            prop_assert!(whole <= sum && sum <= most, "{whole} {sum} {most}");
            // The near past is exact to its slot.
            let near: u64 = intervals.iter().filter(|(second, _)| start + second > slot_end(now, FINE) - 60).map(|(_, bytes)| bytes).sum();
            prop_assert_eq!(bytes(&windows.sum(slot_end(now, FINE) - 60, slot_end(now, FINE))), near);
            let series = windows.series((now - 2 * SPAN, now + COARSE), COARSE, |at: &mut u64, slot| *at += bytes(slot));
            prop_assert_eq!(series.iter().filter_map(|(_, bytes)| *bytes).sum::<u64>(), sum);
        }
    }
}
