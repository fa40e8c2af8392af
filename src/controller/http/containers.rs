//! Containers: the list, one of them, and what is wanted of it.

use std::str::FromStr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use super::dto::{Accepted, Container, ContainerDetails, Freshness, MaintenanceRequest, Monitoring};
use super::problem::Problem;
use super::request::Request;
use super::{Answer, Api, json, no_content};
use crate::bus::{AgentCommand, AgentReply};
use crate::controller::desired::{Change, Edit};
use crate::controller::fleet::{HostSnapshot, Listing};
use crate::model::{ContainerKey, Event, Health, HostName, RunState, Threshold, Timestamp, parse_span};
use crate::store::{EventOrder, EventQuery};

/// How many hosts were asked.
pub(super) const EXPECTED: HeaderName = HeaderName::from_static("dockhealth-hosts-expected");
/// How many answered in time.
pub(super) const ANSWERED: HeaderName = HeaderName::from_static("dockhealth-hosts-answered");
/// The names of those that did not, separated by commas.
pub(super) const MISSING: HeaderName = HeaderName::from_static("dockhealth-hosts-missing");

/// The longest list of missing hosts in a header, bytes: clients bound their headers.
const LONGEST_MISSING: usize = 4096;

/// How many events explain a container whose agent does not answer.
const EVENTS_SHOWN: usize = 50;

const STATES: [RunState; 8] = [
    RunState::Created,
    RunState::Running,
    RunState::Paused,
    RunState::Restarting,
    RunState::Removing,
    RunState::Exited,
    RunState::Dead,
    RunState::Unknown,
];

struct Filter {
    host: Option<HostName>,
    monitored: Option<bool>,
    status: Option<Vec<RunState>>,
    health: Option<Vec<Health>>,
}

impl Filter {
    fn keeps(&self, container: &Container) -> bool {
        self.host.as_ref().is_none_or(|host| *host == container.hostname)
            && self.monitored.is_none_or(|monitored| monitored == container.monitored)
            && self.status.as_ref().is_none_or(|all| all.contains(&container.status))
            && self.health.as_ref().is_none_or(|all| all.contains(&container.health))
    }
}

