//! `dockhealth cpu-collect`: the sensors by hand. What this host's containers use, now, over a span, recorded, compared,
//! or over HTTP.

mod columns;
mod compare;
mod listen;
mod measure;
mod page;
mod processes;
mod receive;
mod select;
mod summary;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Failure;
use super::runtime::{block_on, until_told_to_stop};
use super::settings::{OPTIONS, Resolver, Setting, parse, table as t, with_settings};
use crate::docker::{Engine, EngineAddress};
use crate::metrics::Overwrite;
use crate::model::{HostName, NamePattern};
use columns::{Columns, Sort};
use compare::Comparison;
use measure::{Measuring, Plan};
use page::{FORMATS, Format};
use processes::Listing;
use select::{LabelFilter, Selection, Watch};

const ONCE: Setting =
    Setting::switch().flag_only().called("once", OPTIONS, "Measure for one --interval, print and end");
const INTERVAL: Setting = Setting::value("SPAN").flag_only().called(
    "interval",
    OPTIONS,
    "Time between two samples, 100ms to 1d [default: 10s; 1s with --once, --for or --listen]",
);
const SPAN: Setting = Setting::value("SPAN").flag_only().called(
    "for",
    OPTIONS,
    "Measure so long, then print mean, maximum and percentiles; Ctrl-C prints those so far",
);
const PER_MINUTE: Setting = Setting::switch().flag_only().called(
    "per-minute",
    OPTIONS,
    "Print the means of each minute instead of each sample",
);
const FORMAT: Setting = Setting::value("table|json|csv|prom").or("table").flag_only().called(
    "format",
    OPTIONS,
    "How they are printed; prom is Prometheus' text, of one sample or of the means over a span",
);
const COLUMNS: Setting = Setting::value("WHAT,...").flag_only().called(
    "columns",
    OPTIONS,
    "Which metrics: cpu, memory, net, block, pids, all, or metrics by name [default: cpu,memory; all for prom, --output and --listen]",
);
const SORT: Setting = Setting::value("WHAT").flag_only().called(
    "sort",
    OPTIONS,
    "By name, or by the most cpu, memory, net, block, pids or a metric by name [default: name]",
);
const PROJECT: Setting =
    Setting::value("NAME").flag_only().called("project", OPTIONS, "Only those of this compose project");
const PROCESSES: Setting = Setting::switch().flag_only().called(
    "processes",
    OPTIONS,
    "List their processes: program, CPU, resident memory, threads",
);
const LIMIT: Setting = Setting::value("COUNT").or("10").flag_only().called(
    "limit",
    OPTIONS,
    "Processes of each container at most, 1 to 1000",
);
const OUTPUT: Setting = Setting::value("FILE").flag_only().called(
    "output",
    OPTIONS,
    "Record every sample in this file as well, JSON lines",
);
const FORCE: Setting =
    Setting::switch().flag_only().called("force", OPTIONS, "Let --output replace a file that is there");
const LISTEN: Setting = Setting::value("ADDRESS").flag_only().called(
    "listen",
    OPTIONS,
    "Tell over HTTP instead, at for example 127.0.0.1:8931: GET / since the last poll, GET /metrics the newest",
);

/// What is given here goes with nothing that measures.
const MEASURES: [&Setting; 10] =
    [&ONCE, &INTERVAL, &SPAN, &PER_MINUTE, &PROJECT, &PROCESSES, &LIMIT, &OUTPUT, &FORCE, &LISTEN];
const LABEL: &str = "label";
const COMPARE: &str = "compare";

const HELP: &str = "\
Without --once or --for it prints a page each --interval until Ctrl-C. Two busy cores are 200 %. A page of JSON is one \
array on a line.

With --listen, GET /?poller=NAME answers with mean and maximum since that poller polled last; a first poll is answered \
with the newest sample, and polls without a name count as those of one poller. Of processes only the programs' names \
are told, since arguments may hold secrets.

Examples:
  dockhealth cpu-collect --once --sort memory
  dockhealth cpu-collect --for 5m --project shop --columns cpu,memory,net,pids
  dockhealth cpu-collect --for 1m --format prom | sponge /var/lib/node_exporter/dockhealth.prom
  dockhealth cpu-collect --for 10m --output before.jsonl
  dockhealth cpu-collect --compare before.jsonl after.jsonl";

