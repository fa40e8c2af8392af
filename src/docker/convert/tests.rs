use proptest::prelude::*;
use serde_json::json;

use super::*;

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_container_of_engine_20_10() {
    let read = facts(&fixture(include_str!("../fixtures/inspect_20_10.json"))).unwrap();
    assert_eq!(read.id.short(), "0c77d93ab3c6");
    assert_eq!(read.name.as_str(), "shop_web_1");
    assert_eq!(read.image, "dockhealth-test/busybox:1");
    assert_eq!((read.state, read.exit_code, read.oom_killed), (RunState::Running, None, false));
    assert_eq!(read.pid, Some(28523));
    assert_eq!(read.started_at.unwrap().to_string(), "2026-11-22T01:39:30.925Z");
    assert_eq!(read.finished_at, None);
    let check = Healthcheck { status: HealthcheckStatus::Starting, start_period: Duration::from_secs(5) };
    assert_eq!(read.healthcheck, Some(check));
    assert_eq!((read.restart_count, read.restart_policy), (Some(0), RestartPolicy::UnlessStopped));
    assert_eq!((read.project(), read.service()), (Some("shop"), Some("web")));
    assert_eq!(read.monitor_label(), Some(true));
    assert_eq!(read.namespace, Namespace::Own);
    let addresses: Vec<String> = read.addresses().iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["172.17.0.2", "10.222.7.10", "fd00:dead:7::2"]);
    assert!(read.networks[0].endpoint_id.starts_with("f649faee"));
    assert_eq!(read.published, [(18099, 80), (18098, 81)]);
    assert!(!read.auto_remove);
}

#[test]
fn a_container_of_engine_28_that_ended() {
    let read = facts(&fixture(include_str!("../fixtures/inspect_28.json"))).unwrap();
    assert_eq!((read.state, read.exit_code, read.oom_killed), (RunState::Exited, Some(137), true));
    assert_eq!((read.healthcheck, read.pid), (None, None));
    assert_eq!((read.restart_count, read.restart_policy), (Some(4), RestartPolicy::OnFailure));
    assert!(read.addresses().is_empty());
    assert_eq!(read.networks.len(), 1);
    assert_eq!(read.published, [(18080, 8080)]);
}

#[test]
fn only_id_and_name_are_needed() {
    let least =
        json!({ "Id": "0123456789ab", "Name": "/x", "State": null, "Config": null, "HostConfig": [] });
    let read = facts(&least).unwrap();
    assert_eq!((read.state, read.namespace, read.started_at), (RunState::Unknown, Namespace::Own, None));
    for bad in [json!(null), json!({ "Id": "0123456789ab" }), json!({ "Id": "zz", "Name": "/x" })] {
        assert!(matches!(facts(&bad), Err(EngineError::Malformed(_))), "{bad} was taken");
    }
    assert!(matches!(info(&json!({ "Name": "x" })), Err(EngineError::Malformed(_))));
}

#[test]
fn namespaces() {
    let at = |mode: &str| namespace(&json!({ "HostConfig": { "NetworkMode": mode } }));
    assert_eq!(at("host"), Namespace::Host);
    assert_eq!(at("none"), Namespace::None);
    assert_eq!(at("container:abc"), Namespace::Container("abc".to_owned()));
    assert_eq!(at("bridge"), Namespace::Own);
}

fn told(kind: &str, action: &str, attributes: &Value) -> Option<EngineEvent> {
    event(&json!({
        "Type": kind, "Action": action, "Actor": { "ID": "0123456789ab", "Attributes": attributes },
        "time": 1, "timeNano": 1_500_000_000_i64,
    }))
}

#[test]
fn events_that_matter_and_those_that_do_not() {
    let die = told("container", "die", &json!({ "name": "web", "exitCode": "137" })).unwrap();
    assert_eq!(die.action, ContainerAction::Die(Some(137)));
    assert_eq!(die.name.unwrap().as_str(), "web");
    assert_eq!(die.time.millis(), 1500);
    let health = told("container", "health_status: unhealthy", &json!({})).unwrap();
    assert_eq!((health.action, health.name), (ContainerAction::HealthStatus, None));
    assert_eq!(told("container", "die", &json!(null)).unwrap().action, ContainerAction::Die(None));
    let connect = told("network", "connect", &json!({ "container": "ba9876543210", "name": "net" })).unwrap();
    assert_eq!((connect.id.as_str(), connect.name), ("ba9876543210", None));
    assert_eq!(connect.action, ContainerAction::Network);
    for (kind, action) in [("container", "exec_start: ls"), ("container", "top"), ("network", "create")] {
        assert_eq!(told(kind, action, &json!({ "container": "ba9876543210" })), None);
    }
    assert_eq!(told("image", "pull", &json!({})), None);
    let old = json!({ "Type": "container", "status": "start", "id": "0123456789ab", "time": 7 });
    assert_eq!(event(&old).unwrap().time.millis(), 7000);
}

/// Any JSON, with the engine's own keys and words in it often enough to get far.
pub(in crate::docker) fn engine_like() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("container".to_owned()),
        Just("die".to_owned()),
        Just("0123456789ab".to_owned()),
        Just("running".to_owned()),
        Just("80/tcp".to_owned()),
        ".{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let keys = [
        "Id",
        "Name",
        "State",
        "Status",
        "Config",
        "HostConfig",
        "NetworkSettings",
        "Networks",
        "Ports",
        "80/tcp",
        "HostPort",
        "Labels",
        "Health",
        "Healthcheck",
        "StartPeriod",
        "StartedAt",
        "Pid",
        "ExitCode",
        "Type",
        "Action",
        "Actor",
        "ID",
        "Attributes",
        "time",
        "timeNano",
        "NetworkMode",
        "PortBindings",
        "IPAddress",
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        let key =
            prop_oneof![8 => prop::sample::select(keys.to_vec()).prop_map(str::to_owned), 1 => ".{0,8}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_panics(json in engine_like()) {
        let _ = facts(&json);
        let _ = event(&json);
        let _ = info(&json);
    }

    #[test]
    fn no_damage_to_a_description_panics(part in 0_usize..400, with in engine_like()) {
        let _ = facts(&damaged(include_str!("../fixtures/inspect_20_10.json"), part, &with));
    }
}

/// A real description whose part number `part`, counted in its own order, was replaced.
pub(in crate::docker) fn damaged(description: &str, part: usize, with: &Value) -> Value {
    let mut json = fixture(description);
    let mut left = part;
    replace(&mut json, &mut left, with);
    json
}

fn replace(json: &mut Value, left: &mut usize, with: &Value) -> bool {
    if *left == 0 {
        *json = with.clone();
        return true;
    }
    *left -= 1;
    match json {
        Value::Object(members) => members.values_mut().any(|value| replace(value, left, with)),
        Value::Array(items) => items.iter_mut().any(|value| replace(value, left, with)),
        _ => false,
    }
}

#[test]
fn a_signal_to_reload_is_no_order_to_end() {
    let told = |signal: &str| {
        event(&json!({
            "Type": "container", "Action": "kill", "timeNano": 1_700_000_000_000_000_000_i64,
            "Actor": { "ID": "0".repeat(64), "Attributes": { "name": "web", "signal": signal } },
        }))
    };
    for reload in ["1", "10", "12", "18"] {
        assert_eq!(told(reload), None, "signal {reload}");
    }
    for order in ["15", "9", "3", "28"] {
        assert_eq!(told(order).unwrap().action, ContainerAction::Kill, "signal {order}");
    }
}
