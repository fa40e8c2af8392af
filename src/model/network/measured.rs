//! What an agent says of its containers' network within one interval. Counts are of that interval alone, so nobody has to
//! take differences, and what was lost on the way to the controller is missing there and nothing else.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{LatencyHistogram, Stamps};
use crate::model::{ContainerName, Timestamp};

/// What happened between `start` and `end`, by the host's clock. Bounded: at most [`Interval::MAX_ROWS`] of each list;
/// what is beyond is folded or left out, and counted in `overflow`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// By what it was measured.
    pub way: MeasureWay,
    /// What can be measured here, and what of the rest would need.
    pub measurements: Vec<Measurement>,
    /// Names the clock that this host shares with others (`--network-clock`): one-way latency is told between hosts of the
    /// same name. Null: it shares none, and latency between hosts is half the round trip.
    #[serde(default)]
    pub clock: Option<String>,
    /// Who is here, and under which addresses: the fleet's names for them are made of these.
    pub endpoints: Vec<Endpoint>,
    /// Who talked to whom.
    pub flows: Vec<Flow>,
    /// How long packets took within the host.
    pub latency: Vec<PairLatency>,
    /// What was dropped.
    pub drops: Vec<Drops>,
    /// For one-way latency between hosts that share a clock; empty otherwise.
    #[serde(default)]
    pub stamps: Vec<Stamps>,
    /// What found no place.
    pub overflow: Overflow,
}

impl Interval {
    /// The most rows of flows, of latencies, of drops and of stamps each.
    pub const MAX_ROWS: usize = 4096;
}

/// By what a host's network is measured, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeasureWay {
    /// By programs at the kernel's tracepoints.
    Tracepoints,
    /// By programs at each container's interface (clsact): counts only.
    Classifiers,
    /// By the kernel's counters in `/proc`: totals of each container, no peers.
    Proc,
    /// Not at all.
    Off,
    /// In a way this version does not know.
    #[serde(other)]
    Unknown,
}

/// One thing that is measured, or is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Measurement {
    /// What: `flows`, `latency`, `hops`, `rtt`, `retransmits`, `connections`, `drops`, `host_network` or `one_way`.
    pub name: String,
    /// Whether it is.
    pub status: MeasurementStatus,
    /// How, or why not and what would give it.
    pub detail: String,
}

/// Whether something is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeasurementStatus {
    /// It is.
    Works,
    /// It could be, but the rules leave it out.
    Off,
    /// It cannot be here.
    Missing,
    /// A word this version does not know.
    #[serde(other)]
    Unknown,
}

/// A container as others reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its name.
    pub container: ContainerName,
    /// Whose network it uses.
    pub kind: EndpointKind,
    /// The container whose network namespace it uses, where that is another's: what goes over it is told of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<ContainerName>,
    /// Its addresses; none of its own on the host's network.
    pub addresses: Vec<IpAddr>,
    /// Whether the rules trace it.
    pub traced: bool,
}

/// Whose network a container uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointKind {
    /// Its own.
    Own,
    /// Another container's.
    Shared,
    /// The host's.
    Host,
    /// None, or one that is not known.
    #[serde(other)]
    None,
}

/// What a container and one peer said to each other over one protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// The container.
    pub container: ContainerName,
    /// The other end.
    pub peer: Peer,
    /// By what.
    pub protocol: Protocol,
    /// From the container to the peer, counted where the container sends.
    pub sent: Traffic,
    /// From the peer to the container, counted where the container receives.
    pub received: Traffic,
    /// Of its TCP connections; absent for other protocols, and where it is not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpFigures>,
}

/// Packets that went one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes with all headers, the link's too, as the interface counts them. Of containers on the host's network what the
    /// programs sent and received.
    pub bytes: u64,
    /// Packets as the interface counts them; null for containers on the host's network.
    pub packets: Option<u64>,
    /// Packets as they would go over a wire: one that the kernel hands on whole may be many. Null as above.
    pub segments: Option<u64>,
}

