//! The fleet's threshold and the freezes.

use std::str::FromStr;
use std::sync::Arc;

use http::StatusCode;

use super::containers::{threshold_in, to_come};
use super::dto::FreezeEntry;
use super::problem::Problem;
use super::request::Request;
use super::{Answer, Api, json, no_content};
use crate::controller::desired::{Change, ChangeError};
use crate::model::{Freeze, FreezeScope, HostName, parse_span};

/// The fleet's threshold: the loss, in percent, above which a check fails.
#[utoipa::path(
    get, path = "/api/v1/threshold", tag = "settings",
    responses(
        (status = 200, description = "Percent, 0 to 100", body = f64, content_type = "application/json"),
        (status = 503, description = "The bus is down", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn threshold(api: Arc<Api>, _request: Request) -> Answer {
    api.need_bus()?;
    let threshold = api.desired.threshold().ok_or(ChangeError::NotRead)?;
    Ok(json(StatusCode::OK, &threshold))
}

/// Set the fleet's threshold.
#[utoipa::path(
    put, path = "/api/v1/threshold", tag = "settings",
    request_body(content = f64, description = "Percent, 0 to 100", content_type = "application/json"),
    responses(
        (status = 204, description = "Stored"),
        (status = 400, description = "Not a number from 0 to 100", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The bus is down", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn set_threshold(api: Arc<Api>, request: Request) -> Answer {
    let threshold = threshold_in(&request)?;
    api.desired.change(Change::Threshold(threshold), &request.caller).await?;
    Ok(no_content())
}

/// The freezes that hold now.
#[utoipa::path(
    get, path = "/api/v1/freeze", tag = "settings",
    responses((status = 200, description = "The freezes; none: healing goes on", body = Vec<FreezeEntry>))
)]
pub(super) async fn freezes(api: Arc<Api>, _request: Request) -> Answer {
    let state = api.desired.state().ok_or(ChangeError::NotRead)?;
    let entries = FreezeEntry::holding(&state, api.clock.now().wall);
    Ok(json(StatusCode::OK, &entries))
}

/// Freeze healing: nothing is started or restarted until it is lifted, or for a span.
#[utoipa::path(
    post, path = "/api/v1/freeze", tag = "settings",
    params(
        ("host" = Option<String>, Query, description = "Only there; without it, everywhere"),
        ("for" = Option<String>, Query, description = "For how long, e.g. `1h`; without it, until lifted"),
    ),
    responses(
        (status = 200, description = "Frozen", body = FreezeEntry),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn freeze(api: Arc<Api>, request: Request) -> Answer {
    let scope = scope(&api, &request)?;
    let now = api.clock.now().wall;
    let until =
        request.query.read("for", parse_span)?.map(|span| to_come(now.after(span), now)).transpose()?;
    let freeze = Freeze { since: now, until, by: request.caller.clone() };
    api.desired.change(Change::Freeze(scope.clone(), Some(freeze.clone())), &request.caller).await?;
    Ok(json(StatusCode::OK, &FreezeEntry::new(&scope, &freeze)))
}

/// Lift a freeze. One of the whole fleet and one of a host are lifted apart.
#[utoipa::path(
    delete, path = "/api/v1/freeze", tag = "settings",
    params(("host" = Option<String>, Query, description = "That of this host; without it, the fleet's")),
    responses(
        (status = 204, description = "There is none"),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn unfreeze(api: Arc<Api>, request: Request) -> Answer {
    let scope = scope(&api, &request)?;
    api.desired.change(Change::Freeze(scope, None), &request.caller).await?;
    Ok(no_content())
}

fn scope(api: &Api, request: &Request) -> Result<FreezeScope, Problem> {
    match request.query.read("host", HostName::from_str)? {
        Some(host) => api.known_host(&host).map(|host| FreezeScope::Host(host.name.clone())),
        None => Ok(FreezeScope::All),
    }
}
