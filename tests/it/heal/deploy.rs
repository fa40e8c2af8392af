//! What administrators do to containers all day is no failure: 50 deploys, restarts and replacements under a running
//! agent, with every brake at its default.

use std::process::Command;

use super::rig::{OBEDIENT, Rig};
use crate::support::{Lab, busybox_image, docker};

const ROUNDS: usize = 50;
const LABEL: &str = "dockhealth.monitor=true";

fn ok(args: &[&str]) {
    let output = docker(args);
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A compose project of two services; its containers are removed with the lab.
struct Project {
    dir: tempfile::TempDir,
    name: String,
}

impl Project {
    fn new(lab: &Lab) -> Self {
        let project =
            Self { dir: tempfile::tempdir().expect("a temporary folder"), name: lab.prefix().to_owned() };
        let service = format!("image: {}, network_mode: bridge, command: {OBEDIENT:?}", busybox_image());
        let file = format!(
            "version: '2.4'\nservices:\n  named: {{{service}}}\n  labelled: {{{service}, labels: [{LABEL}]}}\n"
        );
        std::fs::write(project.dir.path().join("docker-compose.yml"), file).expect("a file in our folder");
        project.containers().iter().for_each(|full| lab.adopt(full));
        project
    }

    /// The full names of the one that is to be named, and the labelled one.
    fn containers(&self) -> [String; 2] {
        ["named", "labelled"].map(|service| format!("{}_{service}_1", self.name))
    }

    fn up(&self, options: &[&str]) {
        let mut compose = Command::new("docker-compose");
        compose
            .current_dir(self.dir.path())
            .args(["--project-name", &self.name, "up", "--detach"])
            .args(options);
        let output = compose.output().expect("docker-compose is installed (scripts/test does it)");
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn deploys_restarts_and_replacements_are_none_of_our_business() {
    let rig = Rig::up(&["--interval", "1s"]);
    let lab = &rig.lab;
    let project = Project::new(lab);
    project.up(&[]);
    let [restarted, replaced] = ["restarted", "replaced"].map(|name| {
        let labelled = lab.run(&format!("{name}-labelled"), &["--label", LABEL], &OBEDIENT);
        [lab.run(name, &[], &OBEDIENT), labelled]
    });
    let [named, labelled] =
        [0, 1].map(|n| [&project.containers()[n], &restarted[n], &replaced[n]].map(Clone::clone));
    for full in &named {
        rig.monitor(full);
    }
    let all: Vec<&String> = named.iter().chain(&labelled).collect();
    for full in &all {
        rig.wait_healthy(full);
    }

    let replace = |full: &str, options: &[&str]| {
        ok(&["rm", "--force", full]);
        let run = [&["run", "--detach", "--name", full], options, &[busybox_image()], &OBEDIENT].concat();
        ok(&run);
    };
    // Labelled containers, which nobody starts again after a stop, take part in some of the rounds.
    let both = |round: usize| round.is_multiple_of(5);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                let services: &[&str] = if both(round) { &[] } else { &["named"] };
                project.up(&[&["--force-recreate"], services].concat());
            }
        });
        scope.spawn(|| {
            for round in 0..ROUNDS {
                let count = if both(round) { 2 } else { 1 };
                restarted[..count].iter().for_each(|full| ok(&["restart", full]));
            }
        });
        scope.spawn(|| {
            for round in 0..ROUNDS {
                replace(&replaced[0], &[]);
                if both(round) {
                    replace(&replaced[1], &["--label", LABEL]);
                }
            }
        });
    });

    for full in all {
        rig.wait_until(full, "is monitored and well", |c| c["monitored"] == true && c["health"] == "healthy");
        rig.assert_untouched(full);
        assert_eq!(
            rig.events(full, "container_failing,would_act,quarantined"),
            Vec::<serde_json::Value>::new()
        );
    }
    rig.assert_no_errors();
}
