//! The machine itself, and the agent on it: from `/proc` and `/sys`, held open.

mod filesystems;
mod mounts;
mod temperatures;
mod text;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::filesystems::Filesystems;
use self::temperatures::Temperatures;
use self::text::CpuTimes;
use super::held::Scratch;
use super::reading::{Pressure, rate, set};
use super::text::{Flow, interfaces, keyed, pressure};
use crate::model::{SeriesName, Values};

/// Interfaces and disks that are told of at most, each, in the kernel's order.
const PARTS: usize = 64;

/// Measures one machine.
pub(super) struct HostSensor {
    root: PathBuf,
    origin: Instant,
    scratch: Scratch,
    files: Files,
    temperatures: Temperatures,
    filesystems: Filesystems,
    before: Option<Moment>,
}

/// What is held open; `None` is what this machine lacks.
struct Files {
    stat: Option<File>,
    loads: Option<File>,
    memory: Option<File>,
    uptime: Option<File>,
    interfaces: Option<File>,
    disks: Option<File>,
    /// CPU, memory and I/O.
    pressure: [Option<File>; 3],
    own_memory: Option<File>,
}

/// The counters at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
struct Moment {
    at: Duration,
    cpu: Option<CpuTimes>,
    interfaces: BTreeMap<String, (Flow, Flow)>,
    disks: BTreeMap<String, (u64, u64)>,
    pressure: Pressure,
    own_cpu: Option<Duration>,
}

impl HostSensor {
    /// Of the host whose root folder is `root`.
    pub(super) fn new(root: &Path) -> Self {
        let open = |path: &str| File::open(root.join(path)).ok();
        let files = Files {
            stat: open("proc/stat"),
            loads: open("proc/loadavg"),
            memory: open("proc/meminfo"),
            uptime: open("proc/uptime"),
            interfaces: open("proc/self/net/dev"),
            disks: open("proc/diskstats"),
            pressure: ["cpu", "memory", "io"].map(|what| open(&format!("proc/pressure/{what}"))),
            own_memory: open("proc/self/statm"),
        };
        Self {
            root: root.to_owned(),
            origin: Instant::now(),
            scratch: Scratch::new(),
            files,
            temperatures: Temperatures::find(root),
            filesystems: Filesystems::new(root),
            before: None,
        }
    }

    /// All that is known of the machine now, and how many cores it has. File systems have `patience` to answer.
    pub(super) fn read(&mut self, patience: Duration) -> (Values, Option<u32>) {
        let mut values = Values::new();
        let now = self.moment();
        let cores = now.cpu.map(|cpu| cpu.cores);
        if let Some(before) = &self.before {
            now.rates(before, &mut values);
        }
        self.before = Some(now);
        self.gauges(&mut values);
        self.temperatures.read(&mut self.scratch, |name, celsius| {
            values.insert(name.clone(), celsius);
        });
        for (point, space) in self.filesystems.read(patience) {
            part(&mut values, "filesystem_used_bytes", &point, Some(space.used as f64));
            part(&mut values, "filesystem_total_bytes", &point, Some(space.total as f64));
        }
        (values, cores)
    }

    fn moment(&mut self) -> Moment {
        let mut moment = Moment { at: self.origin.elapsed(), own_cpu: own_cpu(), ..Moment::default() };
        let (files, scratch) = (&self.files, &mut self.scratch);
        let mut text = |file: &Option<File>, take: &mut dyn FnMut(&str)| {
            if let Some(text) = file.as_ref().and_then(|file| scratch.whole(file).ok()) {
                take(text);
            }
        };
        text(&files.stat, &mut |text| moment.cpu = text::cpu_times(text));
        text(&files.interfaces, &mut |text| {
            let told = interfaces(text).filter(|(name, ..)| is_the_machines(name));
            moment.interfaces = told.take(PARTS).map(|(name, rx, tx)| (name.to_owned(), (rx, tx))).collect();
        });
        let root = &self.root;
        text(&files.disks, &mut |text| {
            let whole = text::disks(text)
                .filter(|(name, read, written)| (*read > 0 || *written > 0) && is_a_disk(root, name));
            moment.disks = whole.take(PARTS).map(|(name, r, w)| (name.to_owned(), (r, w))).collect();
        });
        let [cpu, memory, io] = &files.pressure;
        text(cpu, &mut |text| moment.pressure.cpu = pressure(text));
        text(memory, &mut |text| moment.pressure.memory = pressure(text));
        text(io, &mut |text| moment.pressure.io = pressure(text));
        moment
    }

    fn gauges(&mut self, values: &mut Values) {
        let scratch = &mut self.scratch;
        if let Some(loads) = self.files.loads.as_ref().and_then(|f| text::loads(scratch.whole(f).ok()?)) {
            for (name, load) in ["load1", "load5", "load15"].into_iter().zip(loads) {
                set(values, name, Some(load));
            }
        }
        let uptime = self.files.uptime.as_ref().and_then(|f| text::uptime(scratch.whole(f).ok()?));
        set(values, "uptime_seconds", uptime);
        if let Some(text) = self.files.memory.as_ref().and_then(|file| scratch.whole(file).ok()) {
            memory(text, values);
        }
        let pages =
            self.files.own_memory.as_ref().and_then(|file| {
                scratch.whole(file).ok()?.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
            });
        set(values, "agent_memory_bytes", pages.map(|pages| pages as f64 * page_bytes()));
    }
}

