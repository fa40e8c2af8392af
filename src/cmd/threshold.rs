//! `dockhealth threshold`: the packet loss a container may have, for the fleet or for one container.

use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use super::Failure;
use super::options;
use super::output::{print, print_json};
use super::ps::percent;
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::target::{self, Target};
use crate::client::{Api, Method};
use crate::model::{ContainerKey, Threshold};

const CONTAINER: Setting = Setting::value("[HOST/]NAME").flag_only().called(
    "container",
    OPTIONS,
    "The threshold of this container alone",
);
const CLEAR: Setting =
    Setting::switch().flag_only().called("clear", OPTIONS, "Let the fleet's threshold hold for it again");

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&CONTAINER, &CLEAR, &options::JSON][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    let value = Arg::new("percent")
        .value_name("PERCENT")
        .allow_negative_numbers(true)
        .help("The new threshold, 0 to 100; without it the present one is shown");
    let about = "Show or set the packet loss above which a container is restarted";
    with_settings(Command::new("threshold").about(about).arg(value), &groups)
}

/// Shows or sets it.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let value = r.positional("percent", parse::typed::<Threshold>).first().copied();
    let container = r.opt(&CONTAINER, parse::typed::<Target>);
    let (clear, json) = (r.switch(&CLEAR), r.switch(&options::JSON));
    if clear && !r.is_given(&CONTAINER) {
        r.wrong(&CLEAR, "needs --container; the fleet always has a threshold");
    }
    if clear && matches.contains_id("percent") {
        r.wrong(&CLEAR, "does not go together with a new threshold");
    }
    r.finish(())?;
    let api = reach.api()?;
    let key = container.map(|target| target::locate(&api, &target)).transpose()?;
    let path = key.as_ref().map_or_else(|| "/threshold".to_owned(), |k| target::path(k) + "/threshold");
    let whose =
        key.as_ref().map_or_else(|| "every container without its own".to_owned(), ToString::to_string);
    if clear {
        api.send(Method::Delete, &path, None)?;
        return print(&format!("{whose}: the fleet's threshold holds again\n"));
    }
    if let Some(value) = value {
        api.send(Method::Put, &path, Some(&json!(value)))?;
        return print(&format!("{whose}: restarted for loss above {value}\n"));
    }
    let present = present(&api, key.as_ref())?;
    match (json, present.as_f64()) {
        (true, _) => print_json(&present),
        (false, Some(value)) => print(&format!("{}\n", percent(value))),
        (false, None) => print("unknown\n"),
    }
}

fn present(api: &Api, key: Option<&ContainerKey>) -> Result<Value, Failure> {
    match key {
        None => Ok(api.get("/threshold")?),
        Some(key) => {
            let details: Value = api.get(&target::path(key))?;
            Ok(details.get("threshold").cloned().unwrap_or_default())
        }
    }
}
