//! The table of routes, and the way of a request through it: door, route, token, query, body, handler.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::Filter;
use warp::reply::Response;

use super::auth::{Access, Origin, Shown, admit, shown};
use super::problem::{Problem, quoted};
use super::request::{Arrival, MAX_BODY, MAX_REPORT, Query, Request, percent_decode, read_body};
use super::{
    Answer, Api, backtest, chaos, containers, door, drills, events, hosts, network, network_pair,
    network_rules, notifications, overview, pack, placement, pools, processes, report, series, session,
    settings, stream, system, tokens, top, ui,
};
use crate::controller::counters::Counter;
use crate::model::{Scope, clean};

type Handler = fn(Arc<Api>, Request) -> BoxFuture<'static, Answer>;

/// One method on one path.
pub(super) struct Route {
    pub(super) method: Method,
    /// `{name}` stands for one segment.
    pub(super) path: &'static str,
    access: Access,
    /// The parameters it takes; [`ANY`]: whatever, and they are the page's own.
    query: &'static [&'static str],
    handler: Handler,
}

const ANY: &[&str] = &["*"];
/// Takes longer bodies than the others.
const REPORT: &str = "/api/v1/drills/{id}/report";

const OPEN: Access = Access::Open;
const READ: Access = Access::Read;
const WRITE: Access = Access::Token(Scope::Write);

macro_rules! routes {
    ($($method:ident $path:literal $access:ident [$($query:literal),*] => $handler:path;)*) => {
        /// Every route.
        pub(super) static ROUTES: &[Route] = &[$(Route {
            method: Method::$method,
            path: $path,
            access: $access,
            query: &[$($query),*],
            handler: |api, request| Box::pin($handler(api, request)),
        },)*];
    };
}

