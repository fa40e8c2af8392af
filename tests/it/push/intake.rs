//! What the controller takes in and what it refuses.

use std::time::Duration;

use bytes::Bytes;
use dockhealth::bus::{
    Bus, BusError, OutboxAck, OutboxBatch, OutboxItem, PROTOCOL_VERSION, Subject, decode, encode,
    encode_batch, gzip,
};
use dockhealth::model::{Actor, EventDraft, EventKind, Timestamp};

use super::rig::{World, tick};
use crate::support::eventually;

const WITHIN: Duration = Duration::from_secs(10);

fn batch(host: &str, items: Vec<OutboxItem>) -> OutboxBatch {
    let seq = 100 + items.len() as u64;
    let session = uuid::Uuid::from_u128(9);
    OutboxBatch { v: PROTOCOL_VERSION, host: host.parse().unwrap(), session, seq, items }
}

fn metrics(second: i64) -> OutboxItem {
    OutboxItem::Metrics(tick(second))
}

async fn send(world: &World, host: &str, payload: Bytes) -> Result<OutboxAck, BusError> {
    let subject = Subject::Outbox(host.parse().unwrap());
    decode(&world.bus.request(&subject, payload, WITHIN).await?)
}

#[tokio::test]
async fn metrics_come_in_any_order_again_plain_or_compressed() {
    let world = World::new().await;
    for seconds in [[5, 6], [1, 2], [5, 6], [3, 4]] {
        let batch = batch("h", seconds.map(metrics).to_vec());
        let ack = send(&world, "h", encode_batch(&batch)).await.unwrap();
        assert_eq!(ack, OutboxAck { v: PROTOCOL_VERSION, seq: 102, refused: None });
    }
    let plain = batch("h", vec![metrics(7)]);
    assert_eq!(send(&world, "h", encode(&plain)).await.unwrap().seq, 101);
    assert_eq!(world.store.seconds("h").await, (1..=7).collect());
}

#[tokio::test]
async fn events_beside_metrics_are_stored_once() {
    let world = World::new().await;
    let event = EventDraft::new(EventKind::AgentStarted, Actor::Agent, "x")
        .stamp(&"h".parse().unwrap(), Timestamp::now());
    let both = batch("h", vec![metrics(1), OutboxItem::Event(event)]);
    for _ in 0..2 {
        assert_eq!(send(&world, "h", encode_batch(&both)).await.unwrap().seq, 102);
    }
    assert_eq!(world.store.seconds("h").await, [1].into());
    assert!((world.figure("dockhealth_events_stored_total").await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn what_can_never_be_stored_is_acknowledged_with_the_reason_and_counted() {
    let world = World::new().await;
    let mut odd = tick(2);
    odd.step = 13;
    let mixed = batch("h", vec![metrics(1), OutboxItem::Metrics(odd), metrics(3)]);
    let ack = send(&world, "h", encode_batch(&mixed)).await.unwrap();
    assert!(ack.refused.as_ref().is_some_and(|why| why.contains("no multiple of its step, 13 s")), "{ack:?}");
    assert_eq!((ack.seq, world.store.seconds("h").await), (103, [1, 3].into()));

    let mut json = serde_json::to_value(batch("h", vec![metrics(4), metrics(5)])).unwrap();
    json["items"][0]["host"] = serde_json::json!({ "Bad name": 1 });
    let ack = send(&world, "h", gzip(json.to_string().as_bytes()).into()).await.unwrap();
    assert!(ack.refused.as_ref().is_some_and(|why| why.contains("Bad name")), "{ack:?}");
    assert_eq!(world.store.seconds("h").await, [1, 3, 5].into());
    assert!((world.figure("dockhealth_metric_ticks_refused_total").await - 2.0).abs() < 0.1);
}

#[tokio::test]
async fn a_host_cannot_speak_for_another_and_garbage_is_not_acknowledged() {
    let world = World::new().await;
    let subject = Subject::Outbox("h".parse().unwrap());
    let other = encode_batch(&batch("other", vec![metrics(1)]));
    for bad in [other, Bytes::from_static(b"\x1f\x8bgarbage"), gzip(b"{}").into()] {
        let answer = world.bus.request(&subject, bad, Duration::from_secs(5)).await;
        assert!(matches!(answer, Err(BusError::NoAnswer(_))), "{answer:?}");
    }
    assert_eq!(world.store.seconds("other").await, [].into());
    eventually("each is counted", async || {
        let refused = world.figure("dockhealth_outbox_batches_refused_total").await;
        ((refused - 3.0).abs() < 0.1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_host_that_the_store_refuses_keeps_nobody_else_out() {
    let world = World::new().await;
    let unwelcome = async {
        loop {
            let batch = encode_batch(&batch("unwelcome", vec![metrics(1)]));
            let subject = Subject::Outbox("unwelcome".parse().unwrap());
            match world.bus.request(&subject, batch, Duration::from_secs(1)).await {
                Ok(answer) => return decode::<OutboxAck>(&answer).unwrap(),
                Err(error) => assert!(matches!(error, BusError::NoAnswer(_)), "{error}"),
            }
        }
    };
    let others = futures_util::future::join_all((1..=20).map(async |second| {
        let batch = encode_batch(&batch("h", vec![metrics(second)]));
        while send(&world, "h", batch.clone()).await.is_err() {}
    }));
    let (ack, _) = tokio::join!(unwelcome, others);
    assert!(ack.refused.as_ref().is_some_and(|why| why.contains("no room for this host")), "{ack:?}");
    assert_eq!(world.store.seconds("h").await, (1..=20).collect());
}
