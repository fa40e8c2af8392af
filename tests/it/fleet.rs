//! `deploy/fleet/compose.yaml` for real: a broker, a controller and an agent in containers of images built here.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::support::{DOCKHEALTH, Lab, docker, wait_for};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The fleet of one test: a compose project with its own names, ports, images and secrets.
struct Fleet {
    project: String,
    host: String,
    dir: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
    images: [String; 2],
    api: String,
}

impl Fleet {
    fn up(lab: &Lab) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let project = lab.prefix().to_owned();
        let host = format!("{project}-host");
        let images = [format!("dockhealth-test/{project}:nats"), format!("dockhealth-test/{project}:self")];
        let [broker, listen] = free_addresses();
        let environment = vec![
            ("NATS_IMAGE", images[0].clone()),
            ("NATS_LISTEN", broker.clone()),
            ("NATS_URL", format!("nats://{broker}")),
            ("FLEET_IMAGE", images[1].clone()),
            ("FLEET_LISTEN", listen.clone()),
            ("FLEET_HOST", host.clone()),
        ];
        let fleet = Self { project, host, dir, environment, images, api: format!("http://{listen}/api/v1") };
        for file in ["compose.yaml", "nats.conf", "add-host"] {
            let from = Path::new(ROOT).join("deploy/fleet").join(file);
            fs::copy(&from, fleet.dir.path().join(file)).expect("deploy/fleet is complete");
        }
        succeed(Command::new(fleet.dir.path().join("add-host")).arg(&fleet.host));
        build_nats_image(&fleet.images[0]);
        build_dockhealth_image(&fleet.images[1]);
        fleet.compose(&["up", "--detach"]);
        fleet
    }

    fn compose(&self, args: &[&str]) -> Output {
        succeed(&mut self.compose_command(args))
    }

    fn compose_command(&self, args: &[&str]) -> Command {
        let mut command = if docker(&["compose", "version"]).status.success() {
            let mut command = Command::new("docker");
            command.arg("compose");
            command
        } else {
            Command::new("docker-compose")
        };
        command.args(["--project-name", &self.project, "--file", "compose.yaml"]).args(args);
        command.current_dir(self.dir.path()).envs(self.environment.iter().map(|(k, v)| (*k, v)));
        command
    }

    /// The id of the container of `service`.
    fn container(&self, service: &str) -> String {
        String::from_utf8_lossy(&self.compose(&["ps", "--quiet", service]).stdout).trim().to_owned()
    }

    /// What the REST interface answers to a GET of `path`, once it does.
    fn get(&self, path: &str) -> Option<Value> {
        let mut answer = ureq::get(format!("{}{path}", self.api)).call().ok()?;
        serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()
    }

    /// Has the agent monitor `container`, with the token the controller made at its first start.
    fn monitor(&self, container: &str) {
        let token = self.dir.path().join("token");
        let from = format!("{}:/data/token", self.container("controller"));
        succeed(Command::new("docker").args(["cp", &from]).arg(&token));
        let token = fs::read_to_string(token).expect("docker cp wrote it");
        let url = format!("{}/containers/{}/{container}", self.api, self.host);
        ureq::post(url)
            .header("Authorization", format!("Bearer {}", token.trim()))
            .send_empty()
            .expect("the controller takes it");
    }

    /// The agent's view of `container`.
    fn view(&self, container: &str) -> Option<Value> {
        let list = self.get(&format!("/containers?host={}", self.host))?;
        list.as_array()?.iter().find(|entry| entry["name"] == container).cloned()
    }

    /// The logs of all parts, for a failure.
    fn logs(&self) -> String {
        let output = self.compose_command(&["logs", "--no-color"]).output().expect("compose runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        let _ = self.compose_command(&["down", "--volumes", "--timeout", "5"]).output();
        for image in &self.images {
            let _ = docker(&["image", "rm", "--force", image]);
        }
    }
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Two loopback addresses nobody listened at a moment ago.
fn free_addresses() -> [String; 2] {
    // Both are held until both are known, so that they differ.
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|listener| listener.local_addr().expect("it is bound").to_string())
}

