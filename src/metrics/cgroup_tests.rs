use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::metrics::fixtures::{ID, recorded};

/// As recorded on Linux 6.18, shortened, with some page cache put in.
const STAT_V1: &str = "cache 8192\ninactive_file 1\nhierarchical_memory_limit 9223372036854771712\n\
                       total_cache 8192\ntotal_inactive_file 4096\ntotal_active_file 0\n";
/// In the form the kernel's `cgroup-v2.rst` gives, shortened.
const STAT_V2: &str = "anon 57344\nfile 8192\nkernel 122880\ninactive_anon 53248\nactive_anon 4096\n\
                       inactive_file 4096\nactive_file 4096\n";
const CPU_V2: &str = "usage_usec 21700\nuser_usec 20000\nsystem_usec 1700\nnice_usec 0\n";

fn id() -> ContainerId {
    ContainerId::new(ID).unwrap()
}

/// A host's file tree of these files.
fn host(files: &[(String, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let meminfo = ("proc/meminfo".to_owned(), "MemTotal:       24684084 kB\nMemFree:  1 kB\n");
    for (path, text) in files.iter().chain([&meminfo]) {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn v1(cpuacct: &str, path: &str, limit: &'static str) -> Vec<(String, &'static str)> {
    let mount = "sys/fs/cgroup";
    vec![
        (format!("{mount}/{cpuacct}/{path}/cpuacct.usage"), "21700407\n"),
        (format!("{mount}/memory/{path}/memory.usage_in_bytes"), "622592\n"),
        (format!("{mount}/memory/{path}/memory.limit_in_bytes"), limit),
        (format!("{mount}/memory/{path}/memory.stat"), STAT_V1),
    ]
}

fn v2(path: &str, limit: &'static str) -> Vec<(String, &'static str)> {
    let mount = "sys/fs/cgroup";
    vec![
        (format!("{mount}/cgroup.controllers"), "cpuset cpu io memory pids\n"),
        (format!("{mount}/{path}/cpu.stat"), CPU_V2),
        (format!("{mount}/{path}/memory.current"), "622592\n"),
        (format!("{mount}/{path}/memory.max"), limit),
        (format!("{mount}/{path}/memory.stat"), STAT_V2),
    ]
}

fn open(files: &[(String, &str)], pid: Option<u32>) -> io::Result<(TempDir, CgroupFiles)> {
    let root = host(files);
    let files = CgroupTree::find(root.path()).expect("a cgroup tree").open(&id(), pid)?;
    Ok((root, files))
}

fn read(files: &mut CgroupFiles) -> io::Result<Reading> {
    read_at(files, 5)
}

fn read_at(files: &mut CgroupFiles, seconds: u64) -> io::Result<Reading> {
    files.read(&mut Scratch::new(), || Duration::from_secs(seconds), |_| true)
}

const HOST_MEMORY: u64 = 24_684_084 * 1024;

#[test]
fn both_versions_under_both_drivers_are_read() {
    let (cgroupfs, systemd) = (format!("docker/{ID}"), format!("system.slice/docker-{ID}.scope"));
    let trees = [
        v1("cpuacct", &cgroupfs, "9223372036854771712\n"),
        v1("cpu,cpuacct", &systemd, "9223372036854771712\n"),
        v2(&cgroupfs, "max\n"),
        v2(&systemd, "max\n"),
    ];
    for tree in trees {
        let (_root, mut files) = open(&tree, None).unwrap();
        let reading = read(&mut files).unwrap();
        assert_eq!(reading.cpu.unwrap().used.as_micros(), 21_700);
        assert_eq!(reading.memory.used, Some(622_592 - 4096));
        assert_eq!((reading.memory.limit, reading.memory.cache), (Some(HOST_MEMORY), Some(8192)));
    }
}

#[test]
fn the_first_process_leads_to_nested_engines_and_other_parents() {
    let nested = format!("docker/0123456789ab/docker/{ID}");
    let mut tree = v1("cpuacct", &nested, "67108864\n");
    assert_eq!(open(&tree, None).unwrap_err().kind(), io::ErrorKind::NotFound);
    let lines = format!("9:name=systemd:/elsewhere\n4:memory:/{nested}\n2:cpuacct,cpu:/{nested}\n0::/\n");
    tree.push(("proc/77/cgroup".to_owned(), &lines));
    let (_root, mut files) = open(&tree, Some(77)).unwrap();
    assert_eq!(read(&mut files).unwrap().memory.limit, Some(67_108_864));

    let sliced = format!("my.slice/docker-{ID}.scope");
    let mut tree = v2(&sliced, "67108864\n");
    let lines = format!("0::/{sliced}\n");
    tree.push(("proc/77/cgroup".to_owned(), &lines));
    let (_root, mut files) = open(&tree, Some(77)).unwrap();
    assert_eq!(read(&mut files).unwrap().memory.limit, Some(67_108_864));
}

#[test]
fn a_process_of_another_container_or_outside_our_namespace_leads_nowhere() {
    for foreign in
        ["0::/docker/ffffffffffff\n".to_owned(), format!("0::/../docker/{ID}\n"), "0::/\n".to_owned()]
    {
        assert_eq!(path_of(&foreign, "", &id()), None, "{foreign}");
    }
    assert_eq!(path_of(&format!("0::/docker/{ID}\n"), "", &id()), Some(format!("docker/{ID}").into()));
}

#[test]
fn what_cannot_be_read_is_unknown_and_never_zero() {
    let path = format!("docker/{ID}");
    let mut tree = v2(&path, "garbage\n");
    tree.push((format!("sys/fs/cgroup/{path}/cpu.stat"), "user_usec 5\n"));
    tree.push((format!("sys/fs/cgroup/{path}/memory.stat"), "anon 5\n"));
    let (_root, mut files) = open(&tree, None).unwrap();
    let reading = read(&mut files).unwrap();
    assert_eq!(reading, Reading { at: Duration::from_secs(5), ..Reading::default() });
    assert!(CgroupTree::find(host(&[]).path()).is_none());
}

#[test]
fn held_files_show_new_values() {
    let path = format!("docker/{ID}");
    let (root, mut files) = open(&v2(&path, "max\n"), None).unwrap();
    assert!(read(&mut files).unwrap().cpu.is_some());
    fs::write(root.path().join(format!("sys/fs/cgroup/{path}/cpu.stat")), "usage_usec 99\n").unwrap();
    assert_eq!(read(&mut files).unwrap().cpu.unwrap().used, Duration::from_micros(99));
}

#[test]
fn limits_are_looked_at_once_a_minute() {
    let path = format!("docker/{ID}");
    let (root, mut files) = open(&v2(&path, "67108864\n"), None).unwrap();
    assert_eq!(read_at(&mut files, 5).unwrap().memory.limit, Some(67_108_864));
    fs::write(root.path().join(format!("sys/fs/cgroup/{path}/memory.max")), "33554432\n").unwrap();
    assert_eq!(read_at(&mut files, 64).unwrap().memory.limit, Some(67_108_864));
    assert_eq!(read_at(&mut files, 65).unwrap().memory.limit, Some(33_554_432));
}

#[test]
fn a_container_with_limits_is_read_from_v1() {
    let root = recorded("v1");
    let mut files = CgroupTree::find(root.path()).unwrap().open(&id(), Some(4242)).unwrap();
    let mut disks = Vec::new();
    let reading = files.read(
        &mut Scratch::new(),
        || Duration::from_secs(5),
        |disk| {
            disks.push(disk);
            true
        },
    );
    let expected = Reading {
        at: Duration::from_secs(5),
        cpu: Some(CpuReading {
            used: Duration::from_nanos(1_674_093_451),
            clock: Duration::from_secs(5),
            cores: 1,
        }),
        cpu_limit: Some(0.33),
        throttle: Some(Throttle { periods: 52, throttled: 50, held: Duration::from_nanos(3_348_915_123) }),
        memory: MemoryReading {
            used: Some(43_356_160 - 18_882_560),
            limit: Some(104_857_600),
            cache: Some(41_979_904),
            swap: Some(0),
        },
        oom_kills: Some(1),
        block: Some(Block { read_bytes: 1_056_768, written_bytes: 20_971_520, reads: 12, writes: 20 }),
        pids: Some(3),
        ..Reading::default()
    };
    assert_eq!(reading.unwrap(), expected);
    assert_eq!(disks.iter().filter(|disk| **disk == (254, 0)).count(), disks.len());
}

#[test]
fn a_container_with_limits_is_read_from_v2_with_its_pressure() {
    let root = recorded("v2");
    let mut files = CgroupTree::find(root.path()).unwrap().open(&id(), Some(4242)).unwrap();
    let expected = Reading {
        at: Duration::from_secs(5),
        cpu: Some(CpuReading {
            used: Duration::from_micros(2_093_451),
            clock: Duration::from_secs(5),
            cores: 1,
        }),
        cpu_limit: Some(0.5),
        throttle: Some(Throttle { periods: 42, throttled: 40, held: Duration::from_micros(1_948_915) }),
        memory: MemoryReading {
            used: Some(43_356_160 - 18_882_560),
            limit: Some(104_857_600),
            cache: Some(41_979_904),
            swap: Some(4096),
        },
        oom_kills: Some(2),
        block: Some(Block { read_bytes: 1_056_768, written_bytes: 20_971_520, reads: 12, writes: 20 }),
        pids: Some(3),
        pressure: Pressure {
            cpu: Some(Duration::from_micros(1_987_654)),
            memory: Some(Duration::from_micros(321)),
            io: Some(Duration::from_micros(45_678)),
        },
        ..Reading::default()
    };
    assert_eq!(read(&mut files).unwrap(), expected);
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,40}[\n: ]{0,3}\\PC{0,40}") {
        let _ = path_of(&text, "memory", &id());
    }
}
