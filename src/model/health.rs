//! One word for how a container is.

use serde::{Deserialize, Serialize};

/// How a container is, as every view shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Runs, and its last check lost nothing.
    Healthy,
    /// Runs and loses packets, not more than its threshold.
    Degraded,
    /// Down, lossier than its threshold, or unhealthy by its own HEALTHCHECK.
    Failing,
    /// Started or restarted by us, within its grace or not yet checked since.
    Recovering,
    /// Failing, and its restart budget is spent: left alone until released.
    Quarantined,
    /// Failing, and a freeze, maintenance or the breaker keeps it from being healed.
    Frozen,
    /// Runs, but no address of it ever answered a probe: judged by state and HEALTHCHECK alone.
    NotPingable,
    /// Not on the list: shown, never touched.
    Unmonitored,
    /// Not known now (not checked yet, paused, or the engine is unreachable).
    #[serde(other)]
    Unknown,
}

impl Health {
    /// Every health, in the order views list them.
    pub const ALL: [Self; 9] = [
        Self::Failing,
        Self::Quarantined,
        Self::Frozen,
        Self::Recovering,
        Self::Degraded,
        Self::NotPingable,
        Self::Unknown,
        Self::Healthy,
        Self::Unmonitored,
    ];

    /// The word in API, CLI and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
            Self::Recovering => "recovering",
            Self::Quarantined => "quarantined",
            Self::Frozen => "frozen",
            Self::NotPingable => "not_pingable",
            Self::Unmonitored => "unmonitored",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
