//! The programs that clang made, loaded and attached by the crate `aya`.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapError, PerCpuArray};
use aya::programs::tc::{SchedClassifierLinkId, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};

use super::EbpfError;
use super::cut::{Counts, Settings};
use super::load::{errno_of, object, refused};
use crate::netlink::Direction;

/// `bpf/chaos.bpf.c`, compiled and packed.
static CHAOS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/chaos.bpf.o.gz"));
/// Its program and maps.
const PROGRAM: &str = "dockhealth_cut";
const SETTINGS: &str = "chaos_settings";
const COUNTS: &str = "chaos_counts";
const PEERS: &str = "chaos_peers";

// SAFETY: plain numbers in the order and of the sizes that C has them, without padding.
unsafe impl aya::Pod for Settings {}
// SAFETY: as above.
unsafe impl aya::Pod for Counts {}

/// The classifier that loses and damages packets, loaded; it does nothing before it is told to.
pub(super) struct CutProgram {
    object: Ebpf,
    links: Vec<SchedClassifierLinkId>,
}

impl CutProgram {
    pub(super) fn load() -> Result<Self, EbpfError> {
        let object = object(CHAOS, &[])?;
        let mut program = Self { object, links: Vec::new() };
        program.classifier().load().map_err(|error| match errno_of(&error) {
            // The verifier's word for a helper that it does not know.
            Some(libc::EINVAL) => EbpfError::NoFeature("bpf_ktime_get_boot_ns: it is older than Linux 5.8"),
            _ => refused("to verify it", error),
        })?;
        Ok(program)
    }

    /// What it does from now on.
    pub(super) fn set(&mut self, settings: Settings) -> Result<(), EbpfError> {
        let answer = Array::try_from(self.map(SETTINGS)).and_then(|mut map| map.set(0, settings, 0));
        answer.map_err(|error| refused("its settings", error))
    }

    /// From and to these addresses everything is lost from now on.
    pub(super) fn cut_off(&mut self, peers: &[IpAddr]) -> Result<(), EbpfError> {
        let mut insert = || -> Result<(), MapError> {
            let mut map = HashMap::<_, [u8; 16], u32>::try_from(self.map(PEERS))?;
            peers.iter().try_for_each(|peer| {
                let address = match peer {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => *address,
                };
                map.insert(address.octets(), 1, 0)
            })
        };
        insert().map_err(|error| refused("its peers", error))
    }

    /// What it has done, on all processors.
    pub(super) fn counts(&self) -> Result<Counts, EbpfError> {
        let map = self.object.map(COUNTS).expect("bpf/chaos.bpf.c defines it");
        let answer = PerCpuArray::<_, Counts>::try_from(map).and_then(|map| map.get(&0, 0));
        let counts = answer.map_err(|error| refused("its counts", error))?;
        let sum = |of: fn(&Counts) -> u64| counts.iter().map(of).sum();
        Ok(Counts {
            seen: sum(|one| one.seen),
            lost: sum(|one| one.lost),
            corrupted: sum(|one| one.corrupted),
        })
    }

    /// Attaches it by a TCX link to an interface of the calling thread's network namespace; false where the kernel has none.
    pub(super) fn link(&mut self, interface: &str, direction: Direction) -> Result<bool, EbpfError> {
        let to = match direction {
            Direction::In => TcAttachType::Ingress,
            Direction::Out => TcAttachType::Egress,
        };
        let by_link = TcAttachOptions::TcxOrder(LinkOrder::default());
        match self.classifier().attach_with_options(interface, to, by_link) {
            Ok(link) => {
                self.links.push(link);
                Ok(true)
            }
            Err(error) if errno_of(&error) == Some(libc::EINVAL) => Ok(false),
            Err(error) => Err(refused(&format!("to attach it to {interface}"), error)),
        }
    }

    /// The loaded program.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        let program = self.object.program(PROGRAM).expect("bpf/chaos.bpf.c defines it");
        program.fd().expect("it is loaded as long as this lives").as_fd()
    }

    /// Ends what [`link`](Self::link) made; those that are gone already are a success.
    pub(super) fn unlink(&mut self) -> Result<(), EbpfError> {
        let links = std::mem::take(&mut self.links);
        links.into_iter().try_for_each(|link| {
            self.classifier().detach(link).map_err(|error| refused("to detach it", error))
        })
    }

    fn classifier(&mut self) -> &mut SchedClassifier {
        let program = self.object.program_mut(PROGRAM).expect("bpf/chaos.bpf.c defines it");
        program.try_into().expect("it is in the section of classifiers")
    }

    fn map(&mut self, name: &str) -> &mut Map {
        self.object.map_mut(name).expect("bpf/chaos.bpf.c defines it")
    }
}
