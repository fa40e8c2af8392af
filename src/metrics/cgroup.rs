//! A container's cgroup: where it is, and what its files say. Version 1 and 2, under either of the engine's drivers.
//!
//! Files are held open between samples: a read then costs no path lookup, and one of a cgroup that is gone fails.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::held::Scratch;
use super::reading::{CpuReading, MemoryReading, Pressure, Reading, Throttle};
use super::text::{self, Block, Device, Limit};
use crate::model::ContainerId;

/// Files that one container's cgroup takes at most.
pub(super) const FILES: u64 = 12;

/// How long a limit is taken for unchanged: who changes one does so by hand, and reading them is a quarter of the work.
const LIMITS_FOR: Duration = Duration::from_mins(1);

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
    /// Version 1: the folders of the controllers.
    V1(Mounts),
    /// Version 2: one folder.
    V2(PathBuf),
}

/// The folders of version 1's controllers; two of them may be in one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mounts {
    cpuacct: PathBuf,
    memory: PathBuf,
    cpu: Option<PathBuf>,
    blkio: Option<PathBuf>,
    pids: Option<PathBuf>,
}

/// The open files of one container's cgroup; `None` is what this kernel lacks.
#[derive(Debug)]
pub(super) struct CgroupFiles {
    version: Version,
    cpu_used: Option<File>,
    memory_charged: Option<File>,
    memory_stat: Option<File>,
    memory_limit: Option<File>,
    /// Version 2 only: version 1 has it in `memory.stat`.
    memory_swap: Option<File>,
    memory_events: Option<File>,
    /// Version 2's throttling is in the file of what was used.
    cpu_throttled: Option<File>,
    cpu_quota: Option<File>,
    cpu_period: Option<File>,
    block: Option<File>,
    /// Version 1 has operations and bytes apart.
    block_operations: Option<File>,
    pids: Option<File>,
    /// CPU, memory and I/O.
    pressure: [Option<File>; 3],
    host_memory: Option<u64>,
    /// Whether the first process was seen to be in this cgroup.
    process_seen: bool,
    limits: Option<Limits>,
}

/// What bounds a container.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// When that was read.
    at: Duration,
    /// Bytes.
    memory: Option<u64>,
    /// Cores; `None` also where nothing bounds it.
    cpu: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// What the kernel numbers a running container's cgroup by: of version 1, that of the controller `cpuacct`.
pub(crate) fn cgroup_inode(root: &Path, id: &ContainerId, pid: Option<u32>) -> Option<u64> {
    let folder = CgroupTree::find(root)?.folder(id, pid).ok()?;
    Some(fs::metadata(folder).ok()?.ino())
}

/// Whether the host's cgroups are of version 1.
pub(crate) fn cgroups_are_v1(root: &Path) -> bool {
    CgroupTree::find(root).is_some_and(|tree| matches!(tree.layout, Layout::V1(_)))
}

impl CgroupTree {
    /// The tree of the host whose root folder is `root`; `None` where no cgroups are mounted that we can read.
    pub(super) fn find(root: &Path) -> Option<Self> {
        let mount = root.join("sys/fs/cgroup");
        let first = |names: &[&str]| names.iter().map(|name| mount.join(name)).find(|path| path.is_dir());
        let layout = if mount.join("cgroup.controllers").exists() {
            Layout::V2(mount)
        } else {
            Layout::V1(Mounts {
                cpuacct: first(&["cpuacct", "cpu,cpuacct", "cpuacct,cpu"])?,
                memory: first(&["memory"])?,
                cpu: first(&["cpu", "cpu,cpuacct", "cpuacct,cpu"]),
                blkio: first(&["blkio"]),
                pids: first(&["pids"]),
            })
        };
        let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
        let [total] = text::keyed(&meminfo, ["MemTotal"]);
        Some(Self { root: root.to_owned(), layout, host_memory: total.and_then(|kib| kib.checked_mul(1024)) })
    }

