//! Just enough netlink to change a qdisc or an nftables table, and to ask about interfaces: requests with nested attributes,
//! sent together, and their answers. The layouts are those of the kernel's `linux/netlink.h`.

mod clsact;
mod link;

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

pub(crate) use clsact::{Clsact, Direction};
pub(crate) use link::{Link, all_links, link_at, netns_id};

/// `NLM_F_REQUEST`: every request says so.
const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: answer success too.
const ACK: u16 = 0x4;
/// `NLM_F_DUMP`: all there is, in many messages.
const DUMP: u16 = 0x300;
/// `NLM_F_CREATE`: make it when it is not there.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`: at the end of the list.
pub(crate) const APPEND: u16 = 0x800;

/// `NLM_F_EXCL`: refuse when it is there.
const EXCLUSIVE: u16 = 0x200;
/// `NLMSG_DONE`: the end of a dump, with a code like an acknowledgement's.
const DONE: u16 = 3;
/// `NLMSG_ERROR`: an acknowledgement; its code is 0 or a negative errno.
const ERROR: u16 = 2;
/// `NLA_F_NESTED`: the attribute holds attributes.
const NESTED: u16 = 0x8000;
/// An attribute's kind without its flags (`NLA_TYPE_MASK`).
const KIND_BITS: u16 = 0x3fff;
/// The size of `struct nlmsghdr`.
const HEADER: usize = 16;

/// The kernel answers within the send call; more than this means that it never will.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The kernel makes no message of a dump longer than the room it was offered, nor than this.
const LONGEST_ANSWER: usize = 32 * 1024;
/// More messages than this are no answer to anything we ask.
const MOST_MESSAGES: usize = 100_000;

/// Which part of the kernel a socket speaks to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Family {
    /// `NETLINK_ROUTE`: interfaces and qdiscs.
    Route,
    /// `NETLINK_NETFILTER`: nftables.
    Netfilter,
}

