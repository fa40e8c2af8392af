//! Compiles the programs of `bpf/` with clang, for the `ebpf` feature. Where there is no clang the build goes on without
//! them, says so once, and the binary says it too.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// What the crate is told by: `cfg(ebpf_built)` when the programs are there, else why they are not.
const BUILT: &str = "ebpf_built";
const WHY_NOT: &str = "DOCKHEALTH_NO_EBPF";

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rustc-check-cfg=cfg({BUILT})");
    if env::var_os("CARGO_FEATURE_EBPF").is_none() {
        println!("cargo::rustc-env={WHY_NOT}=built without the feature `ebpf`");
        return;
    }
    match compile("chaos") {
        Ok(()) => println!("cargo::rustc-cfg={BUILT}"),
        Err(why) => {
            println!("cargo::warning=this build has no eBPF: {why}");
            println!("cargo::rustc-env={WHY_NOT}=built without clang");
        }
    }
}

/// Compiles `bpf/NAME.bpf.c`. Fails only where there is no clang for it: a program that it refuses ends the build.
fn compile(name: &str) -> Result<(), String> {
    let of_cargo = |name: &str| env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let clang = env::var_os("CLANG").unwrap_or_else(|| OsString::from("clang"));
    let target = if of_cargo("CARGO_CFG_TARGET_ENDIAN") == "big" { "bpfeb" } else { "bpfel" };
    let able = Command::new(&clang).arg("--print-targets").output();
    let able =
        able.map_err(|error| format!("{}: {error}; install clang, or name it in CLANG", clang.display()))?;
    if !String::from_utf8_lossy(&able.stdout).contains(" bpfel ") {
        return Err(format!("{} does not know the target bpf; name another in CLANG", clang.display()));
    }
    let object = PathBuf::from(of_cargo("OUT_DIR")).join(format!("{name}.bpf.o"));
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
    Ok(())
}
