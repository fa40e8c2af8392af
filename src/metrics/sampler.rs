//! Sampling every container: from its files, and from the engine where those cannot be read.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::timeout;

use super::files::FileSensors;
use super::held::raise_file_limit;
use super::meter::Meter;
use super::reading::Reading;
use super::subject::Subject;
use super::usage::ContainerUsage;
use super::{StatsSource, api};
use crate::model::{ContainerFacts, Timestamp};

/// Questions to the engine at a time, where it must be asked.
const ENGINE_QUESTIONS: usize = 8;

/// Samples what containers use of the host, CPU and memory.
pub struct UsageSampler {
    files: FileSensors,
    engine: Option<Arc<dyn StatsSource>>,
    origin: Instant,
    meter: Meter,
}

impl UsageSampler {
    /// Samples the host whose root folder is `root` (`/`, or where a container has the host's mounted); `engine` is
    /// asked about containers whose cgroup cannot be read there.
    pub fn new(root: &Path, engine: Option<Arc<dyn StatsSource>>) -> Self {
        let origin = Instant::now();
        let files = FileSensors::new(root, origin, raise_file_limit());
        Self { files, engine, origin, meter: Meter::default() }
    }

    /// What each container uses now, in the order given. CPU is since the sample before, thus unknown in a
    /// container's first; of a container that does not run everything is.
    pub async fn sample(&mut self, containers: &[ContainerFacts]) -> Vec<ContainerUsage> {
        let subjects = Subject::of(containers);
        let mut readings = self.files.read(&subjects);
        if let Some(engine) = &self.engine {
            ask_engine(engine.as_ref(), self.origin, &subjects, &mut readings, ENGINE_WITHIN).await;
        }
        let samples = self.meter.measure(&subjects, &readings, None, Timestamp::now());
        containers.iter().zip(&samples).map(|(facts, values)| ContainerUsage::new(facts, values)).collect()
    }

    /// What each container uses over the next `span`: two samples, so that CPU is known at once.
    pub async fn measure(&mut self, containers: &[ContainerFacts], span: Duration) -> Vec<ContainerUsage> {
        self.sample(containers).await;
        tokio::time::sleep(span).await;
        self.sample(containers).await
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
