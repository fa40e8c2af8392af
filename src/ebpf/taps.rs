//! The tracepoint programs of `bpf/net.bpf.c`, loaded and attached, and their tables.

use std::collections::{BTreeMap, HashMap as StdMap};
use std::hash::Hash;

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap};
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::{BtfTracePoint, ProgramError};
use aya::{Btf, Ebpf, Pod};

use super::load::{errno_of, object, refused};
use super::net::{
    Count, Counts, DropKey, EpochKey, FlowKey, LatencyCounts, LostCounts, NetSettings, OwnerId, PairKey,
    RawDrop, RawEnd, RawEpoch, RawFlow, RawFlowIpv4, RawLatency, RawPair, RawTcpPair, StampCounts, Tap,
    TcpCounts, TcpKey, TrafficCounts,
};
use super::{EbpfError, Stale, Switch};
use crate::model::clean;

/// `bpf/net.bpf.c`, compiled and packed.
static NET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/net.bpf.o.gz"));

// SAFETY: plain numbers in the order and of the sizes that C has them, without padding.
unsafe impl Pod for NetSettings {}
// SAFETY: as above.
unsafe impl Pod for RawFlow {}
// SAFETY: as above.
unsafe impl Pod for RawFlowIpv4 {}
// SAFETY: as above.
unsafe impl Pod for RawEnd {}
// SAFETY: as above.
unsafe impl Pod for RawPair {}
// SAFETY: as above.
unsafe impl Pod for RawLatency {}
// SAFETY: as above.
unsafe impl Pod for RawEpoch {}
// SAFETY: as above.
unsafe impl Pod for RawTcpPair {}
// SAFETY: as above.
unsafe impl Pod for RawDrop {}
// SAFETY: as above.
unsafe impl Pod for TrafficCounts {}
// SAFETY: as above.
unsafe impl Pod for TcpCounts {}
// SAFETY: as above.
unsafe impl Pod for StampCounts {}
// SAFETY: as above.
unsafe impl Pod for Count {}

/// The programs, and what they have added up. The kernel ends all of it with the process that holds this: nothing is pinned.
pub(crate) struct NetPrograms {
    object: Ebpf,
    /// Of each that could be loaded, where it is attached.
    loaded: BTreeMap<Tap, Option<BtfTracePointLinkId>>,
    failed: BTreeMap<Tap, EbpfError>,
}

impl NetPrograms {
    /// Loads every program that this kernel takes; none is attached. `host_netns` is the inode number of the host's network
    /// namespace; with `cgroups_v1` a container's cgroup is that of the controller `cpuacct`.
    ///
    /// # Errors
    /// Only when not even the tables can be made: see [`Self::failed`].
    pub(crate) fn load(host_netns: u32, cgroups_v1: u32) -> Result<Self, EbpfError> {
        let object = object(NET, &[("host_netns", host_netns), ("cgroups_v1", cgroups_v1)])?;
        let mut programs = Self { object, loaded: BTreeMap::new(), failed: BTreeMap::new() };
        let btf =
            Btf::from_sys_fs().map_err(|_| EbpfError::NoFeature("BTF of its own (CONFIG_DEBUG_INFO_BTF)"))?;
        for tap in Tap::ALL {
            match programs.program(tap).load(tap.tracepoint(), &btf) {
                Ok(()) => drop(programs.loaded.insert(tap, None)),
                Err(error) => drop(programs.failed.insert(tap, cannot_load(tap, error))),
            }
        }
        drop(btf);
        give_back_memory();
        Ok(programs)
    }

    /// Those that this kernel does not take, and why.
    pub(crate) fn failed(&self) -> &BTreeMap<Tap, EbpfError> {
        &self.failed
    }

    /// Why this kernel does not take one of them; it is told once.
    pub(crate) fn take_failure(&mut self, tap: Tap) -> Option<EbpfError> {
        self.failed.remove(&tap)
    }

    /// Attaches a program, or detaches it. One that could not be loaded stays so.
    pub(crate) fn switch(&mut self, tap: Tap, wanted: Switch) -> Result<(), EbpfError> {
        let Some(link) = self.loaded.get_mut(&tap) else { return Ok(()) };
        match (wanted, link.take()) {
            (Switch::On, None) => {
                let attached = self.program(tap).attach();
                let attached = attached
                    .map_err(|error| refused(&format!("to attach it to {}", tap.tracepoint()), error))?;
                self.loaded.insert(tap, Some(attached));
            }
            (Switch::Off, Some(attached)) => {
                self.program(tap).detach(attached).map_err(|error| refused("to detach it", error))?;
            }
            (_, unchanged) => drop(self.loaded.insert(tap, unchanged)),
        }
        Ok(())
    }

