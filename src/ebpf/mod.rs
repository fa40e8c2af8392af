//! Our programs in the kernel, and their one loader. `bpf/` has their source, build.rs compiles them into this binary.
//!
//! A program is attached by a TCX link where the kernel has that (since Linux 6.6): the kernel detaches it with the process
//! that holds it. Elsewhere it is a filter of a `clsact` qdisc, under a name, which stays when its process is killed.

#[cfg(not(ebpf_built))]
mod absent;
mod cut;
#[cfg(ebpf_built)]
mod object;

use std::fs;
use std::io;

#[cfg(not(ebpf_built))]
use absent as object;

pub(crate) use cut::{Cutter, Damage, sweep};

/// Why no program of ours can run in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum EbpfError {
    /// It is not in this binary.
    #[error("this build has no eBPF ({0})")]
    NotBuilt(&'static str),
    /// The process may not.
    #[error("eBPF needs the capabilities CAP_BPF and CAP_NET_ADMIN; missing: {0}")]
    NotPermitted(String),
    /// The process has the capabilities, and yet.
    #[error(
        "the kernel forbids eBPF although the capabilities are there: a seccomp profile does, or lockdown"
    )]
    Forbidden,
    /// The kernel was built without it, or is too old.
    #[error("this kernel has no {0}")]
    NoFeature(&'static str),
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

fn not_built() -> EbpfError {
    EbpfError::NotBuilt(option_env!("DOCKHEALTH_NO_EBPF").unwrap_or("its build does not say why"))
}

/// Numbers of capabilities(7).
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

fn permitted() -> Result<(), EbpfError> {
    lacking(&fs::read_to_string("/proc/self/status").unwrap_or_default())
        .map_or(Ok(()), |missing| Err(EbpfError::NotPermitted(missing)))
}

/// The capabilities that a process lacks for classifiers, from the text of its `/proc/PID/status`. What that does not say is
/// left to the kernel.
fn lacking(status: &str) -> Option<String> {
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let held = u64::from_str_radix(held.trim(), 16).ok()?;
    let has = |bit: u32| held >> bit & 1 == 1;
    let mut missing = Vec::new();
    // CAP_SYS_ADMIN has been enough for what CAP_BPF was made for.
    if !has(CAP_BPF) && !has(CAP_SYS_ADMIN) {
        missing.push("CAP_BPF");
    }
    if !has(CAP_NET_ADMIN) {
        missing.push("CAP_NET_ADMIN");
    }
    (!missing.is_empty()).then(|| missing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let of = |mask: u64| lacking(&format!("Name:\tx\nCapEff:\t{mask:016x}\n"));
        assert_eq!(of(0).as_deref(), Some("CAP_BPF, CAP_NET_ADMIN"));
        assert_eq!(of(1 << 12).as_deref(), Some("CAP_BPF"));
        assert_eq!(of(1 << 39 | 1 << 21).as_deref(), Some("CAP_NET_ADMIN"));
        assert_eq!(of(1 << 39 | 1 << 12), None);
        assert_eq!(of(1 << 21 | 1 << 12), None);
        assert_eq!(lacking(""), None);
    }

    #[test]
    fn this_machine_can() {
        ability().expect("this test needs clang at build time, CAP_BPF and CAP_NET_ADMIN");
    }
}
