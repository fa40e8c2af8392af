//! Faults by the classifier of `bpf/chaos.bpf.c`. [`BpfLoss`] loses a share of what enters one interface, [`Shaped`] does to
//! a container what the antagonist wants, on the host's ends of its veth pairs: nothing is put into the container.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::{InjectError, LossInjector, in_netns, interface_index, within_netns};
use crate::ebpf::{self, Cutter, Damage};
use crate::model::LossPercent;
use crate::netlink::{Direction, Family, Link, Netlink, all_links, link_at, netns_id};

/// Interfaces of these kinds reach other machines, and have no end on this host that we could sit on.
const WITHOUT_END: [&str; 4] = ["macvlan", "macvtap", "ipvlan", "ipvtap"];

/// Loss on what enters one interface of the network namespace it was opened in, so a round trip that ends or begins here is
/// hit once.
pub(super) struct BpfLoss {
    interface: String,
    index: i32,
    namespace: File,
    description: String,
    cutter: Option<Cutter>,
}

impl BpfLoss {
    /// Makes sure that the kernel would run our program, attaching nothing.
    pub(super) fn open(interface: &str) -> Result<Self, InjectError> {
        let index = interface_index(interface)?;
        ebpf::ability()?;
        let namespace = own_netns().map_err(|error| InjectError::Kernel("BPF", error))?;
        let description = format!("bpf on {interface}");
        Ok(Self { interface: interface.to_owned(), index, namespace, description, cutter: None })
    }

    fn attach(&self, damage: &Damage) -> Result<Cutter, InjectError> {
        let mut cutter = Cutter::load("dockhealth_dummy")?;
        cutter.set(damage)?;
        let refused = |error| InjectError::Kernel("BPF", error);
        let mut attach = || cutter.attach(&self.interface, self.index, Direction::In);
        if is_same(&own_netns().map_err(refused)?, &self.namespace).map_err(refused)? {
            attach()?;
        } else {
            within_netns(&self.namespace, attach).map_err(refused)??;
        }
        Ok(cutter)
    }
}

/// The network namespace of the calling thread.
fn own_netns() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

impl LossInjector for BpfLoss {
    fn set(&mut self, loss: LossPercent) -> Result<(), InjectError> {
        let damage = Damage { lost: loss, ..Damage::default() };
        match &mut self.cutter {
            Some(cutter) => cutter.set(&damage)?,
            None => self.cutter = Some(self.attach(&damage)?),
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), InjectError> {
        if let Some(cutter) = &mut self.cutter {
            cutter.end()?;
        }
        self.cutter = None;
        Ok(())
    }

    fn describe(&self) -> &str {
        &self.description
    }
}

/// What is done to a container's packets, and which of them.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::chaos) enum ShapeKind {
    /// This share of what it sends is lost.
    Loss(LossPercent),
    /// In this share of what it sends a bit is flipped, so that whoever receives it throws it away.
    Corruption(LossPercent),
    /// All from and to these addresses is lost.
    Partition(Vec<IpAddr>),
}

impl ShapeKind {
    fn damage(&self, span: Duration) -> Damage {
        let none = Damage { span: Some(span), ..Damage::default() };
        match self {
            Self::Loss(share) => Damage { lost: *share, ..none },
            Self::Corruption(share) => Damage { corrupted: *share, ..none },
            Self::Partition(peers) => Damage { peers: peers.clone(), ..none },
        }
    }

    fn directions(&self) -> &'static [Direction] {
        match self {
            Self::Loss(_) | Self::Corruption(_) => &[Direction::In],
            Self::Partition(_) => &[Direction::In, Direction::Out],
        }
    }
}

/// A fault on all host's ends of a container. Dropping it ends the fault.
pub(in crate::chaos) struct Shaped(Cutter);

impl Shaped {
    /// Begins it for the container whose first process is `pid`, for `span`. `name` is what a later [`sweep`](Self::sweep)
    /// finds it by where it may outlive this process.
    pub(in crate::chaos) fn make(
        pid: u32,
        kind: &ShapeKind,
        name: &str,
        span: Duration,
    ) -> Result<Self, InjectError> {
        let ends = host_ends(pid)?;
        let mut cutter = Cutter::load(name)?;
        cutter.set(&kind.damage(span))?;
        for end in &ends {
            for direction in kind.directions() {
                cutter.attach(&end.name, end.index, *direction)?;
            }
        }
        Ok(Self(cutter))
    }

    /// Whether the kernel removes it with its process.
    pub(in crate::chaos) fn dies_with_its_process(&self) -> bool {
        self.0.dies_with_its_process()
    }

