//! Batches of an outbox as they go over the wire: plain JSON, or where metrics are among them, that as gzip.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::Value;

use super::{BusError, OutboxBatch, OutboxItem, decode, encode};
use crate::model::{HostName, clean};

/// The most JSON that a compressed batch may hold, bytes.
pub const MAX_BATCH_JSON: usize = 16 << 20;

/// What gzip begins with, and JSON never does.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The longest reason given for an item that cannot be read, characters.
const LONGEST_REASON: usize = 300;

/// A batch that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadBatch {
    /// What was in it; metrics that could not be read stand there as [`OutboxItem::Unknown`].
    pub batch: OutboxBatch,
    /// Why the first of them could not be read.
    pub unreadable: Option<String>,
}

/// Writes a batch. Events alone are plain JSON, which older controllers understand.
pub fn encode_batch(batch: &OutboxBatch) -> Bytes {
    let json = encode(batch);
    if batch.items.iter().any(|item| matches!(item, OutboxItem::Metrics(_))) {
        gzip(&json).into()
    } else {
        json
    }
}

/// Whether `payload` is compressed, as batches with metrics are.
pub fn is_gzip(payload: &[u8]) -> bool {
    payload.starts_with(&GZIP)
}

/// Reads a batch of either kind. Sending metrics that cannot be read again would not help, and must not keep what is
/// behind them waiting for ever: they are passed over.
pub fn decode_batch(payload: &[u8]) -> Result<ReadBatch, BusError> {
    if !is_gzip(payload) {
        return Ok(ReadBatch { batch: decode(payload)?, unreadable: None });
    }
    let json = gunzip(payload, MAX_BATCH_JSON)?;
    match decode(&json) {
        Ok(batch) => Ok(ReadBatch { batch, unreadable: None }),
        Err(error) => decode_each(&json).map_err(|_| error),
    }
}

/// Compresses.
pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    encoder.write_all(plain).expect("memory takes what is written");
    encoder.finish().expect("memory takes what is written")
}

/// Decompresses to at most `limit` bytes.
///
/// # Errors
/// [`BusError::Malformed`] when it is damaged or would be longer.
pub fn gunzip(compressed: &[u8], limit: usize) -> Result<Vec<u8>, BusError> {
    let mut plain = Vec::new();
    let most = limit as u64 + 1;
    MultiGzDecoder::new(compressed)
        .take(most)
        .read_to_end(&mut plain)
        .map_err(|e| BusError::Malformed(format!("gzip: {e}")))?;
    if plain.len() > limit {
        return Err(BusError::Malformed(format!("it holds more than {limit} bytes when decompressed")));
    }
    Ok(plain)
}

/// A batch whose items are read one by one.
#[derive(Deserialize)]
struct Loose {
    v: u32,
    host: HostName,
    session: uuid::Uuid,
    seq: u64,
    items: Vec<Value>,
}

fn decode_each(json: &[u8]) -> Result<ReadBatch, BusError> {
    let Loose { v, host, session, seq, items } = decode(json)?;
    let mut unreadable = None;
    let mut read = Vec::with_capacity(items.len());
    for item in items {
        let is_metrics = item["type"] == "metrics";
        let time = item["time"].clone();
        match serde_json::from_value(item) {
            Ok(item) => read.push(item),
            Err(error) if is_metrics => {
                let why = || clean(&format!("the tick of time {time}: {error}"), LONGEST_REASON);
                unreadable.get_or_insert_with(why);
                read.push(OutboxItem::Unknown);
            }
            Err(error) => return Err(BusError::Malformed(error.to_string())),
        }
    }
    Ok(ReadBatch { batch: OutboxBatch { v, host, session, seq, items: read }, unreadable })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bus::PROTOCOL_VERSION;
    use crate::model::{MetricTick, SeriesName};

    fn tick(time: i64) -> MetricTick {
        let values = [(SeriesName::of("cpu_percent"), 12.5), (SeriesName::of("load1"), 0.1)];
        let containers = [("web".parse().unwrap(), values.clone().into())].into();
        MetricTick { time, step: 10, host: values.into(), containers }
    }

    fn batch(items: Vec<OutboxItem>) -> OutboxBatch {
        let (host, session) = ("h".parse().unwrap(), uuid::Uuid::nil());
        OutboxBatch { v: PROTOCOL_VERSION, host, session, seq: 9, items }
    }

    #[test]
    fn metrics_are_compressed_and_all_else_stays_plain() {
        let ticks = batch((1..=60).map(|n| OutboxItem::Metrics(tick(n * 10))).collect());
        let wire = encode_batch(&ticks);
        assert!(wire.starts_with(&GZIP) && wire.len() * 10 < encode(&ticks).len(), "{}", wire.len());
        assert_eq!(decode_batch(&wire).unwrap(), ReadBatch { batch: ticks, unreadable: None });
        let plain = batch(vec![OutboxItem::Unknown]);
        assert_eq!(encode_batch(&plain), encode(&plain));
        assert_eq!(decode_batch(&encode(&plain)).unwrap().batch, plain);
    }

    #[test]
    fn a_bomb_is_an_error() {
        let bomb = gzip(&vec![b' '; MAX_BATCH_JSON + 1]);
        assert!(bomb.len() < 200_000);
        let error = decode_batch(&bomb).unwrap_err().to_string();
        assert!(error.contains("more than 16777216 bytes"), "{error}");
    }

    #[test]
    fn a_tick_that_cannot_be_read_is_passed_over_with_its_reason() {
        let good = serde_json::to_value(batch(vec![OutboxItem::Metrics(tick(10))])).unwrap();
        let mut bad = good["items"][0].clone();
        bad["containers"] = serde_json::json!({ "no name!": {} });
        let mut value = good.clone();
        value["items"] = serde_json::json!([bad, good["items"][0]]);
        let read = decode_batch(&gzip(value.to_string().as_bytes())).unwrap();
        assert_eq!(read.batch.items, [OutboxItem::Unknown, OutboxItem::Metrics(tick(10))]);
        let why = read.unreadable.unwrap();
        assert!(why.contains("time 10") && why.contains("no name!"), "{why}");

        value["items"] = serde_json::json!([good["items"][0], { "type": "event", "id": 3 }]);
        let events_wait = decode_batch(&gzip(value.to_string().as_bytes()));
        assert!(matches!(events_wait, Err(BusError::Malformed(_))), "{events_wait:?}");
    }

    proptest! {
        #[test]
        fn hostile_batches_are_errors_not_panics(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            let _ = decode_batch(&bytes);
            let _ = decode_batch(&gzip(&bytes));
            bytes.splice(0..0, GZIP);
            let _ = decode_batch(&bytes);
            let mut damaged = encode_batch(&batch(vec![OutboxItem::Metrics(tick(10))])).to_vec();
            let at = at.index(damaged.len());
            damaged[at] ^= flip;
            let _ = decode_batch(&damaged);
            prop_assert!(decode_batch(&damaged[..at]).is_err());
        }
    }
}
