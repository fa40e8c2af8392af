//! The report as one page that needs nothing else: no script, no request, light and dark. Pure; every text from outside is
//! escaped.

use std::fmt::{Display, Write};

use super::plot;
use crate::model::{DrillFault, DrillReport, DrillSummary, FaultOutcome, FaultWanted, Spread, clean};

const STYLE: &str = "
:root{color-scheme:light dark;--fg:#1c2128;--soft:#5d6773;--line:#d8dee4;--bg:#fff;--card:#f6f8fa;
--good:#1a7f37;--bad:#cf222e;--even:#8c959f;--detect:#0969da;--act:#bf5a00;--recover:#1a7f37}
@media(prefers-color-scheme:dark){:root{--fg:#e6edf3;--soft:#9aa5b1;--line:#363d46;--bg:#0d1117;--card:#161b22;
--good:#3fb950;--bad:#f85149;--even:#6e7681;--detect:#58a6ff;--act:#f0883e;--recover:#3fb950}}
body{margin:0 auto;max-width:960px;padding:24px;font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg)}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:32px 0 8px}p{margin:4px 0}.soft{color:var(--soft)}
.badge{display:inline-block;padding:2px 10px;border-radius:12px;color:#fff;font-size:14px;vertical-align:3px;margin-left:8px}
.badge.good{background:var(--good)}.badge.bad{background:var(--bad)}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0}.tile{background:var(--card);border:1px solid var(--line);
border-radius:8px;padding:8px 16px;min-width:88px}.tile b{display:block;font-size:22px}
table{border-collapse:collapse;width:100%;font-size:14px}th,td{text-align:left;padding:4px 10px 4px 0;
border-bottom:1px solid var(--line);vertical-align:top}th{color:var(--soft);font-weight:600}.wide{overflow-x:auto}
.num{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--soft)}svg .lane{fill:var(--fg)}
.grid{stroke:var(--line)}.median{stroke:var(--fg);stroke-width:2}
rect.good{fill:var(--good);opacity:.35}rect.bad{fill:var(--bad);opacity:.6}rect.even{fill:var(--even);opacity:.4}
circle.detect{fill:var(--detect)}circle.act{fill:var(--act)}circle.recover{fill:var(--recover)}
.alarm{stroke:var(--bad);stroke-width:2.5;fill:none}td.bad,li.bad{color:var(--bad)}
.key i{display:inline-block;width:10px;height:10px;border-radius:5px;margin:0 4px 0 12px}";

/// The page.
pub fn page(report: &DrillReport) -> String {
    let (class, word) = if report.passed { ("good", "as expected") } else { ("bad", "not as expected") };
    let scenario = escape(&report.scenario);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>Drill {scenario} on {host}</title><style>{STYLE}</style></head><body>\n\
         <h1>Drill {scenario}<span class=\"badge {class}\">{word}</span></h1>\n",
        host = escape(report.hostname.as_str()),
    );
    if !report.about.is_empty() {
        let _ = writeln!(page, "<p>{}</p>", escape(&report.about));
    }
    let _ = writeln!(
        page,
        "<p class=\"soft\">{} containers of {}, {} to {}, seed {}, id {}, dockhealth {}</p>",
        report.containers,
        escape(report.hostname.as_str()),
        report.started,
        report.ended,
        report.seed,
        report.id,
        escape(&report.version)
    );
    tiles(&mut page, &report.summary);
    findings(&mut page, report);
    kinds(&mut page, report);
    plots(&mut page, report);
    faults(&mut page, report);
    alarms(&mut page, report);
    page + "</body></html>\n"
}

fn tiles(page: &mut String, sum: &DrillSummary) {
    page.push_str("<div class=\"tiles\">");
    for (word, value) in [
        ("faults", sum.injected.to_string()),
        ("detected", sum.detected.to_string()),
        ("missed", sum.missed.to_string()),
        ("false alarms", sum.false_alarms.to_string()),
        ("to detect, median", median(sum.detect)),
        ("to act, median", median(sum.act)),
        ("to recover, median", median(sum.recover)),
    ] {
        let _ = write!(page, "<div class=\"tile\"><b>{value}</b>{word}</div>");
    }
    page.push_str("</div>\n");
}

fn findings(page: &mut String, report: &DrillReport) {
    if report.findings.is_empty() {
        return;
    }
    page.push_str("<h2>Not as expected</h2><ul>");
    for finding in &report.findings {
        let _ = write!(page, "<li class=\"bad\">{}</li>", escape(finding));
    }
    page.push_str("</ul>\n");
}

