//! What a pool's containers are made of, and the commands around a pool.

use std::fs;

use serde_json::Value;

use super::rig::{Rig, get};
use crate::support::{docker, dockhealth_image};

#[test]
fn containers_have_what_was_said_and_nothing_of_the_host() {
    let base = 20_000 + rand::random::<u16>() % 20_000;
    let port = base.to_string();
    let limits = ["--cpus", "0.5", "--memory", "128MiB", "--env", "GREETING=a,b=c", "--label", "tier=shop"];
    let rig = Rig::start(&[&["--controller", "fixed:2", "--port-base", &port], &limits[..]].concat());
    rig.until_ready(2);
    for id in rig.containers() {
        let told: Value = serde_json::from_str(&rig.lab.inspect(&id, "{{json .}}")).unwrap();
        let host = &told["HostConfig"];
        assert_eq!((&host["Privileged"], &host["AutoRemove"]), (&Value::Bool(false), &Value::Bool(true)));
        assert_eq!((&host["NanoCpus"], &host["Memory"]), (&500_000_000.into(), &(128_u64 << 20).into()));
        assert!(!["host", "none"].contains(&host["NetworkMode"].as_str().unwrap()));
        assert_eq!(told["Mounts"], Value::Array(Vec::new()));
        let binding = &host["PortBindings"]["80/tcp"][0];
        let published: u16 = binding["HostPort"].as_str().unwrap().parse().unwrap();
        assert!(binding["HostIp"] == "127.0.0.1" && (base..base + 6).contains(&published), "{binding}");
        assert!(told["Config"]["Env"].as_array().unwrap().contains(&"GREETING=a,b=c".into()));
        assert_eq!(told["Config"]["Labels"]["tier"], "shop");
    }
    let (status, body, container) = get(&rig.url("/"));
    assert_eq!(status, 200);
    let hostname: Value = serde_json::from_str(&body).unwrap();
    let full = rig.lab.inspect(&container.expect("the proxy says who answered"), "{{.Id}}");
    assert!(full.starts_with(hostname["container"].as_str().unwrap()), "{full}: {body}");
}

#[test]
fn an_image_is_built_from_a_folder_and_load_and_reset_go_with_it() {
    let context = tempfile::tempdir().unwrap();
    let dockerfile = format!("FROM {}\nLABEL built=yes\n", dockhealth_image());
    fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    let dir = context.path().to_str().unwrap().to_owned();
    let mut rig = Rig::start_image(&["--build", &dir], &["--controller", "fixed:2"]);
    rig.until_ready(2);
    for id in rig.containers() {
        assert_eq!(rig.lab.inspect(&id, "{{.Config.Labels.built}}"), "yes");
    }
    let target = rig.url("");
    let load =
        ["autoscale", "load", "--target", &target, "--static", "6", "--work", "wait", "--service", "2s"];
    let (well, told) = rig.cli(&[&load[..], &["--scale-time", "10", "--json"]].concat());
    let figures: Value = serde_json::from_str(&told).unwrap();
    assert!(well && figures["answered"] == 6 && figures["lost"] == 0, "{told}");
    let (wait, sojourn) =
        (figures["mean_wait_s"].as_f64().unwrap(), figures["mean_sojourn_s"].as_f64().unwrap());
    // Of two containers each has three, one after another.
    assert!(wait >= 0.15 && sojourn >= wait + 0.15, "{told}");
    assert!(figures["makespan_s"].as_f64().unwrap() >= 0.5, "{told}");

    let (well, told) = rig.cli(&["autoscale", "reset", "--name", &rig.name]);
    assert!(!well && told.contains("is run by another process"), "{told}");
    rig.kill();
    assert_eq!(rig.containers().len(), 2);
    let (well, told) = rig.cli(&["autoscale", "reset", "--name", &rig.name]);
    assert!(well && told.lines().count() == 2, "{told}");
    assert!(rig.containers().is_empty());
    let image = format!("dockhealth-pool/{}", rig.name.to_lowercase());
    let _ = docker(&["image", "rm", &image]);
}
