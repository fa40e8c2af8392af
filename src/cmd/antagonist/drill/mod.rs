//! `dockhealth antagonist drill`: plays a scenario against the dockhealth that runs on this host, and reports how rightly
//! and fast it healed.

mod cast;
mod dummies;
mod line;
mod record;
mod show;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::cast::Cast;
use self::dummies::Dummies;
use self::line::Line;
use self::record::Recorder;
use super::history::History;
use super::read_scenario;
use crate::chaos::drill::{DrillArena, Header, Roster, Story, page, report};
use crate::chaos::{
    AntagonistConfig, AttackMode, Keeper, Ledger, NetAbility, Noted, SHIPPED, Scenario, Selector,
    run_antagonist, sweep,
};
use crate::cmd::output::{Table, note, print_json};
use crate::cmd::reach::{self, Reach};
use crate::cmd::runtime::{block_on, until_told_to_stop};
use crate::cmd::settings::{OPTIONS, Resolver, Setting, parse, table as t, with_settings};
use crate::cmd::{Failure, config, options};
use crate::docker::{Engine, EngineAddress, own_container_id};
use crate::model::{ContainerName, Drill, DrillId, DrillReport, DrillRequest, Timestamp, clean, format_span};

const LIST: Setting = Setting::switch().flag_only().called("list", OPTIONS, "List the scenarios there are");
const HISTORY: Setting = Setting::switch().flag_only().called(
    "history",
    OPTIONS,
    "Show what earlier drills came to, newest first",
);
const FORMAT: Setting = Setting::value("table|json").or("table").flag_only().called(
    "format",
    OPTIONS,
    "How the report, or the history, is printed",
);
const HTML: Setting = Setting::value("FILE").flag_only().called(
    "html",
    OPTIONS,
    "Write the report with its plots there too, as a page that needs nothing else",
);
const DUMMIES: Setting = Setting::value("COUNT").flag_only().called(
    "dummies",
    OPTIONS,
    "Attack so many containers made for it, 1 to 200, which are removed after, and nobody else's",
);

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Table,
    Json,
}

/// Its arguments.
pub(super) fn command() -> Command {
    let own =
        &[&LIST, &HISTORY, &options::SEED, &FORMAT, &HTML, &DUMMIES, &options::LIMIT, &t::DOCKER_HOST][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    let scenario = Arg::new("scenario")
        .value_name("SCENARIO")
        .help("A scenario by its name (--list), or a TOML file [default: mixed]");
    let about =
        "Attack on purpose and measure: what was found, what was missed, false alarms, and how long it took";
    with_settings(Command::new("drill").about(about).arg(scenario), &groups).after_help(
        "Needs a dockhealth that heals this host, and root for faults of the network. What a drill causes is marked with \
         its id, told to nobody, and counts in budgets of its own; docs/chaos.md has the rest. Ends with 0 when all came \
         out as expected, 1 when something did not, 2 when it could not run.",
    )
}

struct Config {
    reach: Reach,
    engine: EngineAddress,
    data_dir: PathBuf,
    scenario: Scenario,
    seed: u64,
    format: Format,
    html: Option<PathBuf>,
    dummies: Option<u32>,
}

/// Drills, or tells of drills.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let (list, past) = (r.switch(&LIST), r.switch(&HISTORY));
    let limit = r.get(&options::LIMIT, parse::count(1..=1_000));
    let config = resolve(&mut r);
    let config = r.finish(config)?;
    if list {
        return list_scenarios();
    }
    if past {
        return history(&config, limit);
    }
    // Whatever kept it from running, continuous integration is to tell that from a drill that did not pass.
    let report = drill(&config).map_err(|failure| match failure {
        Failure::OutputClosed => failure,
        other => Failure::Usage(other.to_string()),
    })?;
    if report.passed {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "the drill did not come out as expected: {} findings",
        report.findings.len()
    )))
}

