//! Receiving packets by the batch, each with its source and the time it reached the host (recvmmsg(2), and
//! SO_TIMESTAMPNS in socket(7)).

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Packets taken from the kernel at once.
pub(super) const BATCH: usize = 32;
/// Bytes kept of a packet: an echo of ours behind the longest IPv4 header has 84.
const PACKET_LEN: usize = 128;
/// Bytes of a `cmsghdr` up to its data: a length and two ints, aligned for the data.
const CONTROL_HEADER_LEN: usize = control_align(mem::size_of::<libc::cmsghdr>());

/// Buffers for one batch, used again and again.
#[derive(Debug)]
pub(super) struct Inbox {
    slots: Box<[Slot; BATCH]>,
}

/// One received packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    packet: [u8; PACKET_LEN],
    packet_len: usize,
    source: Aligned<128>,
    control: Aligned<64>,
    control_len: usize,
}

/// Bytes aligned for the structures the kernel writes there.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
struct Aligned<const LEN: usize>([u8; LEN]);

impl Inbox {
    pub(super) fn new() -> Self {
        let slot = Slot {
            packet: [0; PACKET_LEN],
            packet_len: 0,
            source: Aligned([0; 128]),
            control: Aligned([0; 64]),
            control_len: 0,
        };
        Self { slots: Box::new([slot; BATCH]) }
    }

    /// Receives up to a batch without waiting; `WouldBlock` when nothing is there.
    pub(super) fn fill(&mut self, socket: &impl AsRawFd) -> io::Result<&[Slot]> {
        // SAFETY: both are plain C structs of integers and pointers, for which all zeroes (null) is a value.
        let (mut headers, mut vectors): ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        for ((slot, header), vector) in self.slots.iter_mut().zip(&mut headers).zip(&mut vectors) {
            vector.iov_base = slot.packet.as_mut_ptr().cast();
            vector.iov_len = slot.packet.len();
            let header = &mut header.msg_hdr;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_name = slot.source.0.as_mut_ptr().cast();
            header.msg_namelen = libc::socklen_t::try_from(slot.source.0.len()).expect("128 fits");
            header.msg_control = slot.control.0.as_mut_ptr().cast();
            header.msg_controllen = slot.control.0.len();
        }
        // SAFETY: every header points at one vector and at buffers of `self` with their true lengths, all of
        // which outlive the call; a null timeout is allowed.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                libc::c_uint::try_from(BATCH).expect("32 fits"),
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (slot, header) in self.slots.iter_mut().zip(&headers).take(received) {
            slot.packet_len = usize::try_from(header.msg_len).unwrap_or(0).min(PACKET_LEN);
            slot.control_len = header.msg_hdr.msg_controllen.min(slot.control.0.len());
        }
        Ok(&self.slots[..received])
    }
}

impl Slot {
    /// Its bytes, cut to what a packet of ours can have.
    pub(super) fn packet(&self) -> &[u8] {
        &self.packet[..self.packet_len]
    }

    /// Who sent it.
    pub(super) fn source(&self) -> Option<IpAddr> {
        let bytes = &self.source.0;
        let family = u16::from_ne_bytes(*bytes.first_chunk()?);
        match i32::from(family) {
            libc::AF_INET => Some(Ipv4Addr::from(*bytes[4..].first_chunk::<4>()?).into()),
            libc::AF_INET6 => Some(Ipv6Addr::from(*bytes[8..].first_chunk::<16>()?).into()),
            _ => None,
        }
    }

    /// When it reached the host, by the system's clock; `None` where the kernel did not say.
    pub(super) fn arrived(&self) -> Option<SystemTime> {
        arrival(&self.control.0[..self.control_len])
    }
}

/// Finds the time stamp among control messages, each a `cmsghdr` and its data, padded to a word.
fn arrival(mut control: &[u8]) -> Option<SystemTime> {
    loop {
        let (len, rest) = control.split_first_chunk()?;
        let (level, rest) = rest.split_first_chunk()?;
        let kind = rest.first_chunk()?;
        let len = usize::from_ne_bytes(*len);
        let data = control.get(CONTROL_HEADER_LEN..len)?;
        if (i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind))
            == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS)
        {
            return timespec(data);
        }
        control = control.get(control_align(len)..)?;
    }
}

/// Seconds and nanoseconds since 1970, each a C long.
fn timespec(bytes: &[u8]) -> Option<SystemTime> {
    let (seconds, rest) = bytes.split_first_chunk()?;
    let seconds = u64::try_from(libc::c_long::from_ne_bytes(*seconds)).ok()?;
    let nanos = u64::try_from(libc::c_long::from_ne_bytes(*rest.first_chunk()?)).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?.checked_add(Duration::from_nanos(nanos))
}

const fn control_align(len: usize) -> usize {
    len.saturating_add(mem::size_of::<usize>() - 1) & !(mem::size_of::<usize>() - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (CONTROL_HEADER_LEN + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(control_align(bytes.len()), 0);
        bytes
    }

    #[test]
    fn the_time_stamp_is_found_behind_other_messages() {
        let time: Vec<u8> = [7, 500].into_iter().flat_map(libc::c_long::to_ne_bytes).collect();
        let mut control = message(libc::SOL_SOCKET, libc::SCM_RIGHTS, &[1, 2, 3]);
        assert_eq!(arrival(&control), None);
        control.extend(message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &time));
        assert_eq!(arrival(&control), Some(UNIX_EPOCH + Duration::new(7, 500)));
    }

    proptest! {
        #[test]
        fn no_control_bytes_make_it_panic_or_hang(
            mut bytes in prop::collection::vec(any::<u8>(), 0..64), len in 0_usize..80
        ) {
            let _ = arrival(&bytes);
            if let Some(first) = bytes.first_chunk_mut() {
                *first = len.to_ne_bytes();
            }
            let _ = arrival(&bytes);
        }
    }
}