/// A list of attributes, each padded to 4 bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    /// Adds raw bytes.
    pub(crate) fn bytes(mut self, kind: u16, data: &[u8]) -> Self {
        let length = u16::try_from(data.len() + 4).expect("our attributes are far shorter than 64 KiB");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds text, ended by a zero byte as the kernel wants it.
    pub(crate) fn text(self, kind: u16, text: &str) -> Self {
        self.bytes(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Adds a number in network byte order, which is nftables' habit.
    pub(crate) fn be32(self, kind: u16, number: u32) -> Self {
        self.bytes(kind, &number.to_be_bytes())
    }

    /// As the kernel reads them.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Adds a list of attributes.
    pub(crate) fn nested(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }
}

/// One request, without its sequence number, which it is given when it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Request {
    /// A request of `kind` that is acknowledged. `header` is the family's own fixed part, a multiple of 4 bytes.
    pub(crate) fn new(kind: u16, flags: u16, header: &[u8], attributes: &Attributes) -> Self {
        debug_assert!(header.len().is_multiple_of(4));
        Self { kind, flags: flags | REQUEST | ACK, body: [header, &attributes.0].concat() }
    }

    /// A mark that is not acknowledged itself, such as the ends of an nftables batch.
    pub(crate) fn mark(kind: u16, header: &[u8]) -> Self {
        Self { kind, flags: REQUEST, body: header.to_vec() }
    }

    /// The bytes that go to the kernel.
    pub(crate) fn encode(&self, sequence: u32) -> Vec<u8> {
        let length =
            u32::try_from(HEADER + self.body.len()).expect("our requests are far shorter than 4 GiB");
        let mut bytes = Vec::with_capacity(HEADER + self.body.len());
        bytes.extend(length.to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(self.flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(&self.body);
        bytes
    }
}

/// A netlink socket in the network namespace of the thread that opened it; it stays in that one.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket; `EPROTONOSUPPORT` when the kernel lacks the family.
    pub(crate) fn open(family: Family) -> io::Result<Self> {
        let protocol = match family {
            Family::Route => libc::NETLINK_ROUTE,
            Family::Netfilter => libc::NETLINK_NETFILTER,
        };
        let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(protocol)))?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends `requests` together and waits for their acknowledgements. The first refusal is returned as the
    /// kernel's errno; what is left of a refused batch's answers is skipped by the next call.
    pub(crate) fn execute(&mut self, requests: &[Request]) -> io::Result<()> {
        self.exchange(requests, |_| {})
    }

    /// Sends one request and gives the messages that answer it, without their acknowledgement.
    pub(crate) fn ask(&mut self, request: Request) -> io::Result<Vec<Vec<u8>>> {
        let mut bodies = Vec::new();
        self.exchange(&[request], |body| {
            if bodies.len() < MOST_MESSAGES {
                bodies.push(body.to_vec());
            }
        })?;
        Ok(bodies)
    }

    fn exchange(&mut self, requests: &[Request], told: impl FnMut(&[u8])) -> io::Result<()> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        let mut last = self.sequence;
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend(request.encode(self.sequence));
            if request.flags & ACK != 0 {
                last = self.sequence;
            }
        }
        self.socket.write_all(&bytes)?;
        self.wait_for(first, last, told)
    }

    /// Reads until `last` is acknowledged or anything from `first` on is refused. The kernel answers in order.
    fn wait_for(&mut self, first: u32, last: u32, mut told: impl FnMut(&[u8])) -> io::Result<()> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        let mut buffer = vec![0; LONGEST_ANSWER];
        while Instant::now() < deadline {
            let length = match self.socket.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            for answer in decode(&buffer[..length])? {
                let age = answer.sequence.wrapping_sub(first);
                if age > self.sequence.wrapping_sub(first) {
                    continue;
                }
                match answer.word {
                    Word::Message(body) => told(body),
                    Word::Errno(0) if answer.sequence == last => return Ok(()),
                    Word::Errno(0) => {}
                    Word::Errno(errno) => return Err(io::Error::from_raw_os_error(errno)),
                }
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// What the kernel says about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer<'a> {
    sequence: u32,
    word: Word<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word<'a> {
    /// It is done, when 0, or refused.
    Errno(i32),
    /// The body of a message: the family's own fixed part, and attributes.
    Message(&'a [u8]),
}

/// Reads the messages in one datagram; broken ones are an error.
fn decode(mut bytes: &[u8]) -> io::Result<Vec<Answer<'_>>> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(u32_at(bytes, 0).ok_or_else(broken)?).map_err(|_| broken())?;
        if length < HEADER || length > bytes.len() {
            return Err(broken());
        }
        let (message, rest) = bytes.split_at(length);
        let kind = u32_at(message, 4).ok_or_else(broken)?.to_ne_bytes();
        let sequence = u32_at(message, 8).ok_or_else(broken)?;
        let word = match u16::from_ne_bytes([kind[0], kind[1]]) {
            ERROR | DONE => {
                let code = u32_at(message, HEADER).ok_or_else(broken)?.cast_signed();
                Word::Errno(code.checked_neg().filter(|errno| *errno >= 0).ok_or_else(broken)?)
            }
            _ => Word::Message(&message[HEADER..]),
        };
        answers.push(Answer { sequence, word });
        let padding = length.next_multiple_of(4) - length;
        bytes = rest.get(padding..).unwrap_or_default();
    }
    Ok(answers)
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's netlink answer cannot be read")
}

/// Reads a list of attributes, each with its kind without flags; what is broken ends the list.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = u32_at(bytes, 0)?.to_ne_bytes();
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & KIND_BITS;
        let data = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, data))
    })
}

/// The attribute of this kind in a list of them.
fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, data)| data)
}

/// The text in an attribute, up to its zero byte.
fn text(data: &[u8]) -> String {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).into_owned()
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let four = bytes.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

