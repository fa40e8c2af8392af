//! What a drill came to, and what drills came to over time, for people.

use crate::cmd::Failure;
use crate::cmd::output::{Table, UNKNOWN, note, or_unknown, print, time};
use crate::model::{Drill, DrillReport, DrillSummary, Spread, clean};

/// The report as a table, and a line for each thing that was not as expected.
pub(super) fn report(report: &DrillReport) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "FAULT",
        "DONE",
        "DETECTED",
        "MISSED",
        "FALSE",
        "DETECT p50/p95/max",
        "ACT p50/p95/max",
        "RECOVER p50/p95/max",
    ]);
    for kind in &report.kinds {
        table.row(row(&kind.kind, &kind.summary));
    }
    if report.kinds.len() != 1 || report.summary.false_alarms != report.kinds[0].summary.false_alarms {
        table.row(row("all", &report.summary));
    }
    table.print()?;
    for finding in &report.findings {
        print(&format!("NOT as expected: {}\n", clean(finding, 400)))?;
    }
    if report.shared_incidents > 0 {
        print(&format!("shared causes named: {}\n", report.shared_incidents))?;
    }
    Ok(())
}

fn row(name: &str, sum: &DrillSummary) -> [String; 8] {
    [
        name.to_owned(),
        sum.injected.to_string(),
        sum.detected.to_string(),
        sum.missed.to_string(),
        sum.false_alarms.to_string(),
        spread(sum.detect),
        spread(sum.act),
        spread(sum.recover),
    ]
}

fn spread(spread: Option<Spread>) -> String {
    let three = |s: Spread| format!("{}/{}/{} s", seconds(s.p50_ms), seconds(s.p95_ms), seconds(s.max_ms));
    spread.map_or(UNKNOWN.to_owned(), three)
}

fn seconds(ms: u64) -> String {
    format!("{:.1}", ms as f64 / 1000.0)
}

/// The history, newest first.
pub(super) fn history(drills: &[Drill]) -> Result<(), Failure> {
    if drills.is_empty() {
        note("no drills yet");
        return Ok(());
    }
    let mut table = Table::new(&[
        "STARTED",
        "HOST",
        "SCENARIO",
        "STATE",
        "FAULTS",
        "DETECTED",
        "MISSED",
        "FALSE",
        "DETECT p50",
        "ACT p50",
        "RECOVER p50",
        "ID",
    ]);
    for drill in drills {
        let sum = drill.summary.as_ref();
        let count = |of: fn(&DrillSummary) -> u64| or_unknown(sum.map(of));
        let median = |of: fn(&DrillSummary) -> Option<Spread>| {
            sum.and_then(of).map_or(UNKNOWN.to_owned(), |spread| format!("{} s", seconds(spread.p50_ms)))
        };
        table.row([
            time(drill.started),
            drill.hostname.to_string(),
            drill.scenario.clone(),
            drill.state.as_str().to_owned(),
            count(|sum| sum.injected),
            count(|sum| sum.detected),
            count(|sum| sum.missed),
            count(|sum| sum.false_alarms),
            median(|sum| sum.detect),
            median(|sum| sum.act),
            median(|sum| sum.recover),
            drill.id.to_string(),
        ]);
    }
    table.print()
}
