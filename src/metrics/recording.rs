//! Recordings of samples in a file: one JSON object a line, written as they come. `docs/metrics.md` describes the format.
//!
//! Every line stands by itself, so a recording that was cut anywhere can be read up to there.

mod read;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{ContainerId, ContainerName, HostIdentity, Timestamp, Values};

pub use read::{Recording, RecordingError};
pub use write::{Overwrite, Recorder};

/// The version of the format that is written; later ones only add.
const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    Header(RecordingHeader),
    Container(RecordedContainer),
    Sample(RecordedSample),
    End(RecordingEnd),
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

/// What a recording begins with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordingHeader {
    /// The version of the format.
    version: u32,
    /// What wrote it, e.g. `dockhealth 0.1.0`.
    pub program: String,
    /// The host.
    pub host: String,
    /// Its machine; what could not be read is null.
    pub machine: RecordedMachine,
    /// Between two samples, milliseconds.
    pub interval_ms: u64,
    /// When it began.
    pub started: Timestamp,
}

impl RecordingHeader {
    /// The header of what this program records.
    pub fn new(host: &str, machine: &HostIdentity, interval_ms: u64, started: Timestamp) -> Self {
        let program = format!("dockhealth {}", env!("CARGO_PKG_VERSION"));
        let machine = RecordedMachine::of(machine);
        Self { version: VERSION, program, host: host.to_owned(), machine, interval_ms, started }
    }
}

/// What of a machine matters when figures are compared. Nothing that would tell it from another of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecordedMachine {
    /// CPU cores in use.
    pub cores: Option<u32>,
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The operating system.
    pub os: Option<String>,
    /// The processor architecture.
    pub architecture: Option<String>,
    /// The version of its engine.
    pub engine_version: Option<String>,
}

impl RecordedMachine {
    fn of(card: &HostIdentity) -> Self {
        Self {
            cores: card.cores,
            memory_bytes: card.memory_bytes,
            kernel: card.kernel.clone(),
            os: card.os.clone(),
            architecture: card.architecture.clone(),
            engine_version: card.engine_version.clone(),
        }
    }
}

/// A container, before its first sample, and again when it was made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedContainer {
    /// Its name.
    pub name: ContainerName,
    /// Its id.
    pub id: ContainerId,
    /// Its image as written at creation.
    pub image: String,
    /// Its compose project.
    pub project: Option<String>,
    /// Its compose service.
    pub service: Option<String>,
}

/// All containers at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RecordedSample {
    time: Timestamp,
    containers: BTreeMap<ContainerName, Values>,
}

/// What a recording ends with that was not cut.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct RecordingEnd {
    time: Timestamp,
    samples: u64,
}
