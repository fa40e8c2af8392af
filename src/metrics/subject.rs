//! What the sensors must be told of a container, for no file says it.

use super::sizes::Sizes;
use crate::model::{ContainerFacts, ContainerId, ContainerName, Namespace, RunState, Timestamp};

/// Whose network a container uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkUse {
    /// A network namespace other than the host's, its own or another container's: what goes over it is told.
    Namespace,
    /// The host's, or none: it has no figures of its own.
    NoneOfItsOwn,
}

/// A container to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// What it is doing.
    pub state: RunState,
    /// Its first process, while it runs.
    pub pid: Option<u32>,
    /// Whose network it uses.
    pub network: NetworkUse,
    /// When it was last started.
    pub started_at: Option<Timestamp>,
    /// How it last ended.
    pub exit_code: Option<i64>,
    /// How often dockhealth restarted it.
    pub restarts: Option<u64>,
    /// Loss of its last check, percent.
    pub loss_percent: Option<f64>,
    /// Round trip of its last check, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Its sizes, as the engine last told them.
    pub sizes: Sizes,
}

impl Subject {
    /// What the engine says of each of `all`; nothing is said of checks and restarts.
    pub fn of(all: &[ContainerFacts]) -> Vec<Self> {
        let find = |owner: &str| all.iter().find(|facts| facts.is_called(owner));
        all.iter().map(|facts| Self::new(facts, NetworkUse::of(facts, find))).collect()
    }

    /// What the engine says of one container.
    pub fn new(facts: &ContainerFacts, network: NetworkUse) -> Self {
        Self {
            id: facts.id.clone(),
            name: facts.name.clone(),
            state: facts.state,
            pid: facts.pid,
            network,
            started_at: facts.started_at,
            exit_code: facts.exit_code,
            restarts: None,
            loss_percent: None,
            rtt_ms: None,
            sizes: Sizes::default(),
        }
    }

    /// Whether it has processes, so that there is something to read.
    pub fn runs(&self) -> bool {
        matches!(self.state, RunState::Running | RunState::Paused)
    }
}

impl NetworkUse {
    /// Whose network `facts` uses; `find` knows the other containers by id and name. What shares the network of a
    /// container that shares another's cannot be made, but is followed all the same, four times.
    pub fn of<'a>(facts: &ContainerFacts, find: impl Fn(&str) -> Option<&'a ContainerFacts>) -> Self {
        let mut facts = facts;
        for _ in 0..4 {
            match &facts.namespace {
                Namespace::Own => return Self::Namespace,
                Namespace::Host | Namespace::None => return Self::NoneOfItsOwn,
                Namespace::Container(owner) => match find(owner) {
                    Some(owner) => facts = owner,
                    None => return Self::NoneOfItsOwn,
                },
            }
        }
        Self::NoneOfItsOwn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::fixtures::facts;

    #[test]
    fn a_shared_network_is_followed_to_its_owner() {
        let with = |id: &str, namespace| ContainerFacts { namespace, ..facts(id, RunState::Running) };
        let owned_by = |owner: &str| Namespace::Container(owner.to_owned());
        let all = [
            with("aaaaaaaaaaaa", Namespace::Own),
            with("bbbbbbbbbbbb", owned_by("aaaaaaaaaaaa")),
            with("cccccccccccc", Namespace::Host),
            with("dddddddddddd", owned_by("ccccccccccccc")),
            with("eeeeeeeeeeee", owned_by("cccccccccccc")),
            with("ffffffffffff", owned_by("cbbbbbbbbbbbb")),
            with("999999999999", owned_by("999999999999")),
        ];
        let uses: Vec<NetworkUse> = Subject::of(&all).iter().map(|subject| subject.network).collect();
        let (own, none) = (NetworkUse::Namespace, NetworkUse::NoneOfItsOwn);
        assert_eq!(uses, [own, own, none, none, none, own, none]);
    }
}