    /// What they do from now on.
    pub(crate) fn set(&mut self, settings: NetSettings) -> Result<(), EbpfError> {
        let answer = Array::try_from(self.map("net_settings")).and_then(|mut map| map.set(0, settings, 0));
        answer.map_err(|error| refused("its settings", error))
    }

    /// Makes these, and no others, those that are counted where the settings say so.
    pub(crate) fn select(&mut self, owners: &[OwnerId]) -> Result<(), EbpfError> {
        let wanted: Vec<u64> = owners.iter().map(|owner| owner.number()).collect();
        self.make("net_selected", &wanted)
    }

    /// Makes these the cgroups of containers on the host's network.
    pub(crate) fn watch_cgroups(&mut self, cgroups: &[u64]) -> Result<(), EbpfError> {
        self.make("net_cgroups", cgroups)
    }

    /// Makes these the ports that are counted where the settings say so.
    pub(crate) fn want_ports(&mut self, ports: &[u16]) -> Result<(), EbpfError> {
        let wanted: Vec<u32> = ports.iter().map(|port| u32::from(*port)).collect();
        self.make("net_ports", &wanted)
    }

    /// Makes the keys of a set these. Adding comes first, so that none is missing for a moment.
    fn make<K: Pod + Ord>(&mut self, name: &str, wanted: &[K]) -> Result<(), EbpfError> {
        let mut change = || -> Result<(), MapError> {
            let mut map =
                HashMap::<_, K, u32>::try_from(self.object.map_mut(name).expect("bpf/net.bpf.c defines it"))?;
            let there: Vec<K> = map.keys().flatten().collect();
            for key in wanted {
                if !there.contains(key) {
                    map.insert(*key, 1, 0)?;
                }
            }
            for key in there {
                if !wanted.contains(&key) {
                    gone_is_fine(map.remove(&key))?;
                }
            }
            Ok(())
        };
        change().map_err(|error| refused(name, error))
    }

    /// Who talks to whom; those without a place of their own are together in the peer [`super::FlowPeer::Rest`].
    pub(crate) fn flows(&self) -> Result<StdMap<FlowKey, TrafficCounts>, EbpfError> {
        let counts = |value: &TrafficCounts| *value;
        let mut flows = self.table("net_flows", |key: RawFlow| FlowKey::from(key), counts)?;
        let ipv4 = self.table("net_flows_ipv4", |key: RawFlowIpv4| FlowKey::from(key), counts)?;
        let rest = self.table("net_rest", |key: RawEnd| FlowKey::from(key), counts)?;
        for (key, more) in ipv4.into_iter().chain(rest) {
            flows.entry(key).or_default().add(&more);
        }
        Ok(flows)
    }

    /// How long packets took between network namespaces.
    pub(crate) fn latency(&self) -> Result<StdMap<PairKey, LatencyCounts>, EbpfError> {
        self.table(
            "net_latency",
            |key: RawPair| PairKey::from(key),
            |value: &RawLatency| LatencyCounts::from(value),
        )
    }

    /// What became of TCP.
    pub(crate) fn tcp(&self) -> Result<StdMap<TcpKey, TcpCounts>, EbpfError> {
        self.table("net_tcp", |key: RawTcpPair| TcpKey::from(key), |value: &TcpCounts| *value)
    }

    /// What was dropped.
    pub(crate) fn drops(&self) -> Result<StdMap<DropKey, Count>, EbpfError> {
        self.table("net_drops", |key: RawDrop| DropKey::from(key), |value: &Count| *value)
    }

    /// When packets passed, by a shared clock.
    pub(crate) fn stamps(&self) -> Result<StdMap<EpochKey, StampCounts>, EbpfError> {
        self.table("net_epochs", |key: RawEpoch| EpochKey::from(key), |value: &StampCounts| *value)
    }

    /// What found no place.
    pub(crate) fn lost(&self) -> Result<LostCounts, EbpfError> {
        let map = self.object.map("net_lost").expect("bpf/net.bpf.c defines it");
        let read = || -> Result<LostCounts, MapError> {
            let map = PerCpuArray::<_, u64>::try_from(map)?;
            let of = |index: u32| map.get(&index, 0).map(|values| values.iter().sum::<u64>());
            Ok(LostCounts { packets: of(0)?, others: of(1)? + of(2)? + of(3)? })
        };
        read().map_err(|error| refused("its losses", error))
    }

