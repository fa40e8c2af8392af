//! By classifiers at the host's ends of the containers' veth pairs, where tracepoints cannot be used: counts, no more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::deltas::Deltas;
use super::places::Places;
use super::roll::{Came, Rows, TcpParts, roll};
use crate::ebpf::{self, CountPrograms, EbpfError, FlowKey, OwnerId, TrafficCounts};
use crate::netlink::{Clsact, Direction, Family, Link, Netlink, all_links, netns_id};

/// What our filters are called, so that a later process finds what a killed one left.
const NAME: &str = "dockhealth_net";

/// The programs, and where they are attached.
pub(super) struct Classified {
    programs: CountPrograms,
    /// By the number of each interface the network namespace of its container.
    ends: BTreeMap<i32, u32>,
    flows: Deltas<FlowKey, TrafficCounts>,
}

impl Classified {
    /// Loads the programs, and removes what a process before left attached.
    pub(super) fn load() -> Result<Self, EbpfError> {
        sweep();
        Ok(Self { programs: CountPrograms::load()?, ends: BTreeMap::new(), flows: Deltas::new() })
    }

    /// Attaches them to the containers that are traced, and to no others.
    pub(super) fn follow(&mut self, root: &Path, places: &Places) -> io::Result<()> {
        let wanted = ends(root, places)?;
        for index in self.ends.keys().filter(|index| !wanted.contains_key(index)) {
            remove(*index);
        }
        self.ends.retain(|index, netns| wanted.get(index) == Some(netns));
        for (index, netns) in wanted {
            if self.ends.contains_key(&index) {
                continue;
            }
            let mut qdisc = Clsact::of(index)?;
            let mut add = |direction| qdisc.add(direction, NAME, self.programs.descriptor(direction));
            match add(Direction::In).and_then(|()| add(Direction::Out)) {
                Ok(()) => drop(self.ends.insert(index, netns)),
                // The container ended meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => {
                    remove(index);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// What came since the last look.
    pub(super) fn rows(&mut self, places: &Places) -> Result<Rows, EbpfError> {
        let owner = |key: &FlowKey| match key.owner {
            OwnerId::Netns(index) => self.ends.get(&index.cast_signed()).copied().map(OwnerId::Netns),
            OwnerId::Cgroup(_) => None,
        };
        let came = self.flows.advance(self.programs.flows()?);
        let flows = came
            .into_iter()
            .filter_map(|(key, counts)| Some((FlowKey { owner: owner(&key)?, ..key }, counts)));
        let came = Came { flows: flows.collect(), ..Came::default() };
        let gone = self.flows.idle(|key| if owner(key).is_none() { 0 } else { u64::MAX });
        self.programs.forget(&|key| gone.contains(key))?;
        self.flows.forget(&gone);
        Ok(roll(&came, places, TcpParts::default(), &BTreeMap::new()))
    }
}

impl Drop for Classified {
    fn drop(&mut self) {
        self.ends.keys().for_each(|index| remove(*index));
    }
}

fn remove(index: i32) {
    if let Err(error) = ebpf::sweep(index, NAME) {
        tracing::warn!(%error, interface = index, "a classifier that counts was not removed");
    }
}

/// Removes what a killed process left on any interface.
fn sweep() {
    match Netlink::open(Family::Route).and_then(|mut netlink| all_links(&mut netlink)) {
        Ok(links) => links.iter().filter(|link| is_veth(link)).for_each(|link| remove(link.index)),
        Err(error) => tracing::warn!(%error, "the interfaces cannot be listed, so nothing was swept"),
    }
}

fn is_veth(link: &Link) -> bool {
    link.kind.as_deref() == Some("veth")
}

/// The host's ends of the traced containers' interfaces: by the number that this network namespace has for theirs, so that
/// none of them is entered.
fn ends(root: &Path, places: &Places) -> io::Result<BTreeMap<i32, u32>> {
    let mut netlink = Netlink::open(Family::Route)?;
    let mut by_namespace: HashMap<i32, Vec<i32>> = HashMap::new();
    for link in all_links(&mut netlink)?.iter().filter(|link| is_veth(link)) {
        if let Some(id) = link.peer_netns {
            by_namespace.entry(id).or_default().push(link.index);
        }
    }
    let traced: BTreeSet<OwnerId> = places.traced().into_iter().collect();
    let mut ends = BTreeMap::new();
    for pid in places.processes().values() {
        let Some(netns) = super::places::netns_of(root, *pid) else { continue };
        let Ok(namespace) = File::open(root.join(format!("proc/{pid}/ns/net"))) else { continue };
        if !traced.contains(&OwnerId::Netns(netns)) {
            continue;
        }
        if let Some(id) = netns_id(&mut netlink, namespace.as_fd())? {
            ends.extend(by_namespace.get(&id).into_iter().flatten().map(|index| (*index, netns)));
        }
    }
    Ok(ends)
}
