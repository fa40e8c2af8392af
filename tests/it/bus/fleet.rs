//! `deploy/fleet/nats.conf` and `add-host`: what an agent needs is allowed (the contract runs over them), the rest is
//! not, whatever client it uses.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use dockhealth::bus::{Bus, BusError, NatsBus, Subject};
use serde_json::json;

use super::rig::{DEADLINE, Fleet, Follower, add_host, connected, name, next, state_of, threshold};

/// A client with the user of host `web1` that keeps to no rules.
async fn rogue(fleet: &Fleet) -> async_nats::Client {
    let password = std::fs::read_to_string(fleet.password_file("agent-web1")).unwrap();
    let options = async_nats::ConnectOptions::with_user_and_password("agent-web1".into(), password);
    options.custom_inbox_prefix("_INBOX_agent-web1").connect(fleet.server.url()).await.unwrap()
}

/// Waits until the server has seen everything `client` sent.
async fn seen(client: &async_nats::Client) {
    let question = json!({ "seq": 1, "next_by_subj": "$KV.dockhealth.>" }).to_string();
    client.request("$JS.API.DIRECT.GET.KV_dockhealth", question.into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_cannot_write_desired_state() {
    let fleet = Fleet::start(&["web1", "web2"]);
    let controller = connected(fleet.controller()).await;
    controller.put_desired(threshold(20.0)).await.unwrap();
    let mut follower = Follower::new(&controller).await;
    follower.until(&state_of([threshold(20.0)])).await;

    let agent = connected(fleet.agent("web1")).await;
    let error = agent.put_desired(threshold(99.0)).await.unwrap_err();
    assert!(matches!(&error, BusError::Refused(why) if why.contains("Permissions Violation")), "{error:?}");

    let rogue = rogue(&fleet).await;
    let payload = || Bytes::from("{\"v\":1,\"threshold\":99.0}");
    let bucket = "$KV.dockhealth.threshold";
    rogue.publish(bucket, payload()).await.unwrap();
    rogue.publish("$JS.API.STREAM.PURGE.KV_dockhealth", Bytes::new()).await.unwrap();
    rogue.publish("$JS.API.STREAM.DELETE.KV_dockhealth", Bytes::new()).await.unwrap();
    rogue.publish("$JS.API.CONSUMER.CREATE.KV_dockhealth", Bytes::from("{}")).await.unwrap();
    rogue.publish("dockhealth.v1.desired.threshold", payload()).await.unwrap();
    // Through answers, which go where the asker says: of JetStream, and of the controller.
    for question in ["{\"seq\":1}", "{\"seq\":9999}", "{}"] {
        rogue.publish_with_reply("$JS.API.DIRECT.GET.KV_dockhealth", bucket, question.into()).await.unwrap();
        rogue
            .publish_with_reply(
                "$JS.API.DIRECT.GET.KV_dockhealth",
                "$JS.API.STREAM.DELETE.KV_dockhealth",
                question.into(),
            )
            .await
            .unwrap();
    }
    let mut batches = controller.subscribe(&Subject::AllOutboxes).await.unwrap();
    rogue.publish_with_reply("dockhealth.v1.outbox.web1", bucket, payload()).await.unwrap();
    if let Some(reply) = next(&mut batches).await.reply {
        reply.send(payload()).await.unwrap();
    }
    seen(&rogue).await;

    // A change of the controller's own comes after all of that.
    controller.put_desired(super::rig::monitored("web2", "c")).await.unwrap();
    let wanted = state_of([threshold(20.0), super::rig::monitored("web2", "c")]);
    follower.until(&wanted).await;
    let mut afresh = Follower::new(&connected(fleet.controller()).await).await;
    assert_eq!(*afresh.until_synced(1).await, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_cannot_speak_for_another_or_listen_in() {
    let fleet = Fleet::start(&["web1", "web2"]);
    let controller = connected(fleet.controller()).await;
    controller.put_desired(threshold(20.0)).await.unwrap();
    let mut reports = controller.subscribe(&Subject::AllReports).await.unwrap();
    let mut outboxes = controller.subscribe(&Subject::AllOutboxes).await.unwrap();
    let web2 = connected(fleet.agent("web2")).await;
    let mut commands = web2.subscribe(&Subject::Command(name("web2"))).await.unwrap();
    let mut questions = web2.subscribe(&Subject::List).await.unwrap();

    let rogue = rogue(&fleet).await;
    for subject in [
        "dockhealth.v1.report.web2",
        "dockhealth.v1.outbox.web2",
        "dockhealth.v1.host.web2.cmd",
        "dockhealth.v1.host.web1.cmd",
        "dockhealth.v1.list",
        "_INBOX_agent-web2.x",
        "_INBOX_controller.x",
    ] {
        rogue.publish(subject, Bytes::from("forged")).await.unwrap();
    }
    rogue.publish("dockhealth.v1.outbox.web1", Bytes::from("own")).await.unwrap();
    rogue.publish("dockhealth.v1.report.web1", Bytes::from("own")).await.unwrap();
    assert_eq!(next(&mut reports).await.payload, "own");
    assert_eq!(next(&mut outboxes).await.payload, "own");
    controller.publish(&Subject::Command(name("web2")), Bytes::from("real")).await.unwrap();
    assert_eq!(next(&mut commands).await.payload, "real");
    controller.publish(&Subject::List, Bytes::from("real")).await.unwrap();
    assert_eq!(next(&mut questions).await.payload, "real");

    let web1 = connected(fleet.agent("web1")).await;
    for subject in [Subject::Command(name("web2")), Subject::AllReports, Subject::AllOutboxes] {
        let error = web1.subscribe(&subject).await.err();
        assert!(
            matches!(&error, Some(BusError::Refused(why)) if why.contains("Permissions Violation")),
            "{error:?}"
        );
    }
    let complaints = |log: &str, subject: &str| log.contains(&format!("Subject \"{subject}\""));
    for subject in ["_INBOX_agent-web2.>", "_INBOX_controller.>", "_INBOX.>", ">", "dockhealth.v1.desired.>"]
    {
        rogue.subscribe(subject).await.unwrap();
        seen(&rogue).await;
        assert!(complaints(&fleet.server.log(), subject), "{subject}: {}", fleet.server.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_come_and_go_while_the_server_runs() {
    let fleet = Fleet::start(&["web1"]);
    let controller = connected(fleet.controller()).await;
    let web1 = connected(fleet.agent("web1")).await;
    let mut reports = controller.subscribe(&Subject::AllReports).await.unwrap();

    assert!(add_host(fleet.dir(), &["web.2"]).status.success());
    fleet.server.reload();
    let web2 = connected(fleet.agent("web.2")).await;
    for (bus, host) in [(&web1, "web1"), (&web2, "web.2")] {
        bus.publish(&Subject::Report(name(host)), Bytes::from(host)).await.unwrap();
        assert_eq!(next(&mut reports).await.payload, host);
    }

    let options = fleet.agent("web.2");
    let password = std::fs::read(fleet.password_file("agent-web.2")).unwrap();
    assert!(add_host(fleet.dir(), &["--remove", "web.2"]).status.success());
    fleet.server.reload();
    std::fs::write(fleet.password_file("agent-web.2"), password).unwrap();
    super::rig::disconnected(&web2).await;
    let gone = NatsBus::connect(options).await.unwrap();
    let mut status = gone.status();
    let refused = status.wait_for(
        |s| matches!(s, dockhealth::bus::BusStatus::Disconnected(why) if why.contains("authorization")),
    );
    tokio::time::timeout(DEADLINE, refused).await.expect("it may not connect").unwrap();
}

#[test]
fn adding_a_host_twice_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let all = |dir: &Path| {
        let mut files = Vec::new();
        for folder in [dir.to_owned(), dir.join("secrets")] {
            for entry in std::fs::read_dir(folder).unwrap().flatten().filter(|e| e.path().is_file()) {
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{:?}", entry.path());
                files.push((entry.path(), std::fs::read_to_string(entry.path()).unwrap()));
            }
        }
        files.sort();
        files
    };
    assert!(add_host(dir.path(), &["web1", "web.2"]).status.success());
    let first = all(dir.path());
    assert_eq!(first.len(), 6, "two configurations, three passwords, one lock: {first:?}");
    assert!(add_host(dir.path(), &["web.2"]).status.success());
    assert!(add_host(dir.path(), &[]).status.success());
    assert_eq!(all(dir.path()), first);

    for bad in ["a b", "a\"b", "-x", "a/b", "", "é", "a\nb", ".x", &"x".repeat(254)] {
        let output = add_host(dir.path(), &["--", bad]);
        assert_eq!(output.status.code(), Some(2), "{bad:?}: {output:?}");
    }
    assert_eq!(all(dir.path()), first, "a bad name changes nothing");
    assert!(add_host(dir.path(), &["--remove", "web1"]).status.success());
    let text = std::fs::read_to_string(dir.path().join("users-hosts.conf")).unwrap();
    assert!(!text.contains("web1") && text.contains("agent-web.2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bus_may_not_ask_is_refused_not_waited_for() {
    let fleet = Fleet::start(&["web1"]);
    let web1 = connected(fleet.agent("web1")).await;
    let start = std::time::Instant::now();
    let error = web1.request(&Subject::List, Bytes::new(), Duration::from_mins(1)).await.unwrap_err();
    assert!(matches!(error, BusError::Refused(_)), "{error:?}");
    assert!(start.elapsed() < DEADLINE);
}
