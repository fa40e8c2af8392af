//! The binaries that `scripts/cross` builds for other architectures, run by qemu's user emulation: the engine's socket,
//! ICMP, NATS and cgroup files are those of this machine. `scripts/soak arch` builds and runs them.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::support::daemon::{Daemon, clean_command_of};
use crate::support::nats::NatsServer;
use crate::support::{Lab, wait_for};

/// Emulated code runs some ten times slower.
const DEADLINE: Duration = Duration::from_mins(3);

/// A binary and what runs it.
struct Emulated {
    emulator: &'static str,
    binary: String,
}

impl Emulated {
    fn new(arch: &str, emulator: &'static str) -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
        let binary = target.join("release-bin").join(format!("dockhealth-{arch}"));
        assert!(binary.exists(), "this test needs {}: scripts/cross {arch}", binary.display());
        Self { emulator, binary: binary.to_str().expect("a path of text").to_owned() }
    }

    /// What `dockhealth ARGS` does.
    fn run(&self, args: &[&str]) -> Output {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = clean_command_of(self.emulator, dir.path());
        command.arg(&self.binary).args(args);
        command
            .output()
            .unwrap_or_else(|e| panic!("this test needs {} (qemu-user-static): {e}", self.emulator))
    }

    /// What it prints when it must succeed.
    fn succeed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A fleet of a native controller and an emulated agent.
fn heals_measures_and_pings(arch: &str, emulator: &'static str) {
    let emulated = Emulated::new(arch, emulator);
    assert!(emulated.succeed(&["version"]).contains(env!("CARGO_PKG_VERSION")));

    let lab = Lab::new(arch);
    let victim = lab.run("victim", &["--init"], &["sleep", "1000000"]);
    let address = lab.inspect(&victim, "{{.NetworkSettings.IPAddress}}");
    let pinged = emulated.succeed(&["ping", &address]);
    assert!(pinged.contains(&address), "{pinged}");

    let measured = emulated.succeed(&["cpu-collect", "--once", "--format", "json", &victim]);
    let measured: Value = serde_json::from_str(&measured).expect("JSON");
    assert_eq!(measured[0]["name"], *victim, "{measured}");
    assert!(measured[0]["memory_bytes"].as_f64().is_some_and(|bytes| bytes > 10_000.0), "{measured}");

    let (nats, dir) = (NatsServer::start(), tempfile::tempdir().expect("a temporary folder"));
    // By name, so that it is looked up as well.
    let url = format!("nats://localhost:{}", nats.port());
    let controller = Daemon::start("controller", &dir.path().join("controller"), &["--nats", &url]);
    let rest = controller.rest();
    let options = ["--nats", &url, "--hostname", arch, "--interval", "2s", "--profile", "edge"];
    let program = [emulator, &emulated.binary];
    let mut agent = Daemon::start_program(&program, "agent", &dir.path().join("agent"), &options, &[]);

    let path = format!("/containers/{arch}/{victim}");
    let view = || {
        let (status, view) = rest.send("GET", &path, None);
        (status == 200).then(|| view["container"].clone())
    };
    wait_for("the controller lists the agent's containers", DEADLINE, view);
    rest.ok("POST", &path, None);
    let well = wait_for("it answers the agent's pings", DEADLINE, || {
        view().filter(|view| view["health"] == "healthy" && view["loss_percent"] == 0.0)
    });
    println!("{arch}: {victim} is healthy, rtt {} ms", well["rtt_ms"]);

    lab.docker(&["kill", &victim]);
    let started = wait_for("the killed container runs again, by the agent", DEADLINE, || {
        let events = rest.get(&format!("/events?host={arch}&container={victim}&kind=container_started"));
        events.as_array()?.first().cloned()
    });
    println!("{arch}: {}", started["reason"]);
    assert!(lab.is_running(&victim));
    assert!(agent.errors().is_empty(), "{:?}", agent.errors());
    assert!(agent.terminate().success(), "it ends in order");
}

#[test]
#[ignore = "needs scripts/cross and qemu: scripts/soak arch"]
fn arm64_heals_measures_and_pings() {
    heals_measures_and_pings("arm64", "qemu-aarch64-static");
}

#[test]
#[ignore = "needs scripts/cross and qemu: scripts/soak arch"]
fn armv7_heals_measures_and_pings() {
    heals_measures_and_pings("armv7", "qemu-arm-static");
}
