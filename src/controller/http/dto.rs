//! What the API says and takes, as JSON.

use serde::{Deserialize, Serialize};

use crate::bus::{Capability, ContainerReport, DesiredChange, EngineReport, WhyNetwork, WhyReport};
use crate::controller::fleet::{HostSnapshot, Presence};
use crate::model::{
    CheckRecord, ContainerId, ContainerName, DesiredEntry, DesiredState, EfficacyReport, Event, Freeze,
    FreezeScope, Health, HostIdentity, HostName, LossPercent, NetworkRules, PoolName, PoolSpec, RunState,
    Scope, Threshold, Timestamp, TokenId, clean,
};
use crate::store::TokenRow;

/// The longest text of a host's own that is passed on, characters.
const LONGEST_TEXT: usize = 512;

pub(super) fn safe(text: &str) -> String {
    clean(text, LONGEST_TEXT)
}

/// One container of the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Container {
    /// The host it runs on.
    #[schema(value_type = String)]
    pub hostname: HostName,
    /// Its name there; with the host it is stable over recreation.
    #[schema(value_type = String)]
    pub name: ContainerName,
    /// What the engine says it is doing.
    pub status: RunState,
    /// Whether it is on the list.
    pub monitored: bool,
    /// Its id, new at each creation.
    #[schema(value_type = String)]
    pub id: ContainerId,
    /// Its image as written at creation.
    pub image: String,
    /// How it is.
    pub health: Health,
    /// Loss of the last check, percent; null where unknown.
    #[schema(value_type = Option<f64>)]
    pub loss_percent: Option<LossPercent>,
    /// Median round trip of the last check, milliseconds; null where unknown.
    pub rtt_ms: Option<f64>,
    /// Restarts by dockhealth since the agent's journal began; null where unknown.
    pub restarts: Option<u64>,
    /// The names of its networks.
    pub networks: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its compose project.
    pub project: Option<String>,
    /// Its compose service.
    pub service: Option<String>,
    /// Why its health is what it is, in one plain sentence.
    pub reason: String,
    /// True when its host did not answer, so that this is what was last known. Only with `?stale=true`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stale: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Container {
    pub(crate) fn new(host: &HostName, report: &ContainerReport, freshness: Freshness) -> Self {
        Self {
            hostname: host.clone(),
            name: report.name.clone(),
            status: report.status,
            monitored: report.monitored,
            id: report.id.clone(),
            image: safe(&report.image),
            health: report.health,
            loss_percent: report.loss_percent,
            rtt_ms: report.rtt_ms,
            restarts: report.restarts,
            networks: report.networks.iter().map(|name| safe(name)).collect(),
            addresses: report.addresses.iter().map(ToString::to_string).collect(),
            project: report.project.as_deref().map(safe),
            service: report.service.as_deref().map(safe),
            reason: safe(&report.reason),
            stale: freshness == Freshness::Stale,
        }
    }
}

/// Whether what is shown was just said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Its host answered.
    Fresh,
    /// Its host did not; this is what was last known.
    Stale,
}

/// One container with all that explains it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContainerDetails {
    /// The container.
    pub container: Container,
    /// The threshold that holds for it, percent; null when its host does not say.
    #[schema(value_type = Option<f64>)]
    pub threshold: Option<Threshold>,
    /// Why it is on the list or not; null when its host does not say.
    pub monitored_by: Option<String>,
    /// Its last checks, newest last.
    pub checks: Vec<CheckRecord>,
    /// What was decided and done about it, newest last.
    pub events: Vec<Event>,
    /// What keeps it from being healed, or will: budget, backoff, grace, freeze, each in one plain sentence.
    pub brakes: Vec<String>,
    /// What our actions on it have come to; null while none was assessed, or its host does not say.
    pub efficacy: Option<EfficacyReport>,
    /// What of its network may explain lost probes; null where that is not measured, or its host does not say.
    pub network: Option<NetworkHints>,
}

/// Drops and retransmits of the last seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NetworkHints {
    /// Of how many seconds.
    pub seconds: u32,
    /// TCP segments sent again to or from it; null: not measured.
    pub retransmits: Option<u64>,
    /// What was dropped, why and where, and what was sent again, in plain sentences, the gravest first.
    pub notes: Vec<String>,
}

impl From<WhyNetwork> for NetworkHints {
    fn from(why: WhyNetwork) -> Self {
        let notes = why.notes.iter().map(|note| safe(note)).collect();
        Self { seconds: why.seconds, retransmits: why.retransmits, notes }
    }
}

