use proptest::prelude::*;

use super::*;
use crate::metrics::fixtures::{value, write};

const STAT: &str = "cpu  1000 0 500 8000 100 0 50 0 0 0\ncpu0 1 1 1 1\ncpu1 1 1 1 1\n";
const LATER: &str = "cpu  1100 0 550 8140 90 0 60 0 0 0\ncpu0 1 1 1 1\ncpu1 1 1 1 1\n";

fn net(rx: u64) -> String {
    let rest = "0 0 0 0 0 0 0 10 0 0 0 0 0 0 0";
    format!("  lo: 5 {rest}\neth0: {rx} {rest}\nveth1: 7 {rest}\n")
}

fn names(values: &Values) -> Vec<&str> {
    values.keys().map(SeriesName::as_str).collect()
}

#[test]
fn a_recorded_machine_comes_to_samples() {
    let root = tempfile::tempdir().unwrap();
    let meminfo =
        "MemTotal: 1000 kB\nMemAvailable: 400 kB\nCached: 300 kB\nSwapTotal: 100 kB\nSwapFree: 75 kB\n";
    let disks = " 8 0 sda 1 0 100 0 1 0 200 0\n 8 1 sda1 1 0 100 0 1 0 200 0\n 7 0 loop0 1 0 1 0 1 0 1 0\n";
    write(
        root.path(),
        &[
            ("proc/stat", STAT),
            ("proc/meminfo", meminfo),
            ("proc/loadavg", "0.5 1.5 2.5 1/2 3\n"),
            ("proc/uptime", "99.5 1\n"),
            ("proc/self/net/dev", &net(100)),
            ("proc/self/statm", "100 10 1 1 0 1 0\n"),
            ("proc/diskstats", disks),
            ("proc/pressure/io", "some avg10=0 avg60=0 avg300=0 total=5\n"),
            ("sys/block/sda/size", "1\n"),
            ("sys/block/loop0/size", "1\n"),
        ],
    );
    let mut sensor = HostSensor::new(root.path());
    let patience = Duration::from_secs(5);
    let (first, cores) = sensor.read(patience);
    assert_eq!(cores, Some(2));
    assert_eq!(value(&first, "memory_bytes"), Some(600.0 * 1024.0));
    assert_eq!(value(&first, "memory_percent"), Some(60.0));
    assert_eq!(value(&first, "memory_swap_bytes"), Some(25.0 * 1024.0));
    assert_eq!((value(&first, "load5"), value(&first, "uptime_seconds")), (Some(1.5), Some(99.5)));
    assert!(value(&first, "agent_memory_bytes").unwrap() >= 10.0 * 4096.0);
    assert_eq!(value(&first, "cpu_percent"), None, "the first sample only begins");

    write(root.path(), &[("proc/stat", LATER), ("proc/self/net/dev", &net(90))]);
    let (second, _) = sensor.read(patience);
    let near = |name: &str, expected: f64| {
        let got = value(&second, name).unwrap_or_else(|| panic!("no {name} in {second:?}"));
        assert!((got - expected).abs() < 1e-6, "{name}: {got}");
    };
    // 290 ticks passed, of which 160 were busy; iowait went back.
    near("cpu_host_percent", 160.0 / 290.0 * 100.0);
    near("cpu_percent", 320.0 / 290.0 * 100.0);
    near("cpu_system_percent", 50.0 / 290.0 * 100.0);
    near("disk_read_bytes_per_second/sda", 0.0);
    near("io_pressure_percent", 0.0);
    near("interface_tx_bytes_per_second/eth0", 0.0);
    let told = names(&second);
    for absent in ["cpu_iowait_percent", "interface_rx_bytes_per_second/eth0", "cpu_pressure_percent"] {
        assert!(!told.contains(&absent), "{absent}");
    }
    for part in ["veth1", "lo", "sda1", "loop0"] {
        assert!(!told.iter().any(|name| name.ends_with(&format!("/{part}"))), "{part}: {told:?}");
    }
    for name in told {
        assert!(crate::model::metric(name.split('/').next().unwrap()).is_some(), "{name}");
    }
}

#[test]
fn an_empty_machine_tells_of_the_agent_alone() {
    let root = tempfile::tempdir().unwrap();
    let mut sensor = HostSensor::new(root.path());
    sensor.read(Duration::ZERO);
    let (values, cores) = sensor.read(Duration::ZERO);
    assert_eq!((names(&values), cores), (vec!["agent_cpu_percent"], None));
}

proptest! {
    #[test]
    fn no_times_give_a_negative_or_impossible_share(
        a in proptest::array::uniform7(0..u64::MAX / 8), b in proptest::array::uniform7(0..u64::MAX / 8),
    ) {
        let times = |[user, nice, system, idle, iowait, irq, steal]: [u64; 7]| CpuTimes { user, nice, system, idle, iowait, irq, steal, cores: 2 };
        let mut values = Values::new();
        cpu_shares(&times(b), &times(a), &mut values);
        for (name, value) in values {
            prop_assert!((0.0..=200.0).contains(&value), "{name} {value}");
        }
    }
}
