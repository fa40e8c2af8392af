//! All sensors of a host together: one [`MetricTick`] each time they are asked.
//!
//! Files are read by a thread of their own, so that one that hangs keeps nothing else waiting.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::StatsSource;
use super::files::FileSensors;
use super::held::raise_file_limit;
use super::host::HostSensor;
use super::meter::Meter;
use super::reading::Reading;
use super::sampler::ask_engine;
use super::subject::Subject;
use crate::model::{MetricTick, Timestamp, Values};

/// How long file systems may take to answer, where ticks are far enough apart.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the engine may take over all that is asked of it for one tick, likewise.
const ENGINE_WITHIN: Duration = Duration::from_secs(5);

/// Where the containers are that the engine tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Machine {
    /// On this machine, whose root folder is here.
    Here(PathBuf),
    /// On another, whose files cannot be read.
    Elsewhere,
}

/// The sensors of a host.
pub struct Sensors {
    thread: SyncSender<Question>,
    engine: Arc<dyn StatsSource>,
    origin: Instant,
    meter: Meter,
    asked_engine: usize,
    cgroups: Option<&'static str>,
}

struct Question {
    subjects: Vec<Subject>,
    patience: Duration,
    answer: oneshot::Sender<Answer>,
}

struct Answer {
    subjects: Vec<Subject>,
    readings: Vec<Option<Reading>>,
    host: Values,
    cores: Option<u32>,
}

impl Sensors {
    /// Starts them; an error is that of the thread. `engine` is asked about containers that have no files here.
    pub fn start(machine: &Machine, engine: Arc<dyn StatsSource>) -> io::Result<Self> {
        let origin = Instant::now();
        let mut hands = Hands::new(machine, origin);
        let cgroups = hands.files.as_ref().and_then(FileSensors::version);
        let (thread, questions) = sync_channel::<Question>(1);
        std::thread::Builder::new().name("sensors".into()).stack_size(256 << 10).spawn(move || {
            for Question { subjects, patience, answer } in questions {
                // Whoever asked may have given up by now.
                let _ = answer.send(hands.read(subjects, patience));
            }
        })?;
        Ok(Self { thread, engine, origin, meter: Meter::default(), asked_engine: 0, cgroups })
    }

    /// Everything at this moment, told as of `time` (unix seconds), `step` seconds apart. `None` when the sensors hang.
    pub async fn tick(&mut self, time: i64, step: u32, subjects: Vec<Subject>) -> Option<MetricTick> {
        let step_span = Duration::from_secs(step.into());
        let (answer, answered) = oneshot::channel();
        let question = Question { subjects, patience: PATIENCE.min(step_span / 4), answer };
        match self.thread.try_send(question) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return None,
        }
        let Answer { subjects, mut readings, host, cores } = timeout(step_span, answered).await.ok()?.ok()?;
        let deadline = ENGINE_WITHIN.min(step_span / 2);
        self.asked_engine =
            ask_engine(self.engine.as_ref(), self.origin, &subjects, &mut readings, deadline).await;
        let samples = self.meter.measure(&subjects, &readings, cores, Timestamp::now());
        let containers = subjects.into_iter().map(|subject| subject.name).zip(samples).collect();
        Some(MetricTick { time, step, host, containers })
    }

    /// The version of this machine's cgroups; `None` where they cannot be read.
    pub fn cgroups(&self) -> Option<&'static str> {
        self.cgroups
    }

    /// About how many containers the engine had to be asked for the last tick.
    pub fn asked_engine(&self) -> usize {
        self.asked_engine
    }
}

/// What the thread works with.
struct Hands {
    host: HostSensor,
    /// `None` where the containers are elsewhere.
    files: Option<FileSensors>,
}

impl Hands {
    fn new(machine: &Machine, origin: Instant) -> Self {
        let limit = raise_file_limit();
        match machine {
            Machine::Here(root) => {
                Self { host: HostSensor::new(root), files: Some(FileSensors::new(root, origin, limit)) }
            }
            Machine::Elsewhere => Self { host: HostSensor::new(Path::new("/")), files: None },
        }
    }

    fn read(&mut self, subjects: Vec<Subject>, patience: Duration) -> Answer {
        let Some(files) = &mut self.files else {
            let (mut host, _) = self.host.read(Duration::ZERO);
            // This machine is not the one that is told of; the agent is.
            host.retain(|name, _| name.as_str().starts_with("agent_"));
            let readings = vec![None; subjects.len()];
            return Answer { subjects, readings, host, cores: None };
        };
        let readings = files.read(&subjects);
        let (host, cores) = self.host.read(patience);
        Answer { subjects, readings, host, cores }
    }
}

#[cfg(test)]
#[path = "sensors_tests.rs"]
mod tests;
