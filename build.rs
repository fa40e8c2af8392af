//! How the program is linked.

use std::process::Command;

/// The first glibc whose static programs read packed relocations when they start.
const READS_PACKED: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A static program that may lie anywhere corrects its own addresses when it starts, by a list that it reads from end to
    // end. As plain entries that list is 0.7 MB of file and memory, packed a few kB.
    let native = std::env::var("TARGET").is_ok_and(|target| target == "x86_64-unknown-linux-gnu");
    if native && glibc().is_some_and(|version| version >= READS_PACKED) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of the glibc that is linked in: this machine's.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
