//! What is changed: the list, thresholds, maintenance, freezes, commands, tokens.

use dockhealth::bus::{AgentCommand, AgentReply, CommandError};
use dockhealth::controller::mint_token;
use dockhealth::model::{ContainerKey, FreezeScope, Scope, Threshold, Timestamp};

use super::client::{Ask, SseReader};
use super::world::{Lists, ScriptedAgent, World, container, host, report};
use crate::support::eventually;

fn key(name: &str) -> ContainerKey {
    ContainerKey { host: host("a"), name: name.parse().unwrap() }
}

#[tokio::test]
async fn containers_are_put_on_the_list_and_taken_off_it() {
    let world = World::new().await;
    let _a = ScriptedAgent::start(&world, report("a", vec![container("web")])).await;
    let answer = world.call("POST", "/api/v1/containers/a/web", "").await.expect(200).json();
    assert_eq!((&answer["monitored"], &answer["name"]), (&true.into(), &"web".into()));
    let later = world.call("POST", "/api/v1/containers/a/later", "").await.expect(202).json();
    assert!(later["detail"].as_str().unwrap().contains("as soon as it has"), "{later}");
    for _ in 0..2 {
        world.call("DELETE", "/api/v1/containers/a/web", "").await.expect(204);
    }
    world.call("POST", "/api/v1/containers/nowhere/web", "").await.problem(404);
    world.call("DELETE", "/api/v1/containers/nowhere/web", "").await.problem(404);
    let desired = world.desired().await;
    assert_eq!(desired.containers[&key("web")].monitored, Some(false));
    assert_eq!(desired.containers[&key("later")].monitored, Some(true));
    assert_eq!(world.kinds().await, ["host_live", "monitored", "monitored", "unmonitored"]);
}

#[tokio::test]
async fn changes_at_the_same_time_are_all_kept() {
    let world = World::new().await;
    let _a = ScriptedAgent::start(&world, report("a", vec![container("web")])).await;
    let (post, put, keep) = tokio::join!(
        world.call("POST", "/api/v1/containers/a/web", ""),
        world.call("PUT", "/api/v1/containers/a/web/threshold", "12.5"),
        world.call("PUT", "/api/v1/containers/a/web/maintenance", "{\"for\": \"1h\"}"),
    );
    post.expect(200);
    put.expect(204);
    keep.expect(204);
    let entry = world.desired().await.containers[&key("web")].clone();
    assert_eq!((entry.monitored, entry.threshold.map(Threshold::percent)), (Some(true), Some(12.5)));
    let hour = entry.maintenance_until.unwrap().since(Timestamp::now());
    assert!((3500..=3600).contains(&hour.as_secs()), "{hour:?}");
    world.call("DELETE", "/api/v1/containers/a/web/threshold", "").await.expect(204);
    world.call("DELETE", "/api/v1/containers/a/web/maintenance", "").await.expect(204);
    let entry = world.desired().await.containers[&key("web")].clone();
    assert_eq!((entry.threshold, entry.maintenance_until, entry.monitored), (None, None, Some(true)));
}

#[tokio::test]
async fn maintenance_is_a_span_or_a_time_to_come() {
    let world = World::new().await;
    let _a = ScriptedAgent::start(&world, report("a", vec![container("web")])).await;
    let path = "/api/v1/containers/a/web/maintenance";
    world.call("PUT", path, "{\"until\": \"2099-01-01T00:00:00+01:00\"}").await.expect(204);
    let until = world.desired().await.containers[&key("web")].maintenance_until.unwrap();
    assert_eq!(until.to_string(), "2098-12-31T23:00:00.000Z");
    for (body, says) in [
        ("", "it is empty"),
        ("{}", "exactly one"),
        ("{\"for\": \"1h\", \"until\": \"2099-01-01T00:00:00Z\"}", "exactly one"),
        ("{\"for\": \"soon\"}", "500ms, 10s, 2m"),
        ("{\"for\": \"0\"}", "not in the future"),
        ("{\"until\": \"1999-01-01T00:00:00Z\"}", "not in the future"),
        ("{\"until\": \"tomorrow\"}", "RFC 3339"),
        ("{\"unti\": 1}", "unknown field"),
    ] {
        let detail = world.call("PUT", path, body).await.problem(400);
        assert!(detail.contains(says), "{body}: {detail}");
    }
}

