//! What all hosts said of the same seconds, as one: pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::node::Node;
use super::pair::{FlowFigures, Pair, Reasons, add_hop};
use super::resolve::{Addresses, Proven, Resolver, complete, traced};
use crate::model::{
    ContainerKey, ContainerName, Drops, Flow, Hop, HostName, Interval, LatencyHistogram, Peer, PeerKind,
    Stamps, Traffic, clean, one_way,
};

/// External addresses that are told apart of one container in one interval: those with the most bytes.
const MAX_EXTERNAL: usize = 32;

/// The most pairs of one interval; those with the fewest bytes are left out.
pub(crate) const MAX_PAIRS: usize = 50_000;

/// The longest word for why a packet was dropped.
const LONGEST_REASON: usize = 64;

/// From whom, and to whom.
pub(crate) type Ends = (Node, Node);

/// What happened on some hosts within the same seconds, or the sum of such.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Traffics {
    pub(crate) pairs: BTreeMap<Ends, Pair>,
    pub(crate) nodes: BTreeMap<Node, NodeFigures>,
    /// How long each host was looked at, milliseconds.
    pub(crate) covered: BTreeMap<HostName, u64>,
    /// Pairs for which there was no room.
    pub(crate) left_out: u64,
}

/// What is known of a node and of no pair.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NodeFigures {
    /// Packets dropped there, whose other end is not known.
    pub(crate) drops: Reasons,
    /// How long packets took on the way out of the host.
    pub(crate) hops: Vec<(Hop, LatencyHistogram)>,
}

impl Traffics {
    pub(crate) fn add(&mut self, other: &Self) {
        for (ends, pair) in &other.pairs {
            match self.pairs.get_mut(ends) {
                Some(sum) => sum.add(pair),
                None => drop(self.pairs.insert(ends.clone(), pair.clone())),
            }
        }
        for (node, more) in &other.nodes {
            let sum = self.nodes.entry(node.clone()).or_default();
            sum.drops.add(&more.drops);
            more.hops.iter().for_each(|(hop, histogram)| add_hop(&mut sum.hops, *hop, histogram));
        }
        for (host, millis) in &other.covered {
            *self.covered.entry(host.clone()).or_default() += millis;
        }
        self.left_out = self.left_out.saturating_add(other.left_out);
    }
}

/// Projects what hosts said of the same seconds. `agree` are hosts whose clocks are right, so that they mean the same seconds.
pub(crate) fn project(
    intervals: &BTreeMap<HostName, Interval>,
    addresses: &Addresses,
    agree: &BTreeSet<HostName>,
    proven: &mut Proven,
) -> Traffics {
    proven.next();
    let resolver = Resolver::new(addresses, intervals);
    let mut projection = Projection { intervals, resolver, proven, out: Traffics::default() };
    for (host, interval) in intervals {
        let length = interval.end.since(interval.start).as_millis();
        projection.out.covered.insert(host.clone(), u64::try_from(length).unwrap_or(u64::MAX));
        projection.flows(host, interval);
    }
    projection.pair_counts(agree);
    for (host, interval) in intervals {
        projection.latency(host, interval);
        projection.drops(host, interval);
    }
    projection.stamps();
    let mut out = projection.out;
    bound(&mut out);
    out
}

struct Projection<'a> {
    intervals: &'a BTreeMap<HostName, Interval>,
    resolver: Resolver<'a>,
    proven: &'a mut Proven,
    out: Traffics,
}

fn key(host: &HostName, name: &ContainerName) -> ContainerKey {
    ContainerKey { host: host.clone(), name: name.clone() }
}

