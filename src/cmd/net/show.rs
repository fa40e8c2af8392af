//! The tables of `dockhealth net`.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Failure;
use super::super::output::{Table, note, or_unknown, print};
use super::super::quantity::quantity;
use crate::client::{HistogramView, NetworkEdgeView, NetworkHostView, NetworkMapView, NetworkPairView};
use crate::model::{MeasurementStatus, clean};

/// Columns of the longest bar.
const BAR: u64 = 40;

fn percent(value: Option<f64>) -> String {
    or_unknown(value.map(|value| quantity("loss_percent", value)))
}

fn rate(value: Option<f64>) -> String {
    or_unknown(value.map(|value| quantity("net_tx_bytes_per_second", value)))
}

/// Microseconds in the unit that people would choose.
pub(super) fn micros(value: f64) -> String {
    match value {
        us if us < 1000.0 => format!("{us:.1} µs"),
        us if us < 1_000_000.0 => format!("{:.2} ms", us / 1000.0),
        us => format!("{:.2} s", us / 1_000_000.0),
    }
}

/// The median, or the mean where only that is known, marked.
fn latency(edge: &NetworkEdgeView) -> String {
    let mark = if edge.latency_kind.as_deref() == Some("half_rtt") { "~" } else { "" };
    or_unknown(edge.latency_us_p50.map(|us| format!("{mark}{}", micros(us))))
}

fn p99(edge: &NetworkEdgeView) -> String {
    or_unknown(edge.latency_us_p99.map(micros))
}

/// Whether there is nothing to show; says so.
fn nothing(map: &NetworkMapView) -> bool {
    if map.edges.is_empty() && map.nodes.iter().all(|node| node.drops_by_reason.is_empty()) {
        let lacking = if map.hosts_lacking.is_empty() {
            ""
        } else {
            "; `dockhealth net hosts` says what is not measured"
        };
        note(&format!("no traffic of containers was seen within {} s{lacking}", map.window_seconds));
        return true;
    }
    false
}

fn more(left_out: u64) {
    if left_out > 0 {
        note(&format!("{left_out} more; --limit shows more of them"));
    }
}

pub(super) fn map(map: &NetworkMapView) -> Result<(), Failure> {
    if nothing(map) {
        return Ok(());
    }
    let headings = ["FROM", "TO", "RATE", "PACKETS", "LOSS", "RETRANSMITS", "DROPS", "RTT", "LATENCY", "P99"];
    let mut table = Table::new(&headings);
    for edge in &map.edges {
        table.row([
            edge.from.clone(),
            edge.to.clone(),
            rate(edge.bytes_per_second),
            or_unknown(edge.packets),
            percent(edge.loss_percent),
            or_unknown(edge.retransmits),
            or_unknown(edge.drops),
            or_unknown(edge.rtt_ms.map(|ms| quantity("rtt_ms", ms))),
            latency(edge),
            p99(edge),
        ]);
    }
    table.print()?;
    more(map.edges_left_out);
    Ok(())
}

#[derive(Default)]
struct Sums {
    sent: Option<f64>,
    received: Option<f64>,
    peers: BTreeSet<String>,
    worst_loss: Option<f64>,
    retransmits: Option<u64>,
    drops: Option<u64>,
}

fn known<T: std::ops::Add<Output = T>>(sum: &mut Option<T>, more: Option<T>) {
    *sum = match (sum.take(), more) {
        (Some(sum), Some(more)) => Some(sum + more),
        (sum, more) => sum.or(more),
    };
}

pub(super) fn top(map: &NetworkMapView, limit: usize) -> Result<(), Failure> {
    if nothing(map) {
        return Ok(());
    }
    let mut nodes: BTreeMap<&str, Sums> = map.nodes.iter().map(|node| (&*node.id, Sums::default())).collect();
    for edge in &map.edges {
        let loss = |sums: &mut Sums| {
            sums.worst_loss = match (sums.worst_loss, edge.loss_percent) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            };
        };
        if let Some(from) = nodes.get_mut(&*edge.from) {
            known(&mut from.sent, edge.bytes_per_second);
            known(&mut from.retransmits, edge.retransmits);
            known(&mut from.drops, edge.drops);
            from.peers.insert(edge.to.clone());
            loss(from);
        }
        if let Some(to) = nodes.get_mut(&*edge.to) {
            known(&mut to.received, edge.bytes_per_second);
            to.peers.insert(edge.from.clone());
            if edge.from != edge.to {
                known(&mut to.drops, edge.drops);
            }
            loss(to);
        }
    }
    let shown = |id: &str| {
        let kind = map.nodes.iter().find(|node| node.id == id).map(|node| node.kind.as_str());
        matches!(kind, Some("container" | "project" | "host"))
    };
    let mut rows: Vec<(&str, Sums)> = nodes.into_iter().filter(|(id, _)| shown(id)).collect();
    let all = |sums: &Sums| sums.sent.unwrap_or(0.0) + sums.received.unwrap_or(0.0);
    rows.sort_by(|(_, a), (_, b)| all(b).total_cmp(&all(a)));
    let mut table = Table::new(&["NAME", "SENDS", "RECEIVES", "PEERS", "WORST LOSS", "RETRANSMITS", "DROPS"]);
    let left_out = rows.len().saturating_sub(limit);
    for (id, sums) in rows.into_iter().take(limit) {
        table.row([
            id.to_owned(),
            rate(sums.sent),
            rate(sums.received),
            sums.peers.len().to_string(),
            percent(sums.worst_loss),
            or_unknown(sums.retransmits),
            or_unknown(sums.drops),
        ]);
    }
    table.print()?;
    more(left_out as u64);
    Ok(())
}

