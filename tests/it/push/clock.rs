//! Hosts whose clocks are two minutes ahead and behind: stored with their own times, shown and told.

use std::process::Command;

use dockhealth::bus::{Bus, Subject, encode};
use dockhealth::model::{SeriesName, Timestamp};
use dockhealth::store::OutboxBounds;
use serde_json::Value;

use super::rig::{World, tick};
use crate::http::world::report;
use crate::support::DOCKHEALTH;
use crate::support::eventually;

const OFF: [(&str, i64); 3] = [("ahead", 120), ("behind", -120), ("right", 0)];

async fn get(world: &World, path: &str) -> Value {
    let url = format!("http://{}{path}", world.address);
    let text =
        tokio::task::spawn_blocking(move || ureq::get(url).call().unwrap().body_mut().read_to_string());
    serde_json::from_str(&text.await.unwrap().unwrap()).unwrap()
}

/// The kinds of events about clocks, by host.
async fn told(world: &World, host: &str) -> Vec<String> {
    let events = get(world, &format!("/api/v1/events?after=0&limit=1000&host={host}")).await;
    let kinds = events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned());
    kinds.filter(|kind| kind.starts_with("clock")).collect()
}

async fn say(world: &World, seconds_off: i64, host: &str, seq: u64) {
    let mut said = report(host, Vec::new());
    (said.nonce, said.seq) = (uuid::Uuid::from_u128(1), seq);
    said.time = Timestamp::from_millis(Timestamp::now().millis() + seconds_off * 1000);
    said.engine.id = format!("engine-{host}").parse().ok();
    world.bus.publish(&Subject::Report(host.parse().unwrap()), encode(&said)).await.unwrap();
}

#[tokio::test]
async fn a_clock_two_minutes_off_is_stored_shown_and_told() {
    let world = World::new().await;
    let mut seq = 0;
    let hosts = eventually("the clocks are told", async || {
        seq += 1;
        for (host, off) in OFF {
            say(&world, off, host, seq).await;
        }
        let hosts = get(&world, "/api/v1/hosts").await;
        let skewed = hosts.as_array()?.iter().filter(|host| host["clock_skewed"] == true).count();
        (skewed == 2).then_some(hosts)
    })
    .await;
    for (host, off) in OFF {
        let shown = hosts.as_array().unwrap().iter().find(|shown| shown["hostname"] == host).unwrap();
        let offset = shown["clock_offset_ms"].as_i64().unwrap();
        assert!((offset - off * 1000).abs() < 20_000, "{host}: {offset}");
        let kinds: &[&str] = if off == 0 { &[] } else { &["clock_skewed"] };
        eventually(&format!("{host} is told"), async || (told(&world, host).await == kinds).then_some(()))
            .await;
    }
    eventually("both are incidents", async || {
        let incidents = get(&world, "/api/v1/incidents?open=true").await;
        (incidents.as_array()?.iter().filter(|i| i["kind"] == "clock").count() == 2).then_some(())
    })
    .await;
    let (address, nowhere) = (world.address, tempfile::tempdir().unwrap());
    let listed = tokio::task::spawn_blocking(move || {
        Command::new(DOCKHEALTH)
            .args(["hosts", "--server", &format!("http://{address}")])
            .env("DOCKHEALTH_DATA_DIR", nowhere.path())
            .output()
            .unwrap()
    });
    let output = listed.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let listed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(listed.matches("its clock is off").count(), 2, "{listed}");
    assert!(listed.contains("CLOCK") && listed.contains("+1") && listed.contains("-1"), "{listed}");

    // Metrics keep their own times.
    let dir = tempfile::tempdir().unwrap();
    let lane = world.lane("ahead", dir.path(), OutboxBounds::default());
    let mut measured = tick(0);
    measured.time = Timestamp::now().millis() / 1000 + 120;
    lane.ticks.send(measured.clone()).await.unwrap();
    eventually("it is stored", async || {
        world.store.newest("ahead", SeriesName::of("load1")).await.map(|load| assert!(load > 0.9))
    })
    .await;
    let path = format!("/api/v1/hosts/ahead/metrics?names=load1&step=1&from={0}&to={0}", measured.time);
    let path = path.replace(&format!("from={}", measured.time), &format!("from={}", measured.time - 1));
    let shown = get(&world, &path).await;
    assert_eq!(shown["series"]["load1"], serde_json::json!([null, 1.0]), "{shown}");
    lane.stop().await;

    // When the clock is set right, that is told too.
    eventually("the end is told", async || {
        seq += 1;
        say(&world, 0, "behind", seq).await;
        (told(&world, "behind").await == ["clock_skewed", "clock_agrees"]).then_some(())
    })
    .await;
}
