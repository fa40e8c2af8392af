//! A fleet of one host as real processes: nats-server, controller and agent, and an engine of their own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use dockhealth::model::Timestamp;
use serde_json::Value;

use crate::support::dockerd::Dockerd;
use crate::support::nats::NatsServer;
use crate::support::{DOCKHEALTH, wait_for};

/// No condition takes longer to come true, on a busy machine.
pub(super) const DEADLINE: Duration = Duration::from_secs(45);

/// The host's name in the fleet.
pub(super) const HOST: &str = "h1";

/// Healing without brakes, so that each fault is healed as soon as it is seen.
const FAST: [&str; 16] = [
    "--interval",
    "1s",
    "--grace",
    "1s",
    "--settle",
    "200ms",
    "--budget",
    "10000/1h",
    "--backoff",
    "1ms",
    "--backoff-max",
    "1ms",
    "--host-budget",
    "10000/1h",
    "--report-interval",
    "1s",
];

/// One process of the binary under test; killed when dropped.
pub(super) struct Daemon {
    args: Vec<String>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Daemon {
    pub(super) fn new(log: &Path, args: Vec<String>) -> Self {
        Self { args, log: log.to_owned(), child: Mutex::default() }
    }

    /// Starts it; its log is continued.
    pub(super) fn start(&self) {
        let mut child = self.child.lock().expect("no other thread failed");
        assert!(child.is_none(), "it runs already");
        let log = fs::File::options().append(true).create(true).open(&self.log).expect("our folder");
        let mut command = Command::new(DOCKHEALTH);
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DOCKHEALTH_")) {
            command.env_remove(name);
        }
        *child = Some(command.spawn().expect("cargo built it"));
    }

    /// Ends it with SIGKILL.
    pub(super) fn kill(&self) {
        let mut child = self.child.lock().expect("no other thread failed").take().expect("it runs");
        assert!(child.try_wait().expect("our own child").is_none(), "it had ended by itself: {}", self.log());
        child.kill().expect("our own child can be killed");
        child.wait().expect("and waited for");
    }

    /// Ends it in order, with SIGTERM.
    pub(super) fn end(&self) {
        let mut child = self.child.lock().expect("no other thread failed").take().expect("it runs");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        wait_for("it ends", DEADLINE, || child.try_wait().expect("our own child"));
    }

    /// What it has logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = self.child.get_mut().ok().and_then(Option::as_mut) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("==== {}\n{}", self.log.display(), self.log());
        }
    }
}

/// Fields are dropped in this order: who uses something before what is used.
pub(super) struct Fleet {
    pub(super) agent: Daemon,
    pub(super) controller: Daemon,
    pub(super) nats: Mutex<NatsServer>,
    pub(super) engine: Dockerd,
    pub(super) dir: tempfile::TempDir,
}

impl Fleet {
    /// Everything but agent and controller runs; `options` are more of the agent's.
    pub(super) fn prepare(options: &[&str]) -> Self {
        let (engine, nats) = (Dockerd::start(), NatsServer::start());
        let dir = tempfile::tempdir().expect("a temporary folder");
        let listen = free_address();
        let path = |name: &str| dir.path().join(name);
        let data = |name: &str| path(name).display().to_string();
        let controller_args =
            ["controller", "--nats", &nats.url(), "--listen", &listen, "--data-dir", &data("controller")];
        let controller_args = controller_args.iter().map(ToString::to_string).collect();
        let controller = Daemon::new(&path("controller.log"), controller_args);
        let agent_args = agent_args(&nats, &engine, &data("agent"), options);
        let agent = Daemon::new(&path("agent.log"), agent_args);
        for name in ["agent", "controller"] {
            fs::create_dir(path(name)).expect("our folder");
        }
        Self { agent, controller, nats: Mutex::new(nats), engine, dir }
    }

    /// Everything runs and the host is live.
    pub(super) fn start(options: &[&str]) -> Self {
        let fleet = Self::prepare(options);
        fleet.controller.start();
        fleet.agent.start();
        fleet.wait_ready(Timestamp::from_millis(0));
        fleet
    }

