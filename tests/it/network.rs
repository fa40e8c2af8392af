//! The network of containers as it is measured, against the kernel's own counters: real packets between real containers.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without, it may unwrap")]

mod agent;
mod bounds;
mod churn;
mod ways;

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dockhealth::chaos::{NetBackend, in_netns};
use dockhealth::docker::{ContainerSource, Engine, EngineAddress};
use dockhealth::model::{
    ContainerFacts, ContainerName, Drops, Flow, Hop, Interval, LossPercent, MeasureWay, MeasurementStatus,
    NetworkRules, PeerKind, Protocol, Timestamp, Traffic,
};
use dockhealth::net::{NetworkMonitor, NetworkSettings, NetworkView, NetworkWish};

use crate::support::{Lab, wait_for};

/// No condition takes longer to come true, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the kernel's own counters of a container's interfaces say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counters {
    received: (u64, u64),
    sent: (u64, u64),
}

/// A container to measure.
struct One {
    name: ContainerName,
    pid: u32,
    address: IpAddr,
}

impl One {
    fn run(lab: &Lab, name: &str, options: &[&str]) -> Self {
        let full = lab.run(name, options, &["sleep", "600"]);
        let networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        Self {
            pid: lab.inspect(&full, "{{.State.Pid}}").parse().unwrap(),
            address: lab.inspect(&full, networks).parse().unwrap(),
            name: full.parse().unwrap(),
        }
    }

    /// `bytes packets` of all interfaces but loopback, from `/proc/PID/net/dev`.
    fn counters(&self) -> Counters {
        let text = fs::read_to_string(format!("/proc/{}/net/dev", self.pid)).unwrap();
        let mut counters = Counters::default();
        for line in text.lines().skip(2).filter(|line| !line.trim_start().starts_with("lo:")) {
            let numbers = line.split_once(':').unwrap().1.split_ascii_whitespace();
            let numbers: Vec<u64> = numbers.map(|number| number.parse().unwrap()).collect();
            counters.received = (counters.received.0 + numbers[0], counters.received.1 + numbers[1]);
            counters.sent = (counters.sent.0 + numbers[8], counters.sent.1 + numbers[9]);
        }
        counters
    }

    /// `RetransSegs` of its TCP.
    fn retransmits(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/net/snmp", self.pid)).unwrap();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let at = lines.next().unwrap().split(' ').position(|name| name == "RetransSegs").unwrap();
        lines.next().unwrap().split(' ').nth(at).unwrap().parse().unwrap()
    }

    /// Runs `work` in its network.
    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        in_netns(self.pid, work).unwrap()
    }
}

/// A monitor of a few containers, and all that it told.
struct Watch {
    monitor: NetworkMonitor,
    view: NetworkView,
    told: Vec<Interval>,
    start: Timestamp,
}

impl Watch {
    /// Begins to measure those of the engine's containers that are called like this.
    fn begin(prefix: &str, rules: &str) -> Self {
        Self::begin_as(prefix, rules, NetworkWish::Auto)
    }

    fn begin_as(prefix: &str, rules: &str, wish: NetworkWish) -> Self {
        let settings = NetworkSettings { wish, clock: None, root: PathBuf::from("/") };
        let mut watch = Self {
            monitor: NetworkMonitor::start(settings),
            view: NetworkView { containers: facts(prefix), ..NetworkView::default() },
            told: Vec::new(),
            start: Timestamp::now(),
        };
        watch.follow(rules);
        watch.roll();
        watch
    }

    fn follow(&mut self, rules: &str) {
        self.view.rules = Arc::new(NetworkRules::from_toml(rules).unwrap());
        self.monitor.look(&self.view);
    }

    fn roll(&mut self) -> &Interval {
        let end = Timestamp::now();
        self.monitor.look(&self.view);
        self.told.push(self.monitor.roll(self.start, end));
        self.start = end;
        self.told.last().unwrap()
    }

    /// Rolls until none of `all` sent or received anything meanwhile: then what was told is what the counters say. Begins a
    /// new account.
    fn settle(&mut self, all: &[&One]) -> Vec<Counters> {
        let counters = || all.iter().map(|one| one.counters()).collect::<Vec<_>>();
        wait_for("a quiet moment", DEADLINE, || {
            let before = counters();
            self.roll();
            (before == counters()).then_some(before)
        })
    }

    /// What was told since the last account of a container's sending and receiving, all peers together.
    fn sums(&self, one: &One) -> (Traffic, Traffic) {
        let mut sums = (Traffic::ZERO, Traffic::ZERO);
        let flows = self.told.iter().flat_map(|interval| &interval.flows);
        for flow in flows.filter(|flow| flow.container == one.name) {
            sums.0.add(&flow.sent);
            sums.1.add(&flow.received);
        }
        sums
    }

