//! The antagonist as its own process, on a real engine and a real kernel.

mod consent;
mod faults;
mod killed;

use std::path::Path;
use std::process::{Command, Stdio};

use dockhealth::chaos::in_netns;

use crate::support::Lab;
use crate::support::daemon::clean_command;

/// A container to attack.
struct Victim {
    name: String,
    id: String,
    pid: u32,
    address: String,
}

impl Victim {
    fn run(lab: &Lab, name: &str, options: &[&str], command: &[&str]) -> Self {
        let options = [&["--stop-signal", "KILL"], options].concat();
        Self::find(lab, lab.run(name, &options, command))
    }

    /// As it is now: a start gives it another process and network namespace.
    fn find(lab: &Lab, name: String) -> Self {
        let id = lab.inspect(&name, "{{.Id}}");
        let pid = lab.inspect(&name, "{{.State.Pid}}").parse().expect("a process id");
        let address = lab.inspect(&name, "{{.NetworkSettings.IPAddress}}");
        Self { name, id, pid, address }
    }

    /// nft's own words for what is in its network namespace; `None` when that is gone.
    fn rules(&self) -> Option<String> {
        let list = || Command::new("nft").args(["list", "ruleset"]).output().expect("nft is installed");
        let output = in_netns(self.pid, list).ok()?;
        assert!(output.status.success(), "{output:?}");
        Some(String::from_utf8(output.stdout).expect("nft speaks UTF-8"))
    }

    /// The processes that the kernel charges it for.
    fn charged(&self) -> usize {
        let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
        let cgroups = pids.map(|pid| std::fs::read_to_string(pid.path().join("cgroup")).unwrap_or_default());
        cgroups.filter(|cgroup| cgroup.contains(&self.id)).count()
    }
}

/// `dockhealth antagonist` with its ledger in `dir`; what it says can be read.
fn antagonist(dir: &Path, args: &[&str]) -> Command {
    let mut command = clean_command(dir);
    command.arg("antagonist").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A scenario of one phase that attacks `victim` alone: others' containers may consent by their labels.
fn scenario(dir: &Path, victim: &str, phase: &str) -> String {
    let file = dir.join("scenario.toml");
    let head = format!("name = \"s\"\nmax-concurrent = 1\ntargets = [{victim:?}]\n[[phase]]\nname = \"p\"\n");
    std::fs::write(&file, format!("{head}every = \"100ms\"\n{phase}\n")).expect("our own folder");
    file.to_str().expect("a plain path").to_owned()
}

/// What is written down as not undone.
fn ledger(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir.join("chaos")).into_iter().flatten().flatten();
    files.map(|file| file.file_name().to_string_lossy().into_owned()).collect()
}