impl ContainerDetails {
    pub(crate) fn new(host: &HostName, why: WhyReport) -> Self {
        Self {
            container: Container::new(host, &why.container, Freshness::Fresh),
            threshold: Some(why.threshold),
            monitored_by: Some(safe(&why.monitored_by)),
            checks: why.checks,
            events: why.events,
            brakes: why.brakes.iter().map(|brake| safe(brake)).collect(),
            efficacy: why
                .efficacy
                .map(|efficacy| EfficacyReport { futile: efficacy.futile.as_deref().map(safe), ..efficacy }),
            network: why.network.map(NetworkHints::from),
        }
    }
}

/// What came of putting a container on the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Monitoring {
    /// The host.
    #[schema(value_type = String)]
    pub hostname: HostName,
    /// The container.
    #[schema(value_type = String)]
    pub name: ContainerName,
    /// Always true: it is on the list.
    pub monitored: bool,
    /// What happens next, in one plain sentence.
    pub detail: String,
}

/// One host of the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Host {
    /// Its name.
    #[schema(value_type = String)]
    pub hostname: HostName,
    /// Whether it spoke within the last 15 s.
    pub presence: Presence,
    /// When it first spoke.
    #[schema(value_type = String, format = DateTime)]
    pub first_seen: Timestamp,
    /// When it last spoke.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen: Timestamp,
    /// Who else claims its name or engine; null when nobody does.
    pub conflict: Option<String>,
    /// How far its clock is ahead of the controller's, milliseconds, negative where it is behind; null until it spoke to
    /// this controller process.
    pub clock_offset_ms: Option<i64>,
    /// Whether that is too far: more than 30 s either way.
    pub clock_skewed: bool,
    /// What its agent last said; null until it spoke to this controller process.
    pub agent: Option<Agent>,
}

/// The agent of a host, as it last spoke.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Agent {
    /// Its version.
    pub version: String,
    /// This installation's identity.
    pub instance: String,
    /// The machine's addresses.
    pub addresses: Vec<String>,
    /// Its Docker engine.
    pub engine: EngineReport,
    /// What works there and what does not.
    pub capabilities: Vec<Capability>,
    /// The freeze that holds there now; null when none does.
    pub freeze: Option<Freeze>,
    /// Whether it only observes.
    pub dry_run: bool,
    /// The threshold in force, percent.
    #[schema(value_type = f64)]
    pub threshold: Threshold,
    /// Whether it has read the desired state since it started.
    pub desired_synced: bool,
    /// How many events wait there to be stored here.
    pub outbox: Option<u64>,
    /// What the machine is; null when its agent is too old to say.
    #[serde(default)]
    pub identity: Option<HostIdentity>,
    /// How many containers it has.
    pub containers: usize,
    /// How many of them are monitored.
    pub monitored: usize,
    /// How many monitored ones are failing, quarantined or frozen.
    pub failing: usize,
}

impl Host {
    pub(crate) fn new(seen: &HostSnapshot) -> Self {
        let bad = |h: Health| matches!(h, Health::Failing | Health::Quarantined | Health::Frozen);
        let agent = seen.report.as_deref().map(|report| Agent {
            version: safe(&report.agent_version),
            instance: report.instance.to_string(),
            addresses: report.addresses.iter().map(ToString::to_string).collect(),
            engine: report.engine.clone(),
            capabilities: report.capabilities.clone(),
            freeze: report.freeze.clone(),
            dry_run: report.dry_run,
            threshold: report.threshold,
            desired_synced: report.desired_synced,
            outbox: report.outbox,
            identity: report.identity.as_ref().map(HostIdentity::cleaned),
            containers: report.containers.len(),
            monitored: report.containers.iter().filter(|c| c.monitored).count(),
            failing: report.containers.iter().filter(|c| bad(c.health)).count(),
        });
        Self {
            hostname: seen.name.clone(),
            presence: seen.presence,
            first_seen: seen.first_seen,
            last_seen: seen.last_seen,
            conflict: seen.conflict.clone(),
            clock_offset_ms: seen.clock_offset_ms,
            clock_skewed: seen.clock_skewed,
            agent,
        }
    }
}

/// The containers of one host, on the stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HostContainers {
    /// The host.
    #[schema(value_type = String)]
    pub hostname: HostName,
    /// All its containers.
    pub containers: Vec<Container>,
}

