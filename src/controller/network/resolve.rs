//! Whose an address is, over the whole fleet.
//!
//! Hosts use the same private addresses (172.17.0.2 is somewhere on each), so that a container has an address does not mean
//! that it is the one meant. An address is a container's of another host when
//! 1. both speak of each other: the one has packets to or from the address, the other has packets to or from one of the first
//!    one's, neither finds the other on its own host, and some arrived at either end; which is so where a network spans hosts (overlay, macvlan, routes), and not where
//!    one address merely is on several hosts; or
//! 2. that was so before, and the container still has the address: so that a way that is broken altogether shows as lossy
//!    and not as a container that talks to nobody; or
//! 3. the address is no private one, and no other container has it.
//!
//! Where several containers qualify nobody knows, and the address stays an address.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use super::node::Node;
use crate::bus::ContainerReport;
use crate::model::{ContainerKey, ContainerName, Endpoint, EndpointKind, HostName, Interval, Peer, PeerKind};

/// The most proven pairs that are remembered; the oldest of them are forgotten first.
const MAX_PROVEN: usize = 65_536;

/// Who has which address, as the fleet says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses {
    containers: HashMap<IpAddr, Vec<ContainerKey>>,
    of: HashMap<ContainerKey, Vec<IpAddr>>,
    hosts: HashMap<IpAddr, Vec<HostName>>,
}

impl Addresses {
    fn container(&mut self, key: ContainerKey, addresses: &[IpAddr]) {
        for address in addresses {
            let known = self.containers.entry(*address).or_default();
            if !known.contains(&key) {
                known.push(key.clone());
            }
        }
        self.of.entry(key).or_default().extend(addresses);
    }

    pub(crate) fn host(&mut self, host: &HostName, addresses: &[IpAddr]) {
        for address in addresses.iter().filter(|address| !address.is_loopback()) {
            self.hosts.entry(*address).or_default().push(host.clone());
        }
    }

    /// The containers of `host`, as it tells with its network.
    pub(crate) fn endpoints(&mut self, host: &HostName, endpoints: &[Endpoint]) {
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.kind == EndpointKind::Own) {
            let key = ContainerKey { host: host.clone(), name: endpoint.container.clone() };
            self.container(key, &endpoint.addresses);
        }
    }

    /// The same of a host that tells nothing of its network.
    pub(crate) fn reported(&mut self, host: &HostName, containers: &[ContainerReport]) {
        for container in containers {
            let key = ContainerKey { host: host.clone(), name: container.name.clone() };
            self.container(key, &container.addresses);
        }
    }

    fn addresses_of(&self, key: &ContainerKey) -> &[IpAddr] {
        self.of.get(key).map_or(&[], Vec::as_slice)
    }
}

/// What was proven of whose an address is: from whom, the address, and whose; with the number of the last interval.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proven {
    known: BTreeMap<(ContainerKey, IpAddr), (ContainerKey, u64)>,
    now: u64,
}

impl Proven {
    /// A further interval begins.
    pub(crate) fn next(&mut self) {
        self.now += 1;
        if self.known.len() > MAX_PROVEN {
            let mut ages: Vec<u64> = self.known.values().map(|(_, last)| *last).collect();
            ages.sort_unstable();
            let since = ages[ages.len() / 4];
            self.known.retain(|_, (_, last)| *last > since);
        }
    }
}

