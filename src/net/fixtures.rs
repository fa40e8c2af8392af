//! Containers for tests.

use std::collections::BTreeMap;

use crate::model::{
    ContainerFacts, ContainerId, ContainerName, Namespace, NetworkAttachment, RestartPolicy, RunState,
};

/// A container on these networks.
pub(super) fn facts(name: &str, state: RunState, networks: &[(&str, &str)]) -> ContainerFacts {
    let attachment = |(network, address): &(&str, &str)| NetworkAttachment {
        network: (*network).to_owned(),
        endpoint_id: String::new(),
        ipv4: address.parse().ok(),
        ipv6: None,
        gateways: vec!["10.0.0.1".parse().unwrap()],
    };
    ContainerFacts {
        id: ContainerId::new("aaaaaaaaaaaa").unwrap(),
        name: ContainerName::new(name).unwrap(),
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
        networks: networks.iter().map(attachment).collect(),
        published: Vec::new(),
        pid: None,
        auto_remove: false,
        links: Vec::new(),
    }
}
