//! Campaigns of faults by REST, with agents that follow a script.

use dockhealth::bus::{
    AgentCommand, AgentReply, ChaosNews, ChaosReport, ChaosState, ChaosSummary, CommandError,
};
use dockhealth::model::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::Ask;
use super::world::{Lists, Script, ScriptedAgent, World, container, report};

const CHAOS: &str = "/api/v1/chaos";

/// An agent that plays whatever it is told to.
fn plays() -> Script {
    let told = |campaign: Uuid, state, next| {
        let news = vec![ChaosNews { time: Timestamp::from_millis(0), text: "evil\u{1b}[2J".into() }];
        let aborted = Some("why\n".to_owned());
        let summary =
            (state == ChaosState::Ended).then(|| ChaosSummary { aborted, ..ChaosSummary::default() });
        AgentReply::Chaos(Box::new(ChaosReport { campaign, state, news, next, summary }))
    };
    Box::new(move |command| match command {
        AgentCommand::ChaosBegin { campaign, within_ms: 15_000, .. } => {
            told(campaign, ChaosState::Playing, 1)
        }
        AgentCommand::ChaosRenew { campaign, after } => told(campaign, ChaosState::Ended, after + 1),
        AgentCommand::ChaosEnd { campaign: None } => told(Uuid::nil(), ChaosState::Ending, 0),
        AgentCommand::ChaosPlan { .. } => AgentReply::ChaosPlan { turns: json!([]) },
        _ => AgentReply::Done,
    })
}

fn refuses(error: CommandError) -> Script {
    Box::new(move |_| AgentReply::Error(error.clone()))
}

async fn agent(world: &World, name: &str, script: Script) -> ScriptedAgent {
    ScriptedAgent::scripted(world, report(name, vec![container("web")]), Lists::Answered, script).await
}

#[tokio::test]
async fn those_who_may_play_and_each_of_the_others_says_why_not() {
    let world = World::new().await;
    let _a = agent(&world, "web-a", plays()).await;
    // As an agent answers that does not know campaigns yet.
    let malformed = CommandError::Malformed { reason: "unknown variant `chaos_begin`".into() };
    let _b = agent(&world, "web-b", refuses(malformed)).await;
    let _c =
        agent(&world, "db", refuses(CommandError::Refused { reason: "host db does not allow chaos".into() }))
            .await;

    let body = |host: &str| json!({"host": host, "order": {"faults": ["pause"], "every": "1s"}}).to_string();
    let begun = world.call("POST", CHAOS, &body("all")).await.expect(200).json();
    let campaign = begun["campaign"].as_str().expect("an id").to_owned();
    let details: Vec<&Value> =
        begun["hosts"].as_array().unwrap().iter().map(|host| &host["detail"]).collect();
    assert_eq!(details[0], "host db does not allow chaos");
    assert_eq!((&begun["hosts"][1]["state"], details[1]), (&json!("playing"), &Value::Null));
    assert!(details[2].as_str().unwrap().contains("older than this controller"), "{begun}");
    let some = world.call("POST", CHAOS, &body("web-?")).await.expect(200).json();
    assert_eq!(some["hosts"].as_array().unwrap().len(), 2);

    let renewed = world.call("PUT", &format!("{CHAOS}/{campaign}"), r#"{"hosts": {"web-a": 4}}"#).await;
    let renewed = renewed.expect(200).json()["hosts"][0].clone();
    assert_eq!((&renewed["state"], &renewed["next"]), (&json!("ended"), &json!(5)));
    assert_eq!(renewed["news"][0]["text"], "evil?[2J");
    assert_eq!(renewed["summary"]["aborted"], "why?");
    let ended = world.call("DELETE", &format!("{CHAOS}?host=web-a"), "").await.expect(200).json();
    assert_eq!(ended["hosts"][0]["state"], "ending");
    let plan = json!({"host": "web-a", "order": {}, "plan": true}).to_string();
    let plan = world.call("POST", CHAOS, &plan).await.expect(200).json();
    assert_eq!((&plan["campaign"], &plan["hosts"][0]["plan"]), (&Value::Null, &json!([])));

    let why = world.call("POST", CHAOS, &body("db")).await.problem(409);
    assert_eq!(why, "host db does not allow chaos");
    assert!(world.call("POST", CHAOS, &body("x*")).await.problem(404).contains("no live host is called x*"));
    world.call("POST", CHAOS, &body("nobody")).await.problem(404);
    for (wrong, says) in [
        (json!({"host": "a b", "order": {}}), "host: "),
        (json!({"host": "all", "order": {"evry": "1s"}}), "unknown field `evry`"),
        (json!({"host": "all", "order": {}, "renewed_within": "soon"}), "renewed_within: "),
    ] {
        let why = world.call("POST", CHAOS, &wrong.to_string()).await.problem(400);
        assert!(why.contains(says), "{why}");
    }
    assert!(world.call("PUT", &format!("{CHAOS}/x"), "{}").await.problem(400).contains("UUID"));
    let nobody = Ask::new("POST", CHAOS).body(body("all")).send(world.address).await;
    nobody.problem(401);
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_told_from_one_that_refuses() {
    let world = World::new().await;
    let gone = agent(&world, "web-a", plays()).await;
    drop(gone);
    let asked = json!({"hosts": {"web-a": 0}}).to_string();
    let told = world.call("PUT", &format!("{CHAOS}/{}", Uuid::nil()), &asked).await.expect(200).json();
    assert_eq!(told["hosts"][0]["silent"], true, "{told}");
    world.bus.take_down();
    world.call("PUT", &format!("{CHAOS}/{}", Uuid::nil()), &asked).await.problem(503);
}
