//! What is said on the bus, as versioned JSON. Unknown fields are passed over, so versions N-1 and N+1
//! understand each other.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{BusError, ChaosOrder, ChaosReport};
use crate::model::{
    CheckRecord, ContainerId, ContainerName, DrillId, Drops, EffectCounts, EfficacyReport, EngineId, Event,
    FaultNote, Freeze, Health, HostIdentity, HostName, InstanceId, LossPercent, MetricTick, PoolDecision,
    PoolName, PoolStatus, ProcessList, Rate, RunState, Threshold, Timestamp,
};

/// The version written into every message.
pub const PROTOCOL_VERSION: u32 = 1;

/// The most pools of one host.
pub const MAX_POOLS: usize = 32;

/// Writes a message.
pub fn encode<T: Serialize>(message: &T) -> Bytes {
    serde_json::to_vec(message).expect("plain data becomes JSON").into()
}

/// Reads a message; the error says where it is wrong.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, BusError> {
    serde_json::from_slice(payload).map_err(|e| BusError::Malformed(e.to_string()))
}

/// Whether the agent can reach its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineStatus {
    /// It answers.
    Reachable,
    /// It does not; what is said of containers is what was last known.
    Unreachable,
}

/// The engine of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EngineReport {
    /// Whether it answers.
    pub status: EngineStatus,
    /// Its own id; null until it first answered.
    #[schema(value_type = Option<String>)]
    pub id: Option<EngineId>,
    /// Its version, e.g. `20.10.24`.
    pub version: Option<String>,
    /// Why it is unreachable.
    pub error: Option<String>,
}

/// Something the agent can or cannot do here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Capability {
    /// What, e.g. `icmp`.
    pub name: String,
    /// Whether it works.
    pub works: bool,
    /// How it works, or what is missing and what would give it.
    pub detail: String,
}

/// One container in a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContainerReport {
    /// Its name on that host.
    #[schema(value_type = String)]
    pub name: ContainerName,
    /// Its id.
    #[schema(value_type = String)]
    pub id: ContainerId,
    /// Its image as written at creation.
    pub image: String,
    /// What the engine says it is doing.
    pub status: RunState,
    /// Whether it is on the list.
    pub monitored: bool,
    /// How it is.
    pub health: Health,
    /// Loss of the last check, percent.
    #[schema(value_type = Option<f64>)]
    pub loss_percent: Option<LossPercent>,
    /// Median round trip of the last check, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Restarts by us since the agent's journal began.
    pub restarts: Option<u64>,
    /// The names of its networks.
    pub networks: Vec<String>,
    /// Its addresses.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<std::net::IpAddr>,
    /// Its compose project.
    pub project: Option<String>,
    /// Its compose service.
    pub service: Option<String>,
    /// Why its health is what it is, in one plain sentence.
    pub reason: String,
    /// What came of our actions on it; absent until one was assessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<EffectCounts>,
    /// Its label `dockhealth.maintenance` says that it is in maintenance now; absent: it does not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub maintenance_by_label: bool,
}

/// All that an agent says of its host: pushed every 5 s, and the answer to a list request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostReport {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub v: u32,
    /// The host's name.
    pub host: HostName,
    /// This installation's identity.
    pub instance: InstanceId,
    /// New at each start of the agent process.
    pub nonce: uuid::Uuid,
    /// Counts this process's reports.
    pub seq: u64,
    /// When it was made.
    pub time: Timestamp,
    /// The agent's version.
    pub agent_version: String,
    /// The machine's addresses, for finding the host by one.
    #[serde(default)]
    pub addresses: Vec<std::net::IpAddr>,
    /// Its engine.
    pub engine: EngineReport,
    /// What works here and what does not.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// The freeze that holds now, the host's own or the fleet's.
    pub freeze: Option<Freeze>,
    /// Whether it only observes.
    #[serde(default)]
    pub dry_run: bool,
    /// The threshold in force.
    pub threshold: Threshold,
    /// Whether the agent has seen the desired state from the bus since it started.
    #[serde(default)]
    pub desired_synced: bool,
    /// How many items wait in its outbox; null where that cannot be read.
    #[serde(default)]
    pub outbox: Option<u64>,
    /// What the machine is; absent from agents before this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<HostIdentity>,
    /// What it asks of the fleet; absent from agents that know of no fleet's brakes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetReport>,
    /// Its containers.
    pub containers: Vec<ContainerReport>,
    /// Its pools, by name, at most [`MAX_POOLS`]; absent where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolStatus>,
}

