//! `dockhealth autoscale load`: plays requests against a pool, or any server of tasks.

use std::time::Duration;

use clap::{ArgMatches, Command};

use super::options as o;
use crate::cmd::Failure;
use crate::cmd::options::JSON;
use crate::cmd::output::{Table, or_unknown, print_json};
use crate::cmd::runtime::{block_on, until_told_to_stop};
use crate::cmd::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use crate::metrics::raise_file_limit;
use crate::scale::control::Micros;
use crate::scale::load::{LoadFigures, LoadPlan, Work, play};
use crate::scale::workload::{Burst, Trace};

const fn option(setting: Setting, name: &'static str, help: &'static str) -> Setting {
    setting.flag_only().called(name, OPTIONS, help)
}

const TARGET: Setting = option(
    Setting::value("URL"),
    "target",
    "The server, http://host:port; with a path, exactly that is asked for, whatever a request is to take",
);
const STATIC: Setting = option(
    Setting::value("COUNT"),
    "static",
    "Send so many requests at the beginning; without --trace, only these",
);
const WORK: Setting = option(
    Setting::value("compute|wait").or("compute"),
    "work",
    "What a request has the server do for its time, at its /start_task",
);
const SERVICE: Setting = option(
    Setting::value("SPAN").or("13s"),
    "service",
    "That time, 5 % more or less, where the trace does not say",
);
const SCALE: Setting = option(
    Setting::value("NUMBER").or("1"),
    "scale-time",
    "Play all of it so many times faster, 0.01 to 10000",
);
const PATIENCE: Setting = option(Setting::value("SPAN").or("10m"), "timeout", "How long an answer may take");

const HELP: &str = "\
Waits are those that `autoscale run` tells of in its answers; a sojourn is from sending to the end of the answer, the \
makespan from the first request to the end of the last answer. Ends with 1 when requests were lost or failed.

Examples:
  dockhealth autoscale load --target http://127.0.0.1:8080 --trace p4 --scale-time 10
  dockhealth autoscale load --target http://127.0.0.1:8080 --trace random --seed 7 --work wait --service 2s
  dockhealth autoscale load --target 'http://127.0.0.1:8080/start_task?n=35' --static 100";

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&TARGET, &o::TRACE, &STATIC, &WORK, &SERVICE, &SCALE, &PATIENCE, &o::SEED, &JSON][..];
    let about = "Play requests against a pool or any server, and report waiting, sojourn and makespan";
    with_settings(Command::new("load").about(about), &[own]).after_help(HELP)
}

fn plan(mut r: Resolver) -> Result<(LoadPlan, bool), Failure> {
    let span = |least, most| parse::span(parse::millis(least, most));
    if !r.is_given(&TARGET) {
        r.wrong(&TARGET, "say which server: give for example http://127.0.0.1:8080");
    }
    let target: http::Uri = r.opt(&TARGET, target).unwrap_or_default();
    let seed = r.get(&o::SEED, crate::cmd::options::seed);
    let extra = r.opt(&STATIC, parse::count(1..=100_000));
    let traced = r.is_given(&o::TRACE) || extra.is_none();
    let mut trace = r.get(&o::TRACE, |text| o::trace(text, seed));
    if !traced {
        trace = Trace { name: "static".to_owned(), bursts: Vec::new() };
    }
    if let Some(requests) = extra {
        trace.bursts.insert(0, Burst { at: Micros::ZERO, requests, service: None });
    }
    let named = target.path_and_query().is_some_and(|path| path.as_str() != "/");
    let work = r.get(&WORK, parse::word(&[("compute", Work::Compute), ("wait", Work::Wait)]));
    let service: Duration = r.get(&SERVICE, span(1, 600_000));
    let plan = LoadPlan {
        arrivals: trace.arrivals(service.into(), seed),
        trace: trace.name,
        target,
        work: if named { Work::AsNamed } else { work },
        scale_time: r.get(&SCALE, parse::number(0.01..=10_000.0)),
        patience: r.get(&PATIENCE, span(1, 86_400_000)),
    };
    let json = r.switch(&JSON);
    Ok(r.finish((plan, json))?)
}

/// A server that speaks plain HTTP.
fn target(text: &str) -> Result<http::Uri, String> {
    let wrong = "it is no URL of plain HTTP: give for example http://127.0.0.1:8080";
    let uri: http::Uri = text.trim().parse().map_err(|_| wrong)?;
    let plain =
        uri.scheme_str() == Some("http") && uri.authority().is_some_and(|a| !a.as_str().contains('@'));
    if plain { Ok(uri) } else { Err(wrong.to_owned()) }
}

/// Plays it; Ctrl-C reports what came of it so far.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let (plan, json) = plan(Resolver::new(matches))?;
    raise_file_limit();
    let figures = block_on(async {
        let stop = until_told_to_stop()?;
        Ok(play(plan, &stop).await)
    })?;
    if json {
        print_json(&figures)?;
    } else {
        table(&figures)?;
    }
    match figures.lost + figures.failed {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("{count} requests were not answered well"))),
    }
}

fn table(of: &LoadFigures) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "TRACE",
        "REQUESTS",
        "ANSWERED",
        "REFUSED",
        "FAILED",
        "LOST",
        "WAIT MEAN",
        "SOJOURN MEAN",
        "SOJOURN P95",
        "MAKESPAN",
    ]);
    let seconds = |value: Option<f64>| or_unknown(value.map(|value| format!("{value:.2} s")));
    let counts = [of.requests, of.answered, of.refused, of.failed, of.lost].map(|count| count.to_string());
    let times = [of.mean_wait_s, of.mean_sojourn_s, of.p95_sojourn_s, of.makespan_s].map(seconds);
    table.row([of.trace.clone()].into_iter().chain(counts).chain(times));
    table.print()
}
