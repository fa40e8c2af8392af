//! What the kernel's files say, pure: cgroup files of both versions, and those of `/proc`.
//!
//! The formats are those of the kernel's `admin-guide/cgroup-v1/*.rst`, `cgroup-v2.rst`, `accounting/psi.rst` and proc(5).

use std::time::Duration;

/// Version 1 writes "no limit" as the largest number of whole pages; anything so large is meant.
const UNLIMITED_V1: u64 = 1 << 62;

/// One whole number, alone in its file.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The numbers that follow `keys` at the starts of lines, whether or not a colon ends the key; the first of each.
pub(super) fn keyed<const N: usize>(text: &str, keys: [&str; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(word) = words.next() else { continue };
        let word = word.strip_suffix(':').unwrap_or(word);
        let Some(at) = keys.iter().position(|key| *key == word) else { continue };
        if found[at].is_none() {
            found[at] = words.next().and_then(|value| value.parse().ok());
        }
    }
    found
}

/// A bound that may not be set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Limit<T> {
    /// It is.
    At(T),
    /// It is not.
    None,
}

/// The most memory, bytes.
pub(super) fn memory_limit(text: &str) -> Option<Limit<u64>> {
    match text.trim() {
        "max" => Some(Limit::None),
        text => {
            text.parse().ok().map(|bytes| if bytes < UNLIMITED_V1 { Limit::At(bytes) } else { Limit::None })
        }
    }
}

/// The most CPU, cores: version 2's `cpu.max`, a quota or `max` and a period, microseconds.
pub(super) fn cpu_max(text: &str) -> Option<Limit<f64>> {
    let mut words = text.split_ascii_whitespace();
    let (quota, period) = (words.next()?, words.next()?);
    if quota == "max" { Some(Limit::None) } else { cpu_quota(quota, period) }
}

/// The most CPU, cores, by version 1's two files; a quota of -1 is none.
pub(super) fn cpu_quota(quota: &str, period: &str) -> Option<Limit<f64>> {
    let (quota, period): (i64, u32) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    match (quota, period) {
        (_, 0) => None,
        (..0, _) => Some(Limit::None),
        (quota, period) => Some(Limit::At(quota as f64 / f64::from(period))),
    }
}

/// What was read from disks and written to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Block {
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) reads: u64,
    pub(super) writes: u64,
}

/// A disk: major and minor number.
pub(super) type Device = (u32, u32);

fn device(text: &str) -> Option<Device> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Version 1's `blkio.throttle.io_service*` (`8:0 Read 4096`): the sums of reads and writes on the devices that `counts`
/// says yes to. `None` where no disk is listed: the container touched none, or this kernel counts nothing under version 1
/// unless a limit is set, as recent ones do.
pub(super) fn block_v1(text: &str, mut counts: impl FnMut(Device) -> bool) -> Option<(u64, u64)> {
    let (mut read, mut written, mut listed) = (0_u64, 0_u64, false);
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(of) = words.next().and_then(device) else { continue };
        listed = true;
        let sum = match words.next()? {
            "Read" => &mut read,
            "Write" => &mut written,
            _ => continue,
        };
        let value: u64 = words.next()?.parse().ok()?;
        if counts(of) {
            *sum = sum.checked_add(value)?;
        }
    }
    listed.then_some((read, written))
}

/// Version 2's `io.stat` (`8:0 rbytes=4096 wbytes=0 rios=1 wios=0 ...`), likewise. A device may be alone in its line.
pub(super) fn block_v2(text: &str, mut counts: impl FnMut(Device) -> bool) -> Option<Block> {
    let mut sum = Block::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(of) = words.next().and_then(device) else { continue };
        if !counts(of) {
            continue;
        }
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let total = match key {
                "rbytes" => &mut sum.read_bytes,
                "wbytes" => &mut sum.written_bytes,
                "rios" => &mut sum.reads,
                "wios" => &mut sum.writes,
                _ => continue,
            };
            *total = total.checked_add(value.parse().ok()?)?;
        }
    }
    Some(sum)
}

/// The time in which some threads waited, of a pressure file.
pub(super) fn pressure(text: &str) -> Option<Duration> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    let total = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("total="))?;
    total.parse().ok().map(Duration::from_micros)
}

/// A process as `/proc/PID/stat` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProcessStat {
    /// The name of its program; hostile text.
    pub(super) command: String,
    /// CPU time used, in user mode and in the kernel, clock ticks.
    pub(super) ticks: u64,
    pub(super) threads: u64,
    /// When it started, clock ticks since the machine did: with its id this names it for good.
    pub(super) started: u64,
    /// Resident memory, pages.
    pub(super) resident: u64,
}

/// Reads a `/proc/PID/stat`. The program's name is in brackets and may itself hold some.
pub(super) fn process(text: &str) -> Option<ProcessStat> {
    let (head, rest) = text.rsplit_once(')')?;
    let (_, command) = head.split_once('(')?;
    // The state, which comes next, is the third field by proc(5).
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(22).collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(ProcessStat {
        command: command.to_owned(),
        ticks: number(14)?.checked_add(number(15)?)?,
        threads: number(20)?,
        started: number(22)?,
        // Kernel threads have none, which proc(5) writes as 0; nothing is written as a negative number.
        resident: number(24)?,
    })
}

/// What one direction of an interface carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flow {
    pub(super) bytes: u64,
    pub(super) packets: u64,
    pub(super) errors: u64,
    pub(super) drops: u64,
}

impl Flow {
    pub(super) fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            bytes: self.bytes.checked_add(other.bytes)?,
            packets: self.packets.checked_add(other.packets)?,
            errors: self.errors.checked_add(other.errors)?,
            drops: self.drops.checked_add(other.drops)?,
        })
    }
}

/// The interfaces of a `net/dev`, each with what it received and what it sent.
pub(super) fn interfaces(text: &str) -> impl Iterator<Item = (&str, Flow, Flow)> {
    text.lines().filter_map(|line| {
        let (name, figures) = line.rsplit_once(": ").or_else(|| line.rsplit_once(':'))?;
        let mut numbers = [0_u64; 12];
        let mut words = figures.split_ascii_whitespace();
        for number in &mut numbers {
            *number = words.next()?.parse().ok()?;
        }
        let [bytes, packets, errors, drops, _, _, _, _, sent, sent_packets, sent_errors, sent_drops] =
            numbers;
        let received = Flow { bytes, packets, errors, drops };
        let sent = Flow { bytes: sent, packets: sent_packets, errors: sent_errors, drops: sent_drops };
        Some((name.trim(), received, sent))
    })
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
