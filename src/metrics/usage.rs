//! From readings to percentages, pure, as `docker stats` computes them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ContainerFacts, ContainerId, ContainerName};

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

/// The CPU time a container has used so far, beside the clock it is measured against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CpuReading {
    /// Used so far, on all cores together.
    pub(super) used: Duration,
    /// What the clock shows: time itself, or the host's CPU time on all its cores.
    pub(super) clock: Duration,
    /// How many cores the clock counts the time of.
    pub(super) cores: u32,
}

impl CpuReading {
    /// The percentage of one core used since `before`; `None` when the counter was reset or the clock stood still.
    pub(super) fn percent_since(&self, before: &Self) -> Option<f64> {
        let used = self.used.checked_sub(before.used)?.as_secs_f64();
        let passed = self.clock.checked_sub(before.clock)?.as_secs_f64();
        (passed > 0.0 && self.cores == before.cores).then(|| used / passed * f64::from(self.cores) * 100.0)
    }
}

/// What a container holds in memory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryReading {
    pub(super) used: Option<u64>,
    pub(super) limit: Option<u64>,
}

impl MemoryReading {
    pub(super) const UNKNOWN: Self = Self { used: None, limit: None };

    /// All that is charged, less what could be dropped at once. The two are not read at the same moment; where the
    /// second seems to exceed the first, it is not taken off.
    pub(super) fn used(charged: u64, inactive_file: u64) -> u64 {
        if inactive_file < charged { charged - inactive_file } else { charged }
    }

    fn percent(&self) -> Option<f64> {
        let (used, limit) = self.used.zip(self.limit)?;
        (limit > 0).then(|| used as f64 / limit as f64 * 100.0)
    }
}

impl ContainerUsage {
    /// A row of these readings.
    pub(super) fn new(container: &ContainerFacts, cpu_percent: Option<f64>, memory: MemoryReading) -> Self {
        Self {
            name: container.name.clone(),
            id: container.id.clone(),
            cpu_percent,
            memory_bytes: memory.used,
            memory_limit_bytes: memory.limit,
            memory_percent: memory.percent(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(used_ms: u64, clock_ms: u64, cores: u32) -> CpuReading {
        CpuReading { used: Duration::from_millis(used_ms), clock: Duration::from_millis(clock_ms), cores }
    }

    #[test]
    fn percent_is_of_one_core() {
        assert_eq!(reading(1500, 2000, 1).percent_since(&reading(500, 1000, 1)), Some(100.0));
        // Docker's own clock is the time of all cores: one of four busy is 100 % too.
        assert_eq!(reading(1500, 5000, 4).percent_since(&reading(500, 1000, 4)), Some(100.0));
        assert_eq!(reading(500, 2000, 1).percent_since(&reading(500, 1000, 1)), Some(0.0));
    }

    #[test]
    fn a_reset_counter_or_a_clock_that_stands_gives_no_sample() {
        assert_eq!(reading(400, 2000, 1).percent_since(&reading(500, 1000, 1)), None);
        assert_eq!(reading(500, 1000, 1).percent_since(&reading(500, 1000, 1)), None);
        assert_eq!(reading(500, 900, 1).percent_since(&reading(500, 1000, 1)), None);
        assert_eq!(reading(500, 2000, 2).percent_since(&reading(500, 1000, 1)), None);
    }

    #[test]
    fn droppable_cache_is_not_use() {
        assert_eq!(MemoryReading::used(1000, 400), 600);
        assert_eq!(MemoryReading::used(1000, 1000), 1000);
        assert_eq!(MemoryReading::used(1000, 2000), 1000);
    }

    #[test]
    fn a_percentage_needs_both_its_parts() {
        let percent = |used, limit| MemoryReading { used, limit }.percent();
        assert_eq!(percent(Some(50), Some(200)), Some(25.0));
        assert_eq!(percent(None, Some(200)), None);
        assert_eq!(percent(Some(50), None), None);
        assert_eq!(percent(Some(50), Some(0)), None);
    }
}
