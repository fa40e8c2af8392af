//! `dockhealth hosts`: the hosts of the fleet, and the identity card of one.

use std::net::IpAddr;

use clap::{Arg, ArgMatches, Command};
use serde_json::Value;

use super::output::{Table, UNKNOWN, note, or_unknown, print, print_json, time};
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::{Failure, options};
use crate::client::{HostView, Method};
use crate::model::{HostName, clean};

const FORGET: Setting = Setting::value("HOST").flag_only().called(
    "forget",
    OPTIONS,
    "Forget this host; it comes back when its agent speaks again",
);

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&FORGET, &options::JSON][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    let one = Arg::new("host")
        .value_name("HOST")
        .help("Show this one, by name or address, and what its machine is");
    with_settings(
        Command::new("hosts").about("List the hosts of the fleet and how their agents are").arg(one),
        &groups,
    )
}

/// Lists them.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let forget = r.opt(&FORGET, parse::typed::<HostName>);
    let json = r.switch(&options::JSON);
    let one = r.positional("host", one_host);
    if forget.is_some() && !one.is_empty() {
        r.wrong(&FORGET, "name the host once: it is either shown or forgotten");
    }
    r.finish(())?;
    let api = reach.api()?;
    if let Some(host) = forget {
        api.send(Method::Delete, &format!("/hosts/{host}"), None)?;
        return print(&format!("host {host}: forgotten\n"));
    }
    let path = one.first().map_or_else(|| "/hosts".to_owned(), |host| format!("/hosts/{host}"));
    let answer = api.send(Method::Get, &path, None)?;
    if json {
        return print_json(&api.read::<Value>(&answer)?);
    }
    if one.is_empty() {
        show(&api.read::<Vec<HostView>>(&answer)?)
    } else {
        print(&card(&api.read(&answer)?))
    }
}

/// A host's name or address, as it stands in a path.
fn one_host(text: &str) -> Result<String, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    text.parse::<HostName>().map(|name| name.to_string()).map_err(|error| error.to_string())
}

/// One host and its machine, a line each.
fn card(host: &HostView) -> String {
    let mut lines = vec![("host", host.hostname.to_string()), ("presence", host.presence.clone())];
    lines.push(("last seen", time(host.last_seen)));
    let Some(agent) = &host.agent else { return written(&lines) };
    lines.push(("agent", agent.version.clone()));
    lines
        .push(("engine", format!("{} ({})", or_unknown(agent.engine.version.as_ref()), agent.engine.status)));
    lines.push((
        "containers",
        format!("{}, {} monitored, {} not well", agent.containers, agent.monitored, agent.failing),
    ));
    if let Some(card) = &agent.identity {
        let missing = card.system_uuid_missing.as_deref().map(|why| format!("- ({why})"));
        lines.push(("system UUID", or_unknown(card.system_uuid.clone().or(missing))));
        lines.push(("CPU cores", or_unknown(card.cores)));
        lines.push(("memory", or_unknown(card.memory_bytes.map(|bytes| format!("{} MiB", bytes >> 20)))));
        lines.push(("architecture", or_unknown(card.architecture.as_ref())));
        lines.push(("kernel", or_unknown(card.kernel.as_ref())));
        lines.push(("system", or_unknown(card.os.as_ref())));
        for interface in &card.interfaces {
            let addresses = interface.addresses.iter().map(ToString::to_string);
            let told: Vec<String> = interface.mac.clone().into_iter().chain(addresses).collect();
            lines.push(("interface", format!("{} {}", interface.name, told.join(" "))));
        }
    }
    for capability in &agent.capabilities {
        let word = match (capability.works, capability.name.as_str()) {
            (true, _) => "works",
            // Nobody asked for it, so nothing is wrong.
            (false, "chaos") => "off",
            (false, _) => "does not work",
        };
        lines.push((&capability.name, format!("{word}: {}", capability.detail)));
    }
    let notes = notes(host);
    if !notes.is_empty() {
        lines.push(("note", notes));
    }
    written(&lines)
}

fn written(lines: &[(&str, String)]) -> String {
    let line = |(name, text): &(&str, String)| format!("{:<13} {}\n", clean(name, 40), clean(text, 300));
    lines.iter().map(line).collect()
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
    let chaos = agent.filter(|a| a.capabilities.iter().any(|known| known.name == "chaos" && known.works));
    let chaos = chaos.map(|_| "allows chaos".to_owned());
    let skewed = host.clock_skewed.then(|| "its clock is off".to_owned());
    let parts: Vec<String> =
        host.conflict.clone().into_iter().chain(skewed).chain(freeze).chain(dry).chain(chaos).collect();
    parts.join("; ")
}
