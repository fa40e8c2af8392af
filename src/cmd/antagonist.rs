//! `dockhealth antagonist`: attacks containers of this host that consent, and undoes what it did.

mod drill;
mod fleet;
mod history;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Command};

use self::fleet::{Fleet, Wish};
use self::history::History;
use super::output::{note, print, print_json};
use super::reach;
use super::runtime::{block_on, until_told_to_stop};
use super::settings::{OPTIONS, Resolver, Setting, parse, table as t, with_settings};
use super::{Failure, config, options};
use crate::bus::ChaosOrder;
use crate::chaos::{
    AbortWord, AntagonistConfig, AntagonistNews, AttackMode, FaultSpec, Keeper, Ledger, NetAbility, Noted,
    SHIPPED, Scenario, Summary, TargetWord, Targets, note_of_swept, run_antagonist, schedule, sweep,
};
use crate::docker::{ContainerSource, Engine, EngineAddress, own_container_id};
use crate::model::{clean, format_span};

const FAULTS: &str = "Faults";

const FAULT: Setting = Setting::list("FAULT").flag_only().called(
    "fault",
    FAULTS,
    "What it does, one of these to each victim: stop, kill, pause, restart, oom[=SIZE], cpu[=COUNT], disk=SIZE, \
     loss=SHARE, delay=SPAN, jitter=SPAN, corruption=SHARE, partition[=NAME], dns [default: stop]",
);
const EVERY: Setting =
    Setting::value("SPAN").or("30s").flag_only().called("every", FAULTS, "Time between two attacks");
const LEASE: Setting = Setting::value("SPAN").flag_only().called(
    "lease",
    FAULTS,
    "Time after which a fault is undone [default: 30s; what stop, kill and restart take down stays for its healer \
     until the antagonist ends]",
);
const TARGET: Setting = Setting::list("TARGET").flag_only().called(
    "target",
    FAULTS,
    "Attack these too, beside those labelled dockhealth.chaos=true: NAME (with `*` and `?`), label:KEY[=VALUE], \
     service:[PROJECT/]NAME; and 30% attacks so many of all at once",
);
const MAX_CONCURRENT: Setting = Setting::value("COUNT").flag_only().called(
    "max-concurrent",
    FAULTS,
    "Faults in force at once, at most [default: 10]",
);
const ABORT_WHEN: Setting = Setting::list("CONDITION").flag_only().called(
    "abort-when",
    FAULTS,
    "End early, and undo everything, when one holds: down=50% (so many of the targets do not run), engine-faults=5 (turns \
     in a row that failed because of the engine), missed=3 (faults that did not come out as the scenario expects); \
     goes before what the scenario says of the same",
);
const SCENARIO: Setting = Setting::value("FILE|NAME").flag_only().called(
    "scenario",
    FAULTS,
    "Play a scenario instead: a TOML file, or one of those that `antagonist drill --list` lists",
);
const DRY_RUN: Setting =
    Setting::switch().flag_only().called("dry-run", OPTIONS, "Say who would be attacked, and do nothing");
const PLAN: Setting = Setting::switch().flag_only().called(
    "plan",
    OPTIONS,
    "Print at once, as JSON, all that would be done to the containers that run now (with --for, or a scenario)",
);
const SWEEP: Setting =
    Setting::switch().flag_only().called("sweep", OPTIONS, "Undo what an earlier run left, and end");

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[
        &FAULT,
        &EVERY,
        &LEASE,
        &TARGET,
        &MAX_CONCURRENT,
        &ABORT_WHEN,
        &SCENARIO,
        &options::FOR,
        &options::SEED,
        &DRY_RUN,
        &PLAN,
        &SWEEP,
        &fleet::HOST,
        &fleet::RENEW_WITHIN,
        &t::DOCKER_HOST,
    ][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    let about = "Attack random containers that consent, of this host or of the fleet, to see them healed";
    let command = Command::new("antagonist").about(about).args_conflicts_with_subcommands(true);
    with_settings(command.subcommand(drill::command()), &groups).after_help(
        "Parts of dockhealth, and containers labelled dockhealth.chaos=false, are never attacked. Every fault is written \
         down in DATA-DIR/chaos before it is done, and undone by a process of its own when the antagonist dies; \
         docs/chaos.md has the rest. Ends with 1 when a scenario did not come out as it expects.",
    )
}

