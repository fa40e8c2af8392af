//! The bucket of desired state, by the four JetStream calls it takes. No consumers: an agent needs no right but to
//! read, and the server keeps nothing for it.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::connection::{Connection, Question};
use crate::bus::{BusError, DesiredChange, encode_entry, key_of};

/// The stream behind the bucket `dockhealth`.
const STREAM: &str = "KV_dockhealth";
/// What subjects of entries begin with.
const ENTRIES: &str = "$KV.dockhealth.";
/// Where the server tells each change as it is stored.
pub(super) const CHANGES: &str = "dockhealth.v1.desired.";
/// How long the server may take for one call.
const WITHIN: Duration = Duration::from_secs(5);
/// How long the bucket may take to show that it is there.
const PROBE_WITHIN: Duration = Duration::from_secs(1);
/// JetStream's code for a stream that exists with another configuration.
const EXISTS_OTHERWISE: u64 = 10_058;

/// An entry as the stream holds it.
pub(super) struct Entry {
    /// Its key in the bucket.
    pub(super) key: String,
    /// Its place in the stream: grows with every change.
    pub(super) revision: u64,
    /// Its value; `None` for the mark of a removal.
    pub(super) value: Option<Bytes>,
}

impl Entry {
    /// Reads a message of the stream, or of [`CHANGES`].
    pub(super) fn read(message: &async_nats::Message) -> Option<Self> {
        let header = |name: &str| message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str);
        let subject = header("Nats-Subject").unwrap_or(message.subject.as_str());
        let key = subject.strip_prefix(ENTRIES).or_else(|| subject.strip_prefix(CHANGES))?.to_owned();
        let revision = header("Nats-Sequence")?.parse().ok()?;
        let removed = matches!(header("KV-Operation"), Some("DEL" | "PURGE"));
        Some(Self { key, revision, value: (!removed).then(|| message.payload.clone()) })
    }
}

/// Creates the bucket; one that exists is left as it is.
pub(super) async fn create(connection: &Connection) -> Result<(), BusError> {
    let config = json!({
        "name": STREAM,
        "description": "dockhealth: desired state",
        "subjects": [format!("{ENTRIES}>")],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "max_msgs": -1,
        "max_bytes": 64 << 20,
        "max_msg_size": 64 << 10,
        "max_age": 0,
        "max_consumers": -1,
        "num_replicas": 1,
        "deny_delete": true,
        "allow_rollup_hdrs": true,
        "allow_direct": true,
        "republish": { "src": format!("{ENTRIES}>"), "dest": format!("{CHANGES}>") },
    });
    let question = Question::new(format!("$JS.API.STREAM.CREATE.{STREAM}"), config.to_string());
    match reply(&connection.ask(question, WITHIN).await?.payload)? {
        Ok(_) | Err((EXISTS_OTHERWISE, _)) => Ok(()),
        Err((_, reason)) => Err(BusError::Refused(format!("cannot create the bucket dockhealth: {reason}"))),
    }
}

/// Writes one entry, creating the bucket when there is none; on return it is stored.
pub(super) async fn put(connection: &Connection, change: &DesiredChange) -> Result<(), BusError> {
    match try_put(connection, change).await {
        Err(BusError::NoAnswer(_)) => {
            create(connection).await?;
            try_put(connection, change).await
        }
        done => done,
    }
}

async fn try_put(connection: &Connection, change: &DesiredChange) -> Result<(), BusError> {
    let value = encode_entry(change);
    let mut question = Question::new(format!("{ENTRIES}{}", key_of(&change.key())), Bytes::new());
    match value {
        Some(value) => question.payload = value.into(),
        None => question.headers.insert("KV-Operation", "DEL"),
    }
    match reply(&connection.ask(question, WITHIN).await?.payload)? {
        Ok(ack) if ack["stream"] == STREAM && ack["seq"].is_u64() => Ok(()),
        Ok(ack) => Err(BusError::Malformed(format!("not an acknowledgement of {STREAM}: {ack}"))),
        Err((_, reason)) => Err(BusError::Refused(reason)),
    }
}

/// Fails when there is no bucket: nobody answers for one, and some servers don't say so but stay silent.
pub(super) async fn probe(connection: &Connection, filter: &str) -> Result<(), BusError> {
    match read(connection, filter, 1, PROBE_WITHIN).await {
        Ok(_) => Ok(()),
        Err(BusError::NoAnswer(_)) => Err(BusError::Refused("there is no bucket dockhealth yet".into())),
        Err(error) => Err(error),
    }
}

/// The first entry under `filter` (a key, `*` for one token) at or after `revision`; `None` when there is no more.
pub(super) async fn next(
    connection: &Connection,
    filter: &str,
    revision: u64,
) -> Result<Option<Entry>, BusError> {
    read(connection, filter, revision, WITHIN).await
}

async fn read(
    connection: &Connection,
    filter: &str,
    revision: u64,
    within: Duration,
) -> Result<Option<Entry>, BusError> {
    let question = json!({ "seq": revision, "next_by_subj": format!("{ENTRIES}{filter}") });
    let question = Question::new(format!("$JS.API.DIRECT.GET.{STREAM}"), question.to_string());
    let message = connection.ask(question, within).await?;
    match message.status.map(|status| status.as_u16()) {
        None => match Entry::read(&message) {
            Some(entry) => Ok(Some(entry)),
            None => Err(BusError::Malformed("an entry without key or revision".into())),
        },
        Some(404) => Ok(None),
        Some(code) => {
            let reason = message.description.unwrap_or_default();
            Err(BusError::Refused(format!("cannot read the bucket dockhealth: {code} {reason}")))
        }
    }
}

/// A JetStream answer: the inner error has JetStream's code and words.
fn reply(payload: &[u8]) -> Result<Result<Value, (u64, String)>, BusError> {
    let value: Value = serde_json::from_slice(payload).map_err(|e| BusError::Malformed(e.to_string()))?;
    let Some(error) = value.get("error") else { return Ok(Ok(value)) };
    let reason = error["description"].as_str().unwrap_or("no reason given").to_owned();
    Ok(Err((error["err_code"].as_u64().unwrap_or_default(), reason)))
}
