//! What the programs of `bpf/net.bpf.c` are told and what they add up, as plain data. [`super::NetPrograms`] is the loader.

use std::net::{IpAddr, Ipv6Addr};

/// One of the programs, by the tracepoint it is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Tap {
    /// Packets that a container's interface sends.
    Sent,
    /// Packets that it receives.
    Received,
    /// Segments of TCP that arrive, for their round trips.
    Rtt,
    /// Segments of TCP sent again.
    Retransmits,
    /// Connections that begin and end.
    States,
    /// What a program on the host's network sends.
    CallSent,
    /// What one receives.
    CallReceived,
    /// Packets dropped.
    Drops,
}

impl Tap {
    /// All there are.
    pub(crate) const ALL: [Self; 8] = [
        Self::Sent,
        Self::Received,
        Self::Rtt,
        Self::Retransmits,
        Self::States,
        Self::CallSent,
        Self::CallReceived,
        Self::Drops,
    ];

    /// The tracepoint.
    pub(crate) fn tracepoint(self) -> &'static str {
        match self {
            Self::Sent => "net_dev_queue",
            Self::Received => "netif_receive_skb",
            Self::Rtt => "tcp_probe",
            Self::Retransmits => "tcp_retransmit_skb",
            Self::States => "inet_sock_set_state",
            Self::CallSent => "sock_send_length",
            Self::CallReceived => "sock_recv_length",
            Self::Drops => "kfree_skb",
        }
    }

    /// The program's name.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Sent => "net_sent",
            Self::Received => "net_received",
            Self::Rtt => "net_rtt",
            Self::Retransmits => "net_retransmitted",
            Self::States => "net_state",
            Self::CallSent => "net_call_sent",
            Self::CallReceived => "net_call_received",
            Self::Drops => "net_dropped",
        }
    }

    /// The first kernel that has what it needs.
    pub(crate) fn since(self) -> &'static str {
        match self {
            Self::Sent | Self::Received | Self::Rtt | Self::Retransmits | Self::States => "Linux 5.5",
            Self::CallSent | Self::CallReceived => "Linux 6.3",
            Self::Drops => "Linux 5.17",
        }
    }
}

/// `struct settings`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NetSettings {
    /// Of [`NetSettings::LATENCY`] and the others.
    pub(crate) flags: u32,
    /// One packet in so many is timed, less one: a power of two.
    pub(crate) latency_mask: u32,
    /// The same of round trips.
    pub(crate) rtt_mask: u32,
    pub(crate) unused: u32,
    /// What `CLOCK_MONOTONIC` lacks to unix time, nanoseconds.
    pub(crate) to_wall_ns: u64,
    /// How long an epoch of stamps is, nanoseconds; 0: there are none.
    pub(crate) epoch_ns: u64,
}

impl NetSettings {
    /// Packets are timed within the host.
    pub(crate) const LATENCY: u32 = 1;
    /// Parts of the way are told apart.
    pub(crate) const HOPS: u32 = 2;
    /// The way to an overlay's tunnel is.
    pub(crate) const OVERLAY: u32 = 4;
    /// Packets are stamped by a clock that other hosts share.
    pub(crate) const STAMPS: u32 = 8;
    /// Only who was selected is counted.
    pub(crate) const SELECTED: u32 = 16;
    /// Only packets of the rules' ports are.
    pub(crate) const PORTS: u32 = 32;
}

/// Whose traffic an entry is: the inode number of a network namespace, or of a cgroup on the host's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum OwnerId {
    /// Of a network namespace.
    Netns(u32),
    /// Of a cgroup.
    Cgroup(u64),
}

impl OwnerId {
    const OF_CGROUP: u64 = 1 << 63;

    /// As the kernel's tables have it.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Netns(inode) => inode.into(),
            Self::Cgroup(inode) => inode | Self::OF_CGROUP,
        }
    }

    /// Reads it.
    pub(super) fn of(number: u64) -> Self {
        match u32::try_from(number) {
            Ok(inode) => Self::Netns(inode),
            Err(_) => Self::Cgroup(number & !Self::OF_CGROUP),
        }
    }
}

/// `struct bytes16`
pub(super) type Address = [u8; 16];

/// The address that sixteen bytes mean; none for zeros.
pub(super) fn address_of(bytes: Address) -> Option<IpAddr> {
    let address = Ipv6Addr::from(bytes);
    (!address.is_unspecified()).then(|| address.to_canonical())
}

/// `struct flow`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RawFlow {
    pub(super) owner: u64,
    pub(super) peer: Address,
    pub(super) protocol: u8,
    pub(super) direction: u8,
    pub(super) is_ip: u8,
    pub(super) unused: [u8; 5],
}

