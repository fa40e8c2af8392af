//! What one interval's counts mean, pure: the kernel's numbers become containers and peers, and stay bounded.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::places::Places;
use crate::ebpf::{
    Count, DropKey, EpochKey, FlowKey, FlowPeer, FlowWay, LatencyCounts, LostCounts, OwnerId, PairKey,
    StampCounts, TcpCounts, TcpKey, TrafficCounts,
};
use crate::model::{
    Connections, ContainerName, Drops, Flow, Hop, Interval, LatencyHistogram, Overflow, PairLatency, Peer,
    PeerKind, Protocol, RttFigures, StampBucket, Stamps, TcpFigures, Timestamp, Traffic,
};

/// What every reason's name begins with.
const REASON: &str = "SKB_DROP_REASON_";

/// Drops that are the end of a packet which did its work: an echo that nobody waited for by its port, frames for others on a
/// shared wire, announcements of IPv6 to who has none, what a socket had queued when it was closed, what its own filter
/// declines, as our pinger's does with others' echoes, and packets that were used.
const NO_LOSS: [&str; 7] = [
    "NO_SOCKET",
    "OTHERHOST",
    "IPV6DISABLED",
    "QUEUE_PURGE",
    "SOCKET_FILTER",
    "SKB_CONSUMED",
    "SKB_NOT_DROPPED_YET",
];

/// What came within one interval, as the kernel numbers it.
#[derive(Debug, Default)]
pub(super) struct Came {
    pub(super) flows: Vec<(FlowKey, TrafficCounts)>,
    pub(super) latency: Vec<(PairKey, LatencyCounts)>,
    pub(super) tcp: Vec<(TcpKey, TcpCounts)>,
    pub(super) drops: Vec<(DropKey, Count)>,
    pub(super) stamps: Vec<(EpochKey, StampCounts)>,
    pub(super) lost: LostCounts,
}

/// What of TCP is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TcpParts {
    pub(super) retransmits: Measured,
    pub(super) connections: Measured,
}

/// Whether something is measured now, so that no count of it is a zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Measured {
    Yes,
    #[default]
    No,
}

impl Measured {
    fn count<T>(self, count: T) -> Option<T> {
        (self == Self::Yes).then_some(count)
    }
}

/// The rows of an interval.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) flows: Vec<Flow>,
    pub(super) latency: Vec<PairLatency>,
    pub(super) drops: Vec<Drops>,
    pub(super) stamps: Vec<Stamps>,
    pub(super) overflow: Overflow,
}

/// Makes them. `reasons` are the kernel's names of drops.
pub(super) fn roll(came: &Came, places: &Places, tcp: TcpParts, reasons: &BTreeMap<u32, String>) -> Rows {
    let mut rows = Rows::default();
    rows.overflow.lost = came.lost.others;
    rows.overflow.packets_beyond = came.lost.packets;
    rows.flows = flows(came, places, tcp, &mut rows.overflow);
    rows.latency = came.latency.iter().filter_map(|(key, counts)| latency(*key, counts, places)).collect();
    rows.drops = drops(&came.drops, places, reasons);
    rows.stamps = stamps(&came.stamps, places);
    bound(&mut rows.latency, |row| row.histogram.count, &mut rows.overflow);
    bound(&mut rows.drops, |row| row.packets, &mut rows.overflow);
    bound(&mut rows.stamps, |row| row.buckets.iter().map(|bucket| bucket.count).sum(), &mut rows.overflow);
    rows
}

/// Keeps the largest, and counts how many are left out.
fn bound<T>(rows: &mut Vec<T>, size: impl Fn(&T) -> u64, overflow: &mut Overflow) {
    if rows.len() > Interval::MAX_ROWS {
        rows.sort_by_key(|row| std::cmp::Reverse(size(row)));
        overflow.rows_folded += (rows.len() - Interval::MAX_ROWS) as u64;
        rows.truncate(Interval::MAX_ROWS);
    }
}

type FlowRow = (ContainerName, Peer, Protocol);

