//! Pools: what they are to be, how they are, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::dto::safe;
use super::problem::{Problem, quoted};
use super::request::Request;
use super::{Answer, Api, json, no_content};
use crate::bus::{AgentCommand, AgentReply, MAX_POOLS};
use crate::controller::desired::Change;
use crate::controller::fleet::HostSnapshot;
use crate::model::{
    DesiredState, Event, EventKind, HostName, PoolDecision, PoolHealth, PoolKey, PoolName, PoolSpec,
    PoolStatus, clean,
};
use crate::scale::pool::PoolConfig;
use crate::store::{EventOrder, EventQuery};

/// Decisions that are told unless another number is asked for, and the most.
const DECISIONS: u32 = 30;
const MOST_DECISIONS: u32 = 500;
/// Events that are told of a pool, and how many of its host are looked through for them.
const EVENTS_SHOWN: usize = 20;
const EVENTS_READ: usize = 500;
/// The longest reason of a controller that is passed on, characters.
const LONGEST_REASON: usize = 500;
/// What is told of pools.
const KINDS: [EventKind; 6] = [
    EventKind::PoolSet,
    EventKind::PoolRemoved,
    EventKind::PoolStarted,
    EventKind::PoolEnded,
    EventKind::PoolDegraded,
    EventKind::PoolRecovered,
];

/// A pool, as it is to be and as it is.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct Pool {
    /// The host it runs on.
    #[schema(value_type = String)]
    hostname: HostName,
    /// Its name there.
    #[schema(value_type = String)]
    name: PoolName,
    /// In a word: `unknown` while its host is silent, or has not taken it yet.
    health: PoolHealth,
    /// What is wrong or still to come, in one plain sentence; null when all is as it is to be.
    detail: Option<String>,
    /// What it is to be; null: it is to end.
    spec: Option<PoolSpec>,
    /// How it is, as its host last said; null when it said nothing of it.
    status: Option<PoolStatus>,
}

/// The pools of one host, on the stream.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct HostPools {
    /// The host.
    #[schema(value_type = String)]
    hostname: HostName,
    /// All its pools, by name.
    pools: Vec<Pool>,
}

/// A pool with all that explains it.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct PoolDetails {
    /// The pool.
    pool: Pool,
    /// What its controller decided and why, newest first; empty while its host does not say.
    decisions: Vec<PoolDecision>,
    /// What happened to it, newest first, at most 20.
    events: Vec<Event>,
}

impl Pool {
    fn new(key: PoolKey, spec: Option<&PoolSpec>, host: Option<&HostSnapshot>) -> Self {
        let PoolKey { host: hostname, name } = key;
        let live = host.is_some_and(HostSnapshot::is_live);
        let reported = host.and_then(|host| host.report.as_ref()).map(|report| &report.pools);
        let status = reported.and_then(|pools| pools.iter().find(|pool| pool.name == name)).map(cleaned);
        let (health, detail) = match &status {
            _ if !live => (
                PoolHealth::Unknown,
                Some(format!("host {hostname} is silent; this is what was last known of it")),
            ),
            None => (PoolHealth::Unknown, Some(format!("host {hostname} has not taken it yet"))),
            Some(status) => (status.health, detail(status, spec)),
        };
        Self { hostname, name, health, detail, spec: spec.cloned(), status }
    }
}

impl HostPools {
    /// Those of one host, wanted or not.
    pub(super) fn of(host: &HostName, desired: &DesiredState, seen: Option<&HostSnapshot>) -> Self {
        let mut names: BTreeMap<&PoolName, Option<&PoolSpec>> = desired
            .pools
            .iter()
            .filter(|(key, _)| key.host == *host)
            .map(|(k, s)| (&k.name, Some(s)))
            .collect();
        for status in seen.and_then(|seen| seen.report.as_ref()).iter().flat_map(|report| &report.pools) {
            names.entry(&status.name).or_default();
        }
        let key = |name: &PoolName| PoolKey { host: host.clone(), name: name.clone() };
        let pools = names.into_iter().map(|(name, spec)| Pool::new(key(name), spec, seen)).collect();
        Self { hostname: host.clone(), pools }
    }
}

/// What is wrong with a pool, or still to come.
fn detail(status: &PoolStatus, spec: Option<&PoolSpec>) -> Option<String> {
    if let Some(problem) = &status.problem {
        let tries = match problem.failures {
            0 => String::new(),
            1 => "; one start failed".to_owned(),
            many => format!("; {many} starts in a row failed"),
        };
        return Some(format!("{}{tries}", problem.what));
    }
    match spec {
        None => {
            Some("it is to end: it finishes what it accepted, then its containers are removed".to_owned())
        }
        Some(spec) if *spec != status.spec => Some("its host has not taken the last change yet".to_owned()),
        Some(_) => None,
    }
}

/// What another host says, cleaned once more.
fn cleaned(status: &PoolStatus) -> PoolStatus {
    let mut status = status.clone();
    for text in [&mut status.spec.image, &mut status.spec.controller] {
        *text = safe(text);
    }
    if let Some(problem) = &mut status.problem {
        problem.what = safe(&problem.what);
    }
    status.decision = status.decision.map(clean_decision);
    status
}

