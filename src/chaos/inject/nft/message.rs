//! Messages that make, change and remove one nftables table. Layouts from `linux/netfilter/nf_tables.h`; a change is one
//! batch, which the kernel applies whole or not at all.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::chaos::inject::InjectError;
use crate::model::LossPercent;
use crate::netlink::{APPEND, Attributes, CREATE, Request};

/// `NFNL_SUBSYS_NFTABLES`, the upper byte of every message type.
const NFTABLES: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// `NFT_MSG_*`
const NEW_TABLE: u16 = NFTABLES << 8;
const DELETE_TABLE: u16 = NFTABLES << 8 | 2;
const NEW_CHAIN: u16 = NFTABLES << 8 | 3;
const NEW_RULE: u16 = NFTABLES << 8 | 6;
const DELETE_RULE: u16 = NFTABLES << 8 | 8;
const NEW_SET: u16 = NFTABLES << 8 | 9;
const NEW_ELEMENTS: u16 = NFTABLES << 8 | 0x0c;
/// `NFPROTO_INET`: IPv4 and IPv6 at once.
const INET: u8 = 1;
/// `NFPROTO_IPV4`, `NFPROTO_IPV6`: what `meta nfproto` loads.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// `NFT_TABLE_F_OWNER` (Linux 5.12): the table is its socket's, nobody else may change it, and it ends with it.
pub(super) const OWNER: u32 = 2;
/// `NF_ACCEPT`, `NF_DROP`
const ACCEPT: u32 = 1;
const DROP: u32 = 0;
/// `NFT_REG_VERDICT`, `NFT_REG_1`
const VERDICT: u32 = 0;
const REGISTER: u32 = 1;
/// `NFT_META_IIFNAME`, `NFT_META_NFPROTO`, `NFT_META_L4PROTO`, `NFT_META_PRANDOM`
const IIFNAME: u32 = 6;
const FAMILY: u32 = 15;
const L4PROTO: u32 = 16;
const RANDOM: u32 = 24;
/// `NFT_CMP_EQ`, `NFT_CMP_NEQ`, `NFT_CMP_LT`
const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;
const LESS: u32 = 2;
/// `NFT_PAYLOAD_NETWORK_HEADER`, `NFT_PAYLOAD_TRANSPORT_HEADER`
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// `NFT_SET_TIMEOUT`, and `nft`'s own number for the type of such keys, for its listings.
const WITH_TIMEOUT: u32 = 0x10;
const FAMILY_TYPE: u32 = 2;

/// Before connection tracking and address translation, so that packets are met as they were sent: the engine's own name
/// server is reached through a translation of port 53 (`NF_IP_PRI_RAW`).
pub(super) const RAW: i32 = -300;

/// The set that says until when rules hold.
const LEASE: &str = "lease";

/// Where packets are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// What comes in for this machine or container: `NF_INET_LOCAL_IN`.
    In,
    /// What it sends itself: `NF_INET_LOCAL_OUT`.
    Out,
}

impl Hook {
    /// The chain's name.
    fn chain(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::In => 1,
            Self::Out => 3,
        }
    }
}

/// One table of ours.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: String,
    /// [`OWNER`] or 0.
    pub(super) flags: u32,
}

impl Table {
    /// Makes it.
    pub(super) fn create(&self) -> Request {
        // NFTA_TABLE_NAME, NFTA_TABLE_FLAGS
        let attributes = self.named().be32(2, self.flags);
        Request::new(NEW_TABLE, CREATE, &nfgenmsg(INET, 0), &attributes)
    }

    /// Removes it and all in it.
    pub(super) fn delete(&self) -> Request {
        Request::new(DELETE_TABLE, 0, &nfgenmsg(INET, 0), &self.named())
    }

    /// `type filter hook input|output priority N; policy accept;`
    pub(super) fn chain(&self, hook: Hook, priority: i32) -> Request {
        // NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY
        let place = Attributes::default().be32(1, hook.number()).be32(2, priority.cast_unsigned());
        // NFTA_CHAIN_TABLE, _NAME, _HOOK, _POLICY, _TYPE
        let attributes =
            self.named().text(3, hook.chain()).nested(4, &place).be32(5, ACCEPT).text(7, "filter");
        Request::new(NEW_CHAIN, CREATE, &nfgenmsg(INET, 0), &attributes)
    }