fn flows(came: &Came, places: &Places, tcp: TcpParts, overflow: &mut Overflow) -> Vec<Flow> {
    let mut rows: BTreeMap<FlowRow, Flow> = BTreeMap::new();
    for (key, counts) in &came.flows {
        let Some(container) = places.owner(key.owner) else {
            overflow.packets_unknown += counts.packets;
            continue;
        };
        let (peer, protocol) = match key.with {
            FlowPeer::Ip(Some(address), protocol) => {
                (places.peer(Some(container), address), protocol_of(protocol))
            }
            FlowPeer::Ip(None, protocol) => (Peer::REST, protocol_of(protocol)),
            FlowPeer::Link => (Peer { kind: PeerKind::Link, ..Peer::REST }, Protocol::Other),
            FlowPeer::Rest => {
                overflow.packets_beyond += counts.packets;
                (Peer::REST, Protocol::Other)
            }
        };
        let row = row(&mut rows, (container.clone(), peer, protocol));
        let way = if key.way == FlowWay::Sent { &mut row.sent } else { &mut row.received };
        way.add(&traffic(key.owner, counts));
    }
    for (key, counts) in &came.tcp {
        let (Some(container), Some(address)) = (places.owner(key.owner), key.peer) else { continue };
        let peer = places.peer(Some(container), address);
        let row = row(&mut rows, (container.clone(), peer, Protocol::Tcp));
        add_tcp(&mut row.tcp, key.owner, counts, tcp);
    }
    // A peer of whom nothing special came says so with zeros, not with silence.
    for row in rows.values_mut().filter(|row| row.protocol == Protocol::Tcp && row.tcp.is_none()) {
        let on_host = row.sent.packets.is_none() || row.received.packets.is_none();
        row.tcp = Some(TcpFigures {
            retransmits: tcp.retransmits.count(0),
            connections: tcp.connections.count(Connections::default()).filter(|_| !on_host),
            rtt: None,
        });
    }
    fold(rows, overflow)
}

fn row(rows: &mut BTreeMap<FlowRow, Flow>, key: FlowRow) -> &mut Flow {
    let (container, peer, protocol) = key.clone();
    let nothing = Flow { container, peer, protocol, sent: Traffic::ZERO, received: Traffic::ZERO, tcp: None };
    rows.entry(key).or_insert(nothing)
}

fn traffic(owner: OwnerId, counts: &TrafficCounts) -> Traffic {
    let of_packets = |count| matches!(owner, OwnerId::Netns(_)).then_some(count);
    Traffic {
        bytes: counts.bytes,
        packets: of_packets(counts.packets),
        segments: of_packets(counts.segments),
    }
}

fn add_tcp(to: &mut Option<TcpFigures>, owner: OwnerId, counts: &TcpCounts, parts: TcpParts) {
    let figures = to.get_or_insert_default();
    if parts.retransmits == Measured::Yes {
        *figures.retransmits.get_or_insert(0) += counts.retransmits;
    }
    // Who accepts a connection on the host's network is not known when it happens.
    if parts.connections == Measured::Yes && matches!(owner, OwnerId::Netns(_)) {
        let known = figures.connections.get_or_insert_default();
        known.opened += counts.opened;
        known.accepted += counts.accepted;
        known.refused += counts.refused;
        known.closed += counts.closed;
    }
    if counts.rtt_samples > 0 {
        let rtt = figures.rtt.get_or_insert(RttFigures::default());
        rtt.samples += counts.rtt_samples;
        rtt.sum_us += counts.rtt_sum_us;
    }
}

fn protocol_of(number: u8) -> Protocol {
    match number {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        1 | 58 => Protocol::Icmp,
        132 => Protocol::Sctp,
        _ => Protocol::Other,
    }
}

/// Where there are too many rows, those with the fewest bytes become one `rest` of their container.
fn fold(rows: BTreeMap<FlowRow, Flow>, overflow: &mut Overflow) -> Vec<Flow> {
    if rows.len() <= Interval::MAX_ROWS {
        return rows.into_values().collect();
    }
    let mut flows: Vec<Flow> = rows.into_values().collect();
    flows.sort_by_key(|flow| std::cmp::Reverse(flow.sent.bytes.saturating_add(flow.received.bytes)));
    let mut rests: BTreeMap<ContainerName, Flow> = BTreeMap::new();
    // Half of the room is left to the rests, of which there are as many as containers at most.
    for flow in flows.split_off(Interval::MAX_ROWS / 2) {
        overflow.rows_folded += 1;
        match rests.get_mut(&flow.container) {
            Some(rest) => {
                rest.sent.add(&flow.sent);
                rest.received.add(&flow.received);
            }
            None => drop(rests.insert(
                flow.container.clone(),
                Flow { peer: Peer::REST, protocol: Protocol::Other, tcp: None, ..flow },
            )),
        }
    }
    flows.extend(rests.into_values().take(Interval::MAX_ROWS / 2));
    flows
}

