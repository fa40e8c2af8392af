//! Readings from the engine's statistics, pure. Every field may be missing.

use std::time::Duration;

use serde_json::Value;

use super::usage::{CpuReading, MemoryReading};

/// CPU time, against the host's own on all cores.
pub(super) fn cpu(stats: &Value) -> Option<CpuReading> {
    let cpu = stats.get("cpu_stats")?;
    let per_core = || cpu.pointer("/cpu_usage/percpu_usage")?.as_array().map(|cores| cores.len() as u64);
    let cores = cpu.get("online_cpus").and_then(Value::as_u64).filter(|&n| n > 0).or_else(per_core)?;
    Some(CpuReading {
        used: Duration::from_nanos(cpu.pointer("/cpu_usage/total_usage")?.as_u64()?),
        clock: Duration::from_nanos(cpu.get("system_cpu_usage")?.as_u64()?),
        cores: u32::try_from(cores).ok()?,
    })
}

/// Memory, less the inactive file pages (cgroup v1 names them `total_inactive_file`, v2 `inactive_file`).
pub(super) fn memory(stats: &Value) -> MemoryReading {
    let number = |pointer| stats.pointer(pointer).and_then(Value::as_u64);
    let inactive =
        number("/memory_stats/stats/total_inactive_file").or(number("/memory_stats/stats/inactive_file"));
    let used = number("/memory_stats/usage").zip(inactive);
    MemoryReading {
        used: used.map(|(charged, inactive)| MemoryReading::used(charged, inactive)),
        limit: number("/memory_stats/limit").filter(|&limit| limit > 0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// As Docker 20.10 answered on cgroup v1, shortened.
    fn recorded() -> Value {
        json!({
            "read": "2026-11-22T01:44:48.06811006Z",
            "cpu_stats": {
                "cpu_usage": {"total_usage": 21_700_407, "percpu_usage": [18_996_255, 2_704_152]},
                "system_cpu_usage": 6_391_860_000_000_u64, "online_cpus": 2
            },
            "memory_stats": {
                "usage": 622_592, "limit": 25_276_502_016_u64,
                "stats": {"inactive_file": 1, "total_inactive_file": 22_592}
            }
        })
    }

    #[test]
    fn a_recorded_answer_is_read() {
        let cpu = cpu(&recorded()).unwrap();
        assert_eq!((cpu.used, cpu.cores), (Duration::from_nanos(21_700_407), 2));
        assert_eq!(cpu.clock, Duration::from_millis(6_391_860));
        assert_eq!(memory(&recorded()), MemoryReading { used: Some(600_000), limit: Some(25_276_502_016) });
    }

    #[test]
    fn cores_are_counted_where_an_old_engine_does_not_say() {
        let mut stats = recorded();
        stats["cpu_stats"]["online_cpus"] = json!(0);
        assert_eq!(cpu(&stats).unwrap().cores, 2);
    }

    #[test]
    fn what_is_missing_is_unknown() {
        // The answer for a container that is not running.
        let stopped = json!({"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}});
        assert_eq!(cpu(&stopped), None);
        assert_eq!(memory(&stopped), MemoryReading::UNKNOWN);
    }

    proptest! {
        #[test]
        fn no_value_in_no_place_makes_it_panic(
            place in prop::sample::select(vec![
                "/cpu_stats", "/cpu_stats/cpu_usage", "/cpu_stats/cpu_usage/total_usage",
                "/cpu_stats/system_cpu_usage", "/cpu_stats/online_cpus", "/memory_stats", "/memory_stats/stats",
                "/memory_stats/usage", "/memory_stats/limit",
            ]),
            value in prop::sample::select(vec![
                json!(null), json!(-1), json!("x"), json!(1e300), json!(u64::MAX), json!([]), json!({}),
            ]),
        ) {
            let mut stats = recorded();
            *stats.pointer_mut(place).unwrap() = value;
            let _ = (cpu(&stats), memory(&stats));
        }
    }
}