/// Its arguments.
pub(super) fn command() -> Command {
    let names = Arg::new("container")
        .value_name("CONTAINER")
        .action(ArgAction::Append)
        .num_args(0..)
        .help("Only these, `*` and `?` allowed; without a name, all that run");
    // Values of labels may hold commas, which part the values of a list.
    let label = Arg::new(LABEL).long(LABEL).value_name("KEY[=VALUE]").action(ArgAction::Append);
    let label = label.help("Only those that have this label; each, where several are given");
    let compare = Arg::new(COMPARE).long(COMPARE).value_names(["A", "B"]).num_args(2);
    let compare = compare.help("Show two recordings side by side instead; measure nothing");
    let own = [&ONCE, &INTERVAL, &SPAN, &PER_MINUTE, &FORMAT, &COLUMNS, &SORT, &PROJECT, &PROCESSES, &LIMIT];
    let files = [&OUTPUT, &FORCE, &LISTEN];
    let about =
        "Measure what this host's containers use, from cgroup files: once, over a span, or for others";
    with_settings(
        Command::new("cpu-collect").about(about).arg(names),
        &[&own, &files, &[&t::HOSTNAME, &t::DOCKER_HOST, &t::ALLOWED_HOST], t::INSECURE],
    )
    .arg(label)
    .arg(compare)
    .after_help(HELP)
}

/// What is to be done.
enum Task {
    Compare(Comparison),
    Measure(Box<Measuring>, Subjects),
    List(Listing, Subjects),
}

/// Whose containers, and which.
struct Subjects {
    engine: EngineAddress,
    selection: Selection,
}

fn task(mut r: Resolver) -> Result<Task, Failure> {
    let names = r.positional("container", parse::typed::<NamePattern>);
    let files = r.positional(COMPARE, parse::path);
    let format = r.get(&FORMAT, parse::word(&FORMATS));
    let columns = r.opt(&COLUMNS, Columns::parse);
    let sort = r.opt(&SORT, Sort::parse);
    let labels = r.positional(LABEL, parse::typed::<LabelFilter>);
    if let Ok([a, b]) = <[PathBuf; 2]>::try_from(files) {
        for setting in MEASURES {
            if r.is_given(setting) {
                r.wrong(setting, "does not go together with --compare, which measures nothing");
            }
        }
        if format == Format::Prom {
            r.wrong(&FORMAT, "a comparison is a table, json or csv");
        }
        let few = || Columns::parse("cpu,memory_bytes,net").expect("these are columns");
        let (columns, sort) = (columns.unwrap_or_else(few), sort.unwrap_or(Sort::Name));
        if sort.metrics().iter().any(|metric| !columns.metrics().contains(metric)) {
            r.wrong(&SORT, "what two recordings are sorted by must be among their --columns");
        }
        return Ok(r.finish(Task::Compare(Comparison { files: [a, b], names, columns, sort, format }))?);
    }
    let project = r.opt(&PROJECT, |text| Ok::<_, String>(text.to_owned()));
    let engine = r.get(&t::DOCKER_HOST, parse::typed::<EngineAddress>);
    let subjects = Subjects { engine, selection: Selection { names, labels, project } };
    if r.switch(&PROCESSES) {
        let listing = listing(&mut r, format, sort);
        return Ok(r.finish(Task::List(listing, subjects))?);
    }
    if r.is_given(&LIMIT) {
        r.wrong(&LIMIT, "goes together with --processes only");
    }
    let listen = listening(&mut r);
    let plan = plan(&mut r, listen.is_some());
    let one_page = plan.once || plan.span.is_some() && !plan.per_minute;
    if format == Format::Prom && !one_page && listen.is_none() {
        r.wrong(
            &FORMAT,
            "prom is a single page: give --once or --for without --per-minute, or --listen to be scraped",
        );
    }
    let overwrite = if r.switch(&FORCE) { Overwrite::Replace } else { Overwrite::Refuse };
    let output = r.opt(&OUTPUT, parse::path);
    if overwrite == Overwrite::Replace && output.is_none() {
        r.wrong(&FORCE, "goes together with --output only");
    }
    let measuring = Measuring {
        plan,
        format,
        columns,
        sort: sort.unwrap_or(Sort::Name),
        output: output.map(|path| (path, overwrite)),
        listen,
        allowed_hosts: r.list(&t::ALLOWED_HOST, parse::allowed_host),
        hostname: r.opt(&t::HOSTNAME, parse::typed::<HostName>),
    };
    Ok(r.finish(Task::Measure(Box::new(measuring), subjects))?)
}

