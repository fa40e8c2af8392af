//! One ICMP socket: raw, or datagram where raw is refused; sends echo requests, receives echo replies and when
//! they reached the host.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Instant, SystemTime};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use super::inbox::{BATCH, Inbox};
use super::packet::{Echo, Framing, Tag};
use super::{PingError, SocketMode};

/// Room for the answers to some thousand probes while the process does not run; the kernel gives what
/// `net.core.rmem_max` allows.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The ICMP types of an echo reply.
const ECHO_REPLY: u8 = 0;
const ECHO_REPLY_V6: u8 = 129;
/// Of linux/icmp.h and linux/icmpv6.h; the libc crate has them not.
const ICMP_FILTER: libc::c_int = 1;
const ICMP6_FILTER: libc::c_int = 1;

/// The two versions of IP, each with a socket of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// An answer to a probe of this socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// The tag it brought back.
    pub(super) tag: Tag,
    /// Its sequence number.
    pub(super) sequence: u16,
    /// Who sent it.
    pub(super) source: IpAddr,
    /// When it reached this host, which may be long before it is read.
    pub(super) arrived: Instant,
}

/// Whether packets are left in the kernel after a batch was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    Nothing,
    Perhaps,
}

/// A non-blocking ICMP socket of one family.
#[derive(Debug)]
pub(super) struct EchoSocket {
    socket: Socket,
    framing: Framing,
    mode: SocketMode,
    /// Of every request; raw sockets receive everyone's replies and tell theirs by it.
    identifier: u16,
}

impl EchoSocket {
    /// Opens a socket of `family`; `identifier` should be random.
    pub(super) fn open(family: Family, mode: SocketMode, identifier: u16) -> Result<Self, PingError> {
        let (domain, protocol) = match family {
            Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
            Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
        };
        let (kind, framing) = match (mode, family) {
            (SocketMode::Raw, Family::V4) => (Type::RAW, Framing::Ipv4),
            (SocketMode::Datagram, Family::V4) => (Type::DGRAM, Framing::Icmp),
            (SocketMode::Raw, Family::V6) => (Type::RAW, Framing::Icmpv6),
            (SocketMode::Datagram, Family::V6) => (Type::DGRAM, Framing::Icmpv6),
        };
        let socket =
            Socket::new(domain, kind, Some(protocol)).map_err(|error| refusal(family, mode, &error))?;
        let set_up = || -> io::Result<()> {
            socket.set_nonblocking(true)?;
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            // The kernel notes when each packet reached the host, so round trips are true however late they are read.
            // Where it does not (emulators such as qemu-user), a packet arrives when it is read.
            if let Err(error) = set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1_i32) {
                tracing::debug!(%error, "packets bear no time of arrival");
            }
            if family == Family::V4 {
                // Packets that may not be fragmented, and need not be, are spared the choice of an id: a tenth of a
                // probe's cost.
                set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
            }
            if mode == SocketMode::Raw {
                accept_only_replies(&socket, family)?;
                socket.attach_filter(&only_replies_to(framing, identifier))?;
            }
            Ok(())
        };
        set_up().map_err(|error| PingError::Io(format!("{family:?} {mode}: {error}")))?;
        Ok(Self { socket, framing, mode, identifier })
    }

    /// Sends one echo request. No error of the kernel's here is the container's doing: a full buffer or queue
    /// (EAGAIN, ENOBUFS) and the host's own firewall (EPERM) are local, and so is a missing route (ENETUNREACH,
    /// EHOSTUNREACH); a container that is gone or mute never makes sending fail, its neighbour entry just stays
    /// unresolved in silence.
    pub(super) fn send(&self, address: IpAddr, sequence: u16, tag: Tag) -> io::Result<()> {
        let echo = Echo { identifier: self.identifier, sequence, tag };
        let request = echo.request(address);
        let destination = SockAddr::from(SocketAddr::new(address, 0));
        match self.socket.send_to(&request, &destination) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.socket.send_to(&request, &destination).map(drop)
            }
            sent => sent.map(drop),
        }
    }

    /// Hands a batch of the answers that wait in the kernel to `take`.
    pub(super) fn receive(&self, inbox: &mut Inbox, take: impl FnMut(Answer)) -> io::Result<Waiting> {
        let received = match inbox.fill(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Waiting::Nothing),
            filled => filled?,
        };
        let waiting = if received.len() < BATCH { Waiting::Nothing } else { Waiting::Perhaps };
        let (instant, wall) = (Instant::now(), SystemTime::now());
        let answers = received.iter().filter_map(|slot| {
            let echo = Echo::from_reply(self.framing, slot.packet())?;
            // Datagram sockets are given answers to their own requests only, under an identifier of the kernel's.
            let ours = self.mode == SocketMode::Datagram || echo.identifier == self.identifier;
            let age = slot.arrived().and_then(|arrived| wall.duration_since(arrived).ok());
            let arrived = age.and_then(|age| instant.checked_sub(age)).unwrap_or(instant);
            let answer = Answer { tag: echo.tag, sequence: echo.sequence, source: slot.source()?, arrived };
            ours.then_some(answer)
        });
        answers.for_each(take);
        Ok(waiting)
    }
}

