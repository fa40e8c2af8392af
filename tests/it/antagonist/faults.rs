//! Each fault does what it says, to its container alone, and passes with its lease.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command};
use std::time::Duration;

use dockhealth::chaos::in_netns;

use super::{Victim, antagonist, ledger, scenario};
use crate::support::{Lab, wait_for};

const SOON: Duration = Duration::from_secs(20);

/// An antagonist that did one fault, which lasts until it is told to end.
struct Attack {
    child: Child,
    said: BufReader<ChildStdout>,
    line: String,
}

impl Attack {
    fn begin(dir: &Path, victim: &Victim, fault: &str) -> Self {
        let phase = format!("faults = [{fault:?}]\nlease = \"1m\"\nfor = \"5m\"");
        let file = scenario(dir, &victim.name, &phase);
        let mut child = antagonist(dir, &["--scenario", &file]).spawn().expect("our own binary");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.starts_with(&victim.name) && !line.starts_with("stopped ") {
            line.clear();
            let length = said.read_line(&mut line).expect("a pipe");
            assert!(length > 0 && !line.starts_with("could not"), "{fault}: {line:?}");
        }
        Self { child, said, line }
    }

    /// Ends it in order; what it said last.
    fn end(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        let mut last = String::new();
        while self.said.read_line(&mut self.line).expect("a pipe") > 0 {
            last = std::mem::take(&mut self.line);
        }
        assert!(self.child.wait().expect("our own child").success(), "{last}");
        last
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        // One that ended already is a success.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a connection from the network namespace of `from` comes about.
fn connects(from: &Victim, to: &str) -> bool {
    let to: SocketAddr = to.parse().expect("an address");
    let try_it = || TcpStream::connect_timeout(&to, Duration::from_millis(700)).is_ok();
    in_netns(from.pid, try_it).expect("the container runs")
}

const LISTEN: &str = "for p in 53 80; do nc -ll -p $p -e true & done; wait";

#[test]
fn a_partition_cuts_off_one_container_from_another_and_dns_only_port_53() {
    let lab = Lab::new("cut");
    let dir = tempfile::tempdir().unwrap();
    let web = Victim::run(&lab, "web", &[], &["sleep", "600"]);
    let peers = ["db", "other"].map(|name| Victim::run(&lab, name, &[], &["sh", "-c", LISTEN]));
    let at = |peer: usize, port: u16| format!("{}:{port}", peers[peer].address);
    let all = || [(0, 53), (0, 80), (1, 53), (1, 80)].map(|(peer, port)| connects(&web, &at(peer, port)));
    wait_for("both listen", SOON, || (all() == [true; 4]).then_some(()));
    let partition = Attack::begin(dir.path(), &web, &format!("partition={}", peers[0].name));
    assert_eq!(all(), [false, false, true, true]);
    partition.end();
    assert_eq!(all(), [true; 4]);
    let dns = Attack::begin(dir.path(), &web, "dns");
    assert_eq!(all(), [false, true, false, true]);
    dns.end();
    assert_eq!(all(), [true; 4]);
    let rules = web.rules().expect("it runs");
    assert_eq!((rules.contains("dockhealth_"), ledger(dir.path())), (false, Vec::new()));
}

#[test]
fn a_processor_is_used_up_and_charged_to_the_container() {
    let lab = Lab::new("hog");
    let dir = tempfile::tempdir().unwrap();
    let web = Victim::run(&lab, "web", &["--cpus", "0.5"], &["sleep", "600"]);
    let attack = Attack::begin(dir.path(), &web, "cpu");
    assert!(attack.line.contains("(1 of "), "{}", attack.line);
    assert_eq!(web.charged(), 2);
    let top = lab.docker(&["top", &web.name, "-o", "pid,args"]);
    assert!(top.contains("sleep"), "{top}");
    // Half a processor is its limit, which the kernel holds the hog to.
    wait_for("time that it used", SOON, || {
        let stats = lab.docker(&["stats", "--no-stream", "--format", "{{.CPUPerc}}", &web.name]);
        let share: f64 = stats.trim().trim_end_matches('%').parse().expect("a percentage");
        assert!(share < 80.0, "its limit does not hold: {share} %");
        (share > 20.0).then_some(())
    });
    attack.end();
    assert_eq!(web.charged(), 1);
}

#[test]
fn memory_is_taken_until_the_kernel_kills_in_the_container_and_only_within_its_limit() {
    let lab = Lab::new("oom");
    let dir = tempfile::tempdir().unwrap();
    // Without CAP_SYS_RESOURCE the kernel takes whoever is largest: the container's must be larger than a program is.
    let large = "x=$(yes | head -c 40000000); while :; do sleep 1; done";
    let web = Victim::run(&lab, "web", &["--memory", "128m"], &["sh", "-c", large]);
    let size = || std::fs::read_to_string(format!("/proc/{}/statm", web.pid)).unwrap();
    let pages = || size().split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    wait_for("its size", SOON, || (pages() > 8000).then_some(()));
    let attack = Attack::begin(dir.path(), &web, "oom");
    wait_for("its end", SOON, || (!lab.is_running(&web.name)).then_some(()));
    // Killed by the kernel: nobody else is there to. The engine's own word for it, OOMKilled, may come later or never.
    assert_eq!(lab.inspect(&web.name, "{{.State.ExitCode}}"), "137");
    let last = attack.end();
    assert!(last.contains(&format!("nobody had healed {}", web.name)), "{last}");
    assert!(lab.is_running(&web.name), "its faults end with it");
    let unlimited = Victim::run(&lab, "unlimited", &[], &["sleep", "600"]);
    let file = scenario(dir.path(), &unlimited.name, "faults = [\"oom\"]\nfor = \"150ms\"");
    let args = ["--scenario", &file];
    let said = String::from_utf8(antagonist(dir.path(), &args).output().unwrap().stdout).unwrap();
    assert!(said.contains("it has no memory limit: give how much to take, as oom=256MiB"), "{said}");
}

#[test]
fn a_disk_is_filled_as_far_as_asked_and_freed() {
    let lab = Lab::new("fill");
    let dir = tempfile::tempdir().unwrap();
    let web = Victim::run(&lab, "web", &[], &["sleep", "600"]);
    let free = || {
        let text = lab.docker(&["exec", &web.name, "df", "-m", "/"]);
        let fields = text.lines().last().expect("a line").split_whitespace().rev();
        fields.skip(2).find_map(|field| field.parse::<i64>().ok()).expect("what is free")
    };
    let before = free();
    let attack = Attack::begin(dir.path(), &web, "disk=1GiB");
    assert!(attack.line.contains(" taken"), "{}", attack.line);
    let held = free();
    // Others write to the disk too.
    assert!(before - held > 600, "{before} MiB were free, {held} MiB are");
    attack.end();
    wait_for("room", SOON, || (free() - held > 600).then_some(()));
    let files = lab.docker(&["exec", &web.name, "find", "/", "-xdev", "-size", "+100000k"]);
    assert_eq!(files, "");
    let sealed = Victim::run(&lab, "sealed", &["--read-only"], &["sleep", "600"]);
    let file = scenario(dir.path(), &sealed.name, "faults = [\"disk=16MiB\"]\nfor = \"150ms\"");
    let args = ["--scenario", &file];
    let said = String::from_utf8(antagonist(dir.path(), &args).output().unwrap().stdout).unwrap();
    assert!(said.contains("no file can be made in its writable layer"), "{said}");
}

#[test]
fn a_pause_passes_with_its_lease() {
    let lab = Lab::new("pause");
    let dir = tempfile::tempdir().unwrap();
    let web = Victim::run(&lab, "web", &[], &["sleep", "600"]);
    let file = scenario(dir.path(), &web.name, "faults = [\"pause\"]\nlease = \"500ms\"\nfor = \"1m\"");
    let args = ["--scenario", &file];
    let mut child = antagonist(dir.path(), &args).spawn().expect("our own binary");
    let said = BufReader::new(child.stdout.take().expect("piped"));
    let mut over = 0;
    for line in said.lines().map_while(Result::ok) {
        if line.contains(": pause for 500ms") {
            assert_eq!(ledger(dir.path()).len(), 1, "it is written down");
        }
        over += u32::from(line.ends_with("is over"));
        if over == 2 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(over, 2);
    wait_for("its thaw", SOON, || (lab.inspect(&web.name, "{{.State.Status}}") == "running").then_some(()));
    wait_for("an empty ledger", SOON, || ledger(dir.path()).is_empty().then_some(()));
}

#[test]
fn a_scenario_that_comes_out_otherwise_fails_and_one_that_is_wrong_does_nothing() {
    let lab = Lab::new("scenario");
    let dir = tempfile::tempdir().unwrap();
    let web = Victim::run(&lab, "web", &[], &["sleep", "600"]);
    let play = |outcome: &str| {
        let phase = format!(
            "faults = [\"kill\"]\nfor = \"150ms\"\nlease = \"5s\"\n\
             expect = {{ outcome = {outcome:?}, within = \"400ms\" }}"
        );
        let file = scenario(dir.path(), &web.name, &phase);
        antagonist(dir.path(), &["--scenario", &file]).output().unwrap()
    };
    let missed = play("healed");
    let said = String::from_utf8_lossy(&missed.stdout);
    assert_eq!(missed.status.code(), Some(1), "{missed:?}");
    assert!(said.contains("NOT as expected: kill on"), "{said}");
    assert!(lab.is_running(&web.name));
    let met = play("untouched");
    assert_eq!(met.status.code(), Some(0), "{met:?}");
    let wrong = play("well");
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    assert!(lab.is_running(&web.name));
}
