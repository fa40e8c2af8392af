//! Pools by REST, with agents that follow a script.

use dockhealth::bus::{AgentCommand, AgentReply, Capability, HostReport};
use serde_json::{Value, json};

use super::client::Ask;
use super::world::{Lists, ScriptedAgent, World, container, report};

const POOL: &str = "/api/v1/pools/a/shop";

fn reply() -> AgentReply {
    serde_json::from_str(include_str!("../../fixtures/protocol/v1/agent_reply_pool.json")).unwrap()
}

fn host(name: &str, works: Option<bool>) -> HostReport {
    let capability = works.map(|works| Capability { name: "pools".into(), works, detail: String::new() });
    HostReport { capabilities: capability.into_iter().collect(), ..report(name, vec![container("web")]) }
}

#[tokio::test]
async fn a_pool_is_set_shown_explained_and_removed() {
    let world = World::new().await;
    let AgentReply::Pool { status, .. } = reply() else { unreachable!() };
    let said = HostReport { pools: vec![*status], ..host("a", Some(true)) };
    let script = Box::new(|command| match command {
        AgentCommand::Pool { decisions: 1, .. } => {
            let AgentReply::Pool { status, mut decisions } = reply() else { unreachable!() };
            decisions[0].reason = "evil\u{1b}[2J".into();
            AgentReply::Pool { status, decisions }
        }
        _ => AgentReply::Done,
    });
    let _a = ScriptedAgent::scripted(&world, said, Lists::Answered, script).await;

    // What its agent still has, and nobody wants, is shown until it is gone.
    let listed = world.get("/api/v1/pools").await.expect(200).json();
    assert_eq!((&listed[0]["name"], &listed[0]["spec"]), (&json!("shop"), &Value::Null), "{listed}");
    assert!(listed[0]["detail"].as_str().unwrap().contains("to end"), "{listed}");

    let mut stream = world.stream("pools").await;
    let set = world.call("PUT", POOL, r#"{"image": "shop:2", "max": 4}"#).await.expect(200).json();
    assert_eq!(
        (&set["spec"]["max"], &set["spec"]["min"], &set["spec"]["port"]),
        (&json!(4), &json!(2), &json!(80))
    );
    assert!(set["detail"].as_str().unwrap().contains("last change"), "{set}");
    let told = stream.next_named("pools").await.json();
    assert_eq!(told["pools"][0]["spec"]["image"], "shop:2", "{told}");
    assert_eq!(world.desired().await.pools.len(), 1);

    let shown = world.get(&format!("{POOL}?decisions=1")).await.expect(200).json();
    assert_eq!(shown["decisions"][0]["reason"], "evil?[2J", "{shown}");
    assert_eq!(shown["events"][0]["kind"], "pool_set", "{shown}");
    assert!(
        shown["events"][0]["reason"].as_str().unwrap().contains("2 to 4 containers of shop:2"),
        "{shown}"
    );
    assert!(world.get(&format!("{POOL}?decisions=501")).await.problem(400).contains("0 to 500"));
    world.get("/api/v1/pools/a/other").await.problem(404);

    world.call("DELETE", POOL, "").await.expect(204);
    assert!(world.desired().await.pools.is_empty());
    world.call("DELETE", "/api/v1/pools/a/other", "").await.problem(404);
    Ask::new("PUT", POOL).body(r#"{"image": "shop:2"}"#.to_owned()).send(world.address).await.problem(401);
}

#[tokio::test]
async fn what_is_wrong_is_named_and_who_does_not_consent_is_too() {
    let world = World::new().await;
    let _a = ScriptedAgent::scripted(
        &world,
        host("a", Some(true)),
        Lists::Answered,
        Box::new(|_| AgentReply::Done),
    )
    .await;
    let _b = ScriptedAgent::scripted(
        &world,
        host("b", Some(false)),
        Lists::Answered,
        Box::new(|_| AgentReply::Done),
    )
    .await;
    let _c =
        ScriptedAgent::scripted(&world, host("c", None), Lists::Answered, Box::new(|_| AgentReply::Done))
            .await;
    for (body, says) in [
        (json!({}), "image"),
        (json!({"image": 7}), "image: "),
        (json!({"image": "x", "mim": 3}), "\"mim\"; valid: "),
        (json!({"image": "x", "min": "two"}), "min: "),
        (json!({"image": "x", "min": 9, "max": 3}), "min and max: "),
        (json!({"image": "x", "controller": "magic"}), "controller: "),
        (json!({"image": "x", "listen": "here"}), "listen: "),
        (json!({"image": "x", "env": {"A": "b"}}), "\"env\"; valid: "),
        (json!({"image": "x", "network": "host"}), "network: "),
        (json!({"image": "x", "labels": {"dockhealth.role": "agent"}}), "labels: "),
        (json!([]), "the body must be "),
    ] {
        let why = world.call("PUT", POOL, &body.to_string()).await.problem(400);
        assert!(why.contains(says), "{body}: {why}");
    }
    let body = r#"{"image": "shop:1"}"#;
    let refused = world.call("PUT", "/api/v1/pools/b/shop", body).await.problem(409);
    assert!(refused.contains("host b allows no pools") && refused.contains("--pools"), "{refused}");
    assert!(world.call("PUT", "/api/v1/pools/c/shop", body).await.problem(409).contains("up to date"));
    world.call("PUT", "/api/v1/pools/nobody/shop", body).await.problem(404);
    assert!(world.call("PUT", "/api/v1/pools/a/a.b", body).await.problem(400).contains("pool name"));
    world.call("PUT", POOL, body).await.expect(200);
    let clash = world.call("PUT", "/api/v1/pools/a/other", body).await.problem(409);
    assert!(clash.contains("listen: pool shop"), "{clash}");
}
