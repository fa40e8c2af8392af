//! Where real file systems are mounted. An engine mounts some for each container, so the table is long, and making it costs
//! the kernel as much as all else that is read of a host: it is read anew only when it has changed.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use super::text::{Mount, mounts, unescaped};
use crate::metrics::held::Scratch;

/// Mounts that are told of at most, in the order they were mounted.
const MOUNTS: usize = 64;

/// The real mounts of a `mountinfo`.
pub(super) struct MountTable {
    path: PathBuf,
    /// Held open, for the kernel tells whoever holds it of changes (proc(5)).
    file: Option<File>,
    real: Vec<PathBuf>,
}

impl MountTable {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, real: Vec::new() }
    }

    /// Every mount point of a real file system; none where the table cannot be read.
    pub(super) fn real(&mut self) -> &[PathBuf] {
        if !self.file.as_ref().is_some_and(unchanged) {
            self.file = None;
            self.real = self.read().unwrap_or_default();
        }
        &self.real
    }

    fn read(&mut self) -> Option<Vec<PathBuf>> {
        let file = File::open(&self.path).ok()?;
        let real = real_mounts(Scratch::new().whole(&file).ok()?);
        self.file = Some(file);
        Some(real)
    }
}

/// Whether the mounts are as they were when the file was opened.
fn unchanged(file: &File) -> bool {
    let mut asked = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLPRI, revents: 0 };
    // SAFETY: one struct, which lives until after the call.
    unsafe { libc::poll(&raw mut asked, 1, 0) == 0 }
}

/// Where real file systems are mounted, each once, at its shortest mount point.
fn real_mounts(text: &str) -> Vec<PathBuf> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for mount in mounts(text).filter(Mount::is_real) {
        let point = unescaped(mount.point);
        match found.iter().position(|(device, _)| *device == mount.device) {
            Some(at) if point.len() < found[at].1.len() => found[at].1 = point,
            None if found.len() < MOUNTS => found.push((mount.device, point)),
            _ => {}
        }
    }
    found.into_iter().map(|(_, point)| PathBuf::from(point)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_system_is_told_once_by_its_shortest_mount_point() {
        let text = "1 1 254:0 /x /var/lib/docker rw - ext4 /dev/vda rw\n2 1 254:0 / / rw - ext4 /dev/vda rw\n3 1 254:1 / /boot rw - ext4 /dev/vdb rw\n";
        assert_eq!(real_mounts(text), [PathBuf::from("/"), PathBuf::from("/boot")]);
        let many: Vec<String> =
            (0..2 * MOUNTS).map(|n| format!("1 1 8:{n} / /m{n} rw - ext4 /dev/x rw")).collect();
        assert_eq!(real_mounts(&many.join("\n")).len(), MOUNTS);
    }

    #[test]
    fn the_kernel_tells_of_a_mount_and_of_its_end() {
        use std::ffi::CString;
        use std::os::unix::ffi::OsStrExt;
        use std::path::Path;

        let folder = tempfile::tempdir().unwrap();
        let path = CString::new(folder.path().as_os_str().as_bytes()).unwrap();
        // In a thread with mounts of its own.
        let told = std::thread::spawn(move || {
            let done = |result| assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
            // SAFETY: no pointer.
            done(unsafe { libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS) });
            let null = std::ptr::null;
            // SAFETY: the text ends with a zero and lives until after the call; the rest may be null.
            done(unsafe {
                libc::mount(null(), c"/".as_ptr(), null(), libc::MS_REC | libc::MS_PRIVATE, null().cast())
            });
            let opened = || File::open(Path::new("/proc/thread-self/mountinfo")).unwrap();
            let mut told = vec![unchanged(&opened())];
            let (file, kind) = (opened(), c"tmpfs".as_ptr());
            // SAFETY: as before.
            done(unsafe { libc::mount(kind, path.as_ptr(), kind, 0, null().cast()) });
            told.push(unchanged(&file));
            let file = opened();
            // SAFETY: as before.
            done(unsafe { libc::umount(path.as_ptr()) });
            told.push(unchanged(&file));
            told
        });
        assert_eq!(told.join().unwrap(), [true, false, false]);
    }
}
