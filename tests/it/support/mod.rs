//! What the tests share: a lab of containers on the real engine, and waiting with a deadline.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]
#![allow(clippy::unused_self, reason = "what speaks of a lab is asked of the lab")]

pub(crate) mod daemon;
pub(crate) mod dockerd;
pub(crate) mod memory;
pub(crate) mod nats;
pub(crate) mod victoria;

use std::cell::RefCell;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The binary under test; static, so it also runs in an image from scratch.
pub const DOCKHEALTH: &str = env!("CARGO_BIN_EXE_dockhealth");

/// Containers and networks with a prefix of their own, removed when dropped. Speaks through Docker's own command
/// line, so it is an oracle independent of our adapter.
pub struct Lab {
    prefix: String,
    made: RefCell<Vec<(&'static str, String)>>,
}

impl Lab {
    /// A lab for `test`; fails by name where no engine answers.
    pub fn new(test: &str) -> Self {
        let answer = docker(&["version", "--format", "{{.Server.Version}}"]);
        assert!(
            answer.status.success(),
            "this test needs a Docker engine: start dockerd (scripts/test does): {answer:?}"
        );
        let nonce: u32 = rand::random();
        Self { prefix: format!("dhtest-{test}-{nonce:08x}"), made: RefCell::default() }
    }

    /// The full name of the lab's container or network `name`.
    pub fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// The prefix every name of the lab begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Runs a container of the busybox image in the background; returns its full name.
    pub fn run(&self, name: &str, options: &[&str], command: &[&str]) -> String {
        self.run_image(busybox_image(), name, options, command)
    }

    /// Runs a container of `image` in the background; returns its full name.
    pub fn run_image(&self, image: &str, name: &str, options: &[&str], command: &[&str]) -> String {
        let full = self.name(name);
        self.made.borrow_mut().push(("container", full.clone()));
        let mut args = vec!["run", "--detach", "--name", &full];
        args.extend(options);
        args.push(image);
        args.extend(command);
        self.docker(&args);
        full
    }

    /// Removes the container `full` with the lab, whoever made it.
    pub fn adopt(&self, full: &str) {
        self.made.borrow_mut().push(("container", full.to_owned()));
    }

    /// Creates a network; returns its full name.
    pub fn network(&self, name: &str, options: &[&str]) -> String {
        let full = self.name(name);
        self.made.borrow_mut().push(("network", full.clone()));
        let mut args = vec!["network", "create"];
        args.extend(options);
        args.push(&full);
        self.docker(&args);
        full
    }

    /// Runs `docker` with `args`, which must succeed; returns what it printed.
    pub fn docker(&self, args: &[&str]) -> String {
        let output = docker(args);
        assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// One field of `docker inspect`, by Go template.
    pub fn inspect(&self, full: &str, template: &str) -> String {
        self.docker(&["inspect", "--format", template, full])
    }

    /// Whether the container runs now.
    pub fn is_running(&self, full: &str) -> bool {
        let output = docker(&["inspect", "--format", "{{.State.Running}}", full]);
        output.status.success() && String::from_utf8_lossy(&output.stdout).trim() == "true"
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let made = self.made.take();
        for kind in ["container", "network"] {
            for (_, name) in made.iter().filter(|(k, _)| *k == kind) {
                let force: &[&str] = if kind == "container" { &["--force", "--volumes"] } else { &[] };
                let _ = docker(&[&[kind, "rm"], force, &[name.as_str()]].concat());
            }
        }
    }
}

/// Runs `docker` with `args`.
pub fn docker(args: &[&str]) -> Output {
    Command::new("docker")
        .args(args)
        .output()
        .expect("the docker command is installed (scripts/test does it)")
}

/// An image of Debian's static busybox, from scratch, made once per machine.
pub fn busybox_image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let script = "mkdir -p bin && cp /bin/busybox bin/ && for a in $(bin/busybox --list); do [ -e bin/$a ] || ln -s busybox bin/$a; done";
        image_of("dockhealth-test/busybox:1", Path::new("/bin/busybox"), script)
    })
}

/// An image of the binary under test, from scratch; its entry point is `/dockhealth`.
pub fn dockhealth_image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let script = format!("strip -o dockhealth '{DOCKHEALTH}' && mkdir -p data tmp");
        let meta = std::fs::metadata(DOCKHEALTH).expect("cargo built it");
        let changed = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        let tag = format!("dockhealth-test/self:{}", changed.map_or(0, |d| d.as_millis()));
        image_of(&tag, Path::new(DOCKHEALTH), &script)
    })
}

fn image_of(tag: &str, needs: &Path, script: &str) -> String {
    assert!(needs.exists(), "this test needs {} (scripts/test installs it)", needs.display());
    if !docker(&["image", "inspect", tag]).status.success() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let import = if tag.starts_with("dockhealth-test/self") {
            "--change 'ENTRYPOINT [\"/dockhealth\"]'"
        } else {
            ""
        };
        let all = format!(
            "set -e; cd '{}'; {script}; tar -c . | docker import {import} - '{tag}'",
            dir.path().display()
        );
        let output = Command::new("sh").args(["-c", &all]).output().expect("sh");
        assert!(output.status.success(), "making {tag}: {}", String::from_utf8_lossy(&output.stderr));
    }
    tag.to_owned()
}

/// Waits until `probe` gives a value; panics with `what` after `deadline`.
pub fn wait_for<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < deadline, "{what}: not within {deadline:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// No condition of a test within this process takes longer to come true.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Polls until `probe` gives a value; panics with `what` after [`DEADLINE`].
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
