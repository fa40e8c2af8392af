//! What reaches the store, whatever is in between.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use dockhealth::bus::OutboxItem;
use dockhealth::model::{EventKind, SeriesName};
use dockhealth::store::OutboxBounds;

use super::rig::{BEGIN, Lane, World, tick};
use crate::support::eventually;

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
    let times: Vec<i64> = sent.iter().flatten().map(|time| time - BEGIN).collect();
    assert_eq!(times[0], 310, "the newest goes first");
    assert_eq!(times[1..], (1..=309).collect::<Vec<_>>(), "then the oldest, each once");
    assert!(sent.iter().all(|batch| batch.len() <= 120), "in bounded batches");
    lane.stop().await;
}

#[tokio::test]
async fn an_end_in_order_loses_nothing() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    world.bus.cut.store(true, Relaxed);
    let lane = world.lane("h", dir.path(), OutboxBounds::default());
    ticks(&lane, 1..=10).await;
    lane.stop().await;
    world.bus.cut.store(false, Relaxed);
    let lane = world.lane("h", dir.path(), OutboxBounds::default());
    wait_stored(&world, "h", 1..=10).await;
    lane.wait_kept(0).await;
    lane.stop().await;
}

#[tokio::test]
async fn lost_answers_and_a_store_that_fails_double_nothing_and_lose_nothing() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let lane = world.lane("h", dir.path(), OutboxBounds::default());
    world.bus.answers_lost.store(true, Relaxed);
    ticks(&lane, 1..=5).await;
    lane.wait_kept(5).await;
    world.store.failing.store(true, Relaxed);
    world.bus.answers_lost.store(false, Relaxed);
    ticks(&lane, 6..=10).await;
    lane.wait_kept(10).await;
    eventually("the store's trouble is told", async || {
        (world.figure("dockhealth_store_errors_total").await > 0.0).then_some(())
    })
    .await;
    world.store.failing.store(false, Relaxed);
    wait_stored(&world, "h", 1..=10).await;
    lane.wait_kept(0).await;
    ticks(&lane, 11..=12).await;
    wait_stored(&world, "h", 1..=12).await;
    lane.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_halved_and_a_tick_that_is_is_dropped() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    world.bus.cut.store(true, Relaxed);
    let lane = world.lane("h", dir.path(), OutboxBounds::default());
    ticks(&lane, 1..=120).await;
    lane.wait_kept(120).await;
    world.bus.limit.store(900, Relaxed);
    world.bus.cut.store(false, Relaxed);
    wait_stored(&world, "h", 1..=120).await;
    lane.wait_kept(0).await;
    let largest = world.bus.sent.lock().unwrap().iter().map(Vec::len).max().unwrap();
    assert!((2..120).contains(&largest), "{largest}");

    let mut huge = tick(121);
    huge.containers = (0..500).map(|n| (format!("c{n}").parse().unwrap(), tick(n).host)).collect();
    lane.ticks.send(huge).await.unwrap();
    eventually("its samples are counted", async || {
        (lane.db.ticks_kept().await.unwrap().dropped_ever == 503).then_some(())
    })
    .await;
    lane.tick(122).await;
    wait_stored(&world, "h", (1..=120).chain([122])).await;
    lane.stop().await;
}

#[tokio::test]
async fn the_oldest_metrics_give_way_told_once_and_events_never_do() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    world.bus.cut.store(true, Relaxed);
    let lane = world.lane("h", dir.path(), OutboxBounds { metrics: 10_000, events: 100_000 });
    let mut last = 0;
    while lane.db.ticks_kept().await.unwrap().dropped_ever < 50 {
        last += 1;
        lane.tick(last).await;
    }
    eventually("it is told", async || (lane.db.outbox_len().await.unwrap() == 1).then_some(())).await;
    let events = lane.db.peek(10, 100_000).await.unwrap().unwrap().items;
    let [OutboxItem::Event(event)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(event.kind, EventKind::SamplesDropped);
    let kept = lane.db.ticks_kept().await.unwrap();
    lane.stop().await;
    assert_eq!(kept.dropped_ever % 5, 0, "whole ticks: {kept:?}");

    world.bus.cut.store(false, Relaxed);
    let lane = world.lane("h", dir.path(), OutboxBounds { metrics: 10_000, events: 100_000 });
    lane.wait_kept(0).await;
    let stored = world.store.seconds("h").await;
    assert_eq!(stored.last(), Some(&last), "the newest is there");
    lane.tick(last + 1).await;
    wait_stored(&world, "h", stored.into_iter().chain([last + 1])).await;
    let dropped = world.store.newest("h", SeriesName::of("samples_dropped")).await;
    assert_eq!(dropped, Some(lane.db.ticks_kept().await.unwrap().dropped_ever as f64));
    assert_eq!(lane.db.outbox_len().await.unwrap(), 1, "the event waits in its own lane");
    lane.stop().await;
}

#[tokio::test]
async fn a_disk_that_takes_nothing_does_not_keep_the_newest_from_the_controller() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let lane = world.lane("h", dir.path(), OutboxBounds::default());
    lane.tick(1).await;
    wait_stored(&world, "h", 1..=1).await;
    lane.db.close().await;
    world.bus.cut.store(true, Relaxed);
    ticks(&lane, 2..=5).await;
    world.bus.cut.store(false, Relaxed);
    ticks(&lane, 6..=6).await;
    wait_stored(&world, "h", 1..=6).await;
    lane.stop().await;
}
