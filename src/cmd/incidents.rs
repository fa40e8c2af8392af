//! `dockhealth incidents`: spans of time in which something was wrong.

use clap::{ArgMatches, Command};
use serde_json::Value;

use super::output::{Table, note, print_json, time};
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::{Failure, options};
use crate::model::Incident;

const OPEN: Setting = Setting::switch().flag_only().called("open", OPTIONS, "Only those that are not over");

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&OPEN, &options::LIMIT, &options::JSON][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    with_settings(Command::new("incidents").about("List what was or is wrong, and for how long"), &groups)
}

/// Lists them.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let limit = r.get(&options::LIMIT, parse::count(1..=1_000));
    let (open, json) = (r.switch(&OPEN), r.switch(&options::JSON));
    r.finish(())?;
    let open = if open { "&open=true" } else { "" };
    let values: Value = reach.api()?.get(&format!("/incidents?limit={limit}{open}"))?;
    if json {
        return print_json(&values);
    }
    let incidents: Vec<Incident> = serde_json::from_value(values)
        .map_err(|error| Failure::Failed(format!("the incidents cannot be read: {error}")))?;
    if incidents.is_empty() {
        note("no incidents");
        return Ok(());
    }
    let mut table = Table::new(&["OPENED", "CLOSED", "HOST", "WHAT", "EVENTS", "REASON"]);
    for incident in incidents {
        let container = incident.container.map(|container| format!("container {container}"));
        let network = incident.network.map(|network| format!("network {network}"));
        let kind = incident.kind.as_str();
        table.row([
            time(incident.opened_at),
            incident.closed_at.map_or_else(|| "open".into(), time),
            incident.host.to_string(),
            container.or(network).unwrap_or_else(|| kind.to_owned()),
            incident.events.to_string(),
            incident.reason,
        ]);
    }
    table.print()
}