impl AsRawFd for EchoSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn refusal(family: Family, mode: SocketMode, error: &io::Error) -> PingError {
    let text = format!("{family:?} {mode}: {error}");
    match error.kind() {
        io::ErrorKind::PermissionDenied => PingError::NotPermitted(text),
        _ => PingError::Io(text),
    }
}

/// Names the one type of ICMP message wanted (icmp(7), RFC 3542 section 3.2). The BPF program would do, but the kernel runs
/// that on a copy of each packet; this it asks before it makes one.
fn accept_only_replies(socket: &Socket, family: Family) -> io::Result<()> {
    // Linux has one bit for each type, set for the types to be dropped.
    match family {
        Family::V4 => set_option(socket, libc::SOL_RAW, ICMP_FILTER, !(1_u32 << ECHO_REPLY)),
        Family::V6 => {
            let mut dropped = [u32::MAX; 8];
            dropped[usize::from(ECHO_REPLY_V6) / 32] &= !(1 << (ECHO_REPLY_V6 % 32));
            set_option(socket, libc::IPPROTO_ICMPV6, ICMP6_FILTER, dropped)
        }
    }
}

fn set_option<T: Copy>(socket: &Socket, level: libc::c_int, name: libc::c_int, value: T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(mem::size_of_val(&value)).expect("options are small");
    // SAFETY: the pointer and the length are those of `value`, which outlives the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A classic BPF program that keeps echo replies with our identifier. A raw socket gets a copy of every ICMP packet
/// to the host; without this another pinger's answers would wake us and fill the buffer.
fn only_replies_to(framing: Framing, identifier: u16) -> Vec<SockFilter> {
    use libc::{BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET};
    let step = |code: u32, jump_true, jump_false, operand| {
        let code = u16::try_from(code).expect("operation codes have 16 bits");
        SockFilter::new(code, jump_true, jump_false, operand)
    };
    let ip_header_len_to_x = step(BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0);
    let zero_to_x = step(BPF_LDX | BPF_IMM, 0, 0, 0);
    let (echo_reply, icmp_offset_to_x) = match framing {
        Framing::Ipv4 => (ECHO_REPLY, ip_header_len_to_x),
        Framing::Icmp => (ECHO_REPLY, zero_to_x),
        Framing::Icmpv6 => (ECHO_REPLY_V6, zero_to_x),
    };
    vec![
        icmp_offset_to_x,
        step(BPF_LD | BPF_B | BPF_IND, 0, 0, 0),
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, u32::from(echo_reply)),
        step(BPF_LD | BPF_H | BPF_IND, 0, 0, 4),
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, u32::from(identifier)),
        step(BPF_RET | BPF_K, 0, 0, u32::MAX),
        step(BPF_RET | BPF_K, 0, 0, 0),
    ]
}
