//! Scale-downs under load, in a pool within this process so that its bounds can be changed.

#![allow(clippy::unwrap_used, reason = "the helpers are parts of the tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use dockhealth::docker::{Engine, EngineAddress};
use dockhealth::model::{PoolSpec, PoolStatus};
use dockhealth::scale::pool::{PoolConfig, PoolHandle, PoolParts, pool};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::rig::{DEADLINE, SERVER, get};
use crate::support::{Lab, docker, dockhealth_image};

fn spec() -> PoolSpec {
    PoolSpec {
        image: dockhealth_image().to_owned(),
        command: SERVER.map(str::to_owned).to_vec(),
        period_ms: 200,
        min: 4,
        max: 4,
        ..PoolSpec::default()
    }
}

async fn until(handle: &PoolHandle, what: &str, is: impl Fn(&PoolStatus) -> bool) {
    let mut watch = handle.watch();
    let found = tokio::time::timeout(DEADLINE, watch.wait_for(|status| is(status))).await;
    assert!(found.is_ok(), "never {what}: {:#?}", handle.status().await);
}

/// The same pool with exactly so many containers.
fn sized(config: &PoolConfig, count: u32) -> PoolConfig {
    let spec = PoolSpec { min: count, max: count, ..config.spec().clone() };
    PoolConfig::new(config.name().clone(), spec, [].into()).unwrap()
}

/// Removes what a pool left.
struct Left(String);

impl Drop for Left {
    fn drop(&mut self) {
        let filter = format!("label=dockhealth.pool={}", self.0);
        let listed = docker(&["ps", "--all", "--quiet", "--filter", &filter]);
        for id in String::from_utf8_lossy(&listed.stdout).lines() {
            let _ = docker(&["rm", "--force", id]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_scale_downs_lose_no_request() {
    let lab = Lab::new("shrink");
    let _left = Left(lab.prefix().to_owned());
    let config = PoolConfig::new(lab.prefix().parse().unwrap(), spec(), [].into()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/start_task?n=1&sleep=100ms", listener.local_addr().unwrap());
    let parts = PoolParts {
        engine: Arc::new(Engine::connect(&EngineAddress::default()).unwrap()),
        sensors: None,
        calm: None,
        millicores: 2000,
        listener,
        grace: Duration::from_secs(5),
        log: None,
    };
    let shutdown = CancellationToken::new();
    let (handle, running) = pool(config.clone(), parts, shutdown.clone());
    let running = tokio::spawn(running);
    until(&handle, "ready", |status| status.counts.ready == 4).await;

    let (over, well) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let (over, well, url) = (over.clone(), well.clone(), url.clone());
            std::thread::spawn(move || {
                let mut bad = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    match get(&url) {
                        (200, ..) => drop(well.fetch_add(1, Ordering::Relaxed)),
                        other => bad.push(other),
                    }
                }
                bad
            })
        })
        .collect();
    for round in 1..=10 {
        assert!(handle.change(sized(&config, 1)).await);
        until(&handle, "small", |s| s.counts.ready == 1 && s.containers.len() == 1).await;
        assert!(handle.change(sized(&config, 4)).await);
        until(&handle, "large", |s| s.counts.ready == 4).await;
        assert!(handle.status().await.totals.removed >= round * 3);
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        assert_eq!(client.join().unwrap(), []);
    }
    let totals = handle.status().await.totals;
    assert_eq!((totals.failed, totals.refused, totals.retried, totals.lost), (0, 0, 0, 0), "{totals:?}");
    assert_eq!(totals.served, u64::from(well.load(Ordering::Relaxed)), "{totals:?}");
    assert!(totals.served > 50, "{totals:?}");
    shutdown.cancel();
    tokio::time::timeout(DEADLINE, running).await.unwrap().unwrap();
}
