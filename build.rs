//! Compiles the programs of `bpf/` with clang, for the `ebpf` feature, packs what the binary holds of files, the web UI's
//! among them, and says how it is linked. Where there is no clang, or no built UI, the build goes on without, says so once,
//! and the binary says it too.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;

/// What the crate is told by: `cfg(ebpf_built)` when the programs are there, else why they are not.
const BUILT: &str = "ebpf_built";
const WHY_NOT: &str = "DOCKHEALTH_NO_EBPF";

/// What the interface says of itself.
const OPENAPI: &str = "src/controller/http/openapi.json";

/// Where `npm run build` puts the web UI.
const UI: &str = "ui/dist";

/// The first glibc whose static programs read packed relocations when they start.
const READS_PACKED: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    link();
    pack(&source(Path::new(OPENAPI)), Path::new("openapi.json.gz"));
    embed_ui();
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rustc-check-cfg=cfg({BUILT})");
    if env::var_os("CARGO_FEATURE_EBPF").is_none() {
        println!("cargo::rustc-env={WHY_NOT}=built without the feature `ebpf`");
        return;
    }
    match ["chaos", "count", "net"].into_iter().try_for_each(compile) {
        Ok(()) => println!("cargo::rustc-cfg={BUILT}"),
        Err(why) => {
            println!("cargo::warning=this build has no eBPF: {why}");
            println!("cargo::rustc-env={WHY_NOT}=built without clang");
        }
    }
}

/// A file of the source.
fn source(path: &Path) -> Vec<u8> {
    println!("cargo::rerun-if-changed={}", path.display());
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes `bytes`, packed, to `name` in `OUT_DIR`.
fn pack(bytes: &[u8], name: &Path) {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).expect("memory takes all");
    let target = out_dir().join(name);
    std::fs::create_dir_all(target.parent().expect("it lies in OUT_DIR"))
        .and_then(|()| std::fs::write(&target, packed.finish().expect("memory takes all")))
        .unwrap_or_else(|error| panic!("{}: {error}", target.display()));
}

/// Packs every file of the web UI and lists them in `ui.rs`; none where it was not built.
fn embed_ui() {
    // Cargo builds anew each time for a path that is not there.
    let _ = std::fs::create_dir_all(UI);
    println!("cargo::rerun-if-changed={UI}");
    let mut files = Vec::new();
    if Path::new(UI).join("index.html").exists() {
        files_below(Path::new(UI), &mut files);
    } else {
        println!(
            "cargo::warning=this build has no web UI: scripts/build makes one, or `npm ci && npm run build` in ui/"
        );
    }
    files.sort();
    let mut list = String::from("/// Every file of the UI.\nstatic FILES: &[File] = &[\n");
    for file in &files {
        let name =
            file.strip_prefix(UI).ok().and_then(Path::to_str).expect("the UI's files have plain names");
        let packed = format!("ui/{name}.gz");
        pack(&source(file), Path::new(&packed));
        let content = format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{packed}\"))");
        writeln!(list, "    File {{ path: {name:?}, packed: {content} }},").expect("a String takes all");
    }
    list.push_str("];\n");
    let target = out_dir().join("ui.rs");
    std::fs::write(&target, list).unwrap_or_else(|error| panic!("{}: {error}", target.display()));
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display())).path();
        let compressed = path.extension().is_some_and(|extension| extension == "gz" || extension == "br");
        if path.is_dir() {
            files_below(&path, files);
        } else if !compressed {
            files.push(path);
        }
    }
}

fn out_dir() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"))
}

/// Compiles `bpf/NAME.bpf.c`. Fails only where there is no clang for it: a program that it refuses ends the build.
fn compile(name: &str) -> Result<(), String> {
    let clang = env::var_os("CLANG").unwrap_or_else(|| OsString::from("clang"));
    let big = env::var("CARGO_CFG_TARGET_ENDIAN").is_ok_and(|endian| endian == "big");
    let target = if big { "bpfeb" } else { "bpfel" };
    let able = Command::new(&clang).arg("--print-targets").output();
    let able =
        able.map_err(|error| format!("{}: {error}; install clang, or name it in CLANG", clang.display()))?;
    if !String::from_utf8_lossy(&able.stdout).contains(" bpfel ") {
        return Err(format!("{} does not know the target bpf; name another in CLANG", clang.display()));
    }
    let object = out_dir().join(format!("{name}.bpf.o"));
    let status = Command::new(&clang)
        .args(["-target", target, "-mcpu=v3", "-O2", "-g", "-ffreestanding", "-Wall", "-Wextra", "-Werror"])
        // The same bytes from whatever folder.
        .args(["-fdebug-compilation-dir=.", "-c", "-o"])
        .arg(&object)
        .arg(format!("bpf/{name}.bpf.c"))
        .status()
        .unwrap_or_else(|error| panic!("{}: {error}", clang.display()));
    assert!(status.success(), "{} cannot compile bpf/{name}.bpf.c for {target}: {status}", clang.display());
    // It takes what only a debugger reads, 10 KB; without it the object does as well.
    let _ = Command::new("llvm-strip").arg("-g").arg(&object).status();
    let bytes = std::fs::read(&object).unwrap_or_else(|error| panic!("{}: {error}", object.display()));
    pack(&bytes, Path::new(&format!("{name}.bpf.o.gz")));
    Ok(())
}

fn link() {
    // A static program that may lie anywhere corrects its own addresses when it starts, by a list that it reads from end to
    // end. As plain entries that list is 0.7 MB of file and memory, packed a few kB.
    let native = env::var("TARGET").is_ok_and(|target| target == "x86_64-unknown-linux-gnu");
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