impl Projection<'_> {
    fn pair(&mut self, from: &Node, to: &Node) -> &mut Pair {
        self.out.pairs.entry((from.clone(), to.clone())).or_default()
    }

    fn flows(&mut self, host: &HostName, interval: &Interval) {
        let mut outside: HashMap<Node, Vec<(&Flow, Node)>> = HashMap::new();
        for flow in &interval.flows {
            let own = key(host, &flow.container);
            let peer = self.resolver.peer(&own, &flow.peer, self.proven);
            let own = Node::Container(own);
            if matches!(peer, Node::External(Some(_))) {
                outside.entry(own).or_default().push((flow, peer));
            } else {
                self.flow(&own, &peer, flow);
            }
        }
        for (own, mut flows) in outside {
            flows.sort_by_key(|(flow, peer)| {
                (std::cmp::Reverse(flow.sent.bytes.saturating_add(flow.received.bytes)), peer.clone())
            });
            let mut told = HashSet::new();
            for (flow, peer) in flows {
                let apart = told.contains(&peer) || told.len() < MAX_EXTERNAL && told.insert(peer.clone());
                self.flow(&own, if apart { &peer } else { &Node::OUTSIDE }, flow);
            }
        }
    }

    fn flow(&mut self, own: &Node, peer: &Node, flow: &Flow) {
        let counted = |sum: &mut Option<Traffic>, more: &Traffic| match sum {
            Some(sum) => sum.add(more),
            None => *sum = Some(*more),
        };
        let out = self.pair(own, peer).flow(flow.protocol);
        counted(&mut out.sent, &flow.sent);
        if let Some(tcp) = flow.tcp {
            let more = FlowFigures {
                retransmits: tcp.retransmits,
                connections: tcp.connections,
                rtt: tcp.rtt.unwrap_or_default(),
                ..FlowFigures::default()
            };
            out.add(&more);
        }
        counted(&mut self.pair(peer, own).flow(flow.protocol).received, &flow.received);
    }

    /// Compares what one end sent with what the other received. An end that counts, and has nothing of the other, counted 0.
    fn pair_counts(&mut self, agree: &BTreeSet<HostName>) {
        let whole = complete(self.intervals);
        let traced: HashSet<ContainerKey> =
            self.intervals.iter().flat_map(|(host, interval)| traced(host, interval)).collect();
        let comparable = |a: &ContainerKey, b: &ContainerKey| {
            whole.contains(&a.host)
                && whole.contains(&b.host)
                && (a.host == b.host || agree.contains(&a.host) && agree.contains(&b.host))
        };
        for ((from, to), pair) in &mut self.out.pairs {
            let (Node::Container(from), Node::Container(to)) = (from, to) else { continue };
            if !comparable(from, to) {
                continue;
            }
            for (_, flow) in &mut pair.flows {
                if flow.received.is_none() && traced.contains(to) && !self.resolver.speaks(to, from) {
                    flow.received = Some(Traffic::ZERO);
                }
                if flow.sent.is_none() && traced.contains(from) && !self.resolver.speaks(from, to) {
                    flow.sent = Some(Traffic::ZERO);
                }
                flow.pair();
            }
        }
    }

    fn latency(&mut self, host: &HostName, interval: &Interval) {
        for row in &interval.latency {
            let from = Node::Container(key(host, &row.from));
            match (&row.to, row.hop) {
                (Some(to), Hop::EndToEnd) => {
                    let to = Node::Container(key(host, to));
                    self.pair(&from, &to).latency.get_or_insert_default().add(&row.histogram);
                }
                (Some(to), hop) => {
                    let to = Node::Container(key(host, to));
                    add_hop(&mut self.pair(&from, &to).hops, hop, &row.histogram);
                }
                (None, hop) => {
                    add_hop(&mut self.out.nodes.entry(from).or_default().hops, hop, &row.histogram);
                }
            }
        }
    }

    fn drops(&mut self, host: &HostName, interval: &Interval) {
        if super::measures(interval, "drops") {
            let here = |node: &Node| matches!(node, Node::Container(key) if key.host == *host);
            for ((from, to), pair) in &mut self.out.pairs {
                if here(from) || here(to) {
                    pair.drops.get_or_insert_default();
                }
            }
        }
        let mut words: HashMap<String, Arc<str>> = HashMap::new();
        for row in &interval.drops {
            let word = clean(&row.reason, LONGEST_REASON);
            let word = words.entry(word).or_insert_with_key(|word| Arc::from(word.as_str())).clone();
            match self.ends(host, row) {
                (Some(from), Some(to)) if from != to => {
                    self.pair(&from, &to).drops.get_or_insert_default().note(&word, row.packets);
                }
                (from, to) => {
                    let at = row.container.as_ref().map(|name| Node::Container(key(host, name)));
                    let at = at.or(to).or(from).unwrap_or_else(|| Node::Host(host.clone()));
                    self.out.nodes.entry(at).or_default().drops.note(&word, row.packets);
                }
            }
        }
    }

    /// From whom dropped packets were and for whom, as far as that is known: in a container's network they were its own, or
    /// for it.
    fn ends(&mut self, host: &HostName, row: &Drops) -> (Option<Node>, Option<Node>) {
        let container = row.container.as_ref().map(|name| key(host, name));
        let other =
            |peer: Option<&Peer>| peer.and_then(|peer| peer.container.as_ref()).map(|name| key(host, name));
        let (from_key, to_key) = (other(row.from.as_ref()), other(row.to.as_ref()));
        let mut node = |peer: Option<&Peer>, seen_by: Option<&ContainerKey>| {
            let peer = peer?;
            match (peer.kind, seen_by) {
                (PeerKind::Address, None) => Some(Node::External(peer.address)),
                (_, Some(by)) => Some(self.resolver.peer(by, peer, self.proven)),
                (_, None) => {
                    let by = ContainerKey { host: host.clone(), name: peer.container.clone()? };
                    Some(self.resolver.peer(&by, peer, self.proven))
                }
            }
        };
        let from = node(row.from.as_ref(), container.as_ref().or(to_key.as_ref()));
        let to = node(row.to.as_ref(), container.as_ref().or(from_key.as_ref()));
        let own = container.map(Node::Container);
        match (from, to) {
            (None, Some(to)) if own.as_ref() != Some(&to) => (own, Some(to)),
            (Some(from), None) if own.as_ref() != Some(&from) => (Some(from), own),
            ends => ends,
        }
    }

    /// One-way latency, where both hosts name the same clock.
    fn stamps(&mut self) {
        let mut arrived: HashMap<(Node, Node), Vec<(&HostName, &Stamps)>> = HashMap::new();
        let mut sent = Vec::new();
        let intervals = self.intervals;
        for (host, interval) in intervals.iter().filter(|(_, interval)| interval.clock.is_some()) {
            for stamps in &interval.stamps {
                let own = key(host, &stamps.container);
                let peer = self.resolver.peer(&own, &stamps.peer, self.proven);
                let own = Node::Container(own);
                if stamps.sent {
                    sent.push(((own, peer), host, stamps));
                } else {
                    arrived.entry((peer, own)).or_default().push((host, stamps));
                }
            }
        }
        for (ends, from, stamps) in sent {
            let of = |host: &HostName| intervals.get(host).and_then(|interval| interval.clock.as_deref());
            let same = arrived
                .get(&ends)
                .into_iter()
                .flatten()
                .find(|(to, other)| other.epoch == stamps.epoch && *to != from && of(to) == of(from));
            let Some((packets, mean_us)) =
                same.and_then(|(_, other)| one_way(&stamps.buckets, &other.buckets))
            else {
                continue;
            };
            let one_way = &mut self.pair(&ends.0, &ends.1).one_way;
            one_way.packets = one_way.packets.saturating_add(packets);
            one_way.sum_us += mean_us * packets as f64;
        }
    }
}

/// Keeps the [`MAX_PAIRS`] with the most bytes.
pub(crate) fn bound(out: &mut Traffics) {
    let Some(beyond) = out.pairs.len().checked_sub(MAX_PAIRS).filter(|beyond| *beyond > 0) else { return };
    let weight = |pair: &Pair| pair.total().traffic().map_or(0, |traffic| traffic.bytes);
    let mut weights: Vec<(u64, Ends)> =
        out.pairs.iter().map(|(ends, pair)| (weight(pair), ends.clone())).collect();
    weights.select_nth_unstable(beyond);
    for (_, ends) in weights.into_iter().take(beyond) {
        out.pairs.remove(&ends);
    }
    out.left_out = out.left_out.saturating_add(beyond as u64);
}
