//! A pool in plain words.

use std::fmt::Write;

use super::super::output::time;
use super::super::why::event_line;
use crate::client::{PoolDetailsView, PoolView};
use crate::model::{PoolDecision, PoolStatus, clean};

/// How many of the newest decisions and events people are shown; JSON has them all.
const SHOWN: usize = 8;
/// The longest reason that is shown, characters.
const LONGEST: usize = 300;

/// What a pool is and how it is.
pub(super) fn shown(pool: &PoolView) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{text}");
    };
    line(format!("{}/{} is {}.", pool.hostname, pool.name, clean(&pool.health, 40)));
    if let Some(detail) = &pool.detail {
        line(format!("  Because: {}", clean(detail, LONGEST)));
    }
    if let Some(spec) = pool.status.as_ref().map(|status| &status.spec).or(pool.spec.as_ref()) {
        let (image, controller) = (clean(&spec.image, LONGEST), clean(&spec.controller, 40));
        line(format!(
            "  {} to {} containers of {image} behind {}, by {controller}",
            spec.min, spec.max, spec.listen
        ));
    }
    if let Some(status) = &pool.status {
        line(format!("  {}", containers(status)));
        line(format!("  {}", requests(status)));
    }
    out
}

/// The same, and why: the newest decisions with their reasons, and what happened.
pub(in crate::cmd) fn explain(details: &PoolDetailsView) -> String {
    let mut out = shown(&details.pool);
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(String::new());
    let steps = steps(&details.decisions);
    if steps.is_empty() {
        line("No decisions are told.".to_owned());
    } else {
        line("Decided, newest first:".to_owned());
        steps
            .iter()
            .take(SHOWN)
            .for_each(|(decision, times)| line(format!("  {}", decided(decision, *times))));
    }
    line(String::new());
    if details.events.is_empty() {
        line("Nothing happened yet.".to_owned());
    } else {
        line("Happened, newest first:".to_owned());
        details.events.iter().take(SHOWN).for_each(|event| line(format!("  {}", event_line(event))));
    }
    out
}

fn containers(status: &PoolStatus) -> String {
    let counts = status.counts;
    let mut parts = vec![format!("{} ready, of which {} work", counts.ready, counts.busy)];
    let more =
        [(counts.starting, "starting"), (counts.draining, "draining"), (counts.removing, "being removed")];
    parts.extend(more.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    format!("Containers: {} wanted; {}", status.wanted, parts.join(", "))
}

fn requests(status: &PoolStatus) -> String {
    let totals = status.totals;
    let mut text = format!(
        "Requests since {}: {} came, {} answered; {} wait, {} are worked on",
        time(status.since),
        totals.arrivals,
        totals.served,
        status.waiting,
        status.in_flight
    );
    for (count, what) in
        [(totals.refused, "refused"), (totals.failed, "failed"), (totals.left, "left by their clients")]
    {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

/// Decisions newest first; those in a row that change nothing, for one reason, as one.
fn steps(decisions: &[PoolDecision]) -> Vec<(&PoolDecision, usize)> {
    let mut steps: Vec<(&PoolDecision, usize)> = Vec::new();
    for decision in decisions {
        match steps.last_mut() {
            Some((newer, times))
                if (newer.want, newer.have, &newer.reason)
                    == (decision.want, decision.have, &decision.reason) =>
            {
                *times += 1;
            }
            _ => steps.push((decision, 1)),
        }
    }
    steps
}

fn decided(decision: &PoolDecision, times: usize) -> String {
    let PoolDecision { have, want, period, .. } = decision;
    let change = if have == want { format!("{want} stay") } else { format!("{have} -> {want}") };
    let often = if times > 1 { format!(" ({times} times)") } else { String::new() };
    let forecast = match (decision.forecast_was, decision.forecast) {
        (Some(was), Some(next)) => format!("; {was:.1} were expected, {next:.1} are next"),
        (None, Some(next)) => format!("; {next:.1} are expected next"),
        (_, None) => String::new(),
    };
    format!(
        "{}  {change}{often}: {}; {} came{forecast}",
        time(decision.time),
        clean(&decision.reason, LONGEST),
        period.arrivals
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decision(second: u32, have: u32, want: u32, reason: &str) -> serde_json::Value {
        let counts = json!({"starting": 0, "ready": 2, "busy": 1, "draining": 0, "removing": 0});
        json!({
            "time": format!("2026-11-22T08:30:{second:02}.000Z"), "have": have, "want": want, "reason": reason,
            "forecast": 3.25, "forecast_was": null,
            "period": {
                "seconds": 2.0, "arrivals": 4, "backlog_mean": null, "backlog_max": null, "completions": 1, "waiting": 0,
                "in_flight": 1, "wait_mean": null, "sojourn_mean": null, "service_mean": null, "busy_seconds": 1.0,
                "cpu_seconds": null, "host_utilisation": null, "others_cores": null, "age_mean": null,
                "boot_seconds": null, "counts": counts,
            },
        })
    }

    #[test]
    fn the_explanation_names_everything_and_is_clean() {
        let details = json!({
            "pool": {
                "hostname": "a", "name": "web", "health": "degraded", "detail": "no such \u{1b}[2Jimage", "spec": {"image": "shop"},
                "status": {
                    "name": "web", "spec": {"image": "shop", "max": 4}, "health": "degraded", "problem": null,
                    "since": "2026-11-22T08:30:00.000Z", "time": "2026-11-22T08:31:00.000Z", "wanted": 3, "containers": [],
                    "counts": {"starting": 1, "ready": 2, "busy": 1, "draining": 0, "removing": 0},
                    "waiting": 5, "in_flight": 1, "decision": null,
                    "totals": {"arrivals": 9, "served": 2, "refused": 1, "failed": 0, "left": 0, "retried": 0, "started": 2,
                        "start_failures": 1, "removed": 0, "lost": 0},
                },
            },
            "decisions": [decision(6, 2, 3, "the queue grows"), decision(4, 2, 2, "all is well"), decision(2, 2, 2, "all is well")],
            "events": [{"id": "01890a5d-ac96-774b-bcce-b302099a8057", "time": "2026-11-22T08:30:01.000Z", "host": "a",
                "kind": "pool_degraded", "by": "agent", "reason": "Pool web is down.", "data": {"pool": "web"}}],
        });
        let text = explain(&serde_json::from_value(details).unwrap());
        for part in [
            "a/web is degraded.",
            "Because: no such ?[2Jimage",
            "2 to 4 containers of shop behind 127.0.0.1:8080, by francis",
            "Containers: 3 wanted; 2 ready, of which 1 work, 1 starting",
            "9 came, 2 answered; 5 wait, 1 are worked on, 1 refused",
            "2 -> 3: the queue grows; 4 came; 3.2 are expected next",
            "2 stay (2 times): all is well",
            "pool degraded: Pool web is down.",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}
