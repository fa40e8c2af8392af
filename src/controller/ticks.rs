//! The newest samples of each host, in memory: for `/metrics`, the stream and `top`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use super::fleet::MAX_HOSTS;
use crate::model::{HostName, Timestamp};
use crate::store::HostTick;

/// How many ticks the slowest follower may be behind before it misses some.
const LIVE: usize = 1024;

/// For how long at least a host's newest tick is believed to be that, whatever the times of those that come after it.
const STALE: Duration = Duration::from_mins(1);

/// The newest tick of a host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LatestTick {
    /// What it measured.
    pub(crate) tick: Arc<HostTick>,
    /// When it came, by the controller's clock.
    pub(crate) received: Timestamp,
}

impl LatestTick {
    /// Whether `tick` is history beside this. Where nothing newer came for a while, its host's clock was set back.
    fn outdates(&self, tick: &HostTick, received: Timestamp) -> bool {
        let current = STALE.max(3 * Duration::from_secs(self.tick.tick.step.into()));
        tick.tick.time < self.tick.tick.time && received.since(self.received) < current
    }
}

/// The newest tick of every host that sent one.
pub(crate) type LatestTicks = BTreeMap<HostName, LatestTick>;

/// A handle of the newest ticks. They come here when they are stored.
#[derive(Debug, Clone)]
pub(crate) struct Ticks {
    latest: Arc<watch::Sender<LatestTicks>>,
    live: broadcast::Sender<Arc<HostTick>>,
}

impl Default for Ticks {
    fn default() -> Self {
        Self { latest: Arc::new(watch::Sender::default()), live: broadcast::Sender::new(LIVE) }
    }
}

impl Ticks {
    /// The newest of `host`.
    pub(crate) fn of(&self, host: &HostName) -> Option<LatestTick> {
        self.latest.borrow().get(host).cloned()
    }

    /// The newest of every host.
    pub(crate) fn all(&self) -> LatestTicks {
        self.latest.borrow().clone()
    }

    /// What comes from now on, of every host; a slow reader misses some and is told how many.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Arc<HostTick>> {
        self.live.subscribe()
    }

    /// Whether `tick` would be its host's newest.
    pub(crate) fn lacks(&self, tick: &HostTick, received: Timestamp) -> bool {
        lacks(&self.latest.borrow(), tick, received)
    }

    /// Takes in what was stored. What is older than a host's newest is history: it is neither kept nor told. Beyond
    /// [`MAX_HOSTS`], no further hosts are kept.
    pub(crate) fn take(&self, stored: impl IntoIterator<Item = Arc<HostTick>>, received: Timestamp) {
        let mut newer = Vec::new();
        self.latest.send_if_modified(|latest| {
            for tick in stored {
                if lacks(latest, &tick, received) {
                    newer.push(tick.clone());
                    latest.insert(tick.host.clone(), LatestTick { tick, received });
                }
            }
            !newer.is_empty()
        });
        for tick in newer {
            // An error means that nobody follows.
            let _ = self.live.send(tick);
        }
    }

    /// Forgets `host`.
    pub(crate) fn forget(&self, host: &HostName) {
        self.latest.send_if_modified(|latest| latest.remove(host).is_some());
    }
}

fn lacks(latest: &LatestTicks, tick: &HostTick, received: Timestamp) -> bool {
    match latest.get(&tick.host) {
        Some(known) => !known.outdates(tick, received),
        None => latest.len() < MAX_HOSTS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricTick;

    fn tick(time: i64) -> Arc<HostTick> {
        let tick = MetricTick { time, step: 10, ..MetricTick::default() };
        Arc::new(HostTick { host: "h".parse().unwrap(), tick })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    #[test]
    fn history_is_not_news_and_a_clock_that_was_set_back_is() {
        let ticks = Ticks::default();
        let mut follower = ticks.follow();
        let host = "h".parse().unwrap();
        let mut newest = |stored: &[i64], received: i64| {
            ticks.take(stored.iter().map(|time| tick(*time)), at(received));
            let told: Vec<i64> =
                std::iter::from_fn(|| follower.try_recv().ok()).map(|told| told.tick.time).collect();
            (ticks.of(&host).unwrap().tick.tick.time, told)
        };
        assert_eq!(newest(&[100], 100), (100, vec![100]));
        assert_eq!(newest(&[20, 30, 40], 101), (100, vec![]));
        assert_eq!(newest(&[110, 50], 110), (110, vec![110]));
        assert_eq!(newest(&[60], 169), (110, vec![]));
        assert_eq!(newest(&[70], 170), (70, vec![70]));
        ticks.forget(&host);
        assert_eq!((ticks.of(&host), ticks.all().len()), (None, 0));
    }
}
