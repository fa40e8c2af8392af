//! The history: events and incidents.

use std::str::FromStr;
use std::sync::Arc;

use http::StatusCode;

use super::request::Request;
use super::{Answer, Api, json};
use crate::model::{ContainerName, Event, EventKind, HostName, Incident};
use crate::store::{EventOrder, EventQuery, IncidentQuery, MAX_LIMIT};

/// How many events or incidents are given when nobody says.
const DEFAULT_LIMIT: usize = 100;

/// Events, oldest first: those after a cursor, or else the last ones.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "history",
    params(
        ("after" = Option<u64>, Query, description = "Only those with a greater `seq`, the oldest of them"),
        ("before" = Option<u64>, Query, description = "Only those with a smaller `seq`, the newest of them"),
        ("kind" = Option<String>, Query, description = "Only these kinds, separated by commas"),
        ("host" = Option<String>, Query, description = "Only of this host"),
        ("container" = Option<String>, Query, description = "Only of containers of this name"),
        ("limit" = Option<u64>, Query, description = "At most so many, 1 to 1000; 100 when absent"),
    ),
    responses((status = 200, description = "The events", body = Vec<Event>))
)]
pub(super) async fn events(api: Arc<Api>, request: Request) -> Answer {
    let query = &request.query;
    let after = query.number("after")?;
    let order = if after.is_some() { EventOrder::OldestFirst } else { EventOrder::NewestFirst };
    let found = EventQuery {
        after,
        before: query.number("before")?,
        order,
        kinds: query.words("kind", EventKind::ALL, EventKind::as_str)?.unwrap_or_default(),
        host: query.read("host", HostName::from_str)?,
        container: query.read("container", ContainerName::from_str)?,
        limit: query.limit(DEFAULT_LIMIT, MAX_LIMIT)?,
    };
    let mut events: Vec<Event> = api.db.events(found).await?;
    if order == EventOrder::NewestFirst {
        events.reverse();
    }
    Ok(json(StatusCode::OK, &events))
}

/// Incidents, the last opened first.
#[utoipa::path(
    get, path = "/api/v1/incidents", tag = "history",
    params(
        ("open" = Option<bool>, Query, description = "Only open ones, or only closed ones"),
        ("host" = Option<String>, Query, description = "Only of this host"),
        ("limit" = Option<u64>, Query, description = "At most so many, 1 to 1000; 100 when absent"),
    ),
    responses((status = 200, description = "The incidents", body = Vec<Incident>))
)]
pub(super) async fn incidents(api: Arc<Api>, request: Request) -> Answer {
    let query = IncidentQuery {
        open: request.query.flag("open")?,
        host: request.query.read("host", HostName::from_str)?,
        limit: request.query.limit(DEFAULT_LIMIT, MAX_LIMIT)?,
    };
    Ok(json(StatusCode::OK, &api.db.incidents(query).await?))
}
