use async_trait::async_trait;
use serde_json::{Value, json};

use super::*;
use crate::docker::EngineError;
use crate::metrics::fixtures::{ID, facts, recorded, value};
use crate::metrics::subject::NetworkUse;
use crate::model::{ContainerId, RunState};

struct Engine;

#[async_trait]
impl StatsSource for Engine {
    async fn stats(&self, _: &ContainerId) -> Result<Value, EngineError> {
        Ok(json!({"pids_stats": {"current": 9}}))
    }
}

fn subjects() -> Vec<Subject> {
    let mut seen = facts(ID, RunState::Running);
    seen.pid = Some(4242);
    let unseen = facts("aaaaaaaaaaaa", RunState::Running);
    let ended = facts("bbbbbbbbbbbb", RunState::Exited);
    [seen, unseen, ended].iter().map(|facts| Subject::new(facts, NetworkUse::Namespace)).collect()
}

fn of<'a>(tick: &'a MetricTick, id: &str) -> &'a Values {
    tick.containers
        .iter()
        .find(|(name, _)| name.as_str() == format!("c{id}"))
        .map(|(_, values)| values)
        .unwrap()
}

#[tokio::test]
async fn a_tick_has_the_host_and_every_container_from_files_or_from_the_engine() {
    let root = recorded("v2");
    let mut sensors = Sensors::start(&Machine::Here(root.path().to_owned()), Arc::new(Engine)).unwrap();
    assert_eq!(sensors.cgroups(), Some("v2"));
    let tick = sensors.tick(1_700_000_010, 10, subjects()).await.unwrap();
    assert_eq!((tick.time, tick.step, tick.containers.len()), (1_700_000_010, 10, 3));
    assert_eq!(value(of(&tick, ID), "pids"), Some(3.0));
    assert_eq!(value(of(&tick, "aaaaaaaaaaaa"), "pids"), Some(9.0));
    assert!(of(&tick, "bbbbbbbbbbbb").is_empty());
    assert_eq!(sensors.asked_engine(), 1);
    assert!(value(&tick.host, "memory_total_bytes").is_some());
}

#[tokio::test]
async fn of_an_engine_elsewhere_nothing_of_this_machine_is_told() {
    let mut sensors = Sensors::start(&Machine::Elsewhere, Arc::new(Engine)).unwrap();
    assert_eq!(sensors.cgroups(), None);
    sensors.tick(10, 10, subjects()).await.unwrap();
    let tick = sensors.tick(20, 10, subjects()).await.unwrap();
    let names: Vec<&str> = tick.host.keys().map(crate::model::SeriesName::as_str).collect();
    assert_eq!(names, ["agent_cpu_percent", "agent_memory_bytes"]);
    assert_eq!((sensors.asked_engine(), value(of(&tick, ID), "pids")), (2, Some(9.0)));
}
