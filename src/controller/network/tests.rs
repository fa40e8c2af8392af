//! Several hosts' reports, put together.

mod anything;
mod pairs;
mod reports;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::figures::{Figures, LatencyKind, figures};
use super::node::Node;
use super::project::Traffics;
use super::state::NetworkState;
use crate::bus::{NetworkReport, PROTOCOL_VERSION};
use crate::controller::fleet::{FleetState, FleetView};
use crate::model::{
    Drops, Endpoint, EndpointKind, Flow, Hop, HostName, Interval, LatencyHistogram, MeasureWay, Measurement,
    MeasurementStatus, Mono, Now, Overflow, PairLatency, Peer, PeerKind, Protocol, RttFigures, StampBucket,
    Stamps, TcpFigures, Timestamp, Traffic,
};

/// When the first interval begins: a multiple of a minute.
const START: i64 = 1_800_000_000;

fn now(second: i64) -> Now {
    Now { mono: Mono(second * 1000), wall: Timestamp::from_millis((START + second) * 1000) }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn works(name: &str) -> Measurement {
    Measurement { name: name.into(), status: MeasurementStatus::Works, detail: "made up".into() }
}

/// The `n`th interval of ten seconds, of a host whose containers have these addresses.
fn interval(n: i64, containers: &[(&str, &str)]) -> Interval {
    let endpoint = |(name, at): &(&str, &str)| Endpoint {
        container: name.parse().unwrap(),
        kind: EndpointKind::Own,
        shares: None,
        addresses: vec![address(at)],
        traced: true,
    };
    Interval {
        start: Timestamp::from_millis((START + n * 10) * 1000),
        end: Timestamp::from_millis((START + n * 10 + 10) * 1000),
        way: MeasureWay::Tracepoints,
        measurements: vec![works("flows"), works("drops")],
        clock: None,
        endpoints: containers.iter().map(endpoint).collect(),
        flows: Vec::new(),
        latency: Vec::new(),
        drops: Vec::new(),
        stamps: Vec::new(),
        overflow: Overflow::default(),
    }
}

fn traffic(packets: u64) -> Traffic {
    Traffic { bytes: packets * 100, packets: Some(packets), segments: Some(packets) }
}

fn peer(kind: PeerKind, container: Option<&str>, at: Option<&str>) -> Peer {
    Peer { kind, container: container.map(|name| name.parse().unwrap()), address: at.map(address) }
}

fn at(text: &str) -> Peer {
    peer(PeerKind::Address, None, Some(text))
}

fn flow(container: &str, peer: Peer, sent: u64, received: u64) -> Flow {
    let (sent, received) = (traffic(sent), traffic(received));
    Flow { container: container.parse().unwrap(), peer, protocol: Protocol::Udp, sent, received, tcp: None }
}

/// A fleet of hosts that are known, each with the nonce of its number.
struct World {
    state: NetworkState,
    fleet: FleetState,
    seqs: BTreeMap<HostName, u64>,
}

impl World {
    fn new(hosts: &[(&str, &str)]) -> Self {
        let mut fleet = FleetState::default();
        for (n, (name, own)) in hosts.iter().enumerate() {
            let report = serde_json::json!({
                "v": 1, "host": name, "instance": "i", "nonce": uuid::Uuid::from_u128(n as u128), "seq": 1,
                "time": now(0).wall, "agent_version": "0.1.0", "addresses": [own], "capabilities": [], "freeze": null,
                "engine": {"status": "reachable", "id": format!("engine-{n}"), "version": null, "error": null},
                "dry_run": false, "threshold": 50.0, "desired_synced": true, "outbox": 0, "containers": [],
            });
            fleet.feed(Arc::new(serde_json::from_value(report).unwrap()), now(0)).unwrap();
        }
        Self { state: NetworkState::default(), fleet, seqs: BTreeMap::new() }
    }

    fn view(&self) -> FleetView {
        self.fleet.view()
    }

    fn report(&mut self, host: &str, interval: Interval) -> NetworkReport {
        let host: HostName = host.parse().unwrap();
        let nonce = self.view()[&host].report.as_ref().unwrap().nonce;
        let seq = self.seqs.entry(host.clone()).or_default();
        *seq += 1;
        NetworkReport { v: PROTOCOL_VERSION, host, nonce, seq: *seq, interval }
    }

    /// Hears it half a second after its end.
    fn hear(&mut self, host: &str, interval: Interval) {
        let end = interval.end.millis() / 1000 - START;
        self.hear_at(host, interval, Now { mono: Mono(end * 1000 + 500), ..now(end) });
    }

    fn hear_at(&mut self, host: &str, interval: Interval, now: Now) {
        let report = self.report(host, interval);
        let fleet = self.view();
        self.state.hear(report, &fleet, now).unwrap();
        self.state.settle(&fleet, now);
    }

    fn settle(&mut self, second: i64) {
        let fleet = self.view();
        self.state.settle(&fleet, now(second));
    }

    fn all(&self) -> Traffics {
        self.state.view().windows.sum(0, i64::MAX)
    }

    fn edge(&self, from: &str, to: &str) -> Option<Figures> {
        let (from, to): (Node, Node) = (from.parse().unwrap(), to.parse().unwrap());
        let all = self.all();
        let pair = all.pairs.get(&(from.clone(), to.clone()))?;
        Some(figures(pair, all.pairs.get(&(to, from))))
    }
}

/// Web of `a` sends to db of `b`, by addresses that both know.
fn two(n: i64, sent: u64, received: u64) -> [Interval; 2] {
    let (mut a, mut b) = (interval(n, &[("web", "10.9.0.2")]), interval(n, &[("db", "10.9.0.3")]));
    a.flows.push(flow("web", at("10.9.0.3"), sent, 1));
    if received > 0 {
        b.flows.push(flow("db", at("10.9.0.2"), 1, received));
    }
    [a, b]
}

const TWO: [(&str, &str); 2] = [("a", "192.0.2.1"), ("b", "192.0.2.2")];
