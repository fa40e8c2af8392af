//! Readings from the engine's statistics, pure. Every field may be missing.

use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use serde_json::Value;

use super::reading::{CpuReading, MemoryReading, Reading, Source, Throttle, Traffic};
use super::text::{Block, Flow};

/// All that the engine's answer tells; `at` is when it came.
pub(super) fn reading(stats: &Value, at: Duration) -> Reading {
    Reading {
        source: Source::Engine,
        at,
        cpu: cpu(stats),
        throttle: throttle(stats),
        memory: memory(stats),
        traffic: traffic(stats),
        block: block(stats),
        pids: number(stats, "/pids_stats/current"),
        ..Reading::default()
    }
}

fn number(stats: &Value, pointer: &str) -> Option<u64> {
    stats.pointer(pointer).and_then(Value::as_u64)
}

/// CPU time, against the host's own on all cores.
fn cpu(stats: &Value) -> Option<CpuReading> {
    let cpu = stats.get("cpu_stats")?;
    let per_core = || cpu.pointer("/cpu_usage/percpu_usage")?.as_array().map(|cores| cores.len() as u64);
    let cores = cpu.get("online_cpus").and_then(Value::as_u64).filter(|&n| n > 0).or_else(per_core)?;
    Some(CpuReading {
        used: Duration::from_nanos(cpu.pointer("/cpu_usage/total_usage")?.as_u64()?),
        clock: Duration::from_nanos(cpu.get("system_cpu_usage")?.as_u64()?),
        cores: u32::try_from(cores).ok()?,
    })
}

/// Without a limit no period is ever counted.
fn throttle(stats: &Value) -> Option<Throttle> {
    let of = |name| number(stats, &format!("/cpu_stats/throttling_data/{name}"));
    let held = Duration::from_nanos(of("throttled_time")?);
    let throttle = Throttle { periods: of("periods")?, throttled: of("throttled_periods")?, held };
    Some(throttle).filter(|throttle| throttle.periods > 0)
}

/// Memory, less the inactive file pages (cgroup v1 names them `total_inactive_file`, v2 `inactive_file`).
fn memory(stats: &Value) -> MemoryReading {
    let of = |v1, v2| {
        number(stats, &format!("/memory_stats/stats/{v1}"))
            .or_else(|| number(stats, &format!("/memory_stats/stats/{v2}")))
    };
    let used = number(stats, "/memory_stats/usage").zip(of("total_inactive_file", "inactive_file"));
    MemoryReading {
        used: used.map(|(charged, inactive)| MemoryReading::used(charged, inactive)),
        limit: number(stats, "/memory_stats/limit").filter(|&limit| limit > 0),
        cache: of("total_cache", "file"),
        swap: of("total_swap", "swap"),
    }
}

fn traffic(stats: &Value) -> Option<Traffic> {
    let networks = stats.get("networks")?.as_object()?;
    let (mut received, mut sent) = (Flow::default(), Flow::default());
    let mut names = DefaultHasher::new();
    for (name, of) in networks {
        names.write(name.as_bytes());
        names.write_u8(0);
        let flow = |way: &str| {
            let field = |what: &str| of.get(format!("{way}_{what}")).and_then(Value::as_u64);
            Some(Flow {
                bytes: field("bytes")?,
                packets: field("packets")?,
                errors: field("errors")?,
                drops: field("dropped")?,
            })
        };
        (received, sent) = (received.plus(flow("rx")?)?, sent.plus(flow("tx")?)?);
    }
    (!networks.is_empty()).then(|| Traffic { received, sent, interfaces: names.finish() })
}

fn block(stats: &Value) -> Option<Block> {
    let sum = |list: &str, op: &str| {
        // As in the file it is from, an empty list says that nothing is counted.
        let entries =
            stats.get("blkio_stats")?.get(list)?.as_array().filter(|entries| !entries.is_empty())?;
        let of = |entry: &&Value| {
            entry.get("op").and_then(Value::as_str).is_some_and(|o| o.eq_ignore_ascii_case(op))
        };
        entries.iter().filter(of).try_fold(0_u64, |sum, entry| sum.checked_add(entry.get("value")?.as_u64()?))
    };
    Some(Block {
        read_bytes: sum("io_service_bytes_recursive", "read")?,
        written_bytes: sum("io_service_bytes_recursive", "write")?,
        reads: sum("io_serviced_recursive", "read")?,
        writes: sum("io_serviced_recursive", "write")?,
    })
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
