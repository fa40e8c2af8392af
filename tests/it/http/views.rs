//! Lists, hosts, one container: what is read.

use std::time::{Duration, Instant};

use dockhealth::bus::{AgentCommand, AgentReply, Bus, CommandError, HostReport, Subject, WhyReport, encode};
use dockhealth::controller::{Agents, ControllerConfig};
use dockhealth::model::{
    Actor, EventDraft, EventKind, Health, ProcessList, ProcessUse, RunState, Threshold, Timestamp,
};
use dockhealth::store::HostRow;
use futures_util::StreamExt;

use super::client::{Answer, Ask};
use super::world::{Lists, ScriptedAgent, TestBus, World, container, host, report};
use crate::support::eventually;

fn names(answer: &Answer) -> Vec<String> {
    let rows = answer.json();
    let name = |row: &serde_json::Value| {
        format!("{}/{}", row["hostname"].as_str().unwrap(), row["name"].as_str().unwrap())
    };
    rows.as_array().unwrap().iter().map(name).collect()
}

/// Answers every list with `said` from now on, as an agent that has pushed nothing.
async fn answer_lists(bus: &TestBus, said: HostReport) {
    let mut questions = bus.subscribe(&Subject::List).await.unwrap();
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            question.reply.unwrap().send(encode(&said)).await.unwrap();
        }
    });
}

/// A host as the database keeps it.
fn row(said: &HostReport) -> HostRow {
    HostRow {
        host: said.host.clone(),
        instance: said.instance.clone(),
        engine_id: said.engine.id.clone(),
        first_seen: Timestamp::from_millis(0),
        last_seen: Timestamp::from_millis(0),
        report: serde_json::to_value(said).unwrap(),
    }
}

#[tokio::test]
async fn with_no_hosts_the_list_is_empty_and_says_that_nobody_was_asked() {
    let world = World::new().await;
    let answer = world.get("/api/v1/containers").await.expect(200);
    assert_eq!(answer.text(), "[]");
    assert_eq!(answer.header("dockhealth-hosts-expected"), "0");
    assert_eq!(answer.header("dockhealth-hosts-answered"), "0");
    assert_eq!(answer.header("dockhealth-hosts-missing"), "");
    assert_eq!(world.get("/api/v1/hosts").await.expect(200).text(), "[]");
}

#[tokio::test]
async fn with_no_hosts_the_list_is_prompt() {
    let world = World::with(&|config| config.response_window = Duration::from_mins(5)).await;
    for _ in 0..3 {
        let list = tokio::time::timeout(Duration::from_mins(1), world.get("/api/v1/containers"));
        assert_eq!(list.await.expect("well before the window ends").expect(200).text(), "[]");
    }
}

/// Asks for the list, waits until that is under way, and does `then`.
async fn list_and<T>(world: &World, then: impl AsyncFnOnce() -> T) -> (Answer, T) {
    let rounds = async || {
        let metrics = world.get("/metrics").await;
        let count =
            metrics.text().lines().find_map(|line| line.strip_prefix("dockhealth_list_rounds_total "));
        count.unwrap().parse::<u64>().unwrap()
    };
    let before = rounds().await;
    let then = async {
        eventually("the agents are asked", async || (rounds().await > before).then_some(())).await;
        then().await
    };
    tokio::join!(world.get("/api/v1/containers"), then)
}

#[tokio::test]
async fn a_list_waits_for_the_first_report_of_the_agent_within_the_process() {
    let setup = |config: &mut ControllerConfig| {
        config.agents = Agents::Within;
        config.response_window = Duration::from_mins(5);
    };
    let world = World::with(&setup).await;
    // The engine may call the machine by another name.
    let start = async || ScriptedAgent::start(&world, report("vm", vec![container("web")])).await;
    let (list, _agent) = list_and(&world, start).await;
    assert_eq!(names(&list), ["vm/web"]);
    assert_eq!(
        (list.header("dockhealth-hosts-expected"), list.header("dockhealth-hosts-missing")),
        ("1", "")
    );
    assert_eq!(names(&world.get("/api/v1/containers").await.expect(200)), ["vm/web"]);
}

#[tokio::test]
async fn an_agent_within_the_process_that_does_not_report_is_missing() {
    let world = World::with(&|config| config.agents = Agents::Within).await;
    let list = world.get("/api/v1/containers").await.expect(200);
    assert_eq!((list.text(), list.header("dockhealth-hosts-expected")), ("[]", "1"));
    assert_eq!(list.header("dockhealth-hosts-missing"), "controller");
}

