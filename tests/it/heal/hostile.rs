//! What others write, in labels and on the bus, does no harm.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::rig::{OBEDIENT, QUICK, Rig, crash, printed, wait_started_again};

#[test]
fn hostile_labels_do_no_harm() {
    let rig = Rig::up(QUICK);
    let long = format!("long={}", "x".repeat(100_000));
    let labels = [
        "dockhealth.monitor=\u{1b}[2Jtrue\n",
        "dockhealth.on-stop=rm -rf /",
        "com.docker.compose.project=\u{1b}]0;owned\u{7}",
        "com.docker.compose.replace=",
        "\u{202e}evil=\u{0}",
        &long,
    ];
    let labels: Vec<String> = labels.iter().map(|label| label.replace('\0', "")).collect();
    let options: Vec<&str> = labels.iter().flat_map(|label| ["--label", label.as_str()]).collect();
    let full = rig.lab.run("hostile", &options, &OBEDIENT);
    let seen = rig.wait_until(&full, "is known", |c| c["status"] == "running");
    assert_eq!(seen["monitored"], false, "an unknown word is no consent");
    assert!(!seen.to_string().contains("\\u001b"), "{seen}");
    rig.monitor(&full);
    rig.wait_healthy(&full);
    wait_started_again(&rig.lab, &full, || crash(&rig.lab, &full));
    rig.wait_healthy(&full);
    for program in rig.programs() {
        assert!(!program.log().contains('\u{7}'), "the log holds no control characters");
    }
    let shown = printed(&rig.server, &["why", &full]);
    assert!(!shown.contains('\u{7}'), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_bus_does_no_harm() {
    let rig = Rig::fleet(QUICK);
    let full = rig.named("web", &[]);
    rig.wait_healthy(&full);
    let fleet = rig.fleet.as_ref().expect("a fleet");
    let client = async |user: &str| {
        let password = std::fs::read_to_string(fleet.password_file(user)).expect("add-host made it");
        let options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password);
        let options = options
            .custom_inbox_prefix(format!("_INBOX_{user}"))
            .request_timeout(Some(Duration::from_secs(30)));
        options.connect(fleet.server.url()).await.expect("it may connect")
    };
    let garbage: Vec<Bytes> = [
        "",
        "{",
        "null",
        "[]",
        "{\"command\":\"explode\"}",
        "{\"command\":\"restart\"}",
        "{\"command\":\"restart\",\"container\":\"../etc/passwd\"}",
        "{\"v\":99}",
    ]
    .into_iter()
    .map(Bytes::from)
    .chain([Bytes::from(vec![0xff; 1_000_000]), Bytes::from("[".repeat(100_000))])
    .collect();

    let controller = client("controller").await;
    let command = format!("dockhealth.v1.host.{}.cmd", rig.host);
    for payload in &garbage {
        let answer = controller.request(command.clone(), payload.clone()).await.expect("it is answered");
        let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        assert_eq!(answer["reply"], "error", "{answer}");
        controller.publish("dockhealth.v1.list", payload.clone()).await.expect("sent");
    }
    let refused = Bytes::from("{\"command\":\"freeze\",\"for_ms\":null}");
    let answer = controller.request(command, refused).await.expect("it is answered");
    assert!(String::from_utf8_lossy(&answer.payload).contains("refused"), "{answer:?}");
    let other = format!("agent-{}-other", rig.host);
    let agent = client(&other).await;
    for payload in &garbage {
        for kind in ["report", "outbox"] {
            let subject = format!("dockhealth.v1.{kind}.{}-other", rig.host);
            agent.publish(subject, payload.clone()).await.expect("sent");
        }
        let entry = format!("$KV.dockhealth.container.{}.{full}", rig.host);
        for subject in [entry.as_str(), "$KV.dockhealth.threshold", "$KV.dockhealth.freeze.all"] {
            controller.publish(subject.to_owned(), payload.clone()).await.expect("sent");
        }
    }
    agent.flush().await.expect("sent");
    controller.flush().await.expect("sent");

    // What the administrator says next is followed as ever.
    rig.rest.ok("PUT", "/threshold", Some(&60.into()));
    rig.rest.ok("POST", &rig.path(&full), None);
    crate::support::wait_for("the agent follows", super::rig::DEADLINE, || {
        let why = rig.why(&full);
        (why["threshold"] == 60.0 && why["container"]["monitored"] == true).then_some(())
    });
    wait_started_again(&rig.lab, &full, || crash(&rig.lab, &full));
    rig.wait_healthy(&full);
    for program in rig.programs() {
        assert!(!program.log().contains("panicked"), "{}", program.log());
    }
}
