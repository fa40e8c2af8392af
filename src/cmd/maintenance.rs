//! `dockhealth maintenance`: one container is not healed for a while.

use clap::{ArgMatches, Command};
use serde_json::json;

use super::Failure;
use super::options;
use super::output::print;
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::target::{self, Target};
use crate::client::Method;
use crate::model::format_span;

const END: Setting = Setting::switch().flag_only().called("end", OPTIONS, "End it now");

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&options::FOR, &END][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    let about = "Do not heal one container for a while; it is still checked and shown";
    with_settings(Command::new("maintenance").about(about).arg(target::one()), &groups)
}

/// Begins or ends it.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let targets = r.positional("container", parse::typed::<Target>);
    let span = r.opt(&options::FOR, parse::span(parse::millis(1_000, 365 * 86_400_000)));
    let end = r.switch(&END);
    if end == r.is_given(&options::FOR) {
        r.wrong(&options::FOR, "give either --for and a span of time, for example 1h, or --end");
    }
    let targets = r.finish(targets)?;
    let api = reach.api()?;
    let key = target::locate(&api, targets.first().expect("clap requires one"))?;
    let path = target::path(&key) + "/maintenance";
    let Some(span) = span.map(format_span) else {
        api.send(Method::Delete, &path, None)?;
        return print(&format!("{key}: maintenance is over\n"));
    };
    api.send(Method::Put, &path, Some(&json!({ "for": span })))?;
    print(&format!("{key}: not healed for {span}\n"))
}
