//! Several hosts' reports, put together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::figures::{Figures, LatencyKind, figures};
use super::node::Node;
use super::project::Traffics;
use super::state::NetworkState;
use crate::bus::{NetworkReport, PROTOCOL_VERSION};
use crate::controller::fleet::{FleetState, FleetView};
use crate::model::{
    Drops, Endpoint, EndpointKind, Flow, Hop, HostName, Interval, LatencyHistogram, MeasureWay, Measurement,
    MeasurementStatus, Mono, Now, Overflow, PairLatency, Peer, PeerKind, Protocol, RttFigures, StampBucket,
    Stamps, TcpFigures, Timestamp, Traffic,
};

/// When the first interval begins: a multiple of a minute.
const START: i64 = 1_800_000_000;

fn now(second: i64) -> Now {
    Now { mono: Mono(second * 1000), wall: Timestamp::from_millis((START + second) * 1000) }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn works(name: &str) -> Measurement {
    Measurement { name: name.into(), status: MeasurementStatus::Works, detail: "made up".into() }
}

/// The `n`th interval of ten seconds, of a host whose containers have these addresses.
fn interval(n: i64, containers: &[(&str, &str)]) -> Interval {
    let endpoint = |(name, at): &(&str, &str)| Endpoint {
        container: name.parse().unwrap(),
        kind: EndpointKind::Own,
        shares: None,
        addresses: vec![address(at)],
        traced: true,
    };
    Interval {
        start: Timestamp::from_millis((START + n * 10) * 1000),
        end: Timestamp::from_millis((START + n * 10 + 10) * 1000),
        way: MeasureWay::Tracepoints,
        measurements: vec![works("flows"), works("drops")],
        clock: None,
        endpoints: containers.iter().map(endpoint).collect(),
        flows: Vec::new(),
        latency: Vec::new(),
        drops: Vec::new(),
        stamps: Vec::new(),
        overflow: Overflow::default(),
    }
}

fn traffic(packets: u64) -> Traffic {
    Traffic { bytes: packets * 100, packets: Some(packets), segments: Some(packets) }
}

fn peer(kind: PeerKind, container: Option<&str>, at: Option<&str>) -> Peer {
    Peer { kind, container: container.map(|name| name.parse().unwrap()), address: at.map(address) }
}

fn at(text: &str) -> Peer {
    peer(PeerKind::Address, None, Some(text))
}

fn flow(container: &str, peer: Peer, sent: u64, received: u64) -> Flow {
    let (sent, received) = (traffic(sent), traffic(received));
    Flow { container: container.parse().unwrap(), peer, protocol: Protocol::Udp, sent, received, tcp: None }
}

/// A fleet of hosts that are known, each with the nonce of its number.
struct World {
    state: NetworkState,
    fleet: FleetState,
    seqs: BTreeMap<HostName, u64>,
}

impl World {
    fn new(hosts: &[(&str, &str)]) -> Self {
        let mut fleet = FleetState::default();
        for (n, (name, own)) in hosts.iter().enumerate() {
            let report = serde_json::json!({
                "v": 1, "host": name, "instance": "i", "nonce": uuid::Uuid::from_u128(n as u128), "seq": 1,
                "time": now(0).wall, "agent_version": "0.1.0", "addresses": [own], "capabilities": [], "freeze": null,
                "engine": {"status": "reachable", "id": format!("engine-{n}"), "version": null, "error": null},
                "dry_run": false, "threshold": 50.0, "desired_synced": true, "outbox": 0, "containers": [],
            });
            fleet.feed(Arc::new(serde_json::from_value(report).unwrap()), now(0)).unwrap();
        }
        Self { state: NetworkState::default(), fleet, seqs: BTreeMap::new() }
    }

    fn view(&self) -> FleetView {
        self.fleet.view()
    }

    fn report(&mut self, host: &str, interval: Interval) -> NetworkReport {
        let host: HostName = host.parse().unwrap();
        let nonce = self.view()[&host].report.as_ref().unwrap().nonce;
        let seq = self.seqs.entry(host.clone()).or_default();
        *seq += 1;
        NetworkReport { v: PROTOCOL_VERSION, host, nonce, seq: *seq, interval }
    }

    /// Hears it half a second after its end.
    fn hear(&mut self, host: &str, interval: Interval) {
        let end = interval.end.millis() / 1000 - START;
        self.hear_at(host, interval, Now { mono: Mono(end * 1000 + 500), ..now(end) });
    }

    fn hear_at(&mut self, host: &str, interval: Interval, now: Now) {
        let report = self.report(host, interval);
        let fleet = self.view();
        self.state.hear(report, &fleet, now).unwrap();
        self.state.settle(&fleet, now);
    }

    fn settle(&mut self, second: i64) {
        let fleet = self.view();
        self.state.settle(&fleet, now(second));
    }

    fn all(&self) -> Traffics {
        self.state.view().windows.sum(0, i64::MAX)
    }

    fn edge(&self, from: &str, to: &str) -> Option<Figures> {
        let (from, to): (Node, Node) = (from.parse().unwrap(), to.parse().unwrap());
        let all = self.all();
        let pair = all.pairs.get(&(from.clone(), to.clone()))?;
        Some(figures(pair, all.pairs.get(&(to, from))))
    }
}

/// Web of `a` sends to db of `b`, by addresses that both know.
fn two(n: i64, sent: u64, received: u64) -> [Interval; 2] {
    let (mut a, mut b) = (interval(n, &[("web", "10.9.0.2")]), interval(n, &[("db", "10.9.0.3")]));
    a.flows.push(flow("web", at("10.9.0.3"), sent, 1));
    if received > 0 {
        b.flows.push(flow("db", at("10.9.0.2"), 1, received));
    }
    [a, b]
}

const TWO: [(&str, &str); 2] = [("a", "192.0.2.1"), ("b", "192.0.2.2")];

#[test]
fn what_one_end_sent_is_compared_with_what_the_other_received() {
    let mut world = World::new(&TWO);
    for n in 0..6 {
        let [a, b] = two(n, 100, 80);
        world.hear("a", a);
        world.hear("b", b);
    }
    world.settle(100);
    let there = world.edge("a/web", "b/db").unwrap();
    assert_eq!((there.loss_percent, there.compared, there.packets), (Some(20.0), Some(600), Some(600)));
    assert_eq!(world.edge("b/db", "a/web").unwrap().loss_percent, Some(0.0));
    assert_eq!(world.all().pairs.len(), 2, "{:?}", world.all().pairs.keys());
}

#[test]
fn seconds_that_one_host_missed_are_no_loss() {
    let mut world = World::new(&TWO);
    for n in 0..6 {
        let [a, b] = two(n, 100, 100);
        world.hear("a", a);
        if n != 3 {
            world.hear("b", b);
        }
    }
    world.settle(100);
    let there = world.edge("a/web", "b/db").unwrap();
    assert_eq!((there.packets, there.loss_percent, there.compared), (Some(600), Some(0.0), Some(500)));
}

#[test]
fn an_agent_that_began_within_the_interval_is_not_compared() {
    let mut world = World::new(&TWO);
    let [a, mut b] = two(0, 100, 40);
    b.start = Timestamp::from_millis((START + 6) * 1000);
    world.hear("a", a);
    world.hear("b", b);
    world.settle(100);
    assert_eq!(world.all().pairs.values().filter(|pair| pair.total().both.is_some()).count(), 0);
}

#[test]
fn a_way_that_breaks_altogether_is_lossy_and_not_gone() {
    let mut world = World::new(&TWO);
    let [a, b] = two(0, 100, 100);
    world.hear("a", a);
    world.hear("b", b);
    for n in 1..3 {
        let [mut a, b] = two(n, 100, 0);
        a.flows[0].received = Traffic::ZERO;
        world.hear("a", a);
        world.hear("b", b);
    }
    world.settle(100);
    let there = world.edge("a/web", "b/db").unwrap();
    assert_eq!((there.compared, there.loss_percent.map(f64::round)), (Some(300), Some(67.0)));
}

#[test]
fn the_same_private_address_on_many_hosts_is_not_mixed_up() {
    let mut world = World::new(&[("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")]);
    // On each host somebody has 172.17.0.2, and on `a` one speaks to 172.17.0.3, which is only on others.
    let mut a = interval(0, &[("web", "172.17.0.2"), ("app", "10.9.0.2")]);
    a.flows.push(flow("web", at("172.17.0.3"), 5, 0));
    a.flows.push(flow("app", at("10.9.0.3"), 7, 0));
    let mut b = interval(0, &[("one", "172.17.0.2"), ("two", "172.17.0.3"), ("db", "10.9.0.3")]);
    b.flows.push(flow("two", peer(PeerKind::Container, Some("one"), Some("172.17.0.2")), 9, 9));
    b.flows.push(flow("one", peer(PeerKind::Container, Some("two"), Some("172.17.0.3")), 9, 9));
    b.flows.push(flow("db", at("10.9.0.2"), 0, 7));
    let c = interval(0, &[("db", "10.9.0.3")]);
    world.hear("a", a);
    world.hear("b", b);
    world.hear("c", c);
    assert!(world.edge("a/web", "b/two").is_none());
    assert_eq!(world.edge("a/web", "external:172.17.0.3").unwrap().packets, Some(5));
    assert_eq!(world.edge("b/two", "b/one").unwrap().loss_percent, Some(0.0));
    // Of two with the same address the one is meant that speaks back.
    assert_eq!(world.edge("a/app", "b/db").unwrap().loss_percent, Some(0.0));
    assert!(world.edge("a/app", "c/db").is_none());
}

#[test]
fn where_two_could_be_meant_nobody_is_named() {
    let mut world = World::new(&[("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")]);
    let mut a = interval(0, &[("web", "10.9.0.2")]);
    a.flows.push(flow("web", at("10.9.0.3"), 7, 7));
    for host in ["b", "c"] {
        let mut other = interval(0, &[("db", "10.9.0.3")]);
        other.flows.push(flow("db", at("10.9.0.2"), 7, 7));
        world.hear(host, other);
    }
    world.hear("a", a);
    assert_eq!(world.edge("a/web", "external:10.9.0.3").unwrap().loss_percent, None);
    assert_eq!(world.edge("b/db", "a/web").unwrap().loss_percent, None);
}

#[test]
fn addresses_that_are_not_private_and_those_of_hosts_need_no_answer() {
    let mut world = World::new(&TWO);
    let mut a = interval(0, &[("web", "10.9.0.2")]);
    a.flows.push(flow("web", at("2001:db8::7"), 3, 0));
    a.flows.push(flow("web", at("192.0.2.2"), 4, 4));
    a.flows.push(flow("web", at("203.0.113.9"), 5, 5));
    world.hear("a", a);
    world.hear("b", interval(0, &[("db", "2001:db8::7")]));
    assert_eq!(world.edge("a/web", "b/db").unwrap().loss_percent, Some(100.0));
    assert_eq!(world.edge("a/web", "host:b").unwrap().packets, Some(4));
    assert_eq!(world.edge("a/web", "external:203.0.113.9").unwrap().packets, Some(5));
}

#[test]
fn what_found_no_room_makes_loss_unknown() {
    let mut world = World::new(&TWO);
    let [a, mut b] = two(0, 100, 60);
    b.overflow.packets_beyond = 40;
    world.hear("a", a);
    world.hear("b", b);
    assert_eq!(world.edge("a/web", "b/db").unwrap().loss_percent, None);
}

#[test]
fn latency_is_measured_or_marked_as_half_the_round_trip_or_one_way() {
    let mut world = World::new(&TWO);
    let [mut a, mut b] = two(0, 100, 100);
    let rtt = RttFigures { samples: 4, sum_us: 4000 };
    a.flows[0].tcp = Some(TcpFigures { rtt: Some(rtt), retransmits: Some(2), connections: None });
    a.endpoints.push(interval(0, &[("app", "10.9.0.4")]).endpoints.remove(0));
    let histogram = LatencyHistogram { count: 10, sum_ns: 40_000, max_ns: 9_000, buckets: vec![(8, 10)] };
    let (from, to) = ("web".parse().unwrap(), Some("app".parse().unwrap()));
    a.latency.push(PairLatency { from, to, hop: Hop::EndToEnd, histogram });
    world.hear("a", a.clone());
    world.hear("b", b.clone());
    let there = world.edge("a/web", "b/db").unwrap();
    let latency = there.latency.unwrap();
    assert_eq!((latency.kind, latency.p50, latency.p99), (LatencyKind::HalfRtt, Some(500.0), None));
    assert_eq!((there.rtt_ms, there.retransmits), (Some(1.0), Some(2)));
    let back = world.edge("b/db", "a/web").unwrap();
    assert_eq!((back.rtt_ms, back.retransmits), (Some(1.0), None));
    let within = world.edge("a/web", "a/app").unwrap();
    assert_eq!((within.bytes, within.latency.unwrap().kind), (None, LatencyKind::Measured));

    for shared in [None, Some("rack-4".to_owned())] {
        let mut world = World::new(&TWO);
        let stamps = |name: &str, peer, sent, sum_ns| Stamps {
            container: name.parse().unwrap(),
            peer,
            sent,
            epoch: a.start,
            buckets: vec![StampBucket { bucket: 3, count: 5, sum_ns }],
        };
        (a.clock, b.clock) = (Some("rack-4".into()), shared.clone());
        a.stamps = vec![stamps("web", at("10.9.0.3"), true, 100_000)];
        b.stamps = vec![stamps("db", at("10.9.0.2"), false, 1_100_000)];
        world.hear("a", a.clone());
        world.hear("b", b.clone());
        let latency = world.edge("a/web", "b/db").unwrap().latency.unwrap();
        let expected =
            if shared.is_some() { (LatencyKind::OneWay, 200.0) } else { (LatencyKind::HalfRtt, 500.0) };
        assert_eq!((latency.kind, latency.mean), expected);
    }
}

#[test]
fn drops_are_on_the_edge_where_both_ends_are_known_and_unknown_where_nobody_looks() {
    let mut world = World::new(&TWO);
    let [mut a, mut b] = two(0, 100, 80);
    let drops = |container: Option<&str>, from, to, packets| Drops {
        container: container.map(|name| name.parse().unwrap()),
        reason: "NETFILTER_DROP".into(),
        from,
        to,
        packets,
    };
    b.drops = vec![
        drops(Some("db"), Some(at("10.9.0.2")), None, 20),
        drops(Some("db"), None, None, 3),
        drops(None, None, None, 1),
    ];
    a.measurements.pop();
    a.flows.push(flow("web", at("203.0.113.9"), 1, 1));
    world.hear("a", a);
    world.hear("b", b);
    let there = world.edge("a/web", "b/db").unwrap();
    assert_eq!((there.drops, there.loss_percent), (Some(20), Some(20.0)));
    assert_eq!(world.edge("b/db", "a/web").unwrap().drops, Some(0));
    assert_eq!(world.edge("a/web", "external:203.0.113.9").unwrap().drops, None);
    let nodes: Vec<(String, u64)> =
        world.all().nodes.iter().map(|(node, figures)| (node.to_string(), figures.drops.packets())).collect();
    assert_eq!(nodes, [("b/db".to_owned(), 3), ("host:b".to_owned(), 1)]);
}

#[test]
fn only_the_process_that_reports_speaks_for_its_host_and_once() {
    let mut world = World::new(&TWO);
    let fleet = world.view();
    let good = world.report("a", two(0, 1, 1)[0].clone());
    let refused =
        |state: &mut NetworkState, report: NetworkReport| state.hear(report, &fleet, now(10)).unwrap_err();
    let stranger = NetworkReport { nonce: uuid::Uuid::from_u128(99), ..good.clone() };
    assert!(refused(&mut world.state, stranger).contains("nonce"));
    let unknown = NetworkReport { host: "x".parse().unwrap(), ..good.clone() };
    assert!(refused(&mut world.state, unknown).contains("nonce"));
    let mut long = good.clone();
    long.interval.drops =
        vec![
            Drops { container: None, reason: String::new(), from: None, to: None, packets: 1 };
            Interval::MAX_ROWS + 1
        ];
    assert!(refused(&mut world.state, long).contains("4097 rows"));
    let mut endless = good.clone();
    endless.interval.start = Timestamp::from_millis(0);
    assert!(refused(&mut world.state, endless).contains("10 min"));
    world.state.hear(good.clone(), &fleet, now(10)).unwrap();
    assert!(refused(&mut world.state, good.clone()).contains("twice"));
    let later = NetworkReport { seq: good.seq + 3, interval: two(1, 1, 1)[0].clone(), ..good };
    world.state.hear(later, &fleet, now(20)).unwrap();
    assert_eq!(world.state.view().hosts.values().next().unwrap().missed, 2);
}

#[test]
fn a_host_whose_clock_is_off_counts_now_and_is_compared_with_nobody() {
    let mut world = World::new(&TWO);
    let [a, mut b] = two(0, 100, 80);
    for time in [&mut b.start, &mut b.end] {
        *time = Timestamp::from_millis(time.millis() - 600_000);
    }
    world.hear("a", a);
    world.hear_at("b", b, now(11));
    world.settle(20);
    let view = world.state.view();
    let near = view.windows.sum(START, START + 20);
    assert_eq!(near.covered.len(), 2, "{near:?}");
    assert!(near.pairs.values().all(|pair| pair.total().both.is_none()));
}

#[test]
fn a_new_process_of_an_agent_goes_on_where_the_old_one_ended() {
    let mut world = World::new(&TWO);
    let [a, b] = two(0, 100, 100);
    world.hear("a", a);
    world.hear("b", b);
    let name: HostName = "b".parse().unwrap();
    let mut report = (**world.view()[&name].report.as_ref().unwrap()).clone();
    report.nonce = uuid::Uuid::from_u128(77);
    world.fleet.feed(Arc::new(report), now(12)).unwrap();
    world.seqs.remove(&name);
    let [a, b] = two(1, 100, 50);
    world.hear("a", a);
    world.hear("b", b);
    assert_eq!(world.edge("a/web", "b/db").unwrap().loss_percent, Some(25.0));
    assert_eq!(world.state.view().hosts[&name].missed, 0);
}

#[test]
fn peers_outside_are_told_apart_up_to_a_bound() {
    let mut world = World::new(&TWO[..1]);
    let mut a = interval(0, &[("web", "10.9.0.2")]);
    for n in 1..=100_u8 {
        a.flows.push(flow("web", at(&format!("203.0.113.{n}")), n.into(), 0));
    }
    world.hear("a", a);
    let all = world.all();
    assert_eq!(all.pairs.len(), 2 * 33);
    let sum: u64 =
        all.pairs.values().filter_map(|pair| pair.total().sent).map(|sent| sent.packets.unwrap()).sum();
    assert_eq!(sum, 5050);
    assert_eq!(world.edge("a/web", "external").unwrap().packets, Some((1..=68).sum()));
}

#[test]
fn waiting_for_others_ends() {
    let mut world = World::new(&TWO);
    let [a, b] = two(0, 1, 1);
    let host: HostName = "a".parse().unwrap();
    let covered = |world: &World| world.all().covered.get(&host).copied();
    world.hear("a", a);
    assert_eq!(covered(&world), None, "b may speak too");
    world.hear("b", b);
    assert_eq!(covered(&world), Some(10_000));
    let [a, _] = two(1, 1, 1);
    world.hear("a", a);
    assert_eq!(covered(&world), Some(10_000), "b is waited for");
    let due = world.state.next().unwrap();
    assert_eq!(due, Mono(20_500) + Duration::from_secs(3));
    world.settle(24);
    assert_eq!((covered(&world), world.state.next()), (Some(20_000), None));
    for n in [2, 3] {
        let [a, _] = two(n, 1, 1);
        world.hear("a", a);
        assert_eq!(
            covered(&world).map(|millis| millis / 10_000),
            u64::try_from(n).ok(),
            "b is waited for again"
        );
        world.settle(n * 10 + 14);
    }
    let [a, b] = two(4, 1, 1);
    world.hear("a", a);
    assert_eq!(covered(&world), Some(50_000), "b was waited for in vain, three times");
    world.hear("b", b);
    let [a, _] = two(5, 1, 1);
    world.hear("a", a);
    assert_eq!(covered(&world), Some(50_000), "b spoke again");
}

fn any_peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        (0_u8..6).prop_map(|n| at(&format!("10.9.0.{n}"))),
        (0_u8..3).prop_map(|n| peer(
            PeerKind::Container,
            Some(&format!("c{n}")),
            Some(&format!("10.9.0.{n}"))
        )),
        Just(peer(PeerKind::Gateway, None, Some("10.9.0.254"))),
        Just(Peer::REST),
        Just(peer(PeerKind::Unknown, None, None)),
    ]
}