fn latency(key: PairKey, counts: &LatencyCounts, places: &Places) -> Option<PairLatency> {
    let from = places.owner(OwnerId::Netns(key.from))?.clone();
    let to = places.owner(OwnerId::Netns(key.to)).cloned();
    let hop = match key.hop {
        0 => Hop::EndToEnd,
        1 => Hop::Container,
        2 => Hop::Bridge,
        3 => Hop::Veth,
        _ => Hop::Overlay,
    };
    if to.is_none() && hop != Hop::Overlay {
        return None;
    }
    Some(PairLatency {
        from,
        to,
        hop,
        histogram: LatencyHistogram::new(&counts.buckets, counts.sum_ns, counts.max_ns),
    })
}

/// Where, why, from whom and for whom.
type DropRow = (Option<ContainerName>, String, Option<Peer>, Option<Peer>);

fn drops(came: &[(DropKey, Count)], places: &Places, reasons: &BTreeMap<u32, String>) -> Vec<Drops> {
    let mut rows: BTreeMap<DropRow, u64> = BTreeMap::new();
    for (key, count) in came {
        let reason = reason(key.reason, reasons);
        let container = places.owner(OwnerId::Netns(key.netns));
        let peer = |address: Option<IpAddr>| Some(places.peer(container, address?));
        let (from, to) = (peer(key.from), peer(key.to));
        let of_container =
            |peer: &Option<Peer>| peer.as_ref().is_some_and(|peer| peer.kind == PeerKind::Container);
        // The host's own traffic, and that of namespaces that are nobody's, is not ours to tell.
        let on_the_way = key.netns == places.host_netns() && (of_container(&from) || of_container(&to));
        if NO_LOSS.contains(&reason.as_str()) || (container.is_none() && !on_the_way) {
            continue;
        }
        *rows.entry((container.cloned(), reason, from, to)).or_insert(0) += count.number;
    }
    let drop = |((container, reason, from, to), packets)| Drops { container, reason, from, to, packets };
    rows.into_iter().map(drop).collect()
}

/// A reason's name, e.g. `NETFILTER_DROP`; those of subsystems have numbers beyond the kernel's own.
fn reason(number: u32, names: &BTreeMap<u32, String>) -> String {
    match names.get(&number) {
        Some(name) => name.strip_prefix(REASON).unwrap_or(name).to_owned(),
        None => format!("REASON_{number:#x}"),
    }
}

