//! Events, incidents and the stream of what happens.

use dockhealth::bus::{BusError, OutboxItem};
use dockhealth::model::EventKind;

use super::client::{Ask, SseReader};
use super::world::{ScriptedAgent, World, batch, container, report};
use crate::support::eventually;

#[tokio::test]
async fn an_outbox_is_stored_once_and_acknowledged() {
    let world = World::new().await;
    let first = batch("a", 1, EventKind::ContainerFailing, Some("web"));
    for _ in 0..2 {
        assert_eq!(world.outbox(&first, "a").await.unwrap(), 1);
    }
    let second = batch("a", 2, EventKind::ContainerRestarted, Some("web"));
    assert_eq!(world.outbox(&second, "a").await.unwrap(), 2);
    let mut later = batch("a", 3, EventKind::ContainerRecovered, Some("web"));
    later.items = vec![OutboxItem::Unknown];
    assert_eq!(world.outbox(&later, "a").await.unwrap(), 3);
    assert_eq!(world.kinds().await, ["container_failing", "container_restarted"]);

    let forged = batch("a", 4, EventKind::ContainerRecovered, Some("web"));
    let refused = world.outbox(&forged, "b").await;
    assert!(matches!(refused, Err(BusError::NoAnswer(_))), "{refused:?}");
    assert_eq!(world.kinds().await.len(), 2);
    let metrics = world.get("/metrics").await;
    assert!(metrics.text().contains("dockhealth_outbox_batches_refused_total 1"), "{}", metrics.text());
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_acknowledged_and_shown() {
    let world = World::new().await;
    world.db.close().await;
    let refused = world.outbox(&batch("a", 1, EventKind::ContainerFailing, Some("web")), "a").await;
    assert!(matches!(refused, Err(BusError::NoAnswer(_))), "{refused:?}");
    let ready = eventually("readiness is looked at anew", async || {
        let answer = world.get("/readyz").await;
        (answer.status == 503).then(|| answer.json())
    })
    .await;
    assert!(ready["store"].as_str().unwrap().contains("is closed"), "{ready}");
    let metrics = world.get("/metrics").await.expect(200);
    assert!(metrics.text().lines().any(|line| line == "dockhealth_store_writable 0"), "{}", metrics.text());
    world.get("/healthz").await.expect(200);
    assert!(
        !world.get("/api/v1/events").await.problem(500).contains("db"),
        "the log says more than the client reads"
    );
}

#[tokio::test]
async fn events_are_read_by_cursor_and_filter() {
    let world = World::new().await;
    for seq in 1..=5 {
        let kind = if seq % 2 == 0 { EventKind::ContainerRestarted } else { EventKind::ContainerFailing };
        let name = if seq == 5 { "db" } else { "web" };
        world.outbox(&batch("a", seq, kind, Some(name)), "a").await.unwrap();
    }
    world.outbox(&batch("b", 1, EventKind::ContainerFailing, Some("web")), "b").await.unwrap();
    for (query, expected) in [
        ("", vec![1, 2, 3, 4, 5, 6]),
        ("after=4", vec![5, 6]),
        ("after=0&limit=2", vec![1, 2]),
        ("limit=2", vec![5, 6]),
        ("before=3", vec![1, 2]),
        ("before=5&limit=2", vec![3, 4]),
        ("kind=container_restarted", vec![2, 4]),
        ("kind=container_restarted,container_failing&host=a&container=db", vec![5]),
        ("host=b", vec![6]),
        ("after=99", vec![]),
    ] {
        let events = world.get(&format!("/api/v1/events?{query}")).await.expect(200).json();
        let seqs: Vec<_> = events.as_array().unwrap().iter().map(|e| e["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, expected, "{query}");
    }
    for (query, says) in [
        ("after=x", "whole number"),
        ("after=-1", "whole number"),
        ("limit=0", "1 to 1000"),
        ("limit=1001", "1 to 1000"),
        ("kind=nonsense", "valid: agent_started"),
        ("host=a/b", "host name"),
        ("since=1", "valid here: after, before, kind"),
    ] {
        let detail = world.get(&format!("/api/v1/events?{query}")).await.problem(400);
        assert!(detail.contains(says), "{query}: {detail}");
    }
    let open = world.get("/api/v1/incidents?open=true&host=a").await.expect(200).json();
    assert_eq!(open.as_array().unwrap().len(), 2);
    world.outbox(&batch("a", 6, EventKind::ContainerRecovered, Some("db")), "a").await.unwrap();
    let closed = world.get("/api/v1/incidents?open=false").await.expect(200).json();
    assert_eq!((&closed[0]["container"], &closed[0]["kind"]), (&"db".into(), &"container".into()));
}

#[tokio::test]
async fn the_stream_tells_what_happens_and_goes_on_where_it_was_left() {
    let world = World::new().await;
    let mut stream = world.stream("events").await;
    world.outbox(&batch("a", 1, EventKind::ContainerFailing, Some("web")), "a").await.unwrap();
    let event = stream.next().await.unwrap();
    assert_eq!((event.event.as_str(), event.id.as_str()), ("event", "1"));
    assert_eq!(event.json()["kind"], "container_failing");
    drop(stream);
    for seq in 2..=300 {
        world.outbox(&batch("a", seq, EventKind::ContainerFailing, Some("web")), "a").await.unwrap();
    }
    let ask = Ask::new("GET", "/api/v1/stream?topics=events").header("last-event-id", "1");
    let mut stream = SseReader::open(world.address, ask).await;
    for seq in 2..=300 {
        assert_eq!(stream.next().await.unwrap().id, seq.to_string());
    }
    world.outbox(&batch("a", 301, EventKind::ContainerFailing, Some("web")), "a").await.unwrap();
    assert_eq!(stream.next().await.unwrap().id, "301");
    let ask = Ask::new("GET", "/api/v1/stream?topics=events").header("last-event-id", "99999");
    let mut stream = SseReader::open(world.address, ask).await;
    world.outbox(&batch("a", 302, EventKind::ContainerFailing, Some("web")), "a").await.unwrap();
    assert_eq!(
        stream.next().await.unwrap().id,
        "302",
        "a cursor of a history that is gone begins at the present"
    );
    let bad = Ask::new("GET", "/api/v1/stream").header("last-event-id", "x").send(world.address).await;
    assert!(bad.problem(400).contains("Last-Event-ID"));
    assert!(world.get("/api/v1/stream?topics=news").await.problem(400).contains("valid: events, containers"));
}

#[tokio::test]
async fn the_stream_tells_of_containers_hosts_and_desired_state() {
    let world = World::new().await;
    let mut stream = world.stream("containers,hosts,desired").await;
    let agent = ScriptedAgent::start(&world, report("a", vec![container("web")])).await;
    let host = stream.next_named("host").await.json();
    assert_eq!((&host["hostname"], &host["presence"]), (&"a".into(), &"live".into()));
    let containers = stream.next_named("containers").await.json();
    assert_eq!(containers["containers"][0]["name"], "web");
    agent.push().await;
    agent.change(|report| report.containers[0].restarts = Some(3)).await;
    let changed = stream.next().await.unwrap();
    assert_eq!(changed.event, "containers", "an unchanged report is not told");
    assert_eq!(changed.json()["containers"][0]["restarts"], 3);
    world.call("PUT", "/api/v1/threshold", "20").await.expect(204);
    let desired = stream.next().await.unwrap();
    assert_eq!(desired.event, "desired");
    assert_eq!(desired.json(), serde_json::json!({"key": "threshold", "threshold": 20.0}));
    world.call("POST", "/api/v1/containers/a/web", "").await.expect(200);
    assert_eq!(stream.next().await.unwrap().json()["monitored"], true);
}

#[tokio::test]
async fn a_slow_client_is_told_that_it_missed_something_and_goes_on() {
    let world = World::new().await;
    let agent = ScriptedAgent::start(&world, report("a", vec![container("web")])).await;
    let mut stream = world.stream("containers").await;
    // More than the connection's buffers (6 kB each, 4 MB) and the shared one (1024 of them) take.
    for said in 1..=2000_u64 {
        agent
            .change(|report| {
                report.containers = (0..20).map(|n| container(&format!("c{n}"))).collect();
                report.containers[0].reason = format!("{said} of 2000");
            })
            .await;
        if said % 100 == 0 {
            eventually("all of them are heard", async || {
                let metrics = world.get("/metrics").await;
                let heard =
                    metrics.text().lines().find_map(|line| line.strip_prefix("dockhealth_reports_total "));
                (heard?.parse::<u64>().unwrap() > said).then_some(())
            })
            .await;
        }
    }
    let lagged = stream.next_named("lagged").await;
    assert!(lagged.json()["missed"].as_u64().unwrap() > 0);
    stream.next_named("containers").await;
}

#[tokio::test]
async fn streams_end_with_the_controller_at_once() {
    let world = World::new().await;
    let mut stream = world.stream("events").await;
    let start = std::time::Instant::now();
    world.shutdown.cancel();
    assert_eq!(stream.next().await, None);
    world.controller.ended().await;
    assert!(start.elapsed() < std::time::Duration::from_secs(3), "{:?}", start.elapsed());
}