    /// Removes it, and says what it did; one that is gone is a success.
    pub(in crate::chaos) fn remove(&mut self) -> Result<(), InjectError> {
        match self.0.counts() {
            Ok(counts) => tracing::info!(
                seen = counts.seen,
                lost = counts.lost,
                corrupted = counts.corrupted,
                "a network fault ends; packets it saw and hit"
            ),
            Err(error) => tracing::debug!(%error, "what a network fault did is not known"),
        }
        Ok(self.0.end()?)
    }

    /// Removes what another process left under `name` on the host's ends of a container.
    pub(in crate::chaos) fn sweep(pid: u32, name: &str) -> Result<(), InjectError> {
        let ends = match host_ends(pid) {
            // Nothing could be put there.
            Err(InjectError::NoEnd(_)) => return Ok(()),
            other => other?,
        };
        ends.iter().try_for_each(|end| ebpf::sweep(end.index, name).map_err(refused))
    }
}

fn refused(error: io::Error) -> InjectError {
    InjectError::of("BPF", error)
}

/// The ends, in the calling thread's network namespace, of a container's veth pairs: a container's interface names the
/// number of its other end, and that end must say the same of it. The container's network namespace is entered only to list its
/// interfaces.
fn host_ends(pid: u32) -> Result<Vec<Link>, InjectError> {
    let ask = || all_links(&mut Netlink::open(Family::Route)?);
    let inside = in_netns(pid, ask)?.map_err(refused)?;
    let namespace = File::open(format!("/proc/{pid}/ns/net"));
    let namespace = namespace.map_err(|error| InjectError::Namespace(pid, error))?;
    let mut here = Netlink::open(Family::Route).map_err(refused)?;
    let mut ends = Vec::new();
    for link in inside.iter().filter(|link| link.carries()) {
        if let Some(why) = without_end(link) {
            return Err(InjectError::NoEnd(why));
        }
        let Some(peer) = link.peer.filter(|_| link.peer_netns.is_some()) else { continue };
        let end = match link_at(&mut here, peer) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => continue,
            other => other.map_err(refused)?,
        };
        // The kernel numbers a namespace at the latest when it was asked about an interface that belongs to one there.
        let id = netns_id(&mut here, namespace.as_fd()).map_err(refused)?;
        if is_end_of(&end, link, id) {
            ends.push(end);
        }
    }
    if ends.is_empty() {
        let why = "no veth pair of it ends in this network namespace: BPF needs the host's (docker run --network host)";
        return Err(InjectError::NoEnd(why.into()));
    }
    Ok(ends)
}

/// Why packets can pass by an interface without passing by this host's.
fn without_end(link: &Link) -> Option<String> {
    let what = match link.kind.as_deref() {
        None => "hardware",
        Some(kind) => WITHOUT_END.into_iter().find(|known| *known == kind)?,
    };
    Some(format!("its {} is {what}, which has no end on this host for BPF", link.name))
}

/// Whether `end`, here, is the other end of `link` in the namespace that has the number `id` here.
fn is_end_of(end: &Link, link: &Link, id: Option<i32>) -> bool {
    let veths = [end, link].iter().all(|one| one.kind.as_deref() == Some("veth"));
    veths && end.peer == Some(link.index) && id.is_some() && end.peer_netns == id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(kind: Option<&str>, peer: i32, peer_netns: Option<i32>) -> Link {
        let (name, kind) = ("eth0".to_owned(), kind.map(str::to_owned));
        Link { index: 7, name, kind, flags: 1, peer: Some(peer), peer_netns }
    }

    #[test]
    fn what_passes_by_the_host_is_refused_by_name() {
        let why = |kind| without_end(&link(kind, 1, None));
        assert_eq!(
            why(Some("macvlan")).unwrap(),
            "its eth0 is macvlan, which has no end on this host for BPF"
        );
        assert!(why(Some("ipvlan")).is_some() && why(None).unwrap().contains("hardware"));
        for inner in ["veth", "bridge", "dummy", "wireguard"] {
            assert_eq!(why(Some(inner)), None);
        }
    }

    #[test]
    fn an_end_is_known_by_what_both_say_of_each_other() {
        let inside = link(Some("veth"), 9, Some(0));
        let end = link(Some("veth"), 7, Some(3));
        assert!(is_end_of(&end, &inside, Some(3)));
        assert!(!is_end_of(&end, &inside, Some(4)), "it leads into another namespace");
        assert!(!is_end_of(&end, &inside, None), "no interface here leads there");
        assert!(!is_end_of(&Link { peer: Some(8), ..end.clone() }, &inside, Some(3)), "another's end");
        assert!(!is_end_of(&Link { kind: Some("bridge".into()), ..end }, &inside, Some(3)));
    }
}