/// What an agent asks of the fleet; answered by [`AgentCommand::Fleet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetReport {
    /// The fleet's budget of restarts that it keeps to; null: it was told of none, or got no answer.
    pub budget: Option<Rate>,
    /// Names the question: the milliseconds of the agent's own clock when it was asked.
    pub asked: i64,
    /// How many restarts it asks leave for; 0: it asks for none.
    pub wanted: u32,
}

/// One thing in an outbox. Kinds of later versions are passed over (and acknowledged).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutboxItem {
    /// An event.
    Event(Event),
    /// What was measured at one moment.
    Metrics(MetricTick),
    /// Something this version does not know.
    #[serde(other)]
    Unknown,
}

/// A batch of an agent's outbox; answered with [`OutboxAck`] after commit. Events and metrics have an outbox each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxBatch {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub v: u32,
    /// Whose outbox.
    pub host: HostName,
    /// The outbox's own id: new when `agent.db` is made anew.
    pub session: uuid::Uuid,
    /// The number of the last item; items are numbered without gaps, the first is `seq - items.len() + 1`. In a batch of
    /// metrics alone only the acknowledgement repeats it: metrics come in any order, and are told apart by their times.
    pub seq: u64,
    /// The items, oldest first.
    pub items: Vec<OutboxItem>,
}

/// The batch that ends with `seq` is stored, and of events everything before it; the agent forgets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxAck {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub v: u32,
    /// The last stored item.
    pub seq: u64,
    /// Why some of its metrics are not stored, and never will be; absent when all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What can be asked of one agent, over the bus or over its local socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum AgentCommand {
    /// The host's report.
    Report,
    /// Why a container is what it is.
    Why {
        /// Which.
        container: ContainerName,
    },
    /// The processes of a running container, watched for a second.
    Processes {
        /// Which.
        container: ContainerName,
        /// How many are wanted at most.
        limit: u32,
    },
    /// Restart it now, past every brake but the engine's.
    Restart {
        /// Which.
        container: ContainerName,
    },
    /// End its quarantine and forget its restart budget.
    Release {
        /// Which.
        container: ContainerName,
    },
    /// Freeze this host, by the agent alone (over the local socket only).
    Freeze {
        /// For how long, milliseconds; null: until lifted.
        for_ms: Option<u64>,
    },
    /// Lift that freeze.
    Unfreeze,
    /// Two agents claim this host or its engine, as the controller sees it: nothing is healed by label while it says
    /// so, which it repeats; the word is believed for 30 s.
    Disputed {
        /// Who claims what, in one plain sentence.
        reason: String,
    },
    /// A drill begins on this host, or goes on: it is believed for so long unless it is said again.
    Drill {
        /// Which.
        id: DrillId,
        /// The scenario's name.
        scenario: String,
        /// The containers that take part.
        containers: Vec<ContainerName>,
        /// For how long, milliseconds; 0: it is over.
        for_ms: u64,
    },
    /// What the controller says of the fleet: to a host that asks for leave, that does not know the budget, or that is
    /// one of several that fail at once.
    Fleet {
        /// The agent process that is meant: an answer to an earlier one counts for nothing.
        nonce: uuid::Uuid,
        /// The fleet's budget of restarts; null: there is none.
        budget: Option<Rate>,
        /// Which question is answered; null: none.
        asked: Option<i64>,
        /// How many restarts that allows, within 10 s of the question.
        restarts: u32,
        /// Why several hosts fail at once: believed for 20 s, and repeated every 5; null: they do not.
        hold: Option<String>,
    },
    /// Play a campaign of faults, where the agent's own configuration allows it and no other is being played. It is
    /// undone when it was not renewed for `within_ms`.
    ChaosBegin {
        /// Names the campaign.
        campaign: uuid::Uuid,
        /// Who ordered it.
        by: String,
        /// How long the host goes on without a renewal, milliseconds, 5,000 to 60,000.
        within_ms: u64,
        /// What.
        order: ChaosOrder,
    },
    /// Say all that a campaign would do to the containers that run now.
    ChaosPlan {
        /// What.
        order: ChaosOrder,
    },
    /// Go on with a campaign, and say what it did.
    ChaosRenew {
        /// Which.
        campaign: uuid::Uuid,
        /// [`ChaosReport::next`] of the last answer; 0 at first.
        after: u64,
    },
    /// End a campaign and undo its faults.
    ChaosEnd {
        /// Which; null: whichever is played.
        campaign: Option<uuid::Uuid>,
    },
    /// How a pool is, and why.
    Pool {
        /// Which.
        pool: PoolName,
        /// How many of its newest decisions are wanted at most; 500 are told at most.
        decisions: u32,
    },
    /// An antagonist of this host did a fault, or it is over (over the local socket only).
    Fault {
        /// Which, and what is told of it.
        note: FaultNote,
    },
}