    /// Which version the tree has.
    pub(super) fn version(&self) -> &'static str {
        match self.layout {
            Layout::V1(_) => "v1",
            Layout::V2(_) => "v2",
        }
    }

    /// Opens the files of a running container's cgroup. It is found by its first process, which holds for nested
    /// engines and cgroup parents too, or else at the places either driver puts it by its id.
    pub(super) fn open(&self, id: &ContainerId, pid: Option<u32>) -> io::Result<CgroupFiles> {
        let of_process = self.of_process(pid);
        let find = |mount: &Path, controller: &str| find(of_process.as_deref(), mount, controller, id);
        let files = match &self.layout {
            Layout::V1(mounts) => self.open_v1(mounts, find)?,
            Layout::V2(unified) => self.open_v2(&find(unified, "")?),
        };
        // Paths that leave our own cgroup namespace end with the id all the same.
        let process_seen = of_process.as_deref().is_some_and(|text| text.contains(id.as_str()));
        Ok(CgroupFiles { process_seen, ..files })
    }

    /// The folder of a running container's cgroup in which its processes are listed.
    pub(super) fn folder(&self, id: &ContainerId, pid: Option<u32>) -> io::Result<PathBuf> {
        let (mount, controller) = match &self.layout {
            Layout::V1(mounts) => (&mounts.cpuacct, "cpuacct"),
            Layout::V2(unified) => (unified, ""),
        };
        find(self.of_process(pid).as_deref(), mount, controller, id)
    }

    fn of_process(&self, pid: Option<u32>) -> Option<String> {
        fs::read_to_string(self.root.join(format!("proc/{}/cgroup", pid?))).ok()
    }

    fn open_v1(
        &self,
        mounts: &Mounts,
        find: impl Fn(&Path, &str) -> io::Result<PathBuf>,
    ) -> io::Result<CgroupFiles> {
        let cpuacct = Some(find(&mounts.cpuacct, "cpuacct")?);
        let memory = Some(find(&mounts.memory, "memory")?);
        let other = |mount: &Option<PathBuf>, controller: &str| find(mount.as_deref()?, controller).ok();
        let (cpu, blkio) = (other(&mounts.cpu, "cpu"), other(&mounts.blkio, "blkio"));
        let file = |folder: &Option<PathBuf>, name: &str| File::open(folder.as_ref()?.join(name)).ok();
        // The recursive ones, of Linux 4.13 and later, count what nested cgroups did too.
        let block = |name: &str| {
            let recursive = file(&blkio, &format!("blkio.throttle.{name}_recursive"));
            recursive.or_else(|| file(&blkio, &format!("blkio.throttle.{name}")))
        };
        Ok(CgroupFiles {
            version: Version::V1,
            cpu_used: file(&cpuacct, "cpuacct.usage"),
            memory_charged: file(&memory, "memory.usage_in_bytes"),
            memory_stat: file(&memory, "memory.stat"),
            memory_limit: file(&memory, "memory.limit_in_bytes"),
            memory_swap: None,
            memory_events: file(&memory, "memory.oom_control"),
            cpu_throttled: file(&cpu, "cpu.stat"),
            cpu_quota: file(&cpu, "cpu.cfs_quota_us"),
            cpu_period: file(&cpu, "cpu.cfs_period_us"),
            block: block("io_service_bytes"),
            block_operations: block("io_serviced"),
            pids: file(&other(&mounts.pids, "pids"), "pids.current"),
            pressure: [None, None, None],
            host_memory: self.host_memory,
            process_seen: false,
            limits: None,
        })
    }

    fn open_v2(&self, folder: &Path) -> CgroupFiles {
        let file = |name: &str| File::open(folder.join(name)).ok();
        CgroupFiles {
            version: Version::V2,
            cpu_used: file("cpu.stat"),
            memory_charged: file("memory.current"),
            memory_stat: file("memory.stat"),
            memory_limit: file("memory.max"),
            memory_swap: file("memory.swap.current"),
            memory_events: file("memory.events"),
            cpu_throttled: None,
            cpu_quota: file("cpu.max"),
            cpu_period: None,
            block: file("io.stat"),
            block_operations: None,
            pids: file("pids.current"),
            pressure: [file("cpu.pressure"), file("memory.pressure"), file("io.pressure")],
            host_memory: self.host_memory,
            process_seen: false,
            limits: None,
        }
    }
}

impl CgroupFiles {
    /// Whether the process they were opened for is the container's: its id may be another's by now, or be that of another
    /// process in the process namespace that we see.
    pub(super) fn process_is_its(&self) -> bool {
        self.process_seen
    }

    /// What they say, all but the traffic; an error when the cgroup is gone, or tells nothing at all. `clock` shows the
    /// time, `counts` says of which disks the figures are summed up.
    pub(super) fn read(
        &mut self,
        scratch: &mut Scratch,
        clock: impl Fn() -> Duration,
        counts: impl FnMut(Device) -> bool,
    ) -> io::Result<Reading> {
        let mut reading = Reading { at: clock(), ..Reading::default() };
        let Some(cpu) = &self.cpu_used else {
            let charged = self.memory_charged.as_ref().ok_or(io::ErrorKind::NotFound)?;
            scratch.piece(charged)?;
            self.read_rest(scratch, counts, &mut reading);
            return Ok(reading);
        };
        let text = scratch.piece(cpu)?;
        reading.at = clock();
        let used = match self.version {
            Version::V1 => text::number(text).map(Duration::from_nanos),
            Version::V2 => {
                let [used, periods, throttled, held] =
                    text::keyed(text, ["usage_usec", "nr_periods", "nr_throttled", "throttled_usec"]);
                reading.throttle = throttle(periods, throttled, held.map(Duration::from_micros));
                used.map(Duration::from_micros)
            }
        };
        reading.cpu = used.map(|used| CpuReading { used, clock: reading.at, cores: 1 });
        self.read_rest(scratch, counts, &mut reading);
        Ok(reading)
    }

