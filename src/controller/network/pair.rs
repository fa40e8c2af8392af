//! What is known of one direction between two nodes. All of it adds up, so that windows and folds are sums; what was not
//! measured stays `None`.

use std::sync::Arc;

use crate::model::{Connections, Hop, LatencyHistogram, Protocol, RttFigures, Traffic};

/// One direction, from one node to another.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pair {
    /// By protocol, each once, in their order.
    pub(crate) flows: Vec<(Protocol, FlowFigures)>,
    /// Packets dropped on the way, by reason; `None` when neither end's host looks for drops.
    pub(crate) drops: Option<Reasons>,
    /// How long packets took within one host, of a sample.
    pub(crate) latency: Option<Box<LatencyHistogram>>,
    /// The same of parts of the way.
    pub(crate) hops: Vec<(Hop, LatencyHistogram)>,
    /// Between hosts that share a clock.
    pub(crate) one_way: OneWay,
}

/// What two nodes said over one protocol, in one direction.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FlowFigures {
    /// As counted where it was sent.
    pub(crate) sent: Option<Traffic>,
    /// As counted where it arrived.
    pub(crate) received: Option<Traffic>,
    /// Of those intervals that both ends counted.
    pub(crate) both: Option<BothEnds>,
    /// Segments that the sender sent again.
    pub(crate) retransmits: Option<u64>,
    /// Connections of the sender: those it opened were to the receiver, those it accepted from it.
    pub(crate) connections: Option<Connections>,
    /// Round trips, as the sender's end smooths them.
    pub(crate) rtt: RttFigures,
}

/// Packets of intervals that both ends counted, on the wire's terms where both ends know them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BothEnds {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// What packets took together, by two clocks that agree.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct OneWay {
    pub(crate) packets: u64,
    pub(crate) sum_us: f64,
}

/// Packets dropped, by the kernel's word for why; each word once, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reasons(Vec<(Arc<str>, u64)>);

impl Reasons {
    pub(crate) fn note(&mut self, reason: &Arc<str>, packets: u64) {
        match self.0.binary_search_by(|(known, _)| known.cmp(reason)) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(packets),
            Err(at) => self.0.insert(at, (reason.clone(), packets)),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(reason, packets)| self.note(reason, *packets));
    }

    /// All of them.
    pub(crate) fn packets(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, packets)| sum.saturating_add(*packets))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(reason, packets)| (&**reason, *packets))
    }
}

impl BothEnds {
    /// Percent of what was sent that did not arrive; `None` when nothing was sent. Packets that are under way when an
    /// interval ends may arrive in the next: never less than 0.
    pub(crate) fn loss_percent(self) -> Option<f64> {
        let lost = self.sent.saturating_sub(self.received);
        (self.sent > 0).then(|| 100.0 * lost as f64 / self.sent as f64)
    }

    fn add(&mut self, other: Self) {
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
    }
}

impl FlowFigures {
    /// Pairs the two ends' counts of one interval; segments are comparable everywhere, since what one end sends whole may
    /// arrive in pieces.
    pub(crate) fn pair(&mut self) {
        let (Some(sent), Some(received)) = (self.sent, self.received) else { return };
        let counts = match (sent.segments, received.segments) {
            (Some(sent), Some(received)) => Some((sent, received)),
            _ => sent.packets.zip(received.packets),
        };
        self.both = counts.map(|(sent, received)| BothEnds { sent, received });
    }

    /// What went this way, as the end says that counted more: either may have missed intervals.
    pub(crate) fn traffic(&self) -> Option<Traffic> {
        match (self.sent, self.received) {
            (Some(sent), Some(received)) => Some(if received.bytes > sent.bytes { received } else { sent }),
            (sent, received) => sent.or(received),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        add_traffic(&mut self.sent, other.sent);
        add_traffic(&mut self.received, other.received);
        match (&mut self.both, other.both) {
            (Some(both), Some(more)) => both.add(more),
            (both, more) => *both = both.or(more),
        }
        self.retransmits = add_known(self.retransmits, other.retransmits);
        if let Some(more) = other.connections {
            let sum = self.connections.get_or_insert_default();
            for (sum, more) in [
                (&mut sum.opened, more.opened),
                (&mut sum.accepted, more.accepted),
                (&mut sum.refused, more.refused),
                (&mut sum.closed, more.closed),
            ] {
                *sum = sum.saturating_add(more);
            }
        }
        self.rtt.samples = self.rtt.samples.saturating_add(other.rtt.samples);
        self.rtt.sum_us = self.rtt.sum_us.saturating_add(other.rtt.sum_us);
    }

    /// The mean round trip, milliseconds.
    pub(crate) fn rtt_ms(&self) -> Option<f64> {
        (self.rtt.samples > 0).then(|| self.rtt.sum_us as f64 / self.rtt.samples as f64 / 1000.0)
    }
}

impl Pair {
    /// The figures of `protocol`.
    pub(crate) fn flow(&mut self, protocol: Protocol) -> &mut FlowFigures {
        let at = match self.flows.binary_search_by_key(&protocol, |(known, _)| *known) {
            Ok(at) => at,
            Err(at) => {
                self.flows.insert(at, (protocol, FlowFigures::default()));
                at
            }
        };
        &mut self.flows[at].1
    }

