//! Interfaces, and where the other end of a pair of them is. Layouts from `linux/if_link.h` and `linux/net_namespace.h`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Attributes, DUMP, Netlink, Request, attribute, broken, text, u32_at};

/// `RTM_GETLINK`, `RTM_GETNSID`
const GET_LINK: u16 = 18;
const GET_NSID: u16 = 90;
/// The size of `struct ifinfomsg { family, type, index, flags, change }`.
const IFINFOMSG: usize = 16;
/// `IFLA_IFNAME`, `IFLA_LINK`, `IFLA_LINKINFO`, `IFLA_LINK_NETNSID`, and `IFLA_INFO_KIND` in the third
const NAME: u16 = 3;
const PEER: u16 = 5;
const INFO: u16 = 18;
const PEER_NETNS: u16 = 37;
const INFO_KIND: u16 = 1;
/// `NETNSA_NSID`, `NETNSA_FD`
const NSID: u16 = 1;
const NSID_OF_FD: u16 = 3;
/// `IFF_UP`, `IFF_LOOPBACK`
const UP: u32 = 0x1;
const LOOPBACK: u32 = 0x8;

/// An interface of one network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its number.
    pub(crate) index: i32,
    /// Its name.
    pub(crate) name: String,
    /// What it is: `veth`, `macvlan`, ...; none for hardware and loopback.
    pub(crate) kind: Option<String>,
    /// `IFF_UP` and others.
    pub(crate) flags: u32,
    /// The number of the interface it belongs to: of a veth, its other end.
    pub(crate) peer: Option<i32>,
    /// This namespace's own number for the namespace where that one is, when it is another.
    pub(crate) peer_netns: Option<i32>,
}

impl Link {
    /// Whether packets of others come by it.
    pub(crate) fn carries(&self) -> bool {
        self.flags & UP != 0 && self.flags & LOOPBACK == 0
    }

    fn read(message: &[u8]) -> Option<Self> {
        let list = message.get(IFINFOMSG..)?;
        let number = |kind| Some(u32_at(attribute(list, kind)?, 0)?.cast_signed());
        Some(Self {
            index: u32_at(message, 4)?.cast_signed(),
            name: text(attribute(list, NAME)?),
            kind: attribute(list, INFO).and_then(|info| attribute(info, INFO_KIND)).map(text),
            flags: u32_at(message, 8)?,
            peer: number(PEER),
            peer_netns: number(PEER_NETNS).filter(|id| *id >= 0),
        })
    }
}

/// The interfaces of the socket's network namespace.
pub(crate) fn all_links(netlink: &mut Netlink) -> io::Result<Vec<Link>> {
    let messages = netlink.ask(Request::new(GET_LINK, DUMP, &[0; IFINFOMSG], &Attributes::default()))?;
    messages.iter().map(|message| Link::read(message).ok_or_else(broken)).collect()
}

/// One of them, by its number.
pub(crate) fn link_at(netlink: &mut Netlink, index: i32) -> io::Result<Link> {
    let mut header = [0; IFINFOMSG];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let messages = netlink.ask(Request::new(GET_LINK, 0, &header, &Attributes::default()))?;
    messages.first().and_then(|message| Link::read(message)).ok_or_else(broken)
}

/// The number that the socket's network namespace has for another, which is open as `namespace`; none when it has none for
/// it, so no interface there belongs to one here.
pub(crate) fn netns_id(netlink: &mut Netlink, namespace: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let of_fd = Attributes::default().bytes(NSID_OF_FD, &namespace.as_raw_fd().to_ne_bytes());
    let messages = netlink.ask(Request::new(GET_NSID, 0, &[0; 4], &of_fd))?;
    let id = messages.first().and_then(|message| attribute(message.get(4..)?, NSID));
    let id = id.and_then(|data| u32_at(data, 0)).ok_or_else(broken)?.cast_signed();
    Ok((id >= 0).then_some(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Family;
    use proptest::prelude::*;

    #[test]
    fn loopback_is_what_the_kernel_says() {
        let mut netlink = Netlink::open(Family::Route).unwrap();
        let links = all_links(&mut netlink).unwrap();
        let lo = links.iter().find(|link| link.name == "lo").unwrap();
        assert!(!lo.carries() && lo.kind.is_none() && lo.peer.is_none(), "{lo:?}");
        assert_eq!(&link_at(&mut netlink, lo.index).unwrap(), lo);
        let error = link_at(&mut netlink, i32::MAX).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error}");
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Link::read(&bytes);
        }
    }
}
