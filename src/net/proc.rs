//! Totals of each container from `/proc/PID/net`, which needs no capability: bytes, packets and retransmits, no peers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::places::Places;
use crate::metrics::{InterfaceTotals, interface_totals};
use crate::model::{ContainerName, Flow, Peer, Protocol, TcpFigures, Traffic};

/// What each container's counters were last.
#[derive(Debug, Default)]
pub(super) struct ProcTotals {
    last: BTreeMap<ContainerName, Reading>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    /// The first process then: with another one the counters began anew.
    pid: u32,
    traffic: InterfaceTotals,
    /// `RetransSegs` of its TCP; none where it cannot be read.
    sent_again: Option<u64>,
}

impl ProcTotals {
    /// What came since the last look. Of a container that was not seen before nothing is said: its counters are older than
    /// the interval.
    pub(super) fn flows(&mut self, root: &Path, places: &Places) -> Vec<Flow> {
        let read = |(name, pid): (&ContainerName, &u32)| Some((name.clone(), reading(root, *pid)?));
        let now: BTreeMap<_, _> = places.processes().iter().filter_map(read).collect();
        let traced: Vec<_> =
            places.endpoints().iter().filter(|one| one.traced).map(|one| &one.container).collect();
        let flow = |(name, now): (&ContainerName, &Reading)| {
            let before = self.last.get(name).filter(|before| before.pid == now.pid)?;
            traced.contains(&name).then(|| since(name, before, now)).flatten()
        };
        let flows = now.iter().filter_map(flow).collect();
        self.last = now;
        flows
    }
}

fn reading(root: &Path, pid: u32) -> Option<Reading> {
    let text = |name: &str| fs::read_to_string(root.join(format!("proc/{pid}/net/{name}"))).ok();
    let sent_again = text("snmp").and_then(|text| retransmits(&text));
    Some(Reading { pid, traffic: interface_totals(&text("dev")?)?, sent_again })
}

/// `RetransSegs` of an `snmp`: its TCP has a line of names and one of numbers.
fn retransmits(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split_ascii_whitespace().position(|name| name == "RetransSegs")?;
    numbers.split_ascii_whitespace().nth(at)?.parse().ok()
}

/// `None` when a counter went back: an interface came or went.
fn since(name: &ContainerName, before: &Reading, now: &Reading) -> Option<Flow> {
    let way = |bytes: fn(&InterfaceTotals) -> u64, packets: fn(&InterfaceTotals) -> u64| {
        Some(Traffic {
            bytes: bytes(&now.traffic).checked_sub(bytes(&before.traffic))?,
            packets: Some(packets(&now.traffic).checked_sub(packets(&before.traffic))?),
            segments: None,
        })
    };
    let sent_again = now.sent_again.zip(before.sent_again).and_then(|(now, before)| now.checked_sub(before));
    Some(Flow {
        container: name.clone(),
        peer: Peer::REST,
        protocol: Protocol::Other,
        sent: way(|totals| totals.sent_bytes, |totals| totals.sent_packets)?,
        received: way(|totals| totals.received_bytes, |totals| totals.received_packets)?,
        tcp: Some(TcpFigures { retransmits: sent_again, ..TcpFigures::default() }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn segments_sent_again_are_found_by_their_name() {
        let snmp = "Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm OutSegs RetransSegs InErrs\nTcp: 1 900 17 0\nUdp: a\nUdp: 1\n";
        assert_eq!(retransmits(snmp), Some(17));
        assert_eq!(retransmits("Tcp: OutSegs\nTcp: 1\n"), None);
    }

    #[test]
    fn a_counter_that_went_back_says_nothing() {
        let traffic =
            InterfaceTotals { received_bytes: 10, received_packets: 1, sent_bytes: 20, sent_packets: 2 };
        let before = Reading { pid: 1, traffic, sent_again: None };
        let more = Reading { traffic: InterfaceTotals { sent_bytes: 50, ..traffic }, ..before };
        let name = "web".parse().unwrap();
        let flow = since(&name, &before, &more).unwrap();
        assert_eq!((flow.sent.bytes, flow.received.bytes, flow.tcp.unwrap().retransmits), (30, 0, None));
        assert_eq!(since(&name, &more, &before), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = retransmits(&text);
        }
    }
}
