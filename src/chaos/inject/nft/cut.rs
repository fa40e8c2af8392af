//! What the antagonist does to a container by nftables: loss on all its interfaces, a partition, no name servers. The
//! rules end in the kernel itself when their time is over, and, where a table can have an owner, with the process.

use std::net::IpAddr;
use std::time::Duration;

use super::message::{Conditions, Hook, OWNER, RAW, Table, batch, refused};
use super::rehearse;
use crate::chaos::inject::InjectError;
use crate::model::LossPercent;
use crate::netlink::{Family, Netlink, Request};

/// `IPPROTO_TCP`, `IPPROTO_UDP`
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Where name servers listen.
const DNS: u16 = 53;

/// Which packets are dropped.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::chaos) enum CutKind {
    /// This share of all that comes from elsewhere.
    Loss(LossPercent),
    /// All from and to these addresses.
    Partition(Vec<IpAddr>),
    /// All that is sent to name servers.
    Dns,
}

/// A table in the network namespace it was opened in. Dropping it removes the table.
pub(in crate::chaos) struct Cut {
    netlink: Netlink,
    table: Table,
    active: bool,
}

impl Cut {
    /// Makes the table `name`, whose rules hold for `span`; nothing is left when the kernel refuses any of it.
    pub(in crate::chaos) fn make(name: String, kind: &CutKind, span: Duration) -> Result<Self, InjectError> {
        let (mut netlink, table) = rehearse(name, |table| changes(table, kind, span))?;
        netlink.execute(&batch(changes(&table, kind, span))).map_err(refused)?;
        Ok(Self { netlink, table, active: true })
    }

    /// Whether the kernel removes it with its process.
    pub(in crate::chaos) fn dies_with_its_process(&self) -> bool {
        self.table.flags == OWNER
    }

    /// Removes it; one that is gone is a success.
    pub(in crate::chaos) fn remove(&mut self) -> Result<(), InjectError> {
        if self.active {
            delete(&mut self.netlink, &self.table)?;
            self.active = false;
        }
        Ok(())
    }

    /// Removes the table `name` that another process left in the calling thread's network namespace; one that is gone is
    /// a success.
    pub(in crate::chaos) fn sweep(name: String) -> Result<(), InjectError> {
        let mut netlink = Netlink::open(Family::Netfilter).map_err(refused)?;
        delete(&mut netlink, &Table { name, flags: 0 })
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "a network fault was not removed");
        }
    }
}

fn delete(netlink: &mut Netlink, table: &Table) -> Result<(), InjectError> {
    match netlink.execute(&batch(vec![table.delete()])) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(refused(error)),
        _ => Ok(()),
    }
}

fn changes(table: &Table, kind: &CutKind, span: Duration) -> Vec<Request> {
    let mut changes = vec![table.create()];
    changes.extend(table.lease(span));
    let held = || Conditions::default().within_lease();
    match kind {
        CutKind::Loss(share) => {
            changes.push(table.chain(Hook::In, RAW));
            changes.push(table.drop_rule(Hook::In, &held().not_on_loopback().random(*share)));
        }
        CutKind::Partition(peers) => {
            for hook in [Hook::In, Hook::Out] {
                changes.push(table.chain(hook, RAW));
                let rules = peers.iter().map(|peer| table.drop_rule(hook, &held().with_peer(hook, *peer)));
                changes.extend(rules);
            }
        }
        CutKind::Dns => {
            changes.push(table.chain(Hook::Out, RAW));
            let rules = [UDP, TCP].map(|protocol| table.drop_rule(Hook::Out, &held().at_port(protocol, DNS)));
            changes.extend(rules);
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::inject::nft::tests::ruleset;
    use crate::netlink::in_own_netns;

    const MINUTE: Duration = Duration::from_mins(1);

    fn has(parts: &[&str]) {
        let rules = ruleset();
        for part in parts {
            assert!(rules.contains(part), "no {part:?} in {rules}");
        }
    }

    #[test]
    fn the_kernel_holds_each_cut_as_nft_itself_would_write_it() {
        in_own_netns(|| {
            let quarter = CutKind::Loss(LossPercent::new(25.0).unwrap());
            let mut cut = Cut::make("dockhealth_t".into(), &quarter, MINUTE).unwrap();
            has(&[
                "table inet dockhealth_t {",
                "flags owner",
                "type nf_proto",
                "flags timeout",
                "type filter hook input priority raw; policy accept;",
                "meta nfproto @lease iifname != \"lo\" meta random < 1073741824 counter packets 0 bytes 0 drop",
            ]);
            cut.remove().unwrap();
            assert_eq!(ruleset(), "");
            let peers = vec!["10.1.2.3".parse().unwrap(), "fd00::7".parse().unwrap()];
            let cut = Cut::make("dockhealth_t".into(), &CutKind::Partition(peers), MINUTE).unwrap();
            has(&[
                "type filter hook output priority raw; policy accept;",
                "ip saddr 10.1.2.3 counter",
                "ip daddr 10.1.2.3 counter",
                "ip6 saddr fd00::7 counter",
                "ip6 daddr fd00::7 counter",
            ]);
            drop(cut);
            assert_eq!(ruleset(), "");
            let cut = Cut::make("dockhealth_t".into(), &CutKind::Dns, MINUTE).unwrap();
            has(&["udp dport 53 counter", "tcp dport 53 counter"]);
            assert!(cut.dies_with_its_process());
            drop(cut);
            assert_eq!(ruleset(), "");
        });
    }

    #[test]
    fn a_table_left_behind_is_swept_by_its_name_and_no_other_is() {
        in_own_netns(|| {
            let mut netlink = Netlink::open(Family::Netfilter).unwrap();
            let left = Table { name: "dockhealth_left".into(), flags: 0 };
            let other = Table { name: "somebodys".into(), flags: 0 };
            netlink.execute(&batch(vec![left.create(), other.create()])).unwrap();
            Cut::sweep("dockhealth_left".into()).unwrap();
            Cut::sweep("dockhealth_left".into()).expect("gone already");
            let rules = ruleset();
            assert!(rules.contains("somebodys") && !rules.contains("dockhealth_left"), "{rules}");
        });
    }

    #[test]
    fn its_rules_end_in_the_kernel_when_their_time_is_over() {
        in_own_netns(|| {
            let _cut = Cut::make("dockhealth_t".into(), &CutKind::Dns, Duration::from_millis(300)).unwrap();
            has(&["expires"]);
            let end = std::time::Instant::now() + Duration::from_secs(5);
            while ruleset().contains("expires") {
                assert!(std::time::Instant::now() < end, "{}", ruleset());
            }
        });
    }
}
