//! Real packets: loopback, real containers with real loss, both kinds of socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use dockhealth::model::Threshold;
use dockhealth::monitor::ping::{IcmpPinger, PingError, Pinger, ProbePlan, SocketMode};

use crate::support::Lab;

const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn plan(count: u32, spacing_ms: u64, timeout_ms: u64) -> ProbePlan {
    ProbePlan {
        count,
        spacing: Duration::from_millis(spacing_ms),
        timeout: Duration::from_millis(timeout_ms),
        threshold: None,
    }
}

/// So many addresses of 127.0.0.0/8, all of which answer.
fn loopback(count: u16) -> Vec<IpAddr> {
    (1..=count).map(|n| Ipv4Addr::new(127, 1, (n >> 8) as u8, (n & 255) as u8).into()).collect()
}

#[tokio::test]
async fn every_probe_to_hundreds_of_addresses_is_answered_in_the_time_of_one() {
    let pinger = IcmpPinger::open().unwrap();
    assert_eq!(pinger.mode(), SocketMode::Raw, "these tests run as root");
    let addresses = loopback(500);
    let start = Instant::now();
    let outcomes = pinger.probe(&addresses, plan(5, 50, 2000)).await.unwrap();
    let took = start.elapsed();
    assert!(outcomes.iter().map(|o| o.address).eq(addresses), "answers come in the order asked");
    for outcome in &outcomes {
        assert_eq!((outcome.sent, outcome.received, outcome.void), (5, 5, 0), "{outcome:?}");
        assert!(outcome.rtts.iter().all(|rtt| *rtt < Duration::from_secs(1)), "{outcome:?}");
    }
    // One address takes 200 ms; in turn these would take 100 s.
    assert!(took < Duration::from_secs(2), "took {took:?}");
}

#[tokio::test]
async fn concurrent_checks_share_the_socket_and_both_families_answer() {
    let pinger = IcmpPinger::open().unwrap();
    let (ours, same) = (pinger.clone(), pinger.clone());
    let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), LOOPBACK_V6];
    let (first, second, third) = tokio::join!(
        async { pinger.probe(&both, plan(5, 10, 2000)).await.unwrap() },
        async { ours.probe(&both, plan(7, 5, 2000)).await.unwrap() },
        // Another pinger's answers are not this one's, though both sockets see them.
        async { IcmpPinger::open().unwrap().probe(&both, plan(5, 10, 2000)).await.unwrap() },
    );
    for (outcomes, count) in [(first, 5), (second, 7), (third, 5)] {
        assert!(outcomes.iter().all(|o| (o.sent, o.received) == (count, count)), "{outcomes:?}");
    }
    // A caller that goes away takes nobody else's check with it.
    let gone = tokio::spawn(async move { same.probe(&loopback(10), plan(1000, 10, 1000)).await });
    gone.abort();
    assert_eq!(pinger.probe(&[LOOPBACK_V6], plan(1, 0, 2000)).await.unwrap()[0].received, 1);
}

#[tokio::test]
async fn an_unused_address_is_lost_and_ends_as_soon_as_that_is_certain() {
    let lab = Lab::new("ping-hole");
    lab.network("net", &["--subnet", "10.213.77.0/24"]);
    let pinger = IcmpPinger::open().unwrap();
    let hole: IpAddr = [10, 213, 77, 200].into();
    let doomed = ProbePlan { threshold: Some(Threshold::default()), ..plan(20, 100, 300) };
    let start = Instant::now();
    let outcomes = pinger.probe(&[hole], doomed).await.unwrap();
    assert_eq!((outcomes[0].sent, outcomes[0].received, outcomes[0].void), (11, 0, 0));
    assert!(start.elapsed() < Duration::from_secs(2), "20 probes take 2.2 s: {:?}", start.elapsed());
}

#[tokio::test]
async fn a_starved_process_counts_what_was_answered_and_loses_nothing() {
    let lab = Lab::new("ping-starved");
    lab.network("net", &["--subnet", "10.213.78.0/24"]);
    let pinger = IcmpPinger::open().unwrap();
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), [10, 213, 78, 200].into()];
    // One thread runs everything here, so while it is blocked nothing is read, sent or timed out. The probes go out
    // before the timer can fire; it fires before their deadline.
    let (outcomes, ()) = tokio::join!(pinger.probe(&addresses, plan(1, 0, 1000)), async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        std::thread::sleep(Duration::from_millis(1800));
    });
    let [answered, silent] = &outcomes.unwrap()[..] else { panic!("two addresses were asked") };
    assert_eq!((answered.sent, answered.received, answered.void), (1, 1, 0));
    assert!(answered.rtts[0] < Duration::from_secs(1), "as it arrived, not as it was read: {answered:?}");
    assert_eq!((silent.sent, silent.void), (0, 1), "{silent:?}");
}

