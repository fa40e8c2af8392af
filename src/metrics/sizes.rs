//! Which container's sizes to ask next, pure: each at most once an hour, the one that waits longest first.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::ContainerId;

/// Between two questions about one container: the engine adds up every file it wrote.
pub const SIZES_EVERY: Duration = Duration::from_hours(1);

/// The sizes of a container, bytes; `None` where the engine does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Its image.
    pub image: Option<u64>,
    /// What it has written into its own layer.
    pub writable: Option<u64>,
}

/// What was asked and when.
#[derive(Debug, Default)]
pub struct SizeBook(HashMap<ContainerId, Entry>);

#[derive(Debug)]
struct Entry {
    asked: Duration,
    sizes: Option<Sizes>,
}

impl SizeBook {
    /// The container to ask about at `now`, of those that exist; all else is forgotten. It counts as asked.
    pub fn next<'a>(
        &mut self,
        existing: impl Iterator<Item = &'a ContainerId> + Clone,
        now: Duration,
    ) -> Option<ContainerId> {
        let mut earlier = std::mem::take(&mut self.0);
        self.0 = existing.clone().filter_map(|id| earlier.remove_entry(id)).collect();
        let due =
            |entry: Option<&Entry>| entry.is_none_or(|entry| now.saturating_sub(entry.asked) >= SIZES_EVERY);
        let waiting = existing.filter(|id| due(self.0.get(*id)));
        let id = waiting.min_by_key(|id| self.0.get(*id).map(|entry| entry.asked))?.clone();
        self.0.entry(id.clone()).or_insert(Entry { asked: now, sizes: None }).asked = now;
        Some(id)
    }

    /// What came of it; `None`: no answer, and what was known before may be wrong by now.
    pub fn note(&mut self, id: &ContainerId, sizes: Option<Sizes>) {
        if let Some(entry) = self.0.get_mut(id) {
            entry.sizes = sizes;
        }
    }

    /// What is known.
    pub fn known(&self) -> HashMap<ContainerId, Sizes> {
        self.0.iter().filter_map(|(id, entry)| Some((id.clone(), entry.sizes?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_asked_in_turn_and_at_most_once_an_hour() {
        let ids = ["aaaaaaaaaaaa", "bbbbbbbbbbbb"].map(|id| ContainerId::new(id).unwrap());
        let mut book = SizeBook::default();
        let at = Duration::from_secs;
        assert_eq!(book.next(ids.iter(), at(0)), Some(ids[0].clone()));
        assert_eq!(book.next(ids.iter(), at(1)), Some(ids[1].clone()));
        assert_eq!(book.next(ids.iter(), at(2)), None);
        assert_eq!(book.next(ids.iter(), at(3599)), None);
        assert_eq!(book.next(ids.iter(), at(3601)), Some(ids[0].clone()));
        assert_eq!(book.next(ids.iter(), at(3602)), Some(ids[1].clone()));
        assert_eq!(book.next(ids[1..].iter(), at(3603)), None);
        assert_eq!(book.next(ids.iter(), at(3604)), Some(ids[0].clone()), "it was forgotten");
    }

    #[test]
    fn what_did_not_answer_is_not_known() {
        let id = ContainerId::new("aaaaaaaaaaaa").unwrap();
        let mut book = SizeBook::default();
        let sizes = Sizes { image: Some(5), writable: None };
        book.note(&id, Some(sizes));
        assert!(book.known().is_empty(), "nobody asked");
        book.next([&id].into_iter(), Duration::ZERO);
        assert!(book.known().is_empty());
        book.note(&id, Some(sizes));
        assert_eq!(book.known(), HashMap::from([(id.clone(), sizes)]));
        book.note(&id, None);
        assert!(book.known().is_empty());
    }
}