/// `struct flow_ipv4`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RawFlowIpv4 {
    pub(super) netns: u32,
    pub(super) peer: [u8; 4],
    pub(super) protocol: u8,
    pub(super) direction: u8,
    pub(super) unused: [u8; 2],
}

/// `struct end`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RawEnd {
    pub(super) owner: u64,
    pub(super) direction: u64,
}

/// `struct pair`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RawPair {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) hop: u32,
}

/// `struct latency`
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct RawLatency {
    pub(super) sum_ns: u64,
    pub(super) max_ns: u64,
    pub(super) buckets: [u32; 64],
}

/// `struct epoch`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RawEpoch {
    pub(super) begins: u64,
    pub(super) peer: Address,
    pub(super) netns: u32,
    pub(super) direction: u8,
    pub(super) bucket: u8,
    pub(super) unused: [u8; 2],
}

/// `struct tcp_pair`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RawTcpPair {
    pub(super) owner: u64,
    pub(super) peer: Address,
}

/// `struct drop`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RawDrop {
    pub(super) netns: u32,
    pub(super) reason: u32,
    pub(super) from: Address,
    pub(super) to: Address,
}

/// Numbers that only grow, as one entry has them on all processors together.
pub(crate) trait Counts: Copy {
    /// Adds what another processor counted.
    fn add(&mut self, other: &Self);
    /// What came since `before`; `None` when it is less, so the entry was made anew.
    fn since(&self, before: &Self) -> Option<Self>;
    /// Whether nothing came.
    fn is_nothing(&self) -> bool;
}

/// Gives a struct of `u64` the sums and differences of its fields.
macro_rules! counts {
    ($name:ident { $($field:ident),+ }) => {
        impl Counts for $name {
            fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)+
            }

            fn since(&self, before: &Self) -> Option<Self> {
                Some(Self { $($field: self.$field.checked_sub(before.$field)?),+ })
            }

            fn is_nothing(&self) -> bool {
                true $(&& self.$field == 0)+
            }
        }
    };
}

/// `struct traffic`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TrafficCounts {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) segments: u64,
}
counts!(TrafficCounts { bytes, packets, segments });

/// `struct tcp_counts`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TcpCounts {
    pub(crate) retransmits: u64,
    pub(crate) rtt_samples: u64,
    pub(crate) rtt_sum_us: u64,
    pub(crate) opened: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) closed: u64,
}
counts!(TcpCounts { retransmits, rtt_samples, rtt_sum_us, opened, accepted, refused, closed });

/// `struct times`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StampCounts {
    pub(crate) count: u64,
    pub(crate) sum_ns: u64,
}
counts!(StampCounts { count, sum_ns });

/// One number.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count {
    pub(crate) number: u64,
}
counts!(Count { number });

/// `struct latency`, with room for the sums of many processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LatencyCounts {
    pub(crate) sum_ns: u64,
    pub(crate) max_ns: u64,
    pub(crate) buckets: [u64; 64],
}

impl From<&RawLatency> for LatencyCounts {
    fn from(raw: &RawLatency) -> Self {
        Self { sum_ns: raw.sum_ns, max_ns: raw.max_ns, buckets: raw.buckets.map(u64::from) }
    }
}

impl Counts for LatencyCounts {
    fn add(&mut self, other: &Self) {
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        self.buckets.iter_mut().zip(other.buckets).for_each(|(bucket, more)| *bucket += more);
    }

    fn since(&self, before: &Self) -> Option<Self> {
        let mut since = *self;
        since.sum_ns = self.sum_ns.checked_sub(before.sum_ns)?;
        for (bucket, before) in since.buckets.iter_mut().zip(before.buckets) {
            *bucket = bucket.checked_sub(before)?;
        }
        Some(since)
    }

    fn is_nothing(&self) -> bool {
        self.buckets.iter().all(|count| *count == 0)
    }
}

/// Which way, seen from a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FlowWay {
    /// From it.
    Sent,
    /// To it.
    Received,
}

impl FlowWay {
    fn of(number: u64) -> Self {
        if number == 0 { Self::Sent } else { Self::Received }
    }
}

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FlowKey {
    pub(crate) owner: OwnerId,
    pub(crate) way: FlowWay,
    pub(crate) with: FlowPeer,
}

/// The other end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FlowPeer {
    /// An address, by a protocol of IP; none where a socket has no peer of its own.
    Ip(Option<IpAddr>, u8),
    /// No IP.
    Link,
    /// All those for which there was no room.
    Rest,
}

impl From<RawFlow> for FlowKey {
    fn from(raw: RawFlow) -> Self {
        let with =
            if raw.is_ip == 0 { FlowPeer::Link } else { FlowPeer::Ip(address_of(raw.peer), raw.protocol) };
        Self { owner: OwnerId::of(raw.owner), way: FlowWay::of(raw.direction.into()), with }
    }
}

