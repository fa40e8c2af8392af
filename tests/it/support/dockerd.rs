//! A Docker engine of the test's own: its own data, socket and bridge, so that it can be killed, and so that agents
//! of one test never see containers of another.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use super::wait_for;

/// The image in it: Debian's static busybox.
pub(crate) const IMAGE: &str = "busybox:test";

const IMPORT: &str = "set -e; cd \"$1\"; mkdir -p root/bin; cp /bin/busybox root/bin/; \
    for a in $(root/bin/busybox --list); do [ -e root/bin/$a ] || ln -s busybox root/bin/$a; done; \
    tar -C root -c . | docker --host \"$2\" import - \"$3\"; rm -r root";

/// How long an engine may take to begin or end on a busy machine.
const SLOWEST: Duration = Duration::from_mins(1);

/// An engine; it is ended, and all that it made removed, when dropped.
pub(crate) struct Dockerd {
    dir: tempfile::TempDir,
    bridge: String,
    subnet: String,
    child: Option<Child>,
    /// `docker events`, which ends with its engine.
    recorder: Option<Child>,
}

impl Dockerd {
    /// Starts an engine that has [`IMAGE`] and no container.
    pub(crate) fn start() -> Self {
        let nonce: u32 = rand::random();
        let [a, b, ..] = nonce.to_be_bytes();
        let mut engine = Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
            bridge: format!("dht{nonce:08x}"),
            subnet: format!("10.{}.{b}.1/24", a | 128),
            child: None,
            recorder: None,
        };
        ip(&["link", "add", &engine.bridge, "type", "bridge"]);
        ip(&["address", "add", &engine.subnet, "dev", &engine.bridge]);
        ip(&["link", "set", &engine.bridge, "up"]);
        engine.spawn();
        let dir = engine.dir.path().to_str().expect("a plain path");
        let made = Command::new("sh").args(["-c", IMPORT, "sh", dir, &engine.address(), IMAGE]).output();
        let made = made.expect("sh");
        assert!(made.status.success(), "{IMAGE}: {}", String::from_utf8_lossy(&made.stderr));
        engine
    }

    /// Where it listens, as `DOCKER_HOST` says it.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}/docker.sock", self.dir.path().display())
    }

    /// Docker's own command line for this engine.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.address()]).args(args);
        command
    }

    /// Runs `docker` with `args` on this engine.
    pub(crate) fn try_docker(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the docker command is installed (scripts/test does it)")
    }

    /// Runs `docker` with `args` on this engine, which must succeed; returns what it printed.
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        let output = self.try_docker(args);
        assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs a container that sleeps and, stopped, ends at once.
    pub(crate) fn run(&self, name: &str, options: &[&str]) {
        let mut args = vec!["run", "--detach", "--stop-signal", "KILL", "--name", name];
        args.extend(options);
        args.extend([IMAGE, "sleep", "1000000"]);
        self.docker(&args);
    }

    /// One field of `docker inspect`, by Go template; `None` when it cannot be had.
    pub(crate) fn inspect(&self, name: &str, template: &str) -> Option<String> {
        let output = self.try_docker(&["inspect", "--format", template, name]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Whether the container runs now.
    pub(crate) fn is_running(&self, name: &str) -> bool {
        self.inspect(name, "{{.State.Running}}").as_deref() == Some("true")
    }

    /// Kills the container's first process behind the engine's back: a crash.
    pub(crate) fn crash(&self, name: &str) {
        let pid = self.inspect(name, "{{.State.Pid}}").expect("the container exists");
        assert_ne!(pid, "0", "{name} runs");
        assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill").success());
    }

    /// Ends the engine at once; its containers' processes go on until it is started again.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("our own child can be killed");
        child.wait().expect("and waited for");
        self.forget_containerd();
    }

    /// Waits until the engine's containerd has died with it, and removes its pid file: where nobody reaps orphans (in a
    /// container) the engine would take the dead one for a living one, and wait for it.
    fn forget_containerd(&self) {
        let file = self.dir.path().join("exec/containerd/containerd.pid");
        let Ok(pid) = fs::read_to_string(&file) else { return };
        let stat = format!("/proc/{}/stat", pid.trim());
        wait_for("containerd ends with its engine", SLOWEST, || {
            let stat = fs::read_to_string(&stat).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
        fs::remove_file(&file).expect("it was there");
    }

    /// Ends the engine in order, which stops its containers.
    pub(crate) fn terminate(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(told.expect("kill").success());
        wait_for("dockerd ends", SLOWEST, || child.try_wait().expect("our own child"));
    }

    /// Starts the engine after it was ended.
    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let dir = self.dir.path();
        let log = fs::File::options().append(true).create(true).open(dir.join("log")).expect("our folder");
        let mut command = Command::new("dockerd");
        command.arg("--data-root").arg(dir.join("data")).arg("--exec-root").arg(dir.join("exec"));
        command.arg("--pidfile").arg(dir.join("pid")).args(["--host", &self.address()]);
        command.args(["--bridge", &self.bridge, "--iptables=false", "--ip6tables=false"]);
        command.args(["--ip-masq=false", "--ip-forward=false", "--live-restore=false"]);
        // Where the machine has one containerd for all, two engines must not share what is in it.
        command.args(["--containerd-namespace", &self.bridge]);
        command.args(["--containerd-plugins-namespace", &format!("{}-plugins", self.bridge)]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        self.child = Some(command.spawn().expect("this test needs dockerd (scripts/test installs it)"));
        wait_for("dockerd answers", SLOWEST, || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("our own child"));
            assert!(ended.is_none(), "dockerd ended: {}", self.log());
            self.try_docker(&["version"]).status.success().then_some(())
        });
        // The engine itself keeps only its last 256 events.
        let events =
            fs::File::options().append(true).create(true).open(self.events_file()).expect("our folder");
        let format = "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}";
        let mut recorder = self.command(&["events", "--since", "2020-01-01T00:00:00Z", "--format", format]);
        let recorder = recorder.stdin(Stdio::null()).stdout(events).stderr(Stdio::null()).spawn();
        if let Some(mut ended) = self.recorder.replace(recorder.expect("docker")) {
            ended.wait().expect("our own child");
        }
    }

    fn events_file(&self) -> std::path::PathBuf {
        self.dir.path().join("events")
    }

    /// How often the engine told until now, in all its lives, that `action` happened to containers of this name.
    pub(crate) fn told(&self, action: &str, name: &str) -> usize {
        let mark = format!("mark-{:08x}", rand::random::<u32>());
        self.docker(&["volume", "create", &mark]);
        let events = wait_for("the engine's events", SLOWEST, || {
            let events = fs::read_to_string(self.events_file()).unwrap_or_default();
            events.contains(&mark).then_some(events)
        });
        self.docker(&["volume", "rm", &mark]);
        let about =
            |line: &&str| line.split(' ').next() == Some(action) && line.split(' ').nth(2) == Some(name);
        events.lines().filter(about).count()
    }

    /// The end of its log.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Removes what containers it has, and ends it.
    fn clean_up(&mut self) {
        if self.child.is_none() {
            self.spawn();
        }
        let all = self.docker(&["ps", "--all", "--quiet"]);
        let all: Vec<&str> = all.split_whitespace().collect();
        if !all.is_empty() {
            self.try_docker(&[&["rm", "--force", "--volumes"], &all[..]].concat());
        }
        self.terminate();
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let cleaned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.clean_up()));
        if let Some(mut child) = self.child.take() {
            // It did not end in order. Another panic would hide the first.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(mut recorder) = self.recorder.take() {
            let _ = recorder.kill();
            let _ = recorder.wait();
        }
        let dir = self.dir.path().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours =
            mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| path.starts_with(&dir));
        let mut ours: Vec<&str> = ours.collect();
        ours.sort_by_key(|path| std::cmp::Reverse(path.len()));
        for path in ours {
            let _ = Command::new("umount").args(["--lazy", path]).status();
        }
        let _ = Command::new("ip").args(["link", "delete", &self.bridge]).status();
        if cleaned.is_err() {
            eprintln!("the private dockerd did not end in order: {}", self.log());
        }
    }
}

fn ip(args: &[&str]) {
    let output =
        Command::new("ip").args(args).output().expect("iproute2 is installed (scripts/test does it)");
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