/// An image of Debian's nats-server and the libraries it names.
fn build_nats_image(tag: &str) {
    let find = succeed(Command::new("sh").args(["-c", "command -v nats-server"])).stdout;
    let server = PathBuf::from(String::from_utf8_lossy(&find).trim());
    let context = tempfile::tempdir().expect("a temporary folder");
    fs::copy(&server, context.path().join("nats-server")).expect("it was found");
    let said = Command::new("ldd").arg(&server).output().expect("ldd is there").stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    for library in said.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = context.path().join(&library[1..]);
        fs::create_dir_all(to.parent().expect("a path below the root")).expect("our own folder");
        fs::copy(library, to).expect("ldd named it");
    }
    let dockerfile = "FROM scratch\nCOPY . /\nENTRYPOINT [\"/nats-server\"]\n";
    fs::write(context.path().join("Dockerfile"), dockerfile).expect("our own folder");
    succeed(Command::new("docker").args(["build", "--quiet", "--tag", tag]).arg(context.path()));
}

/// The image that `Dockerfile` makes of a binary: the one under test, laid out as `scripts/build` does.
fn build_dockhealth_image(tag: &str) {
    let context = tempfile::tempdir().expect("a temporary folder");
    succeed(Command::new("strip").arg("-o").arg(context.path().join("dockhealth")).arg(DOCKHEALTH));
    fs::create_dir(context.path().join("links")).expect("our own folder");
    symlink("dockhealth", context.path().join("links/dockhealth-agent")).expect("our own folder");
    let mut build = Command::new("docker");
    build.args(["build", "--quiet", "--tag", tag, "--target", "from-binary", "--file"]);
    succeed(build.arg(Path::new(ROOT).join("Dockerfile")).arg(context.path()));
}

#[test]
fn the_image_holds_the_binary_and_its_links() {
    let lab = Lab::new("image");
    let tag = format!("dockhealth-test/{}:self", lab.prefix());
    build_dockhealth_image(&tag);
    let version = docker(&["run", "--rm", &tag, "version"]);
    let link = docker(&["run", "--rm", "--entrypoint", "/dockhealth-agent", &tag, "--help"]);
    docker(&["image", "rm", "--force", &tag]);
    let said = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{version:?}");
    let help = String::from_utf8_lossy(&link.stdout).into_owned();
    assert!(help.contains("--nats "), "dockhealth-agent acts as the subcommand agent: {link:?}");
}

#[test]
fn the_compose_fleet_lists_pings_and_heals() {
    let lab = Lab::new("fleet");
    let victim = lab.run("victim", &[], &["sleep", "1000000"]);
    let bystander = lab.run("bystander", &[], &["sleep", "1000000"]);
    let fleet = Fleet::up(&lab);

    let seen = wait_for("the controller lists the agent's containers", Duration::from_mins(1), || {
        fleet.view(&victim)
    });
    assert_eq!(seen["monitored"], false, "nobody asked for it: {seen}");
    assert_eq!(seen["status"], "running", "{seen}");

    // With no capability but CAP_NET_RAW the agent reaches it.
    fleet.monitor(&victim);
    let well = wait_for("the victim answers pings", Duration::from_mins(1), || {
        fleet.view(&victim).filter(|view| view["health"] == "healthy")
    });
    assert_eq!(well["loss_percent"], 0.0, "{well}");

    lab.docker(&["kill", &bystander, &victim]);
    wait_for("the killed container runs again", Duration::from_mins(1), || {
        lab.is_running(&victim).then_some(())
    });
    assert!(!lab.is_running(&bystander), "nobody's unlisted container is started");
    wait_for("the list says so", Duration::from_secs(30), || {
        fleet.view(&victim).filter(|view| view["status"] == "running")
    });

    for service in ["controller", "agent"] {
        let id = fleet.container(service);
        wait_for(&format!("the {service}'s healthcheck passes"), Duration::from_secs(90), || {
            (lab.inspect(&id, "{{.State.Health.Status}}") == "healthy").then_some(())
        });
        assert_eq!(lab.inspect(&id, "{{.RestartCount}}"), "0", "the {service} never fell");
    }
}
