//! `dockhealth cpu-collect`: CPU and memory of this host's containers, as `docker stats` computes them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use tokio::time::MissedTickBehavior;

use super::Failure;
use super::output::print;
use super::runtime::block_on;
use super::settings::{OPTIONS, Resolver, Setting, parse, table as t, with_settings};
use crate::docker::{ContainerSource, Engine, EngineAddress};
use crate::metrics::{ContainerUsage, UsageFormat, UsageSampler, render};
use crate::model::{ContainerFacts, ContainerName, RunState};

const ONCE: Setting =
    Setting::switch().flag_only().called("once", OPTIONS, "Measure for a second, print and end");
const INTERVAL: Setting =
    Setting::value("SPAN").or("10s").flag_only().called("interval", OPTIONS, "Time between two samples");
const FORMAT: Setting = Setting::value("table|json|csv").or("table").flag_only().called(
    "format",
    OPTIONS,
    "How they are printed",
);

/// What CPU usage is measured over when nobody waits for an interval.
const ONCE_SPAN: Duration = Duration::from_secs(1);

/// Its arguments.
pub(super) fn command() -> Command {
    let names = Arg::new("container")
        .value_name("CONTAINER")
        .action(ArgAction::Append)
        .num_args(0..)
        .help("Only these; without a name, all that run");
    let about = "Measure CPU and memory of this host's containers, from cgroup files";
    with_settings(
        Command::new("cpu-collect").about(about).arg(names),
        &[&[&ONCE, &INTERVAL, &FORMAT, &t::DOCKER_HOST]],
    )
    .after_help("Two busy cores are 200 %. With --interval each sample is one JSON array on a line.")
}

struct Config {
    names: Vec<ContainerName>,
    once: bool,
    interval: Duration,
    format: UsageFormat,
    engine: EngineAddress,
}

fn config(mut r: Resolver) -> Result<Config, Failure> {
    let config = Config {
        names: r.positional("container", parse::typed::<ContainerName>),
        once: r.switch(&ONCE),
        interval: r.get(&INTERVAL, parse::span(parse::millis(100, 86_400_000))),
        format: r.get(&FORMAT, parse::typed::<UsageFormat>),
        engine: r.get(&t::DOCKER_HOST, parse::typed::<EngineAddress>),
    };
    Ok(r.finish(config)?)
}

/// Measures and prints.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let config = config(Resolver::new(matches))?;
    block_on(async {
        let engine = Engine::connect(&config.engine).map_err(|error| Failure::Usage(error.to_string()))?;
        let mut sampler = UsageSampler::new(Path::new("/"), Some(Arc::new(engine.clone())));
        if config.once {
            let containers = choose(&engine, &config.names).await?;
            return print(&render(&sampler.measure(&containers, ONCE_SPAN).await, config.format));
        }
        let mut ticks = tokio::time::interval(config.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first sample only begins the measuring of CPU time.
        ticks.tick().await;
        sampler.sample(&choose(&engine, &config.names).await?).await;
        for turn in 0_u64.. {
            ticks.tick().await;
            let containers = choose(&engine, &config.names).await?;
            print(&page(&sampler.sample(&containers).await, config.format, turn))?;
        }
        Ok(())
    })
}

/// One sample of many: CSV has its header once, tables are apart.
fn page(rows: &[ContainerUsage], format: UsageFormat, turn: u64) -> String {
    let text = render(rows, format);
    match format {
        _ if turn == 0 => text,
        UsageFormat::Csv => text.split_once('\n').map_or_else(String::new, |(_, rows)| rows.to_owned()),
        UsageFormat::Table => format!("\n{text}"),
        UsageFormat::Json => text,
    }
}

/// The containers named, which must exist, or all that run.
async fn choose(engine: &Engine, names: &[ContainerName]) -> Result<Vec<ContainerFacts>, Failure> {
    let mut containers = engine.list().await?;
    if names.is_empty() {
        containers.retain(|c| c.state == RunState::Running);
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        return Ok(containers);
    }
    let find = |name: &ContainerName| {
        let found = containers.iter().find(|c| c.name == *name).cloned();
        found.ok_or_else(|| Failure::NotFound(format!("there is no container {name} on this machine")))
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_its_header_once_and_tables_are_apart() {
        assert!(page(&[], UsageFormat::Csv, 0).starts_with("name,id,"));
        assert_eq!(page(&[], UsageFormat::Csv, 1), "");
        assert!(page(&[], UsageFormat::Table, 1).starts_with('\n'));
        assert_eq!(page(&[], UsageFormat::Json, 1), "[]\n");
    }
}
