//! The ways of measuring, and what rules change while they are in force.

use super::*;

#[test]
fn classifiers_count_the_same_and_what_a_killed_one_left_is_swept() {
    let lab = Lab::new("net-tc");
    let (a, b) = (One::run(&lab, "a", &[]), One::run(&lab, "b", &[]));
    let left = Watch::begin_as(lab.prefix(), "", NetworkWish::Classifiers);
    assert_eq!(left.told[0].way, MeasureWay::Classifiers, "{:?}", left.told[0].measurements);
    assert_eq!(filters(&a), 2);
    // As kill -9 does: nothing is detached.
    std::mem::forget(left);
    let mut watch = Watch::begin_as(lab.prefix(), "", NetworkWish::Classifiers);
    assert_eq!((filters(&a), filters(&b)), (2, 2), "what was left is gone, and ours is there once");
    let before = watch.settle(&[&a, &b]);
    watch.told.clear();
    exchange(&a, &b, 1 << 20);
    datagrams(&b, &a, 500);
    let after = watch.settle(&[&a, &b]);
    assert_exact(&watch, &[&a, &b], &before, &after);
    assert_eq!(watch.between(&b, &a).0, 500, "the peer is known too");
    watch.follow("[trace]\nexclude = [\"*-a\"]\n");
    assert_eq!((filters(&a), filters(&b)), (0, 2), "only who is traced");
    drop(watch);
    assert_eq!(filters(&b), 0);
}

