//! `dockhealth net`: who talks to whom, how fast, with what loss.

mod rules;
mod show;

use clap::{ArgMatches, Command};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::output::print_json;
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::target::{self, Target};
use super::watch::{Page, Pages, WATCH, wipe};
use super::{Failure, options};
use crate::client::{Api, NetworkHostView, NetworkMapView, NetworkPairView};
use crate::model::{HostName, format_span};

const WINDOW: Setting = Setting::value("SPAN").or("1m").flag_only().called(
    "window",
    OPTIONS,
    "The span until now that is summed up, 10s to 1h",
);
const LIMIT: Setting =
    Setting::value("COUNT").or("50").flag_only().called("limit", OPTIONS, "At most so many rows, 1 to 50000");
const BY: Setting = Setting::value("WHAT").or("container").flag_only().called(
    "by",
    OPTIONS,
    "What one row's end is: container, project or host",
);

const FOLDS: [(&str, &str); 3] = [("container", "container"), ("project", "project"), ("host", "host")];

/// Edges that are asked for where all must be looked at.
const ALL_EDGES: u32 = 50_000;

/// Its arguments.
pub(super) fn command() -> Command {
    let with = |command: Command, own: &'static [&'static Setting]| {
        let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
        with_settings(command, &groups)
    };
    let about = "Show who talks to whom, how much, how fast and with what loss, and set what is measured";
    Command::new("net").about(about).subcommand_required(true).arg_required_else_help(true).subcommands([
        with(
            Command::new("top").about("List the containers with the most traffic"),
            &[&BY, &WINDOW, &options::HOST, &LIMIT, &WATCH, &options::JSON],
        ),
        with(
            Command::new("map").about("List who sends what to whom, each direction by itself").after_help(
                "LATENCY is one way: measured within a host, between hosts that share a clock the mean, else half of \
                 TCP's round trip, marked ~.\nLOSS compares what one container sent with what the other received.",
            ),
            &[&BY, &WINDOW, &options::HOST, &LIMIT, &WATCH, &options::JSON],
        ),
        with(
            Command::new("drops").about("List the packets that the kernel dropped, by reason"),
            &[&WINDOW, &options::HOST, &LIMIT, &WATCH, &options::JSON],
        ),
        with(
            Command::new("latency")
                .about("Show how long packets from and to a container take, and how that is spread")
                .arg(target::one()),
            &[&WINDOW, &WATCH, &options::JSON],
        ),
        with(
            Command::new("hosts").about("List what each host measures, what it lacks and what would give it"),
            &[&options::JSON],
        ),
        rules::command(),
    ])
}

/// Does what the inner subcommand says.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let (name, matches) = matches.subcommand().expect("clap requires one");
    match name {
        "top" => map(matches, View::Top),
        "map" => map(matches, View::Map),
        "drops" => map(matches, View::Drops),
        "latency" => latency(matches),
        "hosts" => hosts(matches),
        _ => rules::run(matches),
    }
}

/// What is shown of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    Top,
    Map,
    Drops,
}

fn map(matches: &ArgMatches, view: View) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let window = r.get(&WINDOW, parse::span(parse::millis(10_000, 3_600_000)));
    let host = r.opt(&options::HOST, parse::typed::<HostName>);
    let limit = r.get(&LIMIT, parse::count(1..=ALL_EDGES));
    let by = if view == View::Drops { "container" } else { r.get(&BY, parse::word(&FOLDS)) };
    let pages = Pages { watch: r.switch(&WATCH), json: r.switch(&options::JSON) };
    r.finish(())?;
    let host = host.map(|host| format!("&host={host}")).unwrap_or_default();
    // Rows of the other two are made of all edges.
    let edges = if view == View::Map { limit } else { ALL_EDGES };
    let path = format!("/network/map?window={}&by={by}&limit={edges}{host}", format_span(window));
    let (api, rows) = (reach.api()?, usize::try_from(limit).unwrap_or(usize::MAX));
    pages.each(|page| {
        let values: Value = api.get(&path)?;
        let Page::Table { clear } = page else { return print_json(&values) };
        let map: NetworkMapView = read(values)?;
        wipe(clear)?;
        match view {
            View::Top => show::top(&map, rows),
            View::Map => show::map(&map),
            View::Drops => show::drops(&map, rows),
        }
    })
}

fn latency(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let window = r.get(&WINDOW, parse::span(parse::millis(10_000, 3_600_000)));
    let containers = r.positional("container", parse::typed::<Target>);
    let pages = Pages { watch: r.switch(&WATCH), json: r.switch(&options::JSON) };
    let containers = r.finish(containers)?;
    let api = reach.api()?;
    let key = target::locate(&api, containers.first().expect("clap requires it"))?;
    let (id, window) = (format!("{}/{}", key.host, key.name), format_span(window));
    let map_path = format!("/network/map?window={window}&host={}&limit={ALL_EDGES}", key.host);
    let pair = |api: &Api, end: &str| api.get::<Value>(&format!("/network/pair?{end}={id}&window={window}"));
    pages.each(|page| {
        let (from, to) = (pair(&api, "from")?, pair(&api, "to")?);
        let Page::Table { clear } = page else {
            return print_json(&serde_json::json!({"from": from, "to": to}));
        };
        let map: NetworkMapView = api.get(&map_path)?;
        wipe(clear)?;
        show::latencies(&map, &id)?;
        show::spread(&format!("from {id}"), &read::<NetworkPairView>(from)?)?;
        show::spread(&format!("to {id}"), &read::<NetworkPairView>(to)?)
    })
}

fn hosts(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let json = r.switch(&options::JSON);
    r.finish(())?;
    let values: Value = reach.api()?.get("/network/hosts")?;
    if json {
        return print_json(&values);
    }
    show::hosts(&read::<Vec<NetworkHostView>>(values)?)
}

fn read<T: DeserializeOwned>(values: Value) -> Result<T, Failure> {
    serde_json::from_value(values)
        .map_err(|error| Failure::Failed(format!("the answer cannot be read: {error}")))
}
