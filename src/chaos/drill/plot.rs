//! Two plots as inline SVG: how long each kind of fault took to be answered, and who carried what when. Pure; colours are
//! the page's.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::html::escape;
use crate::model::{DrillFault, DrillReport, FaultOutcome};

/// Widths, in the SVG's own units.
const WIDTH: f64 = 900.0;
const LABELS: f64 = 170.0;
const RIGHT: f64 = 40.0;
const LANE: f64 = 22.0;
const TOP: f64 = 24.0;
/// Containers that have a lane in the timeline.
const LANES: usize = 60;
/// Longest label, characters.
const LABEL: usize = 24;

/// What is told of each fault: the word, its class, and its span.
type Series = (&'static str, &'static str, fn(&DrillFault) -> Option<u64>);
const SERIES: [Series; 3] = [
    ("detected", "detect", |fault| fault.detect_ms),
    ("acted", "act", |fault| fault.act_ms),
    ("recovered", "recover", |fault| fault.recover_ms),
];

/// Spans from the fault by kind, a dot each, on a logarithmic axis; the bar is the median.
pub(super) fn spans(report: &DrillReport) -> String {
    let mut kinds = BTreeMap::<&str, Vec<&DrillFault>>::new();
    for fault in &report.faults {
        kinds.entry(&fault.kind).or_default().push(fault);
    }
    kinds.retain(|_, faults| faults.iter().any(|fault| SERIES.iter().any(|(_, _, of)| of(fault).is_some())));
    let longest = SERIES.iter().flat_map(|(_, _, of)| report.faults.iter().filter_map(of)).max();
    let Some(longest) = longest else { return String::new() };
    // Whole powers of ten, from 100 ms on.
    let decades = (1..16).find(|decades| 100 * 10_u64.pow(*decades) >= longest).unwrap_or(16);
    let x = |ms: u64| {
        let along = ((ms.max(100) as f64).log10() - 2.0) / f64::from(decades);
        LABELS + along * (WIDTH - LABELS - RIGHT)
    };
    let rows = kinds.len() * SERIES.len();
    let height = TOP + rows as f64 * LANE + 16.0;
    let mut svg = open(height, "Time from the fault, by kind");
    for decade in 0..=decades {
        let ms = 10_u64.pow(decade + 2);
        // Not in minutes: 100 s reads better than 1 min 40 s.
        tick(&mut svg, x(ms), height, &if ms < 1000 { span(ms) } else { format!("{} s", ms / 1000) });
    }
    for (row, (kind, (word, class, of))) in
        kinds.keys().flat_map(|kind| SERIES.iter().map(move |series| (kind, series))).enumerate()
    {
        let y = TOP + row as f64 * LANE + LANE / 2.0;
        let label = if row % SERIES.len() == 0 { format!("{kind}: {word}") } else { (*word).to_owned() };
        lane(&mut svg, y, &label);
        let mut all: Vec<u64> = kinds[kind].iter().filter_map(|fault| of(fault)).collect();
        all.sort_unstable();
        for ms in &all {
            let _ = write!(
                svg,
                "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
                x(*ms),
                span(*ms)
            );
        }
        if let Some(median) = all.get(all.len().saturating_sub(1) / 2) {
            let at = x(*median);
            let _ = write!(
                svg,
                "<line class=\"median\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                y - 8.0,
                y + 8.0
            );
        }
    }
    svg + "</svg>"
}

