//! The kernel's network emulator: a `netem` qdisc at the root of an interface drops, delays or damages what leaves it.
//! Layouts from `linux/rtnetlink.h` and `linux/pkt_sched.h`, as `tc` (iproute2 6.1) sends them.

use std::io;
use std::time::Duration;

use super::{InjectError, LossInjector, interface_index};
use crate::model::LossPercent;
use crate::netlink::{Attributes, CREATE, Family, Netlink, Request};

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
/// `TCA_NETEM_CORRUPT`
const CORRUPT: u16 = 4;
/// The kernel's unit of packet time (`PSCHED_SHIFT`): 2^6 ns.
const TICK_NANOS: u128 = 64;
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
        let answer = self.netlink.execute(&[set(self.index, &Emulation::loss(loss))]);
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

/// What is done to packets; the default is nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::chaos) struct Emulation {
    /// This share is lost.
    pub(in crate::chaos) loss: LossPercent,
    /// They are late by this.
    pub(in crate::chaos) latency: Duration,
    /// More or less by this.
    pub(in crate::chaos) jitter: Duration,
    /// In this share a bit is flipped.
    pub(in crate::chaos) corruption: LossPercent,
}

impl Default for Emulation {
    fn default() -> Self {
        Self {
            loss: LossPercent::NONE,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            corruption: LossPercent::NONE,
        }
    }
}

impl Emulation {
    /// Loss alone.
    pub(in crate::chaos) fn loss(loss: LossPercent) -> Self {
        Self { loss, ..Self::default() }
    }
}

/// One emulation on every interface of a network namespace but its loopback. Dropping it ends the emulation.
pub(in crate::chaos) struct Emulated {
    netlink: Netlink,
    interfaces: Vec<i32>,
}

impl Emulated {
    /// Begins it on all interfaces of the calling thread's network namespace, or on none.
    pub(in crate::chaos) fn make(emulation: &Emulation) -> Result<Self, InjectError> {
        let interfaces = interfaces().map_err(|error| InjectError::of("netem", error))?;
        if interfaces.is_empty() {
            return Err(InjectError::NoInterface("other than lo".into()));
        }
        let netlink = Netlink::open(Family::Route).map_err(|error| refused(error, "netem"))?;
        let mut made = Self { netlink, interfaces: Vec::new() };
        for (index, name) in interfaces {
            made.netlink.execute(&[set(index, emulation)]).map_err(|error| refused(error, &name))?;
            made.interfaces.push(index);
        }
        Ok(made)
    }

    /// Ends it; what is gone already is a success.
    pub(in crate::chaos) fn remove(&mut self) -> Result<(), InjectError> {
        while let Some(index) = self.interfaces.last() {
            remove_ours(&mut self.netlink, *index)?;
            self.interfaces.pop();
        }
        Ok(())
    }

    /// Removes from all interfaces of the calling thread's network namespace what another process of ours left there, and
    /// nothing of anybody else: ours is told by its handle.
    pub(in crate::chaos) fn sweep() -> Result<(), InjectError> {
        let mut netlink = Netlink::open(Family::Route).map_err(|error| refused(error, "netem"))?;
        for (index, _) in interfaces().map_err(|error| InjectError::of("netem", error))? {
            remove_ours(&mut netlink, index)?;
        }
        Ok(())
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "a network fault was not removed");
        }
    }
}

/// The kernel says `ENOENT` or `EINVAL` where the root has another handle, or none.
fn remove_ours(netlink: &mut Netlink, index: i32) -> Result<(), InjectError> {
    match netlink.execute(&[remove(index)]) {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EINVAL)) => {
            Err(refused(error, "netem"))
        }
        _ => Ok(()),
    }
}