fn stamps(came: &[(EpochKey, StampCounts)], places: &Places) -> Vec<Stamps> {
    let mut rows: BTreeMap<(ContainerName, Peer, bool, Timestamp), Vec<StampBucket>> = BTreeMap::new();
    for (key, counts) in came {
        let (Some(container), Some(address)) = (places.owner(OwnerId::Netns(key.netns)), key.peer) else {
            continue;
        };
        let peer = places.peer(Some(container), address);
        // Between two of this host there is a latency already.
        if peer.kind == PeerKind::Container {
            continue;
        }
        let epoch = Timestamp::from_millis(i64::try_from(key.begins / 1_000_000).unwrap_or(i64::MAX));
        let row = (container.clone(), peer, key.way == FlowWay::Sent, epoch);
        let bucket = StampBucket { bucket: key.bucket, count: counts.count, sum_ns: counts.sum_ns };
        rows.entry(row).or_default().push(bucket);
    }
    let row = |((container, peer, sent, epoch), mut buckets): (_, Vec<StampBucket>)| {
        buckets.sort_by_key(|bucket| bucket.bucket);
        Stamps { container, peer, sent, epoch, buckets }
    };
    rows.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixtures::{HostRoot, host};
    use proptest::prelude::*;

    fn places(host: &HostRoot) -> Places {
        let mut places = Places::new(host.netns("host"));
        places.look(host.root(), &[host.run("web", "10.0.0.2"), host.run("db", "10.0.0.3")], &[], |_| true);
        places
    }

    fn flow(netns: u32, way: FlowWay, peer: &str) -> FlowKey {
        FlowKey { owner: OwnerId::Netns(netns), way, with: FlowPeer::Ip(peer.parse().ok(), 6) }
    }

    const SOME: TrafficCounts = TrafficCounts { bytes: 100, packets: 2, segments: 3 };
    const ALL: TcpParts = TcpParts { retransmits: Measured::Yes, connections: Measured::Yes };

    #[test]
    fn both_ways_of_a_pair_and_its_tcp_are_one_row() {
        let (host, mut came) = (host(), Came::default());
        let (web, places) = (host.netns("web"), places(&host));
        came.flows = vec![
            (flow(web, FlowWay::Sent, "10.0.0.3"), SOME),
            (flow(web, FlowWay::Received, "10.0.0.3"), TrafficCounts { bytes: 7, ..SOME }),
            (flow(web + 1_000_000, FlowWay::Sent, "10.0.0.3"), SOME),
            (FlowKey { with: FlowPeer::Rest, ..flow(web, FlowWay::Sent, "") }, SOME),
            (FlowKey { with: FlowPeer::Link, ..flow(web, FlowWay::Sent, "") }, SOME),
        ];
        let tcp =
            TcpCounts { retransmits: 4, rtt_samples: 2, rtt_sum_us: 500, opened: 1, ..TcpCounts::default() };
        came.tcp = vec![(TcpKey { owner: OwnerId::Netns(web), peer: "10.0.0.3".parse().ok() }, tcp)];
        let rows = roll(&came, &places, ALL, &BTreeMap::new());
        let kinds: Vec<PeerKind> = rows.flows.iter().map(|flow| flow.peer.kind).collect();
        assert_eq!(kinds, [PeerKind::Container, PeerKind::Link, PeerKind::Rest]);
        let pair = &rows.flows[0];
        assert_eq!((pair.sent.bytes, pair.received.bytes, pair.sent.segments), (100, 7, Some(3)));
        let figures = pair.tcp.unwrap();
        assert_eq!((figures.retransmits, figures.connections.unwrap().opened), (Some(4), 1));
        assert_eq!((rows.overflow.packets_unknown, rows.overflow.packets_beyond), (2, 2));
    }

    #[test]
    fn what_is_not_measured_is_not_a_zero() {
        let (host, mut came) = (host(), Came::default());
        let places = places(&host);
        came.flows = vec![(flow(host.netns("web"), FlowWay::Sent, "10.0.0.3"), SOME)];
        let rows = roll(&came, &places, TcpParts::default(), &BTreeMap::new());
        assert_eq!(rows.flows[0].tcp, Some(TcpFigures::default()));
    }

    #[test]
    fn drops_are_told_where_they_concern_a_container_and_are_a_loss() {
        let host = host();
        let places = places(&host);
        let names = [(3, "SKB_DROP_REASON_NO_SOCKET"), (8, "SKB_DROP_REASON_NETFILTER_DROP")];
        let names = names.map(|(number, name)| (number, name.to_owned())).into();
        let key = |netns: &str, reason, from: &str, to: &str| DropKey {
            netns: host.netns(netns),
            reason,
            from: from.parse().ok(),
            to: to.parse().ok(),
        };
        let one = Count { number: 1 };
        let came = vec![
            (key("db", 8, "10.0.0.2", "10.0.0.3"), one),
            (key("db", 3, "10.0.0.2", "10.0.0.3"), one),
            (key("host", 8, "10.0.0.2", "10.0.0.3"), one),
            (key("host", 8, "192.0.2.1", "192.0.2.2"), one),
            (key("nobody", 8, "10.0.0.2", "10.0.0.3"), one),
            (key("db", 0x20001, "10.0.0.2", "10.0.0.3"), one),
        ];
        let rows = drops(&came, &places, &names);
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.container.as_ref().map(ContainerName::as_str), row.reason.as_str()))
            .collect();
        assert_eq!(
            told,
            [(None, "NETFILTER_DROP"), (Some("db"), "NETFILTER_DROP"), (Some("db"), "REASON_0x20001")]
        );
        assert!(
            rows.iter().all(|row| row.from.as_ref().unwrap().container.as_ref().unwrap().as_str() == "web")
        );
    }

    proptest! {
        /// However many peers there are, the message is bounded and no byte of it is lost.
        #[test]
        fn rows_are_bounded_and_their_sum_is_not_changed(peers in 1_u32..9000, bytes in 1_u64..1000) {
            let host = host();
            let (web, places) = (host.netns("web"), places(&host));
            let of = |number: u32| FlowKey {
                owner: OwnerId::Netns(web),
                way: FlowWay::Sent,
                with: FlowPeer::Ip(Some(std::net::Ipv4Addr::from(0x0b00_0000 + number).into()), 17),
            };
            let flows = (0..peers).map(|number| (of(number), TrafficCounts { bytes, packets: 1, segments: 1 })).collect();
            let rows = roll(&Came { flows, ..Came::default() }, &places, ALL, &BTreeMap::new());
            prop_assert!(rows.flows.len() <= Interval::MAX_ROWS);
            prop_assert_eq!(rows.flows.iter().map(|flow| flow.sent.bytes).sum::<u64>(), bytes * u64::from(peers));
            prop_assert_eq!(rows.overflow.rows_folded > 0, peers as usize > Interval::MAX_ROWS);
        }
    }
}
