//! The programs under test as processes of their own, and their REST interface.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{DOCKHEALTH, wait_for};

/// A program that has not come up, or not ended in order, by then never will.
const DEADLINE: Duration = Duration::from_mins(1);

/// `dockhealth up`, `agent` or `controller` with a data directory of its own. Killed when dropped; what it logged is
/// shown when the test fails.
pub(crate) struct Daemon {
    program: Vec<String>,
    name: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    dir: PathBuf,
    child: Option<Child>,
    address: Option<String>,
    /// Where in the log the present process began.
    begun: usize,
}

impl Daemon {
    /// Starts `dockhealth NAME ARGS`, with its data in `dir`, and waits until it works. One that serves gets a free port.
    pub(crate) fn start(name: &str, dir: &Path, args: &[&str]) -> Self {
        Self::start_with(name, dir, args, &[])
    }

    /// The same with these environment variables.
    pub(crate) fn start_with(name: &str, dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_program(&[DOCKHEALTH], name, dir, args, env)
    }

    /// The same of another build of dockhealth; `program` may begin with an emulator.
    pub(crate) fn start_program(
        program: &[&str],
        name: &str,
        dir: &Path,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        fs::create_dir_all(dir).expect("a folder for it");
        let program = program.iter().map(|word| (*word).to_owned()).collect();
        let env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let (name, dir) = (name.to_owned(), dir.to_owned());
        let mut daemon = Self { program, name, args, env, dir, child: None, address: None, begun: 0 };
        daemon.spawn();
        daemon
    }

    /// Where it keeps its state.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.dir
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// What it logged so far, in every process that it was.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Lines of the log that say that something went wrong within dockhealth itself.
    pub(crate) fn errors(&self) -> Vec<String> {
        let log = self.log();
        log.lines()
            .filter(|line| line.contains("ERROR") || line.contains("panicked"))
            .map(str::to_owned)
            .collect()
    }

    /// Where it serves, as `ADDRESS:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.address.as_deref().expect("it serves")
    }

    /// Its REST interface, with the token that it made.
    pub(crate) fn rest(&self) -> Rest {
        let address = self.address();
        let token = wait_for("the first token", DEADLINE, || fs::read_to_string(self.dir.join("token")).ok());
        Rest { base: format!("http://{address}"), token: token.trim().to_owned() }
    }

    /// Runs the command line against it.
    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        let mut command = clean_command(&self.dir);
        command.args(args);
        if let Some(address) = &self.address {
            command.env("DOCKHEALTH_SERVER", format!("http://{address}"));
        }
        command.output().expect("our own binary runs")
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("and waited for");
        }
    }

    /// Asks it to end (`SIGTERM`) and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        wait_for(&format!("{} ends", self.name), DEADLINE, || child.try_wait().expect("our own child"))
    }

    /// Starts it again on the same port with the same data, killing it first when it still runs.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.spawn();
    }

    fn serves(&self) -> bool {
        matches!(self.name.as_str(), "up" | "controller")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("stderr.log")
    }

    fn spawn(&mut self) {
        let log =
            File::options().create(true).append(true).open(self.log_file()).expect("a file in our folder");
        self.begun = self.log().len();
        let mut command = clean_command_of(&self.program[0], &self.dir);
        command.args(&self.program[1..]);
        command.arg(&self.name).args(&self.args).envs(self.env.iter().map(|(key, value)| (key, value)));
        if self.serves() {
            command.args(["--listen", self.address.as_deref().unwrap_or("127.0.0.1:0")]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.child = Some(child.expect("our own binary runs"));
        if self.serves() {
            let marker = "listening on http://";
            let address = self.wait_for_log("it listens", |log| {
                Some(log.split_once(marker)?.1.lines().next()?.trim().to_owned())
            });
            self.address = Some(address);
        }
        if self.name != "controller" {
            let socket = self.dir.join("agent.sock");
            self.wait_for_log("its agent works", |log| {
                (log.contains("began to work") && socket.exists()).then_some(())
            });
        }
    }

    /// Waits until `look` finds something in what the present process logged.
    pub(crate) fn wait_for_log<T>(&mut self, what: &str, look: impl Fn(&str) -> Option<T>) -> T {
        let (file, begun) = (self.log_file(), self.begun);
        let child = self.child.as_mut().expect("it runs");
        wait_for(&format!("{}: {what}", self.name), DEADLINE, || {
            let log = fs::read_to_string(&file).unwrap_or_default();
            let found = look(&log[begun..]);
            let ended = child.try_wait().expect("our own child");
            assert!(found.is_some() || ended.is_none(), "it ended with {ended:?}:\n{log}");
            found
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- {} {:?} logged:\n{}", self.name, self.args, self.log());
        }
    }
}

/// The binary with nothing of this machine's settings, whose state is in `dir`.
pub(crate) fn clean_command(dir: &Path) -> Command {
    clean_command_of(DOCKHEALTH, dir)
}

/// The same of another program.
pub(crate) fn clean_command_of(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("DOCKHEALTH_DATA_DIR", dir)
        .env("DOCKHEALTH_CONFIG", "/dev/null")
        .env("TZ", "UTC");
    // Which engine the tests use is this machine's.
    command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
    command
}

/// A REST interface, asked as any client would.
pub(crate) struct Rest {
    base: String,
    token: String,
}

impl Rest {
    /// `GET /api/v1PATH`, which must succeed.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.ok("GET", path, None)
    }

    /// `method` on `/api/v1PATH`, which must succeed; null when there is no answer's body.
    pub(crate) fn ok(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.send(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// `method` on `/api/v1PATH`: the status and the body.
    pub(crate) fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(DEADLINE))
            .build()
            .into();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}/api/v1{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Content-Type", "application/json")
            .body(body.map(ToString::to_string).unwrap_or_default())
            .expect("a well-formed request");
        let mut response = agent.run(request).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let text = response.body_mut().read_to_string().expect("a text");
        let json = if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text) };
        (response.status().as_u16(), json.unwrap_or_else(|error| panic!("{method} {path}: {error}: {text}")))
    }
}
