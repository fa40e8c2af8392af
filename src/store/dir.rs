//! The data directory: private, and used by one process at a time.

use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::StoreError;

/// A role's claim on a data directory, by a lock on `<role>.lock` that the kernel drops with the process.
pub(super) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Makes `dir` (mode 0700) if there is none and claims it for `role`.
    pub(super) fn take(dir: &Path, role: &'static str) -> Result<Self, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| StoreError::io(dir, e))?;
        let path = dir.join(format!("{role}.lock"));
        let file = private_file(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { dir: dir.to_owned(), role }),
            Err(TryLockError::Error(e)) => Err(StoreError::io(&path, e)),
        }
    }
}

/// Opens `path` for writing, making it if there is none; only its owner may read or write it. SQLite gives its
/// side files the same mode.
pub(super) fn private_file(path: &Path) -> Result<File, StoreError> {
    let open = || {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.metadata()?.permissions().mode() & 0o777 != 0o600 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(file)
    };
    open().map_err(|e| StoreError::io(path, e))
}

/// Whether the file system of `file` has less room left than SQLite's smallest side file needs (32 KiB).
pub(super) fn is_full(file: &Path) -> bool {
    free_bytes(file).is_some_and(|free| free < 32 * 1024)
}

/// How many bytes the file system of `file` has left for us; `None` where that cannot be told.
pub(super) fn free_bytes(file: &Path) -> Option<u64> {
    let path = CString::new(file.parent()?.as_os_str().as_bytes()).ok()?;
    // SAFETY: an all-zero statvfs is a valid value of that plain C structure.
    let mut room: libc::statvfs64 = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends in NUL and `room` is writable; both outlive the call.
    let known = unsafe { libc::statvfs64(path.as_ptr(), &raw mut room) } == 0;
    // The size of a block has 32 bits where a C long has.
    #[allow(clippy::useless_conversion, reason = "not on every architecture")]
    known.then(|| room.f_bavail.saturating_mul(room.f_frsize.into()))
}
