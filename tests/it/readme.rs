//! What the README says: its sessions run, and its tables are complete.
//!
//! A console block after the line `<!-- runs -->` is a session: each `$ ` begins a command, what follows is what it
//! printed. It is compared by its shape: numbers and widths may differ, and a line `...` stands for any lines.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, clean_command};
use crate::support::dockerd::Dockerd;
use crate::support::{DOCKHEALTH, wait_for};

const README: &str = include_str!("../../README.md");
const CI: &str = include_str!("../../.ci/run");

/// How long what a command shows may take to come true.
const DEADLINE: Duration = Duration::from_mins(1);

/// A command of a session and what it printed.
struct Step {
    command: String,
    printed: Vec<String>,
}

/// The sessions marked to be run.
fn sessions() -> Vec<Vec<Step>> {
    README.split("<!-- runs -->\n```console\n").skip(1).map(session).collect()
}

fn session(text: &str) -> Vec<Step> {
    let (block, _) = text.split_once("\n```").expect("the block ends");
    let mut steps = Vec::<Step>::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step { command: command.to_owned(), printed: Vec::new() }),
            None => steps.last_mut().expect("a command comes first").printed.push(line.to_owned()),
        }
    }
    steps
}

/// A line without what differs from run to run: each number is `#`, and spaces are one.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for c in line.chars() {
        let c = match c {
            '0'..='9' => '#',
            c => c,
        };
        let repeats = shape.ends_with(c) && (c == '#' || c == ' ');
        // `0.3` and `12` are numbers alike.
        let fraction = c == '#' && shape.ends_with("#.");
        if fraction {
            shape.pop();
        } else if !repeats {
            shape.push(c);
        }
    }
    shape.trim_end().to_owned()
}

/// Whether `printed` has the shape of `expected`, in which `...` stands for any lines.
fn alike(expected: &[String], printed: &[String]) -> bool {
    match expected {
        [] => printed.is_empty(),
        [any, rest @ ..] if any == "..." => {
            (0..=printed.len()).any(|skipped| alike(rest, &printed[skipped..]))
        }
        [line, rest @ ..] => {
            printed.first().is_some_and(|first| shape(first) == shape(line)) && alike(rest, &printed[1..])
        }
    }
}

/// Whether a command only looks, so that it may be asked again until it shows what is to come.
fn only_looks(command: &str) -> bool {
    ["ps", "why", "events", "incidents", "hosts"]
        .iter()
        .any(|word| command.starts_with(&format!("dockhealth {word}")))
}

/// A running `dockhealth up` on an engine of its own, and a shell in which `dockhealth` is our binary.
struct Stage {
    up: Daemon,
    engine: Dockerd,
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let engine = Dockerd::start();
        engine.run("web", &[]);
        engine.run("db", &[]);
        let dir = tempfile::tempdir().expect("a temporary folder");
        symlink(DOCKHEALTH, dir.path().join("dockhealth")).expect("our folder");
        let data = dir.path().join("data");
        let up = Daemon::start(
            "up",
            &data,
            &["--hostname", "vm", "--interval", "2s", "--docker-host", &engine.address()],
        );
        let stage = Self { up, engine, dir };
        wait_for("the agent's first list", DEADLINE, || {
            stage.run("dockhealth ps").iter().any(|line| line.contains(" web ")).then_some(())
        });
        stage
    }

    /// What `command` prints; the README's address and data directory stand for those of the stage.
    fn run(&self, command: &str) -> Vec<String> {
        let data = self.dir.path().join("data");
        let address = self.up.address();
        let command = command
            .replace("/var/lib/dockhealth", data.to_str().expect("a plain path"))
            .replace("127.0.0.1:8930", address);
        let path = std::env::var("PATH").expect("a path");
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).env_clear();
        shell.env("PATH", format!("{}:{path}", self.dir.path().display())).env("TZ", "UTC");
        shell.env("DOCKHEALTH_DATA_DIR", &data).env("DOCKHEALTH_SERVER", format!("http://{address}"));
        shell.env("DOCKHEALTH_CONFIG", "/dev/null").env("DOCKER_HOST", self.engine.address());
        let output = shell.output().expect("sh");
        let both = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&both).lines().map(str::to_owned).collect()
    }

    /// Runs one step; what is only looked at may come within the deadline.
    fn play(&self, step: &Step) {
        let begun = Instant::now();
        loop {
            let printed = self.run(&step.command);
            if alike(&step.printed, &printed) {
                return;
            }
            let may_come = only_looks(&step.command) && begun.elapsed() < DEADLINE;
            let (expected, printed) = (step.printed.join("\n"), printed.join("\n"));
            assert!(may_come, "$ {}\nprinted\n{printed}\n\nthe README says\n{expected}", step.command);
        }
    }
}