struct Config {
    antagonist: AntagonistConfig,
    engine: EngineAddress,
    data_dir: PathBuf,
    plan: bool,
    sweep_only: bool,
    /// What is ordered of other hosts, where some are named.
    order: ChaosOrder,
    fleet: Option<Fleet>,
}

fn config(mut r: Resolver) -> Result<Config, Failure> {
    let (scenario, order) = scenario(&mut r);
    let seed = r.opt(&options::SEED, options::seed).or(scenario.seed).unwrap_or_else(rand::random);
    let order = ChaosOrder { seed: Some(seed), dry_run: r.switch(&DRY_RUN), ..order };
    let mode = if r.switch(&DRY_RUN) { AttackMode::DryRun } else { AttackMode::Act };
    let plan = r.switch(&PLAN);
    if plan && scenario.lasts().is_none() {
        r.wrong(&PLAN, "a plan must end: give --for too, for example --for 10m");
    }
    let engine = r.get(&t::DOCKER_HOST, parse::typed::<EngineAddress>);
    let sweep_only = r.switch(&SWEEP);
    let data_dir = config::data_dir(&mut r);
    let fleet = Fleet::resolve(&mut r);
    let antagonist = AntagonistConfig { scenario, seed, mode };
    Ok(r.finish(Config { antagonist, engine, data_dir, plan, sweep_only, order, fleet })?)
}

/// The scenario that was named, or one of a single phase as the other options say; and how that is ordered of others.
fn scenario(r: &mut Resolver) -> (Scenario, ChaosOrder) {
    let within = || parse::span(parse::millis(100, 7 * 86_400_000));
    let named = r.opt(&SCENARIO, read_scenario);
    let most = r.opt(&MAX_CONCURRENT, parse::count(1..=10_000)).map(|most| most as usize);
    let conditions = r.list(&ABORT_WHEN, parse::typed::<AbortWord>);
    let words = r.list(&TARGET, parse::typed::<TargetWord>);
    let faults = r.list(&FAULT, parse::typed::<FaultSpec>);
    let every = r.get(&EVERY, within());
    let lease = r.opt(&LEASE, parse::span(parse::millis(100, 86_400_000)));
    let lasts = r.opt::<Duration, _>(&options::FOR, within());
    let mut order = ChaosOrder {
        faults: faults.iter().map(ToString::to_string).collect(),
        every: Some(format_span(every)),
        lease: lease.map(format_span),
        targets: words.iter().map(ToString::to_string).collect(),
        lasts: lasts.map(format_span),
        max_concurrent: most.and_then(|most| u32::try_from(most).ok()),
        abort_when: conditions.iter().map(ToString::to_string).collect(),
        ..ChaosOrder::default()
    };
    let mut scenario = if let Some((text, scenario)) = named {
        let ChaosOrder { max_concurrent, abort_when, .. } = order;
        order = ChaosOrder { scenario: Some(text), max_concurrent, abort_when, ..ChaosOrder::default() };
        for setting in [&FAULT, &EVERY, &LEASE, &TARGET, &options::FOR] {
            if r.is_given(setting) {
                r.wrong(
                    setting,
                    "the scenario says that: leave it out, or write it into a scenario of your own",
                );
            }
        }
        scenario
    } else {
        Scenario::attacks(faults, Targets::of(words).and_consenting(), every, lasts, lease)
    };
    if let Some(most) = most {
        scenario.max_concurrent = most;
    }
    if let Err(error) = scenario.abort_when(&conditions) {
        r.wrong(&ABORT_WHEN, error);
    }
    scenario.spare(own_container_id().as_ref());
    (scenario, order)
}

/// A shipped scenario by its name, or a file: its text, and what that says.
fn read_scenario(text: &str) -> Result<(String, Scenario), String> {
    let text = text.trim();
    let shipped = SHIPPED.iter().find(|(name, _)| *name == text);
    let content = if let Some((_, content)) = shipped {
        (*content).to_owned()
    } else {
        let known = || SHIPPED.map(|(name, _)| name).join(", ");
        let bytes = parse::contents(&parse::path(text)?)
            .map_err(|error| format!("{error}; shipped with dockhealth are {}", known()))?;
        String::from_utf8(bytes).map_err(|_| format!("{} holds no text", clean(text, 200)))?
    };
    let scenario = content.parse().map_err(|error| format!("{}: {error}", clean(text, 200)))?;
    Ok((content, scenario))
}

