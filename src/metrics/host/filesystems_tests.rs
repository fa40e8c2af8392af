use std::sync::{Condvar, Mutex};

use super::*;
use crate::metrics::fixtures::write;

/// Whether `/dead` hangs.
static GATE: (Mutex<bool>, Condvar) = (Mutex::new(true), Condvar::new());

#[expect(clippy::unnecessary_wraps, reason = "as statvfs answers")]
fn fake(path: &Path) -> io::Result<Option<Space>> {
    if path.ends_with("dead") {
        let shut = GATE.0.lock().unwrap();
        drop(GATE.1.wait_while(shut, |shut| *shut).unwrap());
    }
    Ok(Some(Space { used: 1, total: 2 }))
}

#[test]
fn a_dead_mount_hangs_nothing_and_is_asked_again_when_it_has_answered() {
    let root = tempfile::tempdir().unwrap();
    let mounts = "1 1 8:0 / / rw - ext4 /dev/sda rw\n2 1 0:9 / /dead rw - nfs server:/x rw\n3 1 8:1 / /data rw - ext4 /dev/sdb rw\n";
    write(root.path(), &[("proc/self/mountinfo", mounts)]);
    let mut filesystems = Filesystems::asking(root.path(), fake);
    let mut read = |patience| {
        let spaces = filesystems.read(patience);
        (spaces.into_iter().map(|(point, _)| point).collect::<Vec<_>>(), filesystems.hanging.len())
    };
    let short = Duration::from_millis(100);
    assert_eq!(read(short), (vec!["/".to_owned()], 1));
    let long = Duration::from_secs(20);
    assert_eq!(
        read(long),
        (vec!["/".to_owned(), "/data".to_owned()], 1),
        "it is left out, and so hides no other"
    );
    *GATE.0.lock().unwrap() = false;
    GATE.1.notify_all();
    let deadline = Instant::now() + long;
    while read(long) != (["/", "/dead", "/data"].map(str::to_owned).to_vec(), 0) {
        assert!(Instant::now() < deadline, "it is asked again");
    }
}

#[test]
fn space_is_of_folders_only() {
    let dir = tempfile::tempdir().unwrap();
    let space = space_of(dir.path()).unwrap().expect("the disk of the temporary folder");
    assert!(space.used <= space.total && space.total > 0, "{space:?}");
    let file = dir.path().join("hosts");
    fs::write(&file, "").unwrap();
    assert_eq!(space_of(&file).unwrap(), None);
    assert!(space_of(&dir.path().join("gone")).is_err());
}
