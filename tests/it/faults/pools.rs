//! Pools over the fleet: put over REST they come up where the host consents, serve, change while they do, survive their agent,
//! and leave nothing when they are removed. Who does not consent is told so.

use std::time::Duration;

use dockhealth::model::Timestamp;
use serde_json::{Value, json};

use super::rig::{DEADLINE, Fleet, HOST, free_address};
use crate::support::dockerd::IMAGE;
use crate::support::wait_for;

fn path(name: &str) -> String {
    format!("/api/v1/pools/{HOST}/{name}")
}

/// A pool of web servers that name themselves.
fn spec(listen: &str, more: &Value) -> Value {
    let script = "hostname > /index.html; exec httpd -f -p 80 -h /";
    let mut spec = json!({
        "image": IMAGE, "command": ["sh", "-c", script], "listen": listen, "ready_path": "/index.html",
        "controller": "fixed:1", "min": 1, "max": 4, "period_ms": 500, "stop_timeout_ms": 0,
    });
    for (key, value) in more.as_object().expect("an object") {
        spec[key] = value.clone();
    }
    spec
}

fn containers(fleet: &Fleet, name: &str) -> Vec<String> {
    let filter = format!("label=dockhealth.pool={name}");
    let all = fleet.engine.docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
    all.lines().map(str::to_owned).collect()
}

/// What a request to the pool is answered, when it is with 200.
fn served(listen: &str) -> Option<String> {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(15)));
    let client: ureq::Agent = config.build().into();
    client.get(format!("http://{listen}/index.html")).call().ok()?.body_mut().read_to_string().ok()
}

fn pool(fleet: &Fleet, name: &str) -> Option<Value> {
    fleet.ask("GET", &path(name), "").filter(|answer| answer.status == 200).map(|answer| answer.json)
}

fn wait_ready(fleet: &Fleet, name: &str, ready: u64) -> Value {
    wait_for(&format!("{name} has {ready} ready"), DEADLINE, || {
        let told = pool(fleet, name)?;
        let now = &told["pool"]["status"]["counts"];
        (told["pool"]["health"] == "serving"
            && now["ready"] == ready
            && now["draining"] == 0
            && now["removing"] == 0)
            .then_some(told)
    })
}

