//! `dockhealth autoscale replay`: whether a controller decides again as it was recorded.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use crate::cmd::output::{note, print, print_json};
use crate::cmd::settings::{Resolver, parse, with_settings};
use crate::cmd::{Failure, options};
use crate::model::clean;
use crate::scale::control::{Replay, Replayer};

/// No line of a record is longer, bytes.
const LONGEST_LINE: u64 = 1024 * 1024;

/// Its arguments.
pub(super) fn command() -> Command {
    let file = Arg::new("file").value_name("FILE").required(true).help("A record of a controller");
    let about = "Decide again what a record holds, and say where it comes out otherwise";
    with_settings(Command::new("replay").about(about).arg(file), &[&[&options::JSON]])
        .after_help("Ends with 1 when a decision came out otherwise.")
}

/// Replays.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let files: Vec<PathBuf> = r.positional("file", parse::path);
    let json = r.switch(&options::JSON);
    let files = r.finish(files)?;
    let path = files.first().expect("clap requires it");
    let replay = replay(path)?;
    if json {
        print_json(&replay)?;
    } else {
        print(&format!(
            "{} decisions, {} of them otherwise than recorded\n",
            replay.decisions, replay.different
        ))?;
    }
    match &replay.first {
        None => Ok(()),
        Some((line, recorded, again)) => {
            for (what, decision) in [("recorded", recorded), ("decided now", again)] {
                note(&format!("{what}: {} ({})", decision.delta, clean(&decision.reason, 300)));
            }
            Err(Failure::Failed(format!("it decides otherwise, first at line {line}")))
        }
    }
}

fn replay(path: &Path) -> Result<Replay, Failure> {
    let shown = clean(&path.display().to_string(), 200);
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("{shown}: {error}"));
    let mut file = BufReader::new(File::open(path).map_err(|error| failed(&error))?);
    let mut replayer = Replayer::default();
    let mut line = String::new();
    loop {
        line.clear();
        let read = file.by_ref().take(LONGEST_LINE).read_line(&mut line).map_err(|error| failed(&error))?;
        if read == 0 {
            return Ok(replayer.end());
        }
        replayer.line(&line).map_err(|error| failed(&error))?;
    }
}