#[tokio::test]
async fn the_threshold_is_the_default_until_one_is_stored() {
    let default = Threshold::new(30.0).unwrap();
    let world = World::with(&|config| config.default_threshold = default).await;
    assert_eq!(world.get("/api/v1/threshold").await.expect(200).text(), "30.0");
    assert_eq!(world.desired().await.threshold, None);
    for (body, stored) in [("0", "0.0"), ("100", "100.0"), (" 12.5\n", "12.5")] {
        world.call("PUT", "/api/v1/threshold", body).await.expect(204);
        assert_eq!(world.get("/api/v1/threshold").await.text(), stored);
    }
    for bad in ["", "-1", "100.1", "\"50\"", "NaN", "[50]", "fifty", "{\"threshold\": 50}", "1e999"] {
        let detail = world.call("PUT", "/api/v1/threshold", bad).await.problem(400);
        assert!(detail.contains("a JSON number from 0 to 100"), "{bad}: {detail}");
    }
    let form = Ask::new("PUT", "/api/v1/threshold").header("content-type", "text/plain");
    form.token(&world.token).body("50").send(world.address).await.expect(204);
    assert_eq!(world.desired().await.threshold.unwrap().percent().to_string(), "50");
}

#[tokio::test]
async fn freezes_are_set_listed_and_lifted() {
    let world = World::new().await;
    let _a = ScriptedAgent::start(&world, report("a", Vec::new())).await;
    let all = world.call("POST", "/api/v1/freeze?for=1h", "").await.expect(200).json();
    assert!(all["hostname"].is_null() && all["until"].is_string());
    let one = world.call("POST", "/api/v1/freeze?host=a", "").await.expect(200).json();
    assert_eq!((&one["hostname"], &one["until"]), (&"a".into(), &serde_json::Value::Null));
    assert_eq!(one["by"], "first token");
    assert_eq!(world.get("/api/v1/freeze").await.expect(200).json().as_array().unwrap().len(), 2);
    world.call("DELETE", "/api/v1/freeze", "").await.expect(204);
    world.call("DELETE", "/api/v1/freeze", "").await.expect(204);
    let scopes: Vec<_> = world.desired().await.freezes.into_keys().collect();
    assert_eq!(scopes, [FreezeScope::Host(host("a"))]);
    world.call("POST", "/api/v1/freeze?host=nowhere", "").await.problem(404);
    world.call("POST", "/api/v1/freeze?for=long", "").await.problem(400);
    assert!(
        world.call("DELETE", "/api/v1/freeze?for=1h", "").await.problem(400).contains("valid here: host")
    );
    assert_eq!(world.kinds().await, ["host_live", "frozen", "frozen", "unfrozen"]);
}

#[tokio::test]
async fn commands_reach_the_agent_and_its_refusal_is_told() {
    let world = World::new().await;
    let script = Box::new(|command| match command {
        AgentCommand::Restart { container } if container.as_str() == "self" => {
            AgentReply::Error(CommandError::Refused { reason: "self is dockhealth's own".into() })
        }
        AgentCommand::Release { container } if container.as_str() == "none" => {
            AgentReply::Error(CommandError::NoSuchContainer { container: container.to_string() })
        }
        _ => AgentReply::Done,
    });
    let said = report("a", vec![container("web")]);
    let mut agent = ScriptedAgent::scripted(&world, said, Lists::Answered, script).await;
    let accepted = world.call("POST", "/api/v1/containers/a/web/restart", "").await.expect(202).json();
    assert!(accepted["detail"].is_string());
    assert_eq!(
        agent.commands.recv().await,
        Some(AgentCommand::Restart { container: "web".parse().unwrap() })
    );
    world.call("POST", "/api/v1/containers/a/web/release", "").await.expect(204);
    assert_eq!(
        agent.commands.recv().await,
        Some(AgentCommand::Release { container: "web".parse().unwrap() })
    );
    let refused = world.call("POST", "/api/v1/containers/a/self/restart", "").await.problem(409);
    assert_eq!(refused, "self is dockhealth's own");
    world.call("POST", "/api/v1/containers/a/none/release", "").await.problem(404);
    world.call("POST", "/api/v1/containers/nowhere/web/restart", "").await.problem(404);
    drop(agent);
    let late = eventually("the agent is gone", async || {
        let answer = world.call("POST", "/api/v1/containers/a/web/restart", "").await;
        (answer.status != 202).then_some(answer)
    });
    assert!(late.await.problem(504).contains("host a did not answer"));
}

