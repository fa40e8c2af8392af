//! What is told of one direction between two nodes.

use serde::{Deserialize, Serialize};

use super::pair::{BothEnds, Pair};
use crate::model::Connections;

/// What a latency is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LatencyKind {
    /// Packets timed within one host, one way.
    Measured,
    /// Packets timed at two hosts that share a clock, one way: only the mean is known.
    OneWay,
    /// Half of TCP's smoothed round trip, which is both ways and includes the answering host's delay: only the mean is
    /// known, and it is an estimate.
    HalfRtt,
}

/// How long packets took, microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Latency {
    pub(crate) kind: LatencyKind,
    pub(crate) mean: f64,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) max: Option<f64>,
    /// How many packets, or round trips, were looked at.
    pub(crate) samples: u64,
}

/// The figures of one direction.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) bytes: Option<u64>,
    pub(crate) packets: Option<u64>,
    pub(crate) segments: Option<u64>,
    pub(crate) retransmits: Option<u64>,
    pub(crate) drops: Option<u64>,
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) latency: Option<Latency>,
    pub(crate) loss_percent: Option<f64>,
    /// How many packets the loss is of.
    pub(crate) compared: Option<u64>,
    /// Of the sender: opened to the receiver, accepted from it.
    pub(crate) connections: Option<Connections>,
}

/// The figures of `pair`; what its sender's end does not know of round trips, `reverse` may.
pub(crate) fn figures(pair: &Pair, reverse: Option<&Pair>) -> Figures {
    let total = pair.total();
    let traffic = total.traffic();
    let rtt_ms = total.rtt_ms().or_else(|| reverse.and_then(|reverse| reverse.total().rtt_ms()));
    let rtts = total.rtt.samples.max(reverse.map_or(0, |reverse| reverse.total().rtt.samples));
    Figures {
        bytes: traffic.map(|traffic| traffic.bytes),
        packets: traffic.and_then(|traffic| traffic.packets),
        segments: traffic.and_then(|traffic| traffic.segments),
        retransmits: total.retransmits,
        drops: pair.drops.as_ref().map(super::pair::Reasons::packets),
        rtt_ms,
        latency: latency(pair, rtt_ms, rtts),
        loss_percent: total.both.and_then(BothEnds::loss_percent),
        compared: total.both.map(|both| both.sent),
        connections: total.connections,
    }
}

fn latency(pair: &Pair, rtt_ms: Option<f64>, rtts: u64) -> Option<Latency> {
    if let Some((histogram, mean)) = pair.latency.as_ref().and_then(|of| Some((of, of.mean_us()?))) {
        return Some(Latency {
            kind: LatencyKind::Measured,
            mean,
            p50: histogram.quantile_us(0.5),
            p99: histogram.quantile_us(0.99),
            max: Some(histogram.max_ns as f64 / 1000.0),
            samples: histogram.count,
        });
    }
    let of_mean =
        |kind, mean, samples| Latency { kind, mean, p50: Some(mean), p99: None, max: None, samples };
    if pair.one_way.packets > 0 {
        let mean = pair.one_way.sum_us / pair.one_way.packets as f64;
        return Some(of_mean(LatencyKind::OneWay, mean, pair.one_way.packets));
    }
    rtt_ms.map(|rtt| of_mean(LatencyKind::HalfRtt, rtt * 500.0, rtts))
}