fn kinds(page: &mut String, report: &DrillReport) {
    page.push_str(
        "<h2>By kind of fault</h2><div class=\"wide\"><table><tr><th>Fault<th class=\"num\">Done\
         <th class=\"num\">Detected<th class=\"num\">Missed<th class=\"num\">False alarms\
         <th class=\"num\">Detect p50 / p95 / max<th class=\"num\">Act p50 / p95 / max\
         <th class=\"num\">Recover p50 / p95 / max</tr>",
    );
    for kind in &report.kinds {
        let sum = &kind.summary;
        let _ = write!(page, "<tr><td>{}", escape(&kind.kind));
        for count in [sum.injected, sum.detected, sum.missed, sum.false_alarms] {
            number(page, count);
        }
        for spread in [sum.detect, sum.act, sum.recover] {
            number(page, three(spread));
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>\n");
}

fn plots(page: &mut String, report: &DrillReport) {
    let key = "<p class=\"key soft\"><i style=\"background:var(--detect)\"></i>detected\
               <i style=\"background:var(--act)\"></i>acted<i style=\"background:var(--recover)\"></i>recovered";
    let spans = plot::spans(report);
    if !spans.is_empty() {
        let _ = writeln!(page, "<h2>How long it took</h2>{key}; the bar is the median</p>{spans}");
    }
    let timeline = plot::timeline(report);
    if !timeline.is_empty() {
        let _ = writeln!(
            page,
            "<h2>Who, when</h2>{key}; bars are faults, red where the answer was not as expected; crosses are false \
             alarms</p>{timeline}"
        );
        let left_out = plot::left_out(report);
        if left_out > 0 {
            let _ = writeln!(page, "<p class=\"soft\">{left_out} more containers are not drawn.</p>");
        }
    }
}

fn faults(page: &mut String, report: &DrillReport) {
    if report.faults.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Every fault</h2><div class=\"wide\"><table><tr><th>Time<th>Container<th>Fault<th>Wanted<th>Came out\
         <th class=\"num\">Detect<th class=\"num\">Act<th class=\"num\">Recover<th class=\"num\">Actions</tr>",
    );
    for fault in &report.faults {
        let (class, came) = outcome(fault);
        let after = fault.injected.since(report.started).as_millis();
        let _ = write!(
            page,
            "<tr><td class=\"soft\">{}<td>{}<td>{}<td>{}<td{class}>{came}",
            plot::span(u64::try_from(after).unwrap_or(u64::MAX)),
            escape(fault.container.as_str()),
            escape(&fault.fault),
            wanted(fault),
        );
        for ms in [fault.detect_ms, fault.act_ms, fault.recover_ms] {
            number(page, ms.map_or("–".to_owned(), plot::span));
        }
        number(page, fault.actions);
        page.push_str("</tr>");
    }
    page.push_str("</table></div>\n");
    if report.faults_left_out > 0 {
        let _ = writeln!(page, "<p class=\"soft\">{} more are counted above.</p>", report.faults_left_out);
    }
}

fn alarms(page: &mut String, report: &DrillReport) {
    if !report.false_alarms.is_empty() {
        page.push_str("<h2>False alarms</h2><table><tr><th>Time<th>Container<th>Action<th>Why</tr>");
        for alarm in &report.false_alarms {
            let _ = write!(
                page,
                "<tr><td class=\"soft\">{}<td>{}<td>{}<td>{}</tr>",
                alarm.time,
                escape(alarm.container.as_str()),
                alarm.action,
                escape(&alarm.reason)
            );
        }
        page.push_str("</table>\n");
    }
    let _ = writeln!(
        page,
        "<p class=\"soft\">Shared causes named: {}. Actions that were not its doing: {}.</p>",
        report.shared_incidents, report.other_actions
    );
}

fn number(page: &mut String, value: impl Display) {
    let _ = write!(page, "<td class=\"num\">{value}");
}

fn median(spread: Option<Spread>) -> String {
    spread.map_or("–".to_owned(), |spread| plot::span(spread.p50_ms))
}

fn three(spread: Option<Spread>) -> String {
    spread.map_or("–".to_owned(), |s| {
        format!("{} / {} / {}", plot::span(s.p50_ms), plot::span(s.p95_ms), plot::span(s.max_ms))
    })
}

fn wanted(fault: &DrillFault) -> String {
    let within = fault.within_ms.map(plot::span).unwrap_or_default();
    match fault.wanted {
        FaultWanted::Found => "found".to_owned(),
        FaultWanted::Healed => format!("healed within {within}"),
        FaultWanted::Untouched => "borne".to_owned(),
        FaultWanted::Quarantined => format!("quarantined within {within}"),
        FaultWanted::Shared => "blamed on what is shared".to_owned(),
        FaultWanted::Nothing => "–".to_owned(),
    }
}

fn outcome(fault: &DrillFault) -> (&'static str, &'static str) {
    match fault.outcome {
        FaultOutcome::AsExpected => ("", "as expected"),
        FaultOutcome::Missed => (" class=\"bad\"", "missed"),
        FaultOutcome::Late => (" class=\"bad\"", "late"),
        FaultOutcome::Wrong => (" class=\"bad\"", "wrong"),
        FaultOutcome::NotJudged => ("", "–"),
    }
}

/// Text for HTML, in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text, 500).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[path = "html_tests.rs"]
mod tests;