routes! {
    GET "/" OPEN ["*"] => ui::page;
    GET "/hosts/{hostname}" OPEN ["*"] => ui::page;
    GET "/containers/{hostname}/{containerName}" OPEN ["*"] => ui::page;
    GET "/events" OPEN ["*"] => ui::page;
    GET "/incidents" OPEN ["*"] => ui::page;
    GET "/drills" OPEN ["*"] => ui::page;
    GET "/drills/{id}" OPEN ["*"] => ui::page;
    GET "/pools" OPEN ["*"] => ui::page;
    GET "/pools/{hostname}/{poolName}" OPEN ["*"] => ui::page;
    GET "/network" OPEN ["*"] => ui::page;
    GET "/settings" OPEN ["*"] => ui::page;
    GET "/login" OPEN ["*"] => ui::page;
    GET "/assets/{file}" OPEN [] => ui::asset;
    GET "/favicon.svg" OPEN [] => ui::icon;

    GET "/docs" OPEN [] => system::docs_home;
    GET "/docs/{file}" OPEN [] => system::docs;
    GET "/healthz" OPEN [] => system::healthz;
    GET "/readyz" OPEN [] => system::readyz;
    GET "/metrics" READ [] => system::metrics;
    GET "/api/v1/openapi.json" OPEN [] => system::openapi;
    GET "/api/v1/overview" READ [] => overview::overview;

    GET "/api/v1/containers" READ ["host", "monitored", "status", "health", "stale"] => containers::list;
    GET "/api/v1/containers/{hostname}/{containerName}" READ [] => containers::show;
    POST "/api/v1/containers/{hostname}/{containerName}" WRITE [] => containers::monitor;
    DELETE "/api/v1/containers/{hostname}/{containerName}" WRITE [] => containers::unmonitor;
    GET "/api/v1/containers/{hostname}/{containerName}/processes" READ ["limit"] => processes::processes;
    POST "/api/v1/containers/{hostname}/{containerName}/restart" WRITE [] => containers::restart;
    POST "/api/v1/containers/{hostname}/{containerName}/release" WRITE [] => containers::release;
    PUT "/api/v1/containers/{hostname}/{containerName}/threshold" WRITE [] => containers::set_threshold;
    DELETE "/api/v1/containers/{hostname}/{containerName}/threshold" WRITE [] => containers::unset_threshold;
    PUT "/api/v1/containers/{hostname}/{containerName}/maintenance" WRITE [] => containers::set_maintenance;
    DELETE "/api/v1/containers/{hostname}/{containerName}/maintenance" WRITE [] => containers::end_maintenance;

    GET "/api/v1/threshold" READ [] => settings::threshold;
    PUT "/api/v1/threshold" WRITE [] => settings::set_threshold;
    GET "/api/v1/freeze" READ [] => settings::freezes;
    POST "/api/v1/freeze" WRITE ["host", "for"] => settings::freeze;
    DELETE "/api/v1/freeze" WRITE ["host"] => settings::unfreeze;

    GET "/api/v1/hosts" READ [] => hosts::list;
    GET "/api/v1/hosts/{hostname}" READ [] => hosts::show;
    DELETE "/api/v1/hosts/{hostname}" WRITE [] => hosts::forget;

    GET "/api/v1/containers/{hostname}/{containerName}/metrics" READ ["names", "from", "to", "step", "stat", "format"] => series::of_container;
    GET "/api/v1/hosts/{hostname}/metrics" READ ["names", "from", "to", "step", "stat", "format"] => series::of_host;
    GET "/api/v1/hosts/{hostname}/report" READ ["span"] => report::report;
    GET "/api/v1/top" READ ["by", "window", "host", "limit"] => top::top;
    POST "/api/v1/backtest" READ [] => backtest::backtest;
    GET "/api/v1/placement" READ ["cpu", "memory"] => placement::placement;

    GET "/api/v1/pools" READ ["host"] => pools::list;
    GET "/api/v1/pools/{hostname}/{poolName}" READ ["decisions"] => pools::show;
    PUT "/api/v1/pools/{hostname}/{poolName}" WRITE [] => pools::set;
    DELETE "/api/v1/pools/{hostname}/{poolName}" WRITE [] => pools::remove;
    GET "/api/v1/network/map" READ ["window", "by", "host", "limit"] => network::map;
    GET "/api/v1/network/hosts" READ [] => network::hosts;
    GET "/api/v1/network/flows" READ ["container", "host", "window"] => network_pair::flows;
    GET "/api/v1/network/pair" READ ["from", "to", "by", "window"] => network_pair::pair;
    GET "/api/v1/network/rules" READ ["format"] => network_rules::show;
    PUT "/api/v1/network/rules" WRITE [] => network_rules::set;
    DELETE "/api/v1/network/rules" WRITE [] => network_rules::unset;
    GET "/api/v1/network/rules/templates" READ [] => network_rules::templates;

    POST "/api/v1/chaos" WRITE [] => chaos::begin;
    DELETE "/api/v1/chaos" WRITE ["host", "campaign"] => chaos::end;
    PUT "/api/v1/chaos/{campaign}" WRITE [] => chaos::renew;

    GET "/api/v1/events" READ ["after", "before", "kind", "host", "container", "limit"] => events::events;
    GET "/api/v1/incidents" READ ["open", "host", "limit"] => events::incidents;
    GET "/api/v1/notifications" READ ["limit"] => notifications::list;
    POST "/api/v1/notifications/test" WRITE [] => notifications::test;
    GET "/api/v1/drills" READ ["limit"] => drills::list;
    GET "/api/v1/drills/{id}" READ [] => drills::show;
    PUT "/api/v1/drills/{id}" WRITE [] => drills::begin;
    DELETE "/api/v1/drills/{id}" WRITE [] => drills::end;
    PUT "/api/v1/drills/{id}/report" WRITE [] => drills::report;
    GET "/api/v1/stream" READ ["topics", "metrics_of", "metrics_host", "metrics_container", "metrics_names"] => stream::stream;

    GET "/api/v1/session" OPEN [] => session::show;
    POST "/api/v1/session" OPEN [] => session::login;
    DELETE "/api/v1/session" OPEN [] => session::logout;

    GET "/api/v1/tokens" WRITE [] => tokens::list;
    POST "/api/v1/tokens" WRITE [] => tokens::create;
    DELETE "/api/v1/tokens/{id}" WRITE [] => tokens::revoke;
}

