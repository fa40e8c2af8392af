//! What `/proc` says of a whole machine, pure. The formats are those of proc(5) and the kernel's `iostats.rst`.

/// CPU time by mode since the machine started, clock ticks over all cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct CpuTimes {
    pub(super) user: u64,
    pub(super) nice: u64,
    pub(super) system: u64,
    pub(super) idle: u64,
    pub(super) iowait: u64,
    pub(super) irq: u64,
    pub(super) steal: u64,
    /// How many cores they are of.
    pub(super) cores: u32,
}

impl CpuTimes {
    /// Of all modes; `None` when that is more than can be.
    pub(super) fn all(&self) -> Option<u64> {
        let modes = [self.user, self.nice, self.system, self.idle, self.iowait, self.irq, self.steal];
        modes.into_iter().try_fold(0_u64, u64::checked_add)
    }
}

/// Of `/proc/stat`. What guests used is in `user` and `nice` already.
pub(super) fn cpu_times(text: &str) -> Option<CpuTimes> {
    let mut cores = 0;
    let mut all = None;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("cpu") else { break };
        match rest.strip_prefix(' ') {
            Some(modes) => all = Some(modes),
            None => cores += 1,
        }
    }
    let mut numbers = [0_u64; 8];
    // Old kernels end after `softirq`, or before.
    for (number, word) in numbers.iter_mut().zip(all?.split_ascii_whitespace()) {
        *number = word.parse().ok()?;
    }
    let [user, nice, system, idle, iowait, hard, soft, steal] = numbers;
    (cores > 0).then_some(())?;
    Some(CpuTimes { user, nice, system, idle, iowait, irq: hard.checked_add(soft)?, steal, cores })
}

/// The three load averages.
pub(super) fn loads(text: &str) -> Option<[f64; 3]> {
    let mut words = text.split_ascii_whitespace();
    let mut load = || words.next()?.parse::<f64>().ok().filter(|load| load.is_finite() && *load >= 0.0);
    Some([load()?, load()?, load()?])
}

/// Seconds since the machine started.
pub(super) fn uptime(text: &str) -> Option<f64> {
    let seconds: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
}

/// Bytes that each block device read and wrote since the machine started. A sector here has always 512 bytes.
pub(super) fn disks(text: &str) -> impl Iterator<Item = (&str, u64, u64)> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(2);
        let name = words.next()?;
        let read: u64 = words.nth(2)?.parse().ok()?;
        let written: u64 = words.nth(3)?.parse().ok()?;
        Some((name, read.checked_mul(512)?, written.checked_mul(512)?))
    })
}

/// Where a file system is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount<'a> {
    /// Major and minor number of what is mounted.
    pub(super) device: &'a str,
    /// Where, as the kernel writes it: see [`unescaped`].
    pub(super) point: &'a str,
    /// What kind of file system.
    pub(super) kind: &'a str,
    /// What was mounted: a device, a server's share, or any word.
    pub(super) source: &'a str,
}

/// Every mount of a `mountinfo`.
pub(super) fn mounts(text: &str) -> impl Iterator<Item = Mount<'_>> {
    text.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(2);
        let (device, point) = (before.next()?, before.nth(1)?);
        let mut after = after.split(' ');
        Some(Mount { device, point, kind: after.next()?, source: after.next()? })
    })
}

/// File systems that lie on no disk of this machine and yet hold files of people.
const REMOTE: [&str; 12] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "glusterfs",
    "fuse.glusterfs",
    "fuse.sshfs",
    "9p",
    "virtiofs",
    "zfs",
    "bcachefs",
];

impl Mount<'_> {
    /// Whether it holds files on a disk, here or elsewhere.
    pub(super) fn is_real(&self) -> bool {
        let on_disk =
            self.source.starts_with("/dev/") && !matches!(self.kind, "squashfs" | "iso9660" | "devtmpfs");
        on_disk || REMOTE.contains(&self.kind)
    }
}

/// A mount point as it is: the kernel writes space, tab, newline and backslash as `\` and three octal digits.
pub(super) fn unescaped(point: &str) -> String {
    let mut bytes = Vec::with_capacity(point.len());
    let mut rest = point.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