pub(super) fn drops(map: &NetworkMapView, limit: usize) -> Result<(), Failure> {
    let mut rows: Vec<(u64, &str, &str, &str)> = Vec::new();
    for edge in &map.edges {
        let reasons = edge.drops_by_reason.iter();
        rows.extend(reasons.map(|(reason, packets)| (*packets, &**reason, &*edge.from, &*edge.to)));
    }
    for node in &map.nodes {
        let reasons = node.drops_by_reason.iter();
        rows.extend(reasons.map(|(reason, packets)| (*packets, &**reason, "-", &*node.id)));
    }
    rows.retain(|(packets, ..)| *packets > 0);
    if rows.is_empty() {
        note(&format!("no dropped packet was seen within {} s", map.window_seconds));
        return Ok(());
    }
    rows.sort_unstable_by_key(|(packets, reason, from, to)| {
        (std::cmp::Reverse(*packets), *reason, *from, *to)
    });
    let mut table = Table::new(&["PACKETS", "REASON", "FROM", "TO OR AT"]);
    let left_out = rows.len().saturating_sub(limit);
    for (packets, reason, from, to) in rows.into_iter().take(limit) {
        table.row([packets.to_string(), reason.into(), from.into(), to.into()]);
    }
    table.print()?;
    more(left_out as u64);
    Ok(())
}

/// The edges from and to one container of which a latency is known.
pub(super) fn latencies(map: &NetworkMapView, id: &str) -> Result<(), Failure> {
    let edges = map.edges.iter().filter(|edge| edge.from == id || edge.to == id);
    let known: Vec<&NetworkEdgeView> = edges.filter(|edge| edge.latency_us_p50.is_some()).collect();
    if known.is_empty() {
        note(&format!(
            "no latency from or to {id} is known of the last {} s; `dockhealth net hosts` says what is measured",
            map.window_seconds
        ));
        return Ok(());
    }
    let mut table = Table::new(&["FROM", "TO", "LATENCY", "P99", "KIND", "RTT"]);
    for edge in known {
        table.row([
            edge.from.clone(),
            edge.to.clone(),
            latency(edge),
            p99(edge),
            or_unknown(edge.latency_kind.as_deref().map(kind)),
            or_unknown(edge.rtt_ms.map(|ms| quantity("rtt_ms", ms))),
        ]);
    }
    table.print()
}

fn kind(word: &str) -> &str {
    match word {
        "measured" => "measured, median",
        "one_way" => "one way by a shared clock, mean",
        "half_rtt" => "half the round trip, mean",
        other => other,
    }
}

/// How the latencies of a direction are spread.
pub(super) fn spread(title: &str, pair: &NetworkPairView) -> Result<(), Failure> {
    if let Some(histogram) = &pair.latency {
        bars(&format!("{title}, within the host"), histogram)?;
    }
    for hop in &pair.hops {
        bars(&format!("{title}, {}", clean(&hop.hop, 40)), &hop.histogram)?;
    }
    Ok(())
}

fn bars(title: &str, histogram: &HistogramView) -> Result<(), Failure> {
    let most = histogram.buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0).max(1);
    let quantile = |us: Option<f64>| or_unknown(us.map(micros));
    print(&format!(
        "\n{title}: {} packets timed, median {}, p99 {}\n",
        histogram.count,
        quantile(histogram.p50_us),
        quantile(histogram.p99_us)
    ))?;
    for bucket in &histogram.buckets {
        // The share of the longest bar; whatever is there shows.
        let length = (u128::from(bucket.count) * u128::from(BAR)).div_ceil(u128::from(most));
        let bar = "█".repeat(usize::try_from(length).unwrap_or(0).min(40));
        print(&format!(
            "{:>9} to {:>9}  {:>8}  {bar}\n",
            micros(bucket.from_us),
            micros(bucket.to_us),
            bucket.count
        ))?;
    }
    Ok(())
}

pub(super) fn hosts(hosts: &[NetworkHostView]) -> Result<(), Failure> {
    if hosts.is_empty() {
        note("no host has spoken yet");
        return Ok(());
    }
    let mut table = Table::new(&["HOST", "MEASUREMENT", "STATUS", "HOW, OR WHAT WOULD GIVE IT"]);
    for host in hosts {
        if host.measurements.is_empty() {
            table.row([host.hostname.to_string(), "-".into(), "missing".into(), host.detail.clone()]);
        }
        for one in &host.measurements {
            let status = match one.status {
                MeasurementStatus::Works => "works",
                MeasurementStatus::Off => "off",
                MeasurementStatus::Missing => "missing",
                MeasurementStatus::Unknown => "unknown",
            };
            table.row([host.hostname.to_string(), one.name.clone(), status.into(), one.detail.clone()]);
        }
    }
    table.print()
}
