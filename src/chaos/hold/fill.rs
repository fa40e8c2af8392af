//! Filling the disk below a container's writable layer: a file without a name (`O_TMPFILE`), which takes room in the
//! layer's file system, and counts in its quota, until the process that holds it ends, however it ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// This share of the disk, percent, stays free whatever is asked for.
pub(super) const STAYS_FREE_PERCENT: u64 = 10;

/// Why a disk is not filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// There is too little room already.
    #[error(
        "{} MiB of {} MiB are free on its disk, and {STAYS_FREE_PERCENT} % stay free always",
        .free >> 20,
        .total >> 20
    )]
    TooFull {
        /// What is free, bytes.
        free: u64,
        /// The disk, bytes.
        total: u64,
    },
    /// The layer is read-only, or its file system has no files without names.
    #[error("no file can be made in its writable layer: {0}")]
    NoFile(#[source] io::Error),
    /// The file cannot be made that long.
    #[error("its disk cannot be filled: {0}")]
    NoRoom(#[source] io::Error),
}

/// Takes `asked` bytes below the root of process `pid`, or what leaves [`STAYS_FREE_PERCENT`] free. Returns what holds them
/// and how many there are.
pub(super) fn fill(pid: u32, asked: u64) -> Result<(File, u64), FillError> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    // Where the layer itself has no such files (overlayfs before Linux 6.6), the folder it writes to may.
    let file = nameless(&root).or_else(|error| match upper(pid) {
        Some(folder) if !matches!(error.raw_os_error(), Some(libc::EROFS)) => nameless(&folder),
        _ => Err(error),
    });
    let file = file.map_err(FillError::NoFile)?;
    let (free, total) = room(&file).map_err(FillError::NoRoom)?;
    let bytes = bounded(asked, free, total).ok_or(FillError::TooFull { free, total })?;
    take(&file, bytes).map_err(FillError::NoRoom)?;
    Ok((file, bytes))
}

fn nameless(folder: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(folder)
}

/// The folder that takes what is written to the root of process `pid`: overlayfs' `upperdir`.
fn upper(pid: u32) -> Option<PathBuf> {
    upper_in(&fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?)
}

fn upper_in(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        if before.split(' ').nth(4)? != "/" || kind != "overlay" {
            return None;
        }
        options.split(',').find_map(|option| option.strip_prefix("upperdir=")).map(PathBuf::from)
    })
}

/// What is free and what there is where `file` lies, bytes.
fn room(file: &File) -> io::Result<(u64, u64)> {
    // SAFETY: all fields are plain numbers, for which zero is a value.
    let mut about: libc::statvfs64 = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and fstatvfs64 writes one struct to a valid pointer.
    if unsafe { libc::fstatvfs64(file.as_raw_fd(), &raw mut about) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // The size of a block has 32 bits where a C long has.
    #[allow(clippy::useless_conversion, reason = "not on every architecture")]
    let block: u64 = about.f_frsize.into();
    Ok((about.f_bavail.saturating_mul(block), about.f_blocks.saturating_mul(block)))
}

/// What may be taken; `None` for less than 1 MiB.
fn bounded(asked: u64, free: u64, total: u64) -> Option<u64> {
    let most = free.saturating_sub(total / 100 * STAYS_FREE_PERCENT);
    Some(asked.min(most)).filter(|bytes| *bytes >= 1 << 20)
}

/// Makes `file` take so many bytes on the disk, not only seem to.
fn take(file: &File, bytes: u64) -> io::Result<()> {
    let length = libc::off64_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open; fallocate64 takes numbers.
    if unsafe { libc::fallocate64(file.as_raw_fd(), 0, 0, length) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let mut from = io::repeat(1).take(bytes);
            io::copy(&mut from, &mut &*file).map(drop)
        }
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_folder_written_to_is_found() {
        let text = "\
74 49 0:39 / / rw,relatime master:2 - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/o/x/diff,workdir=/o/x/work
75 74 0:42 / /proc rw - proc proc rw
";
        assert_eq!(upper_in(text), Some("/o/x/diff".into()));
        assert_eq!(upper_in("27 1 254:0 / / rw - ext4 /dev/vda rw\n"), None);
        assert_eq!(upper_in(&text.replace(" / / ", " / /x ")), None);
    }

    #[test]
    fn a_file_without_a_name_takes_room_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = nameless(folder.path()).unwrap();
        take(&file, 2 << 20).unwrap();
        assert_eq!(file.metadata().unwrap().blocks() * 512, 2 << 20);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let (free, total) = room(&file).unwrap();
        assert!(free <= total && total > 0);
    }

    proptest! {
        #[test]
        fn a_tenth_stays_free(asked in 0..1_u64 << 42, total in 0..1_u64 << 50, part in 0.0..1.0_f64) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below total")]
            let free = (total as f64 * part) as u64;
            if let Some(bytes) = bounded(asked, free, total) {
                prop_assert!(bytes <= asked && bytes <= free && free - bytes >= total / 100 * 10);
            }
        }
    }
}
