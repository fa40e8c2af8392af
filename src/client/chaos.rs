//! What the command line shows of campaigns of faults.

use serde::Deserialize;

use crate::bus::{ChaosNews, ChaosState, ChaosSummary};
use crate::model::HostName;

/// A campaign on its hosts.
#[derive(Debug, Clone, Deserialize)]
pub struct ChaosView {
    /// Its id; none where it was only planned, or whichever was played was ended.
    pub campaign: Option<uuid::Uuid>,
    /// Each host.
    pub hosts: Vec<ChaosHostView>,
}

/// A campaign on one host.
#[derive(Debug, Clone, Deserialize)]
pub struct ChaosHostView {
    /// The host.
    pub hostname: HostName,
    /// How far it is; `None`: see `detail`.
    pub state: Option<ChaosState>,
    /// Why it is not played there.
    pub detail: Option<String>,
    /// Whether the host did not answer: it may still play.
    #[serde(default)]
    pub silent: bool,
    /// What it did since it was asked last.
    #[serde(default)]
    pub news: Vec<ChaosNews>,
    /// What to ask after next.
    #[serde(default)]
    pub next: u64,
    /// What came of it.
    pub summary: Option<ChaosSummary>,
    /// What it would do.
    pub plan: Option<serde_json::Value>,
}
