//! What every engine owes the traits, run against the fake and against a real engine alike.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::fake::FakeEngine;
use super::{
    AnonymousVolumes, ContainerAction, ContainerBuilder, ContainerDisturber, ContainerSource, Engine,
    EngineAddress, EngineError,
};
use crate::model::{ContainerId, ContainerName, RunState};

const REPOSITORY: &str = "dockhealth-test/engine-contract";
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn fake_keeps_the_contract() {
    let fake = FakeEngine::new();
    fake.set_image(&format!("{REPOSITORY}:1"), Some("sha256:c0c0"));
    contract(&fake, "contract").await;
}

#[tokio::test]
async fn engine_contract_real() {
    let engine = Engine::connect(&EngineAddress::default()).unwrap();
    engine.ping().await.expect("this test needs a Docker engine: start dockerd (scripts/test does)");
    let image = engine.import_image(busybox().unwrap(), REPOSITORY, "1", &["ENV A=1"]).await.unwrap();
    assert_eq!(engine.image_id(&format!("{REPOSITORY}:1")).await.unwrap(), Some(image));
    let refused = engine.import_image(Bytes::from_static(b"no archive"), REPOSITORY, "broken", &[]).await;
    assert!(matches!(refused, Err(EngineError::Refused(_))), "{refused:?}");
    let nonce: u32 = rand::random();
    contract(&engine, &format!("dhtest-contract-{nonce:08x}")).await;
}

/// A root file system with Debian's static busybox.
fn busybox() -> io::Result<Bytes> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_path_with_name("/bin/busybox", "bin/busybox")?;
    Ok(archive.into_inner()?.into())
}

/// Removes what the contract made, also when it panics: by name, through the same engine.
async fn contract<E: ContainerSource + ContainerBuilder + ContainerDisturber + Clone>(
    engine: &E,
    prefix: &str,
) {
    let names = [name(prefix, "a"), name(prefix, "b"), name(prefix, "c")];
    let outcome = tokio::spawn({
        let (engine, names) = (engine.clone(), names.clone());
        async move {
            lifecycle(&engine, &names[0]).await;
            building(&engine, &names[1], &names[2]).await;
        }
    })
    .await;
    for name in &names {
        if let Ok(facts) = engine.inspect(name.as_str()).await {
            engine.remove(&facts.id, AnonymousVolumes::Remove).await.unwrap();
        }
    }
    outcome.unwrap();
}

async fn lifecycle<E: ContainerSource + ContainerBuilder + ContainerDisturber>(
    engine: &E,
    name: &ContainerName,
) {
    assert!(!engine.info().await.unwrap().id.as_str().is_empty());
    let mut told = Told { events: engine.events(None).await.unwrap() };
    let id = engine.create(name, &body()).await.unwrap();
    let created = engine.inspect(name.as_str()).await.unwrap();
    assert_eq!((created.state, &created.id, created.started_at), (RunState::Created, &id, None));
    assert!(created.addresses().is_empty(), "{created:?}");
    let again = engine.create(name, &body()).await;
    assert!(matches!(again, Err(EngineError::Refused(_))), "{again:?}");

    engine.start(&id).await.unwrap();
    engine.start(&id).await.expect("starting is idempotent");
    let first = engine.inspect(id.as_str()).await.unwrap();
    assert_eq!((first.state, &first.name), (RunState::Running, name));
    assert_eq!(first.addresses().len(), 1);
    assert!(first.pid.is_some());
    told.expect(&id, &["create", "network", "start"]).await;

    engine.restart(&id, None).await.unwrap();
    let second = engine.inspect(id.as_str()).await.unwrap();
    assert_eq!(second.state, RunState::Running);
    assert!(second.started_at > first.started_at, "{second:?}");
    assert_ne!(second.networks[0].endpoint_id, first.networks[0].endpoint_id);
    told.expect(&id, &["kill", "die", "network", "stop", "network", "start", "restart"]).await;

    for _ in 0..2 {
        engine.pause(&id).await.expect("pausing is idempotent");
    }
    assert_eq!(engine.inspect(id.as_str()).await.unwrap().state, RunState::Paused);
    for _ in 0..2 {
        engine.unpause(&id).await.expect("unpausing is idempotent");
    }
    assert_eq!(engine.inspect(id.as_str()).await.unwrap().state, RunState::Running);
    told.expect(&id, &["pause", "unpause"]).await;

    for _ in 0..2 {
        engine.kill(&id).await.expect("killing is idempotent");
    }
    // What containerd says of a pause may reach an engine under load after its end; then it tells of both once more.
    told.until(&id, "kill").await;
    told.expect(&id, &["die", "network"]).await;
    let killed = engine.inspect(id.as_str()).await.unwrap();
    assert_eq!((killed.state, killed.exit_code), (RunState::Exited, Some(137)));
    assert!(matches!(engine.pause(&id).await, Err(EngineError::Refused(_))));
    engine.start(&id).await.unwrap();
    told.expect(&id, &["network", "start"]).await;

    engine.stop(&id, Some(Duration::from_millis(1500))).await.unwrap();
    engine.stop(&id, None).await.expect("stopping is idempotent");
    let stopped = engine.inspect(id.as_str()).await.unwrap();
    assert_eq!((stopped.state, stopped.pid), (RunState::Exited, None));
    assert!(stopped.exit_code.is_some() && stopped.finished_at > stopped.started_at, "{stopped:?}");
    told.expect(&id, &["kill", "die", "network", "stop"]).await;
    assert!(engine.list().await.unwrap().contains(&stopped));
    assert!(engine.relist().await.unwrap().contains(&stopped));

    let since = stopped.finished_at;
    engine.remove(&id, AnonymousVolumes::Remove).await.unwrap();
    engine.remove(&id, AnonymousVolumes::Remove).await.expect("removing is idempotent");
    told.expect(&id, &["destroy"]).await;
    // What is past is told again to those who ask for it.
    let mut again = Told { events: engine.events(since).await.unwrap() };
    again.until(&id, "destroy").await;
    for gone in [
        engine.start(&id).await,
        engine.stop(&id, None).await,
        engine.restart(&id, Some(SOON)).await,
        engine.inspect(id.as_str()).await.map(drop),
        engine.inspect("dhtest-no-such-container").await.map(drop),
    ] {
        assert!(matches!(gone, Err(EngineError::NoSuchContainer(_))), "{gone:?}");
    }
}

