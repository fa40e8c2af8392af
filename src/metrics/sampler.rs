//! Sampling every container: from its files, and from the engine where those cannot be read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::timeout;

use super::files::FileSensors;
use super::held::raise_file_limit;
use super::meter::Meter;
use super::reading::Reading;
use super::subject::{NetworkUse, Subject};
use super::usage::ContainerSample;
use super::{Machine, StatsSource, api, host_identity};
use crate::model::{ContainerFacts, Timestamp};

/// Questions to the engine at a time, where it must be asked.
const ENGINE_QUESTIONS: usize = 8;

/// Samples what containers use, whenever it is asked.
pub struct UsageSampler {
    /// `None` where the containers are elsewhere.
    files: Option<FileSensors>,
    cores: Option<u32>,
    engine: Option<Arc<dyn StatsSource>>,
    origin: Instant,
    meter: Meter,
}

impl UsageSampler {
    /// Samples the containers of `machine`; `engine` is asked about those whose cgroup cannot be read here.
    pub fn new(machine: &Machine, engine: Option<Arc<dyn StatsSource>>) -> Self {
        let origin = Instant::now();
        let (files, cores) = match machine {
            Machine::Here(root) => {
                (Some(FileSensors::new(root, origin, raise_file_limit())), host_identity(root).cores)
            }
            Machine::Elsewhere => (None, None),
        };
        Self { files, cores, engine, origin, meter: Meter::default() }
    }

    /// What each container uses now, in the order given. Rates are since the sample before, thus unknown in a
    /// container's first. `all` are those of the machine: in them it is looked up whose network is shared.
    pub async fn sample(
        &mut self,
        containers: &[ContainerFacts],
        all: &[ContainerFacts],
    ) -> Vec<ContainerSample> {
        let find = |owner: &str| all.iter().find(|facts| facts.is_called(owner));
        let subject = |facts| Subject::new(facts, NetworkUse::of(facts, find));
        let subjects: Vec<Subject> = containers.iter().map(subject).collect();
        let mut readings = match &mut self.files {
            Some(files) => files.read(&subjects),
            None => vec![None; subjects.len()],
        };
        if let Some(engine) = &self.engine {
            ask_engine(engine.as_ref(), self.origin, &subjects, &mut readings, ENGINE_WITHIN).await;
        }
        let samples = self.meter.measure(&subjects, &readings, self.cores, Timestamp::now());
        containers.iter().zip(samples).map(|(facts, values)| ContainerSample::new(facts, values)).collect()
    }
}

/// How long the engine may take over all questions of one sample, where nobody waits for the next.
const ENGINE_WITHIN: Duration = Duration::from_mins(1);

/// Asks the engine about what runs and has no reading, within `deadline`; how many that were.
pub(super) async fn ask_engine(
    engine: &dyn StatsSource,
    origin: Instant,
    subjects: &[Subject],
    readings: &mut [Option<Reading>],
    deadline: Duration,
) -> usize {
    let unread = subjects.iter().zip(readings.iter_mut()).filter(|(c, r)| c.runs() && r.is_none());
    let mut asked = 0;
    let questions: Vec<_> = unread
        .map(|(container, reading)| {
            asked += 1;
            async move {
                match engine.stats(&container.id).await {
                    Ok(stats) => *reading = Some(api::reading(&stats, origin.elapsed())),
                    Err(error) => tracing::debug!(%error, container = %container.name, "no statistics"),
                }
            }
        })
        .collect();
    if asked > 0 {
        let answers = stream::iter(questions).buffer_unordered(ENGINE_QUESTIONS).collect::<()>();
        if timeout(deadline, answers).await.is_err() {
            tracing::debug!(containers = asked, "the engine's statistics did not come in time");
        }
    }
    asked
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
