//! What two ends say of each other, and who they are.

use super::*;

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
