//! The same map seen from further away: projects or hosts in the place of containers.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::node::Node;
use super::pair::add_hop;
use super::project::Traffics;
use crate::model::ContainerKey;

/// What one node of a map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fold {
    /// Each container.
    Container,
    /// Each compose project on each host; containers of none are their host.
    Project,
    /// Each host, with its containers and its gateway.
    Host,
}

impl Fold {
    pub(crate) const ALL: [Self; 3] = [Self::Container, Self::Project, Self::Host];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Project => "project",
            Self::Host => "host",
        }
    }

    /// Which node of the folded map `node` belongs to.
    pub(crate) fn of(self, node: &Node, projects: &HashMap<ContainerKey, String>) -> Node {
        match (self, node) {
            (_, Node::External(_)) => Node::OUTSIDE,
            (Self::Project, Node::Container(key)) => match projects.get(key) {
                Some(project) => Node::Project(key.host.clone(), project.clone()),
                None => Node::Host(key.host.clone()),
            },
            (Self::Host, node) => node.host().cloned().map_or(Node::OUTSIDE, Node::Host),
            (_, node) => node.clone(),
        }
    }
}

/// Folds `traffics`; `projects` are those of the fleet's containers. Addresses outside the fleet become one node always.
pub(crate) fn fold(traffics: Traffics, by: Fold, projects: &HashMap<ContainerKey, String>) -> Traffics {
    let mut out = Traffics { covered: traffics.covered, left_out: traffics.left_out, ..Traffics::default() };
    for ((from, to), pair) in traffics.pairs {
        let ends = (by.of(&from, projects), by.of(&to, projects));
        out.pairs.entry(ends).or_default().add(&pair);
    }
    for (node, more) in traffics.nodes {
        let sum = out.nodes.entry(by.of(&node, projects)).or_default();
        sum.drops.add(&more.drops);
        more.hops.iter().for_each(|(hop, histogram)| add_hop(&mut sum.hops, *hop, histogram));
    }
    out
}