/// What is wanted, on the stream: one entry's new content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "key", rename_all = "snake_case")]
pub enum DesiredNotice {
    /// The fleet's threshold.
    Threshold {
        /// Percent; null: none is stored.
        #[schema(value_type = Option<f64>)]
        threshold: Option<Threshold>,
    },
    /// What was said of one container.
    Container {
        /// The host.
        #[schema(value_type = String)]
        hostname: HostName,
        /// The container.
        #[schema(value_type = String)]
        name: ContainerName,
        /// Whether it is to be monitored; null: not said.
        monitored: Option<bool>,
        /// Its own threshold, percent; null: the fleet's.
        #[schema(value_type = Option<f64>)]
        threshold: Option<Threshold>,
        /// Not healed before this time; null: not said.
        #[schema(value_type = Option<String>, format = DateTime)]
        maintenance_until: Option<Timestamp>,
    },
    /// A freeze.
    Freeze {
        /// The host; null: every host.
        #[schema(value_type = Option<String>)]
        hostname: Option<HostName>,
        /// The freeze; null: lifted.
        freeze: Option<Freeze>,
    },
    /// The rules of network monitoring.
    Rules {
        /// The rules; null: those that hold where none were given.
        rules: Option<Box<NetworkRules>>,
    },
    /// A pool.
    Pool {
        /// The host.
        #[schema(value_type = String)]
        hostname: HostName,
        /// Its name.
        #[schema(value_type = String)]
        name: PoolName,
        /// What it is to be; null: it is to end.
        spec: Option<Box<PoolSpec>>,
    },
}

/// One freeze that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FreezeEntry {
    /// The host it holds; null: every host.
    #[schema(value_type = Option<String>)]
    pub hostname: Option<HostName>,
    /// When it was set.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it ends by itself; null: only when lifted.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Who set it.
    pub by: String,
}

impl From<DesiredChange> for DesiredNotice {
    fn from(change: DesiredChange) -> Self {
        match change {
            DesiredChange::Threshold(threshold) => Self::Threshold { threshold },
            DesiredChange::Container(key, entry) => {
                let DesiredEntry { monitored, threshold, maintenance_until, .. } = entry.unwrap_or_default();
                Self::Container {
                    hostname: key.host,
                    name: key.name,
                    monitored,
                    threshold,
                    maintenance_until,
                }
            }
            DesiredChange::Freeze(scope, freeze) => {
                let hostname = match scope {
                    FreezeScope::All => None,
                    FreezeScope::Host(host) => Some(host),
                };
                Self::Freeze { hostname, freeze }
            }
            DesiredChange::Rules(rules) => Self::Rules { rules },
            DesiredChange::Pool(key, spec) => Self::Pool { hostname: key.host, name: key.name, spec },
        }
    }
}

impl FreezeEntry {
    pub(crate) fn new(scope: &FreezeScope, freeze: &Freeze) -> Self {
        let hostname = match scope {
            FreezeScope::All => None,
            FreezeScope::Host(host) => Some(host.clone()),
        };
        Self { hostname, since: freeze.since, until: freeze.until, by: safe(&freeze.by) }
    }

    /// Those of `state` that hold at `now`.
    pub(crate) fn holding(state: &DesiredState, now: Timestamp) -> Vec<Self> {
        let holding = state.freezes.iter().filter(|(_, freeze)| freeze.holds_at(now));
        holding.map(|(scope, freeze)| Self::new(scope, freeze)).collect()
    }
}

/// How long a container is in maintenance: exactly one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceRequest {
    /// A span from now, e.g. `1h`.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<String>,
    /// Until this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// Something that was begun; its outcome will be an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Accepted {
    /// What happens next, in one plain sentence.
    pub detail: String,
}

/// An access token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Token {
    /// Names it, for revoking.
    #[schema(value_type = u64)]
    pub id: TokenId,
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
}

impl From<TokenRow> for Token {
    fn from(row: TokenRow) -> Self {
        Self { id: row.id, name: row.name, scope: row.scope, created: row.created }
    }
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What people call it: 1 to 64 printable characters.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
}

/// A token just made. Its secret is shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewToken {
    /// Names it, for revoking.
    #[schema(value_type = u64)]
    pub id: TokenId,
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// The secret, for the header `Authorization: Bearer`.
    pub token: String,
}

/// Whether the controller can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Readiness {
    /// Whether everything works.
    pub ready: bool,
    /// `connected`, or why not.
    pub bus: String,
    /// `read`, or `not read yet`.
    pub desired: String,
    /// `writable`, or why not.
    pub store: String,
    /// Of the store of metrics: `writable`, or why the last write failed.
    pub metrics: String,
    /// `off`, `working`, or which receivers are not told of incidents; that does not make it not ready.
    #[serde(default)]
    pub notifications: String,
}
