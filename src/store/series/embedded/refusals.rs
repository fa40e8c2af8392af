//! Samples that are not kept, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why samples were not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// They are more than an hour ahead of this machine's clock.
    Future,
    /// They are older than what is kept.
    Old,
    /// The host has as many series as it may have.
    Series,
    /// There are as many hosts as there may be.
    Hosts,
    /// They are no finite numbers.
    Value,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Future, Self::Old, Self::Series, Self::Hosts, Self::Value];

    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Future => "future",
            Self::Old => "old",
            Self::Series => "series",
            Self::Hosts => "hosts",
            Self::Value => "value",
        }
    }
}

/// How many in one transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Refusals([u64; Refusal::ALL.len()]);

impl Refusals {
    pub(super) fn add(&mut self, why: Refusal, samples: usize) {
        self.0[why as usize] += samples as u64;
    }
}

/// How many since the start.
#[derive(Debug, Default)]
pub(super) struct RefusalCounts([AtomicU64; Refusal::ALL.len()]);

impl RefusalCounts {
    /// Adds what a transaction refused; says the first of each kind in the log.
    pub(super) fn add(&self, refusals: Refusals) {
        for why in Refusal::ALL {
            let samples = refusals.0[why as usize];
            if samples > 0 && self.0[why as usize].fetch_add(samples, Ordering::Relaxed) == 0 {
                let why = match why {
                    Refusal::Future => "they are more than an hour ahead of this machine's clock",
                    Refusal::Old => "they are older than --retention",
                    Refusal::Series => "their host has too many series",
                    Refusal::Hosts => "there are too many hosts",
                    Refusal::Value => "they are no finite numbers",
                };
                tracing::warn!("{samples} samples are not kept: {why}; more are only counted");
            }
        }
    }

    pub(super) fn get(&self) -> Vec<(Refusal, u64)> {
        Refusal::ALL.map(|why| (why, self.0[why as usize].load(Ordering::Relaxed))).to_vec()
    }
}
