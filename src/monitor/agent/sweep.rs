//! One round of checks: all targets at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;

use crate::model::{CheckKind, Threshold};
use crate::monitor::decide::{Checked, Finding, Policy, Target};
use crate::monitor::ping::{PingError, Pinger, ProbeOutcome, ProbePlan};

/// How many probes a check has.
pub(super) fn count(policy: &Policy, kind: CheckKind) -> u32 {
    match kind {
        CheckKind::Sweep => policy.probes,
        CheckKind::Confirm => policy.confirm_probes,
    }
}

/// Probes every address of every target; as long as the slowest.
pub(super) async fn check(
    pinger: &dyn Pinger,
    policy: &Policy,
    kind: CheckKind,
    targets: &[Target],
) -> Result<Vec<Checked>, PingError> {
    let count = count(policy, kind);
    // A plan has one threshold, so targets are probed in groups of equal thresholds, all groups at once.
    let mut groups = BTreeMap::<u64, (Threshold, Vec<IpAddr>)>::new();
    for target in targets {
        let group = groups.entry(target.threshold.percent().to_bits());
        group.or_insert((target.threshold, Vec::new())).1.extend(&target.addresses);
    }
    let probes = groups.into_values().map(|(threshold, mut addresses)| {
        addresses.sort_unstable();
        addresses.dedup();
        let plan = ProbePlan {
            count,
            spacing: policy.probe_spacing,
            timeout: policy.probe_timeout,
            threshold: Some(threshold),
        };
        async move { pinger.probe(&addresses, plan).await }
    });
    let mut outcomes = BTreeMap::<IpAddr, ProbeOutcome>::new();
    for group in join_all(probes).await {
        outcomes.extend(group?.into_iter().map(|outcome| (outcome.address, outcome)));
    }
    Ok(targets.iter().map(|target| checked(target, &outcomes)).collect())
}

/// How long an address of the host's own may take to answer: it need not even leave the kernel.
const REFERENCE_TIMEOUT: Duration = Duration::from_millis(250);
const REFERENCE_SPACING: Duration = Duration::from_millis(20);

/// Probes the host's own addresses; none where that fails, which says nothing.
pub(super) async fn references(pinger: &dyn Pinger, count: u32, addresses: &[IpAddr]) -> Vec<ProbeOutcome> {
    if addresses.is_empty() || count == 0 {
        return Vec::new();
    }
    let plan = ProbePlan { count, spacing: REFERENCE_SPACING, timeout: REFERENCE_TIMEOUT, threshold: None };
    pinger.probe(addresses, plan).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "the host's own addresses could not be probed");
        Vec::new()
    })
}

/// What is judged where nothing can be probed: every target, with no probe sent.
pub(super) fn unprobed(targets: &[Target]) -> Vec<Checked> {
    targets.iter().map(|target| checked(target, &BTreeMap::new())).collect()
}

fn checked(target: &Target, outcomes: &BTreeMap<IpAddr, ProbeOutcome>) -> Checked {
    let outcome = |address: &IpAddr| {
        let none = ProbeOutcome { address: *address, sent: 0, received: 0, void: 0, rtts: Vec::new() };
        outcomes.get(address).cloned().unwrap_or(none)
    };
    Checked {
        id: target.id.clone(),
        started_at: target.started_at,
        outcomes: target.addresses.iter().map(outcome).collect(),
        finding: Finding::Counted,
    }
}
