//! What is measured: the catalogue of metrics, and the samples of one moment.
//!
//! A name carries its unit as suffix. Percentages of CPU are of one core unless the name says of what: two busy cores
//! are 200. What could not be read is absent, never zero.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ContainerName, HostName, Values};

/// What a metric is of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum MetricScope {
    /// A container.
    Container,
    /// A whole machine, and the agent on it.
    Host,
    /// Either.
    Both,
}

/// How a metric's values go over time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Goes up and down.
    Gauge,
    /// Only goes up while the container, process or machine lives.
    Counter,
}

/// One metric of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, e.g. `memory_bytes`.
    pub name: &'static str,
    /// What it is of.
    pub scope: MetricScope,
    /// How its values go.
    pub kind: MetricKind,
    /// What the part after the slash names (`net_rx_bytes_per_second/eth0`), where a subject has several series of it.
    pub part: Option<&'static str>,
    /// What it says, in a few words.
    pub help: &'static str,
}

const fn gauge(name: &'static str, scope: MetricScope, help: &'static str) -> Metric {
    Metric { name, scope, kind: MetricKind::Gauge, part: None, help }
}

const fn counter(name: &'static str, scope: MetricScope, help: &'static str) -> Metric {
    Metric { name, scope, kind: MetricKind::Counter, part: None, help }
}

const fn parts(part: &'static str, metric: Metric) -> Metric {
    Metric { part: Some(part), ..metric }
}

use MetricScope::{Both, Container, Host};

