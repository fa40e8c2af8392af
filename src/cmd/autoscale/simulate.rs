//! `dockhealth autoscale simulate`: controllers compared on identical arrivals, with nothing run.

use clap::{ArgMatches, Command};

use crate::cmd::Failure;
use crate::cmd::output::print;
use crate::cmd::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use crate::scale::control::ControllerKind;

const CONTROLLER: Setting = Setting::list("NAME").flag_only().called(
    "controller",
    OPTIONS,
    "Which controllers: francis, regulator, hpa, kpa, fixed:COUNT; several separated by commas",
);

/// Its arguments.
pub(super) fn command() -> Command {
    let about = "Compare controllers on identical arrivals in a simulated host";
    with_settings(Command::new("simulate").about(about), &[&[&CONTROLLER]])
}

/// Simulates.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let kinds = r.list(&CONTROLLER, parse::typed::<ControllerKind>);
    let kinds = r.finish(kinds)?;
    kinds.iter().try_for_each(|kind| print(&format!("{kind}\n")))
}
