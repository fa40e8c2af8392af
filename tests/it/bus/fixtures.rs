//! Recorded messages of each protocol version: they must be understood for ever, and version 1 must still be written as
//! it was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dockhealth::bus::{
    AgentCommand, AgentReply, HostReport, NetworkReport, OutboxAck, OutboxBatch, OutboxItem, decode,
    decode_batch, decode_entry, encode, encode_batch, encode_entry, parse_key,
};
use dockhealth::model::{MeasureWay, Protocol};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn again<T: DeserializeOwned + Serialize>(recorded: &[u8]) -> Vec<u8> {
    encode(&decode::<T>(recorded).unwrap()).to_vec()
}

fn entry(key: &str) -> impl Fn(&[u8]) -> Vec<u8> + use<'_> {
    move |recorded| encode_entry(&decode_entry(parse_key(key).unwrap(), recorded).unwrap()).unwrap()
}

/// The recordings that are plain JSON.
fn recordings() -> impl Iterator<Item = PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/protocol/v1");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ext| ext == "json"))
}

#[test]
fn a_compressed_batch_is_the_plain_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/protocol/v1");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let batch: OutboxBatch = decode(&read("outbox_batch_metrics.json")).unwrap();
    assert!(matches!(&batch.items[..], [OutboxItem::Metrics(tick)] if tick.containers.len() == 1));
    // As gzip(1) writes it, and as we do.
    for compressed in [read("outbox_batch_metrics.json.gz"), encode_batch(&batch).to_vec()] {
        let read = decode_batch(&compressed).unwrap();
        assert_eq!((read.batch, read.unreadable), (batch.clone(), None));
    }
}

#[test]
fn version_1_is_read_and_written_as_recorded() {
    type Again = Box<dyn Fn(&[u8]) -> Vec<u8>>;
    let kinds: [(&str, Again); 11] = [
        ("host_report", Box::new(again::<HostReport>)),
        ("outbox_batch", Box::new(again::<OutboxBatch>)),
        ("outbox_ack", Box::new(again::<OutboxAck>)),
        ("agent_command", Box::new(again::<AgentCommand>)),
        ("agent_reply", Box::new(again::<AgentReply>)),
        ("desired_threshold", Box::new(entry("threshold"))),
        ("desired_container", Box::new(entry("container.web=2Eexample=2Eorg.web=2E1"))),
        ("desired_freeze", Box::new(entry("freeze.all"))),
        ("desired_rules", Box::new(entry("rules"))),
        ("desired_pool", Box::new(entry("pool.web1.shop"))),
        ("network_report", Box::new(again::<NetworkReport>)),
    ];
    let mut seen = BTreeMap::new();
    for path in recordings() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let kind = kinds.iter().find(|(kind, _)| name.starts_with(kind));
        let (kind, again) = kind.unwrap_or_else(|| panic!("{name}: no such kind of message"));
        let recorded = std::fs::read(&path).unwrap();
        let before: Value = serde_json::from_slice(&recorded).unwrap();
        let after: Value = serde_json::from_slice(&again(&recorded)).unwrap();
        assert_eq!(before, after, "{name}");
        *seen.entry(*kind).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), kinds.len(), "every kind has a recording: {seen:?}");
}

/// What a later version may add: fields, kinds of items, words of the sets that have a word for the unknown.
#[test]
fn a_later_version_is_understood() {
    fn with(file: &str, change: impl Fn(&mut Value)) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/protocol/v1");
        let mut value = serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap();
        change(&mut value);
        value["v"] = 2.into();
        value["new_field"] = "of version 2".into();
        serde_json::to_vec(&value).unwrap()
    }
    let report: HostReport = decode(&with("host_report.json", |report| {
        report["containers"][0]["health"] = "sleepy".into();
        report["containers"][0]["status"] = "dreaming".into();
    }))
    .unwrap();
    assert_eq!(report.containers[0].health.as_str(), "unknown");
    assert_eq!(report.containers[0].status.as_str(), "unknown");

    let batch: OutboxBatch = decode(&with("outbox_batch.json", |batch| {
        batch["items"][0]["kind"] = "container_teleported".into();
        batch["items"][0]["by"] = "robot".into();
        let unknown = serde_json::json!({ "type": "hologram", "size": [1, 2, 3] });
        batch["items"].as_array_mut().unwrap().push(unknown);
    }))
    .unwrap();
    assert_eq!(batch.items.len(), 2, "items of unknown kinds keep their number");
    assert_eq!(batch.items[1], OutboxItem::Unknown);
    let OutboxItem::Event(event) = &batch.items[0] else { panic!("{batch:?}") };
    assert_eq!(event.kind.as_str(), "other");

    let network: NetworkReport = decode(&with("network_report.json", |report| {
        report["interval"]["way"] = "telepathy".into();
        report["interval"]["flows"][0]["peer"]["kind"] = "satellite".into();
        report["interval"]["flows"][0]["protocol"] = "quic".into();
    }))
    .unwrap();
    assert_eq!(
        (network.interval.way, network.interval.flows[0].protocol),
        (MeasureWay::Unknown, Protocol::Other)
    );

    let entries = [
        ("desired_threshold.json", "threshold"),
        ("desired_freeze.json", "freeze.all"),
        ("desired_rules.json", "rules"),
        ("desired_pool.json", "pool.web1.shop"),
    ];
    for (file, key) in entries {
        decode_entry(parse_key(key).unwrap(), &with(file, |_| ())).unwrap();
    }
}

#[test]
fn the_protocol_page_shows_every_recording() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/protocol.md")).unwrap();
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let shown: Vec<Value> =
        page.split("```json\n").skip(1).map(|rest| parse(rest.split("```").next().unwrap())).collect();
    let mut recorded = Vec::new();
    for path in recordings() {
        recorded.push(parse(&std::fs::read_to_string(&path).unwrap()));
        assert!(
            shown.contains(recorded.last().unwrap()),
            "docs/protocol.md does not show {}",
            path.display()
        );
    }
    assert!(shown.iter().all(|example| recorded.contains(example)), "an example is not a recording");
}