/// A lane for each container: its faults as bars, and how they were answered as dots.
pub(super) fn timeline(report: &DrillReport) -> String {
    let mut lanes = BTreeMap::<&str, Vec<&DrillFault>>::new();
    for fault in &report.faults {
        lanes.entry(fault.container.as_str()).or_default().push(fault);
    }
    for alarm in &report.false_alarms {
        lanes.entry(alarm.container.as_str()).or_default();
    }
    if lanes.is_empty() {
        return String::new();
    }
    let lasted = report.ended.since(report.started).max(Duration::from_secs(1));
    let whole = lasted.as_secs_f64();
    let at = |seconds: f64| LABELS + (seconds / whole).clamp(0.0, 1.0) * (WIDTH - LABELS - RIGHT);
    let shown = lanes.len().min(LANES);
    let height = TOP + shown as f64 * LANE + 16.0;
    let mut svg = open(height, "Faults and answers over the drill");
    for part in 0..=4_u32 {
        let moment = lasted * part / 4;
        let ms = u64::try_from(moment.as_millis()).unwrap_or(u64::MAX);
        tick(&mut svg, at(moment.as_secs_f64()), height, &span(ms));
    }
    for (row, (name, faults)) in lanes.iter().take(shown).enumerate() {
        let y = TOP + row as f64 * LANE + LANE / 2.0;
        lane(&mut svg, y, name);
        for fault in faults {
            let begins = fault.injected.since(report.started).as_secs_f64();
            let ends = fault.over.map_or(whole, |over| over.since(report.started).as_secs_f64());
            let class = match fault.outcome {
                FaultOutcome::AsExpected => "good",
                FaultOutcome::NotJudged => "even",
                _ => "bad",
            };
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"10\" rx=\"2\"><title>{}</title></rect>",
                at(begins),
                y - 5.0,
                (at(ends) - at(begins)).max(2.0),
                escape(&format!("{} on {name}", fault.fault))
            );
            for (word, class, of) in SERIES {
                let Some(ms) = of(fault) else { continue };
                let _ = write!(
                    svg,
                    "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{word} after {}</title></circle>",
                    at(begins + ms as f64 / 1000.0),
                    span(ms)
                );
            }
        }
        for alarm in report.false_alarms.iter().filter(|alarm| alarm.container.as_str() == *name) {
            let x = at(alarm.time.since(report.started).as_secs_f64());
            let _ = write!(
                svg,
                "<path class=\"alarm\" d=\"M{:.1} {:.1}l8 8m0 -8l-8 8\"><title>{}</title></path>",
                x - 4.0,
                y - 4.0,
                escape(&format!("false alarm: {}", alarm.action))
            );
        }
    }
    svg + "</svg>"
}

/// How many containers the timeline leaves out.
pub(super) fn left_out(report: &DrillReport) -> usize {
    let mut names: Vec<&str> = report.faults.iter().map(|fault| fault.container.as_str()).collect();
    names.extend(report.false_alarms.iter().map(|alarm| alarm.container.as_str()));
    names.sort_unstable();
    names.dedup();
    names.len().saturating_sub(LANES)
}

fn open(height: f64, title: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">")
}

fn tick(svg: &mut String, x: f64, height: f64, label: &str) {
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
         <text class=\"tick\" x=\"{x:.1}\" y=\"14\" text-anchor=\"middle\">{label}</text>",
        height - 12.0
    );
}

fn lane(svg: &mut String, y: f64, label: &str) {
    // Names that begin alike are told apart by their ends.
    let cut = label.chars().count().saturating_sub(LABEL);
    let short: String = label.chars().skip(cut).collect();
    let less = if cut > 0 { "…" } else { "" };
    let _ = write!(
        svg,
        "<text class=\"lane\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{less}{}<title>{}</title></text>",
        LABELS - 10.0,
        y + 4.0,
        escape(&short),
        escape(label)
    );
}

/// Milliseconds as people read them: `120 ms`, `3.4 s`, `2 min 5 s`.
pub(super) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => {
            let seconds = format!("{:.1}", ms as f64 / 1000.0);
            format!("{} s", seconds.strip_suffix(".0").unwrap_or(&seconds))
        }
        _ if ms % 60_000 < 1_000 => format!("{} min", ms / 60_000),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_read_well() {
        let shown = [0, 999, 1_000, 3_449, 59_940, 60_500, 125_000].map(span);
        assert_eq!(shown, ["0 ms", "999 ms", "1 s", "3.4 s", "59.9 s", "1 min", "2 min 5 s"]);
    }
}
