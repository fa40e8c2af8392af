use proptest::prelude::*;
use serde_json::{Value, json};

use super::{RecreatePlan, RecreateRefusal, Surroundings, recreate_plan};
use crate::docker::AnonymousVolumes;
use crate::docker::convert::tests::{damaged, engine_like};

fn engine_20_10() -> Value {
    serde_json::from_str(include_str!("../fixtures/inspect_20_10.json")).unwrap()
}

fn engine_28() -> Value {
    serde_json::from_str(include_str!("../fixtures/inspect_28.json")).unwrap()
}

/// All is there, volumes are kept.
fn around(inspect: &Value) -> Surroundings {
    Surroundings {
        named_image: inspect["Image"].as_str().map(str::to_owned),
        image_exists: true,
        namespace_exists: true,
        volumes: AnonymousVolumes::Keep,
    }
}

fn planned(inspect: &Value) -> RecreatePlan {
    recreate_plan(inspect, &around(inspect)).unwrap()
}

fn refused(inspect: &Value) -> RecreateRefusal {
    recreate_plan(inspect, &around(inspect)).unwrap_err()
}

#[test]
fn what_was_configured_is_carried_over() {
    let inspect = engine_20_10();
    let plan = planned(&inspect);
    assert_eq!(
        (plan.name.as_str(), plan.old.short(), plan.was_running),
        ("shop_web_1", "0c77d93ab3c6", true)
    );
    let body = &plan.body;
    for kept in
        ["Hostname", "Env", "Cmd", "Labels", "Healthcheck", "StopTimeout", "ExposedPorts", "Volumes", "Image"]
    {
        assert_eq!(body[kept], inspect["Config"][kept], "{kept}");
    }
    for (kept, value) in inspect["HostConfig"].as_object().unwrap() {
        assert_eq!(&body["HostConfig"][kept], value, "{kept}");
    }
    // The home network is created with, by its static address and its own aliases alone.
    assert_eq!(
        body["NetworkingConfig"]["EndpointsConfig"],
        json!({ "shop_default": { "IPAMConfig": { "IPv4Address": "10.222.7.10" }, "Aliases": ["web", "web1"] } })
    );
    assert_eq!(plan.connect, [("bridge".to_owned(), json!({ "IPAMConfig": {}, "DriverOpts": {} }))]);
    assert!(plan.disconnect.is_empty());
    let volume = inspect["Mounts"][1]["Name"].clone();
    assert_eq!(
        body["HostConfig"]["Mounts"],
        json!([{ "Type": "volume", "Source": volume, "Target": "/anon", "ReadOnly": false }])
    );
}

#[test]
fn what_only_a_newer_engine_knows_is_carried_over() {
    let inspect = engine_28();
    let plan = planned(&inspect);
    assert!(!plan.was_running);
    assert_eq!(plan.body.get("Hostname"), None, "the old short id is no host name of the new one");
    assert_eq!(plan.body["HostConfig"]["Annotations"], json!({ "org.example.new": "kept" }));
    assert_eq!(plan.body["Labels"]["com.docker.compose.config-hash"], "abc123");
    assert_eq!(
        plan.body["NetworkingConfig"]["EndpointsConfig"],
        json!({ "backend": { "Aliases": ["api"], "MacAddress": "5e:7b:01:02:03:04", "GwPriority": 100 } })
    );
    // The anonymous volume of a mount is named in that very mount; the others stay.
    let mounts = plan.body["HostConfig"]["Mounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 3);
    assert_eq!(mounts[1]["Source"], inspect["Mounts"][1]["Name"]);
    assert_eq!(mounts[1]["VolumeOptions"], json!({ "Labels": { "a": "b" } }));
    assert_eq!(mounts[2], inspect["HostConfig"]["Mounts"][2]);
    assert!(!format!("{plan:?}").contains("PATH"), "the environment must not reach a log");
}

#[test]
fn a_restart_is_no_upgrade() {
    let inspect = engine_28();
    let moved = Surroundings { named_image: Some("sha256:other".to_owned()), ..around(&inspect) };
    assert_eq!(recreate_plan(&inspect, &moved).unwrap().body["Image"], inspect["Image"]);
    let gone = Surroundings { image_exists: false, ..moved };
    let refusal = recreate_plan(&inspect, &gone).unwrap_err();
    assert_eq!(refusal, RecreateRefusal::ImageGone("api:3".to_owned()));
}

#[test]
fn what_cannot_be_made_again_is_refused() {
    let with = |at: &str, value: Value| {
        let mut inspect = engine_20_10();
        *inspect.pointer_mut(at).unwrap() = value;
        inspect
    };
    assert_eq!(refused(&with("/HostConfig/AutoRemove", json!(true))), RecreateRefusal::AutoRemove);
    assert_eq!(refused(&with("/State/Status", json!("paused"))), RecreateRefusal::Paused);
    assert_eq!(refused(&with("/State/Status", json!("removing"))), RecreateRefusal::BeingRemoved);
    let task = json!({ "com.docker.swarm.task.id": "x" });
    assert_eq!(refused(&with("/Config/Labels", task)), RecreateRefusal::Swarm);
    for broken in ["/Config", "/HostConfig", "/Image", "/Id"] {
        assert!(matches!(refused(&with(broken, json!(null))), RecreateRefusal::Unreadable(_)), "{broken}");
    }
    for inspect in [engine_20_10(), engine_28()] {
        let losing = Surroundings { volumes: AnonymousVolumes::Remove, ..around(&inspect) };
        let refusal = recreate_plan(&inspect, &losing).unwrap_err();
        assert!(matches!(refusal, RecreateRefusal::AnonymousVolume(_)), "{refusal}");
    }
    let shared = with("/HostConfig/NetworkMode", json!("container:feedfacecafe"));
    let alone = Surroundings { namespace_exists: false, ..around(&shared) };
    let refusal = recreate_plan(&shared, &alone).unwrap_err();
    assert_eq!(refusal, RecreateRefusal::NamespaceGone("feedfacecafe".to_owned()));
}

#[test]
fn network_modes() {
    let mut shared = engine_20_10();
    shared["HostConfig"]["NetworkMode"] = json!("container:feedfacecafe");
    let plan = planned(&shared);
    for inherited in ["Hostname", "ExposedPorts", "NetworkingConfig"] {
        assert_eq!(plan.body.get(inherited), None, "{inherited}");
    }
    assert!(plan.connect.is_empty());

    // Disconnected from the network it was created in.
    let mut moved = engine_20_10();
    moved["HostConfig"]["NetworkMode"] = json!("left");
    let plan = planned(&moved);
    assert_eq!((plan.disconnect, plan.connect.len()), (vec!["left".to_owned()], 2));

    // The network named by its id; legacy links.
    let mut by_id = engine_20_10();
    by_id["HostConfig"]["NetworkMode"] =
        by_id["NetworkSettings"]["Networks"]["shop_default"]["NetworkID"].clone();
    by_id["HostConfig"]["Links"] = json!(["/db:/shop_web_1/base"]);
    let plan = planned(&by_id);
    assert!(plan.body["NetworkingConfig"]["EndpointsConfig"].get("shop_default").is_some());
    assert_eq!(plan.body["HostConfig"]["Links"], json!(["db:base"]));
}

proptest! {
    #[test]
    fn no_description_panics(json in engine_like(), part in 0_usize..400, new: bool) {
        let real = if new { include_str!("../fixtures/inspect_28.json") } else { include_str!("../fixtures/inspect_20_10.json") };
        for inspect in [damaged(real, part, &json), json] {
            let _ = recreate_plan(&inspect, &around(&inspect));
        }
    }
}