#[tokio::test]
async fn a_live_host_is_not_forgotten() {
    let world = World::new().await;
    let _a = ScriptedAgent::start(&world, report("a", Vec::new())).await;
    assert!(world.call("DELETE", "/api/v1/hosts/a", "").await.problem(409).contains("stop its agent"));
    world.call("DELETE", "/api/v1/hosts/b", "").await.problem(404);
}

#[tokio::test]
async fn the_stream_of_a_token_ends_when_it_is_revoked() {
    let world = World::new().await;
    let (token, secret) = mint_token(&world.db, "follower", Scope::Read).await.unwrap();
    let (other, _) = mint_token(&world.db, "other", Scope::Read).await.unwrap();
    let ask = Ask::new("GET", "/api/v1/stream?topics=desired").token(&secret);
    let mut stream = SseReader::open(world.address, ask).await;
    world.call("DELETE", &format!("/api/v1/tokens/{}", other.id), "").await.expect(204);
    world.call("PUT", "/api/v1/threshold", "20").await.expect(204);
    assert_eq!(stream.next().await.unwrap().event, "desired", "another's end is not its own");
    let start = std::time::Instant::now();
    world.call("DELETE", &format!("/api/v1/tokens/{}", token.id), "").await.expect(204);
    assert_eq!(stream.next().await, None);
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked() {
    let world = World::new().await;
    let made =
        world.call("POST", "/api/v1/tokens", "{\"name\": \"ci\", \"scope\": \"read\"}").await.expect(201);
    let made = made.json();
    let secret = made["token"].as_str().unwrap().to_owned();
    let by = |path| Ask::new("GET", path).token(&secret).send(world.address);
    by("/api/v1/hosts").await.expect(200);
    assert!(by("/api/v1/tokens").await.problem(403).contains("may write"));
    let listed = world.call("GET", "/api/v1/tokens", "").await.expect(200);
    assert!(!listed.text().contains(&secret) && !listed.text().contains("sha"));
    assert_eq!(listed.json()[1]["name"], "ci");
    let path = format!("/api/v1/tokens/{}", made["id"]);
    world.call("DELETE", &path, "").await.expect(204);
    by("/api/v1/hosts").await.problem(401);
    world.call("DELETE", &path, "").await.problem(404);
    world.call("DELETE", "/api/v1/tokens/x", "").await.problem(404);
    let first = listed.json()[0]["id"].to_string();
    assert!(world.call("DELETE", &format!("/api/v1/tokens/{first}"), "").await.problem(409).contains("last"));
    for bad in [
        "",
        "{}",
        "{\"name\": \"\", \"scope\": \"read\"}",
        "{\"name\": \"a\\n\", \"scope\": \"read\"}",
        "{\"name\": \"a\\u0007b\", \"scope\": \"read\"}",
        "{\"name\": \"a\", \"scope\": \"root\"}",
    ] {
        let answer = world.call("POST", "/api/v1/tokens", bad).await;
        if bad.contains("a\\n") {
            answer.expect(201);
        } else {
            answer.problem(400);
        }
    }
    assert!(world.kinds().await.iter().all(|kind| kind == "token_changed"));
}
