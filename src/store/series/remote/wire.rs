//! Prometheus remote write 1.0: a `WriteRequest` in protobuf, compressed in snappy's block format.
//!
//! The message is small and frozen, so it is written by hand:
//!
//! ```text
//! WriteRequest { repeated TimeSeries timeseries = 1; }
//! TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2; }
//! Label        { string name = 1; string value = 2; }
//! Sample       { double value = 1; int64 timestamp = 2; }
//! ```

use std::collections::BTreeMap;

use super::HostTick;
use crate::model::{SeriesName, Values};

/// What the names of our metrics begin with on a server that others use too.
pub(super) const PREFIX: &str = "dockhealth_";

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// The series of one request: host, container (`None`: the host itself) and name, with its samples by milliseconds.
type Batch<'a> = BTreeMap<(&'a str, Option<&'a str>, &'a SeriesName), Vec<(i64, f64)>>;

/// The body of one request; samples of a series are in the order of `ticks`, which is that of time.
pub(super) fn body(ticks: &[HostTick]) -> Result<Vec<u8>, snap::Error> {
    snap::raw::Encoder::new().compress_vec(&message(ticks))
}

fn message(ticks: &[HostTick]) -> Vec<u8> {
    let mut batch = Batch::new();
    for HostTick { host, tick } in ticks {
        let millis = tick.time.saturating_mul(1_000);
        let mut add = |container, values| gather(&mut batch, (host.as_str(), container), values, millis);
        add(None, &tick.host);
        for (container, values) in &tick.containers {
            add(Some(container.as_str()), values);
        }
    }
    let mut out = Vec::new();
    for ((host, container, name), samples) in &batch {
        let labels = Labels { host, container: *container, name };
        put_bytes(&mut out, 1, &labels.series(samples));
    }
    out
}

fn gather<'a>(
    batch: &mut Batch<'a>,
    (host, container): (&'a str, Option<&'a str>),
    values: &'a Values,
    millis: i64,
) {
    for (name, value) in values.iter().filter(|(_, value)| value.is_finite()) {
        batch.entry((host, container, name)).or_default().push((millis, *value));
    }
}

struct Labels<'a> {
    host: &'a str,
    container: Option<&'a str>,
    name: &'a SeriesName,
}

impl Labels<'_> {
    /// One `TimeSeries`. The protocol wants labels in the order of their names.
    fn series(&self, samples: &[(i64, f64)]) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + samples.len() * 20);
        put_label(&mut out, "__name__", &[PREFIX, self.name.metric()].concat());
        if let Some(container) = self.container {
            put_label(&mut out, "container", container);
        }
        put_label(&mut out, "host", self.host);
        if let Some(part) = self.name.part() {
            put_label(&mut out, "part", part);
        }
        for (millis, value) in samples {
            let mut sample = Vec::with_capacity(20);
            put_key(&mut sample, 1, FIXED64);
            sample.extend(value.to_le_bytes());
            put_key(&mut sample, 2, VARINT);
            // As protobuf writes negative numbers: by their two's complement.
            put_varint(&mut sample, millis.cast_unsigned());
            put_bytes(&mut out, 2, &sample);
        }
        out
    }
}

fn put_label(out: &mut Vec<u8>, name: &str, value: &str) {
    let mut label = Vec::with_capacity(name.len() + value.len() + 8);
    put_bytes(&mut label, 1, name.as_bytes());
    put_bytes(&mut label, 2, value.as_bytes());
    put_bytes(out, 1, &label);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(out, field, BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn put_key(out: &mut Vec<u8>, field: u64, kind: u64) {
    put_varint(out, field << 3 | kind);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::MetricTick;

    type Samples = Vec<(i64, f64)>;
    /// One series as read back: its labels, its samples.
    type Read = (Vec<(String, String)>, Samples);

    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return number;
            }
        }
        panic!("a varint of more than ten bytes");
    }

    /// The fields of a message: number, and its content (numbers as their eight bytes).
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let content = match key & 7 {
                VARINT => varint(&mut bytes).to_le_bytes().to_vec(),
                FIXED64 => bytes.split_off(..8).unwrap().to_vec(),
                BYTES => {
                    let length = usize::try_from(varint(&mut bytes)).unwrap();
                    bytes.split_off(..length).unwrap().to_vec()
                }
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, content));
        }
        fields
    }

    fn read(message: &[u8]) -> Vec<Read> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let series = |bytes: &[u8]| {
            let (mut labels, mut samples) = (Vec::new(), Vec::new());
            for (number, content) in fields(bytes) {
                let inner = fields(&content);
                assert_eq!((inner.len(), inner[0].0, inner[1].0), (2, 1, 2));
                if number == 1 {
                    labels.push((text(&inner[0].1), text(&inner[1].1)));
                } else {
                    let word = |i: usize| <[u8; 8]>::try_from(&inner[i].1[..]).unwrap();
                    samples.push((i64::from_le_bytes(word(1)), f64::from_le_bytes(word(0))));
                }
            }
            (labels, samples)
        };
        fields(message).iter().map(|(_, content)| series(content)).collect()
    }

    fn values() -> impl Strategy<Value = Values> {
        let name = "[a-z_]{1,9}(/[^\\p{Cc}]{1,9})?".prop_map(|name| name.parse().unwrap());
        proptest::collection::vec((name, any::<f64>()), 0..4).prop_map(|all| all.into_iter().collect())
    }

    fn tick() -> impl Strategy<Value = HostTick> {
        let container = "[a-z0-9]{2,8}".prop_map(|name| name.parse().unwrap());
        let containers = proptest::collection::btree_map(container, values(), 0..3);
        ("[a-c]", any::<i32>(), values(), containers).prop_map(|(host, time, own, containers)| HostTick {
            host: host.parse().unwrap(),
            tick: MetricTick { time: time.into(), step: 10, host: own, containers },
        })
    }

    /// What must be read back, by labels.
    fn expected(ticks: &[HostTick]) -> BTreeMap<Vec<(String, String)>, Samples> {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for HostTick { host, tick } in ticks {
            let own = tick.host.iter().map(|sample| (None, sample));
            let theirs = tick.containers.iter().flat_map(|(name, v)| v.iter().map(move |s| (Some(name), s)));
            for (container, (name, value)) in own.chain(theirs).filter(|(_, (_, v))| v.is_finite()) {
                let mut labels = vec![("__name__", format!("dockhealth_{}", name.metric()))];
                labels.extend(container.map(|c| ("container", c.to_string())));
                labels.push(("host", host.to_string()));
                labels.extend(name.part().map(|p| ("part", p.to_owned())));
                let labels = labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
                all.entry(labels).or_default().push((tick.time * 1_000, *value));
            }
        }
        all
    }

    proptest! {
        #[test]
        fn every_sample_reads_back(ticks in proptest::collection::vec(tick(), 0..5)) {
            let compressed = body(&ticks).unwrap();
            let message = snap::raw::Decoder::new().decompress_vec(&compressed).unwrap();
            let read = read(&message);
            let series = read.len();
            let read: BTreeMap<_, _> = read.into_iter().collect();
            prop_assert_eq!(read.len(), series, "each series once");
            prop_assert_eq!(read, expected(&ticks));
        }
    }
}
