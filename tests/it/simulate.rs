//! `dockhealth simulate` on a real nats-server with real controllers, and what becomes of its metrics on a real
//! metrics server.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without, it may unwrap")]

use std::fs;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dockhealth::bus::{
    Bus, BusStatus, HostReport, NatsBus, NatsOptions, OutboxBatch, OutboxItem, PROTOCOL_VERSION, Role,
    Subject, encode, encode_batch,
};
use dockhealth::model::{Actor, EventDraft, EventKind, HostName, Timestamp};
use futures_util::StreamExt;
use serde_json::Value;

use crate::support::daemon::{Daemon, clean_command};
use crate::support::nats::NatsServer;
use crate::support::victoria::Victoria;
use crate::support::wait_for;

const DEADLINE: Duration = Duration::from_secs(40);

/// Starts `dockhealth simulate` on `nats`.
fn simulate(dir: &Path, nats: &NatsServer, args: &str) -> Child {
    let mut command = clean_command(dir);
    command.args(["simulate", "--json", "--nats", &nats.url()]).args(args.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it said at last.
fn total(ended: &Output) -> Value {
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

fn controller(dir: &Path, nats: &NatsServer, store: Option<&Victoria>) -> Daemon {
    let (url, store) = (nats.url(), store.map_or_else(|| "embedded".to_owned(), Victoria::url));
    Daemon::start("controller", dir, &["--nats", &url, "--store", &store])
}

/// How many samples of `dockhealth_pids` the server has.
fn samples(server: &Victoria) -> Option<u64> {
    server.flush();
    let url =
        format!("{}/api/v1/query?nocache=1&query=sum(count_over_time(dockhealth_pids[10m]))", server.url());
    let text = ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

#[test]
fn simulated_hosts_are_listed_and_what_they_measure_is_stored() {
    let (dir, nats) = (tempfile::tempdir().unwrap(), NatsServer::start());
    let controller = controller(&dir.path().join("controller"), &nats, None);
    let rest = controller.rest();
    let child = simulate(dir.path(), &nats, "--hosts 3 --containers 2 --interval 1s --for 4s --seed 1");
    wait_for("all containers are listed", DEADLINE, || {
        let list = rest.get("/containers");
        let of = |host| {
            list.as_array()
                .unwrap()
                .iter()
                .filter(|row| row["hostname"] == host || row["host"] == host)
                .count()
        };
        ((1..=3).all(|n| of(format!("sim-000{n}")) == 2)).then_some(())
    });
    let total = total(&child.wait_with_output().unwrap());
    assert!(total["ticks"].as_u64().unwrap() >= 9, "{total}");
    assert_eq!((&total["acknowledged"], &total["refused"]), (&total["ticks"], &0.into()), "{total}");
    assert!(total["lag_p99_ms"].as_u64().unwrap() < 5_000, "{total}");
    let now = Timestamp::now().millis() / 1_000;
    let path = format!(
        "/containers/sim-0002/web-1/metrics?names=pids,cpu_percent&from={}&to={now}&step=1",
        now - 60
    );
    let metrics = rest.get(&path);
    let measured = metrics["series"]["pids"].as_array().unwrap().iter().filter(|v| v.is_number()).count();
    assert!((3..=6).contains(&measured), "{metrics}");
    assert_eq!(controller.errors(), Vec::<String>::new());
}

#[test]
fn it_goes_nowhere_by_accident() {
    let (dir, nats) = (tempfile::tempdir().unwrap(), NatsServer::start());
    // A variable, as in the settings of a machine that belongs to a fleet, names no server to simulate on.
    let unnamed =
        clean_command(dir.path()).arg("simulate").env("DOCKHEALTH_NATS", nats.url()).output().unwrap();
    assert_eq!(unnamed.status.code(), Some(2), "{unnamed:?}");

    let mut first = simulate_until_heard(dir.path(), &nats, "--hosts 2 --containers 1");
    let refused = simulate(dir.path(), &nats, "--hosts 1 --for 1s").wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(5) && said.contains("in use on this bus (sim-0001)"), "{said}");
    first.kill().unwrap();
    first.wait().unwrap();

    let _real = real_agent(&nats);
    let refused = simulate(dir.path(), &nats, "--hosts 1 --for 1s").wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(5) && said.contains("1 real hosts are on this bus"), "{said}");
    let mut meant = simulate_until_heard(dir.path(), &nats, "--hosts 1 --beside-real-hosts");
    meant.kill().unwrap();
    meant.wait().unwrap();
}

/// Starts a simulation, and waits until one of its hosts reports.
fn simulate_until_heard(dir: &Path, nats: &NatsServer, args: &str) -> Child {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bus = bus_of(nats, "observer".parse().unwrap()).await;
        let mut reports = bus.subscribe(&Subject::AllReports).await.unwrap();
        let child = simulate(dir, nats, args);
        let report =
            tokio::time::timeout(DEADLINE, reports.next()).await.expect("one reports in time").unwrap();
        assert!(report.subject.host().unwrap().as_str().starts_with("sim-"));
        child
    })
}

