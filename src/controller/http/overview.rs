//! The fleet in figures, and whether all parts work: what a page shows before anything else.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::dto::{FreezeEntry, Readiness};
use super::request::Request;
use super::{Answer, Api, json, system};
use crate::bus::EngineStatus;
use crate::controller::Agents;
use crate::controller::fleet::FleetView;
use crate::model::{Health, Threshold};
use crate::store::{IncidentQuery, MAX_LIMIT};

/// The fleet in figures, and how its controller is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Overview {
    /// The controller's version.
    version: &'static str,
    /// Where the agents are.
    agents: AgentsAre,
    /// Whether the controller can do its work.
    controller: Readiness,
    /// How long what is stored is kept.
    retention: Retention,
    /// The fleet's threshold, percent; null until the desired state was read.
    #[schema(value_type = Option<f64>)]
    threshold: Option<Threshold>,
    /// The freezes that hold; null until the desired state was read.
    freezes: Option<Vec<FreezeEntry>>,
    /// The hosts.
    hosts: HostCounts,
    /// The containers of all hosts.
    containers: ContainerCounts,
    /// Incidents that are open; 1000: so many or more.
    incidents_open: usize,
}

/// Where the agents are.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum AgentsAre {
    /// One is within the controller's process (`up`); no other can join.
    Local,
    /// They speak over NATS; further ones may join.
    Nats,
}

/// How long what is stored is kept, seconds.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Retention {
    /// Metrics; null where another server keeps them.
    metrics: Option<u64>,
    /// Events and closed incidents.
    events: u64,
}

/// How many hosts there are.
#[derive(Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
struct HostCounts {
    /// That ever spoke and were not forgotten.
    total: usize,
    /// That spoke within the last 15 s.
    live: usize,
    /// Whose name or engine another claims too.
    in_conflict: usize,
    /// Live ones whose engine does not answer their agent.
    engine_unreachable: usize,
}

/// How many containers there are.
#[derive(Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
struct ContainerCounts {
    /// Of live hosts, and of others as they were last known.
    total: usize,
    /// Those of hosts that are not live: how they are is not known.
    unheard: usize,
    /// Monitored ones of live hosts.
    monitored: usize,
    /// Those of live hosts, by health.
    #[schema(value_type = BTreeMap<String, usize>)]
    by_health: BTreeMap<&'static str, usize>,
}

/// The fleet in figures, and how its controller is.
#[utoipa::path(
    get, path = "/api/v1/overview", tag = "system",
    responses((status = 200, description = "The fleet and its controller", body = Overview))
)]
pub(super) async fn overview(api: Arc<Api>, _request: Request) -> Answer {
    let open = IncidentQuery { open: Some(true), host: None, limit: MAX_LIMIT };
    let (hosts, containers) = counts(&api.fleet.view());
    let now = api.clock.now().wall;
    let overview = Overview {
        version: env!("CARGO_PKG_VERSION"),
        agents: match api.agents {
            Agents::Within => AgentsAre::Local,
            Agents::Elsewhere => AgentsAre::Nats,
        },
        controller: system::readiness(&api).await,
        retention: Retention {
            metrics: api.metrics.retention().map(|span| span.as_secs()),
            events: api.db.retention().age.as_secs(),
        },
        threshold: api.desired.threshold(),
        freezes: api.desired.state().map(|state| FreezeEntry::holding(&state, now)),
        hosts,
        containers,
        incidents_open: api.db.incidents(open).await?.len(),
    };
    Ok(json(StatusCode::OK, &overview))
}

fn counts(view: &FleetView) -> (HostCounts, ContainerCounts) {
    let (mut hosts, mut containers) = (HostCounts::default(), ContainerCounts::default());
    for host in view.values() {
        let (live, report) = (host.is_live(), host.report.as_deref());
        hosts.total += 1;
        hosts.live += usize::from(live);
        hosts.in_conflict += usize::from(host.conflict.is_some());
        let away = report.is_some_and(|report| report.engine.status != EngineStatus::Reachable);
        hosts.engine_unreachable += usize::from(live && away);
        let of_host = report.map_or(&[][..], |report| &report.containers);
        containers.total += of_host.len();
        if live {
            containers.monitored += of_host.iter().filter(|container| container.monitored).count();
            for container in of_host {
                *containers.by_health.entry(Health::as_str(container.health)).or_default() += 1;
            }
        } else {
            containers.unheard += of_host.len();
        }
    }
    (hosts, containers)
}