/// The address to listen on, which must be on loopback unless it was agreed to otherwise.
fn listening(r: &mut Resolver) -> Option<SocketAddr> {
    let address = r.opt(&LISTEN, parse::listen);
    let agreed = r.switch(&t::INSECURE_HTTP);
    if address.is_some_and(|address| !address.ip().to_canonical().is_loopback()) && !agreed {
        r.wrong(
            &LISTEN,
            "beyond this machine everybody could read it: listen on 127.0.0.1, or say --insecure-http where the network itself is trusted",
        );
    }
    address
}

/// When samples are taken, and for how long.
fn plan(r: &mut Resolver, listens: bool) -> Plan {
    let once = r.switch(&ONCE);
    let span = r.opt(&SPAN, parse::span(parse::millis(100, 30 * 86_400_000)));
    let given = r.opt(&INTERVAL, interval);
    let often = once || span.is_some() || listens;
    let usual = Duration::from_secs(if often { 1 } else { 10 });
    let interval = given.unwrap_or(span.map_or(usual, |span| usual.min(span)));
    let per_minute = r.switch(&PER_MINUTE);
    if once {
        for setting in [&SPAN, &PER_MINUTE, &LISTEN] {
            if r.is_given(setting) {
                r.wrong(setting, "does not go together with --once");
            }
        }
    }
    if let Some(span) = span {
        if given.is_some_and(|interval| interval > span) {
            r.wrong(&INTERVAL, "must not be longer than --for");
        }
        if per_minute && span < MINUTE {
            r.wrong(&PER_MINUTE, "needs a --for of a minute or more");
        }
    }
    if per_minute && interval > MINUTE {
        r.wrong(&INTERVAL, "must not be longer than the minute that --per-minute asks for");
    }
    if per_minute && listens {
        r.wrong(&PER_MINUTE, "does not go together with --listen, which prints nothing");
    }
    Plan { once, interval, span, per_minute }
}

const MINUTE: Duration = Duration::from_mins(1);

fn interval(text: &str) -> Result<Duration, String> {
    parse::span(parse::millis(100, 86_400_000))(text)
}

/// How processes are to be listed.
fn listing(r: &mut Resolver, format: Format, sort: Option<Sort>) -> Listing {
    for setting in [&PER_MINUTE, &COLUMNS, &OUTPUT, &FORCE, &LISTEN] {
        if r.is_given(setting) {
            r.wrong(setting, "does not go together with --processes");
        }
    }
    if format == Format::Prom {
        r.wrong(&FORMAT, "processes are a table, json or csv: each would be a series of its own");
    }
    let by_use = [Sort::parse("cpu"), Sort::parse("memory")].map(|sort| sort.expect("these are sorts"));
    let sort = sort.unwrap_or(Sort::Name);
    if sort != Sort::Name && !by_use.contains(&sort) {
        r.wrong(&SORT, "with --processes, containers are sorted by name, cpu or memory");
    }
    let (once, span) = (r.switch(&ONCE), r.opt(&SPAN, interval));
    let given = r.opt(&INTERVAL, interval);
    if span.is_some() && (once || given.is_some()) {
        r.wrong(&SPAN, "with --processes, give one of --once, --for and --interval");
    }
    let usual = Duration::from_secs(if once { 1 } else { 10 });
    let limit = r.get(&LIMIT, parse::count(1..=1000)) as usize;
    Listing { span: span.or(given).unwrap_or(usual), again: !once && span.is_none(), limit, sort, format }
}

/// Does it.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    match task(Resolver::new(matches))? {
        Task::Compare(comparison) => compare::compare(&comparison),
        Task::List(listing, subjects) => block_on(async {
            if !subjects.engine.is_local() {
                let why = "the engine is on another machine, whose processes cannot be read";
                return Err(Failure::Failed(why.into()));
            }
            let stop = until_told_to_stop()?;
            let mut watch = watch(&subjects.engine, subjects.selection).await?;
            processes::list(&listing, &mut watch, &stop).await
        }),
        Task::Measure(measuring, subjects) => block_on(async {
            let stop = until_told_to_stop()?;
            let watch = watch(&subjects.engine, subjects.selection).await?;
            measuring.run(&engine(&subjects.engine)?, watch, &stop).await
        }),
    }
}

fn engine(address: &EngineAddress) -> Result<Engine, Failure> {
    Engine::connect(address).map_err(|error| Failure::Usage(error.to_string()))
}

async fn watch(address: &EngineAddress, selection: Selection) -> Result<Watch<Engine>, Failure> {
    Watch::start(engine(address)?, selection).await
}

#[cfg(test)]
#[path = "cpu_collect/tests.rs"]
mod tests;
