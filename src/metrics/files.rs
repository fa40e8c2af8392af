//! One sweep over the files of every container: its cgroup, held open, and its network's counters.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::cgroup::{CgroupFiles, CgroupTree, FILES};
use super::held::Scratch;
use super::reading::{Reading, Traffic};
use super::subject::{NetworkUse, Subject};
use super::text::{self, Device, Flow};
use crate::model::ContainerId;

/// Files left to everything else.
const FILES_SPARED: u64 = 256;
/// Disks of which it is remembered whether they lie on others; beyond that it is looked up each time.
const DISKS_KEPT: usize = 1024;

/// Reads containers' files below a root folder, and keeps them open.
pub(super) struct FileSensors {
    root: PathBuf,
    tree: Option<CgroupTree>,
    origin: Instant,
    scratch: Scratch,
    path: String,
    known: HashMap<ContainerId, Known>,
    disks: Disks,
    /// Containers whose files are held open at most; those of others are opened for each sample.
    hold: usize,
    sweeps: u64,
}

/// What is held of a container.
struct Known {
    /// Its first process then: another one means that it was restarted.
    pid: Option<u32>,
    files: CgroupFiles,
    /// The last sweep that read it.
    sweep: u64,
}

impl FileSensors {
    /// Of the host whose root folder is `root`; at most `files` files are open at a time. Readings count time since
    /// `origin`.
    pub(super) fn new(root: &Path, origin: Instant, files: u64) -> Self {
        let hold = usize::try_from(files.saturating_sub(FILES_SPARED) / FILES).unwrap_or(usize::MAX);
        Self {
            root: root.to_owned(),
            tree: CgroupTree::find(root),
            origin,
            scratch: Scratch::new(),
            path: String::new(),
            known: HashMap::new(),
            disks: Disks { root: root.to_owned(), stacked: HashMap::new() },
            hold,
            sweeps: 0,
        }
    }

    /// The version of the cgroups found; `None` where there are none.
    pub(super) fn version(&self) -> Option<&'static str> {
        self.tree.as_ref().map(CgroupTree::version)
    }

    /// A reading of each; `None` of what does not run, or has no files that can be read.
    pub(super) fn read(&mut self, subjects: &[Subject]) -> Vec<Option<Reading>> {
        self.sweeps += 1;
        let readings = subjects.iter().map(|subject| if subject.runs() { self.one(subject) } else { None });
        let readings = readings.collect();
        let sweep = self.sweeps;
        self.known.retain(|_, known| known.sweep == sweep);
        readings
    }

    fn one(&mut self, subject: &Subject) -> Option<Reading> {
        let held = self.known.remove(&subject.id).filter(|known| known.pid == subject.pid);
        let again = held.and_then(|mut known| Some((self.cgroup(&mut known.files)?, known.files)));
        // Opened anew where it was not open or is gone, as after a restart.
        let (mut reading, files) = if let Some(read) = again {
            read
        } else {
            let mut files = self.tree.as_ref()?.open(&subject.id, subject.pid).ok()?;
            (self.cgroup(&mut files)?, files)
        };
        if subject.network == NetworkUse::Namespace && files.process_is_its() {
            reading.traffic = subject.pid.and_then(|pid| self.traffic(pid));
        }
        if self.known.len() < self.hold {
            let known = Known { pid: subject.pid, files, sweep: self.sweeps };
            self.known.insert(subject.id.clone(), known);
        }
        Some(reading)
    }

    fn cgroup(&mut self, files: &mut CgroupFiles) -> Option<Reading> {
        let (origin, disks) = (self.origin, &mut self.disks);
        files.read(&mut self.scratch, || origin.elapsed(), |disk| disks.counts(disk)).ok()
    }

    /// Not held open, for that would keep the network namespace of an ended container in being.
    fn traffic(&mut self, pid: u32) -> Option<Traffic> {
        use std::fmt::Write as _;
        self.path.clear();
        write!(self.path, "proc/{pid}/net/dev").expect("a String takes everything");
        let file = File::open(self.root.join(&self.path)).ok()?;
        traffic(self.scratch.whole(&file).ok()?)
    }
}

/// What all interfaces of a network namespace but loopback carried together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InterfaceTotals {
    pub(crate) received_bytes: u64,
    pub(crate) received_packets: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) sent_packets: u64,
}

/// Reads them from a `net/dev`; `None` where there is no interface but loopback.
pub(crate) fn interface_totals(text: &str) -> Option<InterfaceTotals> {
    let Traffic { received, sent, .. } = traffic(text)?;
    Some(InterfaceTotals {
        received_bytes: received.bytes,
        received_packets: received.packets,
        sent_bytes: sent.bytes,
        sent_packets: sent.packets,
    })
}

/// All interfaces together, but loopback; `None` where there is no other.
pub(super) fn traffic(text: &str) -> Option<Traffic> {
    let (mut received, mut sent) = (Flow::default(), Flow::default());
    let (mut names, mut found) = (DefaultHasher::new(), false);
    for (name, rx, tx) in text::interfaces(text).filter(|(name, ..)| *name != "lo") {
        names.write(name.as_bytes());
        names.write_u8(0);
        (received, sent, found) = (received.plus(rx)?, sent.plus(tx)?, true);
    }
    found.then(|| Traffic { received, sent, interfaces: names.finish() })
}

/// Tells disks from what lies on top of them, so that nothing is counted twice.
struct Disks {
    root: PathBuf,
    stacked: HashMap<Device, bool>,
}

impl Disks {
    fn counts(&mut self, disk: Device) -> bool {
        if let Some(stacked) = self.stacked.get(&disk) {
            return !stacked;
        }
        let below = self.root.join(format!("sys/dev/block/{}:{}/slaves", disk.0, disk.1));
        let stacked = below.read_dir().is_ok_and(|mut below| below.next().is_some());
        if self.stacked.len() < DISKS_KEPT {
            self.stacked.insert(disk, stacked);
        }
        !stacked
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
