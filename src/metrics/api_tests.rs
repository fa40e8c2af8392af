use proptest::prelude::*;
use serde_json::json;

use super::*;

/// As Docker 20.10 answered on cgroup v1, shortened.
fn recorded() -> Value {
    json!({
        "read": "2026-11-22T01:44:48.06811006Z",
        "cpu_stats": {
            "cpu_usage": {"total_usage": 21_700_407, "percpu_usage": [18_996_255, 2_704_152]},
            "system_cpu_usage": 6_391_860_000_000_u64, "online_cpus": 2,
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0}
        },
        "memory_stats": {
            "usage": 622_592, "limit": 25_276_502_016_u64,
            "stats": {"inactive_file": 1, "total_inactive_file": 22_592, "total_cache": 700_000, "total_swap": 0}
        },
        "pids_stats": {"current": 3},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"major": 254, "minor": 0, "op": "Read", "value": 4096},
                {"major": 254, "minor": 0, "op": "Write", "value": 0},
                {"major": 254, "minor": 0, "op": "Total", "value": 4096}
            ],
            "io_serviced_recursive": [{"major": 254, "minor": 0, "op": "read", "value": 1}]
        },
        "networks": {
            "eth0": {"rx_bytes": 1296, "rx_packets": 16, "rx_errors": 0, "rx_dropped": 0,
                     "tx_bytes": 656, "tx_packets": 8, "tx_errors": 0, "tx_dropped": 0},
            "eth1": {"rx_bytes": 4, "rx_packets": 1, "rx_errors": 0, "rx_dropped": 1,
                     "tx_bytes": 44, "tx_packets": 2, "tx_errors": 0, "tx_dropped": 0}
        }
    })
}

#[test]
fn a_recorded_answer_is_read() {
    let cpu = cpu(&recorded()).unwrap();
    assert_eq!((cpu.used, cpu.cores), (Duration::from_nanos(21_700_407), 2));
    assert_eq!(cpu.clock, Duration::from_millis(6_391_860));
    let memory = MemoryReading {
        used: Some(600_000),
        limit: Some(25_276_502_016),
        cache: Some(700_000),
        swap: Some(0),
    };
    let reading = reading(&recorded(), Duration::from_secs(5));
    assert_eq!(reading.memory, memory);
    assert_eq!((reading.at, reading.source, reading.pids), (Duration::from_secs(5), Source::Engine, Some(3)));
    let received = Flow { bytes: 1300, packets: 17, errors: 0, drops: 1 };
    assert_eq!(reading.traffic.map(|traffic| (traffic.received, traffic.sent.bytes)), Some((received, 700)));
    let block = Block { read_bytes: 4096, written_bytes: 0, reads: 1, writes: 0 };
    assert_eq!((reading.block, reading.throttle), (Some(block), None));
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
    let unknown = Reading { source: Source::Engine, block: None, ..Reading::default() };
    assert_eq!(reading(&stopped, Duration::ZERO), unknown);
}

proptest! {
    #[test]
    fn no_value_in_no_place_makes_it_panic(
        place in prop::sample::select(vec![
            "/cpu_stats", "/cpu_stats/cpu_usage", "/cpu_stats/cpu_usage/total_usage",
            "/cpu_stats/system_cpu_usage", "/cpu_stats/online_cpus", "/memory_stats", "/memory_stats/stats",
            "/memory_stats/usage", "/memory_stats/limit", "/networks", "/networks/eth0", "/networks/eth0/rx_bytes",
            "/blkio_stats", "/blkio_stats/io_serviced_recursive", "/blkio_stats/io_serviced_recursive/0/value",
            "/pids_stats", "/cpu_stats/throttling_data",
        ]),
        value in prop::sample::select(vec![
            json!(null), json!(-1), json!("x"), json!(1e300), json!(u64::MAX), json!([]), json!({}),
        ]),
    ) {
        let mut stats = recorded();
        *stats.pointer_mut(place).unwrap() = value;
        let _ = reading(&stats, Duration::ZERO);
    }
}
