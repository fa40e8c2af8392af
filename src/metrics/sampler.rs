//! Sampling every container's use: keeps what was read last, and the open files, per container.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;

use super::cgroup::{CgroupFiles, CgroupTree};
use super::usage::{ContainerUsage, CpuReading, MemoryReading};
use super::{StatsSource, api};
use crate::model::{ContainerFacts, ContainerId, RunState};

/// Questions to the engine at a time, where it must be asked.
const ENGINE_QUESTIONS: usize = 8;

/// Samples what containers use of the host.
pub struct UsageSampler {
    tree: Option<CgroupTree>,
    engine: Option<Arc<dyn StatsSource>>,
    origin: Instant,
    known: HashMap<ContainerId, Known>,
}

/// What is kept of a container between samples.
#[derive(Default)]
struct Known {
    /// Its first process then: another one means that it was restarted.
    pid: Option<u32>,
    files: Option<CgroupFiles>,
    cpu: Option<CpuReading>,
}

/// What one source says of a container now.
struct Reading {
    cpu: Option<CpuReading>,
    memory: MemoryReading,
}

impl UsageSampler {
    /// Samples the host whose root folder is `root` (`/`, or where a container has the host's mounted); `engine` is
    /// asked about containers whose cgroup cannot be read there.
    pub fn new(root: &Path, engine: Option<Arc<dyn StatsSource>>) -> Self {
        Self { tree: CgroupTree::find(root), engine, origin: Instant::now(), known: HashMap::new() }
    }

    /// What each container uses now, in the order given. CPU is since the sample before, thus unknown in a
    /// container's first; of a container that does not run everything is.
    pub async fn sample(&mut self, containers: &[ContainerFacts]) -> Vec<ContainerUsage> {
        let mut earlier = std::mem::take(&mut self.known);
        let mut readings: Vec<Option<Reading>> = Vec::with_capacity(containers.len());
        for container in containers {
            let mut known =
                earlier.remove(&container.id).filter(|k| k.pid == container.pid).unwrap_or_default();
            known.pid = container.pid;
            readings.push(if runs(container) { self.read(container, &mut known) } else { None });
            self.known.insert(container.id.clone(), known);
        }
        self.ask_engine(containers, &mut readings).await;
        let rows = containers.iter().zip(readings).map(|(container, reading)| {
            let known = self.known.entry(container.id.clone()).or_default();
            let Some(Reading { cpu, memory }) = reading else {
                known.cpu = None;
                return ContainerUsage::new(container, None, MemoryReading::UNKNOWN);
            };
            let before = std::mem::replace(&mut known.cpu, cpu);
            let percent = cpu.zip(before).and_then(|(cpu, before)| cpu.percent_since(&before));
            ContainerUsage::new(container, percent, memory)
        });
        rows.collect()
    }

    /// What each container uses over the next `span`: two samples, so that CPU is known at once.
    pub async fn measure(&mut self, containers: &[ContainerFacts], span: Duration) -> Vec<ContainerUsage> {
        self.sample(containers).await;
        tokio::time::sleep(span).await;
        self.sample(containers).await
    }

    /// Reads the cgroup; opens it anew where it was not open or is gone, as after a restart.
    fn read(&self, container: &ContainerFacts, known: &mut Known) -> Option<Reading> {
        if let Some(reading) = known.files.as_ref().and_then(|files| self.read_files(files)) {
            return Some(reading);
        }
        known.files = self.tree.as_ref()?.open(&container.id, container.pid).ok();
        self.read_files(known.files.as_ref()?)
    }

    /// `None` when the cgroup is gone.
    fn read_files(&self, files: &CgroupFiles) -> Option<Reading> {
        let used = files.cpu_used().ok()?;
        let clock = self.origin.elapsed();
        let cpu = used.map(|used| CpuReading { used, clock, cores: 1 });
        Some(Reading { cpu, memory: files.memory().ok()? })
    }

    async fn ask_engine(&self, containers: &[ContainerFacts], readings: &mut [Option<Reading>]) {
        let Some(engine) = &self.engine else { return };
        let unread = containers.iter().zip(readings.iter_mut()).filter(|(c, r)| runs(c) && r.is_none());
        let questions = unread.map(|(container, reading)| async move {
            match engine.stats(&container.id).await {
                Ok(stats) => *reading = Some(Reading { cpu: api::cpu(&stats), memory: api::memory(&stats) }),
                Err(error) => tracing::debug!(%error, container = %container.name, "no statistics"),
            }
        });
        stream::iter(questions).buffer_unordered(ENGINE_QUESTIONS).collect::<()>().await;
    }
}

/// Whether it has processes, so that there is something to read.
fn runs(container: &ContainerFacts) -> bool {
    matches!(container.state, RunState::Running | RunState::Paused)
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
