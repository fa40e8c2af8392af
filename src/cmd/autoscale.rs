//! `dockhealth autoscale`: how many containers of an image, decided by a controller.

mod load;
mod options;
mod replay;
mod reset;
mod run;
mod simulate;

use clap::{ArgMatches, Command};

use super::{Failure, Subcommand};

/// Every subcommand, in the order help shows them.
const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand { command: run::command, run: run::run },
    Subcommand { command: load::command, run: load::run },
    Subcommand { command: reset::command, run: reset::run },
    Subcommand { command: simulate::command, run: simulate::run },
    Subcommand { command: replay::command, run: replay::run },
];

/// Its arguments.
pub(super) fn command() -> Command {
    Command::new("autoscale")
        .about("Run as many containers of an image as its requests need, or simulate that")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(SUBCOMMANDS.iter().map(|subcommand| (subcommand.command)()))
}

/// Does what the inner subcommand says.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let (name, matches) = matches.subcommand().expect("clap requires one");
    let inner = SUBCOMMANDS.iter().find(|s| (s.command)().get_name() == name);
    (inner.expect("clap knows only the subcommands of the table").run)(matches)
}
