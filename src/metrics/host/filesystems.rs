//! How full file systems are. Asking a dead NFS server hangs for ever, so that is done by a thread of its own which is
//! not waited for beyond a deadline, and a mount that hangs is not asked again before it has answered.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::mounts::MountTable;

/// Mounts that may hang at a time, each with a thread; beyond that none is asked.
const HANGING: usize = 8;

/// Space of a file system, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) used: u64,
    pub(super) total: u64,
}

/// What a thread tells of a mount point.
struct Answer {
    point: PathBuf,
    space: Option<Space>,
}

type Ask = fn(&Path) -> io::Result<Option<Space>>;

/// Asks file systems.
pub(super) struct Filesystems {
    root: PathBuf,
    mounts: MountTable,
    ask: Ask,
    hanging: BTreeSet<PathBuf>,
    answers: (Sender<Answer>, Receiver<Answer>),
}

impl Filesystems {
    /// Of the host whose root folder is `root`.
    pub(super) fn new(root: &Path) -> Self {
        Self::asking(root, space_of)
    }

    fn asking(root: &Path, ask: Ask) -> Self {
        let mounts = MountTable::new(root.join("proc/self/mountinfo"));
        Self { root: root.to_owned(), mounts, ask, hanging: BTreeSet::new(), answers: channel() }
    }

    /// The space of every mount that answers within `patience`, by its mount point.
    pub(super) fn read(&mut self, patience: Duration) -> Vec<(String, Space)> {
        while let Ok(late) = self.answers.1.try_recv() {
            self.hanging.remove(&late.point);
        }
        if self.hanging.len() >= HANGING {
            return Vec::new();
        }
        let real = self.mounts.real().iter();
        let asked: Vec<PathBuf> = real.filter(|point| !self.hanging.contains(*point)).cloned().collect();
        let enough = Arc::new(AtomicBool::new(false));
        let thread = {
            let (ask, root, asked) = (self.ask, self.root.clone(), asked.clone());
            let (answers, enough) = (self.answers.0.clone(), enough.clone());
            std::thread::Builder::new().name("filesystems".into()).stack_size(64 << 10).spawn(move || {
                for point in asked {
                    let space = ask(&below(&root, &point)).ok().flatten();
                    // Whoever asked may be gone, and then nobody cares.
                    if answers.send(Answer { point, space }).is_err() || enough.load(Ordering::Relaxed) {
                        break;
                    }
                }
            })
        };
        if let Err(error) = thread {
            tracing::debug!(%error, "no thread to ask file systems");
            return Vec::new();
        }
        let spaces = self.wait(&asked, Instant::now() + patience);
        enough.store(true, Ordering::Relaxed);
        spaces
    }

    fn wait(&mut self, asked: &[PathBuf], deadline: Instant) -> Vec<(String, Space)> {
        let mut spaces = Vec::with_capacity(asked.len());
        for point in asked {
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                let Ok(answer) = self.answers.1.recv_timeout(left) else {
                    tracing::warn!(mount = %point.display(), "a file system does not answer");
                    self.hanging.insert(point.clone());
                    return spaces;
                };
                if answer.point == *point {
                    spaces.extend(answer.space.map(|space| (point.to_string_lossy().into_owned(), space)));
                    break;
                }
                // One that hung before.
                self.hanging.remove(&answer.point);
            }
        }
        spaces
    }
}

fn below(root: &Path, point: &Path) -> PathBuf {
    point.strip_prefix("/").map_or_else(|_| root.join(point), |point| root.join(point))
}

/// `None` of what is no folder, as the files that an engine mounts into its containers, or has no space of its own.
fn space_of(path: &Path) -> io::Result<Option<Space>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(None);
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs64>::uninit();
    // SAFETY: the path ends with a zero, and the kernel fills the struct, which is read only after success.
    let stat = unsafe {
        if libc::statvfs64(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        stat.assume_init()
    };
    // The size of a block has 32 bits where a C long has.
    #[allow(clippy::useless_conversion, reason = "not on every architecture")]
    let size: u64 = stat.f_frsize.into();
    let space =
        stat.f_blocks.checked_mul(size).zip(stat.f_blocks.saturating_sub(stat.f_bfree).checked_mul(size));
    Ok(space.filter(|(total, _)| *total > 0).map(|(total, used)| Space { used, total }))
}

#[cfg(test)]
#[path = "filesystems_tests.rs"]
mod tests;
