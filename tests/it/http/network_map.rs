//! The network map: what agents say of who talks to whom, put together by the controller.

use dockhealth::bus::{Bus, HostReport, NetworkReport, PROTOCOL_VERSION, Subject, encode_network};
use dockhealth::model::{
    Endpoint, EndpointKind, Flow, Hop, Interval, LatencyHistogram, MeasureWay, Measurement,
    MeasurementStatus, NetworkRules, Overflow, PairLatency, Peer, PeerKind, Protocol, RulesTemplate,
    TcpFigures, Timestamp, Traffic,
};
use serde_json::{Value, json};

use super::client::Ask;
use super::world::{ScriptedAgent, World, container, report};
use crate::support::eventually;

fn measurement(name: &str, status: MeasurementStatus) -> Measurement {
    Measurement { name: name.into(), status, detail: format!("made-up {name}") }
}

/// The interval of ten seconds that ended last, `back` intervals ago.
fn interval(back: i64, containers: &[(&str, &str)]) -> Interval {
    let end = Timestamp::now().millis() / 10_000 * 10_000 - back * 10_000;
    let endpoint = |(name, address): &(&str, &str)| Endpoint {
        container: name.parse().unwrap(),
        kind: EndpointKind::Own,
        shares: None,
        addresses: vec![address.parse().unwrap()],
        traced: true,
    };
    Interval {
        start: Timestamp::from_millis(end - 10_000),
        end: Timestamp::from_millis(end),
        way: MeasureWay::Tracepoints,
        measurements: vec![
            measurement("flows", MeasurementStatus::Works),
            measurement("drops", MeasurementStatus::Missing),
            measurement("one_way", MeasurementStatus::Missing),
        ],
        clock: None,
        endpoints: containers.iter().map(endpoint).collect(),
        flows: Vec::new(),
        latency: Vec::new(),
        drops: Vec::new(),
        stamps: Vec::new(),
        overflow: Overflow::default(),
    }
}

fn flow(container: &str, peer: &str, sent: u64, received: u64) -> Flow {
    let traffic =
        |packets: u64| Traffic { bytes: packets * 100, packets: Some(packets), segments: Some(packets) };
    Flow {
        container: container.parse().unwrap(),
        peer: Peer { kind: PeerKind::Address, container: None, address: Some(peer.parse().unwrap()) },
        protocol: Protocol::Tcp,
        sent: traffic(sent),
        received: traffic(received),
        tcp: Some(TcpFigures { retransmits: Some(3), ..TcpFigures::default() }),
    }
}

async fn push(world: &World, host: &HostReport, seq: u64, interval: Interval) {
    let report =
        NetworkReport { v: PROTOCOL_VERSION, host: host.host.clone(), nonce: host.nonce, seq, interval };
    world.bus.publish(&Subject::Network(host.host.clone()), encode_network(&report)).await.unwrap();
}

async fn map(world: &World, query: &str) -> Value {
    world.get(&format!("/api/v1/network/map?{query}")).await.expect(200).json()
}

fn edge<'a>(map: &'a Value, from: &str, to: &str) -> Option<&'a Value> {
    map["edges"].as_array().unwrap().iter().find(|edge| edge["from"] == from && edge["to"] == to)
}

/// Hosts `a` and `b`, of which web talks to db, and an old one that says nothing of its network.
async fn fleet() -> (World, Vec<ScriptedAgent>, [HostReport; 2]) {
    let world = World::new().await;
    let mut web = container("web");
    web.project = Some("shop".into());
    let (a, b) =
        (report("a", vec![web, container("app")]), report("b", vec![container("db"), container("web")]));
    let mut old = report("old", vec![container("legacy")]);
    old.agent_version = "0.0.9".into();
    let mut agents = Vec::new();
    for report in [&a, &b, &old] {
        agents.push(ScriptedAgent::start(&world, report.clone()).await);
    }
    (world, agents, [a, b])
}

