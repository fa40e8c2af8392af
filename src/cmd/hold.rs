//! `dockhealth hold` and `dockhealth hog`: what the antagonist starts for each of its faults. Not for people, so no help
//! shows them.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use super::Failure;
use super::runtime::block_on;
use crate::chaos::{HogOrder, run_hog, run_holder};

const WHAT: &str = "what";

fn hidden(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).hide(true).arg(Arg::new(WHAT).required(true))
}

fn what(matches: &ArgMatches) -> &str {
    matches.get_one::<String>(WHAT).expect("clap requires it")
}

pub(super) mod holder {
    use super::{ArgMatches, Command, Failure, PathBuf, block_on, hidden, run_holder, what};

    /// Its argument: an entry of the ledger.
    pub(crate) fn command() -> Command {
        hidden("hold", "Hold a fault of the antagonist's ledger until its time is over")
    }

    /// Does the fault, waits, undoes it.
    pub(crate) fn run(matches: &ArgMatches) -> Result<(), Failure> {
        let path = PathBuf::from(what(matches));
        block_on(async { run_holder(&path).await.map_err(|error| Failure::Failed(error.to_string())) })
    }
}

pub(super) mod hog {
    use super::{ArgMatches, Command, Failure, HogOrder, hidden, run_hog, what};

    /// Its argument: an order in JSON.
    pub(crate) fn command() -> Command {
        hidden("hog", "Use up what a container has, until its time is over")
    }

    /// Uses it up until it is killed.
    pub(crate) fn run(matches: &ArgMatches) -> Result<(), Failure> {
        let order: HogOrder = serde_json::from_str(what(matches))
            .map_err(|error| Failure::Usage(format!("no order: {error}")))?;
        run_hog(&order).map_err(|error| Failure::Failed(error.to_string()))
    }
}
