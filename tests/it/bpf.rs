//! The antagonist's faults by BPF on real containers: what they do, and that the kernel ends them with their process.

#![cfg(feature = "ebpf")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aya::programs::tc::{SchedClassifier, TcAttachType};

use crate::chaos::{assert_share, fping};
use crate::support::{DOCKHEALTH, Lab, wait_for};

const DEADLINE: Duration = Duration::from_secs(20);

/// A container and the host's end of its veth pair, found by another way than ours: the container's own `iflink`.
struct Victim {
    name: String,
    address: String,
    veth: String,
}

impl Victim {
    fn run(lab: &Lab) -> Self {
        let name = lab.run("victim", &[], &["sleep", "600"]);
        let index = lab.docker(&["exec", &name, "cat", "/sys/class/net/eth0/iflink"]);
        let folders = fs::read_dir("/sys/class/net").expect("the host's interfaces");
        let is_it = |folder: &fs::DirEntry| {
            let own = fs::read_to_string(folder.path().join("ifindex")).unwrap_or_default();
            own.trim() == index
        };
        let veth = folders.flatten().find(is_it).expect("its other end is here").file_name();
        let address = lab.inspect(&name, "{{.NetworkSettings.IPAddress}}");
        Self { name, address, veth: veth.into_string().expect("a plain name") }
    }

    /// The numbers of the programs that TCX links attach to the host's end.
    fn programs(&self) -> Vec<u32> {
        let both = [TcAttachType::Ingress, TcAttachType::Egress];
        let of =
            |way| SchedClassifier::query_tcx(&self.veth, way).expect("Linux 6.6, and the capabilities").1;
        both.into_iter().flat_map(of).map(|program| program.id()).collect()
    }

    /// What tc knows of it.
    fn qdiscs(&self) -> String {
        let output = Command::new("tc").args(["qdisc", "show", "dev", &self.veth]).output().expect("tc");
        String::from_utf8(output.stdout).expect("tc speaks UTF-8")
    }
}

fn is_loaded(id: u32) -> bool {
    aya::programs::loaded_programs().flatten().any(|program| program.id() == id)
}

/// The processes that `parent` started.
fn children(parent: u32) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("proc is mounted").flatten();
    let is_child = |pid: &String| {
        // 123 (name) S 1 ...
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().map(str::split_whitespace);
        fields.and_then(|mut fields| fields.nth(1)?.parse().ok()) == Some(parent)
    };
    processes.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_child).collect()
}

/// An antagonist that does `fault` once; killed when dropped.
struct Antagonist {
    child: Child,
    data: tempfile::TempDir,
}

impl Antagonist {
    /// Returns once the fault is in force by BPF.
    fn start(victim: &Victim, fault: &str, lease: &str) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut child = Command::new(DOCKHEALTH)
            .args([
                "antagonist",
                "--fault",
                fault,
                "--lease",
                lease,
                "--every",
                "500ms",
                "--target",
                &victim.name,
            ])
            .arg("--data-dir")
            .arg(data.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo built it");
        let mut lines =
            BufReader::new(child.stdout.take().expect("piped above")).lines().map_while(Result::ok);
        let done = lines.find(|line| line.contains("by BPF"));
        // What it says later must not end it.
        std::thread::spawn(move || lines.for_each(drop));
        let antagonist = Self { child, data };
        assert!(done.is_some(), "it did nothing by BPF");
        antagonist
    }

    /// `kill -9` of it and its holder at once.
    fn kill_all(mut self) -> tempfile::TempDir {
        let pid = self.child.id().to_string();
        let holders = children(self.child.id());
        assert_eq!(holders.len(), 1, "one holder: {holders:?}");
        let killed = Command::new("kill").args(["-9", &pid, &holders[0]]).status();
        assert!(killed.expect("kill").success());
        self.child.wait().expect("our own child");
        std::mem::replace(&mut self.data, tempfile::tempdir().expect("a temporary folder"))
    }
}

impl Drop for Antagonist {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It ends in order, with its fault.
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
            let _ = self.child.wait();
        }
    }
}

#[test]
fn corruption_is_loss_to_others_and_ends_with_kill_9_of_everybody() {
    let lab = Lab::new("bpf-corrupt");
    let victim = Victim::run(&lab);
    assert_eq!(fping(&victim.address, 100), 100);
    let antagonist = Antagonist::start(&victim, "corruption=50%", "60s");
    assert_share(fping(&victim.address, 2000), 2000, 50.0, "an echo whose answer is damaged");
    let programs = victim.programs();
    assert_eq!(programs.len(), 1, "one program, on what it sends");
    let data = antagonist.kill_all();
    wait_for("the kernel ends it", Duration::from_secs(1), || {
        (victim.programs().is_empty() && !is_loaded(programs[0])).then_some(())
    });
    assert_eq!(fping(&victim.address, 200), 200);
    assert!(!victim.qdiscs().contains("clsact"), "{}", victim.qdiscs());
    let swept =
        Command::new(DOCKHEALTH).args(["antagonist", "--sweep", "--data-dir"]).arg(data.path()).output();
    let swept = swept.expect("cargo built it");
    assert!(swept.status.success(), "{swept:?}");
    assert_eq!(fs::read_dir(data.path().join("chaos")).expect("the ledger").count(), 0, "{swept:?}");
}

#[test]
fn corruption_ends_with_its_lease_and_leaves_nothing() {
    let lab = Lab::new("bpf-lease");
    let victim = Victim::run(&lab);
    let antagonist = Antagonist::start(&victim, "corruption=100%", "2s");
    let programs = victim.programs();
    assert_eq!(fping(&victim.address, 20), 0);
    wait_for("its lease is over", DEADLINE, || (!is_loaded(programs[0])).then_some(()));
    drop(antagonist);
    assert_eq!((victim.programs(), fping(&victim.address, 100)), (Vec::new(), 100));
    assert!(!victim.qdiscs().contains("clsact"), "{}", victim.qdiscs());
}
