//! A whole pool on the scripted engine, whose containers answer on ports of this process.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{PoolConfig, PoolHandle, PoolParts, pool};
use crate::docker::EngineError;
use crate::docker::fake::{Behaviour, Call, FakeEngine, Op};
use crate::model::{PoolContainerState, PoolHealth, PoolName, PoolSpec, PoolStatus};
use crate::scale::serverapp::serve_tasks;

const SOON: Duration = Duration::from_secs(20);
/// Ports that the containers of a test have.
const PORTS: u16 = 6;

fn spec(port_base: u16) -> PoolSpec {
    PoolSpec {
        image: "busybox".to_owned(),
        labels: [("tier".to_owned(), "shop".to_owned())].into(),
        period_ms: 100,
        boot_guess_ms: 100,
        min: 2,
        max: 2,
        port_base: Some(port_base),
        cpus: Some(0.5),
        memory_bytes: Some(64 << 20),
        ready_timeout_ms: 5_000,
        ..PoolSpec::default()
    }
}

fn config(spec: PoolSpec) -> PoolConfig {
    let env = [("SECRET".to_owned(), "x,y=z".to_owned())].into();
    PoolConfig::new(PoolName::new("shop").unwrap(), spec, env).unwrap()
}

/// A pool at work.
struct World {
    engine: FakeEngine,
    handle: PoolHandle,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl World {
    async fn start(engine: FakeEngine, spec: PoolSpec) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let parts = PoolParts {
            engine: Arc::new(engine.clone()),
            sensors: None,
            calm: None,
            millicores: 2000,
            listener,
            grace: Duration::from_secs(1),
            log: None,
        };
        let shutdown = CancellationToken::new();
        let (handle, running) = pool(config(spec), parts, shutdown.clone());
        Self { engine, handle, shutdown, running: tokio::spawn(running) }
    }

    async fn until(&self, what: &str, is: impl Fn(&PoolStatus) -> bool) -> PoolStatus {
        let mut watch = self.handle.watch();
        if let Ok(found) = timeout(SOON, watch.wait_for(|status| is(status))).await {
            return found.expect("the pool runs").clone();
        }
        panic!("never {what}: {:#?}", self.handle.status().await)
    }

    async fn end(self) -> FakeEngine {
        self.shutdown.cancel();
        timeout(SOON, self.running).await.expect("it ends").unwrap();
        self.engine
    }
}

/// Servers on neighbouring ports; the first of them.
async fn ports() -> u16 {
    for _ in 0..50 {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = first.local_addr().unwrap().port();
        let mut all = vec![first];
        for port in 1..PORTS {
            match base.checked_add(port) {
                Some(port) => all.extend(TcpListener::bind(("127.0.0.1", port)).await),
                None => break,
            }
        }
        if all.len() == usize::from(PORTS) {
            for listener in all {
                tokio::spawn(serve_tasks(listener, "fake".to_owned(), CancellationToken::new()));
            }
            return base;
        }
    }
    panic!("there are no {PORTS} neighbouring ports");
}

fn started(engine: &FakeEngine) -> usize {
    engine.calls().iter().filter(|call| matches!(call, Call::Start(_))).count()
}

#[tokio::test]
async fn an_engine_that_refuses_is_asked_ever_more_seldom_and_then_no_more_is_started_than_wanted() {
    let engine = FakeEngine::new();
    for _ in 0..3 {
        engine.next(Op::Start, Behaviour::Fail(EngineError::Refused("no space left on device".into())));
    }
    let world = World::start(engine, spec(ports().await)).await;
    let down = world.until("down", |status| status.health == PoolHealth::Down).await;
    let problem = down.problem.expect("a problem");
    assert!(problem.what.contains("no space left on device") && problem.failures > 0, "{problem:?}");
    assert!(problem.retry_at.is_some_and(|at| at > down.time), "{problem:?}");
    let well = world
        .until("serving", |status| status.health == PoolHealth::Serving && status.counts.ready == 2)
        .await;
    assert_eq!((well.problem, well.totals.start_failures), (None, 3));
    // Two were tried together, then one at a time, and only then the rest.
    assert_eq!(started(&world.engine), 5);
    assert!(well.containers.iter().all(|one| one.state == PoolContainerState::Ready));
    let engine = world.end().await;
    assert_eq!(engine.names().len(), 2, "its containers stay");
}

#[tokio::test]
async fn what_an_earlier_runner_left_is_adopted_and_what_is_not_as_it_should_be_removed() {
    let (base, engine) = (ports().await, FakeEngine::new());
    let first = World::start(engine.clone(), spec(base)).await;
    first.until("serving", |status| status.counts.ready == 2).await;
    let engine = first.end().await;
    let (before, made) = (engine.names(), started(&engine));
    engine.create_only("dockhealth-pool-shop-9", &FakeEngine::labelled(&[("dockhealth.pool", "shop")]));
    engine.run("other", &FakeEngine::labelled(&[("dockhealth.pool", "others")]));
    let second = World::start(engine, spec(base)).await;
    second.until("serving", |s| s.counts.ready == 2 && s.counts.removing == 0).await;
    let engine = second.end().await;
    assert_eq!(started(&engine), made, "none was started");
    let mut after = engine.names();
    after.retain(|(name, _)| name != "other");
    assert_eq!(after, before);
    // Made otherwise, they are replaced.
    let third = World::start(engine, PoolSpec { memory_bytes: None, ..spec(base) }).await;
    third.until("replaced", |s| s.counts.ready == 2 && s.counts.removing == 0 && s.totals.started == 2).await;
    third.end().await;
}

