//! What a pool tells of itself over HTTP.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use warp::Filter;
use warp::reply::Response;

use crate::controller::{Arrival, Counters, Gate, Problem, Query, check_door, serve};
use crate::model::clean;
use crate::scale::pool::PoolHandle;

/// Decisions that are told unless another number is asked for, and the most.
const DECISIONS: u32 = 100;
const MOST_DECISIONS: u32 = 1000;

/// Serves until `shutdown`.
pub(super) async fn serve_admin(
    listener: TcpListener,
    allowed: Vec<String>,
    pool: PoolHandle,
    shutdown: CancellationToken,
) {
    let allowed: Arc<[String]> = allowed.into();
    let filter = warp::method().and(warp::header::headers_cloned()).and(warp::ext::get::<Arrival>()).then(
        move |method: Method, headers: HeaderMap, arrival: Arrival| {
            let (pool, allowed) = (pool.clone(), allowed.clone());
            async move {
                let answer = answer(&method, &headers, &arrival, &allowed, &pool).await;
                let mut response = answer.unwrap_or_else(Problem::into_response);
                response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
        },
    );
    let gate = Gate { listener, tls: None, shutdown };
    serve(gate, Arc::new(Counters::default()), filter).await;
}

async fn answer(
    method: &Method,
    headers: &HeaderMap,
    arrival: &Arrival,
    allowed: &[String],
    pool: &PoolHandle,
) -> Result<Response, Problem> {
    check_door(headers, &arrival.uri, arrival.link, allowed)?;
    let (path, query) = (arrival.uri.path(), arrival.uri.query().unwrap_or_default());
    if !["/", "/status", "/decisions"].contains(&path) {
        let path = clean(path, 80);
        return Err(Problem::not_found(format!(
            "there is nothing at {path:?}: GET /status or GET /decisions"
        )));
    }
    if *method != Method::GET {
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here"));
    }
    if path == "/decisions" {
        let limit = Query::parse(query, &["limit"])?.read("limit", limit)?.unwrap_or(DECISIONS);
        let decisions = pool.decisions(limit as usize).await;
        return Ok(json(&decisions.ok_or_else(|| Problem::unavailable("the pool is ending"))?));
    }
    Query::parse(query, &[])?;
    Ok(json(&pool.status().await))
}

fn limit(text: &str) -> Result<u32, String> {
    let read = text.parse().ok().filter(|count| (1..=MOST_DECISIONS).contains(count));
    read.ok_or_else(|| format!("give a whole number from 1 to {MOST_DECISIONS}"))
}

fn json(value: &impl Serialize) -> Response {
    let mut response = Response::new(serde_json::to_string(value).expect("plain data becomes JSON").into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
