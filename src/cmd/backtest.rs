//! `dockhealth backtest`: what another policy would have done with what was recorded.

use clap::{ArgMatches, Command};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::output::{Table, note, or_unknown, print_json, time};
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::{Failure, options};
use crate::backtest::{Deed, Replayed, Totals};
use crate::client::Method;
use crate::model::{NamePattern, Rate, Threshold, clean};

const POLICY: &str = "Policy";

const THRESHOLD: Setting = Setting::value("PERCENT").flag_only().called(
    "threshold",
    POLICY,
    "Loss above which a container is restarted [default: the thresholds in force]",
);
const INTERVAL: Setting = Setting::value("SPAN").or("10s").flag_only().called(
    "interval",
    POLICY,
    "Time between two sweeps, 1s to 1h",
);
const GRACE: Setting = Setting::value("SPAN").or("10s").flag_only().called(
    "grace",
    POLICY,
    "Time after a start in which failures do not count",
);
const BUDGET: Setting = Setting::value("RATE").or("5/1h").flag_only().called(
    "budget",
    POLICY,
    "Restarts of one container before it is quarantined",
);
const BACKOFF: Setting = Setting::value("SPAN").or("10s").flag_only().called(
    "backoff",
    POLICY,
    "Time between two restarts of one container, doubled by each",
);
const HOST_BUDGET: Setting = Setting::value("RATE").or("10/10m").flag_only().called(
    "host-budget",
    POLICY,
    "Restarts for packet loss on the whole host",
);
const FUTILE_AFTER: Setting = Setting::value("COUNT").or("3").flag_only().called(
    "futile-after",
    POLICY,
    "Restarts in a row that did not help, after which it is left alone; 0: never",
);
const CONTAINER: Setting = Setting::value("GLOB").flag_only().called(
    "container",
    OPTIONS,
    "Only containers whose names match, for example web-*",
);
const FROM: Setting = Setting::value("TIME").or("-24h").flag_only().called(
    "from",
    OPTIONS,
    "From when: unix seconds, RFC 3339, or a span before now as -24h; at most 7 days",
);
const TO: Setting = Setting::value("TIME").or("now").flag_only().called("to", OPTIONS, "Until when");
const ASSUME: Setting = Setting::value("heals|as-recorded").or("heals").flag_only().called(
    "assume",
    OPTIONS,
    "What a restart that was never made would have changed: it heals until the next recorded onset, or nothing",
);

/// How many deeds are listed; JSON has more.
const SHOWN: usize = 40;

/// What the controller answers, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Backtest {
    #[serde(default)]
    assumptions: Vec<String>,
    containers: Vec<Replayed>,
    totals: Totals,
}

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&CONTAINER, &options::HOST, &FROM, &TO, &ASSUME, &options::JSON][..];
    let policy = &[&THRESHOLD, &INTERVAL, &GRACE, &BUDGET, &BACKOFF, &HOST_BUDGET, &FUTILE_AFTER][..];
    let groups: Vec<_> = [own, policy].into_iter().chain(reach::SETTINGS.iter().copied()).collect();
    let about = "Say what another policy would have done with what was recorded, beside what was done";
    // A moment may begin with a minus.
    with_settings(Command::new("backtest").about(about), &groups)
        .mut_arg(FROM.name, |arg| arg.allow_hyphen_values(true))
        .mut_arg(TO.name, |arg| arg.allow_hyphen_values(true))
}

/// Says it.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let body = body(&mut r);
    let as_json = r.switch(&options::JSON);
    let body = r.finish(body)?;
    let api = reach.api()?;
    let answer = api.send(Method::Post, "/backtest", Some(&body))?;
    if as_json {
        return print_json(&api.read::<Value>(&answer)?);
    }
    show(&api.read(&answer)?)
}

/// What is asked. Spans and moments are read by the controller, whose errors name them.
fn body(r: &mut Resolver) -> Value {
    let text = |text: &str| Ok::<_, String>(text.trim().to_owned());
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    let hour = parse::millis(1_000, 3_600_000);
    put("threshold", r.opt(&THRESHOLD, parse::typed::<Threshold>).map(|threshold| json!(threshold)));
    put("interval", Some(json!(crate::model::format_span(r.get(&INTERVAL, parse::span(hour))))));
    put("grace", Some(json!(r.get(&GRACE, text))));
    put("budget", Some(json!(r.get(&BUDGET, parse::typed::<Rate>).to_string())));
    put("backoff", Some(json!(r.get(&BACKOFF, text))));
    put("host_budget", Some(json!(r.get(&HOST_BUDGET, parse::typed::<Rate>).to_string())));
    put("futile_after", Some(json!(r.get(&FUTILE_AFTER, parse::count(0..=100)))));
    let container = r.opt(&CONTAINER, parse::typed::<NamePattern>).map(|pattern| json!(pattern.to_string()));
    put("container", container);
    put("hostname", r.opt(&options::HOST, parse::typed::<crate::model::HostName>).map(|host| json!(host)));
    put("from", Some(json!(r.get(&FROM, text))));
    put("to", Some(json!(r.get(&TO, text))));
    let words = [("heals", "heals"), ("as-recorded", "as_recorded")];
    put("assume", Some(json!(r.get(&ASSUME, parse::word(&words)))));
    Value::Object(body)
}

fn show(backtest: &Backtest) -> Result<(), Failure> {
    let mut deeds: Vec<(&Replayed, &str, &Deed)> = Vec::new();
    for one in &backtest.containers {
        deeds.extend(one.would_restart.iter().map(|deed| (one, "would", deed)));
        deeds.extend(one.did.iter().map(|deed| (one, "did", deed)));
    }
    deeds.sort_by_key(|(_, _, deed)| deed.time);
    let mut summary =
        Table::new(&["HOST", "CONTAINER", "SAMPLES", "WOULD", "DID", "SAME", "EXTRA", "PREVENTED"]);
    for one in &backtest.containers {
        let samples = (one.samples > 0).then_some(one.samples);
        summary.row([
            one.hostname.to_string(),
            one.name.to_string(),
            or_unknown(samples),
            (one.same + one.extra).to_string(),
            (one.same + one.prevented).to_string(),
            one.same.to_string(),
            one.extra.to_string(),
            one.prevented.to_string(),
        ]);
    }
    summary.print()?;
    if !deeds.is_empty() {
        let mut table = Table::new(&["TIME", "", "ACTION", "CONTAINER", "REASON"]);
        for (one, which, deed) in deeds.iter().rev().take(SHOWN).rev() {
            table.row([
                time(deed.time),
                (*which).to_owned(),
                deed.kind.to_string(),
                format!("{}/{}", one.hostname, one.name),
                deed.reason.clone(),
            ]);
        }
        table.print()?;
    }
    if deeds.len() > SHOWN {
        note(&format!("{} earlier ones are not shown; --json has them", deeds.len() - SHOWN));
    }
    for one in &backtest.containers {
        for remark in &one.remarks {
            note(&format!("{}: {}", time(remark.time), clean(&remark.text, 300)));
        }
    }
    let Totals { containers, would_restart, did, same, extra, prevented } = backtest.totals;
    note(&format!(
        "{containers} containers: it would have taken {would_restart} actions, where {did} were taken: {same} the \
         same, {extra} more, {prevented} spared"
    ));
    backtest.assumptions.iter().for_each(|text| note(&format!("- {}", clean(text, 300))));
    Ok(())
}
