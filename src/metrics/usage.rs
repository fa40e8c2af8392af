//! A container's CPU and memory, as `docker stats` shows them.

use serde::{Deserialize, Serialize};

use crate::model::{ContainerFacts, ContainerId, ContainerName, SeriesName, Values};

/// What one container uses. `None` (null in JSON) is what is not known, never zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContainerUsage {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ContainerName,
    /// Its full id.
    #[schema(value_type = String)]
    pub id: ContainerId,
    /// CPU time used since the sample before, in percent of one core: two busy cores are 200. Unknown in the first
    /// sample, and in the first after a restart.
    pub cpu_percent: Option<f64>,
    /// Memory in use without the page cache that can be dropped (inactive file pages), bytes.
    pub memory_bytes: Option<u64>,
    /// The most it may use, bytes: its own limit, or the host's memory where that is less.
    pub memory_limit_bytes: Option<u64>,
    /// `memory_bytes` of `memory_limit_bytes`, percent.
    pub memory_percent: Option<f64>,
}

impl ContainerUsage {
    /// The row of one container in a sample.
    pub(super) fn new(container: &ContainerFacts, values: &Values) -> Self {
        let value = |name| values.get(&SeriesName::of(name));
        // Bytes are whole, and no machine has so many that a float could not tell them apart.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bytes that were whole before"
        )]
        let bytes = |name| value(name).map(|bytes| bytes as u64);
        Self {
            name: container.name.clone(),
            id: container.id.clone(),
            cpu_percent: value("cpu_percent"),
            memory_bytes: bytes("memory_bytes"),
            memory_limit_bytes: bytes("memory_limit_bytes"),
            memory_percent: value("memory_percent"),
        }
    }
}