/// Attacks until told to stop, or the end.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    if let Some((_, matches)) = matches.subcommand() {
        return drill::run(matches);
    }
    let config = config(Resolver::new(matches))?;
    if let Some(fleet) = &config.fleet {
        let wish = match (config.sweep_only, config.plan) {
            (true, _) => Wish::Sweep,
            (false, true) => Wish::Plan,
            (false, false) => Wish::Play,
        };
        return fleet.run(&config.order, wish);
    }
    let summary = block_on(async {
        let engine = Engine::connect(&config.engine).map_err(|error| Failure::Usage(error.to_string()))?;
        if config.plan {
            return plan(&config.antagonist, &engine).await.map(|()| Summary::default());
        }
        if config.antagonist.mode == AttackMode::DryRun {
            engine.ping().await?;
            return play(&config, &engine, None).await;
        }
        // What this kernel cannot do is refused before anything is done.
        NetAbility::refusals(&config.antagonist.scenario.kinds()).map_err(Failure::Failed)?;
        let ledger = Ledger::open(&config.data_dir).map_err(|error| {
            Failure::Failed(format!("{error}; choose a folder that can be written with --data-dir"))
        })?;
        sweep_first(&ledger, &config).await?;
        if config.sweep_only {
            return Ok(Summary::default());
        }
        engine.ping().await?;
        play(&config, &engine, Some(ledger)).await
    })?;
    match (summary.aborted, summary.missed) {
        (Some(why), _) => Err(Failure::Failed(format!("ended early: {why}"))),
        (None, 1) => Err(Failure::Failed("a fault did not come out as expected".into())),
        (None, missed) if missed > 0 => {
            Err(Failure::Failed(format!("{missed} faults did not come out as expected")))
        }
        _ => Ok(()),
    }
}

async fn play(config: &Config, engine: &Engine, ledger: Option<Ledger>) -> Result<Summary, Failure> {
    let shutdown = until_told_to_stop()?;
    let stop = shutdown.clone();
    // Nobody reads what it does: then it must not do it.
    let say = move |news| {
        if print(&format!("{news}\n")).is_err() {
            stop.cancel();
        }
    };
    Ok(match ledger {
        Some(ledger) => {
            let history = History::of(&config.data_dir);
            let keeper = Box::new(Keeper::new(ledger, config.engine.clone(), None));
            let mut arena = Noted::new(keeper, None, history.tell());
            let summary = run_antagonist(&config.antagonist, engine, &mut arena, &shutdown, say).await;
            drop(arena);
            history.finish();
            summary
        }
        None => run_antagonist(&config.antagonist, engine, &mut crate::chaos::Nowhere, &shutdown, say).await,
    })
}

/// Undoes what an earlier run left. Only [`SWEEP`] fails when that fails.
async fn sweep_first(ledger: &Ledger, config: &Config) -> Result<(), Failure> {
    let swept = sweep(ledger).await.map_err(|error| Failure::Failed(error.to_string()))?;
    let left = swept.iter().filter(|swept| swept.outcome.is_err()).count();
    let count = swept.len();
    let history = History::of(&config.data_dir);
    swept.iter().filter_map(note_of_swept).for_each(history.tell());
    history.finish();
    for swept in swept {
        print(&format!("{}\n", AntagonistNews::Swept(swept)))?;
    }
    if config.sweep_only && left > 0 {
        return Err(Failure::Failed(format!("{left} of {count} could not be undone")));
    }
    if config.sweep_only && count == 0 {
        note("nothing was left to undo");
    }
    Ok(())
}

async fn plan(config: &AntagonistConfig, engine: &Engine) -> Result<(), Failure> {
    let containers = engine.list().await?;
    let end = config.scenario.lasts().unwrap_or_default();
    let turns = schedule(&config.scenario, config.seed, &containers, end);
    note(&format!("seed {}, {}", config.seed, format_span(end)));
    print_json(&turns)
}
