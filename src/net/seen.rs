//! What of the last minute may explain why probes of a container are lost, pure.

use std::collections::{BTreeMap, VecDeque};

use crate::bus::WhyNetwork;
use crate::model::{ContainerName, Drops, Interval, MeasureWay, Peer};

/// How far back it goes, milliseconds.
const MINUTE_MS: u64 = 60_000;
/// The most drops and sentences that are told.
const MOST: usize = 20;

/// The last intervals.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    intervals: VecDeque<Brief>,
}

/// What is kept of an interval.
#[derive(Debug, Clone)]
struct Brief {
    lasted_ms: u64,
    measures_drops: bool,
    /// Of each container, as the sender or the receiver.
    retransmits: BTreeMap<ContainerName, u64>,
    drops: Vec<Drops>,
}

impl Seen {
    /// Adds an interval, and forgets those that are older than a minute.
    pub(crate) fn add(&mut self, interval: &Interval) {
        let mut retransmits = BTreeMap::new();
        for flow in &interval.flows {
            let Some(sent_again) = flow.tcp.and_then(|tcp| tcp.retransmits) else { continue };
            for name in [Some(&flow.container), flow.peer.container.as_ref()].into_iter().flatten() {
                *retransmits.entry(name.clone()).or_insert(0) += sent_again;
            }
        }
        let lasted_ms = u64::try_from(interval.end.since(interval.start).as_millis()).unwrap_or(u64::MAX);
        let measures_drops = interval.way == MeasureWay::Tracepoints
            && interval
                .measurements
                .iter()
                .any(|one| one.name == "drops" && one.status == crate::model::MeasurementStatus::Works);
        self.intervals.push_back(Brief {
            lasted_ms,
            measures_drops,
            retransmits,
            drops: interval.drops.clone(),
        });
        while self.intervals.len() > 1 && self.lasted_ms() > MINUTE_MS {
            self.intervals.pop_front();
        }
    }

    fn lasted_ms(&self) -> u64 {
        self.intervals.iter().map(|brief| brief.lasted_ms).sum()
    }

    /// What concerns one container; `None` where nothing of it is measured.
    pub(crate) fn of(&self, name: &ContainerName) -> Option<WhyNetwork> {
        let retransmits = self.intervals.iter().filter_map(|brief| brief.retransmits.get(name)).copied();
        let retransmits = retransmits.reduce(u64::saturating_add);
        let mut sums: Vec<Drops> = Vec::new();
        for drops in
            self.intervals.iter().flat_map(|brief| &brief.drops).filter(|drops| concerns(drops, name))
        {
            let same = |known: &&mut Drops| {
                (&known.container, &known.reason, &known.from, &known.to)
                    == (&drops.container, &drops.reason, &drops.from, &drops.to)
            };
            match sums.iter_mut().find(same) {
                Some(known) => known.packets = known.packets.saturating_add(drops.packets),
                None => sums.push(drops.clone()),
            }
        }
        if retransmits.is_none() && !self.intervals.iter().any(|brief| brief.measures_drops) {
            return None;
        }
        sums.sort_by_key(|drops| std::cmp::Reverse(drops.packets));
        sums.truncate(MOST);
        let seconds = u32::try_from(self.lasted_ms() / 1000).unwrap_or(u32::MAX);
        let notes = notes(name, &sums, retransmits, seconds);
        Some(WhyNetwork { seconds, retransmits, drops: sums, notes })
    }
}

fn concerns(drops: &Drops, name: &ContainerName) -> bool {
    let is = |peer: &Option<Peer>| peer.as_ref().is_some_and(|peer| peer.container.as_ref() == Some(name));
    drops.container.as_ref() == Some(name) || is(&drops.from) || is(&drops.to)
}

