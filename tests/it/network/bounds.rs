//! Tables have room for so much; what is beyond is counted all the same.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};

use super::churn::Namespace;
use super::*;

/// As many pairs as the table of IPv4 has room for: `bpf/net.bpf.c`.
const ROOM: u64 = 16_384;
const PEERS: u64 = ROOM + 600;
const IPV6: usize = 50;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Sends a datagram by IPv6 to whoever is behind `d0`.
fn to_all_nodes() -> std::io::Result<usize> {
    // SAFETY: the name ends with a zero byte.
    let interface = unsafe { libc::if_nametoindex(c"d0".as_ptr()) };
    UdpSocket::bind("[::]:0")?.send_to(b"x", SocketAddrV6::new(ALL_NODES, 9, 0, interface))
}

#[test]
fn what_finds_no_room_of_its_own_is_in_the_rest() {
    let lab = Lab::new("net-bounds");
    One::run(&lab, "like", &[]);
    let mut watch = Watch::begin(lab.prefix(), "");
    let namespace = Namespace::start(0, &watch.view.containers[0]);
    watch.view.containers.push(namespace.facts.clone());
    let one = One {
        name: namespace.facts.name.clone(),
        pid: namespace.facts.pid.unwrap(),
        address: Namespace::ADDRESS.into(),
    };
    // Whomever it sends to is behind its one interface, and not asked for.
    one.within(|| {
        for words in ["link set d0 arp off", "route add 10.128.0.0/16 dev d0"] {
            assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
        }
    });
    // It has an address of IPv6 once it knows that nobody else does.
    wait_for("it may send by IPv6", DEADLINE, || one.within(|| to_all_nodes().ok()));
    let before = watch.settle(&[&one]);
    watch.told.clear();
    one.within(|| {
        for _ in 0..IPV6 {
            to_all_nodes().unwrap();
        }
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for number in 1..=u32::try_from(PEERS).unwrap() {
            let peer = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + number);
            socket.send_to(b"x", (peer, 9)).unwrap();
        }
    });
    let after = watch.settle(&[&one]);
    assert_exact(&watch, &[&one], &[before[0]], &[after[0]]);
    let beyond: u64 = watch.told.iter().map(|interval| interval.overflow.packets_beyond).sum();
    assert!((PEERS - ROOM..PEERS).contains(&beyond), "{beyond} of {PEERS} found no room of their own");
    let flows = || watch.told.iter().flat_map(|interval| &interval.flows);
    let sent = |is: &dyn Fn(&Flow) -> bool| -> u64 {
        flows().filter(|flow| is(flow)).map(|flow| flow.sent.packets.unwrap()).sum()
    };
    assert!(sent(&|flow| flow.peer.kind == PeerKind::Rest) >= beyond);
    let ipv6 = sent(&|flow| flow.protocol == Protocol::Udp && flow.peer.address == Some(ALL_NODES.into()));
    assert_eq!(ipv6, IPV6 as u64, "IPv6 has a table of its own");
}
