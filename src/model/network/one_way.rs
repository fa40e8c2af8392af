//! One-way latency between two hosts whose clocks agree, without sending anything per packet: the lossy difference
//! aggregator of Kompella, Levchenko, Snoeren and Varghese (SIGCOMM 2009).
//!
//! Both ends spread the same packets over the same buckets, by a hash of what does not change on the way, and keep of each
//! bucket the count and the sum of the packets' times. Where both counts agree nothing was lost or added, and the difference
//! of the sums is what those packets took together. A lost packet spoils its bucket, and no other.

use serde::{Deserialize, Serialize};

use super::Peer;
use crate::model::{ContainerName, Timestamp};

/// How many buckets packets are spread over.
pub const STAMP_BUCKETS: usize = 16;

/// When the packets of one direction passed one end, of one epoch. Only packets of one segment and at most 512 bytes are
/// stamped: larger ones are cut and joined on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamps {
    /// The container.
    pub container: ContainerName,
    /// The other end.
    pub peer: Peer,
    /// Whether the container sent them; else it received them.
    pub sent: bool,
    /// When the epoch began, by the clock that both agree on; a multiple of its length in unix time.
    pub epoch: Timestamp,
    /// The buckets that are not empty.
    pub buckets: Vec<StampBucket>,
}

/// The packets of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampBucket {
    /// Which, below [`STAMP_BUCKETS`].
    pub bucket: u8,
    /// How many packets.
    pub count: u64,
    /// When they passed, nanoseconds since the epoch's begin, added up.
    pub sum_ns: u64,
}

/// What packets took from `sent` to `received`, both of the same epoch: how many packets that is known of, and their mean,
/// microseconds. `None` when no bucket agrees, or when the clocks do not: nothing arrives before it was sent.
pub fn one_way(sent: &[StampBucket], received: &[StampBucket]) -> Option<(u64, f64)> {
    let (mut packets, mut took) = (0_u64, 0_i128);
    for from in sent {
        let same = |to: &&StampBucket| to.bucket == from.bucket && to.count == from.count && from.count > 0;
        if let Some(to) = received.iter().find(same) {
            packets = packets.saturating_add(from.count);
            took += i128::from(to.sum_ns) - i128::from(from.sum_ns);
        }
    }
    (packets > 0 && took >= 0).then(|| (packets, took as f64 / packets as f64 / 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(bucket: u8, count: u64, sum_ns: u64) -> StampBucket {
        StampBucket { bucket, count, sum_ns }
    }

    #[test]
    fn buckets_that_lost_a_packet_say_nothing() {
        let sent = [bucket(0, 2, 1_000), bucket(1, 3, 9_000), bucket(2, 1, 5_000)];
        let received = [bucket(0, 2, 21_000), bucket(1, 2, 999_000), bucket(2, 1, 15_000)];
        assert_eq!(one_way(&sent, &received), Some((3, 10.0)));
        assert_eq!(one_way(&sent, &[]), None);
        assert_eq!(one_way(&received, &sent), None, "it would have arrived before it was sent");
    }
}
