use std::fs;

use async_trait::async_trait;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::docker::EngineError;
use crate::metrics::fixtures::facts as container;
use crate::model::{ContainerId, RunState};

const READ: &str = "1111111111111111";
const ASKED: &str = "2222222222222222";

/// A version 2 host with the container `READ`, which has used so many microseconds of CPU time.
fn host() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("sys/fs/cgroup/docker").join(READ);
    fs::create_dir_all(&folder).unwrap();
    fs::write(root.path().join("sys/fs/cgroup/cgroup.controllers"), "cpu memory\n").unwrap();
    for (name, text) in
        [("memory.current", "1000\n"), ("memory.max", "4000\n"), ("memory.stat", "inactive_file 0\n")]
    {
        fs::write(folder.join(name), text).unwrap();
    }
    use_cpu(&root, 1_000_000);
    root
}

fn use_cpu(root: &TempDir, micros: u64) {
    let path = root.path().join("sys/fs/cgroup/docker").join(READ).join("cpu.stat");
    fs::write(path, format!("usage_usec {micros}\n")).unwrap();
}

/// An engine whose container `ASKED` uses half a core of four, and that knows no other.
struct Engine(std::sync::Mutex<u64>);

#[async_trait]
impl StatsSource for Engine {
    async fn stats(&self, id: &ContainerId) -> Result<Value, EngineError> {
        if id.as_str() != ASKED {
            return Err(EngineError::NoSuchContainer(id.to_string()));
        }
        let mut seconds = self.0.lock().unwrap();
        *seconds += 1;
        Ok(json!({
            "cpu_stats": {
                "cpu_usage": {"total_usage": *seconds * 500_000_000},
                "system_cpu_usage": *seconds * 4_000_000_000, "online_cpus": 4
            },
            "memory_stats": {"usage": 500, "limit": 1000, "stats": {"inactive_file": 0}}
        }))
    }
}

#[tokio::test]
async fn cpu_needs_two_samples_and_a_counter_that_grew() {
    let root = host();
    let mut sampler = UsageSampler::new(&Machine::Here(root.path().to_owned()), None);
    let containers = [container(READ, RunState::Running)];
    let first = &sampler.sample(&containers, &containers).await[0];
    assert_eq!((first.value("cpu_percent"), first.value("memory_percent")), (None, Some(25.0)));
    use_cpu(&root, 3_000_000);
    let second = &sampler.sample(&containers, &containers).await[0];
    assert!(second.value("cpu_percent").unwrap() > 0.0);
    use_cpu(&root, 10);
    assert_eq!(
        sampler.sample(&containers, &containers).await[0].value("cpu_percent"),
        None,
        "a reset is no sample"
    );
    assert_eq!(
        sampler.sample(&containers, &containers).await[0].value("cpu_percent"),
        Some(0.0),
        "and the next is one again"
    );
    let mut restarted = containers.clone();
    restarted[0].pid = Some(78);
    use_cpu(&root, 4_000_000);
    assert_eq!(
        sampler.sample(&restarted, &restarted).await[0].value("cpu_percent"),
        None,
        "a new process begins anew"
    );
}

#[tokio::test]
async fn the_engine_is_asked_only_about_what_cannot_be_read() {
    let root = host();
    let engine: Arc<dyn StatsSource> = Arc::new(Engine(std::sync::Mutex::new(0)));
    let mut sampler = UsageSampler::new(&Machine::Here(root.path().to_owned()), Some(engine));
    let gone = "3333333333333333";
    let mut containers = [READ, ASKED, gone].map(|id| container(id, RunState::Running)).to_vec();
    containers.push(container("4444444444444444", RunState::Exited));
    sampler.sample(&containers, &containers).await;
    let rows = sampler.sample(&containers, &containers).await;
    assert_eq!(
        rows.iter().map(|row| row.value("memory_bytes")).collect::<Vec<_>>(),
        [Some(1000.0), Some(500.0), None, None]
    );
    assert_eq!(
        rows.iter().map(|row| row.value("cpu_percent")).collect::<Vec<_>>(),
        [Some(0.0), Some(50.0), None, None]
    );
    assert!(rows.iter().map(|row| &row.id).eq(containers.iter().map(|c| &c.id)));
}
