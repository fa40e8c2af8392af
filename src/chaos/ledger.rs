//! The ledger: a file for each fault, written and synced before anything is done, erased when it is undone. Whoever starts
//! next finds what nobody lived to undo.
//!
//! ```text
//!  DIR/chaos/0123456789abcdef.lease     {"id":"0123456789abcdef","container":"...","fault":"pause",...}
//!                                       acting
//!                                       held
//! ```
//!
//! Whoever cares for a fault (the antagonist, and the process that holds it) keeps its file locked, shared. So whoever
//! can lock it alone knows that both are dead, whatever became of process ids meanwhile.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Lease, LeaseId, Progress};

/// No entry is longer, bytes.
const LONGEST_ENTRY: u64 = 64 * 1024;
/// More entries than this are not looked at in one go.
const MOST_ENTRIES: usize = 10_000;
const SUFFIX: &str = "lease";

/// Why the ledger cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file or folder cannot be used.
    #[error("the ledger of faults: {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// An entry cannot be read.
    #[error("the ledger of faults: {0} cannot be read: {1}; undo the fault by hand, then remove the file")]
    Malformed(PathBuf, String),
    /// It was erased meanwhile, or someone else undoes it.
    #[error("the ledger of faults: {0} is somebody else's now")]
    NotOurs(PathBuf),
}

/// The folder of entries.
#[derive(Debug, Clone)]
pub struct Ledger {
    folder: PathBuf,
}

