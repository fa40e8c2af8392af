//! Campaigns of faults on the hosts whose own configuration allows them.
//!
//! Nothing of a campaign is kept here: each host plays its own, and whoever began it renews it there. So a campaign goes on
//! over a restart of the controller, and ends by itself where nobody can renew it.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::problem::Problem;
use super::request::Request;
use super::{Answer, Api, json};
use crate::bus::{
    AgentCommand, AgentReply, BusError, ChaosNews, ChaosOrder, ChaosReport, ChaosState, ChaosSummary,
    CommandError, Subject, decode, encode,
};
use crate::model::{HostName, NamePattern, clean, parse_span};

/// The most hosts of one campaign: what each is asked after must fit into one body.
const MOST_HOSTS: usize = 500;
/// The most hosts whose plans are told at once: each may be half a megabyte.
const MOST_PLANS: usize = 50;
/// How long a host may take to begin: its engine and kernel are asked. Less than it may go on without a renewal.
const BEGIN_WITHIN: Duration = Duration::from_secs(4);
/// How long it may take to say how it goes on; a host that does not must not keep others from being renewed in time.
const RENEW_WITHIN: Duration = Duration::from_secs(2);
/// How long a campaign goes on without a renewal, unless it says.
const USUAL_WITHIN: Duration = Duration::from_secs(15);
/// Hosts that a refusal names.
const NAMED: usize = 10;
/// The longest line of a host that is repeated, characters.
const LONGEST: usize = 1_000;

const BEGIN_SHAPE: &str =
    "an object such as {\"host\": \"web-*\", \"order\": {\"faults\": [\"loss=100%\"], \"every\": \"10s\"}}";
const RENEW_SHAPE: &str = "an object such as {\"hosts\": {\"web1\": 0}}";

/// A campaign, and where.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChaosRequest {
    /// The host's name, a name with `*` and `?`, or `all`.
    host: String,
    /// What.
    order: ChaosOrder,
    /// How long each host goes on without a renewal, 5s to 1m; 15s when absent.
    renewed_within: Option<String>,
    /// Only says all that it would do to the containers that run now.
    #[serde(default)]
    plan: bool,
}

/// A renewal.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChaosRenewal {
    /// Each host, and `next` of its last answer; 0 at first.
    #[schema(value_type = BTreeMap<String, u64>)]
    hosts: BTreeMap<HostName, u64>,
}

/// A campaign on its hosts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Chaos {
    /// Its id; null where it was only planned, or whichever was played was ended.
    #[schema(value_type = Option<String>, format = Uuid)]
    campaign: Option<Uuid>,
    /// Each host, by name.
    hosts: Vec<ChaosHost>,
}

/// A campaign on one host.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ChaosHost {
    /// The host.
    #[schema(value_type = String)]
    hostname: HostName,
    /// How far it is; null: the host refused, or did not answer, as `detail` says.
    state: Option<ChaosState>,
    /// Why it is not played there; null otherwise.
    detail: Option<String>,
    /// Whether it did not answer: it may still play.
    silent: bool,
    /// What it did since it was asked last.
    news: Vec<ChaosNews>,
    /// What to ask after next.
    next: u64,
    /// What came of it; null until it ended.
    summary: Option<ChaosSummary>,
    /// What it would do; null unless that was asked for.
    plan: Option<Value>,
}

impl ChaosHost {
    fn new(hostname: HostName) -> Self {
        Self {
            hostname,
            state: None,
            detail: None,
            silent: false,
            news: vec![],
            next: 0,
            summary: None,
            plan: None,
        }
    }

    fn refused(hostname: HostName, why: &str) -> Self {
        Self { detail: Some(clean(why, LONGEST)), ..Self::new(hostname) }
    }

    fn told(hostname: HostName, report: ChaosReport) -> Self {
        let ChaosReport { state, mut news, next, mut summary, .. } = report;
        // What another host says is cleaned once more.
        for line in &mut news {
            line.text = clean(&line.text, LONGEST);
        }
        if let Some(why) = summary.as_mut().and_then(|summary| summary.aborted.as_mut()) {
            *why = clean(why, LONGEST);
        }
        Self { state: Some(state), news, next, summary, ..Self::new(hostname) }
    }
}