fn resolve(r: &mut Resolver) -> Config {
    let scenario = r.positional("scenario", read_scenario).pop().map(|(_, scenario)| scenario);
    let mut scenario = scenario.unwrap_or_else(|| usual().parse().expect("shipped scenarios are tested"));
    scenario.spare(own_container_id().as_ref());
    // Below 2^53, so that every program that reads the report's JSON has it exactly.
    let seed = r.opt(&options::SEED, options::seed).or(scenario.seed);
    let formats = [("table", Format::Table), ("json", Format::Json)];
    Config {
        reach: Reach::resolve(r),
        engine: r.get(&t::DOCKER_HOST, parse::typed::<EngineAddress>),
        data_dir: config::data_dir(r),
        scenario,
        seed: seed.unwrap_or_else(|| rand::random::<u64>() >> 11),
        format: r.get(&FORMAT, parse::word(&formats)),
        html: r.opt(&HTML, parse::path),
        dummies: r.opt(&DUMMIES, parse::count(1..=200)),
    }
}

/// What is played when nothing is named.
fn usual() -> &'static str {
    SHIPPED.iter().find(|(name, _)| *name == "mixed").map(|(_, text)| *text).expect("it is shipped")
}

fn list_scenarios() -> Result<(), Failure> {
    let mut table = Table::new(&["SCENARIO", "TAKES", "WHAT FOR"]);
    for (name, text) in SHIPPED {
        let scenario: Scenario = text.parse().expect("shipped scenarios are tested");
        let takes = scenario.lasts().map_or(String::new(), format_span);
        table.row([name.to_owned(), takes, scenario.about]);
    }
    table.print()
}

fn history(config: &Config, limit: u32) -> Result<(), Failure> {
    let api = config.reach.api()?;
    let path = format!("/drills?limit={limit}");
    match config.format {
        Format::Json => print_json(&api.get::<Value>(&path)?),
        Format::Table => show::history(&api.get::<Vec<Drill>>(&path)?),
    }
}

/// Everything that a drill needs before anything is done.
struct Ready {
    engine: Engine,
    ledger: Ledger,
    id: DrillId,
}

fn drill(config: &Config) -> Result<DrillReport, Failure> {
    if let Some(path) = &config.html {
        let made = File::options().create(true).append(true).open(path);
        made.map_err(|error| Failure::Usage(format!("--html: {}: {error}", path.display())))?;
    }
    let report = block_on(async {
        let engine = Engine::connect(&config.engine).map_err(|error| Failure::Usage(error.to_string()))?;
        NetAbility::refusals(&config.scenario.kinds()).map_err(Failure::Failed)?;
        let ledger = Ledger::open(&config.data_dir).map_err(|error| {
            Failure::Failed(format!("{error}; choose a folder that can be written with --data-dir"))
        })?;
        for swept in sweep(&ledger).await.map_err(|error| Failure::Failed(error.to_string()))? {
            if let Err(why) = swept.outcome {
                note(&format!("what an earlier run left is not undone: {}", clean(&why, 200)));
            }
        }
        engine.ping().await?;
        let shutdown = until_told_to_stop()?;
        let ready = Ready { engine: engine.clone(), ledger, id: DrillId::now_v7() };
        let Some(count) = config.dummies else { return play(config, ready, None, &shutdown).await };
        let dummies = Dummies::of(engine, ready.id);
        note(&format!("making an image of this very program, and {count} containers of it"));
        let played = match dummies.raise(count, &config.scenario).await {
            Ok(names) => play(config, ready, Some((&dummies, names)), &shutdown).await,
            Err(failure) => Err(failure),
        };
        let cleared = dummies.clear().await;
        let report = played?;
        cleared?;
        Ok(report)
    })?;
    match config.format {
        Format::Table => show::report(&report)?,
        Format::Json => print_json(&report)?,
    }
    if let Some(path) = &config.html {
        let written = std::fs::write(path, page(&report));
        written.map_err(|error| Failure::Failed(format!("--html: {}: {error}", path.display())))?;
    }
    Ok(report)
}