async fn building<E: ContainerSource + ContainerBuilder + ContainerDisturber>(
    engine: &E,
    one: &ContainerName,
    two: &ContainerName,
) {
    let reference = format!("{REPOSITORY}:1");
    let image = engine.image_id(&reference).await.unwrap().expect("imported before");
    assert_eq!(engine.image_id(&image).await.unwrap(), Some(image.clone()));
    assert_eq!(engine.image_id("dockhealth-test/none:1").await.unwrap(), None);
    let missing = engine.create(two, &json!({ "Image": "dockhealth-test/none:1" })).await;
    assert!(matches!(missing, Err(EngineError::Refused(_))), "{missing:?}");

    let id = engine.create(one, &body()).await.unwrap();
    engine.rename(&id, two).await.unwrap();
    let raw = engine.inspect_raw(id.as_str()).await.unwrap();
    assert_eq!(raw["Name"], json!(format!("/{two}")));
    assert_eq!((&raw["Image"], &raw["Config"]["Image"]), (&json!(image), &json!(reference)));
    let other = engine.create(one, &body()).await.unwrap();
    let taken = engine.rename(&other, two).await;
    assert!(matches!(taken, Err(EngineError::Refused(_))), "{taken:?}");

    engine.disconnect("bridge", &id).await.unwrap();
    engine.connect("bridge", &id, &json!({})).await.unwrap();
    engine.start(&id).await.unwrap();
    assert_eq!(engine.inspect(two.as_str()).await.unwrap().addresses().len(), 1);
    engine.remove(&id, AnonymousVolumes::Keep).await.expect("also while it runs");
    engine.remove(&other, AnonymousVolumes::Keep).await.unwrap();
}

/// Ends at once when it is told to.
fn body() -> Value {
    json!({
        "Image": format!("{REPOSITORY}:1"),
        "Cmd": ["/bin/busybox", "sleep", "1000"],
        "StopSignal": "SIGKILL",
        "HostConfig": { "NetworkMode": "bridge" },
    })
}

fn name(prefix: &str, suffix: &str) -> ContainerName {
    ContainerName::new(format!("{prefix}-{suffix}")).unwrap()
}

struct Told {
    events: futures_util::stream::BoxStream<'static, Result<super::EngineEvent, EngineError>>,
}

impl Told {
    /// The next events of `id` are exactly these.
    async fn expect(&mut self, id: &ContainerId, words: &[&str]) {
        for expected in words {
            assert_eq!(word(&self.next(id).await), *expected, "of {words:?}");
        }
    }

    /// An event of `id` comes that is `expected`.
    async fn until(&mut self, id: &ContainerId, expected: &str) {
        while word(&self.next(id).await) != expected {}
    }

    async fn next(&mut self, id: &ContainerId) -> ContainerAction {
        loop {
            let next = tokio::time::timeout(SOON, self.events.next()).await.expect("an event comes");
            let event = next.expect("the stream goes on").expect("the stream holds");
            if event.id == *id {
                return event.action;
            }
        }
    }
}

fn word(action: &ContainerAction) -> &'static str {
    match action {
        ContainerAction::Create => "create",
        ContainerAction::Start => "start",
        ContainerAction::Die(_) => "die",
        ContainerAction::Kill => "kill",
        ContainerAction::Stop => "stop",
        ContainerAction::Restart => "restart",
        ContainerAction::Destroy => "destroy",
        ContainerAction::Rename => "rename",
        ContainerAction::Network => "network",
        ContainerAction::Pause => "pause",
        ContainerAction::Unpause => "unpause",
        _ => "other",
    }
}
