//! Hosts: those that ever spoke.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;

use super::dto::Host;
use super::problem::{Problem, quoted};
use super::request::Request;
use super::{Answer, Api, json, no_content};
use crate::controller::desired::Change;
use crate::controller::fleet::HostSnapshot;
use crate::model::HostName;

/// Every host that ever spoke.
#[utoipa::path(
    get, path = "/api/v1/hosts", tag = "hosts",
    responses((status = 200, description = "The hosts, by name", body = Vec<Host>))
)]
pub(super) async fn list(api: Arc<Api>, _request: Request) -> Answer {
    let hosts: Vec<Host> = api.fleet.view().values().map(|host| Host::new(host)).collect();
    Ok(json(StatusCode::OK, &hosts))
}

/// One host, by its name or one of its addresses.
#[utoipa::path(
    get, path = "/api/v1/hosts/{hostname}", tag = "hosts",
    params(("hostname" = String, Path, description = "Its name, or one of its addresses")),
    responses(
        (status = 200, description = "The host", body = Host),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Several hosts have this address", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(api: Arc<Api>, request: Request) -> Answer {
    let host = find(&api, request.segment(0))?;
    Ok(json(StatusCode::OK, &Host::new(&host)))
}

/// Forget a silent host, all that was wanted of it, and its metrics. Its events stay.
#[utoipa::path(
    delete, path = "/api/v1/hosts/{hostname}", tag = "hosts",
    params(("hostname" = String, Path, description = "Its name, or one of its addresses")),
    responses(
        (status = 204, description = "Forgotten"),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is live: stop its agent first", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn forget(api: Arc<Api>, request: Request) -> Answer {
    let host = find(&api, request.segment(0))?;
    if host.is_live() {
        let detail = format!(
            "host {} is live and would be back at once: stop its agent, and forget it when it is silent (15 s later)",
            host.name
        );
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    api.desired.change(Change::Forget(host.name.clone()), &request.caller).await?;
    api.fleet.forget(host.name.clone()).await;
    api.metrics.forget(&host.name).await?;
    Ok(no_content())
}

fn find(api: &Api, text: &str) -> Result<Arc<HostSnapshot>, Problem> {
    let view = api.fleet.view();
    if let Some(host) = text.parse::<HostName>().ok().and_then(|name| view.get(&name).cloned()) {
        return Ok(host);
    }
    let Ok(address) = text.parse::<IpAddr>() else {
        return api.known_host(&text.parse()?);
    };
    let has = |host: &&Arc<HostSnapshot>| {
        host.report.as_ref().is_some_and(|report| report.addresses.contains(&address))
    };
    let found: Vec<_> = view.values().filter(has).collect();
    match found[..] {
        [one] => Ok(one.clone()),
        [] => Err(Problem::not_found(format!("no host has the name or address {}", quoted(text)))),
        [..] => {
            let names: Vec<_> = found.iter().take(10).map(|host| host.name.as_str()).collect();
            let detail =
                format!("several hosts have the address {address}: {}; give a name", names.join(", "));
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
    }
}