#[tokio::test]
async fn a_list_waits_for_a_known_host_that_was_not_heard_yet() {
    let setup = |config: &mut ControllerConfig| config.response_window = Duration::from_mins(5);
    let world = World::after(&setup, async |db| {
        db.save_host(row(&report("a", vec![container("old")]))).await.unwrap();
    })
    .await;
    // Another process of it than the one that is known.
    let start = async || ScriptedAgent::start(&world, report("a", vec![container("web")])).await;
    let (list, _agent) = list_and(&world, start).await;
    assert_eq!(names(&list.expect(200)), ["a/web"]);
}

#[tokio::test]
async fn who_answers_the_first_list_before_it_reported_is_waited_for() {
    let (bus, said) = (TestBus::new(), report("a", vec![container("web")]));
    answer_lists(&bus, said.clone()).await;
    let world = World::on(bus, &|config| config.response_window = Duration::from_mins(5)).await;
    let refused = async |count: u32| {
        let line = format!("dockhealth_reports_refused_total {count}");
        eventually(&line, async || {
            world.get("/metrics").await.text().lines().any(|l| l == line).then_some(())
        })
        .await;
    };
    // The controller asks who is there when it starts.
    refused(1).await;
    let agent = async {
        refused(2).await;
        world.bus.publish(&Subject::Report(host("a")), encode(&said)).await.unwrap();
    };
    let (list, ()) = tokio::join!(world.get("/api/v1/containers"), agent);
    assert_eq!(names(&list.expect(200)), ["a/web"]);
}

#[tokio::test]
async fn the_list_has_every_field_and_is_sorted_and_filtered() {
    let world = World::new().await;
    let mut lossy = container("web");
    lossy.health = Health::Failing;
    lossy.status = RunState::Exited;
    lossy.loss_percent = None;
    let mut other = container("db");
    other.monitored = false;
    other.image = "evil\u{1b}[2J".into();
    let _b = ScriptedAgent::start(&world, report("b", vec![lossy, other])).await;
    let _a = ScriptedAgent::start(&world, report("a", vec![container("web")])).await;

    let answer = world.get("/api/v1/containers/").await.expect(200);
    assert_eq!(names(&answer), ["a/web", "b/db", "b/web"]);
    assert_eq!(answer.header("dockhealth-hosts-expected"), "2");
    assert_eq!(answer.header("dockhealth-hosts-answered"), "2");
    let rows = answer.json();
    assert_eq!(
        rows[0],
        serde_json::json!({
            "hostname": "a", "name": "web", "status": "running", "monitored": true, "id": "0123456789abcdef",
            "image": "nginx:1", "health": "healthy", "loss_percent": 0.0, "rtt_ms": 0.25, "restarts": 2,
            "networks": ["bridge"], "addresses": ["172.17.0.2"], "project": null, "service": null,
            "reason": "answers every probe",
        })
    );
    assert_eq!(rows[1]["image"], "evil?[2J");
    assert!(rows[2]["loss_percent"].is_null());

    for (query, expected) in [
        ("host=b", vec!["b/db", "b/web"]),
        ("monitored=true", vec!["a/web", "b/web"]),
        ("monitored=false", vec!["b/db"]),
        ("status=exited", vec!["b/web"]),
        ("health=failing,quarantined", vec!["b/web"]),
        ("host=b&health=healthy", vec!["b/db"]),
        ("host=nowhere", vec![]),
    ] {
        let answer = world.get(&format!("/api/v1/containers?{query}")).await.expect(200);
        assert_eq!(names(&answer), expected, "{query}");
    }
}

