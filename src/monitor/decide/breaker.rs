//! The breaker: when much of a network loses packets at once, the network is to blame and not its containers.

use std::collections::{BTreeMap, BTreeSet};

/// How one sweep found one network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NetworkTally {
    /// Containers with an address there that has answered before.
    pub(super) pingable: u32,
    /// Those of them whose address there failed.
    pub(super) failing: u32,
}

impl NetworkTally {
    /// At least three containers, and at least half of the pingable ones.
    fn is_broken(self) -> bool {
        self.failing >= 3 && self.failing * 2 >= self.pingable
    }

    /// Most of it answers again; one container that still fails among others is a trouble of its own.
    fn is_well(self) -> bool {
        self.failing * 2 < self.pingable || (self.failing <= 1 && self.pingable >= 2)
    }
}

/// A network's breaker opened or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BreakerChange {
    /// Loss-healing waits in `network`.
    Opened { network: String, tally: NetworkTally },
    /// It goes on.
    Closed { network: String },
}

/// Which networks' breakers are open.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker {
    open: BTreeMap<String, NetworkTally>,
}

impl Breaker {
    /// Whether loss in `network` is left alone now.
    pub(super) fn is_open(&self, network: &str) -> bool {
        self.open.contains_key(network)
    }

    /// Every open network with the tally that opened it.
    pub(super) fn open(&self) -> impl Iterator<Item = (&str, NetworkTally)> {
        self.open.iter().map(|(network, tally)| (network.as_str(), *tally))
    }

    /// Judges one sweep. A network of which the sweep says nothing stays as it was, since silence is no evidence, unless
    /// nothing of it is `monitored` any more.
    pub(super) fn judge(
        &mut self,
        sweep: &BTreeMap<String, NetworkTally>,
        monitored: &BTreeSet<String>,
    ) -> Vec<BreakerChange> {
        let mut changes = Vec::new();
        self.open.retain(|network, _| {
            let stays = match sweep.get(network) {
                Some(tally) => !tally.is_well(),
                None => monitored.contains(network),
            };
            if !stays {
                changes.push(BreakerChange::Closed { network: network.clone() });
            }
            stays
        });
        for (network, tally) in sweep.iter().filter(|(_, tally)| tally.is_broken()) {
            if self.open.insert(network.clone(), *tally).is_none() {
                changes.push(BreakerChange::Opened { network: network.clone(), tally: *tally });
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(breaker: &mut Breaker, pingable: u32, failing: u32) -> Vec<BreakerChange> {
        let monitored = BTreeSet::from(["net".to_owned()]);
        breaker.judge(&BTreeMap::from([("net".to_owned(), NetworkTally { pingable, failing })]), &monitored)
    }

    #[test]
    fn opens_at_three_and_half_and_closes_below() {
        let mut breaker = Breaker::default();
        assert!(judge(&mut breaker, 2, 2).is_empty(), "two containers are no network");
        assert!(judge(&mut breaker, 7, 3).is_empty(), "three of seven are less than half");
        assert_eq!(judge(&mut breaker, 6, 3).len(), 1);
        assert!(breaker.is_open("net") && !breaker.is_open("other"));
        assert!(judge(&mut breaker, 6, 6).is_empty(), "it says so once");
        assert_eq!(judge(&mut breaker, 6, 2), [BreakerChange::Closed { network: "net".into() }]);
    }

    #[test]
    fn silence_closes_nothing_but_the_end_of_monitoring_does() {
        let mut breaker = Breaker::default();
        judge(&mut breaker, 3, 3);
        assert!(judge(&mut breaker, 2, 2).is_empty(), "one of them went down, and the network is no better");
        assert!(breaker.judge(&BTreeMap::new(), &BTreeSet::from(["net".to_owned()])).is_empty());
        assert_eq!(breaker.judge(&BTreeMap::new(), &BTreeSet::new()).len(), 1);
        judge(&mut breaker, 3, 3);
        assert_eq!(judge(&mut breaker, 2, 1).len(), 1, "one that still fails is a trouble of its own");
    }
}
