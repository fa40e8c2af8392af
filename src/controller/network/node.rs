//! What the map shows as one thing, and its id.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{ContainerKey, ContainerName, HostName, clean};

/// One end of what is measured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Node {
    /// A container of the fleet.
    Container(ContainerKey),
    /// The containers of one compose project on one host, together.
    Project(HostName, String),
    /// A host of the fleet itself.
    Host(HostName),
    /// The gateway that a host is to its containers.
    Gateway(HostName),
    /// Multicast and broadcast of a host's containers.
    Multicast(HostName),
    /// What leaves no link of theirs.
    Link(HostName),
    /// Peers of a host's containers for which there was no room.
    Rest(HostName),
    /// An address outside the fleet; `None`: all of them together.
    External(Option<IpAddr>),
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NodeKind {
    /// A container.
    Container,
    /// A compose project on one host.
    Project,
    /// A host.
    Host,
    /// The gateway of a host's container networks.
    Gateway,
    /// Multicast and broadcast.
    Multicast,
    /// What leaves no link: no IP, such as ARP, or addresses of the link alone.
    Link,
    /// Peers for which there was no room, together.
    Rest,
    /// Outside the fleet.
    External,
}

type OfHost = fn(HostName) -> Node;

/// What stands before the `:` of the ids of nodes that are no containers.
const PREFIXES: [(&str, OfHost); 5] = [
    ("host", Node::Host),
    ("gateway", Node::Gateway),
    ("multicast", Node::Multicast),
    ("link", Node::Link),
    ("rest", Node::Rest),
];

impl Node {
    pub(crate) const OUTSIDE: Self = Self::External(None);

    pub(crate) fn kind(&self) -> NodeKind {
        match self {
            Self::Container(_) => NodeKind::Container,
            Self::Project(..) => NodeKind::Project,
            Self::Host(_) => NodeKind::Host,
            Self::Gateway(_) => NodeKind::Gateway,
            Self::Multicast(_) => NodeKind::Multicast,
            Self::Link(_) => NodeKind::Link,
            Self::Rest(_) => NodeKind::Rest,
            Self::External(_) => NodeKind::External,
        }
    }

    /// The host it is on; `None` outside the fleet.
    pub(crate) fn host(&self) -> Option<&HostName> {
        match self {
            Self::Container(key) => Some(&key.host),
            Self::Project(host, _)
            | Self::Host(host)
            | Self::Gateway(host)
            | Self::Multicast(host)
            | Self::Link(host)
            | Self::Rest(host) => Some(host),
            Self::External(_) => None,
        }
    }

    /// What people call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Container(key) => key.name.to_string(),
            Self::Project(_, project) => project.clone(),
            Self::Host(host) => host.to_string(),
            Self::Gateway(_) => "gateway".into(),
            Self::Multicast(_) => "multicast".into(),
            Self::Link(_) => "the link".into(),
            Self::Rest(_) => "other peers".into(),
            Self::External(None) => "external".into(),
            Self::External(Some(address)) => address.to_string(),
        }
    }
}

/// `HOST/CONTAINER`, or its kind, `:` and what tells it apart: names of hosts hold no `:`.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(key) => write!(f, "{}/{}", key.host, key.name),
            Self::Project(host, project) => write!(f, "project:{host}/{project}"),
            Self::Host(host) => write!(f, "host:{host}"),
            Self::Gateway(host) => write!(f, "gateway:{host}"),
            Self::Multicast(host) => write!(f, "multicast:{host}"),
            Self::Link(host) => write!(f, "link:{host}"),
            Self::Rest(host) => write!(f, "rest:{host}"),
            Self::External(None) => f.write_str("external"),
            Self::External(Some(address)) => write!(f, "external:{address}"),
        }
    }
}

impl FromStr for Node {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{:?} is no node: give an id as the map has it, HOST/CONTAINER, gateway:HOST or external",
                clean(text, 80)
            )
        };
        if text == "external" {
            return Ok(Self::OUTSIDE);
        }
        let Some((kind, rest)) = text.split_once(':') else {
            let (host, name) = text.split_once('/').ok_or_else(wrong)?;
            let host = host.parse::<HostName>().map_err(|error| error.to_string())?;
            let name = name.parse::<ContainerName>().map_err(|error| error.to_string())?;
            return Ok(Self::Container(ContainerKey { host, name }));
        };
        match kind {
            "external" => rest.parse().map(|address| Self::External(Some(address))).map_err(|_| wrong()),
            "project" => {
                let (host, project) = rest.split_once('/').ok_or_else(wrong)?;
                let host = host.parse::<HostName>().map_err(|error| error.to_string())?;
                Ok(Self::Project(host, project.to_owned()))
            }
            kind => {
                let (_, node) = PREFIXES.iter().find(|(prefix, _)| *prefix == kind).ok_or_else(wrong)?;
                rest.parse().map(node).map_err(|error: crate::model::IdError| error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_id_reads_back() {
        let host = || "web.example.org".parse::<HostName>().unwrap();
        let container = ContainerKey { host: host(), name: "web.1".parse().unwrap() };
        for node in [
            Node::Container(container),
            Node::Project(host(), "shop".into()),
            Node::Host(host()),
            Node::Gateway(host()),
            Node::Multicast(host()),
            Node::Link(host()),
            Node::Rest(host()),
            Node::OUTSIDE,
            Node::External(Some("2001:db8::1".parse().unwrap())),
        ] {
            assert_eq!(node.to_string().parse(), Ok(node));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<Node>();
        }
    }
}
