//! What an agent pushes of its containers' network after each interval: JSON as gzip, for it is long and much alike.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{BusError, decode, encode, gunzip, gzip, is_gzip};
use crate::model::{HostName, Interval};

/// The most JSON that a report of the network may be, bytes.
pub const MAX_NETWORK_JSON: usize = 8 << 20;

/// What one host's containers said to whom within one interval. Pushed once and never again: what is lost on the way is
/// missing in the map of those seconds, and nowhere else; the series go to the store with the ticks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkReport {
    /// [`super::PROTOCOL_VERSION`] of the sender.
    pub v: u32,
    /// The host's name.
    pub host: HostName,
    /// That of the host's reports: only the process that reports may speak for it.
    pub nonce: uuid::Uuid,
    /// Counts this process's reports of the network, so that one that comes twice, or not at all, is noticed.
    pub seq: u64,
    /// What was measured.
    pub interval: Interval,
}

/// Writes it.
pub fn encode_network(report: &NetworkReport) -> Bytes {
    gzip(&encode(report)).into()
}

/// Reads it, compressed or plain.
///
/// # Errors
/// [`BusError::Malformed`] when it cannot be read, or is longer than [`MAX_NETWORK_JSON`].
pub fn decode_network(payload: &[u8]) -> Result<NetworkReport, BusError> {
    if is_gzip(payload) {
        return decode(&gunzip(payload, MAX_NETWORK_JSON)?);
    }
    if payload.len() > MAX_NETWORK_JSON {
        return Err(BusError::Malformed(format!("it is longer than {MAX_NETWORK_JSON} bytes")));
    }
    decode(payload)
}
