//! What reaches the store, whatever is in between.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use dockhealth::model::EventKind;
use dockhealth::store::{EventQuery, OutboxBounds};

use super::rig::{Lane, World, eventually};

async fn wait_stored(world: &World, host: &str, seconds: impl Iterator<Item = i64>) {
    let expected: BTreeSet<i64> = seconds.collect();
    eventually(&format!("{} ticks of {host} are stored", expected.len()), async || {
        (world.store.seconds(host).await == expected).then_some(())
    })
    .await;
}

async fn ticks(lane: &Lane, seconds: impl Iterator<Item = i64>) {
    for second in seconds {
        lane.tick(second).await;
    }
}

#[tokio::test]
async fn what_is_delivered_at_once_never_touches_the_disk() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let lane = world.lane("h", dir.path(), OutboxBounds::default());
    ticks(&lane, 1..=20).await;
    wait_stored(&world, "h", 1..=20).await;
    assert_eq!(lane.db.last_tick().await.unwrap(), 0, "a tick was written");
    lane.stop().await;
    assert_eq!(world.figure("dockhealth_metric_ticks_stored_total").await, 20.0);
    // Two of the container, and of the host load1, outbox_items and samples_dropped: what is not a number is left out.
    assert_eq!(world.figure("dockhealth_metric_samples_stored_total").await, 100.0);
}

#[tokio::test]
async fn what_waits_outlives_kill_9_and_follows_the_newest_when_the_way_is_open_again() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let lane = world.lane("h", dir.path(), OutboxBounds::default());
    world.bus.cut.store(true, Relaxed);
    ticks(&lane, 1..=300).await;
    lane.wait_kept(300).await;
    lane.kill().await;

    let lane = world.lane("h", dir.path(), OutboxBounds::default());
    ticks(&lane, 301..=310).await;
    lane.wait_kept(310).await;
    assert_eq!(world.store.seconds("h").await.len(), 0);
    world.bus.cut.store(false, Relaxed);
    wait_stored(&world, "h", 1..=310).await;
    lane.wait_kept(0).await;
    let sent = world.bus.sent.lock().unwrap().clone();
    let times: Vec<i64> = sent.iter().flatten().map(|time| time - super::rig::BEGIN).collect();
    assert_eq!(times[0], 310, "the newest goes first");
    assert_eq!(times[1..], (1..=309).collect::<Vec<_>>(), "then the oldest, each once");
    assert!(sent.iter().all(|batch| batch.len() <= 120), "in bounded batches");
    lane.stop().await;
}
