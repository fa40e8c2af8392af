//! Where a container's cgroups are, so that what a process of ours uses is charged to the container: versions 1 and 2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folders that share out and count a container's processors, and its memory; with version 2 all are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroups {
    cpu: Vec<PathBuf>,
    memory: PathBuf,
}

impl Cgroups {
    /// Those of process `pid`; `None` when they cannot be found from here.
    pub(super) fn of(pid: u32) -> io::Result<Option<Self>> {
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(Self::find(&own, &mounts)
            .filter(|found| found.cpu.iter().all(|cpu| cpu.is_dir()) && found.memory.is_dir()))
    }

    /// From the texts of `/proc/PID/cgroup` (cgroups(7)) and `/proc/self/mountinfo` (proc(5)).
    fn find(own: &str, mounts: &str) -> Option<Self> {
        // With version 1 others may be mounted apart from the one that shares out: what counts, and what says which.
        let mut cpu = vec![folder("cpu", own, mounts)?];
        let apart = ["cpuacct", "cpuset"].into_iter().filter(|name| path_of(name, own).is_some());
        for beside in apart.filter_map(|name| folder(name, own, mounts)) {
            if !cpu.contains(&beside) {
                cpu.push(beside);
            }
        }
        Some(Self { cpu, memory: folder("memory", own, mounts)? })
    }

    /// The files that a process writes itself into to be charged for processors.
    pub(super) fn cpu(&self) -> Vec<PathBuf> {
        self.cpu.iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    /// The same for memory.
    pub(super) fn memory(&self) -> Vec<PathBuf> {
        vec![self.memory.join("cgroup.procs")]
    }

    /// The most memory it may use, bytes; `None` without a limit.
    pub(super) fn memory_limit(&self) -> Option<u64> {
        let read = |name: &str| fs::read_to_string(self.memory.join(name)).ok();
        limit(&read("memory.max").or_else(|| read("memory.limit_in_bytes"))?)
    }
}

/// Version 2 writes `max` for none, version 1 the largest number of pages.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

/// The path that the text of `/proc/PID/cgroup` has for `controller` of version 1, or for version 2 when that is empty.
fn path_of<'a>(controller: &str, own: &'a str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

/// The folder of `controller`: version 1's, where it has the controller, else version 2's.
fn folder(controller: &str, own: &str, mounts: &str) -> Option<PathBuf> {
    if let Some(path) = path_of(controller, own) {
        return mounted(path, mounts, |kind, options| {
            kind == "cgroup" && options.split(',').any(|option| option == controller)
        });
    }
    mounted(path_of("", own)?, mounts, |kind, _| kind == "cgroup2")
}

/// Where the file system whose kind and options fit has `path`.
fn mounted(path: &str, mounts: &str, fits: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        if !fits(kind, options) {
            return None;
        }
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V1: &str = "\
35 24 0:30 / /sys/fs/cgroup ro - tmpfs tmpfs ro
36 35 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
37 35 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
38 35 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";
    const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn both_versions_are_found() {
        let found = Cgroups::find("4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/docker/x\n", V1).unwrap();
        assert_eq!(found.cpu(), [Path::new("/sys/fs/cgroup/cpu,cpuacct/docker/x/cgroup.procs")]);
        assert_eq!(found.memory(), [Path::new("/sys/fs/cgroup/memory/docker/x/cgroup.procs")]);
        let found = Cgroups::find("0::/system.slice/docker-x.scope\n", V2).unwrap();
        assert_eq!(found.cpu(), [Path::new("/sys/fs/cgroup/system.slice/docker-x.scope/cgroup.procs")]);
        assert_eq!(found.cpu(), found.memory());
        let apart = V1
            .replace("cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct", "cpu rw - cgroup cgroup rw,cpu")
            + "39 35 0:34 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n";
        let found =
            Cgroups::find("4:memory:/docker/x\n3:cpuacct:/docker/x\n2:cpu:/docker/x\n", &apart).unwrap();
        assert_eq!(found.cpu.len(), 2);
    }

    #[test]
    fn what_is_mounted_from_deeper_is_found_below_it_and_the_rest_is_not() {
        let deeper = "30 24 0:26 /docker /host/cgroup rw - cgroup2 cgroup2 rw\n";
        let found = Cgroups::find("0::/docker/x\n", deeper).unwrap();
        assert_eq!(found.memory, Path::new("/host/cgroup/x"));
        assert_eq!(Cgroups::find("0::/other/x\n", deeper), None);
        assert_eq!(Cgroups::find("0::/docker/x\n", ""), None);
        assert_eq!(Cgroups::find("", V2), None);
    }

    #[test]
    fn no_limit_is_none() {
        for (text, bytes) in
            [("max\n", None), ("9223372036854771712\n", None), ("67108864\n", Some(64 << 20)), ("x", None)]
        {
            assert_eq!(limit(text), bytes, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(own in "[0-9a-z:,/\n]{0,80}", mounts in "[0-9a-z ,/\n-]{0,160}") {
            let _ = Cgroups::find(&own, &mounts);
        }
    }
}
