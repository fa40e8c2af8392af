//! Metrics: over time, as a ranking, as a page about a host, as room for more, live, and for Prometheus.

use dockhealth::bus::{
    Bus, OutboxAck, OutboxBatch, OutboxItem, PROTOCOL_VERSION, Subject, decode, encode_batch,
};
use dockhealth::model::{Freeze, Health, METRICS, MetricScope, MetricTick, SeriesName, Timestamp, Values};
use serde_json::{Value, json};

use super::client::{Ask, SseReader};
use super::world::{ScriptedAgent, World, container, host, report};
use crate::support::eventually;

/// The last multiple of 10 s, unix seconds.
pub(super) fn now() -> i64 {
    Timestamp::now().millis() / 10_000 * 10
}

pub(super) fn values(pairs: &[(&str, f64)]) -> Values {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), *value)).collect()
}

/// A tick with what is of a host and what is of each container.
pub(super) fn tick(time: i64, of_host: Values, containers: &[(&str, Values)]) -> MetricTick {
    let containers = containers.iter().map(|(name, values)| (name.parse().unwrap(), values.clone()));
    MetricTick { time, step: 10, host: of_host, containers: containers.collect() }
}

/// Delivers ticks as the agent of `name` does; they are stored when this returns.
pub(super) async fn deliver(world: &World, name: &str, ticks: Vec<MetricTick>) {
    let batch = OutboxBatch {
        v: PROTOCOL_VERSION,
        host: host(name),
        session: uuid::Uuid::from_u128(9),
        seq: 1,
        items: ticks.into_iter().map(OutboxItem::Metrics).collect(),
    };
    let within = std::time::Duration::from_secs(20);
    let answer = world.bus.request(&Subject::Outbox(host(name)), encode_batch(&batch), within).await.unwrap();
    let ack: OutboxAck = decode(&answer).unwrap();
    assert_eq!((ack.seq, ack.refused), (1, None));
}

/// A world with host `a`, of whose containers `web` and `db` there are six ticks.
async fn measured() -> (World, ScriptedAgent, i64) {
    let world = World::new().await;
    let mut web = container("web");
    (web.project, web.service) = (Some("shop".into()), Some("front".into()));
    let agent = ScriptedAgent::start(&world, report("a", vec![web, container("db")])).await;
    let end = now();
    let ticks = (0..6_i64).map(|n| {
        let (load, n10) = (n as f64, n * 10);
        let web = values(&[("cpu_percent", load), ("memory_bytes", 1e6), ("net_rx_bytes_per_second", 5.0)]);
        let db = values(&[("cpu_percent", 50.0), ("memory_bytes", 2e6), ("net_tx_bytes_per_second", 9.0)]);
        let of_host = values(&[
            ("cpu_percent", 100.0),
            ("cpu_host_percent", 25.0),
            ("memory_bytes", 3e9),
            ("memory_total_bytes", 8e9),
            ("filesystem_used_bytes//", 1.0),
            ("filesystem_used_bytes//mnt", 2.0),
        ]);
        tick(end - 50 + n10, of_host, &[("web", web), ("db", db)])
    });
    deliver(&world, "a", ticks.collect()).await;
    (world, agent, end)
}

