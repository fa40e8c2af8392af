//! Containers for tests.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::model::{ContainerFacts, ContainerName, NetworkAttachment, RunState};

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
        name: ContainerName::new(name).unwrap(),
        networks: networks.iter().map(attachment).collect(),
        pid: None,
        ..crate::metrics::fixtures::facts("aaaaaaaaaaaa", state)
    }
}

/// A host's root folder, in which each container has a process with a network namespace.
pub(super) struct HostRoot(tempfile::TempDir);

/// An empty one.
pub(super) fn host() -> HostRoot {
    HostRoot(tempfile::tempdir().unwrap())
}

impl HostRoot {
    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    /// The process of who is called so.
    fn process(name: &str) -> u32 {
        name.bytes().fold(7, |sum, byte| sum * 31 % 100_000 + u32::from(byte))
    }

    fn namespace(&self, name: &str) -> PathBuf {
        self.root().join(format!("proc/{}/ns/net", Self::process(name)))
    }

    /// The number of a network namespace, which is made where there is none.
    pub(super) fn netns(&self, name: &str) -> u32 {
        let path = self.namespace(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::options().append(true).create(true).open(&path).unwrap();
        fs::metadata(path).unwrap().ino().try_into().unwrap()
    }

    /// A container that runs, in a namespace of its own.
    pub(super) fn run(&self, name: &str, address: &str) -> ContainerFacts {
        self.netns(name);
        ContainerFacts {
            pid: Some(Self::process(name)),
            ..facts(name, RunState::Running, &[("net", address)])
        }
    }
}
