//! ICMP echo on the wire (RFC 792, RFC 4443), pure: what is sent, and what counts as an answer to it.
//!
//! The identifier tells our answers from other programs' on a raw socket, the tag in the payload tells probes
//! apart, and its nonce makes an answer impossible to guess for whoever did not see the request.

use std::net::IpAddr;

use pnet::packet::icmp::echo_reply::{EchoReplyPacket, IcmpCodes};
use pnet::packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet::packet::icmp::{self, IcmpPacket, IcmpTypes};
use pnet::packet::icmpv6::echo_reply::EchoReplyPacket as EchoReply6Packet;
use pnet::packet::icmpv6::echo_reply::Icmpv6Codes;
use pnet::packet::icmpv6::echo_request::MutableEchoRequestPacket as MutableEchoRequest6Packet;
use pnet::packet::icmpv6::{Icmpv6Code, Icmpv6Types};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::{Packet, util};

/// Bytes of an ICMP echo header, both versions.
const HEADER_LEN: usize = 8;
/// Bytes of the payload: nonce, check, number.
const TAG_LEN: usize = 16;
/// Bytes of a whole request, without the IP header.
pub(super) const ECHO_LEN: usize = HEADER_LEN + TAG_LEN;

/// Tells one probe from every other of this process; travels in the payload and comes back unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    /// Random for each probe.
    pub(super) nonce: u64,
    /// The check it belongs to.
    pub(super) check: u32,
    /// Its number within that check.
    pub(super) number: u32,
}

/// One echo, asked or answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Echo {
    /// Of the socket; datagram sockets have it rewritten by the kernel.
    pub(super) identifier: u16,
    /// Of the probe among those to its address.
    pub(super) sequence: u16,
    /// Of the probe among all.
    pub(super) tag: Tag,
}

/// What a received packet begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// The IPv4 header, as raw IPv4 sockets give it.
    Ipv4,
    /// The ICMP header, as IPv4 datagram sockets give it.
    Icmp,
    /// The ICMPv6 header, as every IPv6 socket gives it.
    Icmpv6,
}

impl Echo {
    /// The request's bytes for `destination`'s version of IP. The kernel fills in ICMPv6's checksum, which covers
    /// a source address that only it knows.
    pub(super) fn request(&self, destination: IpAddr) -> [u8; ECHO_LEN] {
        let mut bytes = [0; ECHO_LEN];
        let payload = self.tag.to_bytes();
        match destination {
            IpAddr::V4(_) => {
                let mut packet =
                    MutableEchoRequestPacket::new(&mut bytes).expect("the buffer holds the header");
                packet.set_icmp_type(IcmpTypes::EchoRequest);
                packet.set_identifier(self.identifier);
                packet.set_sequence_number(self.sequence);
                packet.set_payload(&payload);
                let checksum = util::checksum(packet.packet(), 1);
                packet.set_checksum(checksum);
            }
            IpAddr::V6(_) => {
                let mut packet =
                    MutableEchoRequest6Packet::new(&mut bytes).expect("the buffer holds the header");
                packet.set_icmpv6_type(Icmpv6Types::EchoRequest);
                packet.set_icmpv6_code(Icmpv6Code(0));
                packet.set_identifier(self.identifier);
                packet.set_sequence_number(self.sequence);
                packet.set_payload(&payload);
            }
        }
        bytes
    }

    /// Reads an echo reply; `None` for anything else: other types, truncated, corrupt, or not shaped like ours.
    pub(super) fn from_reply(framing: Framing, bytes: &[u8]) -> Option<Self> {
        match framing {
            Framing::Ipv4 => Self::from_icmp(ipv4_payload(bytes)?),
            Framing::Icmp => Self::from_icmp(bytes),
            Framing::Icmpv6 => Self::from_icmpv6(bytes),
        }
    }

    fn from_icmp(bytes: &[u8]) -> Option<Self> {
        let packet = EchoReplyPacket::new(bytes)?;
        let is_reply =
            packet.get_icmp_type() == IcmpTypes::EchoReply && packet.get_icmp_code() == IcmpCodes::NoCode;
        let intact = icmp::checksum(&IcmpPacket::new(bytes)?) == packet.get_checksum();
        let tag = Tag::from_bytes(packet.payload())?;
        (is_reply && intact).then(|| Self {
            identifier: packet.get_identifier(),
            sequence: packet.get_sequence_number(),
            tag,
        })
    }

    fn from_icmpv6(bytes: &[u8]) -> Option<Self> {
        let packet = EchoReply6Packet::new(bytes)?;
        let is_reply = packet.get_icmpv6_type() == Icmpv6Types::EchoReply
            && packet.get_icmpv6_code() == Icmpv6Codes::NoCode;
        let tag = Tag::from_bytes(packet.payload())?;
        is_reply.then(|| Self {
            identifier: packet.get_identifier(),
            sequence: packet.get_sequence_number(),
            tag,
        })
    }
}