#[test]
fn a_pool_lives_on_the_host_that_consents_and_leaves_nothing() {
    let fleet = Fleet::start(&["--pools", "--monitor-all", "--metrics-interval", "1s"]);
    let listen = free_address();
    let put =
        |more: Value| fleet.ask("PUT", &path("web"), &spec(&listen, &more).to_string()).expect("an answer");
    let wrong = put(json!({"min": "two"}));
    assert_eq!(wrong.status, 400);
    assert!(wrong.json["detail"].as_str().unwrap().starts_with("min: "), "{:?}", wrong.json);

    assert_eq!(put(json!({})).status, 200);
    wait_ready(&fleet, "web", 1);
    let first = served(&listen).expect("it serves");

    // Changed while it runs: its first container stays.
    assert_eq!(put(json!({"controller": "fixed:3"})).status, 200);
    let told = wait_ready(&fleet, "web", 3);
    let three = containers(&fleet, "web");
    assert_eq!(three.len(), 3, "{told}");
    assert!(three.iter().any(|id| id.starts_with(first.trim())), "{first} of {three:?}");
    assert_eq!(told["pool"]["status"]["totals"]["arrivals"], 1, "the same runner: {told}");
    let decision = &told["decisions"][0];
    assert!(decision["want"] == 3 && !decision["reason"].as_str().unwrap().is_empty(), "{told}");

    // Who ails there is replaced by the pool, and healed by nobody else.
    let shown = fleet.get("/api/v1/containers?stale=true");
    let of_pool = shown
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["name"].as_str().unwrap().starts_with("dockhealth-pool-"));
    let monitored: Vec<&Value> = of_pool.map(|container| &container["monitored"]).collect();
    assert_eq!(monitored, [&json!(false); 3]);
    fleet.engine.docker(&["kill", &three[0]]);
    wait_for("it is replaced", DEADLINE, || {
        let now = containers(&fleet, "web");
        (now.len() == 3 && !now.contains(&three[0])).then_some(())
    });
    wait_ready(&fleet, "web", 3);
    assert_eq!(fleet.count("container_started", ""), 0);

    // Its series are in the store.
    wait_for("what it measures is kept", DEADLINE, || {
        let names = "names=pool_containers_ready,pool_arrivals_per_second";
        let page = fleet.get(&format!("/api/v1/hosts/{HOST}/metrics?{names}"));
        let has = |series: &str| {
            page["series"][series].as_array().is_some_and(|all| all.iter().any(Value::is_number))
        };
        (has("pool_containers_ready/web") && has("pool_arrivals_per_second/web")).then_some(())
    });

    // An agent that ends leaves them; the next adopts them.
    let before = containers(&fleet, "web");
    fleet.agent.end();
    assert_eq!(containers(&fleet, "web"), before);
    let since = Timestamp::now();
    fleet.agent.start();
    fleet.wait_ready(since);
    wait_ready(&fleet, "web", 3);
    assert_eq!(containers(&fleet, "web"), before);
    served(&listen).expect("it serves again");

    // Another image's worth of change: a new runner, all containers made anew.
    assert_eq!(put(json!({"controller": "fixed:1", "labels": {"made": "anew"}})).status, 200);
    wait_for("all are made anew", DEADLINE, || {
        let now = containers(&fleet, "web");
        (now.len() == 1 && !before.contains(&now[0])).then_some(())
    });
    wait_ready(&fleet, "web", 1);
    served(&listen).expect("it serves as before");

    // An image that is not there: an incident, and its end.
    assert_eq!(put(json!({"image": "nowhere:1"})).status, 200);
    let incident = wait_for("an incident is open", DEADLINE, || {
        let open = fleet.get("/api/v1/incidents?open=true");
        open.as_array()?.iter().find(|one| one["kind"] == "pool").cloned()
    });
    assert_eq!(incident["pool"], "web");
    let told = pool(&fleet, "web").expect("it is known");
    assert_eq!(told["pool"]["health"], "down", "{told}");
    assert!(told["pool"]["detail"].as_str().unwrap().contains("nowhere"), "{told}");
    assert_eq!(put(json!({})).status, 200);
    wait_ready(&fleet, "web", 1);
    wait_for("the incident is over", DEADLINE, || {
        let open = fleet.get("/api/v1/incidents?open=true");
        open.as_array()?.iter().all(|one| one["kind"] != "pool").then_some(())
    });

    fleet.change("DELETE", &path("web"), "");
    wait_for("nothing is left", DEADLINE, || {
        let gone = fleet.ask("GET", &path("web"), "")?.status == 404;
        (gone && containers(&fleet, "web").is_empty()).then_some(())
    });
    assert!(std::net::TcpStream::connect(&listen).is_err(), "nobody listens there any more");
    fleet.wait_delivered();
    let kinds: Vec<String> =
        fleet.events().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect();
    for kind in ["pool_set", "pool_started", "pool_degraded", "pool_recovered", "pool_removed", "pool_ended"]
    {
        assert!(kinds.iter().any(|each| each == kind), "{kind} is not among {kinds:?}");
    }
}

#[test]
fn a_host_that_does_not_consent_refuses_and_says_how_it_would() {
    let fleet = Fleet::start(&["--pools"]);
    let listen = free_address();
    fleet.change("PUT", &path("web"), &spec(&listen, &json!({})).to_string());
    wait_ready(&fleet, "web", 1);
    let left = containers(&fleet, "web");
    fleet.agent.end();

    // The same host, whose own configuration does not say so any more.
    let other = fleet.same_host(&[]);
    let since = Timestamp::now();
    other.start();
    fleet.wait_ready(since);
    let told = wait_for("it is refused", DEADLINE, || {
        pool(&fleet, "web").filter(|told| told["pool"]["health"] == "down")
    });
    assert!(told["pool"]["detail"].as_str().unwrap().contains("--pools"), "{told}");
    let refused =
        fleet.ask("PUT", &path("more"), &spec(&free_address(), &json!({})).to_string()).expect("an answer");
    assert_eq!(refused.status, 409);
    let why = refused.json["detail"].as_str().unwrap();
    assert!(why.contains(HOST) && why.contains("--pools"), "{why}");
    assert_eq!(containers(&fleet, "web"), left, "they are nobody's to remove");
    assert!(served(&listen).is_none());
}
