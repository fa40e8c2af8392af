//! Packet loss by nftables: a table of our own whose one chain drops a random share of what enters an interface.
//! Layouts from `linux/netfilter/nf_tables.h`; a change is one batch, which the kernel applies whole or not at all.

use std::io;

use super::netlink::{APPEND, Attributes, CREATE, Family, Netlink, Request};
use super::{InjectError, LossInjector, interface_index};
use crate::model::LossPercent;

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
/// `NFPROTO_INET`: IPv4 and IPv6 at once.
const INET: u8 = 1;
/// `NFT_TABLE_F_OWNER` (Linux 5.12): the table is its socket's, nobody else may change it, and it ends with it.
const OWNER: u32 = 2;
/// `NF_INET_LOCAL_IN`, `NF_ACCEPT`, `NF_DROP`
const LOCAL_IN: u32 = 1;
const ACCEPT: u32 = 1;
const DROP: u32 = 0;
/// `NFT_REG_VERDICT`, `NFT_REG_1`
const VERDICT: u32 = 0;
const REGISTER: u32 = 1;
/// `NFT_META_IIFNAME`, `NFT_META_PRANDOM`
const IIFNAME: u32 = 6;
const RANDOM: u32 = 24;
/// `NFT_CMP_EQ`, `NFT_CMP_LT`
const EQUAL: u32 = 0;
const LESS: u32 = 2;

const CHAIN: &str = "loss";
/// What the kernel is built with to have it.
const FEATURE: &str = "nftables (CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET)";

/// Loss on what enters one interface for this machine or container, so a round trip that ends or begins here is hit
/// once. With the owner flag the kernel removes it when this is dropped or its process ends, however it ends.
pub(super) struct Nft {
    netlink: Netlink,
    target: Target,
    description: String,
    active: bool,
}

/// What the messages need to know.
#[derive(Debug, Clone)]
struct Target {
    table: String,
    interface: [u8; libc::IF_NAMESIZE],
    table_flags: u32,
}

impl Nft {
    /// Makes sure that the kernel would take our table, by a batch that is never committed.
    pub(super) fn open(interface: &str) -> Result<Self, InjectError> {
        interface_index(interface)?;
        let mut name = [0; libc::IF_NAMESIZE];
        name[..interface.len()].copy_from_slice(interface.as_bytes());
        let table = format!("dockhealth_{:08x}", rand::random::<u32>());
        let mut target = Target { table, interface: name, table_flags: OWNER };
        let mut netlink = Netlink::open(Family::Netfilter).map_err(refused)?;
        let mut answer = netlink.execute(&target.rehearsal());
        if answer.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EOPNOTSUPP)) {
            target.table_flags = 0;
            answer = netlink.execute(&target.rehearsal());
        }
        answer.map_err(refused)?;
        let owned = if target.table_flags == OWNER { "" } else { ", which a killed process leaves behind" };
        let description = format!("nftables on {interface} (table {}{owned})", target.table);
        Ok(Self { netlink, target, description, active: false })
    }
}

impl LossInjector for Nft {
    fn set(&mut self, loss: LossPercent) -> Result<(), InjectError> {
        let changes = if self.active {
            vec![self.target.flush(), self.target.rule(loss)]
        } else {
            vec![self.target.table(), self.target.chain(), self.target.rule(loss)]
        };
        self.netlink.execute(&batch(changes)).map_err(refused)?;
        self.active = true;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), InjectError> {
        if !self.active {
            return Ok(());
        }
        match self.netlink.execute(&batch(vec![self.target.delete()])) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(refused(error)),
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

impl Drop for Nft {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            tracing::warn!(%error, "packet loss was not removed");
        }
    }
}

impl Target {
    fn table(&self) -> Request {
        // NFTA_TABLE_NAME, NFTA_TABLE_FLAGS
        let attributes = Attributes::default().text(1, &self.table).be32(2, self.table_flags);
        Request::new(NEW_TABLE, CREATE, &nfgenmsg(INET, 0), &attributes)
    }

    fn delete(&self) -> Request {
        let attributes = Attributes::default().text(1, &self.table);
        Request::new(DELETE_TABLE, 0, &nfgenmsg(INET, 0), &attributes)
    }

    /// `type filter hook input priority 0; policy accept;`
    fn chain(&self) -> Request {
        // NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY
        let hook = Attributes::default().be32(1, LOCAL_IN).be32(2, 0);
        // NFTA_CHAIN_TABLE, _NAME, _HOOK, _POLICY, _TYPE
        let attributes = Attributes::default()
            .text(1, &self.table)
            .text(3, CHAIN)
            .nested(4, &hook)
            .be32(5, ACCEPT)
            .text(7, "filter");
        Request::new(NEW_CHAIN, CREATE, &nfgenmsg(INET, 0), &attributes)
    }

