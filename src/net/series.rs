//! An interval as series of the catalogue, pure: rates and figures of each container, and of its largest peers.

use std::collections::BTreeMap;

use crate::model::{
    ContainerName, Flow, Hop, Interval, LatencyHistogram, MeasureWay, MeasurementStatus, Peer, SeriesName,
    Values,
};

/// Of how many peers a container has series of its own, those with the most bytes.
const PEERS: usize = 16;
/// Of how many reasons.
const REASONS: usize = 16;

/// What goes into ticks until the next interval.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NetworkSeries {
    /// Of the host itself.
    pub(crate) host: Values,
    /// Of each container.
    pub(crate) containers: BTreeMap<ContainerName, Values>,
}

/// The series of one interval; `table_bytes` is the memory of the kernel's tables.
pub(crate) fn series(interval: &Interval, table_bytes: Option<u64>) -> NetworkSeries {
    let seconds = interval.end.since(interval.start).as_secs_f64();
    let mut series = NetworkSeries::default();
    if seconds <= 0.0 {
        return series;
    }
    let per_second = |count: u64| count as f64 / seconds;
    let mut put = |name: &ContainerName, series_name: SeriesName, value: f64| {
        series.containers.entry(name.clone()).or_default().insert(series_name, value);
    };
    for (name, sums) in containers(interval) {
        let counts = [
            ("net_retransmits_per_second", sums.retransmits),
            ("net_connections_opened_per_second", sums.opened),
            ("net_connections_accepted_per_second", sums.accepted),
            ("net_connections_refused_per_second", sums.refused),
        ];
        for (metric, count) in counts {
            if let Some(count) = count {
                put(name, SeriesName::of(metric), per_second(count));
            }
        }
        if let Some(rtt) = sums.rtt_ms() {
            put(name, SeriesName::of("net_rtt_ms"), rtt);
        }
        if let Some(mean) = sums.latency.mean_us().map(ms) {
            put(name, SeriesName::of("net_latency_mean_ms"), mean);
        }
        let quantiles = [("net_latency_p50_ms", 0.5), ("net_latency_p99_ms", 0.99)];
        for (metric, q) in quantiles {
            if let Some(latency) = sums.latency.quantile_us(q).map(ms) {
                put(name, SeriesName::of(metric), latency);
            }
        }
    }
    for (name, reason, packets) in drops(interval) {
        if let Some(series_name) = SeriesName::part_of("net_dropped_per_second", &reason) {
            put(&name, series_name, per_second(packets));
        }
    }
    for ((name, peer), sums) in peers(interval) {
        let mut of_peer = |metric: &str, value: Option<f64>| {
            if let (Some(series_name), Some(value)) = (SeriesName::part_of(metric, &peer), value) {
                put(name, series_name, value);
            }
        };
        of_peer("peer_tx_bytes_per_second", Some(per_second(sums.sent)));
        of_peer("peer_rx_bytes_per_second", Some(per_second(sums.received)));
        of_peer("peer_retransmits_per_second", sums.retransmits.map(per_second));
        of_peer("peer_rtt_ms", sums.rtt_ms());
        of_peer("peer_loss_percent", sums.loss_percent());
        of_peer("peer_latency_p50_ms", sums.latency.quantile_us(0.5).map(ms));
        of_peer("peer_latency_p99_ms", sums.latency.quantile_us(0.99).map(ms));
    }
    if interval.way == MeasureWay::Tracepoints {
        let overflow = &interval.overflow;
        let beyond = overflow.packets_beyond.saturating_add(overflow.lost);
        series.host.insert(SeriesName::of("net_overflow_per_second"), per_second(beyond));
        series.host.insert(SeriesName::of("net_flow_rows"), interval.flows.len() as f64);
    }
    if let Some(bytes) = table_bytes {
        series.host.insert(SeriesName::of("net_table_bytes"), bytes as f64);
    }
    series
}

/// Microseconds as milliseconds, which series have.
fn ms(us: f64) -> f64 {
    us / 1000.0
}

/// What is added up over flows.
#[derive(Debug, Default)]
struct Sums {
    sent: u64,
    received: u64,
    /// Packets sent, and those of them that arrived at the other container.
    packets: Option<(u64, u64)>,
    retransmits: Option<u64>,
    opened: Option<u64>,
    accepted: Option<u64>,
    refused: Option<u64>,
    rtt: (u64, u64),
    latency: LatencyHistogram,
}

impl Sums {
    fn add(&mut self, flow: &Flow) {
        let more = |sum: &mut Option<u64>, count: u64| *sum = Some(sum.unwrap_or(0).saturating_add(count));
        self.sent = self.sent.saturating_add(flow.sent.bytes);
        self.received = self.received.saturating_add(flow.received.bytes);
        let Some(tcp) = flow.tcp else { return };
        if let Some(count) = tcp.retransmits {
            more(&mut self.retransmits, count);
        }
        if let Some(connections) = tcp.connections {
            more(&mut self.opened, connections.opened);
            more(&mut self.accepted, connections.accepted);
            more(&mut self.refused, connections.refused);
        }
        if let Some(rtt) = tcp.rtt {
            self.rtt = (self.rtt.0.saturating_add(rtt.samples), self.rtt.1.saturating_add(rtt.sum_us));
        }
    }

    fn rtt_ms(&self) -> Option<f64> {
        (self.rtt.0 > 0).then(|| self.rtt.1 as f64 / self.rtt.0 as f64 / 1000.0)
    }

    fn loss_percent(&self) -> Option<f64> {
        let (sent, arrived) = self.packets.filter(|(sent, _)| *sent > 0)?;
        Some(sent.saturating_sub(arrived) as f64 * 100.0 / sent as f64)
    }
}