fn any_interval() -> impl Strategy<Value = Interval> {
    let flows = proptest::collection::vec((0_u8..3, any_peer(), 0_u64..50, 0_u64..50), 0..8);
    let drops = proptest::collection::vec((proptest::option::of(0_u8..3), any_peer(), 0_u64..9), 0..4);
    (flows, drops, 0_u8..4).prop_map(|(flows, drops, shift)| {
        let names: Vec<(String, String)> =
            (0..3).map(|n| (format!("c{n}"), format!("10.9.0.{}", n + shift))).collect();
        let borrowed: Vec<(&str, &str)> = names.iter().map(|(name, at)| (&**name, &**at)).collect();
        let mut out = interval(0, &borrowed);
        out.flows = flows
            .into_iter()
            .map(|(n, peer, sent, received)| flow(&format!("c{n}"), peer, sent, received))
            .collect();
        out.drops = drops
            .into_iter()
            .map(|(n, from, packets)| Drops {
                container: n.map(|n| format!("c{n}").parse().unwrap()),
                reason: "X".into(),
                from: Some(from),
                to: None,
                packets,
            })
            .collect();
        out
    })
}

proptest! {
    #[test]
    fn nothing_that_was_counted_is_lost_or_invented(intervals in proptest::collection::vec(any_interval(), 1..4)) {
        let hosts = [("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")];
        let mut world = World::new(&hosts);
        let (mut sent, mut dropped) = (0, 0);
        for (host, interval) in hosts.iter().zip(&intervals) {
            sent += interval.flows.iter().map(|flow| flow.sent.bytes).sum::<u64>();
            dropped += interval.drops.iter().map(|drops| drops.packets).sum::<u64>();
            world.hear(host.0, interval.clone());
        }
        world.settle(60);
        let all = world.all();
        let bytes = |traffic: Option<Traffic>| traffic.map_or(0, |traffic| traffic.bytes);
        prop_assert_eq!(all.pairs.values().map(|pair| bytes(pair.total().sent)).sum::<u64>(), sent);
        let on_edges: u64 = all.pairs.values().filter_map(|pair| pair.drops.as_ref()).map(super::Reasons::packets).sum();
        let at_nodes: u64 = all.nodes.values().map(|figures| figures.drops.packets()).sum();
        prop_assert_eq!(on_edges + at_nodes, dropped);
    }
}
