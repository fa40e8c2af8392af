//! A drill: a campaign of faults, and how rightly and fast healing answered each.

use serde::{Deserialize, Serialize};

use super::{ContainerName, EventId, EventKind, HostName, Timestamp};

/// Names a drill: a UUID version 7. What it causes carries it, as `drill_id`.
pub type DrillId = EventId;

/// How a drill stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrillState {
    /// It is under way.
    Running,
    /// All came out as expected.
    Passed,
    /// Something was missed, came late, or was touched that should not have been.
    Failed,
    /// It ended without a report: whoever ran it died, or could not reach the controller.
    Lost,
    /// A state this version does not know.
    #[serde(other)]
    Unknown,
}

impl DrillState {
    /// The word in API and CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Unknown => "unknown",
        }
    }
}

/// A drill in the history: what it was, and the figures of its report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Drill {
    /// Its id: `drill_id` of the events and incidents that it caused.
    #[schema(value_type = String, format = Uuid)]
    pub id: DrillId,
    /// The host whose containers were attacked.
    #[schema(value_type = String)]
    pub hostname: HostName,
    /// The scenario's name.
    pub scenario: String,
    /// The seed that decided what the scenario left open.
    pub seed: u64,
    /// How it stands.
    pub state: DrillState,
    /// When it began, by the controller's clock.
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// When its report came; null while there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended: Option<Timestamp>,
    /// How many containers take part.
    pub containers: u64,
    /// The figures of its report; null while there is none.
    pub summary: Option<DrillSummary>,
}

/// A drill's figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DrillSummary {
    /// Faults that were done.
    pub injected: u64,
    /// Faults that the agent noticed: it said that the container fails, or acted on it.
    pub detected: u64,
    /// Faults that it should have noticed, and did not.
    pub missed: u64,
    /// Faults that did not come out as expected: missed, late, or answered where they were to be borne.
    pub unexpected: u64,
    /// Actions of the agent without a fault that called for them.
    pub false_alarms: u64,
    /// From a fault to the word that its container fails; null when that was never said.
    pub detect: Option<Spread>,
    /// From a fault to the end of the first action; null when there was none.
    pub act: Option<Spread>,
    /// From a fault to the word that its container is well again; null when that was never said.
    pub recover: Option<Spread>,
}

/// How long something took, milliseconds: nearest-rank percentiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Spread {
    /// How often it was seen.
    pub count: u64,
    /// Half of them took so long at most.
    pub p50_ms: u64,
    /// 95 % of them did.
    pub p95_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

/// The figures of one kind of fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DrillKind {
    /// The fault's word: `stop`, `loss`.
    pub kind: String,
    /// Its figures. False alarms are those on containers that carried such a fault.
    pub summary: DrillSummary,
}

/// What should come of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultWanted {
    /// It is noticed.
    Found,
    /// It is noticed, and its container started, restarted or recreated in time.
    Healed,
    /// Nobody acts on its container.
    Untouched,
    /// Its container is given up in time, after no more actions than its budget allows.
    Quarantined,
    /// Nobody acts on its container, and one incident about what is shared stands for all.
    Shared,
    /// Nothing: it is counted, and not judged.
    #[serde(other)]
    Nothing,
}

/// What came of a fault, against what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultOutcome {
    /// What was wanted.
    AsExpected,
    /// It was not noticed, and should have been.
    Missed,
    /// It was noticed, and not answered in time.
    Late,
    /// It was answered, and should have been borne; or answered in the wrong order.
    Wrong,
    /// Nothing was wanted.
    #[serde(other)]
    NotJudged,
}

/// One fault, and how it was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DrillFault {
    /// Whom it was done to.
    #[schema(value_type = String)]
    pub container: ContainerName,
    /// What was done, e.g. `loss=80%`.
    pub fault: String,
    /// Its word, e.g. `loss`.
    pub kind: String,
    /// The scenario's phase.
    pub phase: String,
    /// When it was in force.
    #[schema(value_type = String, format = DateTime)]
    pub injected: Timestamp,
    /// When it was over; null when that was not heard.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub over: Option<Timestamp>,
    /// What should have come of it.
    pub wanted: FaultWanted,
    /// Within what time, milliseconds; null: none was given.
    pub within_ms: Option<u64>,
    /// What came of it.
    pub outcome: FaultOutcome,
    /// From the fault to the word that its container fails, milliseconds; null: never said.
    pub detect_ms: Option<u64>,
    /// From the fault to the end of the first action, milliseconds; null: there was none.
    pub act_ms: Option<u64>,
    /// From the fault to the word that its container is well again, milliseconds; null: never said.
    pub recover_ms: Option<u64>,
    /// From the fault to its container's quarantine, milliseconds; null: there was none.
    pub quarantine_ms: Option<u64>,
    /// What was done about it first, e.g. `container_started`; null when nothing was.
    pub action: Option<EventKind>,
    /// How many actions it led to.
    pub actions: u64,
}

/// An action of the agent without a fault that called for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FalseAlarm {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// On whom.
    #[schema(value_type = String)]
    pub container: ContainerName,
    /// What.
    pub action: EventKind,
    /// Why, as the agent said.
    pub reason: String,
}

/// The whole report of a drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DrillReport {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: DrillId,
    /// The host whose containers were attacked.
    #[schema(value_type = String)]
    pub hostname: HostName,
    /// The scenario's name.
    pub scenario: String,
    /// What the scenario is for; may be empty.
    pub about: String,
    /// The seed that decided what it left open.
    pub seed: u64,
    /// The version of the program that ran it.
    pub version: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    pub ended: Timestamp,
    /// How many containers took part.
    pub containers: u64,
    /// Whether all came out as expected.
    pub passed: bool,
    /// Everything that did not, a sentence each.
    pub findings: Vec<String>,
    /// The figures of all faults.
    pub summary: DrillSummary,
    /// The figures of each kind of fault.
    pub kinds: Vec<DrillKind>,
    /// The faults, in the order they were done (at most 2,000).
    pub faults: Vec<DrillFault>,
    /// Faults that are counted above, and not listed.
    pub faults_left_out: u64,
    /// Actions without a fault that called for them (at most 200 are listed).
    pub false_alarms: Vec<FalseAlarm>,
    /// Actions on containers that take no part, or that were down without a fault of this drill: not its doing.
    pub other_actions: u64,
    /// How often something shared was found to blame (`breaker_opened`).
    pub shared_incidents: u64,
}

/// What begins a drill, and is repeated while it goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DrillRequest {
    /// The host whose containers are attacked.
    #[schema(value_type = String)]
    pub hostname: HostName,
    /// The scenario's name.
    pub scenario: String,
    /// The seed that decides what it leaves open.
    pub seed: u64,
    /// The containers that take part, at most 1,000.
    #[schema(value_type = Vec<String>)]
    pub containers: Vec<ContainerName>,
}