impl Ledger {
    /// The ledger in the data directory `dir`, made where it is missing, for its owner alone.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        let folder = dir.join("chaos");
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&folder).map_err(|error| LedgerError::Io(folder.clone(), error))?;
        Ok(Self { folder })
    }

    /// Whether there is one in the data directory `dir`.
    pub fn exists(dir: &Path) -> bool {
        dir.join("chaos").is_dir()
    }

    /// Writes a lease down. On return it is on the disk.
    pub fn record(&self, lease: &Lease) -> Result<Entry, LedgerError> {
        let path = self.folder.join(format!("{}.{SUFFIX}", lease.id));
        let draft = path.with_extension("draft");
        let write = || {
            let mut file =
                OpenOptions::new().create_new(true).append(true).read(true).mode(0o600).open(&draft)?;
            file.lock_shared()?;
            let mut line = serde_json::to_vec(lease).expect("plain data becomes JSON");
            line.push(b'\n');
            file.write_all(&line)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            sync(&self.folder)?;
            Ok(file)
        };
        let file = write().map_err(|error| LedgerError::Io(path.clone(), error))?;
        Ok(Entry { file, path, lease: lease.clone(), progress: Progress::Recorded })
    }

    /// The entries that nobody cares for any more, to be undone; each is ours alone as long as it is kept. What cannot be
    /// read is an error of its own. Drafts of entries that were never finished are removed: nothing had been done.
    pub fn orphans(&self) -> Result<Vec<Result<Entry, LedgerError>>, LedgerError> {
        let failed = |error| LedgerError::Io(self.folder.clone(), error);
        let mut found = Vec::new();
        for item in fs::read_dir(&self.folder).map_err(failed)?.take(MOST_ENTRIES) {
            let path = item.map_err(failed)?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(SUFFIX) => match Entry::open(&path, Lock::Alone) {
                    Ok(entry) => found.push(Ok(entry)),
                    Err(LedgerError::NotOurs(_)) => {}
                    Err(error) => found.push(Err(error)),
                },
                Some("draft") => {
                    let free = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
                    if free && let Err(error) = fs::remove_file(&path) {
                        found.push(Err(LedgerError::Io(path, error)));
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// How an entry is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// Beside others who care for it.
    Shared,
    /// By nobody else.
    Alone,
}

/// One fault in the ledger, locked.
#[derive(Debug)]
pub struct Entry {
    file: File,
    path: PathBuf,
    lease: Lease,
    progress: Progress,
}

impl Entry {
    /// Opens and locks the entry at `path`.
    pub(super) fn open(path: &Path, lock: Lock) -> Result<Self, LedgerError> {
        let failed = |error| LedgerError::Io(path.to_owned(), error);
        let not_ours = || LedgerError::NotOurs(path.to_owned());
        let mut file = match OpenOptions::new().read(true).append(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_ours()),
            other => other.map_err(failed)?,
        };
        let locked = match lock {
            Lock::Shared => file.try_lock_shared(),
            Lock::Alone => file.try_lock(),
        };
        match locked {
            Err(TryLockError::WouldBlock) => return Err(not_ours()),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Ok(()) => {}
        }
        // It may have been erased between our opening and our lock.
        if file.metadata().map_err(failed)?.nlink() == 0 {
            return Err(not_ours());
        }
        let mut text = String::new();
        (&mut file).take(LONGEST_ENTRY).read_to_string(&mut text).map_err(failed)?;
        let (lease, progress) =
            decode(&text).map_err(|problem| LedgerError::Malformed(path.to_owned(), problem))?;
        let named: Option<LeaseId> =
            path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if named != Some(lease.id) {
            let problem = format!("it is about lease {}", lease.id);
            return Err(LedgerError::Malformed(path.to_owned(), problem));
        }
        Ok(Self { file, path: path.to_owned(), lease, progress })
    }

    /// The fault.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// How far it had come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down how far it has come. On return that is on the disk.
    pub(super) fn mark(&mut self, progress: Progress) -> Result<(), LedgerError> {
        let write = |file: &mut File| {
            file.write_all(format!("{}\n", progress.word()).as_bytes())?;
            file.sync_data()
        };
        write(&mut self.file).map_err(|error| LedgerError::Io(self.path.clone(), error))?;
        self.progress = progress;
        Ok(())
    }

    /// Reads anew how far it has come, which another process may have written down.
    pub(super) fn look_again(&mut self) {
        if let Ok(text) = fs::read_to_string(&self.path)
            && let Ok((_, progress)) = decode(&text)
        {
            self.progress = progress;
        }
    }

    /// Erases it: the fault is undone. One that was erased already is a success.
    pub(super) fn erase(&self) -> Result<(), LedgerError> {
        let failed = |error| LedgerError::Io(self.path.clone(), error);
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => sync(self.path.parent().unwrap_or(Path::new("/"))).map_err(failed),
        }
    }
}

/// What is gone from a folder, or new in it, is so after a crash of the machine too.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A lease and the last word on it. A line cut short by a crash is no word.
fn decode(text: &str) -> Result<(Lease, Progress), String> {
    let (first, rest) = text.split_once('\n').ok_or("its first line has no end")?;
    let lease = serde_json::from_str(first).map_err(|error| error.to_string())?;
    let words = [Progress::Held, Progress::Acting];
    let progress = words.into_iter().find(|progress| rest.lines().any(|line| line == progress.word()));
    Ok((lease, progress.unwrap_or(Progress::Recorded)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::Attack;
    use crate::chaos::fixtures::container;
    use crate::docker::EngineAddress;
    use proptest::prelude::*;

    fn lease() -> Lease {
        let victim = container("web", &[]);
        let attack =
            Attack { id: victim.id, name: victim.name, fault: "loss=50%".parse().unwrap(), lease: None };
        Lease::of(&attack, &EngineAddress::default(), None)
    }

    fn orphans(ledger: &Ledger) -> Vec<(LeaseId, Progress)> {
        let entries = ledger.orphans().unwrap().into_iter().map(|entry| entry.unwrap());
        entries.map(|entry| (entry.lease().id, entry.progress())).collect()
    }

    #[test]
    fn what_is_recorded_is_an_orphan_once_nobody_cares_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let lease = lease();
        let mut entry = ledger.record(&lease).unwrap();
        assert_eq!(orphans(&ledger), [], "the antagonist has it");
        let holders = Entry::open(entry.path(), Lock::Shared).unwrap();
        assert_eq!(holders.lease(), &lease);
        entry.mark(Progress::Acting).unwrap();
        drop(entry);
        assert_eq!(orphans(&ledger), [], "the holder has it");
        drop(holders);
        assert_eq!(orphans(&ledger), [(lease.id, Progress::Acting)]);
        let mut entries = ledger.orphans().unwrap();
        let mut entry = entries.remove(0).unwrap();
        assert!(matches!(Entry::open(entry.path(), Lock::Shared), Err(LedgerError::NotOurs(_))));
        entry.mark(Progress::Held).unwrap();
        assert_eq!(decode(&fs::read_to_string(entry.path()).unwrap()).unwrap(), (lease, Progress::Held));
        entry.erase().unwrap();
        entry.erase().expect("erased already");
        assert!(matches!(Entry::open(entry.path(), Lock::Shared), Err(LedgerError::NotOurs(_))));
        assert_eq!(orphans(&ledger), []);
    }

    #[test]
    fn drafts_are_removed_and_strangers_files_are_named_or_left() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let at = |name: &str| dir.path().join("chaos").join(name);
        fs::write(at("0000000000000001.draft"), "{").unwrap();
        fs::write(at("notes.txt"), "mine").unwrap();
        fs::write(at("0000000000000002.lease"), "not JSON\n").unwrap();
        let mut other = serde_json::to_string(&lease()).unwrap();
        other.push('\n');
        fs::write(at("0000000000000003.lease"), other).unwrap();
        let found = ledger.orphans().unwrap();
        assert_eq!(found.len(), 2);
        for entry in found {
            let error = entry.unwrap_err();
            assert!(matches!(error, LedgerError::Malformed(..)), "{error}");
            assert!(error.to_string().contains("by hand"), "{error}");
        }
        assert!(at("notes.txt").exists() && !at("0000000000000001.draft").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("chaos"), "").unwrap();
        let error = Ledger::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("/chaos: "), "{error}");
    }

    proptest! {
        #[test]
        fn an_entry_cut_short_is_an_earlier_word_or_an_error(cut in 0..400_usize) {
            let whole = format!("{}\nacting\nheld\n", serde_json::to_string(&lease()).unwrap());
            let cut = cut.min(whole.len());
            match decode(&whole[..cut]) {
                Ok((_, progress)) => prop_assert!(progress < Progress::Held || whole.len() - cut <= 1),
                Err(problem) => prop_assert!(whole[cut..].contains("\nacting"), "{problem}"),
            }
        }

        #[test]
        fn no_text_panics(text in ".*\n?.*") {
            let _ = decode(&text);
        }
    }
}
