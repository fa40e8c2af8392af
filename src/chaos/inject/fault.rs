//! Faults of a container's network: which backend can do which, and how.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::bpf::{ShapeKind, Shaped};
use super::netem::{Emulated, Emulation};
use super::nft::{Cut, CutKind};
use super::{InjectError, NetBackend, in_netns};
use crate::chaos::FaultKind;
use crate::model::LossPercent;

/// A fault of the network, with all that the kernel has to know.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::chaos) enum NetFault {
    /// This share of packets is lost.
    Loss(LossPercent),
    /// Packets are late by this, more or less by the second.
    Delay(Duration, Duration),
    /// In this share of packets a bit is flipped.
    Corruption(LossPercent),
    /// Nothing goes to or comes from these addresses.
    Partition(Vec<IpAddr>),
    /// Nothing goes to name servers.
    Dns,
}

impl NetFault {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Loss(_) => FaultKind::Loss,
            Self::Delay(_, jitter) if jitter.is_zero() => FaultKind::Delay,
            Self::Delay(..) => FaultKind::Jitter,
            Self::Corruption(_) => FaultKind::Corruption,
            Self::Partition(_) => FaultKind::Partition,
            Self::Dns => FaultKind::Dns,
        }
    }

    fn emulation(&self) -> Option<Emulation> {
        let none = Emulation::default();
        match *self {
            Self::Loss(loss) => Some(Emulation::loss(loss)),
            Self::Delay(latency, jitter) => Some(Emulation { latency, jitter, ..none }),
            Self::Corruption(corruption) => Some(Emulation { corruption, ..none }),
            Self::Partition(_) | Self::Dns => None,
        }
    }

    fn cut(&self) -> Option<CutKind> {
        match self {
            Self::Loss(loss) => Some(CutKind::Loss(*loss)),
            Self::Partition(peers) => Some(CutKind::Partition(peers.clone())),
            Self::Dns => Some(CutKind::Dns),
            Self::Delay(..) | Self::Corruption(_) => None,
        }
    }

    fn shape(&self) -> Option<ShapeKind> {
        match self {
            Self::Loss(loss) => Some(ShapeKind::Loss(*loss)),
            Self::Corruption(share) => Some(ShapeKind::Corruption(*share)),
            Self::Partition(peers) => Some(ShapeKind::Partition(peers.clone())),
            Self::Delay(..) | Self::Dns => None,
        }
    }
}

/// A fault of the network in force. Dropping it ends the fault.
pub(in crate::chaos) enum NetHeld {
    Netem(Emulated),
    Nftables(Cut),
    Bpf(Shaped),
}

impl NetHeld {
    /// Begins `fault` in the network of process `pid` by the first backend that can. `name` is what it is found again by
    /// where it may outlive this process; it ends by itself after `span`, but for netem's.
    pub(in crate::chaos) fn begin(
        fault: &NetFault,
        pid: u32,
        name: &str,
        span: Duration,
    ) -> Result<Self, InjectError> {
        let mut reasons = Vec::new();
        for backend in NetBackend::FOR_FAULTS.into_iter().filter(|backend| backend.does(fault.kind())) {
            let begun = match backend {
                NetBackend::Nftables => {
                    let cut = fault.cut().expect("nftables does it");
                    in_netns(pid, || Cut::make(name.to_owned(), &cut, span))?.map(Self::Nftables)
                }
                NetBackend::Bpf => {
                    let shape = fault.shape().expect("BPF does it");
                    Shaped::make(pid, &shape, name, span).map(Self::Bpf)
                }
                NetBackend::Netem => {
                    let emulation = fault.emulation().expect("netem does it");
                    in_netns(pid, || Emulated::make(&emulation))?.map(Self::Netem)
                }
            };
            match begun {
                Err(error) if error.is_of_backend() => reasons.push(error),
                other => return other,
            }
        }
        Err(InjectError::NoBackend(reasons))
    }