#[tokio::test]
async fn an_address_without_a_route_says_nothing_of_a_container() {
    let pinger = IcmpPinger::open().unwrap();
    // Documentation addresses (RFC 3849): sending fails where the host has no IPv6 route out, as lab machines have not.
    let unrouted: IpAddr = "2001:db8::1".parse().unwrap();
    let has_route =
        Command::new("ip").args(["-6", "route", "get", "2001:db8::1"]).output().unwrap().status.success();
    let outcome = &pinger.probe(&[unrouted], plan(2, 1, 100)).await.unwrap()[0];
    let expected = if has_route { (2, 0, 0) } else { (0, 0, 2) };
    assert_eq!((outcome.sent, outcome.received, outcome.void), expected);
}

/// Makes the container drop the echo requests it receives that match `which`, an nft expression (all when empty).
fn lose(lab: &Lab, container: &str, which: &str) {
    let pid = lab.inspect(container, "{{.State.Pid}}");
    let rules = format!(
        "add table ip loss; add chain ip loss in {{ type filter hook input priority 0; }}; flush chain ip loss in; \
         add rule ip loss in icmp type echo-request {which} drop"
    );
    let output = Command::new("nsenter")
        .args(["-t", &pid, "-n", "nft", &rules])
        .output()
        .expect("util-linux is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn address_of(lab: &Lab, container: &str) -> IpAddr {
    let address = lab.inspect(container, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    address.parse().unwrap_or_else(|error| panic!("{container} has no address ({error}): {address:?}"))
}

#[tokio::test]
async fn the_loss_of_real_containers_is_measured() {
    let lab = Lab::new("ping-loss");
    let [quiet, lossy, dead] = ["quiet", "lossy", "dead"].map(|name| lab.run(name, &[], &["sleep", "600"]));
    lose(&lab, &lossy, "numgen random mod 100 < 50");
    lose(&lab, &dead, "");
    let addresses = [&quiet, &lossy, &dead].map(|container| address_of(&lab, container));
    let pinger = IcmpPinger::open().unwrap();
    let outcomes = pinger.probe(&addresses, plan(400, 2, 500)).await.unwrap();
    let received: Vec<u32> = outcomes.iter().map(|o| o.received).collect();
    assert!(outcomes.iter().all(|o| o.sent + o.void == 400), "{outcomes:?}");
    assert_eq!(received[0], outcomes[0].sent, "no loss was asked for");
    // Binomial: sigma is 10; six of them fail once in 500 million runs.
    assert!((140..=260).contains(&received[1]), "50 % of 400: {received:?}");
    assert_eq!(received[2], 0);
    lab.docker(&["stop", "--time", "0", &quiet]);
    let gone = pinger.probe(&addresses[..1], plan(3, 10, 300)).await.unwrap();
    assert_eq!((gone[0].sent, gone[0].received), (3, 0));
}

/// Runs `test` in a thread of its own, in a new network namespace whose loopback is up and whose `ping_group_range` is
/// `groups`, without the rights of root.
fn unprivileged(groups: &'static str, test: impl AsyncFnOnce() + Send + 'static) {
    let body = move || {
        // SAFETY: the call takes no pointers; it moves only this thread to a new namespace.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "this test needs root");
        assert!(
            Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status()
                .expect("iproute2 is installed")
                .success()
        );
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", groups)
            .expect("root of a namespace may set it");
        // SAFETY: the call takes no pointers. Made directly, not through the C library, it changes this thread alone.
        let dropped = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(dropped, 0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test());
    };
    std::thread::spawn(body).join().expect("what the test asserts");
}

#[test]
fn without_the_right_to_raw_sockets_datagram_ones_serve() {
    unprivileged("0 2147483647", async || {
        assert!(matches!(IcmpPinger::open_as(SocketMode::Raw), Err(PingError::NotPermitted(_))));
        let pinger = IcmpPinger::open().unwrap();
        assert_eq!(pinger.mode(), SocketMode::Datagram);
        let mut addresses = loopback(200);
        addresses.push(LOOPBACK_V6);
        let outcomes = pinger.probe(&addresses, plan(3, 20, 2000)).await.unwrap();
        assert!(outcomes.iter().all(|o| (o.sent, o.received) == (3, 3)), "{outcomes:?}");
    });
}

#[test]
fn without_any_right_the_error_says_what_to_do() {
    unprivileged("1 0", async || {
        let error = IcmpPinger::open().unwrap_err();
        assert!(matches!(error, PingError::NotPermitted(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("CAP_NET_RAW") && text.contains("ping_group_range"), "{text}");
    });
}