/// The fleet's containers.
///
/// Asks every live host and waits until all have answered, at most for the response window (4 s). Containers of hosts
/// that did not answer are left out; the headers `Dockhealth-Hosts-*` say whose.
#[utoipa::path(
    get, path = "/api/v1/containers", tag = "containers",
    params(
        ("host" = Option<String>, Query, description = "Only of this host"),
        ("monitored" = Option<bool>, Query, description = "Only monitored ones, or only others"),
        ("status" = Option<String>, Query, description = "Only in these states, separated by commas"),
        ("health" = Option<String>, Query, description = "Only of this health, several separated by commas"),
        ("stale" = Option<bool>, Query, description = "Adds, marked, what was last known of hosts that did not answer"),
    ),
    responses(
        (status = 200, description = "The containers, by host and name", body = Vec<Container>, headers(
            ("Dockhealth-Hosts-Expected" = u64, description = "How many hosts were asked"),
            ("Dockhealth-Hosts-Answered" = u64, description = "How many answered in time"),
            ("Dockhealth-Hosts-Missing" = String, description = "Those that did not, separated by commas"),
        )),
        (status = 503, description = "The bus is down", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(api: Arc<Api>, request: Request) -> Answer {
    let query = &request.query;
    let filter = Filter {
        host: query.read("host", HostName::from_str)?,
        monitored: query.flag("monitored")?,
        status: query.words("status", &STATES, RunState::as_str)?,
        health: query.words("health", &Health::ALL, Health::as_str)?,
    };
    let stale = query.flag("stale")?.unwrap_or(false);
    let listing = api.fleet.list().await?;
    let mut containers = rows(&listing, stale);
    containers.retain(|container| filter.keeps(container));
    let mut response = json(StatusCode::OK, &containers);
    let headers = response.headers_mut();
    let mut missing = String::new();
    for host in listing.round.missing() {
        if missing.len() + host.as_str().len() > LONGEST_MISSING {
            missing.push_str(", ...");
            break;
        }
        let comma = if missing.is_empty() { "" } else { ", " };
        missing.push_str(comma);
        missing.push_str(host.as_str());
    }
    headers.insert(EXPECTED, listing.round.expected().into());
    headers.insert(ANSWERED, listing.round.answered().len().into());
    headers.insert(MISSING, HeaderValue::from_str(&missing).expect("host names are plain ASCII"));
    Ok(response)
}

fn rows(listing: &Listing, stale: bool) -> Vec<Container> {
    let mut rows = Vec::new();
    for (name, host) in listing.view.iter() {
        let freshness =
            if listing.round.answered().contains(name) { Freshness::Fresh } else { Freshness::Stale };
        if freshness == Freshness::Stale && !stale {
            continue;
        }
        let mut of_host: Vec<_> = host
            .report
            .iter()
            .flat_map(|report| &report.containers)
            .map(|container| Container::new(name, container, freshness))
            .collect();
        of_host.sort_by(|a, b| a.name.cmp(&b.name));
        rows.append(&mut of_host);
    }
    rows
}

/// One container, explained.
///
/// Its agent is asked; when that does not answer, this is what was last known, marked `stale`.
#[utoipa::path(
    get, path = "/api/v1/containers/{hostname}/{containerName}", tag = "containers",
    params(("hostname" = String, Path), ("containerName" = String, Path)),
    responses(
        (status = 200, description = "The container, its last checks, decisions and actions", body = ContainerDetails),
        (status = 404, description = "No such host or container", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(api: Arc<Api>, request: Request) -> Answer {
    let key = request.container()?;
    let host = api.known_host(&key.host)?;
    if host.is_live() {
        match api.command(&key.host, &AgentCommand::Why { container: key.name.clone() }).await {
            Ok(AgentReply::Why(why)) => {
                return Ok(json(StatusCode::OK, &ContainerDetails::new(&key.host, *why)));
            }
            Err(problem) if problem.status == 404 => return Err(problem),
            Ok(_) => tracing::debug!(host = %key.host, "the agent's answer to why is something else"),
            Err(problem) => tracing::debug!(host = %key.host, "why is not answered: {}", problem.detail),
        }
    }
    let details = last_known(&api, &key, &host).await?;
    Ok(json(StatusCode::OK, &details))
}

async fn last_known(api: &Api, key: &ContainerKey, host: &HostSnapshot) -> Result<ContainerDetails, Problem> {
    let report = host.report.as_ref().and_then(|r| r.containers.iter().find(|c| c.name == key.name));
    let report = report.ok_or_else(|| {
        Problem::not_found(format!("host {} had no container {} when last heard", key.host, key.name))
    })?;
    let query = EventQuery {
        host: Some(key.host.clone()),
        container: Some(key.name.clone()),
        order: EventOrder::NewestFirst,
        limit: EVENTS_SHOWN,
        ..EventQuery::default()
    };
    let mut events: Vec<Event> = api.db.events(query).await?;
    events.reverse();
    Ok(ContainerDetails {
        container: Container::new(&key.host, report, Freshness::Stale),
        threshold: None,
        monitored_by: None,
        checks: Vec::new(),
        events,
        brakes: Vec::new(),
        efficacy: None,
        network: None,
    })
}

/// Monitor a container.
#[utoipa::path(
    post, path = "/api/v1/containers/{hostname}/{containerName}", tag = "containers",
    params(("hostname" = String, Path), ("containerName" = String, Path)),
    responses(
        (status = 200, description = "It is monitored", body = Monitoring),
        (status = 202, description = "It will be, once that host has it", body = Monitoring),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn monitor(api: Arc<Api>, request: Request) -> Answer {
    let key = request.container()?;
    let host = api.known_host(&key.host)?;
    api.desired.change(Change::Container(key.clone(), Edit::Monitor), &request.caller).await?;
    let has = host.report.as_ref().is_some_and(|r| r.containers.iter().any(|c| c.name == key.name));
    let (status, detail) = match (host.is_live(), has) {
        (true, true) => (StatusCode::OK, format!("{} is monitored", key.name)),
        (true, false) => (
            StatusCode::ACCEPTED,
            format!("host {} has no container {} now; it is monitored as soon as it has", key.host, key.name),
        ),
        (false, _) => (
            StatusCode::ACCEPTED,
            format!("host {} is silent; {} is monitored as soon as it is back", key.host, key.name),
        ),
    };
    let monitoring = Monitoring { hostname: key.host, name: key.name, monitored: true, detail };
    Ok(json(status, &monitoring))
}

/// Unmonitor a container, whatever its label or `--monitor-all` say.
#[utoipa::path(
    delete, path = "/api/v1/containers/{hostname}/{containerName}", tag = "containers",
    params(("hostname" = String, Path), ("containerName" = String, Path)),
    responses(
        (status = 204, description = "It is not monitored"),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn unmonitor(api: Arc<Api>, request: Request) -> Answer {
    edit(&api, &request, Edit::Unmonitor).await
}

/// Restart a container now.
#[utoipa::path(
    post, path = "/api/v1/containers/{hostname}/{containerName}/restart", tag = "containers",
    params(("hostname" = String, Path), ("containerName" = String, Path)),
    responses(
        (status = 202, description = "Begun; the outcome will be an event", body = Accepted),
        (status = 404, description = "No such host or container", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The agent will not; the detail says why", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The agent does not answer", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn restart(api: Arc<Api>, request: Request) -> Answer {
    let key = request.container()?;
    api.known_host(&key.host)?;
    tracing::info!(host = %key.host, container = %key.name, by = request.caller, "asked to restart");
    api.command(&key.host, &AgentCommand::Restart { container: key.name.clone() }).await?;
    let detail = format!("host {} restarts {}; the outcome will be an event", key.host, key.name);
    Ok(json(StatusCode::ACCEPTED, &Accepted { detail }))
}

/// End a container's quarantine and forget its restart budget.
#[utoipa::path(
    post, path = "/api/v1/containers/{hostname}/{containerName}/release", tag = "containers",
    params(("hostname" = String, Path), ("containerName" = String, Path)),
    responses(
        (status = 204, description = "Released"),
        (status = 404, description = "No such host or container", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The agent will not; the detail says why", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The agent does not answer", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn release(api: Arc<Api>, request: Request) -> Answer {
    let key = request.container()?;
    api.known_host(&key.host)?;
    tracing::info!(host = %key.host, container = %key.name, by = request.caller, "asked to release");
    api.command(&key.host, &AgentCommand::Release { container: key.name }).await?;
    Ok(no_content())
}

/// Give a container a threshold of its own.
#[utoipa::path(
    put, path = "/api/v1/containers/{hostname}/{containerName}/threshold", tag = "containers",
    params(("hostname" = String, Path), ("containerName" = String, Path)),
    request_body(content = f64, description = "Percent, 0 to 100", content_type = "application/json"),
    responses(
        (status = 204, description = "Stored"),
        (status = 400, description = "Not a number from 0 to 100", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn set_threshold(api: Arc<Api>, request: Request) -> Answer {
    let threshold = threshold_in(&request)?;
    edit(&api, &request, Edit::Threshold(Some(threshold))).await
}

/// The threshold that a body holds.
pub(super) fn threshold_in(request: &Request) -> Result<Threshold, Problem> {
    request.json("a JSON number from 0 to 100, for example 50")
}

/// Let the fleet's threshold hold for a container again.
#[utoipa::path(
    delete, path = "/api/v1/containers/{hostname}/{containerName}/threshold", tag = "containers",
    params(("hostname" = String, Path), ("containerName" = String, Path)),
    responses(
        (status = 204, description = "It has none of its own"),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn unset_threshold(api: Arc<Api>, request: Request) -> Answer {
    edit(&api, &request, Edit::Threshold(None)).await
}

/// Leave a container alone for a while: it is checked and shown, not healed.
#[utoipa::path(
    put, path = "/api/v1/containers/{hostname}/{containerName}/maintenance", tag = "containers",
    params(("hostname" = String, Path), ("containerName" = String, Path)),
    request_body = MaintenanceRequest,
    responses(
        (status = 204, description = "Stored"),
        (status = 400, description = "Neither a span nor a time to come", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn set_maintenance(api: Arc<Api>, request: Request) -> Answer {
    const SHAPE: &str = "{\"for\": \"1h\"} or {\"until\": \"2026-11-22T08:30:00Z\"}";
    let body: MaintenanceRequest = request.json(SHAPE)?;
    let now = api.clock.now().wall;
    let until = match (body.span, body.until) {
        (Some(span), None) => {
            now.after(parse_span(&span).map_err(|e| Problem::bad_request(format!("for: {e}")))?)
        }
        (None, Some(until)) => until,
        _ => return Err(Problem::bad_request(format!("the body must be {SHAPE}: exactly one of the two"))),
    };
    edit(&api, &request, Edit::Maintenance(Some(to_come(until, now)?))).await
}

/// `until`, when it is later than `now`.
pub(super) fn to_come(until: Timestamp, now: Timestamp) -> Result<Timestamp, Problem> {
    if until > now {
        return Ok(until);
    }
    Err(Problem::bad_request(format!("{until} is not in the future; it is {now} now")))
}

/// End a container's maintenance.
#[utoipa::path(
    delete, path = "/api/v1/containers/{hostname}/{containerName}/maintenance", tag = "containers",
    params(("hostname" = String, Path), ("containerName" = String, Path)),
    responses(
        (status = 204, description = "It is in none"),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn end_maintenance(api: Arc<Api>, request: Request) -> Answer {
    edit(&api, &request, Edit::Maintenance(None)).await
}

async fn edit(api: &Api, request: &Request, edit: Edit) -> Answer {
    let key = request.container()?;
    api.known_host(&key.host)?;
    api.desired.change(Change::Container(key, edit), &request.caller).await?;
    Ok(no_content())
}