/// Every metric there is. Rates are means since the sample before.
pub static METRICS: &[Metric] = &[
    // CPU
    gauge("cpu_percent", Both, "CPU time used, percent of one core"),
    gauge("cpu_host_percent", Both, "CPU time used, percent of all the host's cores"),
    gauge("cpu_limit_percent", Container, "CPU time used, percent of its own limit; absent without one"),
    gauge(
        "cpu_throttled_percent",
        Container,
        "share of its scheduling periods in which its limit held it back",
    ),
    gauge("cpu_throttled_seconds_per_second", Container, "time its threads were held back by its limit"),
    gauge("cpu_user_percent", Host, "CPU time in programs, percent of all cores"),
    gauge("cpu_system_percent", Host, "CPU time in the kernel, percent of all cores"),
    gauge("cpu_nice_percent", Host, "CPU time in programs of low priority, percent of all cores"),
    gauge("cpu_iowait_percent", Host, "time idle while disks were waited for, percent of all cores"),
    gauge("cpu_irq_percent", Host, "CPU time for interrupts, percent of all cores"),
    gauge("cpu_steal_percent", Host, "time the hypervisor gave to others, percent of all cores"),
    gauge("load1", Host, "load average over a minute"),
    gauge("load5", Host, "load average over five minutes"),
    gauge("load15", Host, "load average over fifteen minutes"),
    // Memory
    gauge("memory_bytes", Both, "memory in use without the page cache that can be dropped"),
    gauge("memory_limit_bytes", Container, "the most memory it may use: its limit, or the host's memory"),
    gauge("memory_percent", Both, "memory in use, percent of limit or machine"),
    gauge("memory_cache_bytes", Both, "page cache"),
    gauge("memory_swap_bytes", Both, "memory swapped out"),
    gauge("memory_total_bytes", Host, "the machine's memory"),
    gauge("memory_swap_total_bytes", Host, "the machine's swap space"),
    counter("oom_kills", Container, "processes killed for want of memory since the container started"),
    // Network; of a host by interface
    gauge("net_rx_bytes_per_second", Container, "received; absent for containers on the host's network"),
    gauge("net_tx_bytes_per_second", Container, "sent"),
    gauge("net_rx_packets_per_second", Container, "packets received"),
    gauge("net_tx_packets_per_second", Container, "packets sent"),
    gauge("net_rx_errors_per_second", Container, "packets received in error"),
    gauge("net_tx_errors_per_second", Container, "packets that failed to be sent"),
    gauge("net_rx_drops_per_second", Container, "packets dropped on arrival"),
    gauge("net_tx_drops_per_second", Container, "packets dropped before they were sent"),
    parts("interface", gauge("interface_rx_bytes_per_second", Host, "received")),
    parts("interface", gauge("interface_tx_bytes_per_second", Host, "sent")),
    parts("interface", gauge("interface_rx_errors_per_second", Host, "packets received in error")),
    parts("interface", gauge("interface_tx_errors_per_second", Host, "packets that failed to be sent")),
    parts("interface", gauge("interface_rx_drops_per_second", Host, "packets dropped on arrival")),
    parts("interface", gauge("interface_tx_drops_per_second", Host, "packets dropped before they were sent")),
    // Network as the kernel's tracepoints tell it (docs/network.md)
    gauge("net_retransmits_per_second", Container, "TCP segments that it sent again"),
    gauge("net_connections_opened_per_second", Container, "TCP connections that it opened"),
    gauge("net_connections_accepted_per_second", Container, "TCP connections that it accepted"),
    gauge("net_connections_refused_per_second", Container, "TCP connections that it tried to open in vain"),
    gauge("net_rtt_ms", Container, "round trip of its TCP connections, as TCP smooths it"),
    gauge("net_latency_mean_ms", Container, "mean time of packets to it from containers of this host"),
    gauge("net_latency_p50_ms", Container, "their median"),
    gauge("net_latency_p99_ms", Container, "what 99 % of those packets took at most"),
    parts("reason", gauge("net_dropped_per_second", Container, "packets that the kernel dropped, by reason")),
    parts("peer", gauge("peer_tx_bytes_per_second", Container, "sent to one peer")),
    parts("peer", gauge("peer_rx_bytes_per_second", Container, "received from one peer")),
    parts("peer", gauge("peer_retransmits_per_second", Container, "TCP segments sent to one peer again")),
    parts("peer", gauge("peer_rtt_ms", Container, "round trip of TCP with one peer")),
    parts(
        "peer",
        gauge("peer_loss_percent", Container, "packets to one container of this host that did not arrive"),
    ),
    parts(
        "peer",
        gauge("peer_latency_p50_ms", Container, "median time of packets to one container of this host"),
    ),
    parts("peer", gauge("peer_latency_p99_ms", Container, "what 99 % of those packets took at most")),
    gauge("net_flow_rows", Host, "pairs of a container and a peer that spoke in the last interval"),
    gauge("net_overflow_per_second", Host, "packets and events for which the kernel's tables had no room"),
    gauge("net_table_bytes", Host, "memory of the kernel's tables of the network"),
    // Disks
    gauge("block_read_bytes_per_second", Container, "read from disks"),
    gauge("block_write_bytes_per_second", Container, "written to disks"),
    gauge("block_reads_per_second", Container, "read operations on disks"),
    gauge("block_writes_per_second", Container, "write operations on disks"),
    parts("disk", gauge("disk_read_bytes_per_second", Host, "read")),
    parts("disk", gauge("disk_write_bytes_per_second", Host, "written")),
    parts("mount", gauge("filesystem_used_bytes", Host, "space in use")),
    parts("mount", gauge("filesystem_total_bytes", Host, "space in all")),
    gauge("writable_layer_bytes", Container, "what it has written into its own layer"),
    gauge("image_bytes", Container, "the size of its image"),
    // Pressure (PSI), where there is cgroup v2
    gauge("cpu_pressure_percent", Both, "share of time in which some of its threads waited for CPU"),
    gauge("memory_pressure_percent", Both, "share of time in which some of its threads waited for memory"),
    gauge("io_pressure_percent", Both, "share of time in which some of its threads waited for disks"),
    // Life
    gauge("pids", Container, "processes and threads"),
    gauge("uptime_seconds", Both, "since its start"),
    gauge("exit_code", Container, "of its last end; absent while it runs"),
    counter("restarts", Container, "restarts by dockhealth since the agent's journal began"),
    // Probes
    gauge("loss_percent", Container, "packets lost in the last check"),
    gauge("rtt_ms", Container, "median round trip of the last check"),
    // Pools of the host
    parts("pool", gauge("pool_containers_wanted", Host, "containers that its controller wants")),
    parts("pool", gauge("pool_containers_starting", Host, "containers being made, or not ready yet")),
    parts("pool", gauge("pool_containers_ready", Host, "containers ready for requests, busy ones included")),
    parts("pool", gauge("pool_containers_busy", Host, "containers that work on requests")),
    parts("pool", gauge("pool_containers_draining", Host, "containers that finish what they have, then go")),
    parts("pool", gauge("pool_waiting", Host, "requests that wait")),
    parts("pool", gauge("pool_in_flight", Host, "requests that containers work on")),
    parts("pool", gauge("pool_arrivals_per_second", Host, "requests that came")),
    parts(
        "pool",
        gauge("pool_forecast_per_second", Host, "requests that its controller expects in its next period"),
    ),
    parts("pool", gauge("pool_refused_per_second", Host, "requests that were refused")),
    parts("pool", gauge("pool_failed_per_second", Host, "requests whose container died or was silent")),
    parts(
        "pool",
        gauge(
            "pool_wait_seconds",
            Host,
            "mean wait of requests given to a container in its last period; absent without any",
        ),
    ),
    parts(
        "pool",
        gauge(
            "pool_sojourn_seconds",
            Host,
            "mean time from arrival to answer in its last period; absent without any",
        ),
    ),
    // The machine
    parts("sensor", gauge("temperature_celsius", Host, "temperature")),
    gauge("agent_cpu_percent", Host, "CPU time of the agent itself, percent of one core"),
    gauge("agent_memory_bytes", Host, "resident memory of the agent itself"),
    gauge("outbox_items", Host, "items that wait to be delivered to the controller"),
    counter(
        "samples_dropped",
        Host,
        "samples dropped since the agent's database was made, because they waited too long",
    ),
];

