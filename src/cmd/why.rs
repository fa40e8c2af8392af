//! `dockhealth why`: in plain words, what a container or pool is, what was seen of it and what was decided.

use std::fmt::Write;

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::output::{note, print, print_json, time};
use super::pools::{self, PoolTarget};
use super::ps::{percent, with_host};
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::target::{self, Target};
use super::{Failure, options};
use crate::bus::{AgentCommand, AgentReply};
use crate::client::{AgentSocket, Api, DetailsView};
use crate::model::{CheckKind, CheckRecord, EfficacyReport, Event, HostName, Verdict, clean};

/// How many of the last checks and events people are shown; JSON has them all.
const SHOWN: usize = 8;

/// How many decisions of a pool are asked for.
const DECISIONS: u32 = 100;

const POOL: Setting = Setting::value("[HOST/]POOL").flag_only().called(
    "pool",
    OPTIONS,
    "A pool instead of a container: how many, why, what is wrong",
);

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&POOL, &options::LOCAL, &options::JSON][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    let about = "Say why a container or pool is what it is: last checks, decisions, the rule that fired";
    with_settings(Command::new("why").about(about).arg(target::one().required(false)), &groups)
}

/// Says it.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let targets = r.positional("container", parse::typed::<Target>);
    let (local, json) = (r.switch(&options::LOCAL), r.switch(&options::JSON));
    let pool = r.opt(&POOL, parse::typed::<PoolTarget>);
    match (r.is_given(&POOL), matches.contains_id("container")) {
        (true, true) => r.wrong(&POOL, "does not go together with a container"),
        (false, false) => r.wrong(&POOL, "give a container, or --pool and a pool"),
        _ => {}
    }
    if local && r.is_given(&POOL) {
        r.wrong(&options::LOCAL, "does not go together with --pool: the controller is asked about pools");
    }
    let targets = r.finish(targets)?;
    if let Some(pool) = pool {
        return why_pool(&reach.api()?, &pool, json);
    }
    let target = targets.first().expect("it was required");
    let details = if local {
        ask_agent(&reach.agent(), target)?
    } else {
        match ask_controller(&reach.api()?, target) {
            Err(unreachable @ Failure::Unreachable(_)) => {
                let details = ask_agent(&reach.agent(), target).map_err(|_| unreachable)?;
                note("the controller does not answer; this is what the agent of this machine says");
                details
            }
            answer => answer?,
        }
    };
    if json {
        return print_json(&details);
    }
    let details: DetailsView = serde_json::from_value(details)
        .map_err(|error| Failure::Failed(format!("the answer cannot be read: {error}")))?;
    print(&explain(&details))
}

fn why_pool(api: &Api, pool: &PoolTarget, json: bool) -> Result<(), Failure> {
    let details = pools::details(api, pool, DECISIONS)?;
    if json {
        return print_json(&details);
    }
    print(&pools::explain(&pools::read(details)?))
}

fn ask_controller(api: &Api, target: &Target) -> Result<Value, Failure> {
    let key = target::locate(api, target)?;
    Ok(api.get(&target::path(&key))?)
}

/// What this machine's agent says, in the API's form.
fn ask_agent(agent: &AgentSocket, target: &Target) -> Result<Value, Failure> {
    let own = own_host(agent)?;
    if let Some(host) = target.host.as_ref().filter(|host| **host != own) {
        return Err(Failure::NotFound(format!("this machine is host {own}, not {host}")));
    }
    match agent.ask(&AgentCommand::Why { container: target.name.clone() })? {
        AgentReply::Why(why) => Ok(json!({
            "container": with_host(&own, &why.container),
            "threshold": why.threshold,
            "monitored_by": why.monitored_by,
            "checks": why.checks,
            "events": why.events,
            "brakes": why.brakes,
            "efficacy": why.efficacy,
            "network": why.network.map(|network| json!({
                "seconds": network.seconds, "retransmits": network.retransmits, "notes": network.notes,
            })),
        })),
        _ => Err(Failure::Failed("the agent answers, but not why".into())),
    }
}

/// The name of this machine's host.
pub(super) fn own_host(agent: &AgentSocket) -> Result<HostName, Failure> {
    match agent.ask(&AgentCommand::Report)? {
        AgentReply::Report(report) => Ok(report.host),
        _ => Err(Failure::Failed("the agent answers, but not with its report".into())),
    }
}

