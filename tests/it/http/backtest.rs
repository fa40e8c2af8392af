//! Backtests: another policy over what was recorded.

use dockhealth::model::{Actor, Event, EventDraft, EventKind, Timestamp};
use serde_json::json;

use super::client::Ask;
use super::measured::{deliver, now, tick, values};
use super::world::{ScriptedAgent, World, container, host, report};

/// A world with an hour of two monitored containers, one that lost 30 % for five minutes in its middle and was restarted
/// near the end, and one that is not monitored.
async fn recorded() -> (World, ScriptedAgent, i64) {
    let world = World::new().await;
    let mut other = container("other");
    other.monitored = false;
    let containers = vec![container("web-1"), container("web-2"), other];
    let agent = ScriptedAgent::start(&world, report("a", containers)).await;
    let end = now();
    let lossy = |n: i64| (180..210).contains(&n);
    let ticks = (0..=360_i64).map(|n| {
        let of = |loss: f64| values(&[("loss_percent", loss), ("rtt_ms", 0.1)]);
        let web_1 = of(if lossy(n) { 30.0 } else { 0.0 });
        tick(end - 3600 + n * 10, values(&[]), &[("web-1", web_1), ("web-2", of(0.0))])
    });
    deliver(&world, "a", ticks.collect()).await;
    let restarted =
        EventDraft::new(EventKind::ContainerRestarted, Actor::Agent, "web-1 was restarted in 0.2 s.")
            .about(&"web-1".parse().unwrap());
    let event: Event = restarted.stamp(&host("a"), Timestamp::from_millis((end - 600) * 1000));
    world.db.append(vec![event]).await.unwrap();
    (world, agent, end)
}

async fn post(world: &World, body: &str) -> super::client::Answer {
    Ask::new("POST", "/api/v1/backtest").body(body).send(world.address).await
}

#[tokio::test]
async fn a_policy_is_replayed_over_what_was_recorded() {
    let (world, _agent, end) = recorded().await;
    let ask = json!({"threshold": 20, "interval": "5s", "container": "web-*", "from": (end - 3600).to_string(), "to": end.to_string()});
    let told = post(&world, &ask.to_string()).await.expect(200).json();
    assert_eq!(told["policy"]["threshold"], 20.0);
    assert_eq!((&told["policy"]["interval"], &told["policy"]["assume"]), (&json!("5s"), &json!("heals")));
    let span = &told["span"];
    let at = |second: i64| json!(Timestamp::from_millis(second * 1000).to_string());
    assert_eq!(
        (&span["from"], &span["to"], &span["resolution_seconds"]),
        (&at(end - 3600), &at(end), &json!(10))
    );
    let [one, two] = &told["containers"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!(
        (&one["hostname"], &one["name"], &two["name"]),
        (&json!("a"), &json!("web-1"), &json!("web-2"))
    );
    let [deed] = &one["would_restart"].as_array().unwrap()[..] else { panic!("{one}") };
    let time: Timestamp = serde_json::from_value(deed["time"].clone()).unwrap();
    let onset = (end - 1800) * 1000;
    assert!((onset..onset + 15_000).contains(&time.millis()), "{deed}");
    let why = "web-1 loses 30 % of its packets, above its threshold of 20 %";
    assert_eq!((&deed["kind"], &deed["reason"]), (&json!("restart"), &json!(why)));
    assert_eq!(one["did"][0]["time"], at(end - 600));
    let totals =
        json!({"containers": 2, "would_restart": 1, "did": 1, "same": 0, "extra": 1, "prevented": 1});
    assert_eq!(told["totals"], totals);
    assert!(told["assumptions"][0].as_str().unwrap().contains("unknown"), "{told}");
    assert!(told["assumptions"].to_string().contains("5s is shorter than 10s"), "{told}");

    // The thresholds in force are above it, and then nothing would have been done.
    let told = post(&world, &json!({"from": "-1h"}).to_string()).await.expect(200).json();
    assert_eq!((&told["policy"]["threshold"], &told["totals"]["would_restart"]), (&json!(null), &json!(0)));
    assert_eq!(told["containers"].as_array().unwrap().len(), 2, "only what is monitored");
    world.call("PUT", "/api/v1/threshold", "25").await.expect(204);
    let told = post(&world, "").await.expect(200).json();
    assert_eq!(told["totals"]["would_restart"], 1, "an empty body is a day under the thresholds in force");
}

#[tokio::test]
async fn what_is_wrong_with_a_backtest_is_said() {
    let (world, _agent, _end) = recorded().await;
    for (body, status, says) in [
        (r#"{"threshold": 101}"#, 400, "not a percentage"),
        (r#"{"interval": "0s"}"#, 400, "interval: \"0s\" is out of range: give from 1s to 1h"),
        (r#"{"interval": "soon"}"#, 400, "interval: "),
        (r#"{"budget": "0/1h"}"#, 400, "budget: "),
        (r#"{"from": "-8d"}"#, 400, "more than 7d"),
        (r#"{"from": "soon"}"#, 400, "from: \"soon\" is no moment"),
        (r#"{"from": "now"}"#, 400, "from must be earlier than to"),
        (r#"{"container": "[web]"}"#, 400, "container: "),
        (r#"{"container": "none-*"}"#, 404, "no monitored container matches"),
        (r#"{"hostname": "b"}"#, 404, "no host b"),
        (r#"{"treshold": 20}"#, 400, "unknown field"),
        (r#"{"assume": "hope"}"#, 400, "unknown variant"),
        ("[", 400, "the body must be an object such as"),
    ] {
        let detail = post(&world, body).await.problem(status);
        assert!(detail.contains(says), "{body}: {detail}");
    }
}
