//! `dockhealth autoscale reset`: removes what pools left on this host.

use clap::{ArgMatches, Command};

use crate::cmd::Failure;
use crate::cmd::options::JSON;
use crate::cmd::output::{print, print_json};
use crate::cmd::runtime::block_on;
use crate::cmd::settings::{OPTIONS, Resolver, Setting, parse, table as t, with_settings};
use crate::docker::{AnonymousVolumes, ContainerBuilder, ContainerSource, Engine, EngineAddress};
use crate::model::{ContainerName, PoolName, clean};
use crate::scale::pool::{POOL_LABEL, PoolClaim};

const POOL: Setting = Setting::value("NAME").flag_only().called("name", OPTIONS, "Only this pool's");

/// Its arguments.
pub(super) fn command() -> Command {
    let about = "Remove the containers that pools left on this host; those of pools that run stay";
    with_settings(Command::new("reset").about(about), &[&[&POOL, &JSON, &t::DOCKER_HOST]])
}

/// Removes them.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let only = r.opt(&POOL, parse::typed::<PoolName>);
    let (engine, json) = (r.get(&t::DOCKER_HOST, parse::typed::<EngineAddress>), r.switch(&JSON));
    r.finish(())?;
    let engine = Engine::connect(&engine).map_err(|error| Failure::Usage(error.to_string()))?;
    let removed = block_on(reset(&engine, only.as_ref()))?;
    if json {
        return print_json(&removed);
    }
    if removed.is_empty() {
        return print("there is nothing to remove\n");
    }
    removed.iter().try_for_each(|name| print(&format!("removed {name}\n")))
}

async fn reset(engine: &Engine, only: Option<&PoolName>) -> Result<Vec<ContainerName>, Failure> {
    let mut removed = Vec::new();
    let mut running = None;
    for facts in engine.list().await? {
        let Some(pool) = facts.labels.get(POOL_LABEL) else { continue };
        if only.is_some_and(|only| only.as_str() != pool) {
            continue;
        }
        // Whose name no pool can have is nobody's.
        let claim = PoolName::new(pool).map(|name| PoolClaim::take(&name));
        if let Ok(Err(error)) = claim {
            running = Some(error);
            continue;
        }
        engine.remove(&facts.id, AnonymousVolumes::Remove).await?;
        removed.push(facts.name);
    }
    match running {
        Some(error) if only.is_some() => {
            Err(Failure::Failed(clean(&format!("{error}; end that first, then reset"), 300)))
        }
        _ => Ok(removed),
    }
}
