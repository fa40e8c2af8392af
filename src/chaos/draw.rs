//! Choices by a seed: pure, the same on every machine and in every version, whoever else is there to choose from.
//!
//! A draw is the SHA-256 of the seed, the turn, what is chosen, and a name. So each choice stands for itself: one that was
//! not carried out moves no later one, and a container that comes or goes changes only whether it is chosen itself.

use sha2::{Digest, Sha256};

/// What decides the choices of one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// The seed of the whole plan.
    pub seed: u64,
    /// The phase of the plan, from 0.
    pub phase: u32,
    /// The turn within the phase, from 0.
    pub turn: u64,
}

impl Draw {
    /// A number for `purpose` and `name`, each of the 2^64 equally likely.
    pub fn number(&self, purpose: &str, name: &str) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update(self.phase.to_le_bytes());
        hash.update(self.turn.to_le_bytes());
        hash.update(purpose.as_bytes());
        hash.update([0]);
        hash.update(name.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        u64::from_le_bytes(digest[..8].try_into().expect("eight of 32 bytes"))
    }

    /// A number from 0 to `below` - 1, for `purpose` and `name`; 0 when there is no such. Uneven by less than
    /// `below` / 2^64.
    pub fn below(&self, below: usize, purpose: &str, name: &str) -> usize {
        let wide = u128::from(self.number(purpose, name)) * (below as u128);
        usize::try_from(wide >> 64).unwrap_or_default()
    }

    /// `count` of `items`, each equally likely, in the order they were drawn.
    pub fn some<'a, T>(
        &self,
        items: &'a [T],
        count: usize,
        purpose: &str,
        name: impl Fn(&T) -> &str,
    ) -> Vec<&'a T> {
        let mut drawn: Vec<_> =
            items.iter().map(|item| (self.number(purpose, name(item)), name(item), item)).collect();
        drawn.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        drawn.into_iter().take(count).map(|(_, _, item)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_the_same_for_ever() {
        let draw = Draw { seed: 7, phase: 1, turn: 2 };
        // From Python's hashlib and struct, not from this code.
        assert_eq!(draw.number("victim", "web"), 0xb0c0_4b8d_a67e_ef18);
    }

    #[test]
    fn everyone_is_drawn_as_often_as_any_other() {
        let names = ["a", "b", "c", "d"];
        let mut counts = [0_u32; 4];
        for turn in 0..4000 {
            let draw = Draw { seed: 1, phase: 0, turn };
            let chosen = draw.some(&names, 1, "victim", |name| name);
            counts[names.iter().position(|name| name == chosen[0]).unwrap()] += 1;
        }
        // 1000 each; five standard deviations of the binomial distribution are 137.
        assert!(counts.iter().all(|count| count.abs_diff(1000) < 137), "{counts:?}");
    }

    proptest! {
        #[test]
        fn who_is_not_chosen_may_come_and_go(seed: u64, turn: u64, count in 1..5_usize, gone in 0..8_usize) {
            let draw = Draw { seed, phase: 0, turn };
            let names: Vec<String> = (0..8).map(|n| format!("c{n}")).collect();
            let chosen = draw.some(&names, count, "victim", |name| name);
            prop_assert_eq!(chosen.len(), count);
            let mut fewer = names.clone();
            let left = fewer.remove(gone);
            fewer.reverse();
            if !chosen.contains(&&left) {
                prop_assert_eq!(chosen, draw.some(&fewer, count, "victim", |name| name));
            }
        }

        #[test]
        fn numbers_stay_below_their_bound(seed: u64, below in 0..1000_usize) {
            let drawn = Draw { seed, phase: 0, turn: 0 }.below(below, "x", "y");
            prop_assert!(drawn < below.max(1));
        }
    }
}
