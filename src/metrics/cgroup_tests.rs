use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const ID: &str = "b416e74e728f259a203d61c07746979ac14a9db1aeb97dc4440cefc5fcd570e7";
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
        let (_root, files) = open(&tree, None).unwrap();
        assert_eq!(files.cpu_used().unwrap().unwrap().as_micros(), 21_700);
        let expected = MemoryReading { used: Some(622_592 - 4096), limit: Some(HOST_MEMORY) };
        assert_eq!(files.memory().unwrap(), expected);
    }
}

#[test]
fn the_first_process_leads_to_nested_engines_and_other_parents() {
    let nested = format!("docker/0123456789ab/docker/{ID}");
    let mut tree = v1("cpuacct", &nested, "67108864\n");
    assert_eq!(open(&tree, None).unwrap_err().kind(), io::ErrorKind::NotFound);
    let lines = format!("9:name=systemd:/elsewhere\n4:memory:/{nested}\n2:cpuacct,cpu:/{nested}\n0::/\n");
    tree.push(("proc/77/cgroup".to_owned(), &lines));
    let (_root, files) = open(&tree, Some(77)).unwrap();
    assert_eq!(files.memory().unwrap().limit, Some(67_108_864));

    let sliced = format!("my.slice/docker-{ID}.scope");
    let mut tree = v2(&sliced, "67108864\n");
    let lines = format!("0::/{sliced}\n");
    tree.push(("proc/77/cgroup".to_owned(), &lines));
    let (_root, files) = open(&tree, Some(77)).unwrap();
    assert_eq!(files.memory().unwrap().limit, Some(67_108_864));
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
    let (_root, files) = open(&tree, None).unwrap();
    assert_eq!(files.cpu_used().unwrap(), None);
    assert_eq!(files.memory().unwrap(), MemoryReading::UNKNOWN);
    assert!(CgroupTree::find(host(&[]).path()).is_none());
}

#[test]
fn held_files_show_new_values() {
    let path = format!("docker/{ID}");
    let (root, files) = open(&v2(&path, "max\n"), None).unwrap();
    assert!(files.cpu_used().unwrap().is_some());
    fs::write(root.path().join(format!("sys/fs/cgroup/{path}/cpu.stat")), "usage_usec 99\n").unwrap();
    assert_eq!(files.cpu_used().unwrap(), Some(Duration::from_micros(99)));
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,40}[\n: ]{0,3}\\PC{0,40}") {
        let _ = (keyed(&text, "usage_usec"), parse_limit(&text), path_of(&text, "memory", &id()));
    }

    #[test]
    fn a_key_is_a_whole_word(value in any::<u64>()) {
        let text = format!("total_inactive_file_x 1\nx total_inactive_file 2\ntotal_inactive_file {value}\n");
        prop_assert_eq!(keyed(&text, "total_inactive_file"), Some(value));
    }
}