    /// The broker.
    pub(super) fn nats(&self) -> MutexGuard<'_, NatsServer> {
        self.nats.lock().expect("no other thread failed")
    }

    /// Another agent of the same name on the same engine, not started.
    pub(super) fn second_agent(&self) -> Daemon {
        let data = self.dir.path().join("agent2").display().to_string();
        let log = self.dir.path().join("agent2.log");
        let args = agent_args(&self.nats(), &self.engine, &data, &[]);
        Daemon::new(&log, args)
    }

    /// The agent of this host with other options, not started; to be started when the first has ended.
    pub(super) fn same_host(&self, options: &[&str]) -> Daemon {
        let data = self.data("agent").display().to_string();
        let args = agent_args(&self.nats(), &self.engine, &data, options);
        Daemon::new(&self.dir.path().join("agent-again.log"), args)
    }

    /// The agent of another host, not started; its engine is down.
    pub(super) fn other_host(&self, host: &str) -> Daemon {
        let (nats, data) = (self.nats().url(), self.dir.path().join(host).display().to_string());
        let args =
            ["agent", "--nats", &nats, "--hostname", host, "--data-dir", &data, "--report-interval", "1s"];
        let args = args.iter().chain(&["--docker-host", "tcp://127.0.0.1:9"]).map(ToString::to_string);
        Daemon::new(&self.dir.path().join(format!("{host}.log")), args.collect())
    }

    /// The controller's URL.
    pub(super) fn server(&self) -> String {
        let listen = self.controller.args.iter().position(|arg| arg == "--listen").expect("given above");
        format!("http://{}", self.controller.args[listen + 1])
    }

    /// The data directory of `agent`, `agent2` or `controller`.
    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a request; `None` when the controller does not answer. Gives status and body.
    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let listen = self.controller.args.iter().position(|arg| arg == "--listen").expect("given above");
        let token = self.data("controller").join("token");
        ask(&self.controller.args[listen + 1], &token, method, path, body)
    }

    /// A GET that must succeed in the end.
    pub(super) fn get(&self, path: &str) -> Value {
        wait_for(&format!("GET {path}"), DEADLINE, || {
            self.ask("GET", path, "").filter(|answer| answer.status == 200).map(|answer| answer.json)
        })
    }

    /// A change that must succeed in the end.
    pub(super) fn change(&self, method: &str, path: &str, body: &str) {
        wait_for(&format!("{method} {path}"), DEADLINE, || {
            self.ask(method, path, body).filter(|answer| matches!(answer.status, 200..300))
        });
    }

    /// Puts a container on the list.
    pub(super) fn monitor(&self, name: &str) {
        self.change("POST", &format!("/api/v1/containers/{HOST}/{name}"), "");
    }

    /// Waits until the controller is ready and the host has spoken since `since`, synced and with its engine.
    pub(super) fn wait_ready(&self, since: Timestamp) {
        wait_for("the controller is ready", DEADLINE, || {
            self.ask("GET", "/readyz", "").filter(|answer| answer.status == 200)
        });
        wait_for("the host is live", DEADLINE, || {
            let host = self.host()?;
            let last: Timestamp = host["last_seen"].as_str()?.parse().ok()?;
            let agent = &host["agent"];
            let works = agent["engine"]["status"] == "reachable" && agent["desired_synced"] == true;
            (host["presence"] == "live" && last > since && works).then_some(())
        });
    }

    /// Waits until a list shows exactly `names` as monitored, all running.
    pub(super) fn wait_listed(&self, names: &[&str]) {
        let mut last = Value::Null;
        let listed = || {
            last = self.ask("GET", "/api/v1/containers?monitored=true", "")?.json;
            let containers = last.as_array()?;
            let runs =
                |name: &&str| containers.iter().any(|c| c["name"] == **name && c["status"] == "running");
            (containers.len() == names.len() && names.iter().all(runs)).then_some(())
        };
        wait_for(&format!("{names:?} are listed and run"), DEADLINE, listed);
    }

    /// The host, when it is known.
    pub(super) fn host(&self) -> Option<Value> {
        let answer = self.ask("GET", &format!("/api/v1/hosts/{HOST}"), "")?;
        (answer.status == 200).then_some(answer.json)
    }

    /// Waits until nothing is left in the agent's outbox.
    pub(super) fn wait_delivered(&self) {
        let since = Timestamp::now();
        wait_for("the outbox is empty", DEADLINE, || {
            let host = self.host()?;
            let last: Timestamp = host["last_seen"].as_str()?.parse().ok()?;
            (last > since && host["agent"]["outbox"] == 0).then_some(())
        });
    }

    /// Every stored event, oldest first; fails when one is stored twice.
    pub(super) fn events(&self) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let after = all.last().map_or(0, |event| event["seq"].as_u64().expect("a cursor"));
            let page = self.get(&format!("/api/v1/events?after={after}&limit=1000"));
            let page = page.as_array().expect("a list").clone();
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        let mut ids: Vec<&str> = all.iter().map(|event| event["id"].as_str().expect("an id")).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.len(), "an event is stored twice");
        all
    }

    /// How many events of `kind` are stored about `container` (any, when empty).
    pub(super) fn count(&self, kind: &str, container: &str) -> usize {
        let about = |event: &&Value| container.is_empty() || event["container"] == container;
        self.events().iter().filter(|event| event["kind"] == kind).filter(about).count()
    }

    /// What the agent with this data directory answers on its own socket; `None` when it does not.
    pub(super) fn ask_agent(&self, data: &str, command: &str) -> Option<Value> {
        let mut stream = UnixStream::connect(self.data(data).join("agent.sock")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(format!("{command}\n").as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }
}

/// An answer of the REST interface.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// How many hosts were asked, and which of them did not answer.
    pub(super) expected: Option<String>,
    pub(super) missing: Option<String>,
    pub(super) json: Value,
}