    /// `set lease { type nf_proto; flags timeout; }`, with both families in it for `span`: rules that ask for it end then
    /// in the kernel itself, whoever is left to end them.
    pub(super) fn lease(&self, span: Duration) -> [Request; 2] {
        // NFTA_SET_TABLE, _NAME, _FLAGS, _KEY_TYPE, _KEY_LEN, _ID
        let set =
            self.named().text(2, LEASE).be32(3, WITH_TIMEOUT).be32(4, FAMILY_TYPE).be32(5, 1).be32(10, 1);
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).to_be_bytes();
        let elements = [IPV4, IPV6].iter().fold(Attributes::default(), |elements, family| {
            // NFTA_SET_ELEM_TIMEOUT, NFTA_SET_ELEM_KEY holding NFTA_DATA_VALUE
            let key = Attributes::default().bytes(1, &[*family]);
            elements.nested(ELEMENT, &Attributes::default().bytes(4, &millis).nested(1, &key))
        });
        // NFTA_SET_ELEM_LIST_TABLE, _SET, _SET_ID, _ELEMENTS
        let elements = self.named().text(2, LEASE).be32(4, 1).nested(3, &elements);
        [
            Request::new(NEW_SET, CREATE, &nfgenmsg(INET, 0), &set),
            Request::new(NEW_ELEMENTS, CREATE, &nfgenmsg(INET, 0), &elements),
        ]
    }

    /// `CONDITIONS counter drop`, at the end of the chain of `hook`.
    pub(super) fn drop_rule(&self, hook: Hook, conditions: &Conditions) -> Request {
        let expressions = conditions
            .0
            .clone()
            .nested(ELEMENT, &expression("counter", &Attributes::default()))
            .nested(ELEMENT, &verdict(DROP));
        // NFTA_RULE_TABLE, _CHAIN, _EXPRESSIONS
        let attributes = self.named().text(2, hook.chain()).nested(4, &expressions);
        Request::new(NEW_RULE, CREATE | APPEND, &nfgenmsg(INET, 0), &attributes)
    }

    /// Deletes every rule of the chain of `hook`.
    pub(super) fn flush(&self, hook: Hook) -> Request {
        let attributes = self.named().text(2, hook.chain());
        Request::new(DELETE_RULE, 0, &nfgenmsg(INET, 0), &attributes)
    }

    fn named(&self) -> Attributes {
        Attributes::default().text(1, &self.name)
    }
}

/// What must hold of a packet, all of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions(Attributes);

impl Conditions {
    fn and(self, attributes: &Attributes) -> Self {
        Self(self.0.nested(ELEMENT, attributes))
    }

    /// `iifname NAME`
    pub(super) fn on_interface(self, name: &[u8; libc::IF_NAMESIZE]) -> Self {
        self.and(&meta(IIFNAME)).and(&cmp(EQUAL, name))
    }

    /// `iifname != "lo"`
    pub(super) fn not_on_loopback(self) -> Self {
        let mut name = [0; libc::IF_NAMESIZE];
        name[..2].copy_from_slice(b"lo");
        self.and(&meta(IIFNAME)).and(&cmp(UNEQUAL, &name))
    }

    /// `meta random < share`, which holds for this share of packets; nothing when all are meant. The random number's byte
    /// order does not matter, so it is compared as it comes; unlike `numgen` it needs no module.
    pub(super) fn random(self, loss: LossPercent) -> Self {
        match share(loss) {
            Some(share) => self.and(&meta(RANDOM)).and(&cmp(LESS, &share.to_be_bytes())),
            None => self,
        }
    }

    /// `meta nfproto @lease`: until the set's elements time out.
    pub(super) fn within_lease(self) -> Self {
        // NFTA_LOOKUP_SET, _SREG, _SET_ID
        let lookup = Attributes::default().text(1, LEASE).be32(2, REGISTER).be32(4, 1);
        self.and(&meta(FAMILY)).and(&expression("lookup", &lookup))
    }

