//! `dockhealth autoscale simulate`: controllers compared on identical arrivals, with nothing run.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};
use serde::Serialize;

use super::options as o;
use crate::cmd::Failure;
use crate::cmd::output::{Table, note, print_json};
use crate::cmd::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use crate::model::{clean, parse_span};
use crate::scale::control::{ControllerKind, Micros, Record};
use crate::scale::simulate::{Dispatch, Figures, Outcome, Plan, plot, simulate};
use crate::scale::workload::Trace;

const HOST: &str = "Simulated host";

const CORES: Setting =
    Setting::value("COUNT").or("4").flag_only().called("cores", HOST, "Cores of the host, 1 to 1024");
const OTHERS: Setting = Setting::value("CORES").or("0").flag_only().called(
    "others",
    HOST,
    "Cores that others use all the time, for example 1.5",
);
const SERVICE: Setting = Setting::value("SPAN").or("13s").flag_only().called(
    "service",
    HOST,
    "What a request takes alone, 5 % more or less, where the trace does not say",
);
const SHARE: Setting = Setting::value("CORES").or("1").flag_only().called(
    "cores-per-request",
    HOST,
    "Cores that a request at work uses, 0.001 to 64; for the rest of its time it waits for something else",
);
const BOOT: Setting = Setting::value("SPAN").or("1500ms").flag_only().called(
    "boot",
    HOST,
    "What a container takes to be ready, 20 % less to 40 % more",
);
const DISPATCH: Setting = Setting::value("event|slot:SECONDS").or("event").flag_only().called(
    "dispatch",
    HOST,
    "When requests come to idle containers: at once, or only every so many seconds, as one who polls does",
);
const REFUSE: Setting = Setting::value("FROM-TO").flag_only().called(
    "refuse-starts",
    HOST,
    "Refuse every start in this span, for example 60s-120s",
);
const FORMAT: Setting = Setting::value("table|json").or("table").flag_only().called(
    "format",
    OPTIONS,
    "How the figures are printed",
);
const CSV: Setting =
    Setting::value("FILE").flag_only().called("csv", OPTIONS, "Write every decision to this file, as CSV");
const PLOT: Setting = Setting::value("FILE").flag_only().called(
    "plot",
    OPTIONS,
    "Draw containers against requests in this file, as SVG",
);
const RECORD: Setting = Setting::value("FILE").flag_only().called(
    "record",
    OPTIONS,
    "Write what each controller saw and decided to this file, for `autoscale replay`",
);

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Table,
    Json,
}

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&o::TRACE, &o::CONTROLLERS, &o::SEED, &FORMAT, &CSV, &PLOT, &RECORD][..];
    let control = &[&o::MIN, &o::MAX, &o::PERIOD, &o::SERVICE_GUESS, &o::BOOT_GUESS, &o::LOAD][..];
    let host = &[&CORES, &OTHERS, &SERVICE, &SHARE, &BOOT, &DISPATCH, &REFUSE][..];
    let about = "Compare controllers on identical arrivals in a simulated host";
    with_settings(Command::new("simulate").about(about), &[own, control, host]).after_help(
        "Waiting is from arrival until a container takes the request, sojourn from arrival to the end, makespan from the \
         beginning of all to the last end. docs/autoscale.md says what the controllers are.",
    )
}

struct Config {
    trace: Trace,
    kinds: Vec<ControllerKind>,
    /// Of the first controller; the others' differ in nothing else.
    plan: Plan,
    cores: u32,
    format: Format,
    csv: Option<PathBuf>,
    plot: Option<PathBuf>,
    record: Option<PathBuf>,
}

/// One row of the result.
#[derive(Debug, Serialize)]
struct Row<'a> {
    controller: ControllerKind,
    trace: &'a str,
    cores: u32,
    #[serde(flatten)]
    figures: Figures,
}

fn config(mut r: Resolver) -> Result<Config, Failure> {
    let seed = r.get(&o::SEED, crate::cmd::options::seed);
    let trace = r.get(&o::TRACE, |text| o::trace(text, seed));
    let kinds = o::controllers(&mut r);
    let settings = o::settings(&mut r);
    let cores = r.get(&CORES, parse::count(1..=1024));
    let others = r.get(&OTHERS, o::millicores(0.0..=1024.0));
    if others >= cores * 1000 {
        r.wrong(&OTHERS, format!("others must leave some of the host's {cores} cores to the pool"));
    }
    let span = |least, most| parse::span(parse::millis(least, most));
    let service = r.get(&SERVICE, span(1, 86_400_000));
    let plan = Plan {
        controller: kinds[0],
        settings,
        arrivals: trace.arrivals(service.into(), seed),
        millicores: cores * 1000,
        others,
        share: r.get(&SHARE, o::millicores(0.001..=64.0)),
        boot: r.get(&BOOT, span(0, 3_600_000)).into(),
        dispatch: r.get(&DISPATCH, dispatch),
        refused: r.opt(&REFUSE, refused),
        seed,
    };
    let formats = [("table", Format::Table), ("json", Format::Json)];
    let format = r.get(&FORMAT, parse::word(&formats));
    let (csv, plot, record) =
        (r.opt(&CSV, parse::path), r.opt(&PLOT, parse::path), r.opt(&RECORD, parse::path));
    Ok(r.finish(Config { trace, kinds, plan, cores, format, csv, plot, record })?)
}

fn dispatch(text: &str) -> Result<Dispatch, String> {
    let wrong = || format!("{:?} is no dispatch: give event, or slot:SECONDS as slot:12.5", clean(text, 40));
    match text.trim() {
        "event" => Ok(Dispatch::Event),
        other => {
            let seconds: f64 = other.strip_prefix("slot:").and_then(|s| s.parse().ok()).ok_or_else(wrong)?;
            let allowed = (0.1..=3_600.0).contains(&seconds);
            if allowed { Ok(Dispatch::Slot(Micros::from_seconds(seconds))) } else { Err(wrong()) }
        }
    }
}

