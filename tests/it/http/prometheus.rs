//! What goes with Prometheus, by its own tools: the exposition, the alert rules, and the dashboard's queries.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dockhealth::model::EventKind;

use super::measured::{deliver, every_metric, now};
use super::world::{ScriptedAgent, World, batch, container, report};

fn promtool(args: &[&str], input: &str) -> Output {
    let mut child = Command::new("promtool")
        .args(args)
        .current_dir(deploy())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed, by scripts/setup test");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn deploy() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus")
}

/// The exposition of a host that measures everything and has an open incident.
async fn exposition() -> String {
    let world = World::new().await;
    let mut web = container("web");
    (web.project, web.service) = (Some("shop".into()), Some("front\n\"end\"\\".into()));
    let _agent = ScriptedAgent::start(&world, report("a", vec![web])).await;
    deliver(&world, "a", vec![every_metric(now())]).await;
    world.outbox(&batch("a", 1, EventKind::ContainerFailing, Some("web")), "a").await.unwrap();
    world.get("/metrics").await.expect(200).text().to_owned()
}

fn families(exposition: &str) -> BTreeSet<String> {
    let heads = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    heads.filter_map(|head| head.split(' ').next()).map(str::to_owned).collect()
}

/// The names of our metrics in a query.
fn named(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("dockhealth_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_exposition_is_clean_by_promtool() {
    let text = exposition().await;
    let output = promtool(&["check", "metrics"], &text);
    assert!(
        output.status.success() && output.stderr.is_empty() && output.stdout.is_empty(),
        "{output:?}\n{text}"
    );
    // That promtool would have found something.
    let bad = promtool(&["check", "metrics"], "# TYPE a_total gauge\na_total 1\n");
    assert!(!bad.status.success());
    let of_containers = text.lines().filter(|line| line.starts_with("dockhealth_container_"));
    assert!(of_containers.count() > 30, "{text}");
}

#[test]
fn the_alert_rules_are_right_and_do_what_their_tests_say() {
    for args in [["check", "rules", "dockhealth.rules.yml"], ["test", "rules", "dockhealth.rules.test.yml"]] {
        let output = promtool(&args, "");
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
    let output = promtool(&["check", "config", "--syntax-only", "prometheus.yml"], "");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn dashboard_and_rules_name_only_what_there_is() {
    let families = families(&exposition().await);
    let rules = std::fs::read_to_string(deploy().join("dockhealth.rules.yml")).unwrap();
    let expressions = rules.lines().filter(|line| !line.trim_start().starts_with('#'));
    let of_rules: BTreeSet<_> = expressions.flat_map(named).collect();
    let dashboard = std::fs::read_to_string(deploy().join("../grafana/dockhealth.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let mut queries = Vec::new();
    let mut datasources = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push(target["expr"].as_str().unwrap().to_owned());
            datasources.insert(target["datasource"]["uid"].as_str().unwrap().to_owned());
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        queries.extend(variable["definition"].as_str().map(str::to_owned));
    }
    let of_dashboard: BTreeSet<_> = queries.iter().flat_map(|query| named(query)).collect();
    for (what, names) in [("the rules", of_rules), ("the dashboard", of_dashboard)] {
        assert!(names.len() > 5, "{what}: {names:?}");
        let unknown: Vec<_> = names.difference(&families).collect();
        assert!(unknown.is_empty(), "{what} name what there is not: {unknown:?}");
    }
    assert_eq!(datasources.into_iter().collect::<Vec<_>>(), ["${datasource}"]);
    for query in &queries {
        // Prometheus itself parses them, once Grafana's variables are filled in.
        let query = query.replace("$__rate_interval", "5m").replace("$__range", "1h").replace("$host", "a");
        if query.starts_with("label_values") {
            continue;
        }
        let rule =
            format!("groups: [{{name: q, rules: [{{record: q, expr: {}}}]}}]", serde_json::json!(query));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), rule).unwrap();
        let output = promtool(&["check", "rules", file.path().to_str().unwrap()], "");
        assert!(output.status.success(), "{query}: {output:?}");
    }
}