/// Begin a campaign of faults.
///
/// Hosts whose own configuration does not say `chaos = true` refuse; with a pattern the others play. Whoever begins a campaign
/// renews it, every second or so: where it was not renewed for `renewed_within`, the host ends it and undoes its faults.
#[utoipa::path(
    post, path = "/api/v1/chaos", tag = "chaos",
    request_body = ChaosRequest,
    responses(
        (status = 200, description = "At least one host plays it", body = Chaos),
        (status = 400, description = "The campaign cannot be read", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No host of that name is live", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "No host plays it; the detail says why", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn begin(api: Arc<Api>, request: Request) -> Answer {
    let body: ChaosRequest = request.json(BEGIN_SHAPE)?;
    let wrong = |error: String| Problem::bad_request(format!("renewed_within: {error}"));
    let within =
        body.renewed_within.as_deref().map(parse_span).transpose().map_err(|e| wrong(e.to_string()))?;
    let within_ms = u64::try_from(within.unwrap_or(USUAL_WITHIN).as_millis()).unwrap_or(u64::MAX);
    let hosts = live_hosts(&api, &body.host)?;
    if body.plan && hosts.len() > MOST_PLANS {
        return Err(Problem::bad_request(format!(
            "host: {} are meant; name at most {MOST_PLANS} for a plan",
            hosts.len()
        )));
    }
    let campaign = (!body.plan).then(Uuid::now_v7);
    let (order, by) = (body.order, request.caller);
    let command = match campaign {
        Some(campaign) => AgentCommand::ChaosBegin { campaign, by: by.clone(), within_ms, order },
        None => AgentCommand::ChaosPlan { order },
    };
    if let Some(campaign) = campaign {
        tracing::info!(%campaign, hosts = %body.host, by, "asked for a campaign of faults");
    }
    let asked = hosts.into_iter().map(|host| (host, command.clone()));
    let hosts = ask_all(&api, asked, BEGIN_WITHIN).await?;
    if hosts.iter().all(|host| host.detail.is_some()) {
        return Err(Problem::new(StatusCode::CONFLICT, all_refusals(&hosts)));
    }
    Ok(json(StatusCode::OK, &Chaos { campaign, hosts }))
}

/// Go on with a campaign of faults, and hear what it did.
#[utoipa::path(
    put, path = "/api/v1/chaos/{campaign}", tag = "chaos",
    params(("campaign" = String, Path)),
    request_body = ChaosRenewal,
    responses((status = 200, description = "How it goes on each of these hosts", body = Chaos)),
    security(("token" = []))
)]
pub(super) async fn renew(api: Arc<Api>, request: Request) -> Answer {
    let campaign = campaign(request.segment(0))?;
    let body: ChaosRenewal = request.json(RENEW_SHAPE)?;
    if body.hosts.len() > MOST_HOSTS {
        return Err(Problem::bad_request(format!(
            "hosts: there are {}; give at most {MOST_HOSTS}",
            body.hosts.len()
        )));
    }
    let asked =
        body.hosts.into_iter().map(|(host, after)| (host, AgentCommand::ChaosRenew { campaign, after }));
    let hosts = ask_all(&api, asked, RENEW_WITHIN).await?;
    Ok(json(StatusCode::OK, &Chaos { campaign: Some(campaign), hosts }))
}

