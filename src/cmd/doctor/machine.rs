//! The data directory, cgroup files, capabilities, and the kernel's ways to hurt a network.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Finding, State};
use crate::chaos::{FaultKind, InjectError, NetBackend, probe_backends};
use crate::model::{MeasureWay, MeasurementStatus};
use crate::net::{NetworkMonitor, NetworkSettings, NetworkWish, missing};

/// Below this the databases may soon not grow any more, bytes.
const LITTLE_SPACE: u64 = 200 * 1024 * 1024;

/// Whether state can be kept there.
pub(super) fn data_dir(path: &Path) -> Finding {
    let shown = path.display();
    let remedy = "run as its owner, or choose another with --data-dir";
    // What does not exist is made at start, below the nearest folder that does.
    let Some(existing) = path.ancestors().find(|folder| folder.exists()) else {
        return Finding::not("data directory", State::Missing, format!("{shown}: no such path"), remedy);
    };
    if !existing.is_dir() {
        let detail = format!("{} is not a folder", existing.display());
        return Finding::not("data directory", State::Missing, detail, remedy);
    }
    let Ok(folder) = CString::new(existing.as_os_str().as_bytes()) else {
        return Finding::not("data directory", State::Missing, format!("{shown}: no path"), remedy);
    };
    // SAFETY: access reads a path that ends in NUL and outlives the call.
    if unsafe { libc::access(folder.as_ptr(), libc::W_OK | libc::X_OK) } != 0 {
        let detail = format!("{} cannot be written: {}", existing.display(), std::io::Error::last_os_error());
        return Finding::not("data directory", State::Missing, detail, remedy);
    }
    let made = if existing == path { "" } else { ", made at start" };
    match free_bytes(&folder) {
        Some(free) if free < LITTLE_SPACE => {
            let detail = format!("{shown}: only {} MiB are free", free >> 20);
            Finding::not("data directory", State::Limited, detail, "make room; history takes up to 200 MiB")
        }
        Some(free) => Finding::works("data directory", format!("{shown}{made}; {} MiB are free", free >> 20)),
        None => Finding::works("data directory", format!("{shown}{made}")),
    }
}

fn free_bytes(folder: &CString) -> Option<u64> {
    // SAFETY: all fields are plain numbers, for which zero is a value.
    let mut about: libc::statvfs64 = unsafe { std::mem::zeroed() };
    // SAFETY: statvfs64 reads a path that ends in NUL and writes one struct to a valid pointer.
    let answer = unsafe { libc::statvfs64(folder.as_ptr(), &raw mut about) };
    // The size of a block has 32 bits where a C long has.
    #[allow(clippy::useless_conversion, reason = "not on every architecture")]
    (answer == 0).then(|| about.f_bavail.saturating_mul(about.f_frsize.into()))
}

/// Where CPU and memory of containers can be read.
pub(super) fn cgroups(root: &Path) -> Finding {
    let has = |name: &str| root.join(name).exists();
    let v1 = has("memory") && (has("cpuacct") || has("cpu,cpuacct"));
    if has("cgroup.controllers") {
        Finding::works("cgroups", format!("version 2 at {}", root.display()))
    } else if v1 {
        let hybrid = if has("unified/cgroup.controllers") { ", with a version 2 tree beside it" } else { "" };
        Finding::works("cgroups", format!("version 1 at {}{hybrid}", root.display()))
    } else {
        let detail = format!("no cgroup files at {}", root.display());
        let remedy = "CPU and memory are asked of the engine instead, at a higher cost; mount /sys/fs/cgroup";
        Finding::not("cgroups", State::Limited, detail, remedy)
    }
}

