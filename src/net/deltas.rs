//! What came since the last look at numbers that only grow.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::ebpf::Counts;

/// The entries of one table as they were last.
pub(super) struct Deltas<K, V> {
    last: HashMap<K, Known<V>>,
    /// Looks so far.
    looks: u64,
}

struct Known<V> {
    value: V,
    /// The look at which it last changed.
    changed: u64,
}

impl<K: Eq + Hash + Copy, V: Counts> Deltas<K, V> {
    /// Nothing was seen yet: all that a table has is new.
    pub(super) fn new() -> Self {
        Self { last: HashMap::new(), looks: 0 }
    }

    /// What came since the last look, of those entries that anything came of. An entry that is less than it was has been made
    /// anew, so all of it is new.
    pub(super) fn advance(&mut self, now: HashMap<K, V>) -> Vec<(K, V)> {
        self.looks += 1;
        let mut came = Vec::new();
        let mut last = HashMap::with_capacity(now.len());
        for (key, value) in now {
            let before = self.last.get(&key);
            let since = before.and_then(|before| value.since(&before.value)).unwrap_or(value);
            let changed = match before {
                Some(before) if since.is_nothing() => before.changed,
                _ => self.looks,
            };
            last.insert(key, Known { value, changed });
            if !since.is_nothing() {
                came.push((key, since));
            }
        }
        self.last = last;
        came
    }

    /// How many entries there were at the last look.
    pub(super) fn len(&self) -> usize {
        self.last.len()
    }

    /// Those of which nothing came for as many looks as `patience` has with them.
    pub(super) fn idle(&self, patience: impl Fn(&K) -> u64) -> HashSet<K> {
        let idle = |(key, known): &(&K, &Known<V>)| self.looks - known.changed >= patience(key);
        self.last.iter().filter(idle).map(|(key, _)| *key).collect()
    }

    /// Forgets entries that were removed from the table: what comes under the same key later begins at nothing.
    pub(super) fn forget(&mut self, removed: &HashSet<K>) {
        self.last.retain(|key, _| !removed.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ebpf::Count;
    use proptest::prelude::*;

    fn table(entries: &[(u8, u64)]) -> HashMap<u8, Count> {
        entries.iter().map(|(key, number)| (*key, Count { number: *number })).collect()
    }

    #[test]
    fn an_entry_made_anew_counts_from_nothing() {
        let mut deltas = Deltas::new();
        assert_eq!(deltas.advance(table(&[(1, 5)])), [(1, Count { number: 5 })]);
        assert_eq!(deltas.advance(table(&[(1, 5)])), []);
        assert_eq!((deltas.idle(|_| 1).len(), deltas.idle(|_| 2).len()), (1, 0));
        assert_eq!(deltas.advance(table(&[(1, 3)])), [(1, Count { number: 3 })]);
        deltas.advance(table(&[]));
        assert_eq!((deltas.len(), deltas.advance(table(&[(1, 2)]))), (0, vec![(1, Count { number: 2 })]));
    }

    #[test]
    fn what_was_removed_and_came_again_is_new_however_much_it_is() {
        let mut deltas = Deltas::new();
        deltas.advance(table(&[(1, 66), (2, 1)]));
        deltas.forget(&HashSet::from([1]));
        assert_eq!(deltas.advance(table(&[(1, 121), (2, 1)])), [(1, Count { number: 121 })]);
    }

    proptest! {
        /// However often one looks, the sum is what was counted.
        #[test]
        fn nothing_is_counted_twice_or_missed(steps in proptest::collection::vec((0_u8..4, 0_u64..1000), 0..60)) {
            let (mut deltas, mut kernel, mut seen) = (Deltas::new(), HashMap::new(), HashMap::new());
            for (key, more) in steps {
                kernel.entry(key).or_insert(Count::default()).number += more;
                for (key, came) in deltas.advance(kernel.clone()) {
                    *seen.entry(key).or_insert(0) += came.number;
                }
            }
            for (key, count) in kernel {
                prop_assert_eq!(seen.get(&key).copied().unwrap_or(0), count.number);
            }
        }
    }
}
