//! Rules to start from, for common setups.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{HopStage, MeasureRules, NetworkRules, SamplingRules, TraceRules};

/// A common setup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RulesTemplate {
    /// Containers on Docker's default bridge: everything, and each part of the way between two of them.
    Bridge,
    /// Compose projects: everything of every project; name yours in `trace.projects`.
    Compose,
    /// Containers on the host's network: by sockets and cgroups alone.
    Host,
    /// Overlay networks of a swarm: also the way to the tunnel.
    Overlay,
    /// macvlan and ipvlan: no host's end of a veth pair, so the ends only.
    Macvlan,
}

impl RulesTemplate {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Bridge, Self::Compose, Self::Host, Self::Overlay, Self::Macvlan];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Compose => "compose",
            Self::Host => "host",
            Self::Overlay => "overlay",
            Self::Macvlan => "macvlan",
        }
    }

    /// What it is for, in one sentence.
    pub fn help(self) -> &'static str {
        match self {
            Self::Bridge => "containers on the default bridge, with each part of the way between two of them",
            Self::Compose => "containers of compose projects; name yours in trace.projects",
            Self::Host => "containers on the host's network, by their sockets: no packets are looked at",
            Self::Overlay => "overlay networks of a swarm, with the way to the tunnel",
            Self::Macvlan => "macvlan and ipvlan networks, whose packets pass no bridge of the host",
        }
    }

    /// The rules, all fields said.
    pub fn rules(self) -> NetworkRules {
        let all = MeasureRules::default();
        let (trace, measure) = match self {
            Self::Bridge => (
                TraceRules { networks: vec!["bridge".to_owned()], ..TraceRules::default() },
                MeasureRules { hops: vec![HopStage::Container, HopStage::Bridge, HopStage::Veth], ..all },
            ),
            Self::Compose => {
                let project = "com.docker.compose.project".to_owned();
                let labels = vec![project.try_into().expect("a label's key")];
                (TraceRules { labels, ..TraceRules::default() }, all)
            }
            Self::Host => (
                TraceRules { networks: vec!["host".to_owned()], ..TraceRules::default() },
                MeasureRules { flows: false, latency: false, ..all },
            ),
            Self::Overlay => (
                TraceRules::default(),
                MeasureRules { hops: vec![HopStage::Container, HopStage::Overlay], ..all },
            ),
            Self::Macvlan => (TraceRules::default(), all),
        };
        NetworkRules { interval: Duration::from_secs(10), trace, measure, sampling: SamplingRules::default() }
    }
}

impl FromStr for RulesTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|template| template.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|template| template.as_str()).collect();
            format!("there is no such template; there are {}", names.join(", "))
        })
    }
}

impl fmt::Display for RulesTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_valid_and_found_by_its_name() {
        for template in RulesTemplate::ALL {
            assert_eq!(template.rules().check(), Ok(()), "{template}");
            assert_eq!(template.as_str().parse(), Ok(template));
        }
    }
}
