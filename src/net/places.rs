//! Whose is which network namespace, cgroup and address, as this host's engine and `/proc` say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::ebpf::OwnerId;
use crate::metrics::cgroup_inode;
use crate::model::{
    ContainerFacts, ContainerName, Endpoint, EndpointKind, Namespace, Peer, PeerKind, RunState,
};

/// Who is where on this host.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Whose traffic an entry of the kernel's tables is.
    owners: HashMap<OwnerId, Known>,
    /// Who answers to an address. Two containers on networks apart may have the same; then only who shares a network with the
    /// asker is meant.
    addresses: HashMap<IpAddr, Vec<(ContainerName, Vec<String>)>>,
    /// The networks of each container, and its gateways.
    networks: HashMap<ContainerName, (Vec<String>, BTreeSet<IpAddr>)>,
    host: BTreeSet<IpAddr>,
    endpoints: Vec<Endpoint>,
    /// The first process of each that has a namespace of its own.
    processes: BTreeMap<ContainerName, u32>,
    /// The host's own network namespace.
    host_netns: u32,
    /// Intervals so far.
    intervals: u64,
}

#[derive(Debug)]
struct Known {
    container: ContainerName,
    /// The interval in which it was last there. What a container did last is read after its end.
    seen: u64,
}

/// The number of the network namespace of process `pid`.
pub(super) fn netns_of(root: &Path, pid: u32) -> Option<u32> {
    let inode = fs::metadata(root.join(format!("proc/{pid}/ns/net"))).ok()?.ino();
    u32::try_from(inode).ok()
}

impl Places {
    /// Of a host whose own network namespace this is.
    pub(super) fn new(host_netns: u32) -> Self {
        Self { host_netns, ..Self::default() }
    }

    /// Looks anew. `traced` says whom the rules select.
    pub(super) fn look(
        &mut self,
        root: &Path,
        all: &[ContainerFacts],
        host: &[IpAddr],
        traced: impl Fn(&ContainerFacts) -> bool,
    ) {
        (self.addresses, self.networks) = (HashMap::new(), HashMap::new());
        (self.endpoints, self.processes) = (Vec::new(), BTreeMap::new());
        self.host = host.iter().copied().collect();
        let runs = |facts: &&ContainerFacts| matches!(facts.state, RunState::Running | RunState::Paused);
        for facts in all.iter().filter(runs) {
            self.take(root, facts, all, traced(facts));
        }
    }

    fn take(&mut self, root: &Path, facts: &ContainerFacts, all: &[ContainerFacts], traced: bool) {
        let name = &facts.name;
        let (kind, shares) = use_of(facts, all);
        let addresses: Vec<IpAddr> = if kind == EndpointKind::Own { facts.addresses() } else { Vec::new() };
        if kind == EndpointKind::Own {
            let networks: Vec<String> = facts.networks.iter().map(|one| one.network.clone()).collect();
            for address in &addresses {
                self.addresses.entry(*address).or_default().push((name.clone(), networks.clone()));
            }
            let gateways = facts.networks.iter().flat_map(|one| one.gateways.iter().copied()).collect();
            self.networks.insert(name.clone(), (networks, gateways));
        }
        let owner = match (kind, facts.pid) {
            (EndpointKind::Own, Some(pid)) => {
                netns_of(root, pid).filter(|netns| *netns != self.host_netns).map(|netns| {
                    self.processes.insert(name.clone(), pid);
                    OwnerId::Netns(netns)
                })
            }
            (EndpointKind::Host, Some(_)) => cgroup_inode(root, &facts.id, facts.pid).map(OwnerId::Cgroup),
            _ => None,
        };
        if let Some(owner) = owner {
            self.owners.insert(owner, Known { container: name.clone(), seen: self.intervals });
        }
        self.endpoints.push(Endpoint { container: name.clone(), kind, shares, addresses, traced });
    }

    /// Another interval begins: who was there neither in the one that ends nor in the one before is forgotten.
    pub(super) fn next_interval(&mut self) {
        let ended = self.intervals;
        self.owners.retain(|_, known| known.seen + 1 >= ended);
        self.intervals += 1;
    }

    /// Whose an entry is.
    pub(super) fn owner(&self, id: OwnerId) -> Option<&ContainerName> {
        self.owners.get(&id).map(|known| &known.container)
    }

    /// The host's own network namespace.
    pub(super) fn host_netns(&self) -> u32 {
        self.host_netns
    }

    /// The cgroups of those on the host's network.
    pub(super) fn cgroups(&self) -> Vec<u64> {
        let of = |id: &OwnerId| match id {
            OwnerId::Cgroup(inode) => Some(*inode),
            OwnerId::Netns(_) => None,
        };
        self.owners.keys().filter_map(of).collect()
    }

    /// The entries of those that are traced.
    pub(super) fn traced(&self) -> Vec<OwnerId> {
        let traced = self.endpoints.iter().filter(|one| one.traced);
        let traced: BTreeSet<&ContainerName> =
            traced.map(|one| one.shares.as_ref().unwrap_or(&one.container)).collect();
        self.owners.iter().filter(|(_, known)| traced.contains(&known.container)).map(|(id, _)| *id).collect()
    }

    /// Everyone who runs here.
    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The first processes of those with a network namespace of their own.
    pub(super) fn processes(&self) -> &BTreeMap<ContainerName, u32> {
        &self.processes
    }

