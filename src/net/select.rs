//! Whom the rules select, pure.

use crate::model::{ContainerFacts, Namespace, TraceRules};

/// Whether `rules` trace a container.
pub(super) fn is_traced(rules: &TraceRules, facts: &ContainerFacts) -> bool {
    let named =
        |patterns: &[crate::model::NamePattern]| patterns.iter().any(|pattern| pattern.matches(&facts.name));
    let labelled = || {
        rules.labels.iter().any(|wanted| facts.labels.iter().any(|(key, value)| wanted.matches(key, value)))
    };
    let in_project =
        || facts.project().is_some_and(|project| rules.projects.iter().any(|wanted| wanted == project));
    let on_network = || {
        let hosts = facts.namespace == Namespace::Host;
        rules.networks.iter().any(|wanted| {
            (hosts && wanted == "host") || facts.networks.iter().any(|one| one.network == *wanted)
        })
    };
    !named(&rules.exclude)
        && (rules.containers.is_empty() || named(&rules.containers))
        && (rules.labels.is_empty() || labelled())
        && (rules.projects.is_empty() || in_project())
        && (rules.networks.is_empty() || on_network())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NetworkRules, RunState};
    use crate::net::fixtures::facts;

    #[test]
    fn every_list_that_is_not_empty_must_be_met() {
        let mut one = facts("web-1", RunState::Running, &[("shop_default", "10.0.0.2")]);
        one.labels.insert("com.docker.compose.project".into(), "shop".into());
        one.labels.insert("tier".into(), "web".into());
        for (trace, expected) in [
            ("", true),
            ("containers = [\"web-*\"]", true),
            ("containers = [\"db\"]", false),
            ("containers = [\"db\", \"web-?\"]\nlabels = [\"tier=web\"]", true),
            ("labels = [\"tier=db\"]", false),
            ("labels = [\"tier\"]", true),
            ("projects = [\"shop\"]\nnetworks = [\"shop_default\"]", true),
            ("projects = [\"other\"]", false),
            ("networks = [\"host\"]", false),
            ("exclude = [\"web-*\"]", false),
        ] {
            let rules = NetworkRules::from_toml(&format!("[trace]\n{trace}\n")).unwrap();
            assert_eq!(is_traced(&rules.trace, &one), expected, "{trace}");
        }
        one.namespace = Namespace::Host;
        let rules = NetworkRules::from_toml("template = \"host\"").unwrap();
        assert!(is_traced(&rules.trace, &one));
    }
}
