//! Drills: begun, gone on with, ended, reported, and listed.

use dockhealth::bus::{AgentCommand, AgentReply, CommandError};
use serde_json::{Value, json};

use super::world::{Lists, ScriptedAgent, World, container, report};

const ID: &str = "019aa9f0-6c00-7000-8000-0123456789ab";

fn begin() -> String {
    json!({"hostname": "a", "scenario": "mixed\u{7}", "seed": 7, "containers": ["web"]}).to_string()
}

fn finished(id: &str) -> Value {
    let summary = json!({
        "injected": 1, "detected": 1, "missed": 0, "unexpected": 0, "false_alarms": 0, "detect": null, "act": null,
        "recover": {"count": 1, "p50_ms": 5, "p95_ms": 5, "max_ms": 5}
    });
    json!({
        "id": id, "hostname": "a", "scenario": "mixed", "about": "", "seed": 7, "version": "0",
        "started": "2026-11-22T08:00:00.000Z", "ended": "2026-11-22T08:01:00.000Z", "containers": 1,
        "passed": true, "findings": [], "summary": summary, "kinds": [], "faults": [], "faults_left_out": 0,
        "false_alarms": [], "other_actions": 0, "shared_incidents": 0
    })
}

#[tokio::test]
async fn a_drill_is_told_to_its_agent_again_and_again_and_its_report_is_kept() {
    let world = World::new().await;
    let mut agent = ScriptedAgent::start(&world, report("a", vec![container("web")])).await;
    let path = format!("/api/v1/drills/{ID}");
    for _ in 0..2 {
        world.call("PUT", &path, &begin()).await.expect(204);
        let Some(AgentCommand::Drill { id, scenario, containers, for_ms }) = agent.commands.recv().await
        else {
            panic!("another command");
        };
        assert_eq!((id.to_string().as_str(), scenario.as_str(), for_ms), (ID, "mixed?", 20_000));
        assert_eq!(containers, ["web".parse().unwrap()]);
    }
    let all = world.get("/api/v1/drills").await.expect(200).json();
    assert_eq!((&all[0]["state"], &all[0]["containers"]), (&"running".into(), &1.into()), "{all}");
    assert_eq!((&all[0]["summary"], all.as_array().unwrap().len()), (&Value::Null, 1));
    world.call("DELETE", &path, "").await.expect(204);
    assert!(matches!(agent.commands.recv().await, Some(AgentCommand::Drill { for_ms: 0, .. })));

    let report = finished(ID);
    let to = format!("{path}/report");
    let other = world.call("PUT", &to, &finished("019aa9f0-6c00-7000-8000-ba9876543210").to_string()).await;
    assert!(other.problem(400).contains("the report is of 019aa9f0-6c00-7000-8000-ba9876543210"));
    let mut long = report.clone();
    long["findings"] = json!(vec!["x"; 201]);
    assert!(world.call("PUT", &to, &long.to_string()).await.problem(400).contains("findings: 201"));
    world.call("PUT", &to, &report.to_string()).await.expect(204);
    world.call("PUT", &to, &report.to_string()).await.problem(409);
    world.call("PUT", &path, &begin()).await.problem(409);
    let shown = world.get(&path).await.expect(200).json();
    assert_eq!((&shown["drill"]["state"], &shown["report"]), (&"passed".into(), &report));
    assert_eq!(shown["drill"]["summary"]["recover"]["max_ms"], 5);
    assert_eq!(world.kinds().await, ["host_live"], "what began and ended is the agent's to say");
}

#[tokio::test]
async fn what_is_wrong_with_a_drill_is_told() {
    let world = World::new().await;
    let script = Box::new(|command| match command {
        AgentCommand::Drill { scenario, .. } if scenario == "old" => {
            AgentReply::Error(CommandError::Malformed { reason: "unknown variant `drill`".into() })
        }
        _ => AgentReply::Error(CommandError::Refused { reason: "another drill is under way".into() }),
    });
    let _a = ScriptedAgent::scripted(&world, report("a", Vec::new()), Lists::Answered, script).await;
    let path = format!("/api/v1/drills/{ID}");
    assert!(world.call("PUT", &path, &begin()).await.problem(409).contains("another drill is under way"));
    let old = begin().replace("mixed", "old").replace("\\u0007", "");
    assert!(world.call("PUT", &path, &old).await.problem(502).contains("unknown variant"));
    assert_eq!(world.get("/api/v1/drills").await.expect(200).json(), json!([]), "none of them began");
    let elsewhere = begin().replace("\"a\"", "\"nowhere\"");
    world.call("PUT", &path, &elsewhere).await.problem(404);
    assert!(world.call("PUT", &path, "{}").await.problem(400).contains("missing field"));
    let names: Vec<String> = (0..1001).map(|n| format!("c{n}")).collect();
    let many = json!({"hostname": "a", "scenario": "m", "seed": 1, "containers": names}).to_string();
    assert!(world.call("PUT", &path, &many).await.problem(400).contains("1001 are more than 1000"));
    world.call("PUT", "/api/v1/drills/mine", &begin()).await.problem(400);
    world.call("DELETE", &path, "").await.problem(404);
    world.get(&path).await.problem(404);
    world.get("/api/v1/drills?limit=0").await.problem(400);
}
