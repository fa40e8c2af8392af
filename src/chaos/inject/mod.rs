//! Faults of a network, by the kernel alone: no `tc` or `nft` program, so it works in an image from scratch. A dummy loses
//! packets on an interface of its own ([`LossInjector`]); the antagonist does more to others ([`NetHeld`]).

mod bpf;
mod fault;
mod netem;
mod nft;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use self::bpf::BpfLoss;
use self::netem::Netem;
use self::nft::Nft;
use crate::ebpf::EbpfError;
use crate::model::LossPercent;

pub use fault::NetAbility;
pub(super) use fault::{NetFault, NetHeld};

/// Why no packets can be lost on purpose.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// No such interface in this network namespace.
    #[error("there is no interface {0:?} in this network namespace")]
    NoInterface(String),
    /// The process may not.
    #[error("packet loss needs the capability CAP_NET_ADMIN (docker run --cap-add NET_ADMIN)")]
    NotPermitted,
    /// The kernel was built without it, or its module is not to be had.
    #[error("this kernel has no {0}")]
    NoFeature(&'static str),
    /// Someone else's traffic shaping is there, and stays.
    #[error("another root qdisc is set already: {0}")]
    Occupied(String),
    /// The kernel refused for another reason.
    #[error("the kernel refused {0}: {1}")]
    Kernel(&'static str, #[source] io::Error),
    /// No backend works; why, one by one.
    #[error("no way to do it to this network: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NoBackend(Vec<InjectError>),
    /// No program of ours can run in this kernel.
    #[error(transparent)]
    Ebpf(#[from] EbpfError),
    /// The container's network has no end on this host where it could be got at.
    #[error("{0}")]
    NoEnd(String),
    /// The network namespace of another process cannot be entered.
    #[error("cannot enter the network namespace of process {0} (needs CAP_SYS_ADMIN): {1}")]
    Namespace(u32, #[source] io::Error),
}

impl InjectError {
    /// What the kernel's errno means whichever the backend.
    fn of(backend: &'static str, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted,
            _ => Self::Kernel(backend, error),
        }
    }

    /// Whether it is this one backend that cannot, here or for this container; another may.
    fn is_of_backend(&self) -> bool {
        matches!(self, Self::NoFeature(_) | Self::NoEnd(_) | Self::Ebpf(_))
    }
}

/// Loses packets of one interface of one network namespace. Dropping it ends the loss.
pub trait LossInjector: Send {
    /// Loses this share of packets from now on, each independently; replaces what was set before at once.
    fn set(&mut self, loss: LossPercent) -> Result<(), InjectError>;

    /// Loses no more packets and leaves nothing behind; nothing set is a success.
    fn clear(&mut self) -> Result<(), InjectError>;

    /// The backend and where it works, for people.
    fn describe(&self) -> &str;
}

/// The kernel's ways to hurt a network. A further one has a place in [`NetBackend::does`], [`NetBackend::open`] and
/// [`NetHeld`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetBackend {
    /// A netem qdisc: what leaves the interface, Ethernet's own messages too. When its process is killed it stays as
    /// long as the interface, so as long as a container whose first process it was.
    Netem,
    /// An nftables rule: what enters the interface for this container, IPv4 and IPv6. The kernel removes it with its
    /// process, however that ends (since Linux 5.12).
    Nftables,
    /// A BPF classifier: on the host's end of a container's veth pair what the container sends; for a dummy what enters
    /// its own interface. IPv4 and IPv6, but neighbour discovery. The kernel removes it with its process (since Linux
    /// 6.6), and the program itself ends with its time.
    Bpf,
}

impl NetBackend {
    /// All of them, the one that a dummy prefers first.
    pub const ALL: [Self; 3] = [Self::Netem, Self::Nftables, Self::Bpf];

    /// Its name, as people know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Netem => "netem",
            Self::Nftables => "nftables",
            Self::Bpf => "bpf",
        }
    }

    /// An injector for `interface` of the calling thread's network namespace, once the kernel has said that it would do
    /// its part; nothing is changed yet. The injector may be used from any thread.
    pub fn open(self, interface: &str) -> Result<Box<dyn LossInjector>, InjectError> {
        match self {
            Self::Netem => Netem::open(interface).map(|netem| Box::new(netem) as _),
            Self::Nftables => Nft::open(interface).map(|nft| Box::new(nft) as _),
            Self::Bpf => BpfLoss::open(interface).map(|bpf| Box::new(bpf) as _),
        }
    }
}

/// The best way to lose packets on `interface` of the calling thread's network namespace: netem where the kernel has
/// it, else nftables, else BPF.
pub fn best_injector(interface: &str) -> Result<Box<dyn LossInjector>, InjectError> {
    let mut reasons = Vec::new();
    for backend in NetBackend::ALL {
        match backend.open(interface) {
            Err(error @ (InjectError::NotPermitted | InjectError::NoInterface(_))) => return Err(error),
            Err(error) => reasons.push(error),
            Ok(injector) => return Ok(injector),
        }
    }
    Err(InjectError::NoBackend(reasons))
}

/// Each backend, and why it would not work here; asks about the loopback interface and changes nothing.
pub fn probe_backends() -> Vec<(NetBackend, Result<(), InjectError>)> {
    NetBackend::ALL.map(|backend| (backend, backend.open("lo").map(drop))).into()
}

/// Runs `act` in the network namespace of process `pid`, on a thread of its own, so no other thread ever leaves its
/// own. What `act` opens there stays there: an injector made by it can be used outside.
pub fn in_netns<T: Send>(pid: u32, act: impl FnOnce() -> T + Send) -> Result<T, InjectError> {
    let failed = |error| InjectError::Namespace(pid, error);
    let namespace = File::open(format!("/proc/{pid}/ns/net")).map_err(failed)?;
    within_netns(&namespace, act).map_err(failed)
}

/// Runs `act` in a network namespace, on a thread of its own.
fn within_netns<T: Send>(namespace: &File, act: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            // SAFETY: setns takes no pointers; the descriptor is open, and only this thread changes namespaces.
            if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(act())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The kernel's number for `interface` in the calling thread's network namespace.
fn interface_index(interface: &str) -> Result<i32, InjectError> {
    let missing = || InjectError::NoInterface(interface.to_owned());
    let name = CString::new(interface).map_err(|_| missing())?;
    // SAFETY: `name` is a string that ends in a zero byte and lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    i32::try_from(index).ok().filter(|index| *index > 0).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::in_own_netns;

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        for name in ["eth99", "", "a\0b", "much-too-long-for-an-interface"] {
            let error = best_injector(name).err().unwrap();
            assert!(matches!(&error, InjectError::NoInterface(n) if n == name), "{error}");
        }
    }

    #[test]
    fn the_best_backend_is_the_first_that_works() {
        in_own_netns(|| {
            let probes = probe_backends();
            let works = probes.iter().find(|(_, answer)| answer.is_ok()).expect("netem or nftables").0;
            let injector = best_injector("lo").unwrap();
            assert!(
                injector.describe().starts_with(works.name()),
                "{} is not {works:?}",
                injector.describe()
            );
        });
    }

    #[test]
    fn a_process_that_is_gone_has_no_namespace() {
        let error = in_netns(u32::MAX, || ()).unwrap_err();
        assert!(matches!(error, InjectError::Namespace(u32::MAX, _)), "{error}");
    }
}
