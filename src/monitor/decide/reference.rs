//! Addresses of the host's own that tell whether a loss is the host's fault: loopback, and the gateway of each network.
//!
//! They cross the host's network stack and firewall like any probe, but no container. One that loses packets too
//! acquits the containers behind it. Only one that has once answered every probe says anything: some hosts drop ICMP
//! to themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::model::{ContainerFacts, LossPercent, Threshold};
use crate::monitor::ping::ProbeOutcome;

/// The host's own address in no network.
pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// One lost probe is none of a container's either, but no proof.
const LEAST_LOST: u32 = 2;

/// An address of the host's own that loses packets.
#[derive(Debug, Clone, PartialEq)]
pub struct HostFault {
    /// Which.
    pub address: IpAddr,
    /// Of which network it is the gateway; `None`: loopback.
    pub network: Option<String>,
    /// How much it loses.
    pub loss: LossPercent,
}

impl fmt::Display for HostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, network, loss } = self;
        match network {
            Some(network) => write!(
                f,
                "the host's own bridge gateway {address} loses {loss}: the host or its network {network} is to blame, \
                 not the container"
            ),
            None => {
                write!(
                    f,
                    "the host's own loopback {address} loses {loss}: the host is to blame, not the container"
                )
            }
        }
    }
}

/// How the host's own addresses answer.
#[derive(Debug, Clone, Default)]
pub(super) struct References {
    /// Those that have answered as they should.
    proven: BTreeSet<IpAddr>,
    /// Those of them that lose packets now.
    lossy: BTreeMap<IpAddr, LossPercent>,
}

impl References {
    /// Takes in how they answered last, all that are asked. More than half of the containers' `threshold` is too much:
    /// a host loses none on the way to itself.
    pub(super) fn hear(&mut self, outcomes: &[ProbeOutcome], threshold: Threshold) {
        let asked: BTreeSet<IpAddr> = outcomes.iter().map(|outcome| outcome.address).collect();
        self.proven.retain(|address| asked.contains(address));
        self.lossy.retain(|address, _| asked.contains(address));
        for outcome in outcomes {
            let missing = outcome.sent.saturating_sub(outcome.received);
            // Without a probe that counts, it stays as it was.
            let Some(loss) = LossPercent::of(missing, outcome.sent) else { continue };
            if missing == 0 {
                self.proven.insert(outcome.address);
            }
            let too_much = missing >= LEAST_LOST && loss.percent() * 2.0 > threshold.percent();
            if too_much && self.proven.contains(&outcome.address) {
                self.lossy.insert(outcome.address, loss);
            } else {
                self.lossy.remove(&outcome.address);
            }
        }
    }

    /// The fault that acquits `facts` of loss in `network`.
    pub(super) fn fault(&self, facts: &ContainerFacts, network: &str) -> Option<HostFault> {
        if let Some(loss) = self.lossy.get(&LOOPBACK) {
            return Some(HostFault { address: LOOPBACK, network: None, loss: *loss });
        }
        let mut gateways =
            facts.networks.iter().filter(|net| net.network == network).flat_map(|net| &net.gateways);
        gateways
            .find_map(|address| Some((*address, *self.lossy.get(address)?)))
            .map(|(address, loss)| HostFault { address, network: Some(network.to_owned()), loss })
    }

    /// Whether this address loses packets.
    pub(super) fn is_lossy(&self, address: IpAddr) -> bool {
        self.lossy.contains_key(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(references: &mut References, sent: u32, received: u32) -> bool {
        let outcome = ProbeOutcome { address: LOOPBACK, sent, received, void: 5 - sent, rtts: Vec::new() };
        references.hear(&[outcome], Threshold::default());
        references.is_lossy(LOOPBACK)
    }

    #[test]
    fn only_what_once_answered_every_probe_can_be_at_fault() {
        let mut references = References::default();
        assert!(!heard(&mut references, 5, 0), "it may drop them all");
        assert!(!heard(&mut references, 5, 5));
        assert!(!heard(&mut references, 5, 4), "one of five");
        assert!(heard(&mut references, 5, 3), "40 % is more than half of 50");
        assert!(heard(&mut references, 0, 0), "none counted: nothing new");
        assert!(!heard(&mut references, 5, 5));
        references.hear(&[], Threshold::default());
        assert!(!heard(&mut references, 5, 0), "it was not asked for, and has to prove itself anew");
    }
}