/// One that answers lists as a real agent does, until dropped.
fn real_agent(nats: &NatsServer) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let host: HostName = "web.example.org".parse().unwrap();
    let report = fs::read("tests/fixtures/protocol/v1/host_report.json").unwrap();
    let report: HostReport = serde_json::from_slice(&report).unwrap();
    let bus = runtime.block_on(bus_of(nats, host));
    let mut asked = runtime.block_on(bus.subscribe(&Subject::List)).unwrap();
    runtime.spawn(async move {
        let _bus = bus;
        while let Some(message) = asked.next().await {
            message.reply.unwrap().send(encode(&report)).await.unwrap();
        }
    });
    runtime
}

async fn bus_of(nats: &NatsServer, host: HostName) -> Arc<NatsBus> {
    let bus = NatsBus::connect(NatsOptions::new(nats.url(), Role::Agent(host))).await.unwrap();
    let mut status = bus.status();
    let connected = status.wait_for(|status| *status == BusStatus::Connected);
    tokio::time::timeout(DEADLINE, connected).await.unwrap().unwrap();
    Arc::new(bus)
}

#[test]
fn what_a_metrics_server_misses_is_delivered_when_it_is_back() {
    let (dir, nats, mut server) = (tempfile::tempdir().unwrap(), NatsServer::start(), Victoria::start());
    let mut controller = controller(&dir.path().join("controller"), &nats, Some(&server));
    server.stop();
    let child = simulate(dir.path(), &nats, "--hosts 3 --containers 2 --interval 1s --for 5s --seed 1");
    controller.wait_for_log("it is missed", |log| log.contains("agents keep their samples").then_some(()));
    server.restart();
    let total = total(&child.wait_with_output().unwrap());
    assert!(total["unanswered"].as_u64().unwrap() > 0, "{total}");
    assert_eq!((&total["acknowledged"], &total["dropped"]), (&total["ticks"], &0.into()), "{total}");
    assert_eq!(samples(&server), Some(total["ticks"].as_u64().unwrap() * 2), "each sample is there once");
    controller.wait_for_log("it is back", |log| log.contains("answers again").then_some(()));
}

#[test]
fn several_controllers_share_the_metrics_and_each_has_all_events() {
    let (dir, nats, server) = (tempfile::tempdir().unwrap(), NatsServer::start(), Victoria::start());
    let both = ["a", "b"].map(|name| controller(&dir.path().join(name), &nats, Some(&server)));
    let child = simulate(dir.path(), &nats, "--hosts 8 --containers 1 --interval 1s --for 5s --seed 1");
    let total = total(&child.wait_with_output().unwrap());
    let ticks = total["ticks"].as_u64().unwrap();
    assert_eq!(total["acknowledged"], total["ticks"], "{total}");
    assert_eq!(samples(&server), Some(ticks));
    let stored = both.each_ref().map(|controller| {
        let text = controller.cli(&["metrics", "sim-0001"]);
        assert!(text.status.success(), "both answer from the same server: {text:?}");
        ticks_stored(controller)
    });
    assert!(
        stored.iter().all(|count| *count > 0) && stored.iter().sum::<u64>() == ticks,
        "{stored:?} of {ticks}"
    );

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let host: HostName = "sim-0001".parse().unwrap();
    let event =
        EventDraft::new(EventKind::Released, Actor::Agent, "told to both").stamp(&host, Timestamp::now());
    let items = vec![OutboxItem::Event(event)];
    let batch =
        OutboxBatch { v: PROTOCOL_VERSION, host: host.clone(), session: uuid::Uuid::new_v4(), seq: 1, items };
    runtime.block_on(async {
        let bus = bus_of(&nats, host.clone()).await;
        bus.request(&Subject::Outbox(host), encode_batch(&batch), DEADLINE).await.unwrap();
    });
    for controller in &both {
        wait_for("each has the event", DEADLINE, || {
            controller.rest().get("/events?kind=released").to_string().contains("told to both").then_some(())
        });
    }
}

fn ticks_stored(controller: &Daemon) -> u64 {
    let token = fs::read_to_string(controller.data_dir().join("token")).unwrap();
    let metrics = ureq::get(format!("http://{}/metrics", controller.address()))
        .header("Authorization", format!("Bearer {}", token.trim()))
        .call()
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    let line = metrics.lines().find(|line| line.starts_with("dockhealth_metric_ticks_stored_total"));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}
