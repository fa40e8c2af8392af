//! `dockhealth antagonist`: stops containers of this host that consent, now and then.

use std::time::Duration;

use clap::{ArgMatches, Command};

use super::output::print;
use super::runtime::{block_on, until_told_to_stop};
use super::settings::{OPTIONS, Resolver, Setting, parse, table as t, with_settings};
use super::{Failure, options};
use crate::chaos::{AntagonistConfig, AttackMode, Targets, run_antagonist};
use crate::docker::{Engine, EngineAddress, own_container_id};
use crate::model::NamePattern;

const FAULT: Setting =
    Setting::value("stop").or("stop").flag_only().called("fault", OPTIONS, "What it does to them");
const EVERY: Setting =
    Setting::value("SPAN").or("30s").flag_only().called("every", OPTIONS, "Time between two attacks");
const TARGET: Setting = Setting::list("NAME").flag_only().called(
    "target",
    OPTIONS,
    "Attack these too, `*` and `?` allowed, beside those labelled dockhealth.chaos=true",
);
const DRY_RUN: Setting =
    Setting::switch().flag_only().called("dry-run", OPTIONS, "Say who would be attacked, and do nothing");

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&FAULT, &EVERY, &options::FOR, &TARGET, &options::SEED, &DRY_RUN, &t::DOCKER_HOST][..];
    let about = "Stop random containers of this host that consent, to see them healed";
    with_settings(Command::new("antagonist").about(about), &[own]).after_help(
        "Parts of dockhealth, and containers labelled dockhealth.chaos=false, are never attacked.",
    )
}

struct Config {
    antagonist: AntagonistConfig,
    engine: EngineAddress,
}

fn config(mut r: Resolver) -> Result<Config, Failure> {
    let within = || parse::span(parse::millis(100, 7 * 86_400_000));
    r.get(&FAULT, parse::word(&[("stop", ())]));
    let antagonist = AntagonistConfig {
        every: r.get(&EVERY, within()),
        seed: r.opt(&options::SEED, options::seed).unwrap_or_else(rand::random),
        mode: if r.switch(&DRY_RUN) { AttackMode::DryRun } else { AttackMode::Act },
        targets: Targets { patterns: r.list(&TARGET, parse::typed::<NamePattern>), own: own_container_id() },
        for_span: r.opt::<Duration, _>(&options::FOR, within()),
    };
    let engine = r.get(&t::DOCKER_HOST, parse::typed::<EngineAddress>);
    Ok(r.finish(Config { antagonist, engine })?)
}

/// Attacks until told to stop.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let config = config(Resolver::new(matches))?;
    block_on(async {
        let engine = Engine::connect(&config.engine).map_err(|error| Failure::Usage(error.to_string()))?;
        engine.ping().await?;
        let shutdown = until_told_to_stop()?;
        let stop = shutdown.clone();
        // Nobody reads what it does: then it must not do it.
        let say = move |news| {
            if print(&format!("{news}\n")).is_err() {
                stop.cancel();
            }
        };
        run_antagonist(&config.antagonist, &engine, &shutdown, say).await;
        Ok(())
    })
}
