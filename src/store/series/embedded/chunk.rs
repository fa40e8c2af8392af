//! Many samples of one series as one blob: the raw ones of an hour, or six hours of minutes.

use super::codec::{
    Reader, column, integers, offsets, pair, put_column, put_integers, put_offsets, put_pair,
};

/// Seconds of raw samples in a chunk.
pub(super) const HOUR: i64 = 3_600;

/// Seconds of minutes in a chunk: 360 of them, as many values as raw samples in an hour at 10 s.
pub(super) const BLOCK: i64 = 6 * HOUR;

const MINUTE: i64 = 60;

/// The hour that a moment belongs to: later than `hour * HOUR`, up to and including `(hour + 1) * HOUR`, as points are of
/// the samples up to and including them.
pub(super) fn hour_of(time: i64) -> i64 {
    (time - 1).div_euclid(HOUR)
}

/// The block of minutes that a moment belongs to.
pub(super) fn block_of(time: i64) -> i64 {
    (time - 1).div_euclid(BLOCK)
}

/// A raw sample: its time, unix seconds, and its value.
pub(super) type Sample = (i64, f64);

/// Encodes the samples of an hour, in order, each time once.
pub(super) fn encode_raw(hour: i64, samples: &[Sample]) -> Vec<u8> {
    let mut out = Vec::new();
    let times: Vec<u32> = samples.iter().map(|(time, _)| offset(*time, hour * HOUR, 1)).collect();
    let values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
    put_offsets(&mut out, &times);
    put_column(&mut out, &values);
    out
}

/// Decodes them; `None` when the chunk is damaged.
pub(super) fn decode_raw(hour: i64, body: &[u8]) -> Option<Vec<Sample>> {
    let mut from = Reader(body);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a small constant")]
    let times = offsets(&mut from, HOUR as u32)?;
    let values = column(&mut from, times.len())?;
    Some(times.into_iter().map(|t| hour * HOUR + 1 + i64::from(t)).zip(values).collect())
}

/// Both, in order; of a moment that both have, the one that was there first.
pub(super) fn merge(there: Vec<Sample>, more: &[Sample]) -> Vec<Sample> {
    if there.last().is_none_or(|last| more.first().is_none_or(|first| last.0 < first.0)) {
        return [there, more.to_vec()].concat();
    }
    let mut merged = there;
    merged.extend(more);
    // Stable, so that what was there stays before what came later.
    merged.sort_by_key(|sample| sample.0);
    merged.dedup_by_key(|sample| sample.0);
    merged
}

/// What is kept of a minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Minute {
    /// When it ends, unix seconds; it begins just after the end of the one before.
    pub(super) end: i64,
    /// The mean of its samples.
    pub(super) mean: f64,
    /// The largest.
    pub(super) max: f64,
    /// At which of its seconds there is one, the first in the lowest bit. So a sample that comes again is known.
    pub(super) seconds: u64,
}

impl Minute {
    /// How many samples it has.
    pub(super) fn count(&self) -> u32 {
        self.seconds.count_ones()
    }

    /// Whether it has a sample of that moment.
    pub(super) fn has(&self, time: i64) -> bool {
        let second = time - (self.end - MINUTE) - 1;
        (0..MINUTE).contains(&second) && self.seconds >> second & 1 == 1
    }

    /// When its samples were.
    pub(super) fn times(&self) -> impl Iterator<Item = i64> + use<> {
        let (start, seconds) = (self.end - MINUTE, self.seconds);
        (0..MINUTE).filter(move |bit| seconds >> bit & 1 == 1).map(move |bit| start + 1 + bit)
    }
}

/// Adds raw samples, in order, to minutes, in order. Those that are there already change nothing.
pub(super) fn add_to_minutes(minutes: Vec<Minute>, samples: &[Sample]) -> Vec<Minute> {
    let end_of = |time: i64| (time - 1).div_euclid(MINUTE) * MINUTE + MINUTE;
    let mut there = minutes.into_iter().peekable();
    let mut out = Vec::new();
    for samples in samples.chunk_by(|a, b| end_of(a.0) == end_of(b.0)) {
        let end = end_of(samples[0].0);
        while let Some(earlier) = there.next_if(|minute| minute.end < end) {
            out.push(earlier);
        }
        let empty = Minute { end, mean: 0.0, max: f64::NEG_INFINITY, seconds: 0 };
        let mut minute = there.next_if(|minute| minute.end == end).unwrap_or(empty);
        for (time, value) in samples {
            let bit = 1 << (time - (end - MINUTE) - 1);
            if minute.seconds & bit == 0 {
                minute.seconds |= bit;
                minute.mean += (value - minute.mean) / f64::from(minute.count());
                minute.max = minute.max.max(*value);
            }
        }
        out.push(minute);
    }
    out.extend(there);
    out
}

