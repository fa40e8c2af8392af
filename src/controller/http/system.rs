//! The program itself: health, metrics, documentation.

use std::sync::{Arc, LazyLock};

use http::{HeaderValue, StatusCode, header};
use utoipa_swagger_ui::Config;

use super::dto::Readiness;
use super::pack::takes_gzip;
use super::problem::{Problem, quoted};
use super::request::Request;
use super::{Answer, Api, exposition, json, openapi, typed};
use crate::bus::{BusStatus, gunzip};
use crate::store::{IncidentQuery, MAX_LIMIT};

/// What Swagger UI may load: only what is served here. It sets styles inline.
const PAGE_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                           frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

static SWAGGER: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::new(["/api/v1/openapi.json"]).validator_url("none")));

/// More than the largest file of Swagger UI has, bytes.
const MAX_DOCS_FILE: usize = 16 << 20;

pub(super) async fn docs_home(_api: Arc<Api>, _request: Request) -> Answer {
    let mut response = super::no_content();
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/docs/index.html"));
    Ok(response)
}

pub(super) async fn docs(_api: Arc<Api>, request: Request) -> Answer {
    let file = request.segment(0);
    let found = utoipa_swagger_ui::serve(file, SWAGGER.clone()).map_err(|error| {
        tracing::error!("Swagger UI: {error}");
        Problem::internal()
    })?;
    let found = found.ok_or_else(|| Problem::not_found(format!("there is no file {}", quoted(file))))?;
    let content_type = HeaderValue::from_str(&found.content_type).map_err(|_| Problem::internal())?;
    let compressed = found.gzpipped && takes_gzip(&request.headers);
    let bytes = if found.gzpipped && !compressed {
        gunzip(&found.bytes, MAX_DOCS_FILE).map_err(|_| Problem::internal())?
    } else {
        found.bytes.into_owned()
    };
    let mut response = page("application/octet-stream", bytes);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

fn page(content_type: &'static str, body: impl Into<Vec<u8>>) -> warp::reply::Response {
    let mut response = typed(content_type, body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

pub(super) async fn openapi(_api: Arc<Api>, _request: Request) -> Answer {
    Ok(typed("application/json", openapi::json()))
}

/// Whether the process answers.
#[utoipa::path(
    get, path = "/healthz", tag = "system",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
pub(super) async fn healthz(_api: Arc<Api>, _request: Request) -> Answer {
    Ok(typed("text/plain; charset=utf-8", "ok\n"))
}

/// Whether the controller can do all its work.
#[utoipa::path(
    get, path = "/readyz", tag = "system",
    responses(
        (status = 200, description = "It can", body = Readiness),
        (status = 503, description = "It cannot; the body says what is missing", body = Readiness),
    )
)]
pub(super) async fn readyz(api: Arc<Api>, _request: Request) -> Answer {
    let readiness = readiness(&api).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(json(status, &readiness))
}

pub(super) async fn readiness(api: &Api) -> Readiness {
    let bus = match &*api.bus.status().borrow() {
        BusStatus::Connected => Ok(()),
        BusStatus::Disconnected(why) => Err(why.clone()),
    };
    let desired = if api.desired.state().is_some() { "read" } else { "not read yet" };
    let store = if api.history.writable().await {
        // What failed before is over.
        Ok(())
    } else {
        Err(api.history.fault().unwrap_or_else(|| "a write failed; the log says why".into()))
    };
    let metrics = api.metric_writes.fault();
    Readiness {
        ready: bus.is_ok() && store.is_ok() && metrics.is_none() && desired == "read",
        bus: bus.err().unwrap_or_else(|| "connected".into()),
        desired: desired.into(),
        store: store.err().unwrap_or_else(|| "writable".into()),
        metrics: metrics.unwrap_or_else(|| "writable".into()),
        notifications: api.notifications.summary(),
    }
}

/// Figures for Prometheus: the controller's own, and the newest of every live host and its containers in base units.
///
/// At most 100,000 of those, each host having an equal share; `dockhealth_series_left_out` says how many more there are.
#[utoipa::path(
    get, path = "/metrics", tag = "system",
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(api: Arc<Api>, _request: Request) -> Answer {
    let query = IncidentQuery { open: Some(true), host: None, limit: MAX_LIMIT };
    // What the store cannot say is left out; that it cannot is a figure of its own.
    let incidents = api.db.incidents(query).await.ok();
    let text = tokio::task::spawn_blocking(move || {
        exposition::render(&exposition::Figures {
            view: &api.fleet.view(),
            ticks: &api.ticks.all(),
            now: api.clock.now().wall,
            counters: &api.counters,
            refused: &api.metrics.refused(),
            incidents: incidents.as_deref(),
            bus_connected: *api.bus.status().borrow() == BusStatus::Connected,
            store_writable: api.history.fault().is_none(),
            streams: super::MAX_STREAMS - api.streams.available_permits(),
        })
    });
    let text = text.await.map_err(|error| {
        tracing::error!("the figures could not be written: {error}");
        Problem::internal()
    })?;
    Ok(typed("text/plain; version=0.0.4; charset=utf-8", text))
}