    /// Who is meant by an address, for a container that speaks with it.
    pub(super) fn peer(&self, asker: Option<&ContainerName>, address: IpAddr) -> Peer {
        let own = asker.and_then(|asker| self.networks.get(asker));
        let of_kind = |kind| Peer { kind, container: None, address: Some(address) };
        if let Some(found) = self.addresses.get(&address) {
            let reaches = |networks: &[String]| {
                own.is_none_or(|(own, _)| networks.iter().any(|network| own.contains(network)))
            };
            let near = found.iter().find(|(_, networks)| reaches(networks));
            // Docker routes between its networks where its rules let it: one alone is meant whatever its network.
            let meant = near.or_else(|| (found.len() == 1).then(|| &found[0]));
            if let Some((name, _)) = meant {
                return Peer { container: Some(name.clone()), ..of_kind(PeerKind::Container) };
            }
        }
        if own.is_some_and(|(_, gateways)| gateways.contains(&address)) {
            return of_kind(PeerKind::Gateway);
        }
        of_kind(match address {
            _ if self.host.contains(&address) => PeerKind::Host,
            IpAddr::V4(ipv4) if ipv4.is_multicast() || ipv4.is_broadcast() => PeerKind::Multicast,
            IpAddr::V6(ipv6) if ipv6.is_multicast() => PeerKind::Multicast,
            IpAddr::V4(ipv4) if ipv4.is_unspecified() => PeerKind::Link,
            IpAddr::V6(ipv6) if ipv6.is_unicast_link_local() || ipv6.is_unspecified() => PeerKind::Link,
            _ => PeerKind::Address,
        })
    }
}

/// Whose network a container uses, and of which other container's. What shares the network of one that shares another's is
/// followed four times.
fn use_of(facts: &ContainerFacts, all: &[ContainerFacts]) -> (EndpointKind, Option<ContainerName>) {
    let mut at = facts;
    for _ in 0..4 {
        match &at.namespace {
            Namespace::Own if at.name == facts.name => return (EndpointKind::Own, None),
            Namespace::Own => return (EndpointKind::Shared, Some(at.name.clone())),
            Namespace::Host => return (EndpointKind::Host, None),
            Namespace::None => return (EndpointKind::None, None),
            Namespace::Container(owner) => match all.iter().find(|one| one.is_called(owner)) {
                Some(owner) => at = owner,
                None => return (EndpointKind::None, None),
            },
        }
    }
    (EndpointKind::None, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixtures::{facts, host};

    #[test]
    fn everyone_is_known_by_namespace_and_address() {
        let host = host();
        let shared = ContainerFacts {
            namespace: Namespace::Container("web".to_owned()),
            ..facts("sidecar", RunState::Running, &[])
        };
        let elsewhere = facts("twin", RunState::Running, &[("apart", "10.0.0.2")]);
        let gone = facts("gone", RunState::Exited, &[("net", "10.0.0.9")]);
        let mut places = Places::new(host.netns("host"));
        let all = [host.run("web", "10.0.0.2"), host.run("db", "10.0.0.3"), shared, elsewhere, gone];
        let own = ["10.9.9.9".parse().unwrap()];
        places.look(host.root(), &all, &own, |facts| facts.name.as_str() == "sidecar");
        let name = |text: &str| text.parse::<ContainerName>().unwrap();
        assert_eq!(places.owner(OwnerId::Netns(host.netns("web"))), Some(&name("web")));
        assert_eq!(places.traced(), [OwnerId::Netns(host.netns("web"))], "what shares it makes it traced");
        let kinds: Vec<_> = places.endpoints().iter().map(|one| (one.container.as_str(), one.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("web", EndpointKind::Own),
                ("db", EndpointKind::Own),
                ("sidecar", EndpointKind::Shared),
                ("twin", EndpointKind::Own)
            ]
        );
        let peer = |asker: &str, address: &str| {
            let peer = places.peer(Some(&name(asker)), address.parse().unwrap());
            (peer.kind, peer.container.map(|name| name.to_string()))
        };
        let container = |name: &str| (PeerKind::Container, Some(name.to_owned()));
        assert_eq!(peer("db", "10.0.0.2"), container("web"), "who shares a network, of two with one address");
        assert_eq!(peer("twin", "10.0.0.2"), container("twin"));
        assert_eq!(peer("twin", "10.0.0.3"), container("db"), "one alone is meant wherever it is");
        assert_eq!(peer("web", "10.0.0.1"), (PeerKind::Gateway, None));
        assert_eq!(peer("web", "10.9.9.9"), (PeerKind::Host, None));
        assert_eq!(peer("web", "224.0.0.251"), (PeerKind::Multicast, None));
        assert_eq!(peer("web", "ff02::2"), (PeerKind::Multicast, None));
        assert_eq!(peer("web", "fe80::1"), (PeerKind::Link, None));
        assert_eq!(peer("web", "::"), (PeerKind::Link, None));
        assert_eq!(peer("web", "169.254.169.254"), (PeerKind::Address, None), "where clouds answer");
        assert_eq!(peer("web", "10.0.0.9"), (PeerKind::Address, None), "it ended");
    }

    #[test]
    fn who_ended_is_known_until_its_last_interval_was_told() {
        let host = host();
        let mut places = Places::new(host.netns("host"));
        places.look(host.root(), &[host.run("web", "10.0.0.2")], &[], |_| true);
        let web = OwnerId::Netns(host.netns("web"));
        places.look(host.root(), &[], &[], |_| true);
        assert!(places.owner(web).is_some());
        places.next_interval();
        assert!(places.owner(web).is_some(), "packets of its end may still be read");
        places.next_interval();
        places.next_interval();
        assert!(places.owner(web).is_none());
    }
}