/// Looks a metric up by the name without its part.
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// One series of a subject: a metric, and where there are several the part it is of, written `name` or `name/part`.
/// The catalogue's own names take no memory of their own, wherever they were read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesName(Cow<'static, str>);

/// Why a series name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no series: lower-case letters, digits and _, at most 64, then perhaps / and a part, at most 128"
)]
pub struct SeriesNameError(String);

impl SeriesName {
    /// The series of a metric that has one.
    pub const fn of(metric: &'static str) -> Self {
        Self(Cow::Borrowed(metric))
    }

    /// The series of one part; `None` where the part's name cannot be carried.
    pub fn part_of(metric: &str, part: &str) -> Option<Self> {
        format!("{metric}/{part}").parse().ok()
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The metric, without the part.
    pub fn metric(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(metric, _)| metric)
    }

    /// The part.
    pub fn part(&self) -> Option<&str> {
        self.0.split_once('/').map(|(_, part)| part)
    }
}

impl FromStr for SeriesName {
    type Err = SeriesNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (metric, part) = text.split_once('/').map_or((text, None), |(metric, part)| (metric, Some(part)));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let named = (1..=64).contains(&metric.len()) && metric.bytes().all(plain);
        let parted =
            part.is_none_or(|part| (1..=128).contains(&part.len()) && !part.chars().any(char::is_control));
        if part.is_none()
            && let Some(known) = known(text)
        {
            Ok(Self::of(known))
        } else if named && parted {
            Ok(Self(text.to_owned().into()))
        } else {
            Err(SeriesNameError(text.chars().take(64).collect()))
        }
    }
}

/// The catalogue's own copy of a metric's name.
fn known(name: &str) -> Option<&'static str> {
    static SORTED: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let mut names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names
    });
    SORTED.binary_search(&name).ok().map(|at| SORTED[at])
}

impl Serialize for SeriesName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SeriesName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = SeriesName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a series")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SeriesName, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl fmt::Display for SeriesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What series belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricSubject {
    /// The host.
    pub host: HostName,
    /// The container on it; `None` for the host itself.
    pub container: Option<ContainerName>,
}

/// All that one host measured at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MetricTick {
    /// When, unix seconds by the host's clock, at a multiple of `step`.
    pub time: i64,
    /// Seconds between two ticks.
    pub step: u32,
    /// Of the host itself.
    #[serde(default)]
    pub host: Values,
    /// Of each container.
    #[serde(default)]
    pub containers: BTreeMap<ContainerName, Values>,
}

impl MetricTick {
    /// How many samples it has.
    pub fn samples(&self) -> usize {
        self.host.len() + self.containers.values().map(Values::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_in_order() {
        let mut names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len(), "a name is there twice");
        for metric in METRICS {
            assert_eq!(metric.name.parse::<SeriesName>().unwrap().metric(), metric.name);
        }
    }

    #[test]
    fn a_series_is_a_metric_and_perhaps_a_part() {
        let root = SeriesName::part_of("filesystem_used_bytes", "/").unwrap();
        assert_eq!(
            (root.as_str(), root.metric(), root.part()),
            ("filesystem_used_bytes//", "filesystem_used_bytes", Some("/"))
        );
        assert_eq!(SeriesName::of("load1").part(), None);
        for (text, own) in [("load1", false), ("later", true), ("temperature_celsius/cpu", true)] {
            let name: SeriesName = text.parse().unwrap();
            assert_eq!((name.as_str(), matches!(name.0, Cow::Owned(_))), (text, own));
        }
        for bad in ["", "/", "load1/", "Load1", "load1/a\nb", "a b"] {
            assert!(bad.parse::<SeriesName>().is_err(), "{bad:?}");
        }
    }
}
