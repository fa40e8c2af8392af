//! Packet loss by the kernel's network emulator: a `netem` qdisc at the root of an interface drops what leaves it.
//! Layouts from `linux/rtnetlink.h` and `linux/pkt_sched.h`.

use std::io;

use super::netlink::{Attributes, CREATE, Family, Netlink, Request};
use super::{InjectError, LossInjector, interface_index};
use crate::model::LossPercent;

/// `RTM_NEWQDISC`
const NEW_QDISC: u16 = 36;
/// `RTM_DELQDISC`
const DELETE_QDISC: u16 = 37;
/// `TC_H_ROOT`
const ROOT: u32 = 0xffff_ffff;
/// `TCA_KIND`, `TCA_OPTIONS`
const KIND: u16 = 1;
const OPTIONS: u16 = 2;

/// Our qdisc's handle. Naming it makes the kernel change or remove only a qdisc that carries it: someone else's
/// shaping is refused with `EEXIST`, not replaced. Below 8000: where the kernel picks its own.
const HANDLE: u32 = 0x0d0c_0000;
/// How many packets may wait, netem's own default.
const QUEUE_LIMIT: u32 = 1000;
/// What the kernel is built with to have it.
const FEATURE: &str = "netem (CONFIG_NET_SCH_NETEM, module sch_netem)";

/// Loss on what leaves one interface, so a round trip that ends or begins here is hit once. It stays when its
/// process is killed, until the interface or its namespace is gone, as a container's is with its first process.
pub(super) struct Netem {
    netlink: Netlink,
    index: i32,
    description: String,
    active: bool,
}

impl Netem {
    /// Makes sure that the kernel would take a netem qdisc on `interface`, changing nothing.
    pub(super) fn open(interface: &str) -> Result<Self, InjectError> {
        let index = interface_index(interface)?;
        let mut netlink = Netlink::open(Family::Route).map_err(|error| refused(error, interface))?;
        match netlink.execute(&[probe(index)]) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(refused(error, interface)),
            Ok(()) => return Err(InjectError::Kernel("netem", io::ErrorKind::InvalidData.into())),
        }
        Ok(Self { netlink, index, description: format!("netem on {interface}"), active: false })
    }
}

impl LossInjector for Netem {
    fn set(&mut self, loss: LossPercent) -> Result<(), InjectError> {
        let answer = self.netlink.execute(&[set(self.index, loss)]);
        answer.map_err(|error| refused(error, &self.description))?;
        self.active = true;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), InjectError> {
        if !self.active {
            return Ok(());
        }
        match self.netlink.execute(&[remove(self.index)]) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {
                Err(refused(error, &self.description))
            }
            _ => {
                self.active = false;
                Ok(())
            }
        }
    }

    fn describe(&self) -> &str {
        &self.description
    }
}

impl Drop for Netem {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            tracing::warn!(%error, "packet loss was not removed");
        }
    }
}

/// A netem qdisc without options: a kernel that has netem refuses it as incomplete (`EINVAL`), another does not
/// know the word (`ENOENT`); neither changes anything.
fn probe(index: i32) -> Request {
    Request::new(NEW_QDISC, CREATE, &tcmsg(index), &Attributes::default().text(KIND, "netem"))
}

/// Creates our qdisc, or changes it.
fn set(index: i32, loss: LossPercent) -> Request {
    let attributes =
        Attributes::default().text(KIND, "netem").bytes(OPTIONS, &tc_netem_qopt(probability(loss)));
    Request::new(NEW_QDISC, CREATE, &tcmsg(index), &attributes)
}

/// Removes our qdisc.
fn remove(index: i32) -> Request {
    Request::new(DELETE_QDISC, 0, &tcmsg(index), &Attributes::default())
}

/// `struct tcmsg { family, pad, pad, ifindex, handle, parent, info }`
fn tcmsg(index: i32) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&HANDLE.to_ne_bytes());
    bytes[12..16].copy_from_slice(&ROOT.to_ne_bytes());
    bytes
}

/// `struct tc_netem_qopt { latency, limit, loss, gap, duplicate, jitter }`
fn tc_netem_qopt(loss: u32) -> [u8; 24] {
    let mut bytes = [0; 24];
    for (field, value) in bytes.chunks_exact_mut(4).zip([0, QUEUE_LIMIT, loss, 0, 0, 0]) {
        field.copy_from_slice(&u32::to_ne_bytes(value));
    }
    bytes
}

/// The kernel's scale: 0 is never, `u32::MAX` always.
fn probability(loss: LossPercent) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to u32::MAX, both exact in f64"
    )]
    let scaled = (loss.percent() / 100.0 * f64::from(u32::MAX)).round() as u32;
    scaled
}

fn refused(error: io::Error, place: &str) -> InjectError {
    match error.raw_os_error() {
        Some(libc::ENOENT) => InjectError::NoFeature(FEATURE),
        Some(libc::EEXIST) => InjectError::Occupied(place.to_owned()),
        _ => InjectError::of("netem", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::inject::tests::in_own_netns;

    #[test]
    fn the_request_is_what_the_kernels_structures_say() {
        let half = LossPercent::new(50.0).unwrap();
        // A little-endian machine's bytes, by hand from struct nlmsghdr, tcmsg, nlattr and tc_netem_qopt.
        let expected: &[&[u8]] = &[
            &[76, 0, 0, 0, 36, 0, 0x05, 0x04, 9, 0, 0, 0, 0, 0, 0, 0], // length, type, flags, sequence, port
            &[0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0x0c, 0x0d, 255, 255, 255, 255, 0, 0, 0, 0], // tcmsg
            &[10, 0, 1, 0, b'n', b'e', b't', b'e', b'm', 0, 0, 0],     // TCA_KIND
            &[28, 0, 2, 0, 0, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0x80],  // TCA_OPTIONS: latency, limit, loss,
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],                     // gap, duplicate, jitter
        ];
        assert_eq!(set(3, half).encode(9), expected.concat());
    }

    #[test]
    fn percentages_reach_both_ends_of_the_kernels_scale() {
        assert_eq!(probability(LossPercent::NONE), 0);
        assert_eq!(probability(LossPercent::ALL), u32::MAX);
        assert_eq!(probability(LossPercent::new(25.0).unwrap()), 0x4000_0000);
    }

    /// The same request with a qdisc that every kernel has, so the handle's protection is seen to work even where
    /// netem is missing.
    #[test]
    fn someone_elses_qdisc_is_neither_replaced_nor_removed() {
        in_own_netns(|| {
            let mut netlink = Netlink::open(Family::Route).unwrap();
            let index = interface_index("lo").unwrap();
            let pfifo = |handle: u32| {
                let mut header = tcmsg(index);
                header[8..12].copy_from_slice(&handle.to_ne_bytes());
                let attributes =
                    Attributes::default().text(KIND, "pfifo").bytes(OPTIONS, &10_u32.to_ne_bytes());
                Request::new(NEW_QDISC, CREATE, &header, &attributes)
            };
            for _ in 0..2 {
                netlink.execute(&[pfifo(HANDLE)]).expect("created, then changed");
            }
            netlink.execute(&[remove(index)]).expect("ours is removed");
            netlink.execute(&[pfifo(0x0001_0000)]).expect("someone else's is created");
            let taken = netlink.execute(&[pfifo(HANDLE)]).unwrap_err();
            assert_eq!(taken.raw_os_error(), Some(libc::EEXIST), "{taken}");
            assert!(netlink.execute(&[remove(index)]).is_err(), "someone else's was removed");
        });
    }
}
