//! What only a bus with a server between can meet: the server's death, limits, and clients that are not ours.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dockhealth::bus::{Bus, BusError, BusStatus, DesiredChange, NatsBus, NatsOptions, Role, Subject};
use dockhealth::model::DesiredState;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::rig::{
    DEADLINE, Follower, connected, disconnected, monitored, name, next, reconnected, state_of, threshold,
};
use crate::support::nats::NatsServer;

fn controller(server: &NatsServer) -> NatsOptions {
    NatsOptions::new(server.url(), Role::Controller)
}

fn agent(server: &NatsServer) -> NatsOptions {
    NatsOptions::new(server.url(), Role::Agent(name("web1")))
}

async fn ask(client: &async_nats::Client, subject: &str, payload: impl Into<Bytes>) -> Value {
    let asked = client.request(subject.to_owned(), payload.into());
    let answer = tokio::time::timeout(DEADLINE, asked).await.expect("an answer in time").unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_for() {
    let mut server = NatsServer::start();
    server.kill();
    let bus = NatsBus::connect(agent(&server)).await.unwrap();
    let status = bus.status().borrow().clone();
    assert!(
        matches!(&status, BusStatus::Disconnected(why) if why.contains(&server.port().to_string())),
        "{status:?}"
    );
    let subject = Subject::Report(name("web1"));
    let error = bus.publish(&subject, Bytes::new()).await.unwrap_err();
    assert!(matches!(error, BusError::Disconnected(_)), "{error:?}");
    let error = bus.request(&subject, Bytes::new(), DEADLINE).await.unwrap_err();
    assert!(matches!(error, BusError::Disconnected(_)), "{error:?}");
    let error = bus.put_desired(threshold(1.0)).await.unwrap_err();
    assert!(matches!(error, BusError::Disconnected(_)), "{error:?}");

    // What was subscribed to meanwhile is there as soon as the server is.
    let mut commands = bus.subscribe(&Subject::Command(name("web1"))).await.unwrap();
    server.restart();
    reconnected(&bus).await;
    let other = connected(controller(&server)).await;
    other.publish(&Subject::Command(name("web1")), Bytes::from("go")).await.unwrap();
    assert_eq!(next(&mut commands).await.payload, "go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_costs_no_subscription_and_no_change() {
    let mut server = NatsServer::start();
    let (controller, agent) = (connected(controller(&server)).await, connected(agent(&server)).await);
    let mut reports = controller.subscribe(&Subject::AllReports).await.unwrap();
    let mut follower = Follower::new(&agent).await;
    let mut wanted = vec![threshold(1.0), monitored("web1", "c0")];
    for change in wanted.clone() {
        controller.put_desired(change).await.unwrap();
    }
    follower.until(&state_of(wanted.clone())).await;
    for round in 1..=5_u32 {
        let told = follower.synced;
        server.kill();
        disconnected(&agent).await;
        disconnected(&controller).await;
        server.restart();
        // The controller may be back before the agent: what it writes then is the agent's to catch up with.
        reconnected(&controller).await;
        let round_change = [
            threshold(f64::from(round)),
            monitored("web1", &format!("c{round}")),
            DesiredChange::removal(monitored("web1", &format!("c{}", round - 1)).key()),
        ];
        for change in round_change {
            controller.put_desired(change.clone()).await.unwrap();
            wanted.push(change);
        }
        follower.until(&state_of(wanted.clone())).await;
        assert!(follower.synced > told, "after a reconnect the whole is told again");
        reconnected(&agent).await;
        agent.publish(&Subject::Report(name("web1")), Bytes::from("alive")).await.unwrap();
        assert_eq!(next(&mut reports).await.payload, "alive");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_is_made_anew_and_told() {
    let mut server = NatsServer::start();
    let (controller, agent) = (connected(controller(&server)).await, connected(agent(&server)).await);
    controller.put_desired(threshold(5.0)).await.unwrap();
    let (mut own, mut follower) = (Follower::new(&controller).await, Follower::new(&agent).await);
    own.until(&state_of([threshold(5.0)])).await;
    follower.until(&state_of([threshold(5.0)])).await;
    server.restart_empty();
    own.until(&DesiredState::default()).await;
    follower.until(&DesiredState::default()).await;
    controller.put_desired(threshold(6.0)).await.unwrap();
    follower.until(&state_of([threshold(6.0)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_made_anew_under_a_standing_connection_is_noticed() {
    let server = NatsServer::start();
    let (controller, agent) = (connected(controller(&server)).await, connected(agent(&server)).await);
    for percent in [1.0, 2.0, 3.0, 4.0] {
        controller.put_desired(threshold(percent)).await.unwrap();
    }
    let mut follower = Follower::new(&agent).await;
    follower.until(&state_of([threshold(4.0)])).await;
    let raw = async_nats::connect(server.url()).await.unwrap();
    assert_eq!(ask(&raw, "$JS.API.STREAM.DELETE.KV_dockhealth", "").await["success"], true);
    // Written into a bucket whose revisions begin again.
    controller.put_desired(monitored("web1", "c1")).await.unwrap();
    follower.until(&state_of([monitored("web1", "c1")])).await;
}

/// A bucket as `nats kv add dockhealth` makes it tells no changes: they are found by asking.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_bucket_works_and_what_cannot_be_read_is_passed_over() {
    let server = NatsServer::start();
    let raw = async_nats::connect(server.url()).await.unwrap();
    let config = json!({
        "name": "KV_dockhealth", "subjects": ["$KV.dockhealth.>"], "max_msgs_per_subject": 1,
        "allow_rollup_hdrs": true, "deny_delete": true, "allow_direct": true, "discard": "new",
    });
    let made = ask(&raw, "$JS.API.STREAM.CREATE.KV_dockhealth", config.to_string()).await;
    assert_eq!(made["config"]["name"], "KV_dockhealth", "{made}");
    for (key, value) in [
        ("threshold", "{\"v\":1,\"threshold\":101}"),
        ("freeze.all", "no JSON"),
        ("moods", "{\"v\":9}"),
        ("rules", "{\"v\":1,\"interval\":\"0\"}"),
        ("container.web1.x.y", "{\"v\":1}"),
        ("container.web1.c1", "{\"v\":1,\"monitored\":true}"),
    ] {
        assert!(ask(&raw, &format!("$KV.dockhealth.{key}"), value).await["seq"].is_u64());
    }
    let (controller, agent) = (connected(controller(&server)).await, connected(agent(&server)).await);
    let (mut own, mut follower) = (Follower::new(&controller).await, Follower::new(&agent).await);
    assert_eq!(*own.until_synced(1).await, state_of([monitored("web1", "c1")]));
    assert_eq!(*follower.until_synced(1).await, state_of([monitored("web1", "c1")]));
    controller.put_desired(threshold(7.0)).await.unwrap();
    let wanted = state_of([monitored("web1", "c1"), threshold(7.0)]);
    own.until(&wanted).await;
    follower.until(&wanted).await;
    assert_eq!((own.synced, follower.synced), (1, 1), "nothing was told twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_servers_limit_is_refused_with_the_figures() {
    let server = NatsServer::start();
    let bus = connected(agent(&server)).await;
    let subject = Subject::Report(name("web1"));
    let limit = 1 << 20;
    bus.publish(&subject, vec![b' '; limit].into()).await.unwrap();
    let error = bus.publish(&subject, vec![b' '; limit + 1].into()).await.unwrap_err().to_string();
    assert!(
        error.contains("1048577") && error.contains("1048576") && error.contains("max_payload"),
        "{error}"
    );
    assert_eq!(*bus.status().borrow(), BusStatus::Connected, "it did not cost the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_client_may_ask_but_not_where_else_to_write() {
    let server = NatsServer::start();
    let bus = connected(agent(&server)).await;
    let mut questions = bus.subscribe(&Subject::List).await.unwrap();
    let raw = async_nats::connect(server.url()).await.unwrap();
    let asking = raw.clone();
    let asked =
        tokio::spawn(async move { asking.request("dockhealth.v1.list", Bytes::new()).await.unwrap() });
    next(&mut questions).await.reply.expect("an inbox may be answered").send("me".into()).await.unwrap();
    assert_eq!(asked.await.unwrap().payload, "me");
    for elsewhere in ["$KV.dockhealth.threshold", "dockhealth.v1.host.web2.cmd"] {
        raw.publish_with_reply("dockhealth.v1.list", elsewhere, Bytes::new()).await.unwrap();
        assert!(next(&mut questions).await.reply.is_none(), "{elsewhere}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_loses_the_oldest_and_it_is_counted() {
    let server = NatsServer::start();
    let (controller, agent) = (connected(controller(&server)).await, connected(agent(&server)).await);
    let mut reports = controller.subscribe(&Subject::AllReports).await.unwrap();
    for n in 0..1500_u32 {
        agent.publish(&Subject::Report(name("web1")), n.to_string().into()).await.unwrap();
    }
    let start = Instant::now();
    while controller.dropped() < 476 {
        assert!(start.elapsed() < DEADLINE, "{} were dropped", controller.dropped());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(next(&mut reports).await.payload, "476", "1024 are kept, the newest");
    let rest: Vec<_> = reports.by_ref().take(1023).collect().await;
    assert_eq!(rest.last().unwrap().payload, "1499");
    assert_eq!(controller.dropped(), 476);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_wrong_passwords() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("nats.conf");
    std::fs::write(&config, "authorization { token: \"let-me-in\" }\n").unwrap();
    let server = NatsServer::with_config(&config);
    let secret = dir.path().join("token");
    std::fs::write(&secret, "let-me-in\n").unwrap();
    let mut options = agent(&server);
    options.token_file = Some(secret.clone());
    connected(options).await;

    std::fs::write(&secret, "guess").unwrap();
    let mut options = agent(&server);
    options.token_file = Some(secret);
    let bus = NatsBus::connect(options).await.unwrap();
    let mut status = bus.status();
    let refused = status.wait_for(
        |status| matches!(status, BusStatus::Disconnected(why) if why.contains("authorization violation")),
    );
    tokio::time::timeout(DEADLINE, refused).await.expect("the reason is told").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_is_as_the_protocol_page_says() {
    let server = NatsServer::start();
    connected(controller(&server)).await.put_desired(threshold(1.0)).await.unwrap();
    let raw = async_nats::connect(server.url()).await.unwrap();
    let made = ask(&raw, "$JS.API.STREAM.INFO.KV_dockhealth", "").await;
    let page = include_str!("../../../docs/protocol.md");
    let block = page.split("```json stream\n").nth(1).unwrap().split("```").next().unwrap();
    let shown: Value = serde_json::from_str(block).unwrap();
    for (field, value) in shown.as_object().unwrap() {
        assert_eq!(made["config"][field], *value, "{field}");
    }
    let taken = ask(&raw, "$JS.API.STREAM.DELETE.KV_dockhealth", "").await;
    assert_eq!(taken["success"], true);
    let made = ask(&raw, "$JS.API.STREAM.CREATE.KV_dockhealth", block).await;
    assert!(made["config"].is_object(), "the page's own request works: {made}");
}

/// Makes `name`.pem and `name`.key in `dir`, signed by ca.pem there (itself for the authority).
fn certificate(dir: &Path, name: &str) {
    let script = match name {
        "ca" => {
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem \
                 -subj /CN=test-ca -days 2"
                .to_owned()
        }
        _ => format!(
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr \
             -subj /CN={name} && printf 'subjectAltName=IP:127.0.0.1\n' >{name}.ext && openssl x509 -req \
             -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.pem"
        ),
    };
    let output = Command::new("sh").current_dir(dir).args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "this test needs openssl: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["ca", "server", "client"] {
        certificate(dir.path(), name);
    }
    let file = |name: &str| Some(dir.path().join(name));
    let config = dir.path().join("nats.conf");
    let shown = dir.path().display();
    let text = format!(
        "tls {{ cert_file: \"{shown}/server.pem\", key_file: \"{shown}/server.key\", ca_file: \"{shown}/ca.pem\", \
         verify: true }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let server = NatsServer::with_config(&config);
    let mut options = agent(&server);
    options.tls_ca_file = file("ca.pem");
    let stranger = NatsBus::connect(options.clone()).await.unwrap();
    (options.tls_cert_file, options.tls_key_file) = (file("client.pem"), file("client.key"));
    connected(options.clone()).await;
    options.tls_ca_file = file("client.pem");
    let distrustful = NatsBus::connect(options).await.unwrap();
    for (who, bus) in [("without a certificate", stranger), ("with another authority", distrustful)] {
        let mut status = bus.status();
        let failed = status.wait_for(
            |status| matches!(status, BusStatus::Disconnected(why) if why.contains("cannot connect")),
        );
        tokio::time::timeout(DEADLINE, failed).await.unwrap_or_else(|_| panic!("{who}")).unwrap();
    }
}
