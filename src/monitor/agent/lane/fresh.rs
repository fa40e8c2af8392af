//! The newest ticks, in memory until they are acknowledged, or written where the controller does not answer.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bus::{encode, gzip};
use crate::model::MetricTick;
use crate::store::TickRow;

/// What is kept in memory while the disk takes nothing: ticks, and samples in them; beyond that the oldest are dropped.
const MOST_TICKS: usize = 64;
const MOST_SAMPLES: u64 = 200_000;

/// A tick that was not acknowledged yet.
struct Tick {
    seq: u64,
    measured: Arc<MetricTick>,
    samples: u64,
    written: bool,
    under_way: bool,
}

/// The newest ticks, oldest first. While the controller does not answer the last stays, to be tried.
pub(super) struct Fresh {
    ticks: VecDeque<Tick>,
    /// The number of the newest.
    last_seq: u64,
}

impl Fresh {
    /// None yet; their numbers follow `last_seq`.
    pub(super) fn after(last_seq: u64) -> Self {
        Self { ticks: VecDeque::new(), last_seq }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ticks.is_empty()
    }

    /// Takes over a tick.
    pub(super) fn push(&mut self, tick: MetricTick) {
        let samples = tick.samples();
        tracing::debug!(time = tick.time, samples, "measured");
        self.last_seq += 1;
        self.ticks.push_back(Tick {
            seq: self.last_seq,
            measured: Arc::new(tick),
            samples: samples as u64,
            written: false,
            under_way: false,
        });
    }

    /// At most `most` of the newest that are not written, and the newest in any case, as a delivery takes them: number,
    /// samples, tick. They are under way from now on.
    pub(super) fn batch(&mut self, most: usize) -> Vec<(u64, u64, Arc<MetricTick>)> {
        let newest = self.ticks.back().map(|tick| tick.seq);
        let due = self.ticks.iter_mut().rev().filter(|tick| Some(tick.seq) == newest || !tick.written);
        let batch = due.take(most).map(|tick| {
            tick.under_way = true;
            (tick.seq, tick.samples, tick.measured.clone())
        });
        let mut batch: Vec<_> = batch.collect();
        batch.reverse();
        batch
    }

    /// Nothing is under way any more.
    pub(super) fn returned(&mut self) {
        self.ticks.iter_mut().for_each(|tick| tick.under_way = false);
    }

    /// Forgets what was acknowledged; what of `seqs` the database has, is returned.
    pub(super) fn acknowledged(&mut self, seqs: Vec<u64>) -> Vec<u64> {
        let mut written = seqs;
        let all = std::mem::take(&mut self.ticks);
        for tick in all {
            match written.iter().position(|seq| *seq == tick.seq) {
                Some(_) if tick.written => {}
                Some(at) => drop(written.swap_remove(at)),
                None => self.ticks.push_back(tick),
            }
        }
        written
    }

    /// How many are in memory alone.
    pub(super) fn unwritten(&self) -> u64 {
        self.ticks.iter().filter(|tick| !tick.written).count() as u64
    }

    /// Those as the database keeps them.
    pub(super) fn rows(&self) -> Vec<TickRow> {
        self.ticks.iter().filter(|tick| !tick.written).map(row).collect()
    }

    /// The database has all of them; it keeps those that are neither the newest nor under way.
    pub(super) fn written(&mut self) {
        self.ticks.iter_mut().for_each(|tick| tick.written = true);
        self.trim();
    }

    /// Leaves to the database what it has, but for the newest, which is tried first.
    pub(super) fn trim(&mut self) {
        let newest = self.last_seq;
        self.ticks.retain(|tick| !tick.written || tick.under_way || tick.seq == newest);
    }

    /// Drops the oldest of what is too much; how many samples that loses.
    pub(super) fn bound(&mut self) -> u64 {
        let samples = |ticks: &VecDeque<Tick>| ticks.iter().map(|tick| tick.samples).sum::<u64>();
        let mut lost = 0;
        while self.ticks.len() > 1 && (self.ticks.len() > MOST_TICKS || samples(&self.ticks) > MOST_SAMPLES) {
            let Some(oldest) = self.ticks.pop_front() else { break };
            lost += if oldest.written { 0 } else { oldest.samples };
        }
        lost
    }
}

fn row(tick: &Tick) -> TickRow {
    let json = encode(tick.measured.as_ref());
    TickRow { seq: tick.seq, samples: tick.samples, json_bytes: json.len(), body: gzip(&json) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(count: usize) -> Fresh {
        let mut fresh = Fresh::after(10);
        for _ in 0..count {
            let host = [("load1".parse().unwrap(), 1.0)].into();
            fresh.push(MetricTick { host, ..MetricTick::default() });
        }
        fresh
    }

    fn seqs(batch: &[(u64, u64, Arc<MetricTick>)]) -> Vec<u64> {
        batch.iter().map(|(seq, ..)| *seq).collect()
    }

    #[test]
    fn the_newest_go_first_and_what_is_written_leaves_but_for_the_newest() {
        let mut fresh = fresh(3);
        assert_eq!(seqs(&fresh.batch(2)), [12, 13]);
        fresh.returned();
        fresh.written();
        assert_eq!((seqs(&fresh.batch(9)), fresh.unwritten()), (vec![13], 0));
        assert_eq!(fresh.acknowledged(vec![12, 13]), [12, 13], "the database has both");
        assert!(fresh.is_empty());
    }

    #[test]
    fn what_is_under_way_stays_and_what_was_never_written_is_not_the_databases() {
        let mut fresh = fresh(2);
        fresh.batch(9);
        fresh.written();
        fresh.push(MetricTick::default());
        assert_eq!(fresh.rows().iter().map(|row| row.seq).collect::<Vec<_>>(), [13]);
        assert_eq!(fresh.acknowledged(vec![11, 12, 13]), [11, 12]);
        assert!(fresh.is_empty());
    }

    #[test]
    fn the_oldest_are_dropped_beyond_the_bound_and_their_samples_counted() {
        let mut fresh = fresh(MOST_TICKS + 3);
        assert_eq!((fresh.bound(), fresh.bound()), (3, 0));
        assert_eq!(seqs(&fresh.batch(usize::MAX))[0], 14);
    }
}
