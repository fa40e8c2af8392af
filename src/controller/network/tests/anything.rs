//! Whatever agents say, within the bounds.

use proptest::prelude::*;

use super::*;

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
        let on_edges: u64 = all.pairs.values().filter_map(|pair| pair.drops.as_ref()).map(crate::controller::network::Reasons::packets).sum();
        let at_nodes: u64 = all.nodes.values().map(|figures| figures.drops.packets()).sum();
        prop_assert_eq!(on_edges + at_nodes, dropped);
    }
}