fn refused(text: &str) -> Result<(Micros, Micros), String> {
    let wrong = || format!("{:?} is no span of time: give for example 60s-120s", clean(text, 40));
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let at = |text| parse_span(text).map(Micros::from).map_err(|_| wrong());
    let (from, to) = (at(from)?, at(to)?);
    if from < to { Ok((from, to)) } else { Err(wrong()) }
}

/// Simulates.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let config = config(Resolver::new(matches))?;
    let mut outcomes = Vec::new();
    for kind in &config.kinds {
        let plan = Plan { controller: *kind, ..config.plan.clone() };
        let outcome = simulate(&plan).map_err(|error| Failure::Usage(format!("{kind}: {error}")))?;
        outcomes.push((*kind, outcome));
    }
    if let Some(path) = &config.csv {
        write(path, &csv(&config, &outcomes))?;
    }
    if let Some(path) = &config.plot {
        let runs: Vec<_> =
            outcomes.iter().map(|(kind, outcome)| (kind.to_string(), &outcome.steps[..])).collect();
        write(path, &plot(&title(&config), &runs))?;
    }
    if let Some(path) = &config.record {
        write(path, &record(&config, &outcomes))?;
    }
    show(&config, &outcomes)
}

fn show(config: &Config, outcomes: &[(ControllerKind, Outcome)]) -> Result<(), Failure> {
    let row = |(kind, outcome): &(ControllerKind, Outcome)| Row {
        controller: *kind,
        trace: &config.trace.name,
        cores: config.cores,
        figures: outcome.figures.clone(),
    };
    if config.format == Format::Json {
        return print_json(&outcomes.iter().map(row).collect::<Vec<_>>());
    }
    let mut table = Table::new(&[
        "CONTROLLER",
        "MEAN WAIT",
        "MEAN SOJOURN",
        "P95 SOJOURN",
        "MAKESPAN",
        "CONTAINER-SECONDS",
        "PEAK",
        "REVERSALS",
    ]);
    for (kind, Outcome { figures, .. }) in outcomes {
        table.row([
            kind.to_string(),
            format!("{:.1} s", figures.mean_wait_s),
            format!("{:.1} s", figures.mean_sojourn_s),
            format!("{:.1} s", figures.p95_sojourn_s),
            format!("{:.1} s", figures.makespan_s),
            format!("{:.0}", figures.container_seconds),
            figures.peak.to_string(),
            figures.reversals.to_string(),
        ]);
    }
    note(&title(config));
    table.print()?;
    for (kind, outcome) in outcomes.iter().filter(|(_, outcome)| outcome.refused > 0) {
        note(&format!("{kind}: {} of {} starts were refused", outcome.refused, outcome.starts));
    }
    Ok(())
}

/// What was compared on what.
fn title(config: &Config) -> String {
    let Config { trace, plan, cores, .. } = config;
    let work: f64 = plan.arrivals.iter().map(|one| one.service.seconds()).sum();
    let dispatch = match plan.dispatch {
        Dispatch::Event => "dispatched at once".to_owned(),
        Dispatch::Slot(slot) => format!("dispatched every {} s", slot.seconds()),
    };
    let others = match plan.others {
        0 => String::new(),
        others => format!(", {} taken by others", f64::from(others) / 1000.0),
    };
    format!(
        "{}: {} requests of {:.1} s and {} each, {dispatch}, on a host of {cores} cores{others}; seed {}",
        trace.name,
        plan.arrivals.len(),
        work / plan.arrivals.len().max(1) as f64,
        if plan.share == 1000 {
            "one core".to_owned()
        } else {
            format!("{} cores", f64::from(plan.share) / 1000.0)
        },
        plan.seed
    )
}

fn csv(config: &Config, outcomes: &[(ControllerKind, Outcome)]) -> String {
    let mut text =
        "controller,trace,cores,second,requests,queued,arrivals,completions,ready,starting,draining,delta,\
                    target,rule,forecast_arrivals\n"
            .to_owned();
    // A trace's name is a file's, which may hold anything.
    let trace = config.trace.name.replace('"', "\"\"");
    for (kind, outcome) in outcomes {
        for step in &outcome.steps {
            let (seen, decision) = (&step.seen, &step.decision);
            let forecast = decision.forecast.map_or_else(String::new, |f| f.arrivals.to_string());
            let _ = writeln!(
                text,
                "{kind},\"{trace}\",{},{},{},{},{},{},{},{},{},{},{},{},{forecast}",
                config.cores,
                seen.at.seconds(),
                seen.requests(),
                seen.queued,
                seen.arrivals,
                seen.completions,
                seen.ready,
                seen.starting.len(),
                seen.draining,
                decision.delta,
                decision.target,
                decision.rule.word(),
            );
        }
    }
    text
}

/// One record a line, as a pool that runs writes them.
fn record(config: &Config, outcomes: &[(ControllerKind, Outcome)]) -> String {
    let mut text = String::new();
    for (kind, outcome) in outcomes {
        let settings = config.plan.told();
        let begins = Record::Begins { controller: *kind, settings };
        let steps = outcome
            .steps
            .iter()
            .map(|step| Record::Decided { seen: step.seen.clone(), decision: step.decision.clone() });
        for record in std::iter::once(begins).chain(steps) {
            text += &record.line();
        }
    }
    text
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::Failed(format!("{}: {error}", clean(&path.display().to_string(), 200)));
    fs::write(path, text).map_err(failed)
}
