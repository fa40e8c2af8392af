//! `dockhealth demo`: a few containers of its own, attacked on purpose, and what becomes of them, line by line.

mod stage;
mod story;

use std::time::Duration;

use clap::{ArgMatches, Command};
use tokio::time::Instant;

use super::Failure;
use super::output::print;
use super::reach::{self, Reach};
use super::runtime::{block_on, until_told_to_stop};
use super::settings::{Resolver, Setting, parse, table as t, with_settings};
use crate::docker::{ContainerActuator, ContainerSource, Engine, EngineAddress};
use crate::model::{EventKind, format_span};

use stage::Stage;
use story::Story;

const ANTAGONIST_FOR: Setting = Setting::value("SPAN").or("1m").flag_only().called(
    "for",
    "Options",
    "How long the antagonist stops containers at random",
);
const KEEP: Setting = Setting::switch().flag_only().called(
    "keep",
    "Options",
    "Leave the demo's containers and image where they are",
);

/// Between two attacks of the antagonist.
const ATTACK_EVERY: Duration = Duration::from_secs(12);
/// For a container to be healthy, or an attack to be healed.
const SOON: Duration = Duration::from_mins(2);
/// For five restarts with their backoff (10 + 20 + 40 + 80 s) to be spent.
const BUDGET_SPENT: Duration = Duration::from_mins(6);

/// Whom the antagonist stops.
const PREY: [&str; 2] = ["dummy-1", "dummy-2"];

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&ANTAGONIST_FOR, &KEEP, &t::DOCKER_HOST][..];
    let mut groups = vec![own];
    groups.extend(reach::SETTINGS);
    with_settings(
        Command::new("demo")
            .about("See a running `dockhealth up` heal a few containers made for that, and nothing else"),
        &groups,
    )
}

/// Plays it and cleans up; fails when something did not go as it should.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let engine = r.get(&t::DOCKER_HOST, parse::typed::<EngineAddress>);
    let span = r.get(&ANTAGONIST_FOR, parse::span(parse::millis(1_000, 3_600_000)));
    let keep = r.switch(&KEEP);
    r.finish(())?;
    let story = Story::begin(reach.api()?)?;
    block_on(async {
        let engine = Engine::connect(&engine).map_err(|error| Failure::Usage(error.to_string()))?;
        let told = until_told_to_stop()?;
        let stage = Stage { engine };
        stage.refuse_strangers().await?;
        let played = told.run_until_cancelled(play(&stage, story, span)).await;
        if keep {
            print(
                "\nThe demo's containers are kept (--keep); `dockhealth demo` again, or scripts/down, removes them.\n",
            )?;
        } else {
            stage.clear().await?;
        }
        played.unwrap_or_else(|| Err(Failure::Failed("ended before its end; it cleaned up".to_owned())))
    })
}

async fn play(stage: &Stage, mut story: Story, span: Duration) -> Result<(), Failure> {
    print(
        "This demo makes five containers called dockhealth-demo-* and an image dockhealth:demo, attacks the containers,\n\
         shows how they are healed, and removes all of it. It touches nothing else.\n\n",
    )?;
    stage.clear().await?;
    let others = story.others()?;
    story.say("making an image of this very program, and five containers")?;
    stage.make_image().await?;
    stage.raise().await?;
    for name in ["dummy-1", "dummy-2", "dummy-3"] {
        story.until_well(name, SOON).await?;
    }
    story.say("three dummies run and answer; dummy-3 loses 8 % of its packets, on purpose")?;

    let down = stop_one(stage, &mut story).await?;
    let (restarted, loss_after) = lose_all(stage, &mut story).await?;
    let stops = antagonize(stage, &mut story, span).await?;
    story.say("waiting for the crash loop to spend its restart budget")?;
    story.until("crash-loop", EventKind::Quarantined, BUDGET_SPENT).await?;

    let loops = story.count(&["crash-loop"], EventKind::ContainerStarted);
    let untouched = !stage.runs("bystander").await?;
    let (spared, touched) = (story.actions_on("dummy-3") == 0, story.actions_on_any(&others));
    let outcomes = [
        (true, format!("stopped -> running in {:.1} s", down.as_secs_f64())),
        (
            true,
            format!("100 % loss -> restarted {:.1} s later, {loss_after} % after", restarted.as_secs_f64()),
        ),
        (spared, "8 % loss under 50: left alone".to_owned()),
        (true, format!("antagonist: {stops} stopped at random, all running again")),
        (true, format!("crash loop: quarantined after {loops} restarts")),
        (untouched, "bystander: stopped, on nobody's list, untouched".to_owned()),
        (touched == 0, format!("yours: {} found, {touched} touched", others.len())),
    ];
    print("\n")?;
    for (well, line) in &outcomes {
        print(&format!("  {}  {line}\n", if *well { "ok  " } else { "FAIL" }))?;
    }
    if outcomes.iter().all(|(well, _)| *well) {
        return Ok(());
    }
    Err(Failure::Failed("the demo did not go as it should".to_owned()))
}

/// Stops dummy-1 as an administrator of the engine would; how long it was down by the engine's own clock.
async fn stop_one(stage: &Stage, story: &mut Story) -> Result<Duration, Failure> {
    story.say("stopping dummy-1")?;
    let id = stage.id("dummy-1").await?;
    stage.engine.stop(&id, None).await?;
    story.until("dummy-1", EventKind::ContainerStarted, SOON).await?;
    let facts = stage.engine.inspect(id.as_str()).await?;
    Ok(match (facts.started_at, facts.finished_at) {
        (Some(started), Some(finished)) => started.since(finished),
        _ => Duration::ZERO,
    })
}

/// Cuts dummy-2 off the network from inside; how long until it was restarted, and the loss it shows after, percent.
async fn lose_all(stage: &Stage, story: &mut Story) -> Result<(Duration, f64), Failure> {
    story.say("making dummy-2 lose all its packets")?;
    let id = stage.id("dummy-2").await?;
    stage.engine.exec_detached(&id, &["/dockhealth", "dummy", "--loss", "100"]).await?;
    let began = Instant::now();
    story.until("dummy-2", EventKind::ContainerRestarted, SOON).await?;
    let restarted = began.elapsed();
    story.until("dummy-2", EventKind::ContainerRecovered, SOON).await?;
    Ok((restarted, story.loss_of("dummy-2")?))
}

/// Stops dummy-1 or dummy-2 at random, again and again; how many stops there were.
async fn antagonize(stage: &Stage, story: &mut Story, span: Duration) -> Result<u32, Failure> {
    let every = ATTACK_EVERY.min(span / 2);
    story.say(&format!("an antagonist stops dummy-1 or dummy-2 every {}", format_span(every)))?;
    let before = story.count(&PREY, EventKind::ContainerStarted);
    let (end, mut stops) = (Instant::now() + span, 0);
    while Instant::now() + every <= end {
        story.watch_for(every).await?;
        if let Some(victim) = stage.stop_one_of(&PREY).await? {
            story.say(&format!("antagonist: stopped {victim}"))?;
            stops += 1;
        }
    }
    story.until_count(&PREY, EventKind::ContainerStarted, before + stops, SOON).await?;
    Ok(u32::try_from(stops).unwrap_or(u32::MAX))
}
