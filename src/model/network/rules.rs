//! The rules of network monitoring: what to trace, what of it to measure, how densely. One document for the whole fleet,
//! kept as the key `rules` of the desired state; where there is none, [`NetworkRules::default`] holds.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{NamePattern, clean, format_span, parse_span};

/// The most entries of one list.
const MAX_ENTRIES: usize = 256;
/// The most ports: the kernel looks each packet's up.
const MAX_PORTS: usize = 64;
/// The longest entry, bytes.
const MAX_TEXT: usize = 255;

/// What is wrong with rules: which field, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct RulesError {
    /// The field, e.g. `sampling.latency`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl RulesError {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// What is traced, what of it measured, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct NetworkRules {
    /// How long one interval is, e.g. `10s`; 1s to 60s, whole seconds. Intervals end at multiples of it in unix time.
    #[serde(with = "span")]
    #[schema(value_type = String)]
    pub interval: Duration,
    /// Which containers.
    pub trace: TraceRules,
    /// What of them.
    pub measure: MeasureRules,
    /// How densely.
    pub sampling: SamplingRules,
}

impl Default for NetworkRules {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            trace: TraceRules::default(),
            measure: MeasureRules::default(),
            sampling: SamplingRules::default(),
        }
    }
}

/// Which containers are traced: those that meet every list that is not empty, one entry of a list being enough, and that
/// `exclude` does not name. With all lists empty: every container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct TraceRules {
    /// Names, with `*` and `?`.
    #[schema(value_type = Vec<String>)]
    pub containers: Vec<NamePattern>,
    /// Names that are not traced, with `*` and `?`.
    #[schema(value_type = Vec<String>)]
    pub exclude: Vec<NamePattern>,
    /// Labels: `key` or `key=value`.
    #[schema(value_type = Vec<String>)]
    pub labels: Vec<LabelMatch>,
    /// Compose projects.
    pub projects: Vec<String>,
    /// Networks of the engine.
    pub networks: Vec<String>,
    /// TCP and UDP ports at either end; with none, all traffic. Connections are counted on all ports.
    pub ports: Vec<u16>,
}

/// What is measured. All but `hops` is on by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "a form with a box for each, as people fill it in")]
pub struct MeasureRules {
    /// Bytes and packets of each pair (tracepoints `net_dev_queue`, `netif_receive_skb`).
    pub flows: bool,
    /// One-way latency within the host (the same two); needs `flows`.
    pub latency: bool,
    /// Round-trip times of TCP (`tcp_probe`).
    pub rtt: bool,
    /// Segments sent again (`tcp_retransmit_skb`).
    pub retransmits: bool,
    /// Connections opened, refused and closed (`inet_sock_set_state`).
    pub connections: bool,
    /// Packets dropped, by reason (`kfree_skb`).
    pub drops: bool,
    /// Containers on the host's network, by their cgroup (`sock_send_length`, `sock_recv_length`).
    pub host_network: bool,
    /// Parts of the way whose latency is told apart: `container`, `veth`, `bridge`, `overlay`; needs `latency`.
    pub hops: Vec<HopStage>,
}

impl Default for MeasureRules {
    fn default() -> Self {
        Self {
            flows: true,
            latency: true,
            rtt: true,
            retransmits: true,
            connections: true,
            drops: true,
            host_network: true,
            hops: Vec::new(),
        }
    }
}

/// A part of the way within a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HopStage {
    /// From the sender's interface to the host's end of its veth pair.
    Container,
    /// From there to the receiver's veth pair.
    Bridge,
    /// Through the receiver's veth pair.
    Veth,
    /// From the sender's interface to an overlay's tunnel (VXLAN).
    Overlay,
}

/// One packet of how many is looked at. Each is a power of two, 1 to 65,536; counts are always of every packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct SamplingRules {
    /// For latency.
    pub latency: u32,
    /// For round-trip times.
    pub rtt: u32,
}

impl Default for SamplingRules {
    /// What costs iperf3 nothing that can be measured; every packet timed costs a fifth of its throughput.
    fn default() -> Self {
        Self { latency: 64, rtt: 16 }
    }
}

