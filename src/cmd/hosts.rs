//! `dockhealth hosts`: the hosts of the fleet.

use clap::{ArgMatches, Command};
use serde_json::Value;

use super::output::{Table, UNKNOWN, note, print, print_json, time};
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::{Failure, options};
use crate::client::{HostView, Method};
use crate::model::HostName;

const FORGET: Setting = Setting::value("HOST").flag_only().called(
    "forget",
    OPTIONS,
    "Forget this host; it comes back when its agent speaks again",
);

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&FORGET, &options::JSON][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    with_settings(
        Command::new("hosts").about("List the hosts of the fleet and how their agents are"),
        &groups,
    )
}

/// Lists them.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let forget = r.opt(&FORGET, parse::typed::<HostName>);
    let json = r.switch(&options::JSON);
    r.finish(())?;
    let api = reach.api()?;
    if let Some(host) = forget {
        api.send(Method::Delete, &format!("/hosts/{host}"), None)?;
        return print(&format!("host {host}: forgotten\n"));
    }
    let answer = api.send(Method::Get, "/hosts", None)?;
    if json {
        return print_json(&api.read::<Value>(&answer)?);
    }
    show(&api.read::<Vec<HostView>>(&answer)?)
}

fn show(hosts: &[HostView]) -> Result<(), Failure> {
    if hosts.is_empty() {
        note("no host has spoken yet");
        return Ok(());
    }
    let mut table = Table::new(&[
        "HOST",
        "PRESENCE",
        "ENGINE",
        "AGENT",
        "CONTAINERS",
        "MONITORED",
        "NOT WELL",
        "CLOCK",
        "LAST SEEN",
        "NOTE",
    ]);
    for host in hosts {
        let agent = host.agent.as_ref();
        let count = |count: fn(&crate::client::AgentView) -> u64| {
            agent.map_or_else(|| UNKNOWN.to_owned(), |agent| count(agent).to_string())
        };
        let engine = agent.map(|a| match (a.engine.status.as_str(), &a.engine.version) {
            ("reachable", Some(version)) => version.clone(),
            (status, _) => status.to_owned(),
        });
        table.row([
            host.hostname.to_string(),
            host.presence.clone(),
            engine.unwrap_or_else(|| UNKNOWN.into()),
            agent.map_or_else(|| UNKNOWN.into(), |a| a.version.clone()),
            count(|a| a.containers),
            count(|a| a.monitored),
            count(|a| a.failing),
            host.clock_offset_ms.map_or_else(|| UNKNOWN.into(), clock),
            time(host.last_seen),
            notes(host),
        ]);
    }
    table.print()
}

/// How far a clock is ahead of the controller's: `+0.1 s`, `-120.0 s`.
fn clock(offset_ms: i64) -> String {
    format!("{:+.1} s", offset_ms as f64 / 1000.0)
}

fn notes(host: &HostView) -> String {
    let agent = host.agent.as_ref();
    let freeze = agent.and_then(|a| a.freeze.as_ref()).map(|freeze| match freeze.until {
        Some(until) => format!("frozen by {} until {}", freeze.by, time(until)),
        None => format!("frozen by {}", freeze.by),
    });
    let dry = agent.filter(|a| a.dry_run).map(|_| "dry run".to_owned());
    let skewed = host.clock_skewed.then(|| "its clock is off".to_owned());
    let parts: Vec<String> =
        host.conflict.clone().into_iter().chain(skewed).chain(freeze).chain(dry).collect();
    parts.join("; ")
}