#[tokio::test]
async fn metrics_over_time_as_json_and_csv() {
    let (world, _agent, end) = measured().await;
    let path = "/api/v1/containers/a/web/metrics";
    let span = format!("from={}&to={end}&step=10", end - 60);
    let page = world.get(&format!("{path}?{span}&names=cpu_percent,memory_bytes,loss_percent")).await;
    let page = page.expect(200).json();
    let t: Vec<i64> = (0..7).map(|n| end - 60 + n * 10).collect();
    let series = json!({
        "cpu_percent": [null, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        "memory_bytes": [null, 1e6, 1e6, 1e6, 1e6, 1e6, 1e6],
    });
    assert_eq!(page, json!({"step": 10, "t": t, "series": series}));

    let wide = format!("{path}?from={}&to={end}&step=30&names=cpu_percent", end - 59);
    let mean = world.get(&wide).await.expect(200).json();
    let max = world.get(&format!("{wide}&stat=max")).await.expect(200).json();
    let points: Vec<i64> = mean["t"].as_array().unwrap().iter().map(|t| t.as_i64().unwrap()).collect();
    assert!(points.len() == 2 && points.iter().all(|t| t % 30 == 0 && *t <= end), "{points:?}");
    for (index, t) in points.into_iter().enumerate() {
        let of = (0..6).filter(|n| (t - 29..=t).contains(&(end - 50 + n * 10))).map(|n| n as f64);
        let of: Vec<f64> = of.collect();
        assert_eq!(mean["series"]["cpu_percent"][index], of.iter().sum::<f64>() / of.len() as f64);
        assert_eq!(max["series"]["cpu_percent"][index], *of.last().unwrap());
    }
    let whole = world.get(path).await.expect(200).json();
    assert_eq!((&whole["step"], whole["series"].as_object().unwrap().len()), (&20.into(), 3));
    assert!(whole["t"].as_array().unwrap().len() <= 300);

    let csv = format!("t,cpu_percent\r\n{},\r\n{},0\r\n", end - 60, end - 50);
    let first = format!("{path}?from={}&to={}&step=10&names=cpu_percent", end - 60, end - 50);
    let ask = |path: &str| Ask::new("GET", path);
    let by_format = ask(&format!("{first}&format=csv")).send(world.address).await.expect(200);
    let by_header = ask(&first).header("accept", "text/csv").send(world.address).await.expect(200);
    for answer in [by_format, by_header] {
        assert_eq!((answer.text(), answer.header("content-type")), (csv.as_str(), "text/csv; charset=utf-8"));
    }

    let of_host = format!("/api/v1/hosts/a/metrics?{span}&names=filesystem_used_bytes");
    let page = world.get(&of_host).await.expect(200).json();
    assert_eq!(page["series"]["filesystem_used_bytes//mnt"][6], 2.0);
    assert_eq!(page["series"].as_object().unwrap().len(), 2, "a name stands for all its parts: {page}");
}

#[tokio::test]
async fn what_is_wrong_with_a_question_is_said() {
    let (world, agent, end) = measured().await;
    for (path, status, says) in [
        ("/api/v1/containers/a/none/metrics", 404, "host a has no container none"),
        ("/api/v1/containers/b/web/metrics", 404, "no host b ever spoke"),
        ("/api/v1/hosts/b/metrics", 404, "no host b"),
        ("/api/v1/hosts/b/report", 404, "no host b"),
        ("/api/v1/top?host=b", 404, "no host b"),
        ("/api/v1/containers/a/web/metrics?names=cpu", 400, "valid: cpu_percent"),
        ("/api/v1/containers/a/web/metrics?names=load1", 400, "load1 is of hosts only"),
        ("/api/v1/containers/a/web/metrics?step=1s&from=-7d", 400, "more than 11000"),
        ("/api/v1/containers/a/web/metrics?stat=median", 400, "valid: mean, max"),
        ("/api/v1/containers/a/web/metrics?format=xml", 400, "valid: json, csv"),
        ("/api/v1/containers/a/web/metrics?from=soon", 400, "RFC 3339"),
        ("/api/v1/top?by=luck", 400, "valid: cpu, memory, net, loss, rtt, block"),
        ("/api/v1/top?window=1s", 400, "give from 10s to 7d"),
        ("/api/v1/top?limit=0", 400, "1 to 1000"),
        ("/api/v1/hosts/a/report?span=2d", 400, "give from 1m to 1d"),
        ("/api/v1/placement?cpu=many", 400, "is no number of cores"),
        ("/api/v1/placement?cpu=NaN", 400, "is no number of cores"),
        ("/api/v1/placement?memory=lots", 400, "is not a size"),
        ("/api/v1/placement?disk=1", 400, "valid here: cpu, memory"),
    ] {
        let detail = world.get(path).await.problem(status);
        assert!(detail.contains(says), "{path}: {detail}");
    }
    // A container that is gone has its history; one that is there and was never measured has none.
    agent.change(|report| report.containers = vec![container("new")]).await;
    eventually("the container is gone", async || {
        let list = world.get("/api/v1/containers").await.json();
        (list[0]["name"] == "new").then_some(())
    })
    .await;
    let gone = format!("/api/v1/containers/a/web/metrics?from={}", end - 60);
    assert!(!world.get(&gone).await.expect(200).json()["series"].as_object().unwrap().is_empty());
    assert_eq!(world.get("/api/v1/containers/a/new/metrics").await.expect(200).json()["series"], json!({}));
}

#[tokio::test]
async fn top_ranks_by_the_mean_and_shows_the_newest() {
    let (world, _agent, _) = measured().await;
    let names = async |query: &str| {
        let top = world.get(&format!("/api/v1/top?{query}")).await.expect(200).json();
        let rows = top["containers"].as_array().unwrap().clone();
        let row = |r: &Value| (r["name"].as_str().unwrap().to_owned(), r["mean"].as_f64().unwrap());
        let rows: Vec<_> = rows.iter().map(row).collect();
        (rows, top)
    };
    let (rows, top) = names("").await;
    assert_eq!(rows, [("db".to_owned(), 50.0), ("web".to_owned(), 2.5)]);
    assert_eq!(
        (&top["by"], &top["window_seconds"], &top["left_out"]),
        (&"cpu".into(), &600.into(), &0.into())
    );
    let web = &top["containers"][1];
    assert_eq!(
        (&web["hostname"], &web["project"], &web["service"]),
        (&"a".into(), &"shop".into(), &"front".into())
    );
    assert_eq!(web["series"], json!({"cpu_percent": {"mean": 2.5, "max": 5.0, "last": 5.0}}));
    assert_eq!(web["latest"]["cpu_percent"], 5.0);
    assert_eq!(names("by=net&host=a").await.0, [("db".to_owned(), 9.0), ("web".to_owned(), 5.0)]);
    let (rows, top) = names("by=memory&limit=1&window=1h").await;
    assert_eq!((rows, &top["left_out"]), (vec![("db".to_owned(), 2e6)], &1.into()));
    assert!(names("by=loss").await.0.is_empty(), "what was never measured is not 0");
}

#[tokio::test]
async fn a_page_has_the_machine_and_its_containers_by_the_minute() {
    let (world, _agent, end) = measured().await;
    let page = world.get("/api/v1/hosts/a/report?span=10m").await.expect(200).json();
    assert_eq!((&page["host"]["hostname"], &page["latest"]["cpu_percent"]), (&"a".into(), &100.0.into()));
    assert_eq!((&page["latest_time"], &page["step"]), (&end.into(), &60.into()));
    let t = page["t"].as_array().unwrap();
    assert!(t.len() == 10 && t[9].as_i64().unwrap() <= end + 10 && t[9].as_i64().unwrap() % 60 == 0, "{t:?}");
    let containers = page["containers"].as_array().unwrap();
    let names: Vec<_> = containers.iter().map(|c| c["container"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["db", "web"]);
    assert_eq!(containers[0]["latest"]["cpu_percent"], 50.0);
    for series in containers.iter().map(|c| c["series"].as_object().unwrap()) {
        assert!(series.values().all(|values| values.as_array().unwrap().len() == 10));
    }
}

#[tokio::test]
async fn placement_ranks_hosts_and_says_why_others_do_not_count() {
    let world = World::new().await;
    let mut agents = Vec::new();
    for name in ["big", "small", "frozen", "unmeasured"] {
        let mut said = report(name, Vec::new());
        if name == "frozen" {
            said.freeze = Some(Freeze { since: Timestamp::now(), until: None, by: "someone".into() });
        }
        agents.push(ScriptedAgent::start(&world, said).await);
    }
    for (name, memory) in [("big", 64e9), ("small", 4e9), ("frozen", 64e9)] {
        let of_host = values(&[
            ("cpu_percent", 100.0),
            ("cpu_host_percent", 12.5),
            ("memory_bytes", 3e9),
            ("memory_total_bytes", memory),
        ]);
        deliver(&world, name, vec![tick(now(), of_host, &[])]).await;
    }
    let answer = world.get("/api/v1/placement?cpu=2&memory=2GiB").await.expect(200).json();
    let names = |among: &str| {
        let places = answer[among].as_array().unwrap().clone();
        places.iter().map(|p| p["hostname"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((names("hosts"), names("full")), (vec!["big".to_owned()], vec!["small".to_owned()]));
    assert_eq!(names("left_out"), ["frozen", "unmeasured"]);
    assert_eq!((&answer["hosts"][0]["cores"], &answer["hosts"][0]["cores_free"]), (&8.0.into(), &7.0.into()));
    let reasons = answer.to_string();
    for part in ["would stay free", "of memory are wanted", "it is frozen", "it has no samples"] {
        assert!(reasons.contains(part), "{part}: {reasons}");
    }
    let anywhere = world.get("/api/v1/placement").await.expect(200).json();
    assert_eq!(anywhere["hosts"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn samples_are_told_live_to_those_who_ask_for_them() {
    let (world, _agent, end) = measured().await;
    let mut usual = SseReader::open(world.address, Ask::new("GET", "/api/v1/stream")).await;
    let ask = Ask::new("GET", "/api/v1/stream?topics=metrics,events").header("last-event-id", "0");
    let mut stream = SseReader::open(world.address, ask).await;
    assert_eq!(stream.next_named("event").await.id, "1", "events are told from the cursor on");
    let late = tick(end - 100, Values::new(), &[("web", values(&[("cpu_percent", 1.0)]))]);
    let live = tick(end + 10, values(&[("load1", 0.5)]), &[("web", values(&[("cpu_percent", 7.0)]))]);
    deliver(&world, "a", vec![late, live]).await;
    let told = stream.next_named("metrics").await;
    let expected = json!({
        "hostname": "a", "t": end + 10, "step": 10, "host": {"load1": 0.5}, "containers": {"web": {"cpu_percent": 7.0}},
    });
    assert_eq!((told.id.as_str(), told.json()), ("", expected), "what is late is history, no news");
    world.call("PUT", "/api/v1/threshold", "20").await.expect(204);
    assert_ne!(usual.next().await.unwrap().event, "metrics", "nobody gets samples unasked");
}

#[tokio::test]
async fn a_follower_of_samples_has_the_newest_at_once_and_only_what_it_wants() {
    let (world, _agent, end) = measured().await;
    let mut stream = world
        .stream("metrics&metrics_host=a&metrics_container=web&metrics_names=cpu_percent,memory_bytes")
        .await;
    let told = stream.next().await.expect("the newest tick").json();
    assert_eq!(
        told,
        json!({
            "hostname": "a", "t": end, "step": 10, "host": {"cpu_percent": 100.0, "memory_bytes": 3e9},
            "containers": {"web": {"cpu_percent": 5.0, "memory_bytes": 1e6}},
        })
    );
    deliver(&world, "b", vec![tick(end, values(&[("cpu_percent", 1.0)]), &[])]).await;
    let mut hosts = world.stream("metrics&metrics_of=hosts&metrics_names=cpu_percent").await;
    for (name, cpu) in [("a", 100.0), ("b", 1.0)] {
        let told = hosts.next().await.expect("the newest tick of each").json();
        assert_eq!((&told["hostname"], &told["host"]), (&json!(name), &json!({"cpu_percent": cpu})));
        assert_eq!(told["containers"], json!({}));
    }
    world.get("/api/v1/stream?metrics_of=none").await.problem(400);
}

#[tokio::test]
async fn prometheus_gets_the_newest_in_base_units() {
    let (world, agent, _) = measured().await;
    agent.change(|report| report.containers[1].health = Health::Quarantined).await;
    let text = eventually("the report is in", async || {
        let answer = world.get("/metrics").await.expect(200);
        answer.text().contains("health=\"quarantined\"} 1").then(|| answer.text().to_owned())
    })
    .await;
    for line in [
        "dockhealth_host_live{host=\"a\"} 1",
        "dockhealth_host_cpu_host_ratio{host=\"a\"} 0.25",
        "dockhealth_host_filesystem_used_bytes{host=\"a\",mount=\"/mnt\"} 2",
        "dockhealth_container_cpu_ratio{host=\"a\",container=\"web\",project=\"shop\",service=\"front\"} 0.05",
        "dockhealth_container_memory_bytes{host=\"a\",container=\"db\"} 2000000",
        "dockhealth_container_loss_ratio{host=\"a\",container=\"db\"} 0",
        "dockhealth_container_health{host=\"a\",container=\"db\",health=\"quarantined\"} 1",
        "dockhealth_series_left_out 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

/// One sample of every metric, for host and container.
pub(super) fn every_metric(time: i64) -> MetricTick {
    let of = |scope: MetricScope| -> Values {
        let has = METRICS.iter().filter(|m| m.scope == scope || m.scope == MetricScope::Both);
        let name = |metric: &dockhealth::model::Metric| match metric.part {
            Some(_) => SeriesName::part_of(metric.name, "part \"x\"\\").unwrap(),
            None => SeriesName::of(metric.name),
        };
        has.map(|metric| (name(metric), 1.5)).collect()
    };
    MetricTick {
        time,
        step: 10,
        host: of(MetricScope::Host),
        containers: [("web".parse().unwrap(), of(MetricScope::Container))].into(),
    }
}