/// The interfaces of the calling thread's network namespace but its loopback.
fn interfaces() -> io::Result<Vec<(i32, String)>> {
    // SAFETY: it takes nothing; what it returns is freed below.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut at = list;
    loop {
        // SAFETY: the list ends with an entry whose index is 0, which the loop does not go past.
        let entry = unsafe { &*at };
        if entry.if_index == 0 || entry.if_name.is_null() {
            break;
        }
        // SAFETY: names of entries before the last end in a zero byte and live as long as the list.
        let name = unsafe { std::ffi::CStr::from_ptr(entry.if_name) }.to_string_lossy().into_owned();
        if name != "lo"
            && let Ok(index) = i32::try_from(entry.if_index)
        {
            found.push((index, name));
        }
        // SAFETY: the entry was not the last.
        at = unsafe { at.add(1) };
    }
    // SAFETY: the list came from if_nameindex and is not used any more.
    unsafe { libc::if_freenameindex(list) };
    Ok(found)
}

/// A netem qdisc without options: a kernel that has netem refuses it as incomplete (`EINVAL`), another does not
/// know the word (`ENOENT`); neither changes anything.
fn probe(index: i32) -> Request {
    Request::new(NEW_QDISC, CREATE, &tcmsg(index), &Attributes::default().text(KIND, "netem"))
}

/// Creates our qdisc, or changes it.
fn set(index: i32, emulation: &Emulation) -> Request {
    let attributes = Attributes::default().text(KIND, "netem").bytes(OPTIONS, &options(emulation));
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

/// `struct tc_netem_qopt { latency, limit, loss, gap, duplicate, jitter }`, with `struct tc_netem_corrupt { probability,
/// correlation }` as an attribute after it where bits are flipped.
fn options(emulation: &Emulation) -> Vec<u8> {
    let (loss, latency, jitter) =
        (probability(emulation.loss), ticks(emulation.latency), ticks(emulation.jitter));
    let mut bytes: Vec<u8> =
        [latency, QUEUE_LIMIT, loss, 0, 0, jitter].into_iter().flat_map(u32::to_ne_bytes).collect();
    let corruption = probability(emulation.corruption);
    if corruption > 0 {
        let corrupt: Vec<u8> = [corruption, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        bytes.extend(Attributes::default().bytes(CORRUPT, &corrupt).into_bytes());
    }
    bytes
}

/// In the kernel's unit; what is beyond its 274 s is that.
fn ticks(span: Duration) -> u32 {
    u32::try_from(span.as_nanos() / TICK_NANOS).unwrap_or(u32::MAX)
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
    use crate::netlink::in_own_netns;

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
        assert_eq!(set(3, &Emulation::loss(half)).encode(9), expected.concat());
    }

    /// What `strace -e sendmsg -xx tc qdisc add dev lo root handle d0c: netem ...` of iproute2 6.1 shows as `TCA_OPTIONS`.
    #[test]
    fn options_are_what_tc_itself_sends() {
        let percent = |share| LossPercent::new(share).unwrap();
        let millis = Duration::from_millis;
        let none = Emulation::default();
        let limit = [0xe8, 3, 0, 0];
        let cases: [(Emulation, &[&[u8]]); 4] = [
            // delay 100ms
            (Emulation { latency: millis(100), ..none }, &[&[0x84, 0xd7, 0x17, 0], &limit, &[0; 16]]),
            // delay 50ms 50ms
            (
                Emulation { latency: millis(50), jitter: millis(50), ..none },
                &[&[0xc2, 0xeb, 0x0b, 0], &limit, &[0; 12], &[0xc2, 0xeb, 0x0b, 0]],
            ),
            // corrupt 5%
            (
                Emulation { corruption: percent(5.0), ..none },
                &[&[0; 4], &limit, &[0; 16], &[12, 0, 4, 0, 0xcd, 0xcc, 0xcc, 0x0c, 0, 0, 0, 0]],
            ),
            // loss 50%
            (Emulation::loss(percent(50.0)), &[&[0; 4], &limit, &[0, 0, 0, 0x80], &[0; 12]]),
        ];
        for (emulation, expected) in cases {
            assert_eq!(options(&emulation), expected.concat(), "{emulation:?}");
        }
    }

    #[test]
    fn a_sweep_takes_nothing_of_anybody_elses_and_loopback_is_never_touched() {
        in_own_netns(|| {
            Emulated::sweep().expect("nothing is there");
            assert_eq!(interfaces().unwrap(), []);
            let error = Emulated::make(&Emulation::default()).err().unwrap();
            assert!(matches!(error, InjectError::NoInterface(_)), "{error}");
        });
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
