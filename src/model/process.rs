//! The processes of a container.

use serde::{Deserialize, Serialize};

/// One process. Of its command line only the program's name is told, for arguments may hold secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProcessUse {
    /// Its id, as the host counts.
    pub pid: u32,
    /// The name of its program, at most 15 bytes, as the kernel keeps it; cleaned.
    pub command: String,
    /// CPU time it used while it was watched, percent of one core; counted in steps of 10 ms.
    pub cpu_percent: f64,
    /// Memory that it has resident, bytes; what several processes share counts for each.
    pub memory_bytes: u64,
    /// Its threads.
    pub threads: u64,
}

/// The processes of a container, those first that use the most CPU, then the most memory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProcessList {
    /// Over how long CPU was measured, milliseconds.
    pub span_ms: u64,
    /// The processes, as many as were asked for.
    pub processes: Vec<ProcessUse>,
    /// How many more there are.
    pub left_out: u64,
}