/// End campaigns of faults, and undo what they did.
#[utoipa::path(
    delete, path = "/api/v1/chaos", tag = "chaos",
    params(
        ("host" = Option<String>, Query, description = "Only there: a name, or one with `*` and `?`"),
        ("campaign" = Option<String>, Query, description = "Only this one; without it, whichever is played"),
    ),
    responses(
        (status = 200, description = "It ends; a renewal tells how far it is", body = Chaos),
        (status = 404, description = "No host of that name is live", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn end(api: Arc<Api>, request: Request) -> Answer {
    let campaign = request.query.read("campaign", campaign_of)?;
    let hosts = live_hosts(&api, request.query.get("host").unwrap_or("all"))?;
    tracing::info!(?campaign, by = request.caller, "asked to end campaigns of faults");
    let asked = hosts.into_iter().map(|host| (host, AgentCommand::ChaosEnd { campaign }));
    let hosts = ask_all(&api, asked, BEGIN_WITHIN).await?;
    Ok(json(StatusCode::OK, &Chaos { campaign, hosts }))
}

fn campaign(text: &str) -> Result<Uuid, Problem> {
    campaign_of(text).map_err(|why| Problem::bad_request(format!("the path: {why}")))
}

fn campaign_of(text: &str) -> Result<Uuid, String> {
    Uuid::from_str(text).map_err(|_| {
        format!("{} is no campaign: give the UUID that its beginning told", super::problem::quoted(text))
    })
}

/// The live hosts that `pattern` means.
fn live_hosts(api: &Api, pattern: &str) -> Result<Vec<HostName>, Problem> {
    let wrong = |error: String| Problem::bad_request(format!("host: {error}"));
    let all = pattern == "all";
    let pattern: NamePattern = if all { "*" } else { pattern }
        .parse()
        .map_err(|e: crate::model::PatternError| wrong(e.to_string()))?;
    if pattern.is_plain() {
        let host = api.known_host(&pattern.to_string().parse()?)?;
        if !host.is_live() {
            return Err(Problem::not_found(format!("host {} is silent", host.name)));
        }
        return Ok(vec![host.name.clone()]);
    }
    let view = api.fleet.view();
    let live: Vec<HostName> = view
        .iter()
        .filter(|(_, host)| host.is_live())
        .map(|(name, _)| name)
        .filter(|name| pattern.matches_host(name))
        .cloned()
        .collect();
    match live.len() {
        0 if all => Err(Problem::not_found("no host is live")),
        0 => Err(Problem::not_found(format!("no live host is called {pattern}"))),
        1..=MOST_HOSTS => Ok(live),
        many => Err(Problem::bad_request(format!("host: {many} hosts are meant; name at most {MOST_HOSTS}"))),
    }
}

async fn ask_all(
    api: &Api,
    asked: impl Iterator<Item = (HostName, AgentCommand)>,
    within: Duration,
) -> Result<Vec<ChaosHost>, Problem> {
    api.need_bus()?;
    let answers = asked.map(|(host, command)| async move { ask(api, host, &command, within).await });
    let mut hosts: Vec<ChaosHost> = stream::iter(answers).buffer_unordered(MOST_HOSTS).collect().await;
    hosts.sort_by(|a, b| a.hostname.cmp(&b.hostname));
    Ok(hosts)
}

async fn ask(api: &Api, host: HostName, command: &AgentCommand, within: Duration) -> ChaosHost {
    let subject = Subject::Command(host.clone());
    let answer = api.bus.request(&subject, encode(command), within).await;
    match answer.and_then(|answer| decode::<AgentReply>(&answer)) {
        Ok(AgentReply::Chaos(report)) => ChaosHost::told(host, *report),
        Ok(AgentReply::ChaosPlan { turns }) => ChaosHost { plan: Some(turns), ..ChaosHost::new(host) },
        Ok(AgentReply::Error(CommandError::Malformed { reason })) => {
            let why =
                format!("host {host} cannot read that; is its agent older than this controller? {reason}");
            ChaosHost::refused(host, &why)
        }
        Ok(AgentReply::Error(error)) => ChaosHost::refused(host, &error.to_string()),
        Ok(_) => {
            let why = format!("the agent of host {host} answers, but not about campaigns");
            ChaosHost::refused(host, &why)
        }
        Err(error) => {
            let why = match error {
                BusError::NoAnswer(_) => format!("host {host} did not answer within {} s", within.as_secs()),
                other => format!("host {host}: {other}"),
            };
            ChaosHost { silent: true, ..ChaosHost::refused(host, &why) }
        }
    }
}

/// Why no host plays, each in its own words.
fn all_refusals(hosts: &[ChaosHost]) -> String {
    let mut words: Vec<&str> = hosts.iter().take(NAMED).filter_map(|host| host.detail.as_deref()).collect();
    let more = format!("and {} more", hosts.len().saturating_sub(NAMED));
    if hosts.len() > NAMED {
        words.push(&more);
    }
    words.join("; ")
}
