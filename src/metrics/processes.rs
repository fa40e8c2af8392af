//! The processes of a container, on request: which there are says its cgroup, what each uses `/proc/PID/stat`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cgroup::CgroupTree;
use super::text;
use crate::model::{ContainerId, ProcessList, ProcessUse, clean};

/// Processes of one container that are looked at, and cgroups within its own, at most. What is beyond is counted only.
const MOST: usize = 4096;
const MOST_CGROUPS: usize = 256;
/// The longest name, characters; the kernel keeps 15 bytes.
const LONGEST_NAME: usize = 64;

/// Why processes cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessesError {
    /// No cgroups are mounted that can be read.
    #[error("its processes cannot be read: there are no cgroup files under /sys/fs/cgroup here")]
    NoCgroups,
    /// The container's own is not there.
    #[error("its processes cannot be read: its cgroup is not found; does it run, on this machine?")]
    NoCgroup,
    /// They are of another process namespace.
    #[error(
        "its processes cannot be seen from here: run dockhealth on the host, or its container with `pid: host`"
    )]
    Unseen,
    /// The file system refused.
    #[error("its processes cannot be read: {0}")]
    File(String),
}

/// Reads processes below a root folder.
#[derive(Debug)]
pub struct Processes {
    root: PathBuf,
    tree: Option<CgroupTree>,
    origin: Instant,
    /// Clock ticks a second, and bytes a page.
    units: Units,
}

/// What the kernel counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Units {
    ticks_per_second: u64,
    page_bytes: u64,
}

/// A container's processes at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessReading {
    at: Duration,
    /// By process id and start, clock ticks since the machine's.
    processes: BTreeMap<(u32, u64), text::ProcessStat>,
    not_looked_at: u64,
    units: Units,
}

impl Processes {
    /// Of the host whose root folder is `root`.
    pub fn new(root: &Path) -> Self {
        let tree = CgroupTree::find(root);
        Self { root: root.to_owned(), tree, origin: Instant::now(), units: Units::of_this_kernel() }
    }

    /// The processes of a running container whose first process is `pid`, as they are now.
    pub fn read(&self, id: &ContainerId, pid: Option<u32>) -> Result<ProcessReading, ProcessesError> {
        let tree = self.tree.as_ref().ok_or(ProcessesError::NoCgroups)?;
        let folder = tree.folder(id, pid).map_err(|_| ProcessesError::NoCgroup)?;
        let listed = listed(&folder).map_err(|error| ProcessesError::File(error.to_string()))?;
        let at = self.origin.elapsed();
        // The kernel writes 0 for a process of another namespace.
        if !listed.pids.is_empty() && listed.pids.iter().all(|pid| *pid == 0) {
            return Err(ProcessesError::Unseen);
        }
        let stat = |pid: &u32| {
            let stat = fs::read_to_string(self.root.join(format!("proc/{pid}/stat"))).ok()?;
            let stat = text::process(&stat)?;
            Some(((*pid, stat.started), stat))
        };
        // One that ended meanwhile is none any more.
        let processes = listed.pids.iter().filter(|pid| **pid > 0).filter_map(stat).collect();
        Ok(ProcessReading { at, processes, not_looked_at: listed.more, units: self.units })
    }
}

impl Units {
    fn of_this_kernel() -> Self {
        // SAFETY: sysconf takes no pointers and changes nothing.
        let [ticks, page] =
            [libc::_SC_CLK_TCK, libc::_SC_PAGESIZE].map(|name| unsafe { libc::sysconf(name) });
        let known = |value, usual: u64| u64::try_from(value).ok().filter(|n| *n > 0).unwrap_or(usual);
        Self { ticks_per_second: known(ticks, 100), page_bytes: known(page, 4096) }
    }
}

impl ProcessReading {
    /// What they used since `before`: at most `limit` of them, the busiest first. One that began in between is told with all
    /// that it used.
    pub fn since(&self, before: &Self, limit: usize) -> ProcessList {
        let span = self.at.saturating_sub(before.at);
        let percent = |ticks: u64| {
            let seconds = ticks as f64 / self.units.ticks_per_second as f64;
            if span.is_zero() { 0.0 } else { seconds / span.as_secs_f64() * 100.0 }
        };
        let mut processes: Vec<ProcessUse> = self
            .processes
            .iter()
            .map(|(key, stat)| {
                let earlier = before.processes.get(key).map_or(0, |earlier| earlier.ticks);
                ProcessUse {
                    pid: key.0,
                    command: clean(&stat.command, LONGEST_NAME),
                    cpu_percent: percent(stat.ticks.saturating_sub(earlier)),
                    memory_bytes: stat.resident.saturating_mul(self.units.page_bytes),
                    threads: stat.threads,
                }
            })
            .collect();
        processes.sort_by(|a, b| {
            let by_use = b.cpu_percent.total_cmp(&a.cpu_percent).then(b.memory_bytes.cmp(&a.memory_bytes));
            by_use.then(a.pid.cmp(&b.pid))
        });
        let left_out = processes.len().saturating_sub(limit) as u64 + self.not_looked_at;
        processes.truncate(limit);
        ProcessList { span_ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX), processes, left_out }
    }
}

struct Listed {
    pids: Vec<u32>,
    more: u64,
}

/// The processes of a cgroup and of those within it.
fn listed(folder: &Path) -> io::Result<Listed> {
    let mut found = Listed { pids: Vec::new(), more: 0 };
    let mut folders = vec![folder.to_owned()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        match fs::read_to_string(folder.join("cgroup.procs")) {
            Ok(text) => {
                for pid in text.lines().filter_map(|line| line.trim().parse().ok()) {
                    if found.pids.len() < MOST { found.pids.push(pid) } else { found.more += 1 }
                }
            }
            // A threaded cgroup of version 2 lists none: its processes are those of the one above. One within may end.
            Err(_) if seen > 0 => {}
            Err(error) => return Err(error),
        }
        seen += 1;
        let within = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
        let within = within.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders
            .extend(within.map(|entry| entry.path()).take(MOST_CGROUPS.saturating_sub(seen + folders.len())));
    }
    Ok(found)
}

#[cfg(test)]
#[path = "processes_tests.rs"]
mod tests;