    /// Who does it, and how it ends when its process is killed.
    pub(in crate::chaos) fn describe(&self) -> &'static str {
        match self {
            Self::Netem(_) => "by netem",
            Self::Nftables(cut) if cut.dies_with_its_process() => "by nftables",
            Self::Nftables(_) => "by nftables, whose rules end with their time",
            Self::Bpf(shaped) if shaped.dies_with_its_process() => "by BPF",
            Self::Bpf(_) => "by BPF, whose program ends with its time",
        }
    }

    /// Ends it; what is gone already is a success.
    pub(in crate::chaos) fn end(&mut self) -> Result<(), InjectError> {
        match self {
            Self::Netem(emulated) => emulated.remove(),
            Self::Nftables(cut) => cut.remove(),
            Self::Bpf(shaped) => shaped.remove(),
        }
    }

    /// Ends in the network of process `pid` what a process left there that was killed: by its name, and our qdiscs. A
    /// backend that the kernel lacks left nothing.
    pub(in crate::chaos) fn sweep(kind: FaultKind, pid: u32, name: &str) -> Result<(), InjectError> {
        for backend in NetBackend::FOR_FAULTS.into_iter().filter(|backend| backend.does(kind)) {
            let swept = match backend {
                NetBackend::Nftables => in_netns(pid, || Cut::sweep(name.to_owned()))?,
                NetBackend::Bpf => Shaped::sweep(pid, name),
                NetBackend::Netem => in_netns(pid, Emulated::sweep)?,
            };
            match swept {
                Err(error) if error.is_of_backend() => {}
                other => other?,
            }
        }
        Ok(())
    }
}

impl NetBackend {
    /// In the order in which faults of the network choose: what ends with its process first, and of those what works for
    /// every container; netem's qdisc stays when its process is killed.
    const FOR_FAULTS: [Self; 3] = [Self::Nftables, Self::Bpf, Self::Netem];

    /// Whether it can do faults of this kind at all, where the kernel has it.
    pub fn does(self, kind: FaultKind) -> bool {
        match self {
            Self::Nftables => matches!(kind, FaultKind::Loss | FaultKind::Partition | FaultKind::Dns),
            Self::Bpf => matches!(kind, FaultKind::Loss | FaultKind::Corruption | FaultKind::Partition),
            Self::Netem => {
                matches!(kind, FaultKind::Loss | FaultKind::Delay | FaultKind::Jitter | FaultKind::Corruption)
            }
        }
    }

    /// What it can do.
    pub fn faults(self) -> Vec<FaultKind> {
        FaultKind::ALL.into_iter().filter(|kind| self.does(*kind)).collect()
    }
}

/// Which faults of the network this kernel can do, and why not the others.
#[derive(Debug)]
pub struct NetAbility {
    backends: Vec<(NetBackend, Result<(), InjectError>)>,
}

impl NetAbility {
    /// Asks the kernel, changing nothing.
    pub fn look() -> Self {
        Self::of(super::probe_backends())
    }

    fn of(backends: Vec<(NetBackend, Result<(), InjectError>)>) -> Self {
        Self { backends }
    }

    /// Asks the kernel about those of `kinds` that are done to a network; the error names, a line each, what it cannot do.
    pub fn refusals(kinds: &BTreeSet<FaultKind>) -> Result<(), String> {
        if !kinds.iter().any(|kind| kind.is_of_network()) {
            return Ok(());
        }
        let ability = Self::look();
        let mut refusals: Vec<String> = kinds.iter().filter_map(|kind| ability.refusal(*kind)).collect();
        refusals.dedup();
        if refusals.is_empty() { Ok(()) } else { Err(refusals.join("\n")) }
    }

