//! One file per subcommand: arguments, then validated config, then wiring.

mod act;
pub mod agent;
mod antagonist;
mod autoscale;
mod backtest;
mod completions;
pub mod config;
pub mod controller;
mod cpu_collect;
mod demo;
mod doctor;
mod dummy;
mod events;
mod failure;
mod freeze;
mod hold;
mod host;
mod hosts;
mod incidents;
pub mod logging;
mod maintenance;
mod metrics;
mod net;
mod notify;
mod options;
mod output;
mod own_image;
mod pages;
mod ping;
mod placement;
mod pools;
mod ps;
mod quantity;
mod reach;
mod runtime;
pub mod settings;
mod simulate;
mod target;
mod threshold;
mod token;
mod top;
pub mod up;
mod version;
mod watch;
mod why;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, Command};

pub use failure::{EXIT_CODES, Failure};

/// One subcommand: its arguments, and what it does with them.
struct Subcommand {
    command: fn() -> Command,
    run: fn(&ArgMatches) -> Result<(), Failure>,
}

/// Every subcommand, in the order help shows them.
const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand { command: up::command, run: up::run },
    Subcommand { command: agent::command, run: agent::run },
    Subcommand { command: controller::command, run: controller::run },
    Subcommand { command: ps::command, run: ps::run },
    Subcommand { command: why::command, run: why::run },
    Subcommand { command: act::monitor::command, run: act::monitor::run },
    Subcommand { command: act::unmonitor::command, run: act::unmonitor::run },
    Subcommand { command: threshold::command, run: threshold::run },
    Subcommand { command: freeze::command, run: freeze::run },
    Subcommand { command: act::release::command, run: act::release::run },
    Subcommand { command: act::restart::command, run: act::restart::run },
    Subcommand { command: maintenance::command, run: maintenance::run },
    Subcommand { command: hosts::command, run: hosts::run },
    Subcommand { command: top::command, run: top::run },
    Subcommand { command: metrics::command, run: metrics::run },
    Subcommand { command: net::command, run: net::run },
    Subcommand { command: placement::command, run: placement::run },
    Subcommand { command: backtest::command, run: backtest::run },
    Subcommand { command: events::command, run: events::run },
    Subcommand { command: incidents::command, run: incidents::run },
    Subcommand { command: notify::command, run: notify::run },
    Subcommand { command: token::command, run: token::run },
    Subcommand { command: ping::command, run: ping::run },
    Subcommand { command: cpu_collect::command, run: cpu_collect::run },
    Subcommand { command: doctor::command, run: doctor::run },
    Subcommand { command: antagonist::command, run: antagonist::run },
    Subcommand { command: hold::holder::command, run: hold::holder::run },
    Subcommand { command: hold::hog::command, run: hold::hog::run },
    Subcommand { command: dummy::command, run: dummy::run },
    Subcommand { command: demo::command, run: demo::run },
    Subcommand { command: simulate::command, run: simulate::run },
    Subcommand { command: autoscale::command, run: autoscale::run },
    Subcommand { command: pools::command, run: pools::run },
    Subcommand { command: completions::command, run: completions::run },
    Subcommand { command: version::command, run: version::run },
];

/// The whole command line.
pub fn command() -> Command {
    Command::new("dockhealth")
        .about("Keeps fleets of Docker hosts healthy: pings containers, heals what is down or lossy, and says why")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(110)
        .after_help(EXIT_CODES)
        .subcommands(SUBCOMMANDS.iter().map(|subcommand| (subcommand.command)()))
}

/// Does what the arguments say; `args` begins with the program's own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(expand_link(args)) {
        Ok(matches) => matches,
        Err(error) => {
            // Nobody is left to tell when the output is closed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let (name, matches) = matches.subcommand().expect("clap requires a subcommand");
    let run = SUBCOMMANDS
        .iter()
        .find_map(|s| ((s.command)().get_name() == name).then_some(s.run))
        .expect("clap knows only the subcommands of the table");
    match run(matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            failure.exit_code()
        }
    }
}

/// Acts on a link's name: called as `dockhealth-agent`, the arguments are those of `dockhealth agent`.
fn expand_link(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let called = args.first().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str);
    let subcommand = called.and_then(|name| name.strip_prefix("dockhealth-")).map(OsString::from);
    if let Some(name) = subcommand
        && SUBCOMMANDS.iter().any(|s| *(s.command)().get_name() == *name)
    {
        args[0] = "dockhealth".into();
        args.insert(1, name);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(args: &[&str]) -> Vec<OsString> {
        expand_link(args.iter().map(OsString::from))
    }

    #[test]
    fn a_link_acts_as_its_subcommand() {
        assert_eq!(expand(&["/usr/bin/dockhealth-version", "-h"]), ["dockhealth", "version", "-h"]);
        assert_eq!(expand(&["dockhealth", "version"]), ["dockhealth", "version"]);
        assert_eq!(expand(&["dockhealth-1.0", "version"]), ["dockhealth-1.0", "version"]);
        assert!(expand(&[]).is_empty());
    }

    #[test]
    fn the_command_line_is_consistent() {
        for command in [command(), agent::command(), controller::command(), up::command()] {
            command.debug_assert();
        }
    }
}