    /// `ip saddr ADDRESS` for what comes in, `ip daddr ADDRESS` for what goes out; `ip6` alike.
    pub(super) fn with_peer(self, hook: Hook, address: IpAddr) -> Self {
        let incoming = hook == Hook::In;
        match address {
            IpAddr::V4(v4) => self
                .and(&meta(FAMILY))
                .and(&cmp(EQUAL, &[IPV4]))
                .and(&payload(NETWORK_HEADER, if incoming { 12 } else { 16 }, 4))
                .and(&cmp(EQUAL, &v4.octets())),
            IpAddr::V6(v6) => self
                .and(&meta(FAMILY))
                .and(&cmp(EQUAL, &[IPV6]))
                .and(&payload(NETWORK_HEADER, if incoming { 8 } else { 24 }, 16))
                .and(&cmp(EQUAL, &v6.octets())),
        }
    }

    /// `meta l4proto PROTOCOL th dport PORT`
    pub(super) fn at_port(self, protocol: u8, port: u16) -> Self {
        self.and(&meta(L4PROTO))
            .and(&cmp(EQUAL, &[protocol]))
            .and(&payload(TRANSPORT_HEADER, 2, 2))
            .and(&cmp(EQUAL, &port.to_be_bytes()))
    }
}

/// `NFTA_LIST_ELEM`
const ELEMENT: u16 = 1;

/// `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`
fn expression(name: &str, data: &Attributes) -> Attributes {
    Attributes::default().text(1, name).nested(2, data)
}

/// Loads `key` into the register: `NFTA_META_DREG`, `NFTA_META_KEY`.
fn meta(key: u32) -> Attributes {
    expression("meta", &Attributes::default().be32(1, REGISTER).be32(2, key))
}

/// Compares the register, byte by byte: `NFTA_CMP_SREG`, `_OP`, `_DATA` holding `NFTA_DATA_VALUE`.
fn cmp(operation: u32, with: &[u8]) -> Attributes {
    let data = Attributes::default().bytes(1, with);
    expression("cmp", &Attributes::default().be32(1, REGISTER).be32(2, operation).nested(3, &data))
}

/// Loads `length` bytes of a header into the register: `NFTA_PAYLOAD_DREG`, `_BASE`, `_OFFSET`, `_LEN`.
fn payload(base: u32, offset: u32, length: u32) -> Attributes {
    let what = Attributes::default().be32(1, REGISTER).be32(2, base).be32(3, offset).be32(4, length);
    expression("payload", &what)
}

/// `NFTA_IMMEDIATE_DREG`, `_DATA` holding `NFTA_DATA_VERDICT`, holding `NFTA_VERDICT_CODE`.
fn verdict(code: u32) -> Attributes {
    let data = Attributes::default().nested(2, &Attributes::default().be32(1, code));
    expression("immediate", &Attributes::default().be32(1, VERDICT).nested(2, &data))
}

/// `struct nfgenmsg { family, version, resource }`
fn nfgenmsg(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// Begins a batch. Without [`batch`]'s end it is checked by the kernel and taken back.
pub(super) fn begin() -> Request {
    Request::mark(BATCH_BEGIN, &nfgenmsg(0, NFTABLES))
}

/// All of `changes`, or none.
pub(super) fn batch(mut changes: Vec<Request>) -> Vec<Request> {
    changes.insert(0, begin());
    changes.push(Request::mark(BATCH_END, &nfgenmsg(0, NFTABLES)));
    changes
}

/// Random numbers below this, of 2^32, are losses; `None` when all are.
pub(super) fn share(loss: LossPercent) -> Option<u32> {
    let scaled = (loss.percent() / 100.0 * 4_294_967_296.0).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^32")]
    let scaled = scaled as u64;
    u32::try_from(scaled).ok()
}

/// What the kernel is built with to have it.
const FEATURE: &str = "nftables (CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET)";

/// What the kernel's errno means here.
pub(super) fn refused(error: io::Error) -> InjectError {
    match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::ENOENT) => {
            InjectError::NoFeature(FEATURE)
        }
        _ => InjectError::of("nftables", error),
    }
}