    /// What was told of packets from one to another: sent, received, and dropped by whom it was for.
    fn between(&self, from: &One, to: &One) -> (u64, u64, Vec<Drops>) {
        let (mut sent, mut received, mut drops) = (0, 0, Vec::new());
        for interval in &self.told {
            for flow in interval.flows.iter().filter(|flow| flow.protocol == Protocol::Udp) {
                let with = |one: &One| flow.peer.container.as_ref() == Some(&one.name);
                if flow.container == from.name && with(to) {
                    sent += flow.sent.packets.unwrap();
                }
                if flow.container == to.name && with(from) {
                    received += flow.received.packets.unwrap();
                }
            }
            let ours = |drops: &&Drops| {
                drops.from.as_ref().is_some_and(|peer| peer.container.as_ref() == Some(&from.name))
                    && drops.to.as_ref().is_some_and(|peer| peer.container.as_ref() == Some(&to.name))
            };
            drops.extend(interval.drops.iter().filter(ours).cloned());
        }
        (sent, received, drops)
    }
}

/// The engine's containers whose names begin so.
fn facts(prefix: &str) -> Vec<ContainerFacts> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = Engine::connect(&"unix:///var/run/docker.sock".parse::<EngineAddress>().unwrap()).unwrap();
    let all = runtime.block_on(engine.list()).unwrap();
    all.into_iter().filter(|facts| facts.name.as_str().starts_with(prefix)).collect()
}

/// The host's end of a container's veth pair: its number is what the container's end names.
fn host_end(one: &One) -> String {
    let output = one.within(|| Command::new("ip").args(["-o", "link", "show", "eth0"]).output().unwrap());
    // 7: eth0@if8: <BROADCAST,...
    let text = String::from_utf8(output.stdout).unwrap();
    let peer = text.split_once("@if").unwrap().1.split_once(':').unwrap().0.to_owned();
    let named = |entry: &fs::DirEntry| {
        fs::read_to_string(entry.path().join("ifindex")).is_ok_and(|index| index.trim() == peer)
    };
    let found = fs::read_dir("/sys/class/net").unwrap().flatten().find(named).expect("the other end is here");
    found.file_name().into_string().unwrap()
}

/// Sends `bytes` over one TCP connection from `from` to `to`, and as many back.
fn exchange(from: &One, to: &One, bytes: usize) {
    let listener = to.within(|| TcpListener::bind((to.address, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut taken = vec![0; bytes];
            stream.read_exact(&mut taken).unwrap();
            stream.write_all(&taken).unwrap();
        });
        let mut stream = from.within(|| TcpStream::connect(address).unwrap());
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&vec![7; bytes]).unwrap();
        let mut back = vec![0; bytes];
        stream.read_exact(&mut back).unwrap();
    });
}

/// Sends datagrams of 64 bytes, slowly enough for nobody to drop one for want of room.
fn datagrams(from: &One, to: &One, count: u32) {
    let receiver = to.within(|| UdpSocket::bind((to.address, 0)).unwrap());
    let address: SocketAddr = receiver.local_addr().unwrap();
    let sender = from.within(|| UdpSocket::bind((from.address, 0)).unwrap());
    receiver.set_nonblocking(true).unwrap();
    let mut room = [0; 128];
    for number in 0..count {
        let mut datagram = [0; 64];
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        sender.send_to(&datagram, address).unwrap();
        while receiver.recv(&mut room).is_ok() {}
    }
}

/// What was told of each is what the kernel's counters say.
fn assert_exact(watch: &Watch, all: &[&One], before: &[Counters], after: &[Counters]) {
    for (index, one) in all.iter().enumerate() {
        let (sent, received) = watch.sums(one);
        let less = |now: (u64, u64), then: (u64, u64)| (now.0 - then.0, now.1 - then.1);
        let counted = (
            less(after[index].sent, before[index].sent),
            less(after[index].received, before[index].received),
        );
        let told = ((sent.bytes, sent.packets.unwrap()), (received.bytes, received.packets.unwrap()));
        assert_eq!(told, counted, "{}: bytes and packets sent and received", one.name);
    }
}

#[test]
fn bytes_and_packets_are_those_of_the_kernels_own_counters() {
    let lab = Lab::new("net-exact");
    let (a, b) = (One::run(&lab, "a", &[]), One::run(&lab, "b", &[]));
    let mut watch = Watch::begin(lab.prefix(), "");
    assert_eq!(
        watch.told[0].way,
        MeasureWay::Tracepoints,
        "this test needs CAP_BPF and CAP_PERFMON: {:?}",
        watch.told[0]
    );
    let missing: Vec<_> =
        watch.told[0].measurements.iter().filter(|one| one.status == MeasurementStatus::Missing).collect();
    assert_eq!(missing.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["one_way"], "{missing:?}");
    let before = watch.settle(&[&a, &b]);
    watch.told.clear();
    exchange(&a, &b, 3 << 20);
    datagrams(&b, &a, 2000);
    // What the host itself sends takes another way into a container than what is forwarded.
    let host = UdpSocket::bind("0.0.0.0:0").unwrap();
    for _ in 0..20 {
        host.send_to(b"from the host", (b.address, 9)).unwrap();
    }
    let after = watch.settle(&[&a, &b]);
    assert_exact(&watch, &[&a, &b], &before, &after);
    assert!(watch.sums(&a).0.bytes > 3 << 20, "it sent less than it sent");
    let (sent, received, drops) = watch.between(&b, &a);
    assert_eq!((sent, received, drops), (2000, 2000, Vec::new()));
    let tcp = |name: &ContainerName, peer: &ContainerName| {
        let mine = watch.told.iter().flat_map(|interval| &interval.flows);
        let mine = mine.filter(|flow| flow.container == *name && flow.peer.container.as_ref() == Some(peer));
        let connections = mine.filter_map(|flow| flow.tcp?.connections);
        connections
            .fold((0, 0, 0), |sum, one| (sum.0 + one.opened, sum.1 + one.accepted, sum.2 + one.refused))
    };
    assert_eq!((tcp(&a.name, &b.name), tcp(&b.name, &a.name)), ((1, 0, 0), (0, 1, 0)));
    let rows = watch.told.iter().flat_map(|interval| &interval.latency);
    let samples: u64 = rows.filter(|row| row.hop == Hop::EndToEnd).map(|row| row.histogram.count).sum();
    assert!(samples > 0, "no packet of thousands was timed");
    assert_eq!(watch.told.iter().map(|interval| interval.overflow.lost).sum::<u64>(), 0);
}