    /// All protocols together.
    pub(crate) fn total(&self) -> FlowFigures {
        let mut sum = FlowFigures::default();
        self.flows.iter().for_each(|(_, flow)| sum.add(flow));
        sum
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (protocol, flow) in &other.flows {
            self.flow(*protocol).add(flow);
        }
        if let Some(more) = &other.drops {
            self.drops.get_or_insert_default().add(more);
        }
        if let Some(more) = &other.latency {
            self.latency.get_or_insert_default().add(more);
        }
        for (hop, more) in &other.hops {
            add_hop(&mut self.hops, *hop, more);
        }
        self.one_way.packets = self.one_way.packets.saturating_add(other.one_way.packets);
        self.one_way.sum_us += other.one_way.sum_us;
    }
}

/// Adds what packets took on one part of the way.
pub(crate) fn add_hop(hops: &mut Vec<(Hop, LatencyHistogram)>, hop: Hop, more: &LatencyHistogram) {
    if let Some((_, histogram)) = hops.iter_mut().find(|(known, _)| *known == hop) {
        histogram.add(more);
    } else {
        hops.push((hop, more.clone()));
        hops.sort_by_key(|(hop, _)| *hop);
    }
}

fn add_traffic(sum: &mut Option<Traffic>, more: Option<Traffic>) {
    match (sum, more) {
        (Some(sum), Some(more)) => sum.add(&more),
        (sum @ None, more) => *sum = more,
        (Some(_), None) => {}
    }
}

fn add_known(sum: Option<u64>, more: Option<u64>) -> Option<u64> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
        (sum, more) => sum.or(more),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn traffic() -> impl Strategy<Value = Option<Traffic>> {
        let counts = (any::<u32>(), proptest::option::of(any::<u32>()), proptest::option::of(any::<u32>()));
        proptest::option::of(counts.prop_map(|(bytes, packets, segments)| Traffic {
            bytes: bytes.into(),
            packets: packets.map(u64::from),
            segments: segments.map(u64::from),
        }))
    }

    fn pair() -> impl Strategy<Value = Pair> {
        let flow = (traffic(), traffic(), proptest::option::of(0_u64..9), any::<bool>());
        let drops = proptest::option::of(proptest::collection::vec(("[A-C]", 0_u64..9), 0..4));
        (proptest::collection::vec(flow, 0..3), drops).prop_map(|(flows, drops)| {
            let mut pair = Pair::default();
            for (sent, received, retransmits, tcp) in flows {
                let mut flow = FlowFigures { sent, received, retransmits, ..FlowFigures::default() };
                flow.pair();
                pair.flow(if tcp { Protocol::Tcp } else { Protocol::Udp }).add(&flow);
            }
            if let Some(drops) = drops {
                let reasons = pair.drops.get_or_insert_default();
                for (reason, packets) in &drops {
                    reasons.note(&reason.as_str().into(), *packets);
                }
            }
            pair
        })
    }

    fn sum(pairs: &[&Pair]) -> Pair {
        let mut sum = Pair::default();
        for pair in pairs {
            sum.add(pair);
        }
        sum
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_order(a in pair(), b in pair(), c in pair()) {
            prop_assert_eq!(sum(&[&a, &b, &c]), sum(&[&c, &a, &b]));
            prop_assert_eq!(sum(&[&a, &sum(&[&b, &c])]), sum(&[&sum(&[&a, &b]), &c]));
        }

        #[test]
        fn loss_is_a_percentage_and_unknown_is_not_0(a in pair()) {
            let total = a.total();
            if let Some(loss) = total.both.and_then(BothEnds::loss_percent) {
                prop_assert!((0.0..=100.0).contains(&loss));
            }
            prop_assert_eq!(total.sent.is_none() && total.received.is_none(), total.traffic().is_none());
            prop_assert_eq!(a.flows.iter().all(|(_, flow)| flow.retransmits.is_none()), total.retransmits.is_none());
        }
    }
}
