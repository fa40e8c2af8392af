//! The agent itself: what it pushes, and what is left of it when it is killed.

use futures_util::StreamExt;

use dockhealth::bus::{Bus, BusStatus, DesiredChange, NatsBus, NatsOptions, Role, Subject, decode_network};

use super::*;
use crate::support::daemon::Daemon;
use crate::support::nats::NatsServer;

/// Of a process's BPF objects, the ids of those of one kind: `prog_id`, `map_id` or `link_id`.
fn ids(pid: u32, kind: &str) -> Vec<u32> {
    let all = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten();
    let id = all.filter_map(|entry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':')?.trim().parse().ok())
    });
    id.collect()
}

/// Whether the kernel still has any of them, by `BPF_PROG_GET_FD_BY_ID` (13), `BPF_MAP_GET_FD_BY_ID` (14) or
/// `BPF_LINK_GET_FD_BY_ID` (30).
fn is_left(command: i32, ids: &[u32]) -> bool {
    ids.iter().any(|id| {
        let attributes: [u32; 4] = [*id, 0, 0, 0];
        // SAFETY: the attributes outlive the call; a descriptor that it gives is closed at once.
        unsafe {
            let answer =
                libc::syscall(libc::SYS_bpf, command, &raw const attributes, size_of_val(&attributes));
            answer >= 0 && libc::close(i32::try_from(answer).unwrap()) == 0
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn it_pushes_what_it_measures_follows_rules_and_leaves_nothing_when_killed() {
    let server = NatsServer::start();
    let controller = NatsBus::connect(NatsOptions::new(server.url(), Role::Controller)).await.unwrap();
    controller.status().wait_for(|status| *status == BusStatus::Connected).await.unwrap();
    let rules = NetworkRules::from_toml("interval = \"1s\"\n").unwrap();
    controller.put_desired(DesiredChange::Rules(Some(Box::new(rules)))).await.unwrap();
    let mut told = controller.subscribe(&Subject::AllNetworks).await.unwrap();

    let lab = Lab::new("net-agent");
    let (a, b) = (One::run(&lab, "a", &[]), One::run(&lab, "b", &[]));
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Daemon::start(
        "agent",
        &dir.path().join("data"),
        &["--nats", &server.url(), "--hostname", "h1", "--network-clock", "lab"],
    );
    let until = tokio::time::Instant::now() + DEADLINE;
    let pair = loop {
        datagrams(&a, &b, 50);
        let message =
            tokio::time::timeout_at(until, told.next()).await.expect("in time").expect("the bus is there");
        let report = decode_network(&message.payload).unwrap();
        assert_eq!(message.subject, Subject::Network("h1".parse().unwrap()));
        assert_eq!(report.interval.way, MeasureWay::Tracepoints, "{:?}", report.interval.measurements);
        assert_eq!(report.interval.clock.as_deref(), Some("lab"));
        let mine = report.interval.flows.iter().find(|flow| {
            flow.container == a.name
                && flow.peer.container.as_ref() == Some(&b.name)
                && flow.protocol == Protocol::Udp
        });
        if let Some(flow) = mine {
            break (flow.sent, report.interval);
        }
    };
    assert_eq!(pair.0.packets.unwrap() % 50, 0);
    let lasted = pair.1.end.since(pair.1.start);
    assert!(lasted <= Duration::from_secs(3), "the rules say 1 s, and an interval lasted {lasted:?}");
    assert!(pair.1.endpoints.iter().any(|one| one.container == b.name && one.addresses == [b.address]));

    // A firewall in the container's network explains itself.
    let mut injector = b.within(|| NetBackend::Nftables.open("eth0")).unwrap();
    injector.set(LossPercent::ALL).unwrap();
    datagrams(&a, &b, 50);
    injector.clear().unwrap();
    let data = agent.data_dir().to_str().unwrap().to_owned();
    wait_for("why tells it", DEADLINE, || {
        let output = agent.cli(&["why", "--local", "--data-dir", &data, b.name.as_str()]);
        let text = String::from_utf8(output.stdout).unwrap();
        let told = |line: &str| {
            line.contains("Network: ")
                && line.contains("dropped in its own network")
                && line.contains("NETFILTER_DROP")
        };
        text.lines().any(told).then_some(())
    });

    let kinds = [("prog_id", 13), ("map_id", 14), ("link_id", 30)];
    let left = kinds.map(|(kind, command)| (command, ids(agent.pid(), kind)));
    assert!(left[0].1.len() >= 8 && left[1].1.len() >= 10 && left[2].1.len() >= 6, "{left:?}");
    assert!(is_left(13, &left[0].1), "the question itself works");
    agent.kill();
    for (command, ids) in &left {
        wait_for("the kernel ends what was the agent's", DEADLINE, || {
            (!is_left(*command, ids)).then_some(())
        });
    }
}
