//! What containers use of their host: read from cgroup files, from the engine where those cannot be read.

mod api;
mod cgroup;
mod format;
mod sampler;
mod usage;

use async_trait::async_trait;

use crate::docker::EngineError;
use crate::model::ContainerId;

pub use format::{ParseUsageFormatError, UsageFormat, render};
pub use sampler::UsageSampler;
pub use usage::ContainerUsage;

/// The engine's own statistics: the fallback where cgroup files cannot be read.
#[async_trait]
pub trait StatsSource: Send + Sync + 'static {
    /// The engine's answer to `GET /containers/{id}/stats?stream=false&one-shot=true`, as it is.
    async fn stats(&self, id: &ContainerId) -> Result<serde_json::Value, EngineError>;
}