/// The whole interface as one warp filter. The server puts the [`Arrival`] into the request's extensions.
pub(crate) fn filter(
    api: Arc<Api>,
) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    warp::method()
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Arrival>())
        .and(warp::body::stream())
        .then(move |method, headers, arrival, body| {
            let api = api.clone();
            async move { answer(&api, Raw { method, headers, arrival }, body).await }
        })
}

/// A request before routing.
struct Raw {
    method: Method,
    headers: HeaderMap,
    arrival: Arrival,
}

async fn answer<S, B, E>(api: &Arc<Api>, raw: Raw, body: S) -> Response
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    api.counters.count(Counter::Requests);
    let (method, path) = (raw.method.clone(), raw.arrival.uri.path().to_owned());
    let asked = raw.headers.clone();
    let answer = match handle(api.clone(), raw, body).await {
        Ok(response) => pack::packed(response, &asked).await,
        Err(problem) if problem.status == StatusCode::NOT_FOUND => ui::missing(&path, &asked).ok_or(problem),
        refused => refused,
    };
    let mut response = answer.unwrap_or_else(|problem| {
        api.counters.count(Counter::RequestsRefused);
        let path = clean(&path, 200);
        tracing::debug!(%method, path, status = problem.status, "{}", problem.detail);
        problem.into_response()
    });
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn handle<S, B, E>(api: Arc<Api>, raw: Raw, body: S) -> Answer
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    let Arrival { link, uri } = raw.arrival;
    door::check(&raw.headers, &uri, link, &api.allowed_hosts)?;
    let (route, path) = find(&raw.method, uri.path())?;
    let shown = shown(&raw.headers, &api.db, api.clock.now().wall).await?;
    let origin = if door::is_local(&raw.headers, link) { Origin::Local } else { Origin::Remote };
    admit(route.access, &shown, origin)?;
    if route.access != OPEN && route.method != Method::GET {
        session::check_csrf(&raw.headers, &shown)?;
    }
    let (place, scheme) = (door::place(&raw.headers, link), door::outer_scheme(&raw.headers, link));
    let caller = match &shown {
        Shown::Token(token, _) => token.name.clone(),
        Shown::Nothing | Shown::Unknown | Shown::Ended => link.peer.ip().to_string(),
    };
    let query = uri.query().filter(|_| route.query != ANY).unwrap_or_default();
    let query = Query::parse(query, route.query)?;
    let takes_body = matches!(route.method, Method::PUT | Method::POST);
    let longest = if route.path == REPORT { MAX_REPORT } else { MAX_BODY };
    let body = if takes_body { read_body(body, longest).await? } else { Bytes::new() };
    let request = Request { headers: raw.headers, path, query, body, caller, shown, origin, place, scheme };
    (route.handler)(api, request).await
}

/// The route for `method` on `path`, with the values of its placeholders.
fn find(method: &Method, path: &str) -> Result<(&'static Route, Vec<String>), Problem> {
    let no_path = || {
        Problem::not_found(format!("there is nothing at {}; /docs shows every path there is", quoted(path)))
    };
    let inner = path.strip_prefix('/').unwrap_or(path);
    let segments: Vec<String> = inner
        .strip_suffix('/')
        .unwrap_or(inner)
        .split('/')
        .map(percent_decode)
        .collect::<Option<_>>()
        .ok_or_else(|| Problem::bad_request("the path is not percent-encoded UTF-8"))?;
    let on_path: Vec<_> =
        ROUTES.iter().filter_map(|route| Some((route, captures(route, &segments)?))).collect();
    if on_path.is_empty() {
        return Err(no_path());
    }
    let wanted = if *method == Method::HEAD { &Method::GET } else { method };
    let methods: Vec<_> = on_path.iter().map(|(route, _)| route.method.as_str()).collect();
    let allow = methods.join(", ");
    on_path.into_iter().find(|(route, _)| route.method == *wanted).ok_or_else(|| {
        let detail =
            format!("{} does not take {}; valid here: {allow}", quoted(path), clean(method.as_str(), 20));
        let mut problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail);
        problem.allow = Some(allow);
        problem
    })
}