    /// Removes entries of the tables for which `stale` says so of the key.
    pub(crate) fn forget(&mut self, stale: &Stale<'_>) -> Result<(), EbpfError> {
        self.remove::<RawFlow, TrafficCounts>("net_flows", &|key| (stale.flow)(&key.into()))?;
        self.remove::<RawFlowIpv4, TrafficCounts>("net_flows_ipv4", &|key| (stale.flow)(&key.into()))?;
        self.remove::<RawEnd, TrafficCounts>("net_rest", &|key| (stale.flow)(&key.into()))?;
        self.remove::<RawPair, RawLatency>("net_latency", &|key| (stale.pair)(&key.into()))?;
        self.remove::<RawTcpPair, TcpCounts>("net_tcp", &|key| (stale.tcp)(&key.into()))?;
        self.remove::<RawDrop, Count>("net_drops", &|key| (stale.drop)(&key.into()))?;
        self.remove::<RawEpoch, StampCounts>("net_epochs", &|key| (stale.epoch)(&key.into()))
    }

    fn remove<K: Pod, V: Pod>(&mut self, name: &str, stale: &dyn Fn(K) -> bool) -> Result<(), EbpfError> {
        let change = |map: &mut Map| -> Result<(), MapError> {
            let mut map = PerCpuHashMap::<_, K, V>::try_from(map)?;
            let stale: Vec<K> = map.keys().flatten().filter(|key| stale(*key)).collect();
            stale.iter().try_for_each(|key| gone_is_fine(map.remove(key)))
        };
        change(self.map(name)).map_err(|error| refused(name, error))
    }

    /// A table, added up over the processors.
    fn table<K: Pod, V: Pod, Key: Eq + Hash, Sum: Counts>(
        &self,
        name: &str,
        key: impl Fn(K) -> Key,
        sum: impl Fn(&V) -> Sum,
    ) -> Result<StdMap<Key, Sum>, EbpfError> {
        table(name, self.object.map(name).expect("bpf/net.bpf.c defines it"), key, sum)
    }

    fn program(&mut self, tap: Tap) -> &mut BtfTracePoint {
        let program = self.object.program_mut(tap.program()).expect("bpf/net.bpf.c defines it");
        program.try_into().expect("it is in a section of tracepoints")
    }

    fn map(&mut self, name: &str) -> &mut Map {
        self.object.map_mut(name).expect("bpf/net.bpf.c defines it")
    }
}

/// A table of a program, added up over the processors.
pub(super) fn table<K: Pod, V: Pod, Key: Eq + Hash, Sum: Counts>(
    name: &str,
    map: &Map,
    key: impl Fn(K) -> Key,
    sum: impl Fn(&V) -> Sum,
) -> Result<StdMap<Key, Sum>, EbpfError> {
    let read = || -> Result<StdMap<Key, Sum>, MapError> {
        let map = PerCpuHashMap::<&MapData, K, V>::try_from(map)?;
        let mut table = StdMap::new();
        for entry in &map {
            let (raw, values) = entry?;
            let mut values = values.iter().map(&sum);
            let Some(mut whole) = values.next() else { continue };
            values.for_each(|value| whole.add(&value));
            table.insert(key(raw), whole);
        }
        Ok(table)
    };
    read().map_err(|error| refused(name, error))
}

/// An entry that is gone already is removed.
pub(super) fn gone_is_fine(answer: Result<(), MapError>) -> Result<(), MapError> {
    match answer {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(error) if errno_of(&error) == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

fn cannot_load(tap: Tap, error: ProgramError) -> EbpfError {
    match error {
        ProgramError::Btf(_) => EbpfError::NoTracepoint { name: tap.tracepoint(), since: tap.since() },
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let statistics = ["processed", "stack depth", "verification time", "mark_precise"];
            let reason =
                |line: &&str| !line.is_empty() && !statistics.iter().any(|word| line.starts_with(word));
            let last = log.lines().rev().find(reason).unwrap_or_default();
            EbpfError::of(format!("to verify {} ({})", tap.program(), clean(last, 200)), io_error)
        }
        other => refused(&format!("to verify {}", tap.program()), other),
    }
}

/// The kernel's types, read twice while loading, take some 60 MB that nobody needs again.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and only looks at the allocator's own.
    let _ = unsafe { libc::malloc_trim(0) };
}
