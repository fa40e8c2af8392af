//! A real VictoriaMetrics of the test's own: a free loopback port, data that live as long as the test.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::wait_for;

/// How long it may take to answer on a busy machine.
const SLOWEST: Duration = Duration::from_secs(30);

/// A VictoriaMetrics, killed when dropped.
pub(crate) struct Victoria {
    dir: tempfile::TempDir,
    args: Vec<String>,
    port: u16,
    child: Option<Child>,
}

impl Victoria {
    /// A server set up as `docs/operations.md` says.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// The same with these flags too.
    pub(crate) fn with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        // It cannot be asked which port it chose, so this one is let go of at the last moment.
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut server = Self { dir, args, port, child: None };
        drop(free);
        server.spawn();
        server
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes what was written visible at once; by itself it takes a second.
    pub(crate) fn flush(&self) {
        ureq::get(format!("{}/internal/force_flush", self.url())).call().expect("it flushes");
    }

    /// Ends it in order; what was written stays.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = child.id().to_string();
            assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
            wait_for("VictoriaMetrics ends", SLOWEST, || child.try_wait().expect("our own child"));
        }
    }

    /// Starts it again on the same port with the same data.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.spawn();
    }

    fn spawn(&mut self) {
        let log = self.dir.path().join("log");
        let out = fs::File::options().create(true).append(true).open(&log).expect("a file in our folder");
        let mut command = Command::new("victoria-metrics");
        command
            .arg(format!("-httpListenAddr=127.0.0.1:{}", self.port))
            .arg(format!("-storageDataPath={}", self.dir.path().join("data").display()))
            .args(["-dedup.minScrapeInterval=1ms", "-memory.allowedBytes=64MB", "-http.shutdownDelay=0s"])
            .args(&self.args);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out).spawn();
        let child = child.expect("this test needs victoria-metrics (scripts/test installs it)");
        let child = self.child.insert(child);
        let health = format!("http://127.0.0.1:{}/health", self.port);
        wait_for("VictoriaMetrics answers", SLOWEST, || {
            if let Some(status) = child.try_wait().expect("our own child") {
                panic!(
                    "VictoriaMetrics ended with {status}: {}",
                    fs::read_to_string(&log).unwrap_or_default()
                );
            }
            // With credentials asked for it says no, but it answers.
            match ureq::get(&health).call() {
                Ok(_) | Err(ureq::Error::StatusCode(_)) => Some(()),
                Err(_) => None,
            }
        });
    }
}

impl Drop for Victoria {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("and waited for");
        }
    }
}