#[test]
fn segments_sent_again_are_those_of_the_kernel() {
    let lab = Lab::new("net-again");
    let (a, b) = (One::run(&lab, "a", &[]), One::run(&lab, "b", &[]));
    let mut watch = Watch::begin(lab.prefix(), "");
    let mut injector = b.within(|| NetBackend::Nftables.open("eth0")).unwrap();
    injector.set(LossPercent::new(20.0).unwrap()).unwrap();
    watch.settle(&[&a, &b]);
    watch.told.clear();
    let before = (a.retransmits(), b.retransmits());
    exchange(&a, &b, 1 << 20);
    injector.clear().unwrap();
    watch.settle(&[&a, &b]);
    let told = |one: &One| {
        let flows = watch.told.iter().flat_map(|interval| &interval.flows);
        flows.filter(|flow| flow.container == one.name).filter_map(|flow| flow.tcp?.retransmits).sum::<u64>()
    };
    let counted = (a.retransmits() - before.0, b.retransmits() - before.1);
    assert!(counted.0 > 0, "a fifth was lost, and nothing was sent again");
    assert_eq!((told(&a), told(&b)), counted);
}

#[test]
fn a_fifth_lost_reads_as_a_fifth_and_says_where() {
    let lab = Lab::new("net-loss");
    let (a, b) = (One::run(&lab, "a", &[]), One::run(&lab, "b", &[]));
    let mut watch = Watch::begin(lab.prefix(), "");
    let sent = 10_000;
    for (backend, reason) in [(NetBackend::Nftables, "NETFILTER_DROP"), (NetBackend::Bpf, "TC_INGRESS")] {
        let mut injector = b.within(|| backend.open("eth0")).unwrap();
        injector.set(LossPercent::new(20.0).unwrap()).unwrap();
        watch.settle(&[&a, &b]);
        watch.told.clear();
        datagrams(&a, &b, sent);
        injector.clear().unwrap();
        watch.settle(&[&a, &b]);
        let (told, received, drops) = watch.between(&a, &b);
        assert_eq!(told, u64::from(sent));
        let within: u64 =
            drops.iter().filter(|one| one.container.as_ref() == Some(&b.name)).map(|one| one.packets).sum();
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let percent = (told - received + within) as f64 * 100.0 / f64::from(sent);
        assert!((18.0..=22.0).contains(&percent), "{percent} % by {backend:?}: {drops:?}");
        assert!(drops.iter().all(|one| one.reason == reason), "{drops:?}");
    }
}

#[test]
fn what_is_lost_on_the_way_is_missing_at_the_receiver() {
    let lab = Lab::new("net-way");
    let (a, b) = (One::run(&lab, "a", &[]), One::run(&lab, "b", &[]));
    let mut watch = Watch::begin(lab.prefix(), "");
    watch.settle(&[&a, &b]);
    let interface = host_end(&b);
    let table = format!("dht_{interface}");
    let rule = format!(
        "add table netdev {table}; add chain netdev {table} c {{ type filter hook egress device {interface} priority 0; }}; \
         add rule netdev {table} c ip protocol udp numgen random mod 100 < 20 drop"
    );
    let made = Command::new("nft").arg(rule).output().unwrap();
    if !made.status.success() {
        eprintln!("not tested, this kernel has no egress hook: {}", String::from_utf8_lossy(&made.stderr));
        return;
    }
    watch.told.clear();
    datagrams(&a, &b, 10_000);
    watch.settle(&[&a, &b]);
    assert!(Command::new("nft").args(["delete", "table", "netdev", &table]).status().unwrap().success());
    let (sent, received, drops) = watch.between(&a, &b);
    assert_eq!(sent, 10_000);
    assert!((7_800..=8_200).contains(&received), "{received}");
    let on_the_way: u64 = drops.iter().filter(|one| one.container.is_none()).map(|one| one.packets).sum();
    assert_eq!(on_the_way, sent - received, "{drops:?}");
}
