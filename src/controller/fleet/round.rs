//! One round of asking every agent for its report.

use std::collections::BTreeSet;

use super::state::MAX_HOSTS;
use crate::model::HostName;

/// Who was asked and who answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Round {
    expected: BTreeSet<HostName>,
    answered: BTreeSet<HostName>,
    /// Names in which someone answered whose host has not spoken yet. Anyone can make one up, so they are only waited
    /// for, and only where nobody is expected: else there is something to say without them.
    early: BTreeSet<HostName>,
}

impl Round {
    /// A round that waits for `live`.
    pub(crate) fn new(live: BTreeSet<HostName>) -> Self {
        Self { expected: live, ..Self::default() }
    }

    /// Notes an answer. A host that nobody expected counts as expected from then on.
    pub(crate) fn answer(&mut self, host: HostName) {
        self.early.remove(&host);
        self.expected.insert(host.clone());
        self.answered.insert(host);
    }

    /// Notes an answer that does not count, because the host has not spoken before.
    pub(crate) fn hear_too_early(&mut self, host: &HostName) {
        if self.expected.is_empty() && self.early.len() < MAX_HOSTS {
            self.early.insert(host.clone());
        }
    }

    /// Stops waiting for a host that was forgotten meanwhile.
    pub(crate) fn forget(&mut self, host: &HostName) {
        self.expected.remove(host);
        self.answered.remove(host);
        self.early.remove(host);
    }

    /// Whether all who are waited for have answered.
    pub(crate) fn is_complete(&self) -> bool {
        self.early.is_empty() && self.expected.len() == self.answered.len()
    }

    /// How many were expected.
    pub(crate) fn expected(&self) -> usize {
        self.expected.len()
    }

    /// Who answered.
    pub(crate) fn answered(&self) -> &BTreeSet<HostName> {
        &self.answered
    }

    /// Who did not.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &HostName> {
        self.expected.difference(&self.answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> BTreeSet<HostName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn it_is_complete_once_all_expected_answered() {
        let mut round = Round::new(hosts(&["a", "b"]));
        round.answer("a".parse().unwrap());
        round.answer("a".parse().unwrap());
        assert!(!round.is_complete());
        assert_eq!(round.missing().map(HostName::as_str).collect::<Vec<_>>(), ["b"]);
        round.answer("b".parse().unwrap());
        assert!(round.is_complete());
        assert_eq!(round.expected(), 2);
    }

    #[test]
    fn with_nobody_to_ask_it_is_complete_at_once() {
        assert!(Round::new(BTreeSet::new()).is_complete());
    }

    #[test]
    fn who_answers_too_early_is_waited_for_only_where_nobody_is_expected() {
        let mut round = Round::new(BTreeSet::new());
        round.hear_too_early(&"a".parse().unwrap());
        assert!(!round.is_complete());
        assert_eq!((round.expected(), round.missing().count()), (0, 0), "nor named: the name may be made up");
        round.answer("a".parse().unwrap());
        assert!(round.is_complete());
        round.hear_too_early(&"b".parse().unwrap());
        assert!(round.is_complete());
    }

    #[test]
    fn newcomers_count_and_the_forgotten_do_not() {
        let mut round = Round::new(hosts(&["a"]));
        round.answer("new".parse().unwrap());
        assert!(!round.is_complete());
        assert_eq!(round.expected(), 2);
        round.forget(&"a".parse().unwrap());
        assert!(round.is_complete());
        assert_eq!(round.answered().len(), 1);
    }
}
