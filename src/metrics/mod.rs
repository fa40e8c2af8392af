//! What containers and their host use: read from the kernel's files, from the engine where those cannot be read.
//!
//! ```text
//!  /sys/fs/cgroup, /proc/PID/net/dev ──► files ─┐ readings
//!  the engine's statistics ───────────► api ────┼──► meter ──► values ──┐
//!  /proc, /sys, statvfs ──────────────► host ───┴───────────────────────┴──► sensors: one tick
//! ```
//!
//! `text`, `reading`, `meter`, `spread` and `tally` are pure. A counter that was reset gives no sample, and what cannot be read is absent.

mod api;
mod cgroup;
mod files;
#[cfg(test)]
pub(crate) mod fixtures;
mod held;
mod host;
mod identity;
mod meter;
mod processes;
mod reading;
mod recording;
mod sampler;
mod sensors;
mod sizes;
mod spread;
mod subject;
mod tally;
mod text;
mod usage;

use async_trait::async_trait;

use crate::docker::{Engine, EngineError};
use crate::model::ContainerId;

pub(crate) use cgroup::{cgroup_inode, cgroups_are_v1};
pub(crate) use files::{InterfaceTotals, interface_totals};
pub use held::raise_file_limit;
pub use identity::{host_identity, is_inner};
pub use processes::{ProcessReading, Processes, ProcessesError};
pub use recording::{
    Overwrite, RecordedContainer, RecordedMachine, Recorder, Recording, RecordingError, RecordingHeader,
};
pub use sampler::UsageSampler;
pub use sensors::{Machine, Sensors};
pub use sizes::{SIZES_EVERY, SizeBook, Sizes};
pub use spread::{EXACT, Gather, MeanMax, Spread, Summary};
pub use subject::{NetworkUse, Subject};
pub use tally::{Tallied, Tally};
pub use usage::ContainerSample;

/// The engine's own statistics: the fallback where cgroup files cannot be read.
#[async_trait]
pub trait StatsSource: Send + Sync + 'static {
    /// The engine's answer to `GET /containers/{id}/stats?stream=false&one-shot=true`, as it is.
    async fn stats(&self, id: &ContainerId) -> Result<serde_json::Value, EngineError>;
}

/// The sizes of containers, which only the engine knows. It adds up files for that, so it is asked seldom.
#[async_trait]
pub trait SizeSource: Send + Sync + 'static {
    /// The sizes of one container.
    async fn sizes(&self, id: &ContainerId) -> Result<Sizes, EngineError>;
}

#[async_trait]
impl StatsSource for Engine {
    async fn stats(&self, id: &ContainerId) -> Result<serde_json::Value, EngineError> {
        Engine::stats(self, id.as_str()).await
    }
}

#[async_trait]
impl SizeSource for Engine {
    async fn sizes(&self, id: &ContainerId) -> Result<Sizes, EngineError> {
        let (writable, all) = Engine::sizes(self, id.as_str()).await?;
        Ok(Sizes { image: all.zip(writable).and_then(|(all, own)| all.checked_sub(own)), writable })
    }
}
