//! BPF classifiers on an interface by a `clsact` qdisc: how it is done before Linux 6.6. What is put there stays until it is
//! removed or the interface is gone, so each filter has a name to find it again by. Layouts from `linux/rtnetlink.h`,
//! `linux/pkt_sched.h` and `linux/pkt_cls.h`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Attributes, CREATE, DUMP, EXCLUSIVE, Family, Netlink, Request, attribute, text, u32_at};

/// `RTM_NEWQDISC`, `RTM_DELQDISC`
const NEW_QDISC: u16 = 36;
const DELETE_QDISC: u16 = 37;
/// `RTM_NEWTFILTER`, `RTM_DELTFILTER`, `RTM_GETTFILTER`
const NEW_FILTER: u16 = 44;
const DELETE_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;
/// `TC_H_CLSACT`, where it is attached, and the handle it always has
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// `TCA_KIND`, `TCA_OPTIONS`
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
/// `TCA_BPF_FD`, `TCA_BPF_NAME`, `TCA_BPF_FLAGS`, and the one flag: the program's answer is the verdict
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const DIRECT_ACTION: u32 = 1;
/// `ETH_P_ALL`
const ALL_PROTOCOLS: u16 = 3;
/// The size of `struct tcmsg { family, pad, pad, ifindex, handle, parent, info }`.
const TCMSG: usize = 20;

/// What the kernel says where there is nothing to list or remove.
const NOTHING_THERE: [i32; 4] = [libc::ENOENT, libc::ENODEV, libc::EINVAL, libc::EOPNOTSUPP];

/// Which packets of an interface a program sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// What comes in by it: on the host's end of a veth pair, what the container sends.
    In,
    /// What goes out by it.
    Out,
}

impl Direction {
    const BOTH: [Self; 2] = [Self::In, Self::Out];

    /// `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS or TC_H_MIN_EGRESS)`
    fn parent(self) -> u32 {
        match self {
            Self::In => 0xffff_fff2,
            Self::Out => 0xffff_fff3,
        }
    }
}

/// The qdisc of one interface.
pub(crate) struct Clsact {
    netlink: Netlink,
    index: i32,
}

/// A filter in it.
struct Filter {
    handle: u32,
    /// Priority and protocol.
    info: u32,
    name: Option<String>,
}

impl Clsact {
    /// That of the interface `index` in the calling thread's network namespace, which it stays in.
    pub(crate) fn of(index: i32) -> io::Result<Self> {
        Ok(Self { netlink: Netlink::open(Family::Route)?, index })
    }

    /// Adds a program under `name`, and the qdisc where it is missing.
    pub(crate) fn add(
        &mut self,
        direction: Direction,
        name: &str,
        program: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let kind = Attributes::default().text(KIND, "clsact");
        let header = self.header(CLSACT_HANDLE, CLSACT, 0);
        let made = match self.netlink.execute(&[Request::new(NEW_QDISC, CREATE | EXCLUSIVE, &header, &kind)])
        {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => false,
            other => other.map(|()| true)?,
        };
        let options = Attributes::default()
            .bytes(BPF_FD, &program.as_raw_fd().to_ne_bytes())
            .text(BPF_NAME, name)
            .bytes(BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes());
        let attributes = Attributes::default().text(KIND, "bpf").nested(OPTIONS, &options);
        let header = self.header(0, direction.parent(), u32::from(ALL_PROTOCOLS.to_be()));
        let added =
            self.netlink.execute(&[Request::new(NEW_FILTER, CREATE | EXCLUSIVE, &header, &attributes)]);
        if added.is_err() && made {
            self.remove_qdisc()?;
        }
        added
    }

    /// Removes the programs under `name`, and the qdisc when they were all there was; nothing there is a success.
    pub(crate) fn remove(&mut self, name: &str) -> io::Result<()> {
        let (mut removed, mut others) = (0, 0);
        for direction in Direction::BOTH {
            for filter in self.filters(direction)? {
                if filter.name.as_deref() != Some(name) {
                    others += 1;
                    continue;
                }
                let kind = Attributes::default().text(KIND, "bpf");
                let header = self.header(filter.handle, direction.parent(), filter.info);
                gone_is_fine(self.netlink.execute(&[Request::new(DELETE_FILTER, 0, &header, &kind)]))?;
                removed += 1;
            }
        }
        if removed == 0 || others > 0 {
            return Ok(());
        }
        self.remove_qdisc()
    }

    fn remove_qdisc(&mut self) -> io::Result<()> {
        let header = self.header(CLSACT_HANDLE, CLSACT, 0);
        gone_is_fine(self.netlink.execute(&[Request::new(DELETE_QDISC, 0, &header, &Attributes::default())]))
    }

    fn filters(&mut self, direction: Direction) -> io::Result<Vec<Filter>> {
        let header = self.header(0, direction.parent(), 0);
        let request = Request::new(GET_FILTER, DUMP, &header, &Attributes::default());
        let messages = match self.netlink.ask(request) {
            // No interface, no such qdisc there, or a kernel without filters.
            Err(error) if NOTHING_THERE.into_iter().any(|errno| error.raw_os_error() == Some(errno)) => {
                return Ok(Vec::new());
            }
            other => other?,
        };
        // An entry without a handle is the head of its filters.
        let filters = messages.iter().filter_map(|message| Filter::read(message));
        Ok(filters.filter(|filter| filter.handle != 0).collect())
    }

    fn header(&self, handle: u32, parent: u32, info: u32) -> [u8; TCMSG] {
        let mut bytes = [0; TCMSG];
        bytes[4..8].copy_from_slice(&self.index.to_ne_bytes());
        bytes[8..12].copy_from_slice(&handle.to_ne_bytes());
        bytes[12..16].copy_from_slice(&parent.to_ne_bytes());
        bytes[16..20].copy_from_slice(&info.to_ne_bytes());
        bytes
    }
}

impl Filter {
    fn read(message: &[u8]) -> Option<Self> {
        let list = message.get(TCMSG..)?;
        let is_bpf = attribute(list, KIND).map(text).as_deref() == Some("bpf");
        let name =
            attribute(list, OPTIONS).filter(|_| is_bpf).and_then(|options| attribute(options, BPF_NAME));
        Some(Self { handle: u32_at(message, 8)?, info: u32_at(message, 16)?, name: name.map(text) })
    }
}

fn gone_is_fine(answer: io::Result<()>) -> io::Result<()> {
    match answer {
        Err(error) if NOTHING_THERE.into_iter().any(|errno| error.raw_os_error() == Some(errno)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_filter_is_known_by_its_name_only_when_it_is_bpf() {
        let message = |kind: &str| {
            let options = Attributes::default().text(BPF_NAME, "dockhealth_x");
            let list = Attributes::default().text(KIND, kind).nested(OPTIONS, &options);
            [&[0; 8][..], &1_u32.to_ne_bytes(), &[0; 4], &2_u32.to_ne_bytes(), &list.into_bytes()].concat()
        };
        let filter = Filter::read(&message("bpf")).unwrap();
        assert_eq!((filter.handle, filter.info, filter.name.as_deref()), (1, 2, Some("dockhealth_x")));
        assert_eq!(Filter::read(&message("u32")).unwrap().name, None);
    }

    #[test]
    fn where_there_is_no_qdisc_nothing_is_left_to_remove() {
        crate::netlink::in_own_netns(|| {
            Clsact::of(1).unwrap().remove("dockhealth_x").expect("lo has none");
            Clsact::of(i32::MAX).unwrap().remove("dockhealth_x").expect("there is no such interface");
        });
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Filter::read(&bytes);
        }
    }
}