impl From<RawFlowIpv4> for FlowKey {
    fn from(raw: RawFlowIpv4) -> Self {
        let with = FlowPeer::Ip(Some(raw.peer.into()), raw.protocol);
        Self { owner: OwnerId::Netns(raw.netns), way: FlowWay::of(raw.direction.into()), with }
    }
}

impl From<RawEnd> for FlowKey {
    fn from(raw: RawEnd) -> Self {
        Self { owner: OwnerId::of(raw.owner), way: FlowWay::of(raw.direction), with: FlowPeer::Rest }
    }
}

/// A part of the way between two network namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PairKey {
    pub(crate) from: u32,
    /// 0: none that is known.
    pub(crate) to: u32,
    /// 0 all of the way; then as `bpf/net.bpf.c` numbers its parts.
    pub(crate) hop: u32,
}

impl From<RawPair> for PairKey {
    fn from(raw: RawPair) -> Self {
        Self { from: raw.from, to: raw.to, hop: raw.hop }
    }
}

/// One container's TCP with one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TcpKey {
    pub(crate) owner: OwnerId,
    pub(crate) peer: Option<IpAddr>,
}

impl From<RawTcpPair> for TcpKey {
    fn from(raw: RawTcpPair) -> Self {
        Self { owner: OwnerId::of(raw.owner), peer: address_of(raw.peer) }
    }
}

/// What was dropped, where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DropKey {
    pub(crate) netns: u32,
    /// A value of the running kernel's `enum skb_drop_reason`.
    pub(crate) reason: u32,
    pub(crate) from: Option<IpAddr>,
    pub(crate) to: Option<IpAddr>,
}

impl From<RawDrop> for DropKey {
    fn from(raw: RawDrop) -> Self {
        Self { netns: raw.netns, reason: raw.reason, from: address_of(raw.from), to: address_of(raw.to) }
    }
}

/// When packets of one bucket passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EpochKey {
    /// Unix time, nanoseconds.
    pub(crate) begins: u64,
    pub(crate) netns: u32,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) way: FlowWay,
    pub(crate) bucket: u8,
}

impl From<RawEpoch> for EpochKey {
    fn from(raw: RawEpoch) -> Self {
        Self {
            begins: raw.begins,
            netns: raw.netns,
            peer: address_of(raw.peer),
            way: FlowWay::of(raw.direction.into()),
            bucket: raw.bucket,
        }
    }
}

/// What found no place in a table, since the programs were loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LostCounts {
    /// Packets that are in no count at all.
    pub(crate) packets: u64,
    /// Timed packets, TCP events, drops.
    pub(crate) others: u64,
}
counts!(LostCounts { packets, others });

#[cfg(all(test, ebpf_built))]
mod kernel_tests {
    use super::super::{NetPrograms, Switch};
    use super::*;

    /// Which of the eight this kernel takes is what `doctor` says; on one with BTF of Linux 6.3 it is all of them.
    #[test]
    fn this_kernel_takes_every_program() {
        let netns = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata("/proc/self/ns/net").unwrap());
        let mut programs = NetPrograms::load(u32::try_from(netns).unwrap(), 0)
            .expect("this test needs CAP_BPF, CAP_PERFMON and a kernel with BTF");
        assert!(programs.failed().is_empty(), "{:?}", programs.failed());
        for tap in Tap::ALL {
            programs.switch(tap, Switch::On).unwrap();
            programs.switch(tap, Switch::On).expect("it is on already");
            programs.switch(tap, Switch::Off).unwrap();
        }
        assert_eq!(programs.lost().unwrap(), LostCounts::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layouts_are_those_of_the_programs() {
        assert_eq!(size_of::<NetSettings>(), 32);
        assert_eq!(size_of::<RawFlow>(), 32);
        assert_eq!(size_of::<RawFlowIpv4>(), 12);
        assert_eq!(size_of::<RawLatency>(), 272);
        assert_eq!(size_of::<RawEpoch>(), 32);
        assert_eq!(size_of::<RawDrop>(), 40);
    }

    #[test]
    fn owners_and_addresses_read_back() {
        for owner in [OwnerId::Netns(4_026_531_840), OwnerId::Cgroup(7), OwnerId::Cgroup(1 << 40)] {
            assert_eq!(OwnerId::of(owner.number()), owner);
        }
        let mapped = std::net::Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped().octets();
        assert_eq!(address_of(mapped), Some("10.0.0.7".parse().unwrap()));
        assert_eq!(address_of([0; 16]), None);
    }

    #[test]
    fn what_is_less_than_before_was_made_anew() {
        let count = |number| Count { number };
        assert_eq!(count(7).since(&count(3)), Some(count(4)));
        assert_eq!(count(2).since(&count(3)), None);
    }
}
