//! Reading the kernel's small files, held open, again and again into one buffer: no path is looked up and nothing is
//! allocated for a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What the buffer begins with, bytes; the longest cgroup file, `memory.stat`, has some 2,000.
const USUAL: usize = 16 << 10;
/// The most that is read of a file, bytes; the rest counts as not there.
const LONGEST: usize = 1 << 20;

/// The buffer.
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    pub(super) fn new() -> Self {
        Self(vec![0; USUAL])
    }

    /// The whole file as it is now, when the kernel makes it in one piece, as it does those of cgroups.
    pub(super) fn piece(&mut self, file: &File) -> io::Result<&str> {
        let len = file.read_at(&mut self.0, 0)?;
        if len == self.0.len() { self.whole(file) } else { text(&self.0[..len]) }
    }

    /// The whole file as it is now.
    pub(super) fn whole(&mut self, file: &File) -> io::Result<&str> {
        let mut len = 0;
        loop {
            if len == self.0.len() {
                if len >= LONGEST {
                    break;
                }
                self.0.resize(len * 2, 0);
            }
            match file.read_at(&mut self.0[len..], len as u64)? {
                0 => break,
                more => len += more,
            }
        }
        text(&self.0[..len])
    }
}

fn text(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Raises this process's limit of open files as far as it may, for what is held open; the new limit.
pub fn raise_file_limit() -> u64 {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the struct it is given, which lives until after the call.
    if unsafe { libc::getrlimit64(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return FILES_UNLESS_KNOWN;
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max.min(FILES_WANTED).max(before);
    // SAFETY: the struct is read only, and lives until after the call.
    if unsafe { libc::setrlimit64(libc::RLIMIT_NOFILE, &raw const limit) } == 0 {
        limit.rlim_cur
    } else {
        before
    }
}

/// Enough for thousands of containers.
const FILES_WANTED: u64 = 1 << 16;
/// What Linux gives a process that asked for nothing.
const FILES_UNLESS_KNOWN: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_longer_than_the_buffer_are_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut scratch = Scratch::new();
        for len in [0, 5, USUAL - 1, USUAL, USUAL + 1, 5 * USUAL, LONGEST + 5] {
            std::fs::write(&path, "x".repeat(len)).unwrap();
            let file = File::open(&path).unwrap();
            assert_eq!(scratch.whole(&file).unwrap().len(), len.min(LONGEST), "{len}");
            assert_eq!(scratch.piece(&file).unwrap().len(), len.min(LONGEST), "{len}");
        }
    }

    #[test]
    fn the_limit_is_never_lowered() {
        let raised = raise_file_limit();
        assert!(raised >= 256 && raise_file_limit() == raised);
    }
}