#[tokio::test]
async fn two_hosts_make_one_map() {
    let (world, _agents, [a, b]) = fleet().await;
    let empty = map(&world, "").await;
    assert_eq!((&empty["edges"], &empty["nodes"]), (&json!([]), &json!([])));
    assert_eq!(empty["hosts_lacking"], json!(["a", "b", "old"]));

    for (seq, back) in [(1, 1), (2, 0)] {
        let mut of_a = interval(back, &[("web", "10.9.0.2"), ("app", "10.9.0.4")]);
        of_a.flows = vec![flow("web", "10.9.0.3", 100, 50), flow("web", "203.0.113.9", 1, 0)];
        let histogram =
            LatencyHistogram { count: 4, sum_ns: 20_000, max_ns: 6_000, buckets: vec![(8, 3), (9, 1)] };
        let (from, to) = ("web".parse().unwrap(), Some("app".parse().unwrap()));
        of_a.latency = vec![PairLatency { from, to, hop: Hop::EndToEnd, histogram }];
        let mut of_b = interval(back, &[("db", "10.9.0.3")]);
        of_b.flows = vec![flow("db", "10.9.0.2", 50, 80)];
        push(&world, &a, seq, of_a).await;
        push(&world, &b, seq, of_b).await;
    }
    let map_of = async |query: &str| {
        eventually("both intervals are in the map", async || {
            let map = map(&world, query).await;
            let bytes = map["edges"].as_array()?.first()?["bytes"].as_u64()?;
            (bytes >= 20_000).then_some(map)
        })
        .await
    };
    let all = map_of("window=60").await;
    let there = edge(&all, "a/web", "b/db").unwrap();
    assert_eq!(
        (&there["bytes"], &there["packets"], &there["loss_percent"]),
        (&json!(20_000), &json!(200), &json!(20.0))
    );
    assert_eq!(
        (&there["retransmits"], &there["drops"], &there["rtt_ms"]),
        (&json!(6), &Value::Null, &Value::Null)
    );
    assert_eq!(there["bytes_per_second"], 1000.0);
    assert!(edge(&all, "a/web", "external").is_some());
    assert!(edge(&all, "external", "a/web").is_none(), "nothing came back: {all}");
    let within = edge(&all, "a/web", "a/app").unwrap();
    assert_eq!((&within["latency_kind"], &within["bytes"]), (&json!("measured"), &Value::Null));
    assert!(within["latency_us_p99"].as_f64() >= within["latency_us_p50"].as_f64());
    let nodes = all["nodes"].as_array().unwrap();
    let web = nodes.iter().find(|node| node["id"] == "a/web").unwrap();
    assert_eq!(
        (&web["kind"], &web["hostname"], &web["name"], &web["project"]),
        (&json!("container"), &json!("a"), &json!("web"), &json!("shop"))
    );
    assert!(nodes.iter().any(|node| node["id"] == "external" && node["hostname"].is_null()));
    assert_eq!((&all["hosts_lacking"], &all["interval_seconds"]), (&json!(["a", "b", "old"]), &json!(10)));

    let folded = map_of("window=60&by=project").await;
    assert!(edge(&folded, "project:a/shop", "host:b").is_some(), "{folded}");
    let folded = map_of("window=5m&by=host").await;
    assert_eq!(edge(&folded, "host:a", "host:b").unwrap()["loss_percent"], 20.0);
    let only = map(&world, "window=60&host=b&limit=1").await;
    assert_eq!((only["edges"].as_array().unwrap().len(), &only["edges_left_out"]), (1, &json!(1)));

    let flows = world.get("/api/v1/network/flows?container=a/web").await.expect(200).json();
    let ids: Vec<&str> =
        flows["flows"].as_array().unwrap().iter().map(|f| f["peer"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["b/db", "external:203.0.113.9"]);
    assert_eq!(
        (&flows["flows"][0]["loss_percent"], &flows["flows"][0]["loss_percent_back"]),
        (&json!(20.0), &json!(0.0))
    );
    assert_eq!(flows["flows"][0]["sent"], json!({"bytes": 20_000, "packets": 200, "segments": 200}));
    let several = world.get("/api/v1/network/flows?container=web").await.problem(409);
    assert!(several.contains("a/web, b/web"), "{several}");
    assert!(world.get("/api/v1/network/flows?container=web&host=a").await.status == 200);
    assert!(world.get("/api/v1/network/flows?container=nobody").await.problem(404).contains("nobody"));
    assert!(world.get("/api/v1/network/flows").await.problem(400).contains("HOST/NAME"));

    let pair = world.get("/api/v1/network/pair?from=a/web&to=a/app&window=60").await.expect(200).json();
    assert_eq!((&pair["latency"]["count"], &pair["latency"]["mean_us"]), (&json!(8), &json!(5.0)));
    assert_eq!(pair["latency"]["buckets"][0], json!({"from_us": 4.096, "to_us": 6.144, "count": 6}));
    let pair = world.get("/api/v1/network/pair?from=a/web&to=b/db&window=60").await.expect(200).json();
    // In which of the ten seconds the two intervals are shown depends on when they came; the newest end the course.
    let course = |name: &str| pair["series"][name].as_array().unwrap().clone();
    assert_eq!((course("t").len(), &pair["series"]["step"]), (6, &json!(10)));
    for (name, value) in [("loss_percent", json!(20.0)), ("bytes_per_second", json!(1000.0))] {
        let course = course(name);
        assert_eq!((&course[5], &course[0]), (&value, &Value::Null), "{name}");
        assert!(course.iter().all(|at| at.is_null() || *at == value), "{name}: {course:?}");
    }
    let out = world.get("/api/v1/network/pair?from=project:a/shop&by=project").await.expect(200).json();
    assert_eq!(out["total"]["bytes"], 20_200);
}

#[tokio::test]
async fn bad_questions_say_what_would_be_right() {
    let world = World::new().await;
    for (path, says) in [
        ("map?window=5", "10 to 3600"),
        ("map?window=2h", "10s to 1h"),
        ("map?window=x", "query parameter window"),
        ("map?by=planet", "valid: container, project, host"),
        ("map?limit=0", "1 to 50000"),
        ("pair", "give from or to"),
        ("pair?from=nonsense", "HOST/CONTAINER"),
        ("rules?format=xml", "valid: json, toml"),
    ] {
        let detail = world.get(&format!("/api/v1/network/{path}")).await.problem(400);
        assert!(detail.contains(says), "{path}: {detail}");
    }
    assert!(world.get("/api/v1/network/map?host=nowhere").await.problem(404).contains("nowhere"));
}

#[tokio::test]
async fn each_host_says_what_it_lacks_and_old_ones_are_told_what_would_give_it() {
    let (world, agents, [a, _]) = fleet().await;
    push(&world, &a, 1, interval(0, &[("web", "10.9.0.2")])).await;
    let hosts = eventually("a's report is taken in", async || {
        let hosts = world.get("/api/v1/network/hosts").await.expect(200).json();
        (hosts[0]["way"] == "tracepoints").then_some(hosts)
    })
    .await;
    assert_eq!(
        hosts[0]["measurements"][1],
        json!({"name": "drops", "status": "missing", "detail": "made-up drops"})
    );
    assert_eq!((&hosts[0]["traced"], &hosts[0]["interval_seconds"]), (&json!(1), &json!(10.0)));
    assert!(hosts[1]["detail"].as_str().unwrap().contains("after each interval"), "{hosts}");
    assert!(hosts[2]["detail"].as_str().unwrap().contains("0.0.9"), "{hosts}");

    // A new process of the agent: the old one's word counts no more.
    let before = a.nonce;
    agents[0].change(|report| report.nonce = uuid::Uuid::from_u128(5)).await;
    let restarted = HostReport { nonce: uuid::Uuid::from_u128(5), ..a.clone() };
    push(&world, &restarted, 1, interval(0, &[("web", "10.9.0.2"), ("app", "10.9.0.4")])).await;
    eventually("the new process is heard", async || {
        let hosts = world.get("/api/v1/network/hosts").await.json();
        (hosts[0]["traced"] == 2).then_some(())
    })
    .await;
    assert_ne!(before, restarted.nonce);
    push(&world, &a, 9, interval(0, &[])).await;
    eventually("the old process is refused", async || {
        let metrics = world.get("/metrics").await;
        metrics.text().contains("dockhealth_network_reports_refused_total 1").then_some(())
    })
    .await;
    let hosts = world.get("/api/v1/network/hosts").await.json();
    assert_eq!(hosts[0]["traced"], 2);
}

#[tokio::test]
async fn rules_are_read_and_set_as_json_and_toml() {
    let world = World::new().await;
    let path = "/api/v1/network/rules";
    let default = world.get(path).await.expect(200).json();
    assert_eq!(serde_json::from_value::<NetworkRules>(default).unwrap(), NetworkRules::default());
    let toml = "template = \"bridge\"\ninterval = \"5s\"\n[trace]\nports = [80]\n";
    let put = |kind: &'static str, body: &str| {
        let ask = Ask::new("PUT", path).token(&world.token).body(body);
        if kind.is_empty() { ask } else { ask.header("content-type", kind) }
    };
    let stored = put("application/toml", toml).send(world.address).await.expect(200).json();
    assert_eq!((&stored["interval"], &stored["trace"]["ports"]), (&json!("5s"), &json!([80])));
    assert_eq!(
        stored["measure"]["hops"],
        serde_json::to_value(RulesTemplate::Bridge.rules()).unwrap()["measure"]["hops"]
    );
    assert_eq!(world.desired().await.rules.unwrap().interval.as_secs(), 5);
    let text = world.get(&format!("{path}?format=toml")).await.expect(200);
    assert_eq!(text.header("content-type"), "application/toml");
    assert_eq!(NetworkRules::from_toml(text.text()).unwrap(), world.desired().await.rules.unwrap());
    let accepted = Ask::new("GET", path).header("accept", "application/toml").send(world.address).await;
    assert_eq!(accepted.text(), text.text());

    put("", "{\"interval\": \"20s\"}").send(world.address).await.expect(200);
    assert_eq!(world.get(path).await.json()["interval"], "20s");
    for (kind, body, says) in [
        ("application/json", "{\"sampling\": {\"latency\": 3}}", "sampling.latency"),
        ("application/toml", "[trace]\nport = [80]", "trace.port"),
        ("application/json", "interval = \"5s\"", "rules"),
        ("", "", "empty"),
    ] {
        let detail = put(kind, body).send(world.address).await.problem(400);
        assert!(detail.contains(says), "{body}: {detail}");
    }
    let read = Ask::new("PUT", path).body("{}").send(world.address).await;
    assert_eq!(read.status, 401);
    world.call("DELETE", path, "").await.expect(204);
    assert_eq!(world.desired().await.rules, None);
    assert_eq!(world.kinds().await.iter().filter(|kind| *kind == "rules_changed").count(), 3);

    let templates = world.get("/api/v1/network/rules/templates").await.expect(200).json();
    for template in templates.as_array().unwrap() {
        let rules = NetworkRules::from_toml(template["toml"].as_str().unwrap()).unwrap();
        assert_eq!(rules, serde_json::from_value(template["rules"].clone()).unwrap());
    }
    assert_eq!(templates.as_array().unwrap().len(), RulesTemplate::ALL.len());
}
