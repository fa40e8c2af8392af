//! What this folder's unit tests share.

use crate::model::{ContainerFacts, ContainerId, ContainerName, Namespace, RestartPolicy, RunState};

/// A running container; its id follows from its name.
pub(super) fn container(name: &str, labels: &[(&str, &str)]) -> ContainerFacts {
    let hex = name.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    ContainerFacts {
        id: ContainerId::new(format!("{hex:0<64}")).unwrap(),
        name: ContainerName::new(name).unwrap(),
        image: "busybox".into(),
        state: RunState::Running,
        exit_code: None,
        oom_killed: false,
        healthcheck: None,
        started_at: None,
        finished_at: None,
        restart_count: None,
        restart_policy: RestartPolicy::No,
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        namespace: Namespace::Own,
        networks: Vec::new(),
        published: Vec::new(),
        pid: None,
        auto_remove: false,
        links: Vec::new(),
    }
}
