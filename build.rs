//! How the program is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A static program that may lie anywhere corrects its own addresses when it starts, by a list that it reads from end to
    // end. As plain entries that list is 0.7 MB of file and memory, packed a few kB.
    if std::env::var("TARGET").is_ok_and(|target| target == "x86_64-unknown-linux-gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
