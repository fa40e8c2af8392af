//! `dockhealth version`.

use super::Failure;
use super::output::print;

/// Its arguments.
pub(super) fn command() -> clap::Command {
    clap::Command::new("version").about("Show the version")
}

/// Shows it.
pub(super) fn run(_matches: &clap::ArgMatches) -> Result<(), Failure> {
    print(&format!("dockhealth {}\n", env!("CARGO_PKG_VERSION")))
}