/// Of `/proc/meminfo`, whose unit is KiB.
fn memory(text: &str, values: &mut Values) {
    let keys = ["MemTotal", "MemAvailable", "Cached", "SwapTotal", "SwapFree"];
    let [total, available, cache, swap, swap_free] =
        keyed(text, keys).map(|kib| kib.and_then(|kib| kib.checked_mul(1024)));
    let bytes = |value: Option<u64>| value.map(|value| value as f64);
    let used = total.zip(available).and_then(|(total, available)| total.checked_sub(available));
    set(values, "memory_bytes", bytes(used));
    set(values, "memory_total_bytes", bytes(total));
    let percent = used.zip(total).filter(|(_, total)| *total > 0);
    set(values, "memory_percent", percent.map(|(used, total)| used as f64 / total as f64 * 100.0));
    set(values, "memory_cache_bytes", bytes(cache));
    set(values, "memory_swap_total_bytes", bytes(swap));
    set(
        values,
        "memory_swap_bytes",
        bytes(swap.zip(swap_free).and_then(|(all, free)| all.checked_sub(free))),
    );
}

fn part(values: &mut Values, metric: &str, part: &str, value: Option<f64>) {
    // What cannot be named cannot be told.
    if let Some((value, name)) = value.zip(SeriesName::part_of(metric, part)) {
        values.insert(name, value);
    }
}

impl Moment {
    fn rates(&self, before: &Self, values: &mut Values) {
        let Some(passed) = self.at.checked_sub(before.at) else { return };
        if let Some((now, before)) = self.cpu.zip(before.cpu) {
            cpu_shares(&now, &before, values);
        }
        for (name, (rx, tx)) in &self.interfaces {
            let Some((rx_before, tx_before)) = before.interfaces.get(name) else { continue };
            let mut put = |metric: &str, now, before| part(values, metric, name, rate(now, before, passed));
            put("interface_rx_bytes_per_second", rx.bytes, rx_before.bytes);
            put("interface_tx_bytes_per_second", tx.bytes, tx_before.bytes);
            put("interface_rx_errors_per_second", rx.errors, rx_before.errors);
            put("interface_tx_errors_per_second", tx.errors, tx_before.errors);
            put("interface_rx_drops_per_second", rx.drops, rx_before.drops);
            put("interface_tx_drops_per_second", tx.drops, tx_before.drops);
        }
        for (name, (read, written)) in &self.disks {
            let Some((read_before, written_before)) = before.disks.get(name) else { continue };
            part(values, "disk_read_bytes_per_second", name, rate(*read, *read_before, passed));
            part(values, "disk_write_bytes_per_second", name, rate(*written, *written_before, passed));
        }
        self.pressure.rates(&before.pressure, passed, values);
        let own = self.own_cpu.zip(before.own_cpu).and_then(|(now, before)| now.checked_sub(before));
        let own = own.filter(|_| !passed.is_zero());
        set(values, "agent_cpu_percent", own.map(|own| own.as_secs_f64() / passed.as_secs_f64() * 100.0));
    }
}

/// What each mode took of all cores' time; nothing of a mode whose counter went back, as idle ones may.
fn cpu_shares(now: &CpuTimes, before: &CpuTimes, values: &mut Values) {
    let all = now.all().zip(before.all()).and_then(|(now, before)| now.checked_sub(before));
    let Some(all) = all.filter(|all| *all > 0 && now.cores == before.cores) else { return };
    let share = |mode: fn(&CpuTimes) -> u64| {
        mode(now).checked_sub(mode(before)).map(|grown| (grown as f64 / all as f64 * 100.0).min(100.0))
    };
    let busy = share(|t| t.user + t.nice + t.system + t.irq);
    set(values, "cpu_host_percent", busy);
    set(values, "cpu_percent", busy.map(|busy| busy * f64::from(now.cores)));
    set(values, "cpu_user_percent", share(|t| t.user));
    set(values, "cpu_system_percent", share(|t| t.system));
    set(values, "cpu_nice_percent", share(|t| t.nice));
    set(values, "cpu_iowait_percent", share(|t| t.iowait));
    set(values, "cpu_irq_percent", share(|t| t.irq));
    set(values, "cpu_steal_percent", share(|t| t.steal));
}

/// Loopback and the ends of containers' cables are not told of.
pub(super) fn is_the_machines(interface: &str) -> bool {
    interface != "lo" && !interface.starts_with("veth")
}

/// Neither a partition nor something made of memory or of a file.
fn is_a_disk(root: &Path, name: &str) -> bool {
    let virtually = ["loop", "ram", "zram", "sr", "fd"].iter().any(|kind| {
        name.strip_prefix(kind).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    });
    !virtually && root.join("sys/block").join(name.replace('/', "!")).exists()
}

/// CPU time of this process so far.
fn own_cpu() -> Option<Duration> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the kernel fills the struct, which is read only after success.
    let usage = unsafe {
        if libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) != 0 {
            return None;
        }
        usage.assume_init()
    };
    let span = |time: libc::timeval| {
        Some(
            Duration::from_secs(u64::try_from(time.tv_sec).ok()?)
                + Duration::from_micros(u64::try_from(time.tv_usec).ok()?),
        )
    };
    span(usage.ru_utime)?.checked_add(span(usage.ru_stime)?)
}

fn page_bytes() -> f64 {
    // SAFETY: sysconf only reads.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    bytes as f64
}

#[cfg(test)]
mod tests;