fn clean_decision(decision: PoolDecision) -> PoolDecision {
    PoolDecision { reason: clean(&decision.reason, LONGEST_REASON), ..decision }
}

fn key(request: &Request) -> Result<PoolKey, Problem> {
    Ok(PoolKey { host: request.host()?, name: request.segment(1).parse()? })
}

fn wanted(api: &Api) -> Result<Arc<DesiredState>, Problem> {
    api.desired
        .state()
        .ok_or_else(|| Problem::unavailable("what is wanted was not read from the bus yet; try again"))
}

/// Every pool: those that are to be, and those that are.
#[utoipa::path(
    get, path = "/api/v1/pools", tag = "pools",
    params(("host" = Option<String>, Query, description = "Only of this host")),
    responses(
        (status = 200, description = "The pools, by host and name", body = Vec<Pool>),
        (status = 503, description = "What is wanted was not read yet", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(api: Arc<Api>, request: Request) -> Answer {
    let (desired, view) = (wanted(&api)?, api.fleet.view());
    let only = request.query.read("host", str::parse::<HostName>)?;
    let mut hosts: BTreeMap<&HostName, Option<&HostSnapshot>> =
        desired.pools.keys().map(|key| (&key.host, None)).collect();
    hosts.extend(view.iter().map(|(name, host)| (name, Some(&**host))));
    let pools: Vec<Pool> = hosts
        .into_iter()
        .filter(|(name, _)| only.as_ref().is_none_or(|only| only == *name))
        .flat_map(|(name, seen)| HostPools::of(name, &desired, seen).pools)
        .collect();
    Ok(json(StatusCode::OK, &pools))
}

/// One pool: how it is, what its controller decided and why, and what happened to it.
#[utoipa::path(
    get, path = "/api/v1/pools/{hostname}/{poolName}", tag = "pools",
    params(
        ("hostname" = String, Path), ("poolName" = String, Path),
        ("decisions" = Option<u32>, Query, description = "How many of the newest decisions, 0 to 500; 30 when absent"),
    ),
    responses(
        (status = 200, description = "The pool", body = PoolDetails),
        (status = 404, description = "No such pool", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(api: Arc<Api>, request: Request) -> Answer {
    let key = key(&request)?;
    let count = request.query.read("decisions", decisions)?.unwrap_or(DECISIONS);
    let desired = wanted(&api)?;
    let host = api.fleet.host(&key.host);
    let mut pool = one(&key, &desired, host.as_deref())?;
    let mut decisions = Vec::new();
    if host.as_ref().is_some_and(|host| host.is_live()) && pool.status.is_some() {
        let command = AgentCommand::Pool { pool: key.name.clone(), decisions: count };
        match api.command(&key.host, &command).await {
            Ok(AgentReply::Pool { status, decisions: told }) if status.name == key.name => {
                pool.detail = detail(&status, pool.spec.as_ref());
                pool.health = status.health;
                pool.status = Some(cleaned(&status));
                decisions = told.into_iter().take(count as usize).map(clean_decision).collect();
            }
            Ok(_) => tracing::debug!(host = %key.host, "the agent's answer about a pool is something else"),
            Err(problem) => tracing::debug!(host = %key.host, "no answer about a pool: {}", problem.detail),
        }
    }
    let events = events(&api, &key).await?;
    Ok(json(StatusCode::OK, &PoolDetails { pool, decisions, events }))
}

fn decisions(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| *count <= MOST_DECISIONS);
    count.ok_or_else(|| format!("{} is no number from 0 to {MOST_DECISIONS}", quoted(text)))
}

fn one(key: &PoolKey, desired: &DesiredState, host: Option<&HostSnapshot>) -> Result<Pool, Problem> {
    let all = HostPools::of(&key.host, desired, host).pools;
    all.into_iter().find(|pool| pool.name == key.name).ok_or_else(|| {
        Problem::not_found(format!(
            "host {} has no pool {}; `dockhealth pools` and GET /api/v1/pools list those that there are",
            key.host, key.name
        ))
    })
}

async fn events(api: &Api, key: &PoolKey) -> Result<Vec<Event>, Problem> {
    let query = EventQuery {
        host: Some(key.host.clone()),
        kinds: KINDS.to_vec(),
        order: EventOrder::NewestFirst,
        limit: EVENTS_READ,
        ..EventQuery::default()
    };
    let found = api.db.events(query).await?;
    let of = |event: &Event| event.data.get("pool").and_then(Value::as_str) == Some(key.name.as_str());
    Ok(found.into_iter().filter(of).take(EVENTS_SHOWN).collect())
}

/// Say what a pool is to be: begin one, or change it.
///
/// Only its image must be given. The host must allow pools: `--pools` of its agent. Bounds and controller change while it runs;
/// for anything else its runner is begun anew, and whoever comes in between waits a moment.
#[utoipa::path(
    put, path = "/api/v1/pools/{hostname}/{poolName}", tag = "pools",
    params(("hostname" = String, Path), ("poolName" = String, Path)),
    request_body = PoolSpec,
    responses(
        (status = 200, description = "Its host makes it so", body = Pool),
        (status = 202, description = "Its host will, once it is back", body = Pool),
        (status = 400, description = "The detail names the field, and says what would be right", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The host allows no pools, has too many, or has one at that address", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn set(api: Arc<Api>, request: Request) -> Answer {
    let key = key(&request)?;
    let host = api.known_host(&key.host)?;
    let spec = read_spec(&request)?;
    let checked = PoolConfig::new(key.name.clone(), spec, BTreeMap::new());
    let spec = checked.map_err(|error| Problem::bad_request(error.to_string()))?.spec().clone();
    consents(&host)?;
    fits(&key, &spec, &*wanted(&api)?)?;
    api.desired.change(Change::Pool(key.clone(), Some(Box::new(spec.clone()))), &request.caller).await?;
    let pool = Pool::new(key, Some(&spec), Some(&host));
    Ok(json(if host.is_live() { StatusCode::OK } else { StatusCode::ACCEPTED }, &pool))
}

/// Remove a pool: it finishes what it accepted, then its containers are removed.
#[utoipa::path(
    delete, path = "/api/v1/pools/{hostname}/{poolName}", tag = "pools",
    params(("hostname" = String, Path), ("poolName" = String, Path)),
    responses(
        (status = 204, description = "It ends, at once or when its host is back"),
        (status = 404, description = "No such pool", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn remove(api: Arc<Api>, request: Request) -> Answer {
    let key = key(&request)?;
    one(&key, &*wanted(&api)?, api.fleet.host(&key.host).as_deref())?;
    api.desired.change(Change::Pool(key, None), &request.caller).await?;
    Ok(no_content())
}

/// The body, field by field, so that an error names the one that is wrong.
fn read_spec(request: &Request) -> Result<PoolSpec, Problem> {
    const SHAPE: &str =
        "an object such as {\"image\": \"shop:1\", \"min\": 2, \"max\": 8, \"listen\": \"127.0.0.1:8080\"}";
    let given: Map<String, Value> = request.json(SHAPE)?;
    let mut least = Map::from_iter([("image".to_owned(), Value::from("given"))]);
    let fields = serde_json::to_value(
        PoolSpec::deserialize(&Value::Object(least.clone())).expect("the least there is"),
    );
    let fields = fields.expect("plain data becomes JSON");
    for (field, value) in &given {
        if fields.get(field).is_none() {
            let known: Vec<&str> =
                fields.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
            let known = known.join(", ");
            return Err(Problem::bad_request(format!("there is no field {}; valid: {known}", quoted(field))));
        }
        let before = least.insert(field.clone(), value.clone());
        if let Err(error) = PoolSpec::deserialize(&Value::Object(least.clone())) {
            let why = clean(&error.to_string(), 200);
            return Err(Problem::bad_request(format!("{field}: {why}")));
        }
        if field != "image" {
            least.remove(field);
            least.extend(before.map(|before| (field.clone(), before)));
        }
    }
    PoolSpec::deserialize(&Value::Object(given)).map_err(|error| {
        Problem::bad_request(format!("the body must be {SHAPE}: {}", clean(&error.to_string(), 200)))
    })
}

/// Whether the host lets itself be given pools, as far as it said.
fn consents(host: &HostSnapshot) -> Result<(), Problem> {
    let Some(report) = &host.report else { return Ok(()) };
    let refused = |why: String| Err(Problem::new(StatusCode::CONFLICT, why));
    match report.capabilities.iter().find(|capability| capability.name == "pools") {
        Some(capability) if capability.works => Ok(()),
        Some(_) => refused(format!(
            "host {} allows no pools: its own configuration must say so, with --pools of its agent",
            host.name
        )),
        None => refused(format!(
            "the agent of host {} ({}) knows no pools yet: bring it up to date",
            host.name,
            safe(&report.agent_version)
        )),
    }
}

/// Whether the host has room for a pool at that address.
fn fits(key: &PoolKey, spec: &PoolSpec, desired: &DesiredState) -> Result<(), Problem> {
    let others =
        || desired.pools.iter().filter(|(other, _)| other.host == key.host && other.name != key.name);
    if others().count() >= MAX_POOLS {
        let why = format!("host {} has {MAX_POOLS} pools, the most there may be; remove one first", key.host);
        return Err(Problem::new(StatusCode::CONFLICT, why));
    }
    let clash = others().find(|(_, other)| {
        let (a, b) = (other.listen, spec.listen);
        let all = |address: std::net::SocketAddr| address.ip().is_unspecified();
        a.port() == b.port() && (a.ip() == b.ip() || all(a) || all(b))
    });
    match clash {
        None => Ok(()),
        Some((other, _)) => Err(Problem::new(
            StatusCode::CONFLICT,
            format!("listen: pool {} is reached at {} already; give another port", other.name, spec.listen),
        )),
    }
}