impl Tag {
    fn to_bytes(self) -> [u8; TAG_LEN] {
        let mut bytes = [0; TAG_LEN];
        bytes[..8].copy_from_slice(&self.nonce.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.check.to_be_bytes());
        bytes[12..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// Exactly what [`Tag::to_bytes`] made: a longer or shorter payload is not ours.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; TAG_LEN] = bytes.try_into().ok()?;
        let (nonce, rest) = bytes.split_first_chunk()?;
        let (check, number) = rest.split_first_chunk()?;
        Some(Self {
            nonce: u64::from_be_bytes(*nonce),
            check: u32::from_be_bytes(*check),
            number: u32::from_be_bytes(number.try_into().ok()?),
        })
    }
}

/// What an unfragmented IPv4 packet that carries ICMP holds, by its own header and total lengths.
fn ipv4_payload(bytes: &[u8]) -> Option<&[u8]> {
    let packet = Ipv4Packet::new(bytes)?;
    let header_len = usize::from(packet.get_header_length()) * 4;
    let total_len = usize::from(packet.get_total_length());
    let whole = packet.get_fragment_offset() == 0 && packet.get_flags() & 1 == 0;
    let icmp = packet.get_version() == 4 && packet.get_next_level_protocol() == IpNextHeaderProtocols::Icmp;
    (whole && icmp && header_len >= 20).then(|| bytes.get(header_len..total_len))?
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use pnet::packet::ipv4::MutableIpv4Packet;
    use proptest::prelude::*;

    use super::*;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    fn echoes() -> impl Strategy<Value = Echo> {
        (any::<u16>(), any::<u16>(), any::<u64>(), any::<u32>(), any::<u32>()).prop_map(
            |(identifier, sequence, nonce, check, number)| Echo {
                identifier,
                sequence,
                tag: Tag { nonce, check, number },
            },
        )
    }

    /// The reply a correct host sends to `echo`, with `options` words of IP options.
    fn reply(framing: Framing, echo: Echo, options: usize) -> Vec<u8> {
        let mut icmp = echo.request(if framing == Framing::Icmpv6 { V6 } else { V4 }).to_vec();
        icmp[0] = if framing == Framing::Icmpv6 { 129 } else { 0 };
        if framing == Framing::Icmpv6 {
            return icmp;
        }
        icmp[2..4].fill(0);
        let checksum = util::checksum(&icmp, 1);
        icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
        if framing == Framing::Icmp {
            return icmp;
        }
        let header_len = 20 + 4 * options;
        let mut bytes = vec![0; header_len];
        bytes.extend(icmp);
        let total_len = u16::try_from(bytes.len()).unwrap();
        let mut packet = MutableIpv4Packet::new(&mut bytes).unwrap();
        packet.set_version(4);
        packet.set_header_length(u8::try_from(header_len / 4).unwrap());
        packet.set_total_length(total_len);
        packet.set_next_level_protocol(IpNextHeaderProtocols::Icmp);
        bytes
    }

    fn framings() -> impl Strategy<Value = Framing> {
        prop_oneof![Just(Framing::Ipv4), Just(Framing::Icmp), Just(Framing::Icmpv6)]
    }

    #[test]
    fn a_request_has_the_bytes_the_rfc_says() {
        let tag = Tag { nonce: 0x0102_0304_0506_0708, check: 9, number: 10 };
        let echo = Echo { identifier: 0xabcd, sequence: 0x0102, tag };
        let v4 = echo.request(V4);
        assert_eq!(v4[..2], [8, 0]);
        assert_eq!(v4[4..], [0xab, 0xcd, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 0, 0, 0, 10]);
        // RFC 1071: the one's complement sum over a packet with a right checksum is all ones.
        let sum: u32 = v4.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!(echo.request(V6)[..4], [128, 0, 0, 0]);
    }

    #[test]
    fn our_own_request_is_no_answer() {
        let echo = Echo { identifier: 1, sequence: 2, tag: Tag { nonce: 3, check: 4, number: 5 } };
        assert_eq!(Echo::from_reply(Framing::Icmp, &echo.request(V4)), None);
        assert_eq!(Echo::from_reply(Framing::Icmpv6, &echo.request(V6)), None);
    }

    proptest! {
        #[test]
        fn a_reply_gives_back_what_was_asked(framing in framings(), echo in echoes(), options in 0_usize..=10) {
            prop_assert_eq!(Echo::from_reply(framing, &reply(framing, echo, options)), Some(echo));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(framing in framings(), bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = Echo::from_reply(framing, &bytes);
        }

        #[test]
        fn a_truncated_or_longer_reply_is_never_taken(
            framing in framings(), echo in echoes(), cut in any::<prop::sample::Index>(), more in 1_usize..64
        ) {
            let mut bytes = reply(framing, echo, 0);
            prop_assert_eq!(Echo::from_reply(framing, &bytes[..cut.index(bytes.len())]), None);
            if framing != Framing::Ipv4 {
                bytes.resize(bytes.len() + more, 0);
                prop_assert_eq!(Echo::from_reply(framing, &bytes), None);
            }
        }

        #[test]
        fn a_corrupt_icmp_reply_is_never_taken(echo in echoes(), bit in 0..8 * ECHO_LEN) {
            let mut bytes = reply(Framing::Icmp, echo, 0);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Echo::from_reply(Framing::Icmp, &bytes), None);
        }
    }
}
