//! What one host measured at one moment, as one row: written at once, read a few dozen times, then compacted.
//!
//! ```text
//! blocks | id - id of the block before, bytes | ... | block | block ...      all counts are variable-length numbers
//! block: run, value * run | gap, run, value * run | ...                      ids within a run follow each other
//! ```
//!
//! A block has up to [`BLOCK`] samples, so that whoever wants one series of thousands passes over the others.

use super::codec::{Reader, put, put_value};

/// Samples in a block.
const BLOCK: usize = 128;

/// Encodes samples in the order of their series' ids, which are above 0; an id is there once.
pub(super) fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
    let blocks: Vec<&[(i64, f64)]> = samples.chunks(BLOCK).collect();
    let mut index = Vec::new();
    let mut bodies = Vec::with_capacity(samples.len() * 4);
    put(&mut index, blocks.len() as u64);
    let mut before = 0;
    for block in blocks {
        let start = bodies.len();
        let runs = block.chunk_by(|a, b| b.0 == a.0 + 1);
        let mut end = block[0].0;
        for run in runs {
            if run[0].0 != block[0].0 {
                put(&mut bodies, run[0].0.abs_diff(end));
            }
            put(&mut bodies, run.len() as u64);
            for (_, value) in run {
                put_value(&mut bodies, *value);
            }
            end = run[run.len() - 1].0 + 1;
        }
        put(&mut index, block[0].0.abs_diff(before));
        put(&mut index, (bodies.len() - start) as u64);
        before = block[0].0;
    }
    index.append(&mut bodies);
    index
}

/// Calls `found` for each sample whose series is in `wanted` (in order), in order; `None` when the row is damaged.
pub(super) fn find(body: &[u8], wanted: &[i64], mut found: impl FnMut(i64, f64)) -> Option<()> {
    let mut wanted = wanted.iter().copied().peekable();
    walk(body, |block| {
        while let Some(id) = block.next_id() {
            while wanted.next_if(|w| *w < id).is_some() {}
            match wanted.peek() {
                None => return Some(Walk::Done),
                Some(w) if *w == id => found(id, block.value()?),
                Some(w) if block.end.is_some_and(|end| *w >= end) => return Some(Walk::NextBlock),
                Some(_) => block.skip()?,
            }
        }
        Some(Walk::NextBlock)
    })
}

/// Calls `found` for each sample whose series is in `range`, in order; `None` when the row is damaged.
pub(super) fn find_range(
    body: &[u8],
    range: std::ops::Range<i64>,
    mut found: impl FnMut(i64, f64),
) -> Option<()> {
    walk(body, |block| {
        if block.end.is_some_and(|end| end <= range.start) {
            return Some(Walk::NextBlock);
        }
        while let Some(id) = block.next_id() {
            if id >= range.end {
                return Some(Walk::Done);
            }
            if id < range.start {
                block.skip()?;
            } else {
                found(id, block.value()?);
            }
        }
        Some(Walk::NextBlock)
    })
}

enum Walk {
    NextBlock,
    Done,
}

struct Block<'a> {
    bytes: Reader<'a>,
    next: i64,
    left: u64,
    started: bool,
    /// Where the next block begins; `None` in the last.
    end: Option<i64>,
    damaged: bool,
}

impl Block<'_> {
    /// Whose the next value is; `None` at the end, and where what follows makes no sense.
    fn next_id(&mut self) -> Option<i64> {
        if self.left == 0 {
            if self.bytes.is_empty() {
                return None;
            }
            let gap = if std::mem::replace(&mut self.started, true) { self.bytes.number() } else { Some(0) };
            let next = gap.and_then(|gap| self.next.checked_add(i64::try_from(gap).ok()?));
            match (next, self.bytes.number()) {
                (Some(next), Some(run)) if run > 0 => (self.next, self.left) = (next, run),
                _ => {
                    self.damaged = true;
                    return None;
                }
            }
        }
        Some(self.next)
    }

    fn passed(&mut self) -> Option<()> {
        self.next = self.next.checked_add(1)?;
        self.left -= 1;
        Some(())
    }

    fn value(&mut self) -> Option<f64> {
        self.passed()?;
        self.bytes.value()
    }

    fn skip(&mut self) -> Option<()> {
        self.passed()?;
        self.bytes.skip_value()
    }
}

fn walk(body: &[u8], mut visit: impl FnMut(&mut Block<'_>) -> Option<Walk>) -> Option<()> {
    let mut index = Reader(body);
    let blocks = index.below(body.len().max(1))?;
    let mut first: i64 = 0;
    let mut entries = Vec::with_capacity(blocks);
    for _ in 0..blocks {
        first = first.checked_add(i64::try_from(index.number()?).ok()?)?;
        entries.push((first, index.below(body.len())?));
    }
    for (n, &(first, bytes)) in entries.iter().enumerate() {
        let mut block = Block {
            bytes: Reader(index.take(bytes)?),
            next: first,
            left: 0,
            started: false,
            end: entries.get(n + 1).map(|next| next.0),
            damaged: false,
        };
        let next = visit(&mut block)?;
        if block.damaged {
            return None;
        }
        if matches!(next, Walk::Done) {
            break;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::codec::rounded;
    use super::*;

    fn samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
        let value = prop_oneof![
            Just(0.0),
            (-1000_i32..1000).prop_map(f64::from),
            (0_i32..100_000).prop_map(|n| f64::from(n) / 100.0),
            any::<f64>().prop_filter("finite", |v| v.is_finite()),
        ];
        proptest::collection::btree_map(1_i64..5_000, value, 0..600).prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn rows_come_back(
            samples in samples(),
            wanted in proptest::collection::btree_set(1_i64..5_000, 0..40),
            from in 0_i64..5_000,
            len in 0_i64..5_000,
        ) {
            let body = encode(&samples);
            let wanted: Vec<i64> = wanted.into_iter().collect();
            let mut found = Vec::new();
            find(&body, &wanted, |id, value| found.push((id, value))).unwrap();
            let kept = |keep: &dyn Fn(i64) -> bool| -> Vec<(i64, f64)> {
                samples.iter().filter(|s| keep(s.0)).map(|(id, v)| (*id, rounded(*v))).collect()
            };
            prop_assert_eq!(found, kept(&|id| wanted.contains(&id)));
            let mut found = Vec::new();
            find_range(&body, from..from + len, |id, value| found.push((id, value))).unwrap();
            prop_assert_eq!(found, kept(&|id| (from..from + len).contains(&id)));
        }

        #[test]
        fn damaged_rows_do_no_harm(body in proptest::collection::vec(any::<u8>(), 0..200), wanted in 0_i64..300) {
            let _ = find(&body, &[wanted], |_, _| {});
            let _ = find_range(&body, 0..i64::MAX, |_, _| {});
        }
    }
}
