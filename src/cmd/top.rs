//! `dockhealth top`: the containers that use the most, and the processes of one.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{ArgMatches, Command};
use serde_json::Value;

use super::output::{Table, note, or_unknown, print_json};
use super::quantity::quantity;
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::target::{self, Target};
use super::watch::{Page, Pages, WATCH, wipe};
use super::{Failure, options};
use crate::client::{Api, TopRowView, TopView};
use crate::model::{HostName, ProcessList, format_span};

const BY: Setting = Setting::value("WHAT").or("cpu").flag_only().called(
    "by",
    OPTIONS,
    "What to rank by: cpu, memory, net, loss, rtt or block",
);
const WINDOW: Setting = Setting::value("SPAN").or("10m").flag_only().called(
    "window",
    OPTIONS,
    "The span until now whose mean counts, 10s to 7d",
);
const LIMIT: Setting =
    Setting::value("COUNT").or("20").flag_only().called("limit", OPTIONS, "At most so many, 1 to 1000");
const PROCESSES: Setting = Setting::value("[HOST/]CONTAINER").flag_only().called(
    "processes",
    OPTIONS,
    "List the processes of this container instead, the busiest first",
);

/// What `--by` takes, the series that a row's mean has the unit of, and the heading over it.
const RANKS: [(&str, Rank); 6] = [
    ("cpu", Rank { word: "cpu", unit: "cpu_percent", heading: "MEAN CPU" }),
    ("memory", Rank { word: "memory", unit: "memory_bytes", heading: "MEAN MEMORY" }),
    ("net", Rank { word: "net", unit: "net_rx_bytes_per_second", heading: "MEAN NET" }),
    ("loss", Rank { word: "loss", unit: "loss_percent", heading: "MEAN LOSS" }),
    ("rtt", Rank { word: "rtt", unit: "rtt_ms", heading: "MEAN RTT" }),
    ("block", Rank { word: "block", unit: "block_read_bytes_per_second", heading: "MEAN BLOCK" }),
];

#[derive(Debug, Clone, Copy)]
struct Rank {
    word: &'static str,
    unit: &'static str,
    heading: &'static str,
}

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&BY, &WINDOW, &options::HOST, &LIMIT, &PROCESSES, &WATCH, &options::JSON][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    with_settings(Command::new("top").about("List the containers that use the most"), &groups).after_help(
        "The first figure is the mean over the window and ranks; the others are of the newest sample. Two busy \
         cores are 200 %.\nWith --watch and --json each page is one line.\nOf processes only the programs' names are \
         told, since arguments may hold secrets; CPU is that of one second.",
    )
}

/// Lists the processes of one container.
fn of_one(api: &Api, container: &Target, limit: u32, pages: Pages) -> Result<(), Failure> {
    let key = target::locate(api, container)?;
    let path = format!("{}/processes?limit={limit}", target::path(&key));
    pages.each(|page| {
        let list: ProcessList = api.get(&path)?;
        let Page::Table { clear } = page else { return print_json(&list) };
        let mut table = Table::new(&["PID", "COMMAND", "CPU", "MEMORY", "THREADS"]);
        for process in &list.processes {
            table.row([
                process.pid.to_string(),
                process.command.clone(),
                quantity("cpu_percent", process.cpu_percent),
                quantity("memory_bytes", process.memory_bytes as f64),
                process.threads.to_string(),
            ]);
        }
        wipe(clear)?;
        table.print()?;
        left_out(list.left_out);
        Ok(())
    })
}

/// Lists them.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let rank = r.get(&BY, parse::word(&RANKS));
    let window = r.get(&WINDOW, parse::span(parse::millis(10_000, 7 * 86_400_000)));
    let host = r.opt(&options::HOST, parse::typed::<HostName>);
    let limit = r.get(&LIMIT, parse::count(1..=1_000));
    let pages = Pages { watch: r.switch(&WATCH), json: r.switch(&options::JSON) };
    let container = r.opt(&PROCESSES, parse::typed::<Target>);
    if container.is_some() {
        for setting in [&BY, &WINDOW, &options::HOST] {
            if r.is_given(setting) {
                r.wrong(setting, "does not go together with --processes, which lists those of one container");
            }
        }
    }
    r.finish(())?;
    if let Some(container) = container {
        return of_one(&reach.api()?, &container, limit, pages);
    }
    let host = host.map(|host| format!("&host={host}")).unwrap_or_default();
    let path = format!("/top?by={}&window={}&limit={limit}{host}", rank.word, format_span(window));
    let api = reach.api()?;
    pages.each(|page| one_page(&api, &path, rank, page))
}

fn one_page(api: &Api, path: &str, rank: Rank, page: Page) -> Result<(), Failure> {
    let values: Value = api.get(path)?;
    let Page::Table { clear } = page else { return print_json(&values) };
    let top: TopView = serde_json::from_value(values)
        .map_err(|error| Failure::Failed(format!("the list cannot be read: {error}")))?;
    wipe(clear)?;
    if top.containers.is_empty() {
        let span = format_span(Duration::from_secs(top.window_seconds));
        note(&format!("no container has such samples of the last {span}"));
        return Ok(());
    }
    show(&top, rank)?;
    left_out(top.left_out);
    Ok(())
}

fn left_out(more: u64) {
    if more > 0 {
        note(&format!("{more} more; --limit shows more of them"));
    }
}

fn show(top: &TopView, rank: Rank) -> Result<(), Failure> {
    let headings = [
        "HOST",
        "NAME",
        rank.heading,
        "CPU",
        "MEMORY",
        "OF LIMIT",
        "NET IN",
        "NET OUT",
        "LOSS",
        "RTT",
        "PIDS",
    ];
    let mut table = Table::new(&headings);
    for row in &top.containers {
        let mut cells = vec![row.hostname.to_string(), row.name.to_string(), quantity(rank.unit, row.mean)];
        cells.extend(latest(row));
        table.row(cells);
    }
    table.print()
}

/// What its newest sample says, in the order of the headings.
fn latest(row: &TopRowView) -> impl Iterator<Item = String> {
    let shown = [
        "cpu_percent",
        "memory_bytes",
        "memory_percent",
        "net_rx_bytes_per_second",
        "net_tx_bytes_per_second",
        "loss_percent",
        "rtt_ms",
        "pids",
    ];
    let value = |name: &str, latest: &BTreeMap<String, f64>| latest.get(name).copied();
    shown.into_iter().map(move |name| {
        let value = row.latest.as_ref().and_then(|latest| value(name, latest));
        or_unknown(value.map(|value| quantity(name, value)))
    })
}
