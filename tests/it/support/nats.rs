//! A real nats-server of the test's own: a free loopback port, a store that lives as long as the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::wait_for;

/// A nats-server with JetStream, killed when dropped.
pub(crate) struct NatsServer {
    dir: tempfile::TempDir,
    config: Option<PathBuf>,
    port: u16,
    child: Option<Child>,
}

impl NatsServer {
    /// A server that anyone on loopback may use.
    pub(crate) fn start() -> Self {
        Self::launch(None)
    }

    /// A server with the configuration file at `path`. Its address, port and store are ours: a `store_dir` of its own
    /// must be `$NATS_STORE_DIR`.
    pub(crate) fn with_config(path: &Path) -> Self {
        Self::launch(Some(path.to_owned()))
    }

    fn launch(config: Option<PathBuf>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self { dir, config, port: 0, child: None };
        server.spawn();
        server
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port, kept over restarts.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Ends it at once, as `kill -9` does; the store stays.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("and waited for");
        }
    }

    /// Starts it again on the same port with the same store, killing it first when it still runs.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.spawn();
    }

    /// Starts it again on the same port with an empty store.
    pub(crate) fn restart_empty(&mut self) {
        self.kill();
        fs::remove_dir_all(self.dir.path().join("store")).expect("the store was there");
        self.spawn();
    }

    /// Makes it read its configuration again.
    pub(crate) fn reload(&self) {
        let pid = self.pid().expect("it runs").to_string();
        let before = self.log().matches("Reloaded server configuration").count();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
        wait_for("nats-server reloads", Duration::from_secs(10), || {
            (self.log().matches("Reloaded server configuration").count() > before).then_some(())
        });
    }

    fn spawn(&mut self) {
        let dir = self.dir.path();
        let port = if self.port == 0 { "-1".to_owned() } else { self.port.to_string() };
        let log = dir.join("log");
        let mut command = Command::new("nats-server");
        command.args(["--addr", "127.0.0.1", "--port", &port, "--jetstream"]);
        command.env("NATS_STORE_DIR", dir.join("store"));
        command.arg("--log").arg(&log).arg("--ports_file_dir").arg(dir);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let text = self.config.as_ref().map(|config| fs::read_to_string(config).expect("the configuration"));
        if !text.is_some_and(|text| text.contains("store_dir:")) {
            command.arg("--store_dir").arg(dir.join("store"));
        }
        let err = fs::File::create(dir.join("stderr")).expect("a file in our folder");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(err).spawn();
        let child = child.expect("this test needs nats-server (scripts/test installs it)");
        let ports = dir.join(format!("nats-server_{}.ports", child.id()));
        let child = self.child.insert(child);
        let port = wait_for("nats-server listens", Duration::from_secs(20), || {
            if let Some(status) = child.try_wait().expect("our own child") {
                let said = fs::read_to_string(dir.join("stderr")).unwrap_or_default();
                let log = fs::read_to_string(&log).unwrap_or_default();
                panic!("nats-server ended with {status}: {said}{log}");
            }
            let text = fs::read_to_string(&ports).ok()?;
            let json: serde_json::Value = serde_json::from_str(&text).ok()?;
            json["nats"][0].as_str()?.rsplit_once(':')?.1.parse().ok()
        });
        assert!(self.port == 0 || self.port == port, "nats-server kept its port");
        self.port = port;
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}