/// How many filters of ours are on the host's end of a container's interface, in tc's own words.
fn filters(one: &One) -> usize {
    let interface = host_end(one);
    let shown = ["ingress", "egress"].map(|way| {
        let output = Command::new("tc").args(["filter", "show", "dev", &interface, way]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    });
    shown.concat().matches("dockhealth_net direct-action").count()
}

#[test]
fn proc_has_the_totals_alone() {
    let lab = Lab::new("net-proc");
    let (a, b) = (One::run(&lab, "a", &[]), One::run(&lab, "b", &[]));
    let mut watch = Watch::begin_as(lab.prefix(), "", NetworkWish::Proc);
    let before = watch.settle(&[&a, &b]);
    watch.told.clear();
    exchange(&a, &b, 1 << 20);
    let after = watch.settle(&[&a, &b]);
    assert_exact(&watch, &[&a, &b], &before, &after);
    let told = watch.told.last().unwrap();
    assert!(told.flows.iter().all(|flow| flow.peer.kind == PeerKind::Rest));
    let missing = told.measurements.iter().filter(|one| one.status == MeasurementStatus::Missing).count();
    assert!(missing >= 6, "{:?}", told.measurements);
}

#[test]
fn rules_are_followed_at_once() {
    let lab = Lab::new("net-rules");
    let (a, b) = (One::run(&lab, "a", &[]), One::run(&lab, "b", &[]));
    let mut watch = Watch::begin(lab.prefix(), "");
    let mut sent = |rules: &str| {
        watch.follow(rules);
        watch.settle(&[&a, &b]);
        watch.told.clear();
        datagrams(&a, &b, 300);
        exchange(&a, &b, 10_000);
        watch.settle(&[&a, &b]);
        let (sent, received, _) = watch.between(&a, &b);
        let timed: u64 = watch.told.iter().flat_map(|one| &one.latency).map(|row| row.histogram.count).sum();
        (sent, received, timed > 0)
    };
    assert_eq!(sent("[sampling]\nlatency = 1"), (300, 300, true));
    assert_eq!(sent("[trace]\ncontainers = [\"*-a\"]"), (300, 0, false), "only a is traced");
    assert_eq!(sent("[trace]\nports = [9]"), (0, 0, false), "nothing goes to port 9");
    assert_eq!(sent("[measure]\nlatency = false"), (300, 300, false));
    assert_eq!(sent("[measure]\nflows = false\nlatency = false"), (0, 0, false));
    assert_eq!(sent("[sampling]\nlatency = 1"), (300, 300, true));
    let off = |watch: &Watch, name: &str| {
        let all = &watch.told.last().unwrap().measurements;
        all.iter().any(|one| one.name == name && one.status == MeasurementStatus::Off)
    };
    watch.follow("[measure]\ndrops = false");
    watch.roll();
    assert!(off(&watch, "drops") && off(&watch, "hops") && !off(&watch, "rtt"));
}

#[test]
fn the_parts_of_the_way_add_up_to_the_whole() {
    let lab = Lab::new("net-hops");
    let (a, b) = (One::run(&lab, "a", &[]), One::run(&lab, "b", &[]));
    let mut watch = Watch::begin(
        lab.prefix(),
        "[measure]\nhops = [\"container\", \"bridge\", \"veth\"]\n[sampling]\nlatency = 1",
    );
    watch.settle(&[&a, &b]);
    watch.told.clear();
    datagrams(&a, &b, 400);
    watch.settle(&[&a, &b]);
    let of = |hop: Hop| {
        let rows = watch.told.iter().flat_map(|interval| &interval.latency);
        let rows =
            rows.filter(|row| row.hop == hop && row.from == a.name && row.to.as_ref() == Some(&b.name));
        rows.fold((0, 0), |sum, row| (sum.0 + row.histogram.count, sum.1 + row.histogram.sum_ns))
    };
    let whole = of(Hop::EndToEnd);
    let parts = [Hop::Container, Hop::Bridge, Hop::Veth].map(of);
    assert!(whole.0 >= 400, "{whole:?}");
    assert!(parts.iter().all(|part| part.0 == whole.0), "{parts:?} of {whole:?}");
    assert_eq!(parts.iter().map(|part| part.1).sum::<u64>(), whole.1);
}

/// Whatever tells the packets of a flow apart, one in so many of them is timed: here the IP id alone.
#[test]
fn of_packets_that_are_alike_one_in_so_many_is_timed() {
    const FLOWS: u64 = 8;
    const OF_EACH: u64 = 2000;
    const ONE_IN: u64 = 16;
    let lab = Lab::new("net-sampled");
    let (a, b) = (One::run(&lab, "a", &[]), One::run(&lab, "b", &[]));
    let mut watch = Watch::begin(lab.prefix(), &format!("[sampling]\nlatency = {ONE_IN}"));
    watch.settle(&[&a, &b]);
    watch.told.clear();
    for _ in 0..FLOWS {
        let receiver = b.within(|| UdpSocket::bind((b.address, 0)).unwrap());
        let sender = a.within(|| UdpSocket::bind((a.address, 0)).unwrap());
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        for _ in 0..OF_EACH {
            sender.send(b"still alive").unwrap();
            receiver.recv(&mut [0; 16]).unwrap();
        }
    }
    watch.settle(&[&a, &b]);
    let rows = watch.told.iter().flat_map(|interval| &interval.latency);
    let rows = rows.filter(|row| row.hop == Hop::EndToEnd && row.from == a.name);
    let timed: u64 = rows.map(|row| row.histogram.count).sum();
    let expected = FLOWS * OF_EACH / ONE_IN;
    assert!((expected / 2..=expected * 2).contains(&timed), "{timed} timed, {expected} expected");
}

#[test]
fn the_way_to_an_overlay_is_timed() {
    let lab = Lab::new("net-vxlan");
    let network = lab.network("net", &[]);
    let a = One::run(&lab, "a", &["--network", &network]);
    let bridge =
        format!("br-{}", &lab.docker(&["network", "inspect", "--format", "{{.Id}}", &network])[..12]);
    let tunnel = format!("dht{:08x}", rand::random::<u32>());
    let ip = |words: &str| {
        let done = Command::new("ip").args(words.split(' ')).output().unwrap();
        assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
    };
    ip(&format!("link add {tunnel} type vxlan id 77 remote 127.0.0.2 dstport 14789 dev lo"));
    ip(&format!("link set {tunnel} master {bridge} up"));
    let mut watch = Watch::begin(lab.prefix(), "[measure]\nhops = [\"overlay\"]\n[sampling]\nlatency = 1");
    // Nobody has that address here, so it goes out by every port of the bridge, the tunnel among them.
    let IpAddr::V4(own) = a.address else { panic!("{}", a.address) };
    let [x, y, z, _] = own.octets();
    let away = std::net::Ipv4Addr::new(x, y, z, 200);
    a.within(|| ip(&format!("neigh add {away} lladdr 02:00:00:00:00:c8 dev eth0")));
    let sender = a.within(|| UdpSocket::bind((a.address, 0)).unwrap());
    for number in 0_u32..50 {
        sender.send_to(&number.to_be_bytes(), (away, 9)).unwrap();
    }
    watch.settle(&[&a]);
    ip(&format!("link delete {tunnel}"));
    let rows = watch.told.iter().flat_map(|interval| &interval.latency);
    let timed: u64 = rows
        .filter(|row| row.hop == Hop::Overlay && row.from == a.name && row.to.is_none())
        .map(|row| row.histogram.count)
        .sum();
    assert!(timed >= 50, "{timed}");
}

#[test]
fn a_container_on_the_hosts_network_is_known_by_its_cgroup() {
    let lab = Lab::new("net-host");
    let web = lab.run("web", &[], &["httpd", "-f", "-p", "8080"]);
    let address: IpAddr = lab.inspect(&web, "{{.NetworkSettings.IPAddress}}").parse().unwrap();
    let host: ContainerName = lab.run("host", &["--network", "host"], &["sleep", "600"]).parse().unwrap();
    let mut watch = Watch::begin(lab.prefix(), "[sampling]\nrtt = 1");
    watch.told.clear();
    wait_for("the web server answers", DEADLINE, || {
        let url = format!("http://{address}:8080/bin/busybox");
        let output = crate::support::docker(&["exec", host.as_str(), "wget", "-q", "-O", "/dev/null", &url]);
        output.status.success().then_some(())
    });
    watch.roll();
    let flows: Vec<_> = watch
        .told
        .iter()
        .flat_map(|interval| &interval.flows)
        .filter(|flow| flow.container == host)
        .collect();
    let to_web =
        flows.iter().find(|flow| flow.peer.container.as_ref().is_some_and(|name| name.as_str() == web));
    let flow = to_web.unwrap_or_else(|| panic!("{flows:?}"));
    let size = fs::metadata("/bin/busybox").unwrap().len();
    assert!(flow.received.bytes > size && flow.sent.bytes > 0, "{flow:?}");
    assert_eq!(
        (flow.received.packets, flow.protocol),
        (None, Protocol::Tcp),
        "packets are not counted at calls"
    );
    let figures = flow.tcp.unwrap();
    assert!(figures.retransmits.is_some() && figures.connections.is_none(), "{figures:?}");
}
