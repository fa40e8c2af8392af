//! Whom to attack next: pure, and the same for the same seed and the same containers.

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::model::{ContainerFacts, ContainerId, ContainerName, NamePattern, RunState};

/// Who may be attacked: containers that consent by the label `dockhealth.chaos=true`, and those whose names an
/// administrator gave.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Names that may be attacked without a label.
    pub patterns: Vec<NamePattern>,
    /// The container the antagonist itself runs in.
    pub own: Option<ContainerId>,
}

/// One attack, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attack {
    /// Whom, as it is now: a successor of the same name is not meant.
    pub id: ContainerId,
    /// Its name, for people.
    pub name: ContainerName,
}

impl Targets {
    /// Whether `container` may be attacked at all. Parts of dockhealth (a `dockhealth.role` label, of the container or of
    /// its image, which the engine merges) and containers labelled `dockhealth.chaos=false` never may.
    pub fn allow(&self, container: &ContainerFacts) -> bool {
        if container.role().is_some() || self.own.as_ref() == Some(&container.id) {
            return false;
        }
        match container.labels.get("dockhealth.chaos").map(String::as_str) {
            Some("true" | "1" | "yes") => true,
            Some("false" | "0" | "no") => false,
            _ => self.patterns.iter().any(|pattern| pattern.matches(&container.name)),
        }
    }

    /// One of the running containers that may be attacked, each equally likely; `None` when there is none. The order
    /// of `containers` does not matter.
    pub fn choose(&self, containers: &[ContainerFacts], rng: &mut impl Rng) -> Option<Attack> {
        let mut eligible: Vec<&ContainerFacts> =
            containers.iter().filter(|c| c.state == RunState::Running && self.allow(c)).collect();
        eligible.sort_by(|a, b| a.name.cmp(&b.name));
        let chosen = eligible.choose(rng)?;
        Some(Attack { id: chosen.id.clone(), name: chosen.name.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::fixtures::container;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    type Labels = &'static [(&'static str, &'static str)];

    #[test]
    fn consent_names_and_dockhealths_own() {
        let targets =
            Targets { patterns: vec!["web-*".parse().unwrap()], own: Some(container("web-own", &[]).id) };
        let cases: [(&str, Labels, bool); 8] = [
            ("labelled", &[("dockhealth.chaos", "true")], true),
            ("web-1", &[], true),
            ("bystander", &[], false),
            ("bystander", &[("dockhealth.monitor", "true")], false),
            ("web-2", &[("dockhealth.chaos", "false")], false),
            ("web-3", &[("dockhealth.role", "agent")], false),
            ("labelled", &[("dockhealth.chaos", "true"), ("dockhealth.role", "broker")], false),
            ("web-own", &[("dockhealth.chaos", "true")], false),
        ];
        for (name, labels, may) in cases {
            assert_eq!(targets.allow(&container(name, labels)), may, "{name} {labels:?}");
        }
    }

    #[test]
    fn only_what_runs_is_attacked() {
        let mut only = container("a", &[("dockhealth.chaos", "true")]);
        let rng = &mut StdRng::seed_from_u64(1);
        for state in [RunState::Created, RunState::Paused, RunState::Restarting, RunState::Exited] {
            only.state = state;
            assert_eq!(Targets::default().choose(std::slice::from_ref(&only), rng), None);
        }
        only.state = RunState::Running;
        let attack = Targets::default().choose(std::slice::from_ref(&only), rng).unwrap();
        assert_eq!((attack.id, attack.name), (only.id, only.name));
    }

    proptest! {
        #[test]
        fn a_seed_chooses_the_same_in_any_order_and_everyone_in_time(seed: u64) {
            let chaos = [("dockhealth.chaos", "true")];
            let mut containers: Vec<_> = ["a", "b", "c"].map(|name| container(name, &chaos)).to_vec();
            containers.push(container("bystander", &[]));
            let choose = |containers: &[ContainerFacts]| {
                let mut rng = StdRng::seed_from_u64(seed);
                (0..64).map(|_| Targets::default().choose(containers, &mut rng).unwrap().name).collect::<Vec<_>>()
            };
            let forwards = choose(&containers);
            containers.reverse();
            prop_assert_eq!(&forwards, &choose(&containers));
            let mut distinct = forwards;
            distinct.sort();
            distinct.dedup();
            let names: Vec<_> = distinct.iter().map(ContainerName::as_str).collect();
            prop_assert_eq!(names, ["a", "b", "c"]);
        }
    }
}
