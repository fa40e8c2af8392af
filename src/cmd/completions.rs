//! `dockhealth completions SHELL`.

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use super::Failure;
use super::output::print;

/// Its arguments.
pub(super) fn command() -> Command {
    let shell = Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell));
    Command::new("completions")
        .about("Print completions for a shell")
        .arg(shell.help("The shell"))
        .after_help("For bash: dockhealth completions bash > /etc/bash_completion.d/dockhealth")
}

/// Prints them.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let shell = *matches.get_one::<Shell>("shell").expect("clap requires it");
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "dockhealth", &mut script);
    print(&String::from_utf8_lossy(&script))
}
