use proptest::prelude::*;

use super::*;
use crate::metrics::fixtures::value;

fn cpu(used_ms: u64, clock_ms: u64, cores: u32) -> CpuReading {
    CpuReading { used: Duration::from_millis(used_ms), clock: Duration::from_millis(clock_ms), cores }
}

fn flow(n: u64) -> Flow {
    Flow { bytes: n, packets: n, errors: n, drops: n }
}

/// Every counter shows `n`, at `seconds`.
fn reading(seconds: u64, n: u64) -> Reading {
    let waited = Some(Duration::from_millis(n));
    Reading {
        at: Duration::from_secs(seconds),
        cpu: Some(cpu(n, seconds * 1000, 1)),
        cpu_limit: Some(0.5),
        throttle: Some(Throttle { periods: n, throttled: n / 2, held: Duration::from_millis(n) }),
        traffic: Some(Traffic { received: flow(n), sent: flow(2 * n), interfaces: 1 }),
        block: Some(Block { read_bytes: n, written_bytes: n, reads: n, writes: n }),
        pressure: Pressure { cpu: waited, memory: waited, io: waited },
        ..Reading::default()
    }
}

fn rates(now: &Reading, before: &Reading) -> Values {
    let mut values = Values::new();
    now.rates(before, Some(4), &mut values);
    values
}

#[test]
fn percent_is_of_one_core() {
    assert_eq!(cpu(1500, 2000, 1).percent_since(&cpu(500, 1000, 1)), Some(100.0));
    // Docker's own clock is the time of all cores: one of four busy is 100 % too.
    assert_eq!(cpu(1500, 5000, 4).percent_since(&cpu(500, 1000, 4)), Some(100.0));
    assert_eq!(cpu(500, 2000, 1).percent_since(&cpu(500, 1000, 1)), Some(0.0));
}

#[test]
fn a_reset_counter_or_a_clock_that_stands_gives_no_sample() {
    assert_eq!(cpu(400, 2000, 1).percent_since(&cpu(500, 1000, 1)), None);
    assert_eq!(cpu(500, 1000, 1).percent_since(&cpu(500, 1000, 1)), None);
    assert_eq!(cpu(500, 900, 1).percent_since(&cpu(500, 1000, 1)), None);
    assert_eq!(cpu(500, 2000, 2).percent_since(&cpu(500, 1000, 1)), None);
    assert!(rates(&reading(20, 10), &reading(10, 1000)).is_empty(), "all were reset");
    assert!(rates(&reading(10, 1000), &reading(10, 10)).is_empty(), "no time passed");
}

#[test]
fn counters_come_to_rates() {
    let values = rates(&reading(20, 3000), &reading(10, 1000));
    let expected = [
        ("cpu_percent", 20.0),
        ("cpu_host_percent", 5.0),
        ("cpu_limit_percent", 40.0),
        ("cpu_throttled_percent", 50.0),
        ("cpu_throttled_seconds_per_second", 0.2),
        ("net_rx_bytes_per_second", 200.0),
        ("net_tx_drops_per_second", 400.0),
        ("block_reads_per_second", 200.0),
        ("cpu_pressure_percent", 20.0),
        ("io_pressure_percent", 20.0),
    ];
    for (name, expected) in expected {
        let got = value(&values, name).unwrap_or_else(|| panic!("{name} is not in {values:?}"));
        assert!((got - expected).abs() < 1e-9, "{name}: {got}, not {expected}");
    }
}

#[test]
fn an_interface_more_or_less_gives_no_rate_of_traffic() {
    let mut now = reading(20, 3000);
    now.traffic = now.traffic.map(|traffic| Traffic { interfaces: 2, ..traffic });
    let values = rates(&now, &reading(10, 1000));
    assert_eq!(value(&values, "net_rx_bytes_per_second"), None);
    assert!(value(&values, "cpu_percent").is_some());
}

#[test]
fn files_and_the_engine_are_not_compared() {
    let now = Reading { source: Source::Engine, ..reading(20, 3000) };
    assert!(rates(&now, &reading(10, 1000)).is_empty());
}

#[test]
fn droppable_cache_is_not_use() {
    assert_eq!(MemoryReading::used(1000, 400), 600);
    assert_eq!(MemoryReading::used(1000, 1000), 1000);
    assert_eq!(MemoryReading::used(1000, 2000), 1000);
}

#[test]
fn a_percentage_needs_both_its_parts() {
    let percent = |used, limit| {
        let memory = MemoryReading { used, limit, ..MemoryReading::default() };
        let mut values = Values::new();
        Reading { memory, ..Reading::default() }.gauges(&mut values);
        value(&values, "memory_percent")
    };
    assert_eq!(percent(Some(50), Some(200)), Some(25.0));
    assert_eq!(percent(None, Some(200)), None);
    assert_eq!(percent(Some(50), None), None);
    assert_eq!(percent(Some(50), Some(0)), None);
}

#[test]
fn a_limit_that_never_held_it_back_is_zero_and_no_limit_is_absent() {
    let idle = reading(20, 1000);
    assert_eq!(value(&rates(&idle, &reading(10, 1000)), "cpu_throttled_percent"), Some(0.0));
    let free = Reading { throttle: None, cpu_limit: None, ..idle };
    let values = rates(&free, &reading(10, 1000));
    assert_eq!(value(&values, "cpu_throttled_percent").or(value(&values, "cpu_limit_percent")), None);
}

proptest! {
    #[test]
    fn no_two_readings_give_a_negative_or_endless_rate(
        a in (0_u64..100, any::<u64>()), b in (0_u64..100, any::<u64>()), cores in proptest::option::of(any::<u32>()),
    ) {
        let half = |(seconds, n): (u64, u64)| reading(seconds, n / 2);
        let mut values = Values::new();
        half(b).rates(&half(a), cores, &mut values);
        half(b).gauges(&mut values);
        for (name, value) in values {
            prop_assert!(value.is_finite() && value >= 0.0, "{name} {value}");
            prop_assert!(crate::model::metric(name.metric()).is_some(), "{name}");
        }
    }
}