/// Resolves the peers of one interval of all hosts.
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    addresses: &'a Addresses,
    /// Who has packets to or from an address that its agent does not know, and whether any arrived.
    abroad: HashMap<ContainerKey, HashMap<IpAddr, bool>>,
    /// Who has packets to or from a container of its host.
    at_home: HashSet<(ContainerKey, ContainerName)>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(addresses: &'a Addresses, intervals: &BTreeMap<HostName, Interval>) -> Self {
        let mut abroad: HashMap<ContainerKey, HashMap<IpAddr, bool>> = HashMap::new();
        let mut at_home = HashSet::new();
        for (host, interval) in intervals {
            for flow in &interval.flows {
                let key = ContainerKey { host: host.clone(), name: flow.container.clone() };
                match (flow.peer.kind, flow.peer.address, &flow.peer.container) {
                    (PeerKind::Address, Some(address), _) => {
                        *abroad.entry(key).or_default().entry(address).or_default() |=
                            flow.received.bytes > 0;
                    }
                    (PeerKind::Container, _, Some(name)) => drop(at_home.insert((key, name.clone()))),
                    _ => {}
                }
            }
        }
        Self { addresses, abroad, at_home }
    }

    /// What `peer` of a container of `key`'s host is.
    pub(crate) fn peer(&self, key: &ContainerKey, peer: &Peer, proven: &mut Proven) -> Node {
        let host = || key.host.clone();
        match (peer.kind, &peer.container, peer.address) {
            (PeerKind::Container, Some(name), _) => {
                Node::Container(ContainerKey { host: host(), name: name.clone() })
            }
            (PeerKind::Gateway, ..) => Node::Gateway(host()),
            (PeerKind::Host, ..) => Node::Host(host()),
            (PeerKind::Multicast, ..) => Node::Multicast(host()),
            (PeerKind::Link, ..) => Node::Link(host()),
            (PeerKind::Rest, ..) => Node::Rest(host()),
            (_, _, Some(address)) => self.address(key, address, proven),
            _ => Node::OUTSIDE,
        }
    }

    fn address(&self, key: &ContainerKey, address: IpAddr, proven: &mut Proven) -> Node {
        let candidates = self.addresses.containers.get(&address).map_or(&[][..], Vec::as_slice);
        let mut mutual = candidates.iter().filter(|candidate| self.is_mutual(key, address, candidate));
        let memory = (key.clone(), address);
        match (mutual.next(), mutual.next()) {
            (Some(one), None) => {
                proven.known.insert(memory, (one.clone(), proven.now));
                return Node::Container(one.clone());
            }
            (Some(_), Some(_)) => return Node::External(Some(address)),
            (None, _) => {}
        }
        if let Some((before, last)) = proven.known.get_mut(&memory) {
            if candidates.contains(before) {
                *last = proven.now;
                return Node::Container(before.clone());
            }
            proven.known.remove(&memory);
        }
        match candidates {
            [one] if !is_private(address) => return Node::Container(one.clone()),
            _ => {}
        }
        match self.addresses.hosts.get(&address).map(Vec::as_slice) {
            Some([host]) => Node::Host(host.clone()),
            _ => Node::External(Some(address)),
        }
    }

    /// Whether `key`, which has packets to or from `address`, and `candidate`, which has that address, speak of each other.
    fn is_mutual(&self, key: &ContainerKey, address: IpAddr, candidate: &ContainerKey) -> bool {
        let arrived = |at: &ContainerKey, from: IpAddr| self.abroad.get(at)?.get(&from).copied();
        let Some(here) = arrived(key, address) else { return false };
        let own = self.addresses.addresses_of(key);
        candidate != key && own.iter().any(|own| arrived(candidate, *own).is_some_and(|there| here || there))
    }

    /// Whether `key` has packets to or from `other`, by any of its addresses.
    pub(crate) fn speaks(&self, key: &ContainerKey, other: &ContainerKey) -> bool {
        if key.host == other.host && self.at_home.contains(&(key.clone(), other.name.clone())) {
            return true;
        }
        let Some(peers) = self.abroad.get(key) else { return false };
        self.addresses.addresses_of(other).iter().any(|address| peers.contains_key(address))
    }
}

/// Whether different networks may each have the address.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            // Shared by carriers: 100.64.0.0/10.
            v4.is_private() || v4.is_link_local() || v4.is_loopback() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

/// The hosts of `intervals` whose flows can be compared with others': counted by packet, and none left out for want of room.
pub(crate) fn complete(intervals: &BTreeMap<HostName, Interval>) -> BTreeSet<&HostName> {
    let whole = |interval: &Interval| {
        interval.overflow.packets_beyond == 0
            && interval.overflow.rows_folded == 0
            && super::measures(interval, "flows")
    };
    intervals.iter().filter(|(_, interval)| whole(interval)).map(|(host, _)| host).collect()
}

/// The containers of `interval` whose traffic is counted.
pub(crate) fn traced(host: &HostName, interval: &Interval) -> HashSet<ContainerKey> {
    let traced = interval.endpoints.iter().filter(|endpoint| endpoint.traced);
    traced.map(|endpoint| ContainerKey { host: host.clone(), name: endpoint.container.clone() }).collect()
}