#[test]
fn the_sessions_go_as_recorded() {
    let sessions = sessions();
    assert!(sessions.len() >= 3, "the sessions are marked with <!-- runs -->");
    let stage = Stage::new();
    for step in sessions.iter().flatten() {
        stage.play(step);
    }
}

#[test]
fn shapes_forgive_figures_and_nothing_else() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(alike(&lines("a  1.5 ms\n...\nend"), &lines("a 27 ms\nx\ny\nend")));
    assert!(alike(&lines("...\nend"), &lines("end")));
    assert!(!alike(&lines("a 1\nb 2"), &lines("a 1")));
    assert!(!alike(&lines("healthy 0 %"), &lines("failing 0 %")));
    assert!(!alike(&lines("a"), &lines("a\nb")));
}

/// First cells of the rows of the README's table under `heading`, without their code marks.
fn table(heading: &str) -> Vec<String> {
    let (_, section) = README.split_once(&format!("\n## {heading}\n")).expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('|').next().expect("a cell").trim().to_owned()).collect()
}

#[test]
fn every_subcommand_is_in_the_table_and_nothing_else() {
    let help = clean_command(Path::new("/nonexistent")).arg("help").output().expect("our own binary runs");
    let help = String::from_utf8(help.stdout).expect("a text");
    let (_, commands) = help.split_once("Commands:\n").expect("help lists them");
    let commands: BTreeSet<_> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    let words = |cell: &String| cell.split([' ', '`']).next().map(str::to_owned);
    let told: BTreeSet<_> = table("Commands").iter().filter_map(words).collect();
    assert!(commands.contains("up"), "{commands:?}");
    assert_eq!(told, commands);
}

#[test]
fn every_route_is_in_the_table_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let nowhere = format!("unix://{}/no-engine.sock", dir.path().display());
    let up = Daemon::start("up", dir.path(), &["--hostname", "vm", "--docker-host", &nowhere]);
    let document = up.rest().get("/openapi.json");
    let mut routes = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            routes.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let pages = ["GET /", "GET /docs", "GET /docs/{file}", "GET /api/v1/openapi.json"];
    let told = table("REST interface").into_iter().flat_map(|cell| {
        cell.split("`, `").map(|route| route.trim_matches('`').to_owned()).collect::<Vec<_>>()
    });
    let told: BTreeSet<_> = told.filter(|route| !pages.contains(&route.as_str())).collect();
    assert_eq!(told, routes);
}

#[test]
fn the_test_command_is_the_one_that_ci_runs() {
    let commands = README.lines().filter_map(|line| line.strip_prefix("    scripts/"));
    let named: Vec<_> = commands.filter_map(|line| line.split(' ').next()).collect();
    assert!(named.contains(&"test"), "{named:?}");
    assert!(CI.lines().any(|line| line == "scripts/test"), "{CI}");
}

#[test]
fn what_the_readme_links_to_is_there() {
    for target in README.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let there = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists();
        assert!(there || target.starts_with("https://"), "{target}");
    }
}
