//! The engine adapter on a real engine. Docker's own command line is the oracle.

#![allow(clippy::unwrap_used, reason = "the helpers are parts of the tests")]

mod recreate;

use std::time::{Duration, Instant};

use dockhealth::docker::{
    ContainerAction, ContainerActuator, ContainerSource, Engine, EngineAddress, EngineError,
};
use dockhealth::model::{ContainerId, HealthcheckStatus, Namespace, RunState};
use futures_util::StreamExt;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};

use crate::support::{Lab, busybox_image, docker, wait_for};

const SLEEP: [&str; 2] = ["sleep", "1000"];

fn engine() -> Engine {
    Engine::connect(&EngineAddress::default()).unwrap()
}

fn id(lab: &Lab, full: &str) -> ContainerId {
    ContainerId::new(lab.inspect(full, "{{.Id}}")).unwrap()
}

#[tokio::test]
async fn facts_agree_with_docker() {
    let lab = Lab::new("facts");
    let net = lab.network("net", &["--subnet", "10.231.1.0/24", "--ipv6", "--subnet", "fd00:231:1::/64"]);
    let web = lab.run(
        "web",
        &[
            "--network",
            &net,
            "--ip",
            "10.231.1.9",
            "--publish",
            "127.0.0.1::80",
            "--label",
            "dockhealth.monitor=true",
            "--health-cmd",
            "true",
            "--health-interval",
            "200ms",
            "--health-start-period",
            "3s",
            "--stop-signal",
            "KILL",
        ],
        &SLEEP,
    );
    let peer = lab.run("peer", &["--network", &format!("container:{web}")], &SLEEP);
    let failed = lab.run("failed", &["--network", "none"], &["sh", "-c", "exit 3"]);
    lab.docker(&["wait", &failed]);
    let engine = engine();
    let facts = engine.inspect(&web).await.unwrap();
    assert_eq!(facts.name.as_str(), web);
    assert_eq!(facts.id, id(&lab, &web));
    assert_eq!(facts.pid.unwrap().to_string(), lab.inspect(&web, "{{.State.Pid}}"));
    assert_eq!(facts.image, busybox_image());
    assert_eq!(facts.monitor_label(), Some(true));
    let addresses: Vec<_> = facts.addresses().iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.231.1.9", "fd00:231:1::2"]);
    let port = lab.inspect(&web, r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#);
    assert_eq!(facts.published, [(port.parse().unwrap(), 80)]);
    assert_eq!(facts.healthcheck.unwrap().start_period, Duration::from_secs(3));
    let healthy = wait_for("healthy", Duration::from_secs(20), || {
        (lab.inspect(&web, "{{.State.Health.Status}}") == "healthy").then_some(HealthcheckStatus::Healthy)
    });
    assert_eq!(engine.inspect(&web).await.unwrap().healthcheck.unwrap().status, healthy);
    let shared = engine.inspect(&peer).await.unwrap();
    assert_eq!(shared.namespace, Namespace::Container(facts.id.to_string()));
    let ended = engine.inspect(&failed).await.unwrap();
    assert_eq!((ended.state, ended.exit_code, ended.namespace), (RunState::Exited, Some(3), Namespace::None));
    let listed = engine.list().await.unwrap();
    for name in [&web, &peer, &failed] {
        assert!(listed.iter().any(|facts| facts.name.as_str() == name), "{name} is not listed");
    }
    let info = engine.info().await.unwrap();
    assert_eq!(info.id.as_str(), lab.docker(&["info", "--format", "{{.ID}}"]));
    assert_eq!(info.version, lab.docker(&["version", "--format", "{{.Server.Version}}"]));
    assert_eq!(engine.version().await.unwrap()["Version"], info.version);
    assert!(engine.stats(&web).await.unwrap()["memory_stats"]["usage"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_restart_lets_the_container_stop_in_its_own_time() {
    let lab = Lab::new("restart");
    let deaf =
        lab.run("deaf", &["--stop-timeout", "2"], &["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
    let (engine, id) = (engine(), id(&lab, &deaf));
    let begin = Instant::now();
    engine.restart(&id, None).await.unwrap();
    let own = begin.elapsed();
    assert!(
        own >= Duration::from_secs(2) && own < Duration::from_secs(9),
        "{own:?}: neither 0 nor the default 10 s"
    );
    let begin = Instant::now();
    engine.restart(&id, Some(Duration::ZERO)).await.unwrap();
    assert!(begin.elapsed() < Duration::from_millis(1900), "{:?}", begin.elapsed());
    assert!(lab.is_running(&deaf));
}

#[tokio::test]
async fn a_list_bears_containers_that_come_and_go() {
    let lab = Lab::new("churn");
    let stays = lab.run("stays", &[], &SLEEP);
    let comes = lab.name("comes");
    lab.adopt(&comes);
    let churn = tokio::task::spawn_blocking(move || {
        for _ in 0..15 {
            assert!(docker(&["create", "--name", &comes, busybox_image(), "true"]).status.success());
            assert!(docker(&["rm", "--force", &comes]).status.success());
        }
    });
    let engine = engine();
    let mut rounds = 0;
    while !churn.is_finished() {
        let listed = engine.list().await.expect("a vanished container fails no list");
        assert!(listed.iter().any(|facts| facts.name.as_str() == stays));
        rounds += 1;
    }
    churn.await.unwrap();
    assert!(rounds > 5, "{rounds} lists");
}

/// A TCP proxy in front of the engine's socket, which can be cut: an engine that goes away and comes back.
#[tokio::test]
async fn after_the_engine_was_away_the_same_handle_works() {
    let lab = Lab::new("away");
    let web = lab.run("web", &[], &SLEEP);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxied = tokio::spawn(proxy(listener));
    let engine = Engine::connect(&format!("tcp://{address}").parse().unwrap()).unwrap();
    engine.ping().await.unwrap();
    let mut events = engine.events(None).await.unwrap();
    lab.docker(&["pause", &web]);
    loop {
        let event = events.next().await.unwrap().unwrap();
        if event.id == id(&lab, &web) {
            assert_eq!((event.action, event.name.unwrap().as_str()), (ContainerAction::Pause, web.as_str()));
            break;
        }
    }
    let last = engine.info_raw().await.unwrap()["SystemTime"].as_str().unwrap().parse().unwrap();
    engine.list().await.unwrap();
    proxied.abort();
    let _ = proxied.await;

    let cut = loop {
        match events.next().await {
            Some(Ok(_)) => {}
            ended => break ended,
        }
    };
    assert!(matches!(cut, Some(Err(EngineError::Unreachable(_)))), "{cut:?}");
    assert!(events.next().await.is_none());
    lab.docker(&["unpause", &web]);
    for gone in [
        engine.ping().await,
        engine.list().await.map(drop),
        engine.start(&id(&lab, &web)).await,
        engine.events(None).await.map(drop),
    ] {
        assert!(matches!(gone, Err(EngineError::Unreachable(_))), "{gone:?}");
    }

    let back = tokio::spawn(proxy(TcpListener::bind(address).await.unwrap()));
    let mut events = engine.events(Some(last)).await.unwrap();
    loop {
        let event = events.next().await.unwrap().unwrap();
        if event.id == id(&lab, &web) {
            assert_eq!(event.action, ContainerAction::Unpause, "what happened meanwhile is told");
            break;
        }
    }
    engine.list().await.unwrap();
    back.abort();
}

async fn proxy(listener: TcpListener) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            let mut engine = UnixStream::connect("/var/run/docker.sock").await.unwrap();
            let _ = copy_bidirectional(&mut client, &mut engine).await;
        });
    }
}
