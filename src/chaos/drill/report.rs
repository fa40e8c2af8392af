//! The report: figures in all and for each kind of fault. Pure.

use std::collections::BTreeMap;

use super::join::{Joined, Story};
use super::spread::spread;
use crate::model::{
    DrillFault, DrillId, DrillKind, DrillReport, DrillSummary, FaultOutcome, FaultWanted, HostName, Timestamp,
};

/// Faults, false alarms and findings that are listed; the figures count all.
const FAULTS: usize = 2_000;
const ALARMS: usize = 200;
const FINDINGS: usize = 100;

/// What a drill was.
#[derive(Debug, Clone)]
pub struct Header {
    /// Its id.
    pub id: DrillId,
    /// The host.
    pub hostname: HostName,
    /// The scenario's name.
    pub scenario: String,
    /// What it is for.
    pub about: String,
    /// The seed.
    pub seed: u64,
    /// How many containers took part.
    pub containers: u64,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What went wrong with the drill itself, a sentence each: it did not pass then.
    pub troubles: Vec<String>,
}

/// Joins `story` and counts.
pub fn report(header: Header, story: &Story) -> DrillReport {
    let Joined { mut faults, mut alarms, others, shared, findings: found } = story.join();
    let mut summary = summarize(&faults);
    summary.false_alarms = alarms.len() as u64;
    let mut by_kind = BTreeMap::<&str, Vec<&DrillFault>>::new();
    for fault in &faults {
        by_kind.entry(&fault.kind).or_default().push(fault);
    }
    let kinds = by_kind
        .into_iter()
        .map(|(kind, faults)| DrillKind { kind: kind.to_owned(), summary: summarize(faults) })
        .collect();
    let mut findings = header.troubles;
    if faults.is_empty() {
        findings.push("no fault was done".to_owned());
    }
    findings.extend(found);
    let passed = findings.is_empty() && summary.unexpected == 0 && summary.false_alarms == 0;
    if findings.len() > FINDINGS {
        let more = findings.len() - FINDINGS;
        findings.truncate(FINDINGS);
        findings.push(format!("and {more} more"));
    }
    let faults_left_out = faults.len().saturating_sub(FAULTS) as u64;
    faults.truncate(FAULTS);
    alarms.truncate(ALARMS);
    DrillReport {
        id: header.id,
        hostname: header.hostname,
        scenario: header.scenario,
        about: header.about,
        seed: header.seed,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: header.started,
        ended: header.ended,
        containers: header.containers,
        passed,
        findings,
        summary,
        kinds,
        faults,
        faults_left_out,
        false_alarms: alarms,
        other_actions: others,
        shared_incidents: shared,
    }
}

/// The figures of some faults. Actions on those that were to be borne are false alarms.
fn summarize<'a>(faults: impl IntoIterator<Item = &'a DrillFault>) -> DrillSummary {
    let mut sum = DrillSummary::default();
    let (mut detect, mut act, mut recover) = (Vec::new(), Vec::new(), Vec::new());
    for fault in faults {
        sum.injected += 1;
        let noticed = fault.detect_ms.is_some() || fault.quarantine_ms.is_some() || fault.actions > 0;
        sum.detected += u64::from(noticed);
        sum.missed += u64::from(fault.outcome == FaultOutcome::Missed);
        let fine = matches!(fault.outcome, FaultOutcome::AsExpected | FaultOutcome::NotJudged);
        sum.unexpected += u64::from(!fine);
        if matches!(fault.wanted, FaultWanted::Untouched | FaultWanted::Shared) {
            sum.false_alarms += fault.actions;
        }
        detect.extend(fault.detect_ms);
        act.extend(fault.act_ms);
        recover.extend(fault.recover_ms);
    }
    DrillSummary { detect: spread(detect), act: spread(act), recover: spread(recover), ..sum }
}