    /// `iifname "eth0" meta random < share counter drop`, without the comparison when all is dropped. The random
    /// number's byte order does not matter, so it is compared as it comes; unlike `numgen` it needs no module.
    fn rule(&self, loss: LossPercent) -> Request {
        let mut expressions = Attributes::default()
            .nested(ELEMENT, &meta(IIFNAME))
            .nested(ELEMENT, &cmp(EQUAL, &self.interface));
        if let Some(share) = share(loss) {
            expressions =
                expressions.nested(ELEMENT, &meta(RANDOM)).nested(ELEMENT, &cmp(LESS, &share.to_be_bytes()));
        }
        expressions = expressions
            .nested(ELEMENT, &expression("counter", &Attributes::default()))
            .nested(ELEMENT, &verdict(DROP));
        // NFTA_RULE_TABLE, _CHAIN, _EXPRESSIONS
        let attributes = Attributes::default().text(1, &self.table).text(2, CHAIN).nested(4, &expressions);
        Request::new(NEW_RULE, CREATE | APPEND, &nfgenmsg(INET, 0), &attributes)
    }

    /// Deletes every rule of the chain.
    fn flush(&self) -> Request {
        let attributes = Attributes::default().text(1, &self.table).text(2, CHAIN);
        Request::new(DELETE_RULE, 0, &nfgenmsg(INET, 0), &attributes)
    }

    /// All that will be needed, in a batch without an end, which the kernel checks and takes back.
    fn rehearsal(&self) -> Vec<Request> {
        let half = LossPercent::of(1, 2).expect("one of two");
        vec![begin(), self.table(), self.chain(), self.rule(half)]
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

fn begin() -> Request {
    Request::mark(BATCH_BEGIN, &nfgenmsg(0, NFTABLES))
}

fn batch(mut changes: Vec<Request>) -> Vec<Request> {
    changes.insert(0, begin());
    changes.push(Request::mark(BATCH_END, &nfgenmsg(0, NFTABLES)));
    changes
}

/// Random numbers below this, of 2^32, are losses; `None` when all are.
fn share(loss: LossPercent) -> Option<u32> {
    let scaled = (loss.percent() / 100.0 * 4_294_967_296.0).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^32")]
    let scaled = scaled as u64;
    u32::try_from(scaled).ok()
}

fn refused(error: io::Error) -> InjectError {
    match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::ENOENT) => {
            InjectError::NoFeature(FEATURE)
        }
        _ => InjectError::of("nftables", error),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::chaos::inject::tests::in_own_netns;

    fn target() -> Target {
        let mut interface = [0; libc::IF_NAMESIZE];
        interface[..4].copy_from_slice(b"eth0");
        Target { table: "dockhealth_x".into(), interface, table_flags: OWNER }
    }

    /// nft's own words for what the kernel holds, in this thread's network namespace.
    fn ruleset() -> String {
        let output = Command::new("nft").args(["list", "ruleset"]).output().expect("nft is installed");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_table_and_chain_are_what_nft_itself_sends() {
        // Recorded with `nft --debug=mnl` for the table below; only the order of attributes is ours.
        let table: &[&[u8]] = &[
            &[48, 0, 0, 0, 0, 10, 0x05, 0x04, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
            &[17, 0, 1, 0],
            b"dockhealth_x\0\0\0\0",
            &[8, 0, 2, 0, 0, 0, 0, 2],
        ];
        assert_eq!(target().table().encode(1), table.concat());
        assert_eq!(target().chain().encode(1).len(), 92);
        let quarter = LossPercent::new(25.0).unwrap();
        assert_eq!(target().rule(quarter).encode(1).len(), 296);
    }

    #[test]
    fn all_is_a_plain_drop_and_none_never_drops() {
        assert_eq!(share(LossPercent::ALL), None);
        assert_eq!(share(LossPercent::NONE), Some(0));
        assert_eq!(share(LossPercent::new(25.0).unwrap()), Some(0x4000_0000));
    }

    #[test]
    fn the_kernel_holds_what_was_set_and_nothing_after() {
        in_own_netns(|| {
            let mut nft = Nft::open("lo").unwrap();
            assert_eq!(ruleset(), "", "a rehearsal leaves nothing");
            nft.set(LossPercent::new(25.0).unwrap()).unwrap();
            let set = ruleset();
            for part in [
                &format!("table inet {} {{", nft.target.table),
                "flags owner",
                "type filter hook input priority filter; policy accept;",
                "iifname \"lo\" meta random < 1073741824 counter packets 0 bytes 0 drop",
            ] {
                assert!(set.contains(part), "no {part:?} in {set}");
            }
            nft.set(LossPercent::ALL).unwrap();
            let changed = ruleset();
            assert!(changed.contains("iifname \"lo\" counter packets 0 bytes 0 drop"), "{changed}");
            assert_eq!(changed.matches(" drop").count(), 1, "the old rule stayed: {changed}");
            nft.clear().unwrap();
            assert_eq!(ruleset(), "");
            nft.set(LossPercent::ALL).unwrap();
            drop(nft);
            assert_eq!(ruleset(), "");
        });
    }
}