/// Numbers of capabilities (capabilities(7)), and who needs them.
const CAPABILITIES: [(u32, &str); 6] = [
    (13, "CAP_NET_RAW"),
    (12, "CAP_NET_ADMIN"),
    (21, "CAP_SYS_ADMIN"),
    (19, "CAP_SYS_PTRACE"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
];

/// Which capabilities this process has, from the text of `/proc/self/status`.
pub(super) fn capabilities(status: &str) -> Finding {
    let held =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    let Some(held) = held else {
        let remedy = "mount /proc";
        return Finding::not("capabilities", State::Limited, "/proc/self/status does not say", remedy);
    };
    let names = |has: bool| {
        let names = CAPABILITIES.iter().filter(|(bit, _)| (held >> bit & 1 == 1) == has);
        names.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    };
    let (has, lacks) = (names(true), names(false));
    let has = if has.is_empty() { "none".to_owned() } else { has };
    if lacks.is_empty() {
        return Finding::works("capabilities", has);
    }
    let remedy = "the agent needs CAP_NET_RAW at most, `dummy --antagonist` CAP_NET_ADMIN";
    Finding::not("capabilities", State::Limited, format!("{has}; not {lacks}"), remedy)
}

/// How the network of containers would be measured here.
pub(super) fn monitoring(wish: NetworkWish) -> Finding {
    let settings = NetworkSettings { wish, clock: None, root: PathBuf::from("/") };
    let monitor = NetworkMonitor::start(settings);
    if monitor.measured_by() == MeasureWay::Off {
        let remedy = "leave out --network off to measure it";
        return Finding::not("monitoring", State::Skipped, "who containers talk to is not measured", remedy);
    }
    let all = monitor.measurements();
    let works: Vec<&str> = all
        .iter()
        .filter(|one| one.status == MeasurementStatus::Works)
        .map(|one| one.name.as_str())
        .collect();
    let by = if monitor.measured_by() == MeasureWay::Tracepoints { "eBPF" } else { "/proc" };
    let detail = match &works[..] {
        [] => format!("of the containers' network only totals, by {by}"),
        works => format!("of the containers' network, by {by}: {}", works.join(", ")),
    };
    match missing(&all) {
        none if none.is_empty() => Finding::works("monitoring", detail),
        missing => Finding::not("monitoring", State::Limited, detail, format!("missing: {missing}")),
    }
}

/// What the kernel can do to a network on purpose, for the antagonist and `dummy --antagonist`, backend by backend.
pub(super) fn network_faults() -> Vec<Finding> {
    let finding = |(backend, answer): (NetBackend, Result<(), InjectError>)| {
        let words: Vec<&str> = backend.faults().into_iter().map(FaultKind::word).collect();
        let words = words.join(", ");
        match answer {
            Ok(()) => Finding::works(backend.name(), format!("faults on purpose: {words}")),
            Err(error) => {
                let remedy = format!("only chaos needs it, for {words}");
                Finding::not(backend.name(), State::Limited, error.to_string(), remedy)
            }
        }
    };
    probe_backends().into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_mask() {
        let all = capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n");
        assert_eq!(all.state, State::Works);
        let raw = capabilities("CapEff:\t0000000000002000\n");
        assert_eq!(raw.state, State::Limited);
        assert!(raw.detail.starts_with("CAP_NET_RAW; not CAP_NET_ADMIN"), "{raw:?}");
        assert!(capabilities("CapEff:\t0\n").detail.starts_with("none; not "));
        assert_eq!(capabilities("CapEff:\tzz\n").state, State::Limited);
    }

    #[test]
    fn cgroup_versions_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(cgroups(dir.path()).state, State::Limited);
        for name in ["memory", "cpuacct", "unified"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert!(cgroups(dir.path()).detail.starts_with("version 1"));
        std::fs::write(dir.path().join("cgroup.controllers"), "").unwrap();
        assert!(cgroups(dir.path()).detail.starts_with("version 2"));
    }

    #[test]
    fn a_data_directory_is_there_can_be_made_or_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(data_dir(dir.path()).state, State::Works);
        assert!(data_dir(&dir.path().join("a/b")).detail.contains(", made at start"));
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(data_dir(&file).state, State::Missing);
    }
}
