//! nftables: a table of our own whose rules drop packets. [`Nft`] loses a share of what enters one interface, [`Cut`] does
//! to a container what the antagonist wants.

mod cut;
mod message;

use self::message::{Conditions, Hook, OWNER, Table, batch, begin, refused};
use super::{InjectError, LossInjector, interface_index};
use crate::model::LossPercent;
use crate::netlink::{Family, Netlink, Request};

pub(super) use cut::{Cut, CutKind};

/// Loss on what enters one interface for this machine or container, so a round trip that ends or begins here is hit
/// once. With the owner flag the kernel removes it when this is dropped or its process ends, however it ends.
pub(super) struct Nft {
    netlink: Netlink,
    table: Table,
    interface: [u8; libc::IF_NAMESIZE],
    description: String,
    active: bool,
}

impl Nft {
    /// Makes sure that the kernel would take our table, by a batch that is never committed.
    pub(super) fn open(interface: &str) -> Result<Self, InjectError> {
        interface_index(interface)?;
        let mut name = [0; libc::IF_NAMESIZE];
        name[..interface.len()].copy_from_slice(interface.as_bytes());
        let half = LossPercent::of(1, 2).expect("one of two");
        let (netlink, table) = rehearse(format!("dockhealth_{:08x}", rand::random::<u32>()), |table| {
            vec![table.create(), table.chain(Hook::In, 0), rule(table, &name, half)]
        })?;
        let owned = if table.flags == OWNER { "" } else { ", which a killed process leaves behind" };
        let description = format!("nftables on {interface} (table {}{owned})", table.name);
        Ok(Self { netlink, table, interface: name, description, active: false })
    }
}

impl LossInjector for Nft {
    fn set(&mut self, loss: LossPercent) -> Result<(), InjectError> {
        let rule = rule(&self.table, &self.interface, loss);
        let changes = if self.active {
            vec![self.table.flush(Hook::In), rule]
        } else {
            vec![self.table.create(), self.table.chain(Hook::In, 0), rule]
        };
        self.netlink.execute(&batch(changes)).map_err(refused)?;
        self.active = true;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), InjectError> {
        if !self.active {
            return Ok(());
        }
        match self.netlink.execute(&batch(vec![self.table.delete()])) {
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

/// `iifname "eth0" meta random < share counter drop`, without the comparison when all is dropped.
fn rule(table: &Table, interface: &[u8; libc::IF_NAMESIZE], loss: LossPercent) -> Request {
    table.drop_rule(Hook::In, &Conditions::default().on_interface(interface).random(loss))
}

/// A socket, and a table that the kernel would make by `changes` there: it was asked by a batch that is never committed. The
/// table is its socket's own where the kernel can do that.
fn rehearse(name: String, changes: impl Fn(&Table) -> Vec<Request>) -> Result<(Netlink, Table), InjectError> {
    let mut table = Table { name, flags: OWNER };
    let mut netlink = Netlink::open(Family::Netfilter).map_err(refused)?;
    let mut ask = |table: &Table| {
        let mut rehearsal = vec![begin()];
        rehearsal.extend(changes(table));
        netlink.execute(&rehearsal)
    };
    let mut answer = ask(&table);
    if answer.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EOPNOTSUPP)) {
        table.flags = 0;
        answer = ask(&table);
    }
    answer.map_err(refused)?;
    Ok((netlink, table))
}

#[cfg(test)]
pub(super) mod tests {
    use std::process::Command;

    use super::message::share;
    use super::*;
    use crate::netlink::in_own_netns;

    /// nft's own words for what the kernel holds, in this thread's network namespace.
    pub(super) fn ruleset() -> String {
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
        let ours = Table { name: "dockhealth_x".into(), flags: OWNER };
        assert_eq!(ours.create().encode(1), table.concat());
        assert_eq!(ours.chain(Hook::In, 0).encode(1).len(), 88);
        let quarter = LossPercent::new(25.0).unwrap();
        assert_eq!(rule(&ours, b"eth0\0\0\0\0\0\0\0\0\0\0\0\0", quarter).encode(1).len(), 292);
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
                &format!("table inet {} {{", nft.table.name),
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
