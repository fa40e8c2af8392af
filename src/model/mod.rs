//! The vocabulary every other module speaks: ids, percentages, times, containers, desired state,
//! health, checks, events and incidents. Plain data: nothing here reads a clock, a socket or Docker.

mod action;
mod check;
mod consent;
mod container;
mod desired;
mod drill;
mod efficacy;
mod event;
mod fault_note;
mod health;
mod id;
mod identity;
mod incident;
mod loss;
mod metric;
mod network;
mod notice;
mod pattern;
mod pool;
mod process;
mod size;
mod span;
mod text;
mod time;
mod token;
mod values;

pub use action::{ActionKind, ActionOutcome, JournalEntry};
pub use check::{AddressCheck, CheckKind, CheckRecord, Evidence, Verdict};
pub use consent::Consent;
pub use container::{
    ContainerFacts, Dependency, Healthcheck, HealthcheckStatus, Maintenance, Namespace, Needs,
    NetworkAttachment, RestartPolicy, RunState,
};
pub use desired::{DesiredEntry, DesiredKey, DesiredState, Freeze, FreezeScope, OnStop};
pub use drill::{
    Drill, DrillFault, DrillId, DrillKind, DrillReport, DrillRequest, DrillState, DrillSummary, FalseAlarm,
    FaultOutcome, FaultWanted, Spread,
};
pub use efficacy::{AilmentKind, Assessment, Effect, EffectCounts, EfficacyReport, Figures};
pub use event::{Actor, Event, EventDraft, EventId, EventKind};
pub use fault_note::{FaultMoment, FaultNote};
pub use health::Health;
pub use id::{
    ContainerId, ContainerKey, ContainerName, EngineId, HostName, IdError, InstanceId, OperationId, PoolKey,
    PoolName,
};
pub use identity::{HostIdentity, InterfaceIdentity};
pub use incident::{Incident, IncidentId, IncidentKind, IncidentMark, NoticeId, TrackedIncident};
pub use loss::{LossPercent, PercentError, Threshold};
pub use metric::{
    METRICS, Metric, MetricKind, MetricScope, MetricSubject, MetricTick, SeriesName, SeriesNameError, metric,
};
pub use network::{
    Connections, Drops, Endpoint, EndpointKind, Flow, Hop, HopStage, Interval, LATENCY_BUCKETS, LabelMatch,
    LatencyHistogram, MeasureRules, MeasureWay, Measurement, MeasurementStatus, NetworkRules, Overflow,
    PairLatency, Peer, PeerKind, Protocol, RttFigures, RulesError, RulesTemplate, STAMP_BUCKETS,
    SamplingRules, StampBucket, Stamps, TcpFigures, TraceRules, Traffic, one_way,
};
pub use notice::NoticeKind;
pub use pattern::{NamePattern, PatternError};
pub use pool::{
    PoolContainer, PoolContainerState, PoolCounts, PoolDecision, PoolHealth, PoolPeriod, PoolProblem,
    PoolSpec, PoolStatus, PoolTotals,
};
pub use process::{ProcessList, ProcessUse};
pub use size::{SizeError, format_size, parse_size};
pub use span::{Rate, SpanError, format_span, parse_span};
pub use text::clean;
pub use time::{Mono, Now, Timestamp, TimestampError};
pub use token::{Scope, TokenId};
pub use values::Values;
