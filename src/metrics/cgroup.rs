//! A container's cgroup: where it is, and what its files say. Version 1 and 2, under either of the engine's drivers.
//!
//! The formats are those of the kernel's `admin-guide/cgroup-v1/{cpuacct,memory}.rst` and `cgroup-v2.rst`. Files are
//! held open between samples: a read then costs no path lookup, and one of a cgroup that is gone fails.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::usage::MemoryReading;
use crate::model::ContainerId;

/// Bytes read of a file; the longest, `memory.stat`, has some 2,000.
const LONGEST_FILE: usize = 16 << 10;

/// The host's cgroup tree.
#[derive(Debug, Clone)]
pub(super) struct CgroupTree {
    root: PathBuf,
    layout: Layout,
    /// The host's memory, bytes.
    host_memory: Option<u64>,
}

/// How the tree is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    /// Version 1: the folders of the two controllers.
    V1 { cpuacct: PathBuf, memory: PathBuf },
    /// Version 2: one folder.
    V2 { unified: PathBuf },
}

/// The open files of one container's cgroup.
#[derive(Debug)]
pub(super) struct CgroupFiles {
    version: Version,
    cpu: File,
    memory_charged: File,
    memory_stat: File,
    memory_limit: File,
    host_memory: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl CgroupTree {
    /// The tree of the host whose root folder is `root`; `None` where no cgroups are mounted that we can read.
    pub(super) fn find(root: &Path) -> Option<Self> {
        let mount = root.join("sys/fs/cgroup");
        let first = |names: &[&str]| names.iter().map(|name| mount.join(name)).find(|path| path.is_dir());
        let layout = if mount.join("cgroup.controllers").exists() {
            Layout::V2 { unified: mount }
        } else {
            Layout::V1 {
                cpuacct: first(&["cpuacct", "cpu,cpuacct", "cpuacct,cpu"])?,
                memory: first(&["memory"])?,
            }
        };
        let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
        let host_memory = keyed(&meminfo, "MemTotal:").and_then(|kib| kib.checked_mul(1024));
        Some(Self { root: root.to_owned(), layout, host_memory })
    }

    /// Opens the files of a running container's cgroup. It is found by its first process, which holds for nested
    /// engines and cgroup parents too, or else at the places either driver puts it by its id.
    pub(super) fn open(&self, id: &ContainerId, pid: Option<u32>) -> io::Result<CgroupFiles> {
        let of_process = pid.and_then(|pid| {
            let path = self.root.join(format!("proc/{pid}/cgroup"));
            fs::read_to_string(path).ok()
        });
        let by_id = [format!("docker/{id}"), format!("system.slice/docker-{id}.scope")];
        let candidates = |controller| {
            let listed = of_process.as_deref().and_then(|text| path_of(text, controller, id));
            listed.into_iter().chain(by_id.iter().map(PathBuf::from))
        };
        let find = |mount: &Path, controller| {
            let mut folders = candidates(controller).map(|path| mount.join(path));
            folders.find(|folder| folder.is_dir()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        match &self.layout {
            Layout::V1 { cpuacct, memory } => {
                let (cpuacct, memory) = (find(cpuacct, "cpuacct")?, find(memory, "memory")?);
                Ok(CgroupFiles {
                    version: Version::V1,
                    cpu: File::open(cpuacct.join("cpuacct.usage"))?,
                    memory_charged: File::open(memory.join("memory.usage_in_bytes"))?,
                    memory_stat: File::open(memory.join("memory.stat"))?,
                    memory_limit: File::open(memory.join("memory.limit_in_bytes"))?,
                    host_memory: self.host_memory,
                })
            }
            Layout::V2 { unified } => {
                let folder = find(unified, "")?;
                Ok(CgroupFiles {
                    version: Version::V2,
                    cpu: File::open(folder.join("cpu.stat"))?,
                    memory_charged: File::open(folder.join("memory.current"))?,
                    memory_stat: File::open(folder.join("memory.stat"))?,
                    memory_limit: File::open(folder.join("memory.max"))?,
                    host_memory: self.host_memory,
                })
            }
        }
    }
}

impl CgroupFiles {
    /// The CPU time used so far; an error when the cgroup is gone.
    pub(super) fn cpu_used(&self) -> io::Result<Option<Duration>> {
        let text = read(&self.cpu)?;
        Ok(match self.version {
            Version::V1 => text.trim().parse().ok().map(Duration::from_nanos),
            Version::V2 => keyed(&text, "usage_usec").map(Duration::from_micros),
        })
    }

    /// The memory held; an error when the cgroup is gone.
    pub(super) fn memory(&self) -> io::Result<MemoryReading> {
        let inactive_key = match self.version {
            Version::V1 => "total_inactive_file",
            Version::V2 => "inactive_file",
        };
        let charged = read(&self.memory_charged)?.trim().parse().ok();
        let inactive = keyed(&read(&self.memory_stat)?, inactive_key);
        let limit = parse_limit(&read(&self.memory_limit)?);
        Ok(MemoryReading {
            used: charged.zip(inactive).map(|(charged, inactive)| MemoryReading::used(charged, inactive)),
            limit: match (limit, self.host_memory) {
                (Some(Limit::Bytes(limit)), Some(host)) => Some(limit.min(host)),
                (Some(Limit::Bytes(limit)), None) if limit < UNLIMITED_V1 => Some(limit),
                (Some(_), host) => host,
                (None, _) => None,
            },
        })
    }
}

/// Version 1 writes "no limit" as the largest number of whole pages; anything so large is meant.
const UNLIMITED_V1: u64 = 1 << 62;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Bytes(u64),
    None,
}

fn parse_limit(text: &str) -> Option<Limit> {
    match text.trim() {
        "max" => Some(Limit::None),
        number => number.parse().ok().map(Limit::Bytes),
    }
}

/// The whole file from its start, as it is now.
fn read(file: &File) -> io::Result<String> {
    let mut bytes = vec![0; LONGEST_FILE];
    let mut len = 0;
    while len < bytes.len() {
        match file.read_at(&mut bytes[len..], len as u64)? {
            0 => break,
            more => len += more,
        }
    }
    bytes.truncate(len);
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The number that follows `key` at the start of a line.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == key).then(|| words.next()?.parse().ok())?
    })
}

/// The path a process's `/proc/PID/cgroup` gives for `controller` (version 2: the empty one), relative to the mount,
/// if it is the container's: the process may have ended and its id been given to another. A path that leaves our
/// own cgroup namespace (`/../`) cannot be followed below the mount.
fn path_of(text: &str, controller: &str, id: &ContainerId) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })?;
    let path = Path::new(path.trim_start_matches('/'));
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && path.to_string_lossy().contains(id.as_str())).then(|| path.to_owned())
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
