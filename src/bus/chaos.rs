//! Campaigns of faults over the bus: what is ordered, and what a host says of it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::Timestamp;

/// A campaign of faults as it is ordered: what the options of `dockhealth antagonist` say, in the same words. A field that
/// the agent does not know makes it refuse the order, since it may be what keeps something safe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChaosOrder {
    /// What is done, one of these to each victim, e.g. `loss=100%`; none: `stop`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Time between two attacks, e.g. `10s`; 30s where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// Time after which a fault is undone, e.g. `30s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// Who may be attacked besides those labelled `dockhealth.chaos=true`; `30%`: so many of the host's at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// How long the campaign lasts, e.g. `10m`; until it is ended where absent.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
    /// A scenario instead of the above: the text of its TOML file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// Faults in force at once on each host, at most; as the scenario says, else 10, where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// Ends early on a host, and undoes everything there, when one of these holds: `down=50%` (so many of its targets do not
    /// run), `missed=3` (faults that did not come out as the scenario expects), `engine-faults=5` (turns in a row). Each
    /// goes before what the scenario says of the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub abort_when: Vec<String>,
    /// Decides what is left open, together with the host's name; random where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Attacks are told and not made.
    #[serde(skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde hands it over")]
fn is_false(value: &bool) -> bool {
    !value
}

/// How far a campaign is on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChaosState {
    /// It goes on, as long as it is renewed.
    Playing,
    /// Its faults are being undone.
    Ending,
    /// Nothing of it is left but what [`ChaosSummary::lost`] names.
    Ended,
}

/// A line of what a campaign did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChaosNews {
    /// When, by the host's clock.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// What, in words.
    pub text: String,
}

/// What came of a campaign.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChaosSummary {
    /// Faults that were done.
    pub faults: u32,
    /// How many came out as expected.
    pub met: u32,
    /// How many did not.
    pub missed: u32,
    /// Why it ended early; null: it did not.
    pub aborted: Option<String>,
    /// How many faults could not be undone yet; the agent goes on trying.
    pub lost: u32,
}

/// What a host says of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChaosReport {
    /// Which.
    pub campaign: Uuid,
    /// How far it is.
    pub state: ChaosState,
    /// What it did since the news that was asked after, oldest first (at most 200 lines).
    pub news: Vec<ChaosNews>,
    /// What to ask after next.
    pub next: u64,
    /// What came of it, once it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<ChaosSummary>,
}