/// Plays the scenario, joins it with what the agent says, and stores what comes of it.
async fn play(
    config: &Config,
    ready: Ready,
    dummies: Option<(&Dummies, Vec<ContainerName>)>,
    shutdown: &CancellationToken,
) -> Result<DrillReport, Failure> {
    let mut scenario = config.scenario.clone();
    if dummies.is_some() {
        for phase in &mut scenario.phases {
            let ours = Selector::Label(dummies::LABEL.to_owned(), Some(ready.id.to_string()));
            phase.targets.among = Some(ours);
        }
    }
    let api = config.reach.api()?;
    let wanted = dummies.as_ref().map(|(_, names)| names.as_slice()).unwrap_or_default();
    let cast = Cast::gather(&api, &ready.engine, &scenario, wanted, shutdown).await?;
    let request = DrillRequest {
        hostname: cast.host.clone(),
        scenario: scenario.name.clone(),
        seed: config.seed,
        containers: cast.thresholds.keys().cloned().collect(),
    };
    let started = Timestamp::now();
    let (roster, seen) = watch::channel(Roster::default());
    let line = Line::begin(api, ready.id, request, roster.clone())?;
    let lasts =
        scenario.lasts().map_or("without end".to_owned(), |lasts| format!("for {}", format_span(lasts)));
    note(&format!(
        "drill {} of {} on {} containers of {}, {lasts}, seed {}",
        ready.id,
        scenario.name,
        cast.thresholds.len(),
        cast.host,
        config.seed
    ));

    let (stop, stopped) = mpsc::channel();
    let following = std::thread::spawn(move || line.follow(&stopped));
    let taking_part: BTreeSet<_> = cast.thresholds.keys().cloned().collect();
    let history = History::of(&config.data_dir);
    let keeper = Keeper::new(ready.ledger, config.engine.clone(), Some(ready.id.to_string()));
    let mut noted = Noted::new(Box::new(keeper), None, history.tell());
    let mut arena = DrillArena::new(&mut noted, taking_part, seen);
    let plan = AntagonistConfig { scenario: scenario.clone(), seed: config.seed, mode: AttackMode::Act };
    let mut recorder = Recorder::new(&scenario, &cast.thresholds, roster.clone());
    run_antagonist(&plan, &ready.engine, &mut arena, shutdown, |news| recorder.hear(&news)).await;
    drop(noted);
    history.finish();
    let mut troubles = Vec::new();
    if let Some(why) = &recorder.aborted {
        troubles.push(format!("the campaign ended early: {why}"));
    }
    if shutdown.is_cancelled() {
        troubles.push("the campaign was told to end early".to_owned());
    } else {
        settle(&roster, shutdown).await;
    }
    let faults = std::mem::take(&mut recorder.faults);
    drop(stop);
    let line =
        following.join().map_err(|_| Failure::Failed("the line to the controller broke".to_owned()))?;
    // While the drill still marks what becomes of them.
    if let Some((dummies, _)) = &dummies
        && let Err(failure) = dummies.clear().await
    {
        note(&format!("the dummies are not all removed yet: {failure}"));
    }
    let (api, events, trouble) = line.end();
    troubles.extend(trouble);
    if faults.is_empty() {
        let why = troubles.first().map_or("nobody could be attacked".to_owned(), Clone::clone);
        return Err(Failure::Failed(format!("no fault was done: {why}")));
    }
    let header = Header {
        id: ready.id,
        hostname: cast.host,
        scenario: scenario.name,
        about: scenario.about,
        seed: config.seed,
        containers: cast.thresholds.len() as u64,
        started,
        ended: Timestamp::now(),
        troubles,
    };
    let containers = cast.thresholds.into_keys().collect();
    let report = report(header, &Story { faults, events, containers, needs: cast.needs });
    if let Err(error) = line::store(&api, &report) {
        note(&format!("the report is not in the history: {error}"));
    }
    Ok(report)
}

/// Waits until the agent has said of everybody that they are well again, or has had time enough for it.
async fn settle(roster: &watch::Sender<Roster>, shutdown: &CancellationToken) {
    note("waiting until all have recovered");
    while !roster.borrow().is_quiet(Instant::now()) {
        let pause = shutdown.run_until_cancelled(sleep(Duration::from_millis(250))).await;
        if pause.is_none() {
            return;
        }
    }
}
