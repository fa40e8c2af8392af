//! Our programs in the kernel, and their one loader. `bpf/` has their source, build.rs compiles them into this binary.
//!
//! A program is attached by a TCX link where the kernel has that (since Linux 6.6): the kernel detaches it with the process
//! that holds it. Elsewhere it is a filter of a `clsact` qdisc, under a name, which stays when its process is killed.

#[cfg(not(ebpf_built))]
mod absent;
mod btf;
#[cfg(ebpf_built)]
mod counter;
mod cut;
#[cfg(ebpf_built)]
mod load;
mod net;
#[cfg(ebpf_built)]
mod object;
#[cfg(ebpf_built)]
mod taps;

use std::fs;
use std::io;

#[cfg(not(ebpf_built))]
use absent as object;

#[cfg(not(ebpf_built))]
pub(crate) use absent::{CountPrograms, NetPrograms};
pub(crate) use btf::enum_values;
#[cfg(ebpf_built)]
pub(crate) use counter::CountPrograms;
pub(crate) use cut::{Cutter, Damage, sweep};
pub(crate) use net::{
    Count, Counts, DropKey, EpochKey, FlowKey, FlowPeer, FlowWay, LatencyCounts, LostCounts, NetSettings,
    OwnerId, PairKey, StampCounts, Tap, TcpCounts, TcpKey, TrafficCounts,
};
#[cfg(ebpf_built)]
pub(crate) use taps::NetPrograms;

/// Why no program of ours can run in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum EbpfError {
    /// It is not in this binary.
    #[error("this build has no eBPF ({0})")]
    NotBuilt(&'static str),
    /// The process may not.
    #[error("eBPF needs capabilities that are missing: {0}")]
    NotPermitted(String),
    /// The process has the capabilities, and yet.
    #[error(
        "the kernel forbids eBPF although the capabilities are there: a seccomp profile does, or lockdown"
    )]
    Forbidden,
    /// The kernel was built without it, or is too old.
    #[error("this kernel has no {0}")]
    NoFeature(&'static str),
    /// Its BTF does not have a tracepoint.
    #[error("this kernel's BTF has no tracepoint {name}: {since} or later has it")]
    NoTracepoint {
        /// Which.
        name: &'static str,
        /// The first kernel that has it.
        since: &'static str,
    },
    /// The kernel refused for another reason.
    #[error("the kernel refused eBPF: {0}: {1}")]
    Kernel(String, #[source] io::Error),
}

impl EbpfError {
    /// What the kernel's errno means; `doing` says at what, for people.
    fn of(doing: impl Into<String>, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM) => permitted().err().unwrap_or(Self::Forbidden),
            Some(libc::ENOSYS) => Self::NoFeature("BPF (CONFIG_BPF_SYSCALL)"),
            _ => Self::Kernel(doing.into(), error),
        }
    }
}

/// Whether a classifier of ours can be used here: the kernel is asked, nothing is attached.
pub(crate) fn ability() -> Result<(), EbpfError> {
    if !cfg!(ebpf_built) {
        return Err(not_built());
    }
    permitted()?;
    Cutter::load("").map(drop)
}

/// Whether a program is to be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// Which entries of the tables nobody needs any more.
pub(crate) struct Stale<'a> {
    pub(crate) flow: &'a dyn Fn(&FlowKey) -> bool,
    pub(crate) pair: &'a dyn Fn(&PairKey) -> bool,
    pub(crate) tcp: &'a dyn Fn(&TcpKey) -> bool,
    pub(crate) drop: &'a dyn Fn(&DropKey) -> bool,
    pub(crate) epoch: &'a dyn Fn(&EpochKey) -> bool,
}

/// The memory that the tables of this process take, bytes, as the kernel tells it.
pub(crate) fn table_memory() -> u64 {
    let Ok(descriptors) = fs::read_dir("/proc/self/fdinfo") else { return 0 };
    let texts = descriptors.flatten().filter_map(|one| fs::read_to_string(one.path()).ok());
    let of = |text: String| {
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        field("map_type:").and_then(|_| field("memlock:"))
    };
    texts.filter_map(of).sum()
}

fn not_built() -> EbpfError {
    EbpfError::NotBuilt(option_env!("DOCKHEALTH_NO_EBPF").unwrap_or("its build does not say why"))
}

/// Numbers of capabilities(7).
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// What classifiers need, and what programs at tracepoints do.
const FOR_CLASSIFIERS: [(u32, &str); 2] = [(CAP_BPF, "CAP_BPF"), (CAP_NET_ADMIN, "CAP_NET_ADMIN")];
const FOR_TRACEPOINTS: [(u32, &str); 2] = [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")];

fn permitted() -> Result<(), EbpfError> {
    may(&FOR_CLASSIFIERS)
}

/// Whether this process may load programs at tracepoints, as far as that can be told without trying.
pub(crate) fn may_trace() -> Result<(), EbpfError> {
    if cfg!(ebpf_built) { may(&FOR_TRACEPOINTS) } else { Err(not_built()) }
}

fn may(needed: &[(u32, &str)]) -> Result<(), EbpfError> {
    lacking(&fs::read_to_string("/proc/self/status").unwrap_or_default(), needed)
        .map_or(Ok(()), |missing| Err(EbpfError::NotPermitted(missing)))
}

/// Those of the capabilities that a process lacks, from the text of its `/proc/PID/status`. What that does not say is left to
/// the kernel.
fn lacking(status: &str, needed: &[(u32, &str)]) -> Option<String> {
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let held = u64::from_str_radix(held.trim(), 16).ok()?;
    let has = |bit: u32| held >> bit & 1 == 1;
    // CAP_SYS_ADMIN has been enough for what CAP_BPF and CAP_PERFMON were made for.
    let enough = |bit: u32| has(bit) || (bit != CAP_NET_ADMIN && has(CAP_SYS_ADMIN));
    let missing: Vec<&str> = needed.iter().filter(|(bit, _)| !enough(*bit)).map(|(_, name)| *name).collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let of = |mask: u64| lacking(&format!("Name:\tx\nCapEff:\t{mask:016x}\n"), &FOR_CLASSIFIERS);
        assert_eq!(of(0).as_deref(), Some("CAP_BPF, CAP_NET_ADMIN"));
        assert_eq!(of(1 << 12).as_deref(), Some("CAP_BPF"));
        assert_eq!(of(1 << 39 | 1 << 21).as_deref(), Some("CAP_NET_ADMIN"));
        assert_eq!(of(1 << 39 | 1 << 12), None);
        assert_eq!(of(1 << 21 | 1 << 12), None);
        assert_eq!(lacking("", &FOR_CLASSIFIERS), None);
        assert_eq!(lacking("CapEff:\t0\n", &FOR_TRACEPOINTS).as_deref(), Some("CAP_BPF, CAP_PERFMON"));
    }

    #[test]
    fn this_machine_can() {
        ability().expect("this test needs clang at build time, CAP_BPF and CAP_NET_ADMIN");
    }
}
