//! The classifiers of `bpf/count.bpf.c`, loaded; they are attached by netlink, which takes a tenth of the time that links do.

use std::collections::HashMap as StdMap;
use std::os::fd::{AsFd, BorrowedFd};

use aya::Ebpf;
use aya::maps::{Map, MapError, PerCpuHashMap};
use aya::programs::SchedClassifier;

use super::EbpfError;
use super::load::{object, refused};
use super::net::{FlowKey, RawEnd, RawFlow, TrafficCounts};
use super::taps::{gone_is_fine, table};
use crate::netlink::Direction;

/// `bpf/count.bpf.c`, compiled and packed.
static COUNT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/count.bpf.o.gz"));
/// Its programs, for what a container sends and for what it receives.
const SENT: &str = "count_sent";
const RECEIVED: &str = "count_received";

/// Counts packets at interfaces. The owners of its entries are the numbers of interfaces.
pub(crate) struct CountPrograms(Ebpf);

impl CountPrograms {
    /// Loads them; nothing is attached.
    pub(crate) fn load() -> Result<Self, EbpfError> {
        let mut object = object(COUNT, &[])?;
        for name in [SENT, RECEIVED] {
            let program = object.program_mut(name).expect("bpf/count.bpf.c defines it");
            let program: &mut SchedClassifier =
                program.try_into().expect("it is in the section of classifiers");
            program.load().map_err(|error| refused("to verify it", error))?;
        }
        Ok(Self(object))
    }

    /// The one for packets that come in by the host's end of a container's interface, or that go out by it.
    pub(crate) fn descriptor(&self, direction: Direction) -> BorrowedFd<'_> {
        let name = match direction {
            Direction::In => SENT,
            Direction::Out => RECEIVED,
        };
        let program = self.0.program(name).expect("bpf/count.bpf.c defines it");
        program.fd().expect("it is loaded as long as this lives").as_fd()
    }

    /// Who talks to whom, by interface.
    pub(crate) fn flows(&self) -> Result<StdMap<FlowKey, TrafficCounts>, EbpfError> {
        let map = |name: &str| self.0.map(name).expect("bpf/count.bpf.c defines it");
        let mut flows = table(
            "its flows",
            map("count_flows"),
            |key: RawFlow| key.into(),
            |value: &TrafficCounts| *value,
        )?;
        flows.extend(table(
            "its rest",
            map("count_rest"),
            |key: RawEnd| key.into(),
            |value: &TrafficCounts| *value,
        )?);
        Ok(flows)
    }

    /// Removes entries for which `stale` says so.
    pub(crate) fn forget(&mut self, stale: &dyn Fn(&FlowKey) -> bool) -> Result<(), EbpfError> {
        let change = |map: &mut Map| -> Result<(), MapError> {
            let mut map = PerCpuHashMap::<_, RawFlow, TrafficCounts>::try_from(map)?;
            let stale: Vec<RawFlow> =
                map.keys().flatten().filter(|key| stale(&FlowKey::from(*key))).collect();
            stale.iter().try_for_each(|key| gone_is_fine(map.remove(key)))
        };
        let map = self.0.map_mut("count_flows").expect("bpf/count.bpf.c defines it");
        change(map).map_err(|error| refused("its flows", error))
    }
}
