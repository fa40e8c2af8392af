//! What the administrator wants: the threshold, the containers, the freezes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    ContainerKey, ContainerName, HostName, NetworkRules, PoolKey, PoolName, PoolSpec, Threshold, Timestamp,
};

/// What to do with a container that was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStop {
    /// Start it again (the default for containers an administrator named).
    Restart,
    /// Leave it down (the default for label and `--monitor-all`).
    Leave,
}

/// What the administrator said of one container. Absent fields say nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DesiredEntry {
    /// Whether it is to be monitored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitored: Option<bool>,
    /// Its own threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
    /// What to do when it was told to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_stop: Option<OnStop>,
    /// Not healed before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_until: Option<Timestamp>,
}

impl DesiredEntry {
    /// Whether it says nothing at all and may be forgotten.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which hosts a freeze holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FreezeScope {
    /// The whole fleet.
    All,
    /// One host.
    Host(HostName),
}

impl FreezeScope {
    /// Whether it holds `host`.
    pub fn covers(&self, host: &HostName) -> bool {
        match self {
            Self::All => true,
            Self::Host(held) => held == host,
        }
    }
}

impl fmt::Display for FreezeScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("every host"),
            Self::Host(host) => write!(f, "host {host}"),
        }
    }
}

/// No healing, until lifted or until a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Freeze {
    /// When it was set.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it ends by itself; null: only when lifted.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Who set it.
    pub by: String,
}

impl Freeze {
    /// Whether it still holds at `wall`.
    pub fn holds_at(&self, wall: Timestamp) -> bool {
        self.until.is_none_or(|until| wall < until)
    }
}

/// One key of the desired state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DesiredKey {
    /// The fleet's threshold.
    Threshold,
    /// One container's entry.
    Container(ContainerKey),
    /// One freeze.
    Freeze(FreezeScope),
    /// The rules of network monitoring.
    Rules,
    /// One pool.
    Pool(PoolKey),
}

/// All that is wanted, as an agent or the controller knows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DesiredState {
    /// The fleet's threshold, once one is stored.
    pub threshold: Option<Threshold>,
    /// What was said of containers.
    pub containers: BTreeMap<ContainerKey, DesiredEntry>,
    /// Freezes by scope.
    pub freezes: BTreeMap<FreezeScope, Freeze>,
    /// The rules of network monitoring, once some are stored.
    pub rules: Option<NetworkRules>,
    /// Pools, by host and name.
    pub pools: BTreeMap<PoolKey, PoolSpec>,
}

impl DesiredState {
    /// What was said of `name` on `host`.
    pub fn entry(&self, host: &HostName, name: &ContainerName) -> Option<&DesiredEntry> {
        self.containers.get(&ContainerKey { host: host.clone(), name: name.clone() })
    }

    /// The pools that `host` is to have.
    pub fn pools_of(&self, host: &HostName) -> BTreeMap<PoolName, PoolSpec> {
        let own = self.pools.iter().filter(|(key, _)| key.host == *host);
        own.map(|(key, spec)| (key.name.clone(), spec.clone())).collect()
    }

    /// The freeze that holds `host` at `wall`: its own before the fleet's.
    pub fn freeze_at(&self, host: &HostName, wall: Timestamp) -> Option<(&FreezeScope, &Freeze)> {
        self.freezes.iter().rev().find(|(scope, freeze)| scope.covers(host) && freeze.holds_at(wall))
    }
}
