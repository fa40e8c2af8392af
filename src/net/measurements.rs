//! What is measured here, what is not, and what would give it: in words.

use std::collections::BTreeMap;

use crate::ebpf::Tap;
use crate::model::{HopStage, MeasureWay, Measurement, MeasurementStatus, NetworkRules};

/// Why something is not measured, as a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack(pub(super) String);

/// The programs that this kernel does not take.
pub(super) type Lacks = BTreeMap<Tap, Lack>;

/// What is known of how this host is measured.
pub(super) struct Means<'a> {
    pub(super) way: MeasureWay,
    /// Why it is not by tracepoints.
    pub(super) instead: Option<&'a Lack>,
    pub(super) lacks: &'a Lacks,
    pub(super) clock: Option<&'a str>,
}

const NO_SHARED_CLOCK: &str = "latency between hosts is half the round trip; where clocks are known to agree, say so with \
                               --network-clock NAME, the same on each";

/// Says it of each measurement.
pub(super) fn measurements(means: &Means<'_>, rules: &NetworkRules) -> Vec<Measurement> {
    let measure = &rules.measure;
    let of_taps = |name: &str, on: bool, taps: &[Tap]| {
        let (status, detail) = status(means, on, taps);
        Measurement { name: name.to_owned(), status, detail }
    };
    let hops = &measure.hops;
    let mut all = vec![
        of_taps("flows", measure.flows, &[Tap::Sent, Tap::Received]),
        of_taps("latency", measure.latency, &[Tap::Sent, Tap::Received]),
        of_taps("hops", !hops.is_empty(), &[Tap::Sent, Tap::Received]),
        of_taps("rtt", measure.rtt, &[Tap::Rtt]),
        of_taps("retransmits", measure.retransmits, &[Tap::Retransmits]),
        of_taps("connections", measure.connections, &[Tap::States]),
        of_taps("drops", measure.drops, &[Tap::Drops]),
        of_taps("host_network", measure.host_network, &[Tap::CallSent, Tap::CallReceived]),
        of_taps("one_way", measure.latency, &[Tap::Sent, Tap::Received]),
    ];
    for one in &mut all {
        match (one.name.as_str(), one.status, means.way) {
            ("hops", MeasurementStatus::Works, _) => one.detail = hops_told(hops),
            ("one_way", MeasurementStatus::Works, _) => {
                (one.status, one.detail) = match means.clock {
                    Some(clock) => {
                        (MeasurementStatus::Works, format!("between hosts whose clock is {clock:?} too"))
                    }
                    None => (MeasurementStatus::Missing, NO_SHARED_CLOCK.to_owned()),
                };
            }
            ("flows", MeasurementStatus::Missing, MeasureWay::Classifiers) => {
                one.status = MeasurementStatus::Works;
                one.detail =
                    format!("classifiers at the host's ends of the containers' interfaces: {}", one.detail);
            }
            ("flows", MeasurementStatus::Missing, MeasureWay::Proc) => {
                one.detail = format!("only the totals of each container, from /proc: {}", one.detail);
            }
            ("retransmits", MeasurementStatus::Missing, MeasureWay::Classifiers | MeasureWay::Proc) => {
                one.status = MeasurementStatus::Works;
                one.detail = format!("the totals of each container, from /proc: {}", one.detail);
            }
            _ => {}
        }
    }
    all
}

fn status(means: &Means<'_>, on: bool, taps: &[Tap]) -> (MeasurementStatus, String) {
    if means.way == MeasureWay::Off {
        return (MeasurementStatus::Off, "--network off".to_owned());
    }
    if !on {
        return (MeasurementStatus::Off, "the rules leave it out".to_owned());
    }
    if let Some(Lack(why)) = means.instead {
        return (MeasurementStatus::Missing, why.clone());
    }
    if let Some(Lack(why)) = taps.iter().find_map(|tap| means.lacks.get(tap)) {
        return (MeasurementStatus::Missing, why.clone());
    }
    let names: Vec<&str> = taps.iter().map(|tap| tap.tracepoint()).collect();
    (MeasurementStatus::Works, format!("tracepoints {}", names.join(" and ")))
}

fn hops_told(hops: &[HopStage]) -> String {
    let name = |hop: &HopStage| match hop {
        HopStage::Container => "container",
        HopStage::Bridge => "bridge",
        HopStage::Veth => "veth",
        HopStage::Overlay => "overlay",
    };
    hops.iter().map(name).collect::<Vec<_>>().join(", ")
}