fn captures(route: &Route, segments: &[String]) -> Option<Vec<String>> {
    let pattern: Vec<&str> = route.path.trim_start_matches('/').split('/').collect();
    if pattern.len() != segments.len() {
        return None;
    }
    let mut captured = Vec::new();
    for (expected, given) in pattern.iter().zip(segments) {
        if expected.starts_with('{') {
            if given.is_empty() {
                return None;
            }
            captured.push(given.clone());
        } else if expected != given {
            return None;
        }
    }
    Some(captured)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_route_is_documented_and_nothing_else_is() {
        let documented: serde_json::Value = serde_json::from_str(&super::super::openapi::json()).unwrap();
        let mut in_document = BTreeSet::new();
        for (path, methods) in documented["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                in_document.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let is_interface = |path: &str| match path {
            "/api/v1/openapi.json" => false,
            "/healthz" | "/readyz" | "/metrics" => true,
            other => other.starts_with("/api/"),
        };
        let in_table: BTreeSet<_> = ROUTES
            .iter()
            .filter(|route| is_interface(route.path))
            .map(|route| format!("{} {}", route.method, route.path))
            .collect();
        assert_eq!(in_document, in_table);
    }

    #[test]
    fn every_change_needs_a_token_that_may_write() {
        // A backtest changes nothing; it is posted for its body. Who logs in shows a token in it.
        let other = ["/api/v1/backtest", "/api/v1/session"];
        let changes = |route: &&Route| route.method != Method::GET && !other.contains(&route.path);
        for route in ROUTES.iter().filter(changes) {
            assert_eq!(route.access, WRITE, "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn documented_query_parameters_are_the_ones_taken() {
        let documented: serde_json::Value = serde_json::from_str(&super::super::openapi::json()).unwrap();
        for route in ROUTES.iter().filter(|route| route.query != ANY) {
            let operation = &documented["paths"][route.path][route.method.as_str().to_lowercase()];
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_query = parameters.iter().filter(|p| p["in"] == "query");
            let names: BTreeSet<_> = in_query.map(|p| p["name"].as_str().unwrap().to_owned()).collect();
            let taken: BTreeSet<_> = route.query.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(names, taken, "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn paths_are_found_with_and_without_a_last_slash_and_by_encoded_names() {
        for path in ["/api/v1/containers", "/api/v1/containers/"] {
            assert_eq!(find(&Method::GET, path).unwrap().0.path, "/api/v1/containers");
        }
        let (_, captured) = find(&Method::POST, "/api/v1/containers/a%2Fb/web%20x").unwrap();
        assert_eq!(captured, ["a/b", "web x"]);
        for path in ["/api/v1/containers/a", "/api/v1/containers//web", "/api/v2/containers", "/API/v1/hosts"]
        {
            assert_eq!(find(&Method::GET, path).err().map(|p| p.status), Some(404), "{path}");
        }
        let problem = find(&Method::PATCH, "/api/v1/threshold").err().unwrap();
        assert_eq!((problem.status, problem.allow.as_deref()), (405, Some("GET, PUT")));
    }

    proptest! {
        #[test]
        fn no_path_panics(path in ".*") {
            let _ = find(&Method::GET, &path);
        }
    }
}
