//! Destroy and restart, on a real engine.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use dockhealth::docker::AnonymousVolumes;
use dockhealth::docker::recreate::{
    JournalError, RecreateError, RecreateOrder, RecreateStage, RecreateStep, Settled, StepJournal, recreate,
    sweep,
};
use dockhealth::model::OperationId;
use serde_json::Value;

use super::{SLEEP, engine, id};
use crate::support::{Lab, busybox_image, docker};

/// Keeps the last step; never returns from recording `die`.
#[derive(Default)]
struct Journal {
    last: Mutex<Option<RecreateStep>>,
    die: Option<RecreateStage>,
}

#[async_trait]
impl StepJournal for Journal {
    async fn record(&self, step: &RecreateStep) -> Result<(), JournalError> {
        *self.last.lock().unwrap() = Some(step.clone());
        if self.die == Some(step.stage) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

fn order(lab: &Lab, full: &str, volumes: AnonymousVolumes) -> RecreateOrder {
    RecreateOrder {
        op: OperationId::new(uuid::Uuid::now_v7().to_string()).unwrap(),
        id: id(lab, full),
        volumes,
        stop_timeout: None,
        join: None,
    }
}

fn description(lab: &Lab, full: &str) -> Value {
    let all: Value = serde_json::from_str(&lab.docker(&["inspect", full])).unwrap();
    all[0].clone()
}

/// What of a description must be the same of the new container.
fn configured(mut inspect: Value) -> Value {
    let short = inspect["Id"].as_str().unwrap()[..12].to_owned();
    let mut networks = inspect["NetworkSettings"]["Networks"].take();
    for endpoint in networks.as_object_mut().unwrap().values_mut() {
        endpoint["EndpointID"].take();
        if let Some(aliases) = endpoint["Aliases"].as_array_mut() {
            aliases.retain(|alias| alias != &short);
        }
        if endpoint["IPAMConfig"].get("IPv4Address").is_none() {
            for dynamic in ["IPAddress", "MacAddress", "IPAMConfig", "Aliases", "DriverOpts"] {
                endpoint[dynamic].take();
            }
        }
    }
    let mut config = inspect["Config"].take();
    if config["Hostname"] == short.as_str() {
        config["Hostname"].take();
    }
    let mut mounts = inspect["Mounts"].take();
    for mount in mounts.as_array_mut().unwrap() {
        mount["Mode"].take(); // "" for an anonymous volume, "z" once it is named
    }
    mounts.as_array_mut().unwrap().sort_by_key(|mount| mount["Destination"].to_string());
    let mut host = inspect["HostConfig"].take();
    host.as_object_mut().unwrap().remove("Mounts");
    serde_json::json!({
        "image": inspect["Image"], "name": inspect["Name"], "config": config, "host": host, "networks": networks,
        "mounts": mounts, "ports": inspect["NetworkSettings"]["Ports"],
    })
}

/// A container that uses most of what a create request knows; `n` keeps its network apart from other tests'.
fn elaborate(lab: &Lab, n: u8) -> (String, tempfile::TempDir) {
    let home = lab.network("home", &["--subnet", &format!("10.232.{n}.0/24")]);
    let other = lab.network("other", &["--subnet", &format!("10.233.{n}.0/24")]);
    let bind = tempfile::tempdir().unwrap();
    let (ip, source) = (format!("10.232.{n}.9"), format!("{}:/bind:ro", bind.path().display()));
    let web = lab.run(
        "web",
        &[
            "--network",
            &home,
            "--ip",
            &ip,
            "--network-alias",
            "web",
            "--publish",
            &format!("127.0.0.1:{}:80", 18200 + u16::from(n)),
            "--volume",
            &source,
            "--tmpfs",
            "/scratch",
            "--label",
            "com.docker.compose.config-hash=abc",
            "--health-cmd",
            "true",
            "--health-interval",
            "30s",
            "--ulimit",
            "nofile=1024:2048",
            "--init",
            "--cap-drop",
            "ALL",
            "--env",
            "A=1",
            "--stop-signal",
            "KILL",
            "--restart",
            "unless-stopped",
            "--memory",
            "64m",
            "--dns",
            "10.9.9.9",
            "--add-host",
            "db:10.1.1.1",
            "--log-opt",
            "max-size=1m",
            "--workdir",
            "/tmp",
            "--user",
            "1000:1000",
        ],
        &SLEEP,
    );
    lab.docker(&["network", "connect", "--ip", &format!("10.233.{n}.9"), "--alias", "second", &other, &web]);
    lab.docker(&["network", "connect", "bridge", &web]);
    (web, bind)
}

#[tokio::test]
async fn a_recreated_container_is_the_same_but_for_its_id() {
    let lab = Lab::new("recreate");
    let (web, _bind) = elaborate(&lab, 1);
    let before = description(&lab, &web);
    let journal = Journal::default();
    let new = recreate(&engine(), &journal, &order(&lab, &web, AnonymousVolumes::Remove)).await.unwrap();
    let after = description(&lab, &web);
    assert_eq!(after["Id"], new.as_str());
    assert_ne!(after["Id"], before["Id"]);
    assert_eq!(after["Config"]["Hostname"], new.short());
    assert_eq!(configured(after), configured(before));
    assert!(lab.is_running(&web));
    assert_eq!(
        lab.docker(&["ps", "--all", "--quiet", "--filter", &format!("name={}", lab.prefix())])
            .lines()
            .count(),
        1
    );
    assert_eq!(journal.last.lock().unwrap().as_ref().unwrap().stage, RecreateStage::Finished);

    // And once more, from what we made ourselves.
    let before = description(&lab, &web);
    recreate(&engine(), &Journal::default(), &order(&lab, &web, AnonymousVolumes::Remove)).await.unwrap();
    assert_eq!(configured(description(&lab, &web)), configured(before));
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_recreate_is_set_right() {
    let lab = Lab::new("sweep");
    let (web, _bind) = elaborate(&lab, 2);
    let engine = engine();
    for die in [
        RecreateStage::Create,
        RecreateStage::Connect,
        RecreateStage::StopOld,
        RecreateStage::RenameOld,
        RecreateStage::RenameNew,
        RecreateStage::Start,
        RecreateStage::RemoveOld,
    ] {
        let before = description(&lab, &web);
        let journal = Journal { die: Some(die), ..Journal::default() };
        let order = order(&lab, &web, AnonymousVolumes::Remove);
        tokio::select! {
            outcome = recreate(&engine, &journal, &order) => panic!("{die:?}: {outcome:?}"),
            () = reached(&journal, die) => {}
        }
        let unfinished: Vec<_> = journal.last.lock().unwrap().clone().into_iter().collect();
        for _ in 0..2 {
            let swept = sweep(&engine, unfinished.clone()).await;
            let expected = if die == RecreateStage::RemoveOld { Settled::Finished } else { Settled::Undone };
            assert_eq!(swept[0].1.clone().unwrap(), expected, "{die:?}");
            let after = description(&lab, &web);
            assert_eq!(after["Id"] == before["Id"], expected == Settled::Undone, "{die:?}");
            assert_eq!(configured(after), configured(before.clone()), "{die:?}");
            assert!(lab.is_running(&web), "{die:?}");
            let all = lab.docker(&["ps", "--all", "--quiet", "--filter", &format!("name={}", lab.prefix())]);
            assert_eq!(all.lines().count(), 1, "{die:?}");
        }
    }
}

async fn reached(journal: &Journal, stage: RecreateStage) {
    while journal.last.lock().unwrap().as_ref().map(|step| step.stage) != Some(stage) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn data_in_an_anonymous_volume_is_carried_over_or_the_recreate_refused() {
    let lab = Lab::new("volume");
    let web = lab.run(
        "web",
        &["--volume", "/data", "--mount", "type=volume,target=/more", "--stop-signal", "KILL"],
        &SLEEP,
    );
    let volumes = lab.inspect(&web, "{{range .Mounts}}{{.Name}} {{end}}");
    let names = volumes.split_whitespace().map(str::to_owned).collect();
    let _volumes = Volumes { container: web.clone(), names };
    lab.docker(&["exec", &web, "sh", "-c", "echo 1 >/data/kept; echo 2 >/more/kept"]);
    let refused =
        recreate(&engine(), &Journal::default(), &order(&lab, &web, AnonymousVolumes::Remove)).await;
    assert!(refused.unwrap_err().to_string().contains("anonymous volume"));
    assert!(lab.is_running(&web));
    recreate(&engine(), &Journal::default(), &order(&lab, &web, AnonymousVolumes::Keep)).await.unwrap();
    assert_eq!(lab.docker(&["exec", &web, "cat", "/data/kept", "/more/kept"]), "1\n2");
}

/// Volumes that are anonymous no more, so nobody removes them with their container.
struct Volumes {
    container: String,
    names: Vec<String>,
}

impl Drop for Volumes {
    fn drop(&mut self) {
        docker(&["rm", "--force", &self.container]);
        for volume in &self.names {
            docker(&["volume", "rm", volume]);
        }
    }
}

#[tokio::test]
async fn a_stolen_port_leaves_the_old_one_to_the_sweep() {
    let lab = Lab::new("stolen");
    let web = lab.run("web", &["--publish", "127.0.0.1:18210:80", "--stop-signal", "KILL"], &SLEEP);
    let before = description(&lab, &web);
    let journal = Stealing { port: 18210, held: Mutex::default(), last: Mutex::default() };
    let outcome = recreate(&engine(), &journal, &order(&lab, &web, AnonymousVolumes::Remove)).await;
    // Neither container can have the port, so the old one cannot be started again either.
    assert!(
        matches!(outcome, Err(RecreateError::Unsettled { stage: RecreateStage::Start, .. })),
        "{outcome:?}"
    );
    assert!(!lab.is_running(&web));
    journal.held.lock().unwrap().take();
    let unfinished = journal.last.lock().unwrap().clone().into_iter().collect();
    let swept = sweep(&engine(), unfinished).await;
    assert_eq!(swept[0].1.clone().unwrap(), Settled::Undone);
    assert!(lab.is_running(&web));
    assert_eq!(description(&lab, &web)["Id"], before["Id"]);
}

/// Binds the port just before the new container starts.
struct Stealing {
    port: u16,
    held: Mutex<Option<std::net::TcpListener>>,
    last: Mutex<Option<RecreateStep>>,
}

#[async_trait]
impl StepJournal for Stealing {
    async fn record(&self, step: &RecreateStep) -> Result<(), JournalError> {
        *self.last.lock().unwrap() = Some(step.clone());
        if step.stage == RecreateStage::Start {
            *self.held.lock().unwrap() = Some(std::net::TcpListener::bind(("127.0.0.1", self.port)).unwrap());
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_host_and_shared_networks_are_recreated_too() {
    let lab = Lab::new("modes");
    let owner = lab.run("owner", &[], &SLEEP);
    let shared = format!("container:{owner}");
    for (name, mode) in [("host", "host"), ("none", "none"), ("shared", shared.as_str())] {
        let full = lab.run(name, &["--network", mode, "--stop-signal", "KILL"], &SLEEP);
        let before = description(&lab, &full);
        recreate(&engine(), &Journal::default(), &order(&lab, &full, AnonymousVolumes::Remove))
            .await
            .unwrap();
        assert!(lab.is_running(&full), "{name}");
        assert_eq!(configured(description(&lab, &full)), configured(before), "{name}");
    }
}

#[tokio::test]
async fn compose_takes_the_recreated_container_for_its_own() {
    let lab = Lab::new("compose");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("compose.yaml");
    let yaml = format!(
        "version: '2.4'\nservices:\n  web:\n    image: {}\n    command: sleep 1000\n    stop_signal: KILL\n    network_mode: bridge\n",
        busybox_image()
    );
    std::fs::write(&file, yaml).unwrap();
    let project = lab.prefix().replace('-', "");
    let up = || {
        let output = std::process::Command::new("docker-compose")
            .args(["--project-name", &project, "--file", file.to_str().unwrap(), "up", "--detach"])
            .output()
            .expect("docker-compose is installed (scripts/test does it)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let web = format!("{project}_web_1");
    lab.adopt(&web);
    up();
    let new =
        recreate(&engine(), &Journal::default(), &order(&lab, &web, AnonymousVolumes::Remove)).await.unwrap();
    up();
    assert_eq!(id(&lab, &web), new, "compose replaced it");
}