/// Encodes the minutes of a block, in order.
pub(super) fn encode_minutes(block: i64, minutes: &[Minute]) -> Vec<u8> {
    let mut out = Vec::new();
    let ends: Vec<u32> = minutes.iter().map(|minute| offset(minute.end, block * BLOCK, MINUTE)).collect();
    let seconds: Vec<i64> = minutes.iter().map(|minute| minute.seconds.cast_signed()).collect();
    let means: Vec<f64> = minutes.iter().map(|minute| minute.mean).collect();
    let maxima: Vec<f64> = minutes.iter().map(|minute| minute.max).collect();
    put_offsets(&mut out, &ends);
    put_integers(&mut out, &seconds);
    put_pair(&mut out, &means, &maxima);
    out
}

/// Decodes them; `None` when the chunk is damaged.
pub(super) fn decode_minutes(block: i64, body: &[u8]) -> Option<Vec<Minute>> {
    let mut from = Reader(body);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a small constant")]
    let ends = offsets(&mut from, (BLOCK / MINUTE) as u32)?;
    let seconds = integers(&mut from, ends.len())?;
    let (means, maxima) = pair(&mut from, ends.len())?;
    let values = means.into_iter().zip(maxima);
    let minutes = ends.into_iter().zip(seconds).zip(values).map(|((end, seconds), (mean, max))| Minute {
        end: block * BLOCK + MINUTE * (1 + i64::from(end)),
        mean,
        max,
        seconds: seconds.cast_unsigned(),
    });
    Some(minutes.collect())
}

/// Where in its chunk a moment is, counted in `unit` seconds from 0.
fn offset(time: i64, start: i64, unit: i64) -> u32 {
    u32::try_from((time - start) / unit - 1).expect("a chunk has only what belongs into it")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::codec::rounded;
    use super::*;

    const START: i64 = 1_800_000_000 / BLOCK * BLOCK;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            Just(7.0),
            (-1000_i32..1000).prop_map(f64::from),
            (0_i32..100_000).prop_map(|n| f64::from(n) / 100.0),
            (0_i64..1 << 40).prop_map(|n| n as f64 * 4096.0),
            any::<f64>().prop_filter("in bounds", |v| v.abs() <= 1e100),
        ]
    }

    fn samples(span: i64) -> impl Strategy<Value = Vec<Sample>> {
        let plain = proptest::collection::btree_map(1..=span, (0_i32..50).prop_map(f64::from), 0..400);
        let wild = proptest::collection::btree_map(1..=span, value(), 0..400);
        prop_oneof![plain, wild].prop_map(|map| map.into_iter().map(|(t, v)| (START + t, v)).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn raw_chunks_come_back(samples in samples(HOUR)) {
            let hour = START / HOUR;
            prop_assert!(samples.iter().all(|s| hour_of(s.0) == hour));
            let back = decode_raw(hour, &encode_raw(hour, &samples)).unwrap();
            let kept: Vec<Sample> = samples.iter().map(|(t, v)| (*t, rounded(*v))).collect();
            prop_assert_eq!(back, kept);
        }

        #[test]
        fn minutes_have_every_sample_once(samples in samples(BLOCK), split in any::<u64>()) {
            let block = START / BLOCK;
            let part = |n: u64| -> Vec<Sample> {
                let mine = |s: &&Sample| split.rotate_left(u32::try_from(s.0 % 61).unwrap()) & 1 == n || s.0 % 7 == 0;
                samples.iter().filter(mine).copied().collect()
            };
            let minutes = add_to_minutes(add_to_minutes(Vec::new(), &part(0)), &part(1));
            let back = decode_minutes(block, &encode_minutes(block, &minutes)).unwrap();
            let times: Vec<i64> = back.iter().flat_map(Minute::times).collect();
            prop_assert_eq!(times, samples.iter().map(|s| s.0).collect::<Vec<_>>());
            let values: std::collections::BTreeMap<i64, f64> = samples.iter().copied().collect();
            for minute in back {
                let mine: Vec<f64> = minute.times().map(|time| values[&time]).collect();
                let mine = mine.iter().copied();
                let max = mine.clone().fold(f64::NEG_INFINITY, f64::max);
                let mean = mine.clone().map(|v| v / f64::from(minute.count())).sum::<f64>();
                let size = mine.fold(0.0_f64, |a, v| a.max(v.abs()));
                prop_assert_eq!(minute.max.to_bits(), rounded(max).to_bits());
                prop_assert!((minute.mean - mean).abs() <= size * 1e-4, "{} {mean}", minute.mean);
            }
        }

        #[test]
        fn merging_keeps_what_was_there(there in samples(HOUR), more in samples(HOUR)) {
            let mut expected: std::collections::BTreeMap<i64, f64> = more.iter().copied().collect();
            expected.extend(there.iter().copied());
            prop_assert_eq!(merge(there, &more), expected.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn damaged_chunks_do_no_harm(
            samples in samples(HOUR),
            at in any::<proptest::sample::Index>(),
            with in any::<u8>(),
            noise in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let hour = START / HOUR;
            let mut body = encode_raw(hour, &samples);
            let at = at.index(body.len());
            body[at] ^= with;
            for body in [&body[..], &body[..at], &noise] {
                if let Some(back) = decode_raw(hour, body) {
                    prop_assert!(back.iter().all(|s| hour_of(s.0) == hour));
                }
                let _ = decode_minutes(hour / 6, body);
            }
        }
    }
}