/// Who the other end is, as far as the agent knows; the controller knows the fleet's containers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// What it is.
    pub kind: PeerKind,
    /// Its name, for a container of this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerName>,
    /// Its address; absent for [`PeerKind::Rest`], and where several were folded into one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

/// What a peer is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PeerKind {
    /// A container of this host.
    Container,
    /// The gateway of one of the container's networks: this host, or what it reaches through it.
    Gateway,
    /// This host, by another of its addresses.
    Host,
    /// Many at once: multicast or broadcast.
    Multicast,
    /// An address that is none of these: a container of another host perhaps, or outside the fleet.
    Address,
    /// What leaves no link: what is no IP, such as ARP, and addresses of the link alone that are no container's.
    Link,
    /// Peers for which there was no room, together.
    Rest,
    /// A word this version does not know.
    #[serde(other)]
    Unknown,
}

/// What a flow speaks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, or ICMPv6.
    Icmp,
    /// SCTP.
    Sctp,
    /// Anything else, or not known.
    #[serde(other)]
    Other,
}

/// What became of TCP between a container and a peer, seen from the container's end. What is not measured is null.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpFigures {
    /// Segments that the container sent again.
    pub retransmits: Option<u64>,
    /// Connections that began and ended.
    pub connections: Option<Connections>,
    /// Smoothed round-trip times, of those of its packets that were looked at; null when none was.
    pub rtt: Option<RttFigures>,
}

/// Connections that began and ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Connections {
    /// That the container opened.
    pub opened: u64,
    /// That it accepted.
    pub accepted: u64,
    /// That it tried to open in vain: refused, or not answered.
    pub refused: u64,
    /// That ended after they were open.
    pub closed: u64,
}

/// Round-trip times as TCP smooths them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RttFigures {
    /// How many were looked at.
    pub samples: u64,
    /// Added up, microseconds.
    pub sum_us: u64,
}

/// How long packets took from one container to another of this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairLatency {
    /// Who sent them.
    pub from: ContainerName,
    /// Who received them; absent for a part of the way that does not reach one of this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ContainerName>,
    /// Which part of the way.
    pub hop: Hop,
    /// How long, of the sampled packets.
    pub histogram: LatencyHistogram,
}

/// A part of a packet's way within the host.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// All of it: from the sender's interface to the receiver's.
    EndToEnd,
    /// From the sender's interface to the host's end of its veth pair.
    Container,
    /// From there to the queue of the receiver's veth pair: the bridge and its filters.
    Bridge,
    /// From there to the receiver's interface.
    Veth,
    /// From the sender's interface to the queue of an overlay's tunnel.
    Overlay,
    /// A word this version does not know.
    #[serde(other)]
    Unknown,
}

/// Packets that the kernel dropped for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drops {
    /// In whose network; absent: in the host's own, on the way between containers or to and from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerName>,
    /// The kernel's name for why, e.g. `NETFILTER_DROP`.
    pub reason: String,
    /// Who had sent them; absent when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Peer>,
    /// Whom they were for; absent when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Peer>,
    /// How many.
    pub packets: u64,
}

/// What found no place within the interval. All zero when nothing was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Overflow {
    /// Packets of peers for which the kernel's table had no room: they are in a flow with the peer `rest`.
    pub packets_beyond: u64,
    /// Timed packets, TCP events and drops for which theirs had none: lost.
    pub lost: u64,
    /// Rows folded into `rest`, or left out, to keep the message short.
    pub rows_folded: u64,
    /// Packets in network namespaces that belong to no container that is known.
    pub packets_unknown: u64,
}

impl Peer {
    /// Peers for which there was no room.
    pub const REST: Self = Self { kind: PeerKind::Rest, container: None, address: None };
}

impl Traffic {
    /// No packet at all.
    pub const ZERO: Self = Self { bytes: 0, packets: Some(0), segments: Some(0) };

    /// Adds another's packets; what one of them does not know, both do not.
    pub fn add(&mut self, other: &Self) {
        let both = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        *self = Self {
            bytes: self.bytes.saturating_add(other.bytes),
            packets: both(self.packets, other.packets),
            segments: both(self.segments, other.segments),
        };
    }
}
