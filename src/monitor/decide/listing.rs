//! Who is on the list, and why: entry before label before `--monitor-all`; never dockhealth itself, nor what is of a pool.

use std::collections::BTreeSet;
use std::fmt;

use super::Policy;
use crate::model::{ContainerFacts, ContainerId, DesiredEntry, OnStop};

/// What put a container on the list, or keeps it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// An administrator named it.
    Named,
    /// Its label asks for it.
    Labelled,
    /// `--monitor-all`.
    Everything,
    /// An administrator took it off.
    TakenOff,
    /// Its label asks not to be.
    LabelledOff,
    /// Nothing says anything of it.
    Unlisted,
    /// It is a part of dockhealth itself.
    Own,
    /// It is of a pool, which replaces what ails.
    Pool,
    /// Its label would list it, but two agents claim this host.
    Disputed,
}

impl Listing {
    /// Whether it is monitored.
    pub fn is_monitored(self) -> bool {
        matches!(self, Self::Named | Self::Labelled | Self::Everything)
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "monitored: an administrator named it",
            Self::Labelled => "monitored: its label dockhealth.monitor=true asks for it",
            Self::Everything => "monitored: the agent runs with --monitor-all",
            Self::TakenOff => "not monitored: an administrator took it off the list",
            Self::LabelledOff => "not monitored: its label dockhealth.monitor=false asks not to be",
            Self::Unlisted => "not monitored: nothing lists it",
            Self::Own => "not monitored: it is a part of dockhealth itself, or being replaced by it",
            Self::Pool => "not monitored: it is of a pool, which replaces what ails",
            Self::Disputed => "not monitored by label while two agents claim this host",
        })
    }
}

/// Containers that are never touched whatever the list says: the agent's own and its broker's.
#[derive(Debug, Clone, Default)]
pub struct OwnContainers {
    /// By id.
    pub ids: BTreeSet<ContainerId>,
    /// Ports of the broker on this host: whoever publishes one is the broker.
    pub broker_ports: BTreeSet<u16>,
    /// Addresses of the broker.
    pub broker_addresses: BTreeSet<std::net::IpAddr>,
}

impl OwnContainers {
    fn holds(&self, facts: &ContainerFacts) -> bool {
        facts.role().is_some()
            || facts.name.is_aside()
            || self.ids.contains(&facts.id)
            || facts.published.iter().any(|(host_port, _)| self.broker_ports.contains(host_port))
            || facts.addresses().iter().any(|address| self.broker_addresses.contains(address))
    }
}

/// What puts `facts` on the list or keeps it off. While two agents claim this host (`disputed`), only what an
/// administrator named is healed.
pub(super) fn listing(
    facts: &ContainerFacts,
    entry: Option<&DesiredEntry>,
    own: &OwnContainers,
    policy: &Policy,
    disputed: Option<&str>,
) -> Listing {
    if own.holds(facts) {
        return Listing::Own;
    }
    if facts.pool().is_some() {
        return Listing::Pool;
    }
    let unless_disputed = |listing| if disputed.is_some() { Listing::Disputed } else { listing };
    match (entry.and_then(|entry| entry.monitored), facts.monitor_label()) {
        (Some(true), _) => Listing::Named,
        (Some(false), _) => Listing::TakenOff,
        (None, Some(true)) => unless_disputed(Listing::Labelled),
        (None, Some(false)) => Listing::LabelledOff,
        (None, None) if policy.monitor_all => unless_disputed(Listing::Everything),
        (None, None) => Listing::Unlisted,
    }
}

/// What to do with it when it was told to stop: entry before label before `--on-stop` before the listing's default.
pub(super) fn on_stop(
    facts: &ContainerFacts,
    entry: Option<&DesiredEntry>,
    listing: Listing,
    policy: &Policy,
) -> OnStop {
    let default = if listing == Listing::Named { OnStop::Restart } else { OnStop::Leave };
    entry.and_then(|entry| entry.on_stop).or(facts.on_stop_label()).or(policy.on_stop).unwrap_or(default)
}
