//! `dockhealth placement`: which hosts have room for a container.

use clap::{ArgMatches, Command};
use serde_json::Value;

use super::output::{Table, UNKNOWN, note, print_json};
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::{Failure, options};
use crate::client::{PlaceView, PlacementView};
use crate::model::{clean, format_size};

const CPU: Setting =
    Setting::value("CORES").or("0").flag_only().called("cpu", OPTIONS, "Cores it needs, for example 0.5");
const MEMORY: Setting = Setting::value("SIZE").or("0").flag_only().called(
    "memory",
    OPTIONS,
    "Memory it needs, for example 512MiB",
);

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&CPU, &MEMORY, &options::JSON][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    let about = "Rank the hosts that have room for a container";
    with_settings(Command::new("placement").about(about), &groups).after_help(
        "Judged by the last ten minutes: the mean CPU time and the most memory in use. Exit code 1: no host has room.",
    )
}

/// Ranks them.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let cpu = r.get(&CPU, |text| {
        let cores = text.trim().parse().ok().filter(|cores: &f64| (0.0..=4096.0).contains(cores));
        cores.ok_or_else(|| format!("{:?} is no number of cores: give from 0 to 4096", clean(text, 40)))
    });
    let memory = r.get(&MEMORY, parse::size);
    let json = r.switch(&options::JSON);
    r.finish(())?;
    let values: Value = reach.api()?.get(&format!("/placement?cpu={cpu}&memory={memory}"))?;
    let placement: PlacementView = serde_json::from_value(values.clone())
        .map_err(|error| Failure::Failed(format!("the answer cannot be read: {error}")))?;
    if json {
        print_json(&values)?;
    } else {
        show(&placement)?;
    }
    if placement.hosts.is_empty() {
        return Err(Failure::Failed("no host has room for it".into()));
    }
    Ok(())
}

fn show(placement: &PlacementView) -> Result<(), Failure> {
    let PlacementView { hosts, full, left_out } = placement;
    if hosts.is_empty() && full.is_empty() && left_out.is_empty() {
        note("no host has spoken yet");
        return Ok(());
    }
    let mut table = Table::new(&["RANK", "HOST", "FREE CPU", "FREE MEMORY", "HEADROOM", "REASON"]);
    let mut row = |rank: String, place: &PlaceView| {
        table.row([
            rank,
            place.hostname.to_string(),
            format!("{:.1} of {}", place.cores_free, place.cores),
            format!("{} of {}", format_size(place.memory_free_bytes), format_size(place.memory_bytes)),
            format!("{:.0} %", place.headroom_percent),
            place.reason.clone(),
        ]);
    };
    for (index, place) in hosts.iter().enumerate() {
        row((index + 1).to_string(), place);
    }
    for place in full {
        row("full".into(), place);
    }
    for host in left_out {
        let unknown = || UNKNOWN.to_owned();
        table.row([
            "left out".into(),
            host.hostname.to_string(),
            unknown(),
            unknown(),
            unknown(),
            host.reason.clone(),
        ]);
    }
    table.print()
}
