//! `dockhealth metrics`: what one container or host used over a span.

use clap::{Arg, ArgMatches, Command};
use serde_json::Value;

use super::output::{Table, note, or_unknown, print, print_json, time};
use super::quantity::{mean, quantity, sparkline};
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::target::{self, Target};
use super::{Failure, options};
use crate::client::{Api, HostView, Method, SeriesView};
use crate::model::{ContainerKey, HostName, Timestamp, clean, format_span};

const NAMES: Setting = Setting::value("NAME,...").flag_only().called(
    "names",
    OPTIONS,
    "Only these, for example cpu_percent,memory_bytes",
);
const SPAN: Setting = Setting::value("SPAN").or("1h").flag_only().called(
    "span",
    OPTIONS,
    "How long a span, until --to, or from --from",
);
const FROM: Setting = Setting::value("TIME").flag_only().called(
    "from",
    OPTIONS,
    "From when: unix seconds or RFC 3339, for example 2026-11-22T08:30:00Z",
);
const TO: Setting =
    Setting::value("TIME").flag_only().called("to", OPTIONS, "Until when; now when neither is given");
const STEP: Setting = Setting::value("SPAN").flag_only().called(
    "step",
    OPTIONS,
    "Between two points [default: for at most 300 points]",
);
const STAT: Setting = Setting::value("mean|max").or("mean").flag_only().called(
    "stat",
    OPTIONS,
    "What a point is of its samples",
);
const CSV: Setting = Setting::switch().flag_only().called("csv", OPTIONS, "Print CSV, a row a point");

/// Blocks of a line that shows a course.
const WIDTH: usize = 40;

/// Its arguments.
pub(super) fn command() -> Command {
    let subject = Arg::new("subject").value_name("[HOST/]CONTAINER|HOST").required(true).help(
        "The container, whose host may be left out when only one has that name; or a host, by its name alone",
    );
    let own = &[&NAMES, &SPAN, &FROM, &TO, &STEP, &STAT, &options::JSON, &CSV][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    let about = "Show what a container or a host used over a span: CPU, memory, network, disks, loss";
    with_settings(Command::new("metrics").about(about).arg(subject), &groups)
}

/// Shows it.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let subjects = r.positional("subject", parse::typed::<Target>);
    let names = r.opt(&NAMES, |text| Ok::<_, String>(text.replace(' ', "")));
    let span = r.get(&SPAN, parse::span(parse::millis(1_000, 366 * 86_400_000)));
    let (from, to) = (r.opt(&FROM, moment), r.opt(&TO, moment));
    let step = r.opt(&STEP, parse::span(parse::millis(1_000, 7 * 86_400_000)));
    let stat = r.get(&STAT, parse::word(&[("mean", "mean"), ("max", "max")]));
    let (json, csv) = (r.switch(&options::JSON), r.switch(&CSV));
    if json && csv {
        r.wrong(&CSV, "give --json or --csv, not both");
    }
    let subjects = r.finish(subjects)?;
    let span_seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let (from, to) = match (from, to) {
        (None, None) => (format!("-{}", format_span(span)), None),
        (None, Some(to)) => ((to - span_seconds).to_string(), Some(to.to_string())),
        (Some(from), None) if matches.value_source("span").is_some() => {
            (from.to_string(), Some((from + span_seconds).to_string()))
        }
        (Some(from), to) => (from.to_string(), to.map(|to| to.to_string())),
    };
    let parts = [
        names.map(|names| format!("names={}", encoded(&names))),
        Some(format!("from={from}")),
        to.map(|to| format!("to={to}")),
        step.map(|step| format!("step={}", format_span(step))),
        Some(format!("stat={stat}")),
        csv.then(|| "format=csv".to_owned()),
    ];
    let query = parts.into_iter().flatten().collect::<Vec<_>>().join("&");
    let api = reach.api()?;
    let subject = locate(&api, subjects.first().expect("clap requires one"))?;
    let answer = api.send(Method::Get, &format!("{}/metrics?{query}", subject.path()), None)?;
    if csv {
        return print(&String::from_utf8_lossy(&answer.body));
    }
    if json {
        return print_json(&api.read::<Value>(&answer)?);
    }
    show(&subject, &api.read(&answer)?)
}

/// A moment, unix seconds: such a number, or RFC 3339.
fn moment(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.trim().parse() {
        return Ok(seconds);
    }
    let time: Timestamp = text.trim().parse().map_err(|_| {
        format!(
            "{:?} is no moment: give unix seconds or RFC 3339, for example 2026-11-22T08:30:00Z",
            clean(text, 40)
        )
    })?;
    Ok(time.millis().div_euclid(1000))
}

/// Text as a query holds it.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~,/".contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

/// Whose metrics are shown.
enum Subject {
    Container(ContainerKey),
    Host(HostName),
}

impl Subject {
    fn path(&self) -> String {
        match self {
            Self::Container(key) => target::path(key),
            Self::Host(host) => format!("/hosts/{host}"),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Container(key) => key.to_string(),
            Self::Host(host) => host.to_string(),
        }
    }
}

/// What is meant: a name alone is that of a host before it is that of a container.
fn locate(api: &Api, target: &Target) -> Result<Subject, Failure> {
    if target.host.is_none() {
        let hosts: Vec<HostView> = api.get("/hosts")?;
        if let Some(host) = hosts.into_iter().find(|host| host.hostname.as_str() == target.name.as_str()) {
            return Ok(Subject::Host(host.hostname));
        }
    }
    target::locate(api, target).map(Subject::Container)
}

fn show(subject: &Subject, view: &SeriesView) -> Result<(), Failure> {
    let (Some(first), Some(last)) = (view.t.first(), view.t.last()) else {
        note("no point lies between these moments; give a longer span or a shorter step");
        return Ok(());
    };
    let at = |seconds: &i64| time(Timestamp::from_millis(seconds.saturating_mul(1000)));
    let step = format_span(std::time::Duration::from_secs(view.step.into()));
    note(&format!("{} from {} to {}, a point each {step}", subject.name(), at(first), at(last)));
    if view.series.is_empty() {
        note("no samples");
        return Ok(());
    }
    let mut table = Table::new(&["METRIC", "LAST", "MEAN", "MAX", "COURSE"]);
    for (name, values) in &view.series {
        let shown = |value: Option<f64>| or_unknown(value.map(|value| quantity(name, value)));
        table.row([
            clean(name, 200),
            shown(values.iter().rev().flatten().next().copied()),
            shown(mean(values)),
            shown(values.iter().flatten().copied().reduce(f64::max)),
            sparkline(values, WIDTH),
        ]);
    }
    table.print()
}