    /// Why faults of this kind cannot be done, in words that name what can; `None` when they can, or are none of the network.
    pub fn refusal(&self, kind: FaultKind) -> Option<String> {
        let able = |kind: FaultKind| self.backends.iter().any(|(b, answer)| b.does(kind) && answer.is_ok());
        if !kind.is_of_network() || able(kind) {
            return None;
        }
        let of_network = FaultKind::ALL.into_iter().filter(|kind| kind.is_of_network());
        let (can, cannot): (Vec<_>, Vec<_>) = of_network.partition(|kind| able(*kind));
        let why: Vec<String> = self
            .backends
            .iter()
            .filter(|(backend, _)| backend.does(kind))
            .filter_map(|(_, answer)| Some(answer.as_ref().err()?.to_string()))
            .collect();
        let can = if can.is_empty() { String::new() } else { format!("; {}", are(&can, "")) };
        Some(format!("{}: {}{can}", why.join("; "), are(&cannot, "not ")))
    }
}

/// `loss, partition and dns are not possible`
fn are(kinds: &[FaultKind], not: &str) -> String {
    let words: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
    match words.split_last() {
        Some((only, [])) => format!("{only} is {not}possible"),
        Some((last, others)) => format!("{} and {last} are {not}possible", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ebpf::EbpfError;
    use crate::netlink::in_own_netns;

    #[test]
    fn what_a_kernel_cannot_do_is_refused_by_name() {
        let no_netem = NetAbility::of(vec![
            (NetBackend::Netem, Err(InjectError::NoFeature("netem"))),
            (NetBackend::Nftables, Ok(())),
        ]);
        for kind in [FaultKind::Loss, FaultKind::Dns, FaultKind::Partition, FaultKind::Stop] {
            assert_eq!(no_netem.refusal(kind), None, "{kind}");
        }
        assert_eq!(
            no_netem.refusal(FaultKind::Jitter).unwrap(),
            "this kernel has no netem: delay, jitter and corruption are not possible; \
             loss, partition and dns are possible"
        );
        let no_clang = NetAbility::of(vec![
            (NetBackend::Netem, Err(InjectError::NoFeature("netem"))),
            (NetBackend::Nftables, Ok(())),
            (NetBackend::Bpf, Err(EbpfError::NotBuilt("built without clang").into())),
        ]);
        assert_eq!(
            no_clang.refusal(FaultKind::Corruption).unwrap(),
            "this kernel has no netem; this build has no eBPF (built without clang): \
             delay, jitter and corruption are not possible; loss, partition and dns are possible"
        );
        let none = NetAbility::of(vec![
            (NetBackend::Netem, Err(InjectError::NotPermitted)),
            (NetBackend::Nftables, Err(InjectError::NotPermitted)),
        ]);
        let refusal = none.refusal(FaultKind::Dns).unwrap();
        assert!(refusal.contains("CAP_NET_ADMIN") && !refusal.contains("dns are possible"), "{refusal}");
    }

    #[test]
    fn every_fault_of_the_network_has_a_backend_that_knows_it() {
        let millis = Duration::from_millis;
        let half = LossPercent::new(50.0).unwrap();
        for fault in [
            NetFault::Loss(half),
            NetFault::Delay(millis(1), Duration::ZERO),
            NetFault::Delay(millis(1), millis(1)),
            NetFault::Corruption(half),
            NetFault::Partition(vec![IpAddr::from([10, 0, 0, 1])]),
            NetFault::Dns,
        ] {
            let kind = fault.kind();
            assert_eq!(NetBackend::Nftables.does(kind), fault.cut().is_some(), "{kind}");
            assert_eq!(NetBackend::Netem.does(kind), fault.emulation().is_some(), "{kind}");
            assert_eq!(NetBackend::Bpf.does(kind), fault.shape().is_some(), "{kind}");
            let does = |backend: &NetBackend| backend.does(kind);
            assert!(kind.is_of_network() && NetBackend::ALL.iter().any(does), "{kind}");
        }
    }

    /// No container, so nothing to sweep on the host; what is in its own namespace is.
    #[test]
    fn a_sweep_where_nothing_was_left_is_a_success() {
        in_own_netns(|| {
            // SAFETY: gettid takes nothing.
            let own = unsafe { libc::gettid() }.cast_unsigned();
            for kind in FaultKind::ALL.into_iter().filter(|kind| kind.is_of_network()) {
                NetHeld::sweep(kind, own, "dockhealth_0").unwrap();
            }
        });
    }
}