/// An agent's answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum AgentReply {
    /// Done, or begun; the journal has the rest.
    Done,
    /// The host's report.
    Report(Box<HostReport>),
    /// Why.
    Why(Box<WhyReport>),
    /// The processes.
    Processes(Box<ProcessList>),
    /// How a campaign of faults goes.
    Chaos(Box<ChaosReport>),
    /// What a campaign would do.
    ChaosPlan {
        /// Its turns, as `dockhealth antagonist --plan` prints them.
        turns: serde_json::Value,
    },
    /// How a pool is.
    Pool {
        /// The pool.
        status: Box<PoolStatus>,
        /// Its newest decisions, newest first.
        decisions: Vec<PoolDecision>,
    },
    /// Not done.
    Error(CommandError),
}

/// Why an agent did not do as told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum CommandError {
    /// It has no such container.
    #[error("this host has no container {container}")]
    NoSuchContainer {
        /// The name asked for.
        container: String,
    },
    /// It will not, or cannot now.
    #[error("{reason}")]
    Refused {
        /// Why, and what would be right.
        reason: String,
    },
    /// The command cannot be read, or is of a later version.
    #[error("cannot read the command: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a container is what it is: the last checks, decisions and actions, newest last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhyReport {
    /// The container as in reports.
    pub container: ContainerReport,
    /// The threshold that holds for it, percent.
    pub threshold: Threshold,
    /// Why it is on the list or not, in one plain sentence.
    pub monitored_by: String,
    /// The last checks (at most 20).
    pub checks: Vec<CheckRecord>,
    /// What was decided and done about it (at most 50 events).
    pub events: Vec<Event>,
    /// The brakes, each in one plain sentence: budget left, backoff, grace, freeze.
    pub brakes: Vec<String>,
    /// What our actions on it have come to; absent until one was assessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efficacy: Option<EfficacyReport>,
    /// What its network had of drops and retransmits in the last minute; absent where neither is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<WhyNetwork>,
}

/// What may explain why probes of a container are lost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WhyNetwork {
    /// Of how many seconds, the last ones.
    pub seconds: u32,
    /// Segments that TCP sent again to or from it; null where that is not measured.
    pub retransmits: Option<u64>,
    /// What was dropped in its network or on the way to and from it (at most 20, the most packets first).
    pub drops: Vec<Drops>,
    /// The same in plain sentences, the gravest first (at most 20).
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::decode_network;
    use proptest::prelude::*;

    fn read_all(payload: &[u8]) {
        let _ = decode::<HostReport>(payload);
        let _ = decode::<OutboxBatch>(payload);
        let _ = decode::<OutboxAck>(payload);
        let _ = decode::<AgentCommand>(payload);
        let _ = decode::<AgentReply>(payload);
        let _ = decode_network(payload);
    }

    proptest! {
        #[test]
        fn hostile_messages_are_errors_not_panics(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            read_all(&payload);
        }

        #[test]
        fn nor_are_broken_ones(at in 0_usize..2000, byte in any::<u8>()) {
            let recorded = include_bytes!("../../tests/fixtures/protocol/v1/agent_reply_report.json");
            let mut payload = recorded.to_vec();
            let at = at % payload.len();
            payload[at] = byte;
            read_all(&payload);
            read_all(&payload[..at]);
        }
    }
}