fn containers(interval: &Interval) -> BTreeMap<&ContainerName, Sums> {
    let mut all: BTreeMap<&ContainerName, Sums> = BTreeMap::new();
    for flow in &interval.flows {
        all.entry(&flow.container).or_default().add(flow);
    }
    for row in interval.latency.iter().filter(|row| row.hop == Hop::EndToEnd) {
        if let Some(to) = &row.to {
            all.entry(to).or_default().latency.add(&row.histogram);
        }
    }
    all
}

/// The largest peers of each container, by the name or address that they have here.
fn peers(interval: &Interval) -> BTreeMap<(&ContainerName, String), Sums> {
    let mut all: BTreeMap<(&ContainerName, String), Sums> = BTreeMap::new();
    let mut received: BTreeMap<(&ContainerName, &ContainerName), u64> = BTreeMap::new();
    let mut sent: BTreeMap<(&ContainerName, &ContainerName), u64> = BTreeMap::new();
    for flow in &interval.flows {
        let Some(name) = name_of(&flow.peer) else { continue };
        all.entry((&flow.container, name)).or_default().add(flow);
        if let Some(peer) = &flow.peer.container {
            *sent.entry((&flow.container, peer)).or_default() += flow.sent.packets.unwrap_or(0);
            *received.entry((peer, &flow.container)).or_default() += flow.received.packets.unwrap_or(0);
        }
    }
    let traced =
        |name: &ContainerName| interval.endpoints.iter().any(|one| one.traced && one.container == *name);
    for ((from, to), packets) in sent {
        if let Some(sums) = all.get_mut(&(from, to.to_string())).filter(|_| traced(from) && traced(to)) {
            sums.packets = Some((packets, received.get(&(from, to)).copied().unwrap_or(0)));
        }
    }
    for row in interval.latency.iter().filter(|row| row.hop == Hop::EndToEnd) {
        if let Some(sums) = row.to.as_ref().and_then(|to| all.get_mut(&(&row.from, to.to_string()))) {
            sums.latency.add(&row.histogram);
        }
    }
    largest(all)
}

fn name_of(peer: &Peer) -> Option<String> {
    peer.container
        .as_ref()
        .map(ToString::to_string)
        .or_else(|| peer.address.map(|address| address.to_string()))
}

fn largest(all: BTreeMap<(&ContainerName, String), Sums>) -> BTreeMap<(&ContainerName, String), Sums> {
    let mut of_each: BTreeMap<&ContainerName, Vec<(String, Sums)>> = BTreeMap::new();
    for ((name, peer), sums) in all {
        of_each.entry(name).or_default().push((peer, sums));
    }
    let mut kept = BTreeMap::new();
    for (name, mut peers) in of_each {
        peers.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.sent.saturating_add(sums.received)));
        peers.truncate(PEERS);
        kept.extend(peers.into_iter().map(|(peer, sums)| ((name, peer), sums)));
    }
    kept
}

/// Packets dropped of each container and for each reason: in its own network, and on the way to it.
fn drops(interval: &Interval) -> Vec<(ContainerName, String, u64)> {
    let mut all: BTreeMap<&ContainerName, BTreeMap<&str, u64>> = BTreeMap::new();
    let works = |name: &str| {
        interval.measurements.iter().any(|one| one.name == name && one.status == MeasurementStatus::Works)
    };
    if !works("drops") {
        return Vec::new();
    }
    for drops in &interval.drops {
        let to = || drops.to.as_ref().and_then(|peer| peer.container.as_ref());
        let from = || drops.from.as_ref().and_then(|peer| peer.container.as_ref());
        if let Some(name) = drops.container.as_ref().or_else(to).or_else(from) {
            *all.entry(name).or_default().entry(&drops.reason).or_default() += drops.packets;
        }
    }
    let mut rows = Vec::new();
    for (name, reasons) in all {
        let mut reasons: Vec<(&str, u64)> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, packets)| std::cmp::Reverse(*packets));
        rows.extend(
            reasons
                .into_iter()
                .take(REASONS)
                .map(|(reason, packets)| (name.clone(), reason.to_owned(), packets)),
        );
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{NetworkReport, decode};
    use crate::model::metric;

    #[test]
    fn an_interval_becomes_rates_of_the_catalogue() {
        let bytes = include_bytes!("../../tests/fixtures/protocol/v1/network_report.json");
        let mut interval = decode::<NetworkReport>(bytes).unwrap().interval;
        let told = series(&interval, Some(4096));
        let web = &told.containers[&"web.1".parse().unwrap()];
        let value = |name: &str| web.get(&name.parse().unwrap());
        assert_eq!(value("net_retransmits_per_second"), Some(0.3));
        assert_eq!(value("peer_tx_bytes_per_second/db"), Some(73_160.4));
        assert_eq!(value("peer_rtt_ms/db"), Some(0.12));
        assert_eq!(value("peer_rx_bytes_per_second/203.0.113.9"), Some(0.0));
        assert_eq!(value("net_dropped_per_second/NETFILTER_DROP"), None, "drops are not measured there");
        let db = &told.containers[&"db".parse().unwrap()];
        assert!(db.get(&"net_latency_p99_ms".parse().unwrap()).is_some(), "of packets that it received");
        assert_eq!(told.host.get(&"net_table_bytes".parse().unwrap()), Some(4096.0));
        let all = told.containers.values().flat_map(|values| values.iter()).chain(told.host.iter());
        assert!(all.clone().count() > 10);
        for (name, _) in all {
            let known = metric(name.metric()).unwrap_or_else(|| panic!("{name} is in no catalogue"));
            assert_eq!(known.part.is_some(), name.part().is_some(), "{name}");
        }
        interval.end = interval.start;
        assert_eq!(series(&interval, None), NetworkSeries::default(), "no time, no rate");
    }
}
