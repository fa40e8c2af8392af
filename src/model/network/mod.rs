//! What is known of who talks to whom: what an agent says of one interval, and the rules of what is measured.

mod histogram;
mod measured;
mod one_way;
mod rules;
mod rules_text;
mod template;

pub use histogram::{LATENCY_BUCKETS, LatencyHistogram};
pub use measured::{
    Connections, Drops, Endpoint, EndpointKind, Flow, Hop, Interval, MeasureWay, Measurement,
    MeasurementStatus, Overflow, PairLatency, Peer, PeerKind, Protocol, RttFigures, TcpFigures, Traffic,
};
pub use one_way::{STAMP_BUCKETS, StampBucket, Stamps, one_way};
pub use rules::{HopStage, LabelMatch, MeasureRules, NetworkRules, RulesError, SamplingRules, TraceRules};
pub use template::RulesTemplate;