impl NetworkRules {
    /// Says the first thing that is wrong. Reading by `from_toml` and `from_json` has done it.
    pub fn check(&self) -> Result<(), RulesError> {
        let (least, most) = (Duration::from_secs(1), Duration::from_mins(1));
        if self.interval.subsec_nanos() != 0 || !(least..=most).contains(&self.interval) {
            let problem = format!(
                "{} is not whole seconds from 1s to 60s, for example 10s",
                format_span(self.interval)
            );
            return Err(RulesError::new("interval", problem));
        }
        self.trace.check()?;
        self.measure.check()?;
        for (field, every) in
            [("sampling.latency", self.sampling.latency), ("sampling.rtt", self.sampling.rtt)]
        {
            if !every.is_power_of_two() || every > 65_536 {
                let problem =
                    format!("{every} is no power of two from 1 to 65536, for example 64: one packet of 64");
                return Err(RulesError::new(field, problem));
            }
        }
        Ok(())
    }
}

impl TraceRules {
    /// Whether it leaves any container out.
    pub fn selects(&self) -> bool {
        !(self.containers.is_empty()
            && self.exclude.is_empty()
            && self.labels.is_empty()
            && self.projects.is_empty()
            && self.networks.is_empty())
    }

    fn check(&self) -> Result<(), RulesError> {
        let lists = [
            ("trace.containers", self.containers.len(), MAX_ENTRIES),
            ("trace.exclude", self.exclude.len(), MAX_ENTRIES),
            ("trace.labels", self.labels.len(), MAX_ENTRIES),
            ("trace.projects", self.projects.len(), MAX_ENTRIES),
            ("trace.networks", self.networks.len(), MAX_ENTRIES),
            ("trace.ports", self.ports.len(), MAX_PORTS),
        ];
        for (field, length, most) in lists {
            if length > most {
                return Err(RulesError::new(
                    field,
                    format!("it has {length} entries; at most {most} are looked for"),
                ));
            }
        }
        for (field, names) in [("trace.projects", &self.projects), ("trace.networks", &self.networks)] {
            if let Some(bad) = names.iter().find(|name| !is_name(name)) {
                let problem =
                    format!("{:?} is no name: 1 to 255 characters, none a control character", clean(bad, 60));
                return Err(RulesError::new(field, problem));
            }
        }
        if self.ports.contains(&0) {
            return Err(RulesError::new("trace.ports", "0 is no port: 1 to 65535"));
        }
        Ok(())
    }
}

impl MeasureRules {
    fn check(&self) -> Result<(), RulesError> {
        if self.latency && !self.flows {
            return Err(RulesError::new(
                "measure.latency",
                "it needs measure.flows: switch that on, or this off",
            ));
        }
        if !self.hops.is_empty() && !self.latency {
            let problem = "they are parts of the latency: switch measure.latency on, or leave the list empty";
            return Err(RulesError::new("measure.hops", problem));
        }
        Ok(())
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A label that a container must have: `key`, whatever its value, or `key=value`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelMatch {
    key: String,
    value: Option<String>,
}

impl LabelMatch {
    /// Whether a label is meant.
    pub fn matches(&self, key: &str, value: &str) -> bool {
        self.key == key && self.value.as_deref().is_none_or(|wanted| wanted == value)
    }
}

impl TryFrom<String> for LabelMatch {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text.as_str(), None),
        };
        if is_name(key) && value.is_none_or(|value| value.is_empty() || is_name(value)) {
            Ok(Self { key: key.to_owned(), value: value.map(str::to_owned) })
        } else {
            Err(format!("{:?} is no label: write key or key=value, for example tier=web", clean(&text, 60)))
        }
    }
}

impl From<LabelMatch> for String {
    fn from(label: LabelMatch) -> Self {
        label.to_string()
    }
}

impl fmt::Display for LabelMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        match &self.value {
            Some(value) => write!(f, "={value}"),
            None => Ok(()),
        }
    }
}

mod span {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::{Duration, format_span, parse_span};

    pub(super) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_span(*span))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse_span(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