/// Runs `test` on a thread with an empty network namespace of its own, so it disturbs nobody.
#[cfg(test)]
pub(crate) fn in_own_netns(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: unshare takes no pointers, and only this thread changes its namespace.
            let entered = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(entered, 0, "this test needs CAP_SYS_ADMIN for a network namespace of its own");
            test();
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer_bytes(sequence: u32, code: i32, payload: &[u8]) -> Vec<u8> {
        let body = [&code.to_ne_bytes()[..], payload].concat();
        let mut bytes = Request::mark(ERROR, &body).encode(sequence);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn attributes_are_padded_and_their_length_is_not() {
        let attributes = Attributes::default().text(1, "ab").be32(2, 7);
        assert_eq!(attributes.0[..8], [7, 0, 1, 0, b'a', b'b', 0, 0]);
        assert_eq!(attributes.0[8..], [8, 0, 2, 0, 0, 0, 0, 7]);
        let nested = Attributes::default().nested(4, &attributes);
        assert_eq!(nested.0[..4], [20, 0, 4, 0x80]);
    }

    #[test]
    fn the_kernel_answers_a_real_request_with_its_errno() {
        let mut netlink = Netlink::open(Family::Route).unwrap();
        // RTM_GETLINK of an interface number that can't be: no permission is needed to ask.
        let mut ifinfomsg = [0; 16];
        ifinfomsg[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        let request = Request::new(18, 0, &ifinfomsg, &Attributes::default());
        let error = netlink.execute(&[request]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error}");
    }

    #[test]
    fn messages_are_told_from_acknowledgements_and_broken_ones_refused() {
        let mut bytes = Request::mark(16, &[1, 2, 3, 4]).encode(1);
        bytes.extend(answer_bytes(2, -1, &[9; 5]));
        bytes.extend(answer_bytes(3, 0, &[]));
        let answers = decode(&bytes).unwrap();
        let expected = [(1, Word::Message(&[1, 2, 3, 4])), (2, Word::Errno(1)), (3, Word::Errno(0))];
        assert_eq!(answers, expected.map(|(sequence, word)| Answer { sequence, word }));
        for cut in [1, HEADER - 1, HEADER, bytes.len() - 1] {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(decode(&answer_bytes(1, 5, &[])).is_err(), "an errno above zero");
        assert!(decode(&answer_bytes(1, i32::MIN, &[])).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(
            parts in proptest::collection::vec((any::<u32>(), 0..4096_i32, 0..40_usize), 0..5)
        ) {
            let bytes: Vec<u8> = parts.iter().flat_map(|(s, e, n)| answer_bytes(*s, -*e, &vec![7; *n])).collect();
            let expected: Vec<Answer> =
                parts.iter().map(|(s, e, _)| Answer { sequence: *s, word: Word::Errno(*e) }).collect();
            prop_assert_eq!(decode(&bytes).unwrap(), expected);
        }

        #[test]
        fn no_bytes_panic_and_answers_are_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(answers) = decode(&bytes) {
                prop_assert!(answers.len() <= bytes.len() / HEADER + 1);
            }
        }

        #[test]
        fn attributes_read_back_whatever_follows(
            list in proptest::collection::vec((0..0x3fff_u16, proptest::collection::vec(any::<u8>(), 0..9)), 0..5),
            junk in proptest::collection::vec(any::<u8>(), 0..4),
        ) {
            let built = list.iter().fold(Attributes::default(), |built, (kind, data)| built.bytes(*kind, data));
            let bytes = [built.into_bytes(), junk].concat();
            let read: Vec<_> = attributes(&bytes).map(|(kind, data)| (kind, data.to_vec())).collect();
            prop_assert_eq!(read, list);
        }

        #[test]
        fn no_attributes_panic_or_never_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(attributes(&bytes).count() <= bytes.len() / 4);
        }

        #[test]
        fn damage_to_a_real_answer_never_panics(at in 0..36_usize, with: u8) {
            let mut bytes = answer_bytes(7, -22, &[1; 16]);
            bytes[at] = with;
            let _ = decode(&bytes);
        }
    }
}
