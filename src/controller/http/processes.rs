//! The processes of a container.

use std::sync::Arc;

use http::StatusCode;

use super::problem::Problem;
use super::request::Request;
use super::{Answer, Api, json};
use crate::bus::{AgentCommand, AgentReply};
use crate::model::ProcessList;

/// How many are told unless asked for otherwise, and at most.
const USUAL: usize = 20;
const MOST: usize = 1000;

/// The processes of a container, now.
///
/// Its agent watches them for a second. Of their command lines only the programs' names are told, since arguments may hold
/// secrets.
#[utoipa::path(
    get, path = "/api/v1/containers/{hostname}/{containerName}/processes", tag = "containers",
    params(
        ("hostname" = String, Path), ("containerName" = String, Path),
        ("limit" = Option<u64>, Query, description = "At most so many, 1 to 1000; 20 unless given"),
    ),
    responses(
        (status = 200, description = "The processes, the busiest first", body = ProcessList),
        (status = 404, description = "No such host or container", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It does not run, or the agent cannot see them; the detail says why", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The agent does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn processes(api: Arc<Api>, request: Request) -> Answer {
    let key = request.container()?;
    let limit = request.query.limit(USUAL, MOST)?;
    api.known_host(&key.host)?;
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    match api.command(&key.host, &AgentCommand::Processes { container: key.name, limit }).await? {
        AgentReply::Processes(list) => Ok(json(StatusCode::OK, &cleaned(*list))),
        _ => Err(Problem::new(
            StatusCode::BAD_GATEWAY,
            format!("the agent of host {} answers, but not with processes", key.host),
        )),
    }
}

/// What another host says is cleaned once more.
fn cleaned(mut list: ProcessList) -> ProcessList {
    list.processes.truncate(MOST);
    for process in &mut list.processes {
        process.command = crate::model::clean(&process.command, 64);
    }
    list
}
