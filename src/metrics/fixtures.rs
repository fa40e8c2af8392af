//! What the tests of the sensors share: containers, and recorded file trees.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::model::{
    ContainerFacts, ContainerId, ContainerName, Namespace, RestartPolicy, RunState, SeriesName, Values,
};

pub(super) const ID: &str = "b416e74e728f259a203d61c07746979ac14a9db1aeb97dc4440cefc5fcd570e7";

/// A container named after its id, whose first process is 77.
pub(crate) fn facts(id: &str, state: RunState) -> ContainerFacts {
    ContainerFacts {
        id: ContainerId::new(id).unwrap(),
        name: ContainerName::new(format!("c{id}")).unwrap(),
        image: String::new(),
        state,
        exit_code: None,
        oom_killed: false,
        healthcheck: None,
        started_at: None,
        finished_at: None,
        restart_count: None,
        restart_policy: RestartPolicy::No,
        labels: BTreeMap::new(),
        namespace: Namespace::Own,
        networks: Vec::new(),
        published: Vec::new(),
        pid: Some(77),
        auto_remove: false,
        links: Vec::new(),
    }
}

/// Writes files below `root`.
pub(super) fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// A recorded host: `tests/fixtures/metrics/NAME`, one file that holds all files of its tree, each after a line
/// `==> path <==` as `head` writes them.
pub(super) fn recorded(name: &str) -> TempDir {
    let path = format!("{}/tests/fixtures/metrics/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let root = tempfile::tempdir().unwrap();
    for part in text.split("==> ").skip(1) {
        let (path, content) = part.split_once(" <==\n").expect("a head line");
        write(root.path(), &[(path, content)]);
    }
    root
}

pub(super) fn value(values: &Values, name: &str) -> Option<f64> {
    values.get(&name.parse::<SeriesName>().unwrap())
}

/// A sample of one container.
pub(super) fn sample(name: &str, id: &str, values: &[(&'static str, f64)]) -> super::ContainerSample {
    super::ContainerSample {
        name: ContainerName::new(name).unwrap(),
        id: ContainerId::new(id).unwrap(),
        image: "img".to_owned(),
        project: None,
        service: None,
        values: values.iter().map(|(name, value)| (SeriesName::of(name), *value)).collect(),
    }
}