/// Makes a request to the controller at `listen`, with the token in a file.
pub(super) fn ask(listen: &str, token: &Path, method: &str, path: &str, body: &str) -> Option<Answer> {
    let url = format!("http://{listen}{path}");
    let token = fs::read_to_string(token).unwrap_or_default();
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let client: ureq::Agent = config.timeout_global(Some(Duration::from_secs(15))).build().into();
    let request = http::Request::builder().method(method).uri(url);
    let request = request.header("Authorization", format!("Bearer {}", token.trim()));
    let request = request.header("Content-Type", "application/json").body(body.to_owned());
    let mut answer = client.run(request.expect("a proper request")).ok()?;
    let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
    let missing = header("Dockhealth-Hosts-Missing");
    let (status, expected) = (answer.status().as_u16(), header("Dockhealth-Hosts-Expected"));
    let text = answer.body_mut().read_to_string().ok()?;
    Some(Answer { status, expected, missing, json: serde_json::from_str(&text).unwrap_or(Value::Null) })
}

fn agent_args(nats: &NatsServer, engine: &Dockerd, data: &str, options: &[&str]) -> Vec<String> {
    let (nats, engine) = (nats.url(), engine.address());
    let own = ["agent", "--nats", &nats, "--hostname", HOST, "--docker-host", &engine, "--data-dir", data];
    own.iter().chain(&FAST).chain(options).map(ToString::to_string).collect()
}

/// A loopback address that nobody listens on.
pub(super) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

/// A small file system of its own, unmounted when dropped.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts `megabytes` at `path`.
    pub(super) fn mount(path: &Path, megabytes: u32) -> Self {
        let size = format!("size={megabytes}m");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        assert!(status.expect("mount").success(), "this test needs the right to mount");
        Self(path.to_owned())
    }

    /// Leaves no byte free.
    pub(super) fn fill(&self) {
        let mut file =
            fs::File::options().append(true).create(true).open(self.0.join("filler")).expect("a file");
        let block = [0_u8; 4096];
        while file.write_all(&block).is_ok() {}
    }

    /// Frees all that was filled.
    pub(super) fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
