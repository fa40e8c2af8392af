//! Who takes part: the containers of this host that the scenario may attack, that its agent heals, and that are well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::chaos::Scenario;
use crate::client::{Api, ContainerView, DetailsView};
use crate::cmd::Failure;
use crate::cmd::output::note;
use crate::docker::{ContainerSource, Engine};
use crate::model::{ContainerFacts, ContainerName, EngineId, HostName, Threshold};

/// Containers that were just made are healthy by then.
const HEALTHY_WITHIN: Duration = Duration::from_mins(2);
/// The most that one drill takes.
const MOST: usize = 1_000;
/// Names that are shown of those that are left out.
const SHOWN: usize = 5;

/// Who takes part, and what the report needs to know of them.
#[derive(Debug)]
pub(super) struct Cast {
    /// This host, as the controller knows it.
    pub(super) host: HostName,
    /// Those who take part; each with the threshold that holds for it.
    pub(super) thresholds: BTreeMap<ContainerName, Threshold>,
    /// Which containers each needs.
    pub(super) needs: BTreeMap<ContainerName, BTreeSet<ContainerName>>,
}

/// A host, as far as it is told by its engine.
#[derive(Debug, Deserialize)]
struct HostEntry {
    hostname: HostName,
    presence: String,
    agent: Option<AgentEntry>,
}

#[derive(Debug, Deserialize)]
struct AgentEntry {
    engine: EngineEntry,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize)]
struct EngineEntry {
    id: Option<EngineId>,
}

impl Cast {
    /// Finds them. Those of `wanted` were just made, and are waited for.
    pub(super) async fn gather(
        api: &Api,
        engine: &Engine,
        scenario: &Scenario,
        wanted: &[ContainerName],
        shutdown: &CancellationToken,
    ) -> Result<Self, Failure> {
        let host = host(api, &engine.info().await?.id)?;
        wait_until_healthy(api, &host, wanted, shutdown).await?;
        let all = engine.list().await?;
        let meant = all.iter().filter(|container| {
            scenario.phases.iter().any(|phase| !phase.faults.is_empty() && phase.targets.allow(container))
        });
        let meant: BTreeSet<ContainerName> = meant.map(|container| container.name.clone()).collect();
        let views: Vec<ContainerView> = api.get(&format!("/containers?host={host}"))?;
        let well: BTreeSet<ContainerName> =
            views.into_iter().filter(takes_part).map(|view| view.name).collect();
        let left_out: Vec<&ContainerName> = meant.difference(&well).collect();
        if !left_out.is_empty() {
            let names: Vec<&str> = left_out.iter().take(SHOWN).map(|name| name.as_str()).collect();
            let more = if left_out.len() > SHOWN { ", ..." } else { "" };
            note(&format!(
                "left out, since they are not monitored or not well: {}{more} ({} in all)",
                names.join(", "),
                left_out.len()
            ));
        }
        let cast: Vec<ContainerName> = meant.intersection(&well).take(MOST).cloned().collect();
        if cast.is_empty() {
            return Err(Failure::NotFound(format!(
                "no container of this host takes part: it must be a target of the scenario (the label \
                 dockhealth.chaos=true, unless that names others), monitored, and well; {} are targets. --dummies 8 \
                 makes some for the drill",
                meant.len()
            )));
        }
        let mut thresholds = BTreeMap::new();
        for name in cast {
            let details: DetailsView = api.get(&format!("/containers/{host}/{name}"))?;
            let usual = || Threshold::new(50.0).expect("within its range");
            let own = details.threshold.and_then(|percent| Threshold::new(percent).ok());
            thresholds.insert(name, own.unwrap_or_else(usual));
        }
        let needs = all.iter().map(|container| (container.name.clone(), needs(container, &all)));
        let needs = needs.filter(|(_, needed)| !needed.is_empty()).collect();
        Ok(Self { host, thresholds, needs })
    }
}

/// The live host that has this engine.
fn host(api: &Api, engine: &EngineId) -> Result<HostName, Failure> {
    let hosts: Vec<HostEntry> = api.get("/hosts")?;
    let ours =
        |host: &&HostEntry| host.agent.as_ref().is_some_and(|agent| agent.engine.id.as_ref() == Some(engine));
    let found: Vec<&HostEntry> = hosts.iter().filter(ours).filter(|host| host.presence == "live").collect();
    match found[..] {
        [only] if only.agent.as_ref().is_some_and(|agent| agent.dry_run) => Err(Failure::Failed(format!(
            "the agent of {} runs with --dry-run: it heals nothing, so there is nothing to measure",
            only.hostname
        ))),
        [only] => Ok(only.hostname.clone()),
        [] => Err(Failure::NotFound(
            "no agent that this controller hears heals the engine of this host: start one with `dockhealth up`, or name \
             another controller with --server"
                .to_owned(),
        )),
        _ => Err(Failure::Failed(format!(
            "{} hosts of this controller claim the engine of this host: which of them heals cannot be told",
            found.len()
        ))),
    }
}

/// Whether what becomes of it can be judged.
fn takes_part(view: &ContainerView) -> bool {
    view.monitored && (is_well(view) || view.health == "not_pingable")
}

/// Whether its checks pass.
pub(super) fn is_well(view: &ContainerView) -> bool {
    matches!(view.health.as_str(), "healthy" | "degraded")
}

async fn wait_until_healthy(
    api: &Api,
    host: &HostName,
    wanted: &[ContainerName],
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    let end = Instant::now() + HEALTHY_WITHIN;
    loop {
        let views: Vec<ContainerView> = api.get(&format!("/containers?host={host}&health=healthy"))?;
        let healthy: BTreeSet<&ContainerName> = views.iter().map(|view| &view.name).collect();
        let waiting = wanted.iter().filter(|name| !healthy.contains(name)).count();
        if waiting == 0 {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(Failure::Failed(format!(
                "{waiting} of the dummies are not healthy after {} s; `dockhealth ps` says why",
                HEALTHY_WITHIN.as_secs()
            )));
        }
        let pause = shutdown.run_until_cancelled(sleep(Duration::from_millis(500))).await;
        pause.ok_or_else(|| Failure::Failed("told to end before it began".to_owned()))?;
    }
}

/// The containers that `container` needs: what it is linked to, and services of its project that have one replica alone.
fn needs(container: &ContainerFacts, all: &[ContainerFacts]) -> BTreeSet<ContainerName> {
    let linked = container.links.iter().filter_map(|link| all.iter().find(|other| other.is_called(link)));
    let mut needed: BTreeSet<ContainerName> = linked.map(|other| other.name.clone()).collect();
    let Some(project) = container.project() else { return needed };
    for needs in container.depends_on() {
        let of_it = |other: &&ContainerFacts| {
            other.project() == Some(project) && other.service() == Some(needs.service)
        };
        let replicas: Vec<&ContainerFacts> = all.iter().filter(of_it).collect();
        if let [only] = replicas[..] {
            needed.insert(only.name.clone());
        }
    }
    needed
}