#[tokio::test]
async fn one_that_ends_is_replaced_and_bounds_may_change() {
    let world = World::start(FakeEngine::new(), spec(ports().await)).await;
    world.until("serving", |status| status.counts.ready == 2).await;
    world.engine.crash("dockhealth-pool-shop-0", 1);
    world.until("replaced", |s| s.totals.lost == 1 && s.counts.ready == 2 && s.counts.removing == 0).await;
    let now = world.handle.status().await.spec;
    let otherwise = PoolSpec { queue: now.queue + 1, ..now.clone() };
    assert!(!world.handle.change(config(otherwise)).await, "for that it must be run anew");
    assert!(world.handle.change(config(PoolSpec { min: 1, max: 1, ..now })).await);
    let small = world.until("smaller", |s| s.counts.ready == 1 && s.containers.len() == 1).await;
    assert_eq!((small.spec.max, small.totals.removed), (1, 1));
    let handle = world.handle.clone();
    assert!(handle.decisions(5).await.is_some_and(|decisions| decisions.len() == 5));
    world.end().await;
    assert_eq!((handle.decisions(5).await, handle.status().await.health), (None, PoolHealth::Ending));
}

#[tokio::test]
async fn an_engine_that_is_away_is_said_and_waited_for() {
    let engine = FakeEngine::new();
    engine.set_reachable(false);
    let world = World::start(engine, spec(ports().await)).await;
    let down = world.until("down", |status| status.health == PoolHealth::Down).await;
    assert!(down.problem.is_some_and(|problem| problem.what.contains("unreachable")));
    world.engine.set_reachable(true);
    world.until("serving", |status| status.health == PoolHealth::Serving && status.counts.ready == 2).await;
    world.engine.set_reachable(false);
    let degraded = world.until("degraded", |status| status.health == PoolHealth::Degraded).await;
    assert_eq!(degraded.counts.ready, 2, "they go on without it");
    world.engine.set_reachable(true);
    world.until("serving again", |status| status.health == PoolHealth::Serving).await;
    world.end().await;
}

#[test]
fn a_container_gets_nothing_but_its_own() {
    let body = config(spec(4000)).body(3, "f00d");
    let host = &body["HostConfig"];
    assert_eq!((&host["Privileged"], &host["AutoRemove"]), (&false.into(), &true.into()));
    assert_eq!(host["SecurityOpt"][0], "no-new-privileges");
    for absent in ["Binds", "Mounts", "CapAdd", "Devices", "PidMode", "IpcMode", "VolumesFrom"] {
        assert!(host.get(absent).is_none(), "{absent}");
    }
    assert_eq!(host["PortBindings"]["80/tcp"][0]["HostIp"], "127.0.0.1");
    assert_eq!(host["PortBindings"]["80/tcp"][0]["HostPort"], "4003");
    assert_eq!((&host["NanoCpus"], &host["Memory"]), (&500_000_000.into(), &(64 << 20).into()));
    assert_eq!(body["Env"][0], "SECRET=x,y=z");
    assert_eq!(
        (&body["Labels"]["tier"], &body["Labels"]["dockhealth.pool"]),
        (&"shop".into(), &"shop".into())
    );
}

#[test]
fn a_wrong_specification_is_named() {
    let name = || PoolName::new("shop").unwrap();
    let wrong = |spec: PoolSpec| PoolConfig::new(name(), spec, [].into()).unwrap_err().field;
    let good = || spec(4000);
    let ours = [("dockhealth.pool".to_owned(), "x".to_owned())].into();
    for (spec, word) in [
        (PoolSpec { network: Some("host".into()), ..good() }, "network"),
        (PoolSpec { network: Some("container:x".into()), ..good() }, "network"),
        (PoolSpec { labels: ours, ..good() }, "labels"),
        (PoolSpec { port_base: Some(65_531), ..good() }, "port_base"),
        (PoolSpec { controller: "magic".into(), ..good() }, "controller"),
        (PoolSpec { min: 3, ..good() }, "max"),
        (PoolSpec { concurrency: 0, ..good() }, "concurrency"),
        (PoolSpec { queue: 100_001, ..good() }, "queue"),
        (PoolSpec { cpus: Some(f64::NAN), ..good() }, "cpus"),
        (PoolSpec { image: "a\u{1b}b".into(), ..good() }, "image"),
        (PoolSpec { ready_path: Some("x".into()), ..good() }, "ready_path"),
        (PoolSpec { load: f64::NAN, ..good() }, "load"),
    ] {
        assert_eq!(wrong(spec), word);
    }
}
