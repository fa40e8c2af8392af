use std::time::Duration;

use super::*;
use crate::metrics::fixtures::{ID, facts, recorded, write};
use crate::model::RunState;

fn subject() -> Subject {
    let mut facts = facts(ID, RunState::Running);
    facts.pid = Some(4242);
    Subject::new(&facts, NetworkUse::Namespace)
}

fn sensors(root: &Path) -> FileSensors {
    FileSensors::new(root, Instant::now(), 20_000)
}

#[test]
fn a_sweep_reads_cgroup_and_network_of_both_versions() {
    for version in ["v1", "v2"] {
        let root = recorded(version);
        let mut sensors = sensors(root.path());
        assert_eq!(sensors.version(), Some(version));
        let reading = sensors.read(&[subject()])[0].expect("a reading");
        let traffic = reading.traffic.unwrap();
        assert_eq!(traffic.received, Flow { bytes: 1300, packets: 17, errors: 0, drops: 1 }, "{version}");
        assert_eq!(traffic.sent, Flow { bytes: 700, packets: 10, errors: 0, drops: 0 });
        assert_eq!((reading.pids, reading.pressure.cpu.is_some()), (Some(3), version == "v2"));
    }
}

#[test]
fn the_hosts_network_and_a_namespace_without_interfaces_have_no_figures() {
    let root = recorded("v1");
    let host = Subject { network: NetworkUse::NoneOfItsOwn, ..subject() };
    assert_eq!(sensors(root.path()).read(&[host])[0].unwrap().traffic, None);
    assert_eq!(traffic("  lo: 90 9 0 0 0 0 0 0 90 9 0 0 0 0 0 0\n"), None);
    let max = u64::MAX;
    assert_eq!(traffic(&format!("a: {max} 0 0 0 0 0 0 0 0 0 0 0\nb: 1 0 0 0 0 0 0 0 0 0 0 0\n")), None);
}

#[test]
fn a_process_that_is_anothers_tells_nothing_of_its_network() {
    let root = recorded("v2");
    write(root.path(), &[("proc/4242/cgroup", "0::/user.slice\n")]);
    // Systemd's place for it is found by the id all the same.
    let reading = sensors(root.path()).read(&[subject()])[0].unwrap();
    assert_eq!((reading.traffic, reading.pids), (None, Some(3)));
}

#[test]
fn what_does_not_run_is_not_read_and_its_files_are_let_go() {
    let root = recorded("v2");
    let mut sensors = sensors(root.path());
    assert!(sensors.read(&[subject()])[0].is_some());
    assert_eq!(sensors.known.len(), 1);
    let ended = Subject { state: RunState::Exited, ..subject() };
    assert_eq!(sensors.read(&[ended]), [None]);
    assert!(sensors.known.is_empty());
}

#[test]
fn files_are_held_open_until_the_first_process_is_another() {
    let root = recorded("v2");
    let mut sensors = sensors(root.path());
    sensors.read(&[subject()]);
    let folder = format!("sys/fs/cgroup/system.slice/docker-{ID}.scope");
    std::fs::rename(root.path().join(&folder), root.path().join("elsewhere")).unwrap();
    assert!(sensors.read(&[subject()])[0].is_some(), "the files are held");
    let restarted = Subject { pid: Some(4243), ..subject() };
    assert_eq!(sensors.read(&[restarted]), [None], "the new ones are looked for");
}

#[test]
fn without_files_to_spare_each_sample_opens_them() {
    let root = recorded("v2");
    let mut sensors = FileSensors::new(root.path(), Instant::now(), FILES_SPARED);
    for _ in 0..2 {
        assert!(sensors.read(&[subject()])[0].is_some());
        assert!(sensors.known.is_empty());
    }
}

#[test]
fn what_lies_on_other_disks_is_not_counted_twice() {
    let root = recorded("v1");
    let before = sensors(root.path()).read(&[subject()])[0].unwrap().block.unwrap();
    assert_eq!(before.reads, 12);
    write(root.path(), &[("sys/dev/block/254:0/slaves/sda/dev", "8:0\n")]);
    let after = sensors(root.path()).read(&[subject()])[0].unwrap().block.unwrap();
    assert_eq!(after.reads, 0);
}

#[test]
fn a_reading_tells_when_it_was_made() {
    let root = recorded("v1");
    let origin = Instant::now().checked_sub(Duration::from_secs(100)).unwrap();
    let reading = FileSensors::new(root.path(), origin, 20_000).read(&[subject()])[0].unwrap();
    assert!(reading.at >= Duration::from_secs(100) && reading.at < Duration::from_secs(200));
}
