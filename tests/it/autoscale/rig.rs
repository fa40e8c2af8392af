//! `dockhealth autoscale run` as a process, and what its clients see.

#![allow(clippy::unwrap_used, reason = "the helpers are parts of the tests")]

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::support::daemon::clean_command;
use crate::support::{Lab, docker, dockhealth_image, wait_for};

/// What must happen, happens by then, also on a machine that is busy.
pub(super) const DEADLINE: Duration = Duration::from_mins(1);
/// What a container is told: to answer tasks.
pub(super) const SERVER: [&str; 5] = ["dummy", "--serve", "0.0.0.0:80", "--every", "1h"];

/// A pool of its own name; its containers are removed with it.
pub(super) struct Rig {
    pub(super) lab: Lab,
    pub(super) name: String,
    pub(super) dir: tempfile::TempDir,
    args: Vec<String>,
    child: Option<Child>,
    /// Where requests go, and where it tells of itself.
    pub(super) address: String,
    pub(super) admin: String,
}

impl Rig {
    /// Runs a pool of the program's own image with `args`.
    pub(super) fn start(args: &[&str]) -> Self {
        Self::start_image(&["--image", dockhealth_image()], args)
    }

    pub(super) fn start_image(image: &[&str], args: &[&str]) -> Self {
        let lab = Lab::new("pool");
        let name = lab.prefix().to_owned();
        let args = [image, &["--name", &name], args].concat().iter().map(|arg| (*arg).to_owned()).collect();
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut rig =
            Self { lab, name, dir, args, child: None, address: String::new(), admin: String::new() };
        rig.run_again(&[]);
        rig
    }

    /// Starts it, with `more` arguments than at first.
    pub(super) fn run_again(&mut self, more: &[&str]) {
        let log = self.dir.path().join("stderr.log");
        let to = File::create(&log).expect("a file in our folder");
        let mut command = clean_command(self.dir.path());
        command.args(["autoscale", "run"]).args(&self.args).args(more);
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--"]).args(SERVER);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(to).spawn();
        let child = self.child.insert(child.expect("our own binary runs"));
        let (address, admin) = wait_for("it listens", DEADLINE, || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let after = |mark: &str| Some(log.split_once(mark)?.1.split_whitespace().next()?.to_owned());
            let found = after("listening on http://").zip(after("tells of itself at http://"));
            assert!(
                found.is_some() || child.try_wait().expect("our own child").is_none(),
                "it ended:\n{log}"
            );
            found
        });
        (self.address, self.admin) = (address, admin);
    }

    /// Its status.
    pub(super) fn status(&self) -> Value {
        let (status, body, _) = get(&format!("http://{}/status", self.admin));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Waits until its status satisfies `is`.
    pub(super) fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, DEADLINE, || Some(self.status()).filter(|status| is(status)))
    }

    /// Waits until so many containers are ready, and none is anything else.
    pub(super) fn until_ready(&self, count: usize) -> Value {
        self.until(&format!("{count} are ready"), |status| {
            status["counts"]["ready"] == count && status["containers"].as_array().map(Vec::len) == Some(count)
        })
    }

    /// The URL of a path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Ids of the pool's containers, as Docker's command line knows them.
    pub(super) fn containers(&self) -> Vec<String> {
        let filter = format!("label=dockhealth.pool={}", self.name);
        let listed = self.lab.docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
        let mut ids: Vec<String> = listed.lines().map(str::to_owned).collect();
        ids.sort();
        ids
    }

    /// Tells it to end.
    pub(super) fn tell_to_end(&self) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    }

    /// Waits until it ended, in order.
    pub(super) fn until_ended(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let ended = wait_for("it ends", DEADLINE, || child.try_wait().expect("our own child"));
        assert!(ended.success(), "{ended}: {}", self.log());
    }

    /// Ends it as `kill -9` does.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child");
            child.wait().expect("and waited for");
        }
    }

    /// Runs the command line.
    pub(super) fn cli(&self, args: &[&str]) -> (bool, String) {
        let output = clean_command(self.dir.path()).args(args).output().expect("our own binary runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr.log")).unwrap_or_default()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill();
        for id in self.containers() {
            let _ = docker(&["rm", "--force", "--volumes", &id]);
        }
        if std::thread::panicking() {
            eprintln!("---- autoscale run {:?} logged:\n{}", self.args, self.log());
        }
    }
}

/// The status, body and container of an answer; panics where there is none.
pub(super) fn get(url: &str) -> (u16, String, Option<String>) {
    ask("GET", url)
}

/// The same by any method.
pub(super) fn ask(method: &str, url: &str) -> (u16, String, Option<String>) {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(DEADLINE));
    let agent: ureq::Agent = config.build().into();
    let request = http::Request::builder().method(method).uri(url).body("").expect("a well-formed request");
    let mut response = agent.run(request).unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    let container =
        response.headers().get("x-dockhealth-container").map(|name| name.to_str().unwrap().to_owned());
    let body = response.body_mut().read_to_string().unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    (response.status().as_u16(), body, container)
}

/// Asks in a thread of its own; its status.
pub(super) fn ask_meanwhile(method: &'static str, url: String) -> JoinHandle<u16> {
    std::thread::spawn(move || ask(method, &url).0)
}