#[tokio::test]
async fn a_mute_host_is_left_out_after_the_window_and_named() {
    let world = World::new().await;
    let _a = ScriptedAgent::start(&world, report("a", vec![container("web")])).await;
    let mute = report("mute", vec![container("lost")]);
    let done = Box::new(|_| AgentReply::Done);
    let _mute = ScriptedAgent::scripted(&world, mute, Lists::Unanswered, done).await;

    let start = Instant::now();
    let answer = world.get("/api/v1/containers").await.expect(200);
    let took = start.elapsed();
    assert!((Duration::from_millis(350)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert_eq!(names(&answer), ["a/web"]);
    assert_eq!(answer.header("dockhealth-hosts-expected"), "2");
    assert_eq!(answer.header("dockhealth-hosts-answered"), "1");
    assert_eq!(answer.header("dockhealth-hosts-missing"), "mute");

    let answer = world.get("/api/v1/containers?stale=true").await.expect(200);
    assert_eq!(names(&answer), ["a/web", "mute/lost"]);
    let rows = answer.json();
    assert_eq!((&rows[0]["stale"], &rows[1]["stale"]), (&serde_json::Value::Null, &true.into()));
}

#[tokio::test]
async fn an_answer_in_the_name_of_another_host_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let said = report("a", vec![container("web")]);
    let done = Box::new(|_| AgentReply::Done);
    let _mute = ScriptedAgent::scripted(&world, said, Lists::Unanswered, done).await;
    let forged = ["a", "b"].map(|name| HostReport { seq: 99, ..report(name, vec![container("forged")]) });
    for forged in forged {
        answer_lists(&world.bus, forged).await;
    }

    let answer = world.get("/api/v1/containers?stale=true").await.expect(200);
    assert_eq!((names(&answer), answer.header("dockhealth-hosts-missing")), (vec!["a/web".to_owned()], "a"));
    assert_eq!(answer.header("dockhealth-hosts-expected"), "1");
    assert_eq!(world.get("/api/v1/hosts/a").await.json()["conflict"], serde_json::Value::Null);
    world.get("/api/v1/hosts/b").await.problem(404);
    let metrics = world.get("/metrics").await;
    let refused = metrics.text().lines().find(|line| line.starts_with("dockhealth_reports_refused_total "));
    assert_eq!(refused, Some("dockhealth_reports_refused_total 2"));
}

#[tokio::test]
async fn callers_at_the_same_time_share_one_round() {
    let world = World::with(&|config| config.response_window = Duration::from_secs(2)).await;
    let mute = report("mute", Vec::new());
    let done = Box::new(|_| AgentReply::Done);
    let agent = ScriptedAgent::scripted(&world, mute, Lists::Unanswered, done).await;
    let asked_before = *agent.asked.borrow();
    let lists = (0..20).map(|_| world.get("/api/v1/containers"));
    for answer in futures_util::future::join_all(lists).await {
        assert_eq!(answer.expect(200).header("dockhealth-hosts-missing"), "mute");
    }
    assert_eq!(*agent.asked.borrow() - asked_before, 1);
}

#[tokio::test]
async fn while_the_bus_is_down_lists_and_changes_are_503_and_views_of_the_store_go_on() {
    let world = World::new().await;
    let _a = ScriptedAgent::start(&world, report("a", vec![container("web")])).await;
    world.bus.take_down();
    for path in ["/api/v1/containers", "/api/v1/threshold"] {
        let detail = world.get(path).await.problem(503);
        assert!(detail.contains("connection refused"), "{detail}");
    }
    world.call("PUT", "/api/v1/threshold", "10").await.problem(503);
    world.call("POST", "/api/v1/containers/a/web", "").await.problem(503);
    world.call("POST", "/api/v1/containers/a/web/restart", "").await.problem(503);
    for path in ["/api/v1/hosts", "/api/v1/events", "/api/v1/incidents", "/healthz"] {
        world.get(path).await.expect(200);
    }
    let ready = world.get("/readyz").await.expect(503).json();
    assert_eq!((&ready["ready"], &ready["bus"]), (&false.into(), &"connection refused".into()));
    assert_eq!(world.get("/api/v1/containers/a/web").await.expect(200).json()["container"]["stale"], true);
    world.bus.bring_up();
    world.get("/api/v1/containers").await.expect(200);
}

#[tokio::test]
async fn hosts_are_found_by_name_and_by_address() {
    let world = World::new().await;
    for (name, addresses) in
        [("a", vec!["192.0.2.1", "172.17.0.1"]), ("b", vec!["2001:db8::2", "172.17.0.1"])]
    {
        let mut said = report(name, vec![container("web")]);
        said.addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let _agent = ScriptedAgent::start(&world, said).await;
    }
    let host = world.get("/api/v1/hosts/192.0.2.1").await.expect(200).json();
    assert_eq!((&host["hostname"], &host["presence"]), (&"a".into(), &"live".into()));
    assert_eq!((&host["agent"]["containers"], &host["agent"]["monitored"]), (&1.into(), &1.into()));
    assert_eq!(host["agent"]["engine"]["id"], "engine-of-a");
    assert_eq!(world.get("/api/v1/hosts/2001:db8::2").await.expect(200).json()["hostname"], "b");
    assert_eq!(world.get("/api/v1/hosts/2001%3Adb8%3A%3A2").await.expect(200).json()["hostname"], "b");
    assert!(world.get("/api/v1/hosts/172.17.0.1").await.problem(409).contains("a, b"));
    world.get("/api/v1/hosts/192.0.2.9").await.problem(404);
    world.get("/api/v1/hosts/c").await.problem(404);
    assert_eq!(world.get("/api/v1/hosts").await.json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn two_agents_under_one_name_are_shown_as_a_conflict() {
    let world = World::new().await;
    let first = ScriptedAgent::start(&world, report("a", Vec::new())).await;
    let second = ScriptedAgent::start(&world, report("a", Vec::new())).await;
    let conflict = eventually("the conflict shows", async || {
        first.push().await;
        second.push().await;
        world.get("/api/v1/hosts/a").await.json()["conflict"].as_str().map(str::to_owned)
    })
    .await;
    assert!(conflict.contains("two agents speak as host a"), "{conflict}");
    eventually("the conflict is an event", async || {
        world.kinds().await.contains(&"identity_conflict".to_owned()).then_some(())
    })
    .await;
    let incidents = world.get("/api/v1/incidents?open=true").await.expect(200).json();
    assert_eq!(incidents[0]["kind"], "identity");
}

#[tokio::test]
async fn one_container_is_explained_by_its_agent() {
    let world = World::new().await;
    let script = Box::new(|command| match command {
        AgentCommand::Why { container: name } if name.as_str() == "web" => {
            let draft = EventDraft::new(EventKind::ContainerRestarted, Actor::Agent, "100 % loss");
            AgentReply::Why(Box::new(WhyReport {
                container: container("web"),
                threshold: Threshold::new(25.0).unwrap(),
                monitored_by: "an administrator put it on the list".into(),
                checks: Vec::new(),
                events: vec![draft.about(&name).stamp(&host("a"), Timestamp::from_millis(0))],
                brakes: vec!["4 of 5 restarts left this hour".into()],
                efficacy: None,
                network: None,
            }))
        }
        AgentCommand::Why { container } => {
            AgentReply::Error(CommandError::NoSuchContainer { container: container.to_string() })
        }
        _ => AgentReply::Done,
    });
    let said = report("a", vec![container("web")]);
    let _a = ScriptedAgent::scripted(&world, said, Lists::Answered, script).await;
    let details = world.get("/api/v1/containers/a/web").await.expect(200).json();
    assert_eq!((&details["threshold"], &details["container"]["name"]), (&25.0.into(), &"web".into()));
    assert_eq!(details["brakes"][0], "4 of 5 restarts left this hour");
    assert_eq!(details["events"][0]["kind"], "container_restarted");
    assert!(world.get("/api/v1/containers/a/nothing").await.problem(404).contains("nothing"));
    assert!(world.get("/api/v1/containers/b/web").await.problem(404).contains("/api/v1/hosts"));
}

#[tokio::test]
async fn processes_are_asked_of_the_agent_and_cleaned() {
    let world = World::new().await;
    let script = Box::new(|command| match command {
        AgentCommand::Processes { container, limit: 7 } if container.as_str() == "web" => {
            let command = "evil\u{1b}[2J".to_owned();
            let process = ProcessUse { pid: 9, command, cpu_percent: 1.5, memory_bytes: 4096, threads: 2 };
            let list = ProcessList { span_ms: 1000, processes: vec![process], left_out: 3 };
            AgentReply::Processes(Box::new(list))
        }
        // As an agent answers that does not know this command yet.
        AgentCommand::Processes { limit: 20, .. } => {
            AgentReply::Error(CommandError::Malformed { reason: "unknown variant `processes`".into() })
        }
        _ => AgentReply::Done,
    });
    let said = report("a", vec![container("web")]);
    let _a = ScriptedAgent::scripted(&world, said, Lists::Answered, script).await;
    let path = "/api/v1/containers/a/web/processes";
    let list = world.get(&format!("{path}?limit=7")).await.expect(200).json();
    assert_eq!((&list["processes"][0]["command"], &list["left_out"]), (&"evil?[2J".into(), &3.into()));
    assert!(world.get(path).await.problem(502).contains("cannot read the command"));
    assert!(world.get(&format!("{path}?limit=8")).await.problem(502).contains("not with processes"));
    assert!(world.get(&format!("{path}?limit=1001")).await.problem(400).contains("from 1 to 1000"));
    world.get("/api/v1/containers/b/web/processes").await.problem(404);
}

#[tokio::test]
async fn a_silent_host_is_answered_from_what_was_last_known() {
    let world = World::after(&|_| {}, async |db| {
        db.save_host(row(&report("gone", vec![container("web")]))).await.unwrap();
        let silent = EventDraft::new(EventKind::HostSilent, Actor::Controller, "gone");
        let healed = EventDraft::new(EventKind::ContainerRestarted, Actor::Agent, "100 % loss");
        let healed = healed.about(&"web".parse().unwrap());
        let events = [silent, healed].map(|draft| draft.stamp(&host("gone"), Timestamp::now()));
        db.append(events.into()).await.unwrap();
    })
    .await;
    assert_eq!(world.get("/api/v1/hosts/gone").await.expect(200).json()["presence"], "silent");
    let details = world.get("/api/v1/containers/gone/web").await.expect(200).json();
    assert_eq!(details["container"]["stale"], true);
    assert!(details["threshold"].is_null() && details["monitored_by"].is_null());
    assert_eq!(details["events"][0]["kind"], "container_restarted");
    let list = world.get("/api/v1/containers").await.expect(200);
    assert_eq!((list.text(), list.header("dockhealth-hosts-expected")), ("[]", "0"));
    assert_eq!(names(&world.get("/api/v1/containers?stale=true").await), ["gone/web"]);

    let monitored = world.call("POST", "/api/v1/containers/gone/web", "").await.expect(202);
    assert!(monitored.json()["detail"].as_str().unwrap().contains("silent"));
    world.call("DELETE", "/api/v1/hosts/gone", "").await.expect(204);
    world.get("/api/v1/hosts/gone").await.problem(404);
    assert!(world.desired().await.containers.is_empty());
    assert!(world.db.hosts().await.unwrap().is_empty());
    assert_eq!(world.kinds().await.last().unwrap(), "host_forgotten");
}

#[tokio::test]
async fn hosts_outlive_the_controller() {
    let world = World::new().await;
    let agent = ScriptedAgent::start(&world, report("a", vec![container("web")])).await;
    let mut seen = world.get("/api/v1/hosts/a").await.expect(200).json();
    // What was measured of its clock is the process's own.
    seen["clock_offset_ms"] = serde_json::Value::Null;
    drop(agent);
    let world = world.restarted(|_| ()).await;
    let restored = world.get("/api/v1/hosts/a").await.expect(200).json();
    assert_eq!(restored, seen);
    let list = world.get("/api/v1/containers?stale=true").await.expect(200);
    assert_eq!((names(&list), list.header("dockhealth-hosts-missing")), (vec!["a/web".to_owned()], "a"));
    let _again = ScriptedAgent::start(&world, report("a", vec![container("web")])).await;
    assert_eq!(world.kinds().await, ["host_live"], "a restart of the controller is no news of the host");
}

#[tokio::test]
async fn health_metrics_and_documentation_need_nothing_from_elsewhere() {
    let world = World::new().await;
    let _a = ScriptedAgent::start(&world, report("a", vec![container("web")])).await;
    assert_eq!(world.get("/healthz").await.expect(200).text(), "ok\n");
    assert_eq!(world.get("/readyz").await.expect(200).json()["store"], "writable");
    let metrics = world.get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "dockhealth_hosts{presence=\"live\"} 1",
        "dockhealth_containers{health=\"healthy\"} 1",
        "dockhealth_container_rtt_seconds{host=\"a\",container=\"web\"} 0.00025",
        "dockhealth_bus_connected 1",
    ] {
        assert!(metrics.text().lines().any(|l| l == line), "{line} is not in\n{}", metrics.text());
    }
    for docs in ["/docs", "/docs/"] {
        assert_eq!(world.get(docs).await.expect(308).header("location"), "/docs/index.html");
    }
    let page = world.get("/docs/index.html").await.expect(200);
    assert!(page.text().contains("swagger-ui.css") && !page.text().contains("https://"));
    assert!(page.header("content-security-policy").contains("default-src 'self'"));
    assert!(world.get("/docs/swagger-initializer.js").await.text().contains("/api/v1/openapi.json"));
    let plain = world.get("/docs/swagger-ui-bundle.js").await.expect(200);
    assert!(plain.text().contains("SwaggerUIBundle"), "who names no encoding gets plain text");
    let ask = Ask::new("GET", "/docs/swagger-ui-bundle.js").header("accept-encoding", "gzip, br");
    let compressed = ask.send(world.address).await.expect(200);
    assert_eq!(compressed.header("content-encoding"), "gzip");
    world.get("/docs/..%2f..%2fetc%2fpasswd").await.problem(404);
}

#[tokio::test]
async fn the_paths_of_the_interface() {
    let world = World::new().await;
    let document = world.get("/api/v1/openapi.json").await.expect(200).json();
    let mut lines = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let statuses: Vec<_> = operation["responses"].as_object().unwrap().keys().cloned().collect();
            lines.push(format!("{} {path}: {}", method.to_uppercase(), statuses.join(" ")));
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}