fn explain(details: &DetailsView) -> String {
    let c = &details.container;
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{text}");
    };
    line(format!("{}/{} is {}, its status {}.", c.hostname, c.name, word(&c.health), word(&c.status)));
    if !c.reason.is_empty() {
        line(format!("  Because: {}", clean(&c.reason, 500)));
    }
    line(format!("  {}", monitored(details)));
    if let Some(threshold) = details.threshold {
        line(format!("  Threshold: restarted for loss above {}", percent(threshold)));
    }
    if let Some(restarts) = c.restarts {
        line(format!("  Restarts by dockhealth: {restarts}"));
    }
    for brake in &details.brakes {
        line(format!("  Brake: {}", clean(brake, 500)));
    }
    if let Some(efficacy) = &details.efficacy {
        line(format!("  {}", outcomes(efficacy)));
    }
    if let Some(rule) = details.events.iter().rev().find_map(|event| event.data.get("rule")?.as_str()) {
        line(format!("  Rule that fired last: {}", clean(rule, 200)));
    }
    for note in details.network.iter().flat_map(|network| &network.notes).take(SHOWN) {
        line(format!("  Network: {}", clean(note, 500)));
    }
    line(String::new());
    line(if details.checks.is_empty() {
        "No checks yet.".into()
    } else {
        "Last checks, newest first:".into()
    });
    details.checks.iter().rev().take(SHOWN).for_each(|check| line(format!("  {}", check_line(check))));
    line(String::new());
    line(if details.events.is_empty() {
        "Nothing was decided or done yet.".into()
    } else {
        "Decided and done, newest first:".into()
    });
    details.events.iter().rev().take(SHOWN).for_each(|event| line(format!("  {}", event_line(event))));
    out
}

/// What came of the actions on it, the last first.
fn outcomes(efficacy: &EfficacyReport) -> String {
    let (all, last) = (efficacy.outcomes, efficacy.recent.iter().rev().take(SHOWN));
    let last: Vec<String> = last.map(|one| word(one.effect.as_str())).collect();
    let last = if last.is_empty() { String::new() } else { format!("; newest first: {}", last.join(", ")) };
    format!("Did it help: {} of {} times{last}", all.helped, all.total())
}

fn word(text: &str) -> String {
    clean(&text.replace('_', " "), 40)
}

/// Whether it is on the list, and why, as a sentence of its own.
fn monitored(details: &DetailsView) -> String {
    let plain = if details.container.monitored { "monitored" } else { "not monitored" };
    let by = details.monitored_by.as_deref().map_or_else(|| plain.to_owned(), |by| clean(by, 300));
    let by = if by.starts_with(plain) { by } else { format!("{plain}: {by}") };
    let mut letters = by.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn check_line(check: &CheckRecord) -> String {
    let kind = match check.kind {
        CheckKind::Sweep => "check",
        CheckKind::Confirm => "confirming check",
    };
    let verdict = match check.verdict {
        Verdict::Pass => "passed",
        Verdict::Fail => "failed",
        Verdict::Inconclusive => "says nothing",
    };
    let loss = check.loss_percent.map_or_else(|| "loss unknown".into(), |loss| format!("{loss} loss"));
    let addresses: Vec<String> = check
        .addresses
        .iter()
        .map(|a| {
            let rtt = a.rtt_ms.map(|ms| format!(" in {ms:.2} ms")).unwrap_or_default();
            format!("{} answered {} of {}{rtt}", a.address, a.received, a.sent)
        })
        .collect();
    let evidence = check.evidence.map(|evidence| format!("; {}", evidence.words(check.verdict)));
    format!(
        "{}  {kind} {verdict}: {loss}, threshold {}{}; {}",
        time(check.time),
        check.threshold,
        evidence.unwrap_or_default(),
        addresses.join(", ")
    )
}

/// An event on one line.
pub(super) fn event_line(event: &Event) -> String {
    format!("{}  {}: {}", time(event.time), word(event.kind.as_str()), clean(&event.reason, 500))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_explanation_names_everything_and_is_clean() {
        let details = json!({
            "container": {"hostname": "a", "name": "web", "status": "running", "health": "not_pingable",
                "monitored": true, "loss_percent": 100.0, "rtt_ms": null, "restarts": 2, "reason": "no \u{1b}[2Janswer"},
            "threshold": 50.0, "monitored_by": "label dockhealth.monitor=true",
            "checks": [{"time": "2026-11-22T08:30:00.000Z", "kind": "sweep", "verdict": "fail", "loss_percent": 100.0,
                "threshold": 50.0, "addresses": [{"address": "172.17.0.2", "sent": 5, "received": 0, "rtt_ms": null}]}],
            "events": [{"id": "01890a5d-ac96-774b-bcce-b302099a8057", "time": "2026-11-22T08:30:01.000Z", "host": "a",
                "kind": "container_restarted", "by": "agent", "reason": "100 % loss", "data": {"rule": "loss"}}],
            "brakes": ["3 of 5 restarts left this hour"],
        });
        let text = explain(&serde_json::from_value(details).unwrap());
        for part in [
            "a/web is not pingable, its status running.",
            "Because: no ?[2Janswer",
            "Monitored: label dockhealth.monitor=true",
            "loss above 50 %",
            "Brake: 3 of 5 restarts",
            "Rule that fired last: loss",
            "check failed: 100 % loss, threshold 50 %; 172.17.0.2 answered 0 of 5",
            "container restarted: 100 % loss",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}