    fn read_rest(
        &mut self,
        scratch: &mut Scratch,
        counts: impl FnMut(Device) -> bool,
        reading: &mut Reading,
    ) {
        let limits = self.limits(scratch, reading.at);
        let mut of =
            |file: &Option<File>| file.as_ref().and_then(|file| text::number(scratch.piece(file).ok()?));
        let (charged, swap) = (of(&self.memory_charged), of(&self.memory_swap));
        reading.pids = of(&self.pids);
        reading.memory = self.memory(scratch, charged, swap, limits.memory);
        let events = self.memory_events.as_ref().and_then(|file| scratch.piece(file).ok());
        [reading.oom_kills] = events.map_or([None], |events| text::keyed(events, ["oom_kill"]));
        reading.block = self.block(scratch, counts);
        reading.cpu_limit = limits.cpu;
        if limits.cpu.is_none() {
            // The counters stand still without a limit, and say nothing.
            reading.throttle = None;
        } else if let Some(file) = &self.cpu_throttled
            && let Ok(text) = scratch.piece(file)
        {
            let [periods, throttled, held] =
                text::keyed(text, ["nr_periods", "nr_throttled", "throttled_time"]);
            reading.throttle = throttle(periods, throttled, held.map(Duration::from_nanos));
        }
        let [cpu, memory, io] =
            [0, 1, 2].map(|at| text::pressure(scratch.piece(self.pressure[at].as_ref()?).ok()?));
        reading.pressure = Pressure { cpu, memory, io };
    }

    fn memory(
        &self,
        scratch: &mut Scratch,
        charged: Option<u64>,
        swap: Option<u64>,
        limit: Option<u64>,
    ) -> MemoryReading {
        let stat = self.memory_stat.as_ref().and_then(|file| scratch.piece(file).ok()).unwrap_or_default();
        let (inactive, cache, swap) = match self.version {
            Version::V1 => {
                let [inactive, cache, swap] =
                    text::keyed(stat, ["total_inactive_file", "total_cache", "total_swap"]);
                (inactive, cache, swap)
            }
            Version::V2 => {
                let [inactive, cache] = text::keyed(stat, ["inactive_file", "file"]);
                (inactive, cache, swap)
            }
        };
        MemoryReading {
            used: charged.zip(inactive).map(|(charged, inactive)| MemoryReading::used(charged, inactive)),
            limit,
            cache,
            swap,
        }
    }

    /// The limits, at most [`LIMITS_FOR`] old at `now`.
    fn limits(&mut self, scratch: &mut Scratch, now: Duration) -> Limits {
        if let Some(limits) = self.limits.filter(|limits| now.saturating_sub(limits.at) < LIMITS_FOR) {
            return limits;
        }
        let cpu = match self.cpu_limit(scratch) {
            Some(Limit::At(cores)) => Some(cores),
            _ => None,
        };
        *self.limits.insert(Limits { at: now, memory: self.memory_limit(scratch), cpu })
    }

    fn memory_limit(&self, scratch: &mut Scratch) -> Option<u64> {
        match (text::memory_limit(scratch.piece(self.memory_limit.as_ref()?).ok()?)?, self.host_memory) {
            (Limit::At(limit), host) => Some(host.map_or(limit, |host| limit.min(host))),
            (Limit::None, host) => host,
        }
    }

    fn cpu_limit(&self, scratch: &mut Scratch) -> Option<Limit<f64>> {
        let quota = scratch.piece(self.cpu_quota.as_ref()?).ok()?;
        let Some(period) = &self.cpu_period else { return text::cpu_max(quota) };
        // Both are needed at once, and the first is short.
        let mut kept = [0_u8; 24];
        let quota = quota.trim();
        let kept = kept.get_mut(..quota.len())?;
        kept.copy_from_slice(quota.as_bytes());
        text::cpu_quota(std::str::from_utf8(kept).ok()?, scratch.piece(period).ok()?)
    }

    fn block(&self, scratch: &mut Scratch, mut counts: impl FnMut(Device) -> bool) -> Option<Block> {
        let text = scratch.piece(self.block.as_ref()?).ok()?;
        if self.version == Version::V2 {
            return text::block_v2(text, counts);
        }
        let (read_bytes, written_bytes) = text::block_v1(text, &mut counts)?;
        let text = scratch.piece(self.block_operations.as_ref()?).ok()?;
        let (reads, writes) = text::block_v1(text, counts)?;
        Some(Block { read_bytes, written_bytes, reads, writes })
    }
}

fn throttle(periods: Option<u64>, throttled: Option<u64>, held: Option<Duration>) -> Option<Throttle> {
    Some(Throttle { periods: periods?, throttled: throttled?, held: held? })
}

/// The folder of a container under a controller's mount: where its first process says, else at the places either driver puts
/// it by its id.
fn find(of_process: Option<&str>, mount: &Path, controller: &str, id: &ContainerId) -> io::Result<PathBuf> {
    let listed = of_process.and_then(|text| path_of(text, controller, id));
    let by_id = [format!("docker/{id}"), format!("system.slice/docker-{id}.scope")].map(PathBuf::from);
    let mut folders = listed.into_iter().chain(by_id).map(|path| mount.join(path));
    folders.find(|folder| folder.is_dir()).ok_or_else(|| io::ErrorKind::NotFound.into())
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