fn notes(name: &ContainerName, drops: &[Drops], retransmits: Option<u64>, seconds: u32) -> Vec<String> {
    let one = |drops: &Drops| {
        let place = match &drops.container {
            Some(container) if container == name => "in its own network".to_owned(),
            Some(container) => format!("in the network of {container}"),
            None => "in the host's network, on the way".to_owned(),
        };
        let peer = |peer: &Option<Peer>| match peer {
            Some(Peer { container: Some(container), .. }) => container.to_string(),
            Some(Peer { address: Some(address), .. }) => address.to_string(),
            _ => "an unknown sender".to_owned(),
        };
        let explained = explained(&drops.reason).map_or(String::new(), |text| format!(" ({text})"));
        format!(
            "{} from {} to {} {} dropped {place} in the last {seconds} s: {}{explained}",
            if drops.packets == 1 { "1 packet".to_owned() } else { format!("{} packets", drops.packets) },
            peer(&drops.from),
            peer(&drops.to),
            if drops.packets == 1 { "was" } else { "were" },
            drops.reason
        )
    };
    let mut notes: Vec<String> = drops.iter().map(one).collect();
    if let Some(sent_again) = retransmits.filter(|count| *count > 0) {
        notes.truncate(MOST - 1);
        notes.push(format!("TCP to or from it sent {sent_again} segments again in the last {seconds} s"));
    }
    notes
}

/// What commonly makes the kernel drop for a reason, in plain words.
fn explained(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "NETFILTER_DROP" => "a rule of nftables or iptables there drops them",
        "TC_INGRESS" | "TC_EGRESS" | "BPF_CGROUP_EGRESS" => "a traffic-control or BPF program does it",
        "QDISC_DROP" | "FULL_RING" | "CPU_BACKLOG" => "a queue was full: more is sent than can be taken",
        "SOCKET_RCVBUFF" => "the program reads too slowly: its socket's buffer was full",
        "IP_NOROUTES" | "IP_OUTNOROUTES" | "IP_INNOROUTES" => "there is no route",
        "IP_RPFILTER" => "the reverse-path filter: they came by an interface that replies would not leave by",
        "IP_CSUM" | "TCP_CSUM" | "UDP_CSUM" | "ICMP_CSUM" | "IP_INHDR" => "they arrived damaged",
        "NEIGH_FAILED" | "NEIGH_QUEUEFULL" => "nobody answers for that address on the link",
        "DEV_READY" | "DEV_HDR" => "the interface is down",
        "PKT_TOO_BIG" => "they are larger than the link takes (MTU)",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{NetworkReport, decode};

    /// The recorded report, whose interval lasts 10 s.
    fn recorded() -> Interval {
        let bytes = include_bytes!("../../tests/fixtures/protocol/v1/network_report.json");
        let mut interval = decode::<NetworkReport>(bytes).unwrap().interval;
        for one in interval.measurements.iter_mut().filter(|one| one.name == "drops") {
            one.status = crate::model::MeasurementStatus::Works;
        }
        interval
    }

    #[test]
    fn a_firewall_in_the_containers_network_reads_so() {
        let mut seen = Seen::default();
        assert_eq!(seen.of(&"db".parse().unwrap()), None);
        (0..10).for_each(|_| seen.add(&recorded()));
        let why = seen.of(&"db".parse().unwrap()).unwrap();
        assert_eq!((why.seconds, why.retransmits, why.drops.len()), (60, Some(18), 1));
        assert_eq!(
            why.notes[0],
            "1086 packets from web.1 to db were dropped in its own network in the last 60 s: NETFILTER_DROP (a rule of \
             nftables or iptables there drops them)"
        );
        let sender = seen.of(&"web.1".parse().unwrap()).unwrap();
        assert!(sender.notes[0].contains("in the network of db"), "{:?}", sender.notes);
        let other = seen.of(&"other".parse().unwrap()).unwrap();
        assert_eq!((other.drops, other.notes, other.retransmits), (Vec::new(), Vec::new(), None));
    }

    #[test]
    fn where_nothing_is_measured_nothing_is_said() {
        let mut seen = Seen::default();
        let mut interval = recorded();
        interval.way = MeasureWay::Off;
        interval.flows.clear();
        interval.drops.clear();
        seen.add(&interval);
        assert_eq!(seen.of(&"db".parse().unwrap()), None);
    }
}
