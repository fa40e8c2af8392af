//! Drills: begun and gone on with by who runs them, their reports, and their history.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use super::problem::Problem;
use super::request::Request;
use super::{Answer, Api, json, no_content};
use crate::bus::AgentCommand;
use crate::model::{Drill, DrillId, DrillReport, DrillRequest, HostName, clean};
use crate::store::MAX_LIMIT;

/// How many are given when nobody says.
const DEFAULT_LIMIT: usize = 50;

/// How long an agent believes in a drill without being told again.
const LEASE: Duration = Duration::from_secs(20);

/// The most containers of one drill.
const MAX_CONTAINERS: usize = 1_000;

/// The most faults, false alarms and findings that a report lists.
const MAX_FAULTS: usize = 2_000;
const MAX_ALARMS: usize = 200;
const MAX_FINDINGS: usize = 200;

/// The longest name of a scenario, characters.
const MAX_NAME: usize = 80;

/// A drill and its report.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct DrillDetails {
    /// The drill.
    drill: Drill,
    /// Its report; null while there is none.
    report: Option<DrillReport>,
}

/// The last drills with their figures, the newest first.
#[utoipa::path(
    get, path = "/api/v1/drills", tag = "drills",
    params(("limit" = Option<u64>, Query, description = "At most so many, 1 to 1000; 50 when absent")),
    responses((status = 200, description = "The drills", body = Vec<Drill>))
)]
pub(super) async fn list(api: Arc<Api>, request: Request) -> Answer {
    let limit = request.query.limit(DEFAULT_LIMIT, MAX_LIMIT)?;
    Ok(json(StatusCode::OK, &api.db.drills(limit, api.clock.now().wall).await?))
}

/// One drill, with every fault and how it was answered.
#[utoipa::path(
    get, path = "/api/v1/drills/{id}", tag = "drills",
    params(("id" = String, Path, description = "Its UUID")),
    responses(
        (status = 200, description = "The drill", body = DrillDetails),
        (status = 404, description = "No such drill", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(api: Arc<Api>, request: Request) -> Answer {
    let id = id(&request)?;
    let (drill, report) = known(&api, id).await?;
    Ok(json(StatusCode::OK, &DrillDetails { drill, report }))
}

/// Begin a drill, or go on with it: to be repeated every few seconds, for after 20 s it is over by itself.
///
/// The host's agent marks what the faults cause with the id, tells nobody of it, and counts its actions in budgets of
/// the drill's own.
#[utoipa::path(
    put, path = "/api/v1/drills/{id}", tag = "drills",
    params(("id" = String, Path, description = "A new UUID, best of version 7")),
    request_body = DrillRequest,
    responses(
        (status = 204, description = "It goes on for 20 s"),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is over, or another one is under way there", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The agent there knows of no drills", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The agent does not answer", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn begin(api: Arc<Api>, request: Request) -> Answer {
    let id = id(&request)?;
    let mut body: DrillRequest = request.json(
        "{\"hostname\": \"web1\", \"scenario\": \"mixed\", \"seed\": 7, \"containers\": [\"web-1\"]}",
    )?;
    body.scenario = clean(&body.scenario, MAX_NAME);
    if body.containers.len() > MAX_CONTAINERS {
        return Err(Problem::bad_request(format!(
            "containers: {} are more than {MAX_CONTAINERS}",
            body.containers.len()
        )));
    }
    api.known_host(&body.hostname)?;
    let now = api.clock.now().wall;
    let begins = match api.db.drill(id, now).await? {
        Some((drill, _)) if drill.ended.is_some() || drill.hostname != body.hostname => {
            let detail = format!("the drill {id} is over, or of another host: begin another");
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        known => known.is_none(),
    };
    if begins {
        tracing::info!(host = %body.hostname, drill = %id, by = request.caller, "a drill of {} begins", body.scenario);
    }
    tell(&api, id, &body.hostname, &body, LEASE).await?;
    api.history.note(api.db.save_drill(id, body, now).await)?;
    Ok(no_content())
}

/// End a drill now; its report may follow.
#[utoipa::path(
    delete, path = "/api/v1/drills/{id}", tag = "drills",
    params(("id" = String, Path, description = "Its UUID")),
    responses(
        (status = 204, description = "It is over"),
        (status = 404, description = "No such drill", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The agent does not answer; there it is over within 20 s", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn end(api: Arc<Api>, request: Request) -> Answer {
    let id = id(&request)?;
    let (drill, _) = known(&api, id).await?;
    let Drill { hostname, scenario, seed, .. } = drill;
    let over = DrillRequest { hostname: hostname.clone(), scenario, seed, containers: Vec::new() };
    tell(&api, id, &hostname, &over, Duration::ZERO).await?;
    Ok(no_content())
}

/// Store a drill's report, once.
#[utoipa::path(
    put, path = "/api/v1/drills/{id}/report", tag = "drills",
    params(("id" = String, Path, description = "Its UUID")),
    request_body(content = DrillReport, description = "At most 1 MiB"),
    responses(
        (status = 204, description = "Stored"),
        (status = 400, description = "Of another drill, or too long", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has a report already", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn report(api: Arc<Api>, request: Request) -> Answer {
    let id = id(&request)?;
    let report: DrillReport = request.json("the report of a drill")?;
    if report.id != id {
        return Err(Problem::bad_request(format!("id: the report is of {}, the path of {id}", report.id)));
    }
    for (field, count, most) in [
        ("faults", report.faults.len(), MAX_FAULTS),
        ("false_alarms", report.false_alarms.len(), MAX_ALARMS),
        ("findings", report.findings.len(), MAX_FINDINGS),
    ] {
        if count > most {
            return Err(Problem::bad_request(format!("{field}: {count} are more than {most}")));
        }
    }
    let now = api.clock.now().wall;
    tracing::info!(host = %report.hostname, drill = %id, passed = report.passed, "a drill ended");
    api.history.note(api.db.save_report(report, now).await)?;
    Ok(no_content())
}

async fn tell(
    api: &Api,
    id: DrillId,
    host: &HostName,
    request: &DrillRequest,
    lasts: Duration,
) -> Result<(), Problem> {
    let command = AgentCommand::Drill {
        id,
        scenario: request.scenario.clone(),
        containers: request.containers.clone(),
        for_ms: u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX),
    };
    api.command(host, &command).await.map(drop)
}

async fn known(api: &Api, id: DrillId) -> Result<(Drill, Option<DrillReport>), Problem> {
    let found = api.db.drill(id, api.clock.now().wall).await?;
    found.ok_or_else(|| Problem::not_found(format!("there is no drill {id}; GET /api/v1/drills lists them")))
}

fn id(request: &Request) -> Result<DrillId, Problem> {
    request
        .segment(0)
        .parse()
        .map_err(|_| Problem::bad_request(format!("{:?} is no UUID", clean(request.segment(0), 40))))
}
