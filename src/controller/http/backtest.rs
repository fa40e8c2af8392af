//! What another policy would have done with what was recorded.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::problem::{Problem, quoted};
use super::range::{self, Points};
use super::request::Request;
use super::{Answer, Api, json};
use crate::backtest::{Assume, ContainerRecord, HostRecord, Plan, Replayed, Sample, Totals, replay};
use crate::controller::fleet::HostSnapshot;
use crate::model::{
    ContainerName, DesiredEntry, DesiredState, HostName, MetricSubject, NamePattern, Rate, SeriesName,
    Threshold, Timestamp, format_span, parse_span,
};
use crate::monitor::decide::Policy;
use crate::store::{EventOrder, EventQuery, RAW_SPAN, RangeQuery, Statistic};

/// Backtests at once; further ones wait their turn, for as long as [`TURN_WITHIN`].
static AT_ONCE: Semaphore = Semaphore::const_new(2);
const TURN_WITHIN: Duration = Duration::from_secs(20);

/// What is looked back when nobody says, and at most, seconds.
const DEFAULT_SPAN: i64 = 86_400;
const LONGEST_SPAN: i64 = 7 * 86_400;
/// The most containers of one backtest, and the most checks: a million are replayed in some seconds.
const MAX_CONTAINERS: usize = 200;
const MAX_CHECKS: u64 = 2_000_000;
/// Events of one host that are read at most: pages of 1,000.
const EVENT_PAGES: usize = 20;
const EVENT_PAGE: usize = 1_000;
/// The longest span of a policy, seconds.
const WEEK: u64 = 7 * 86_400;
/// Ranges that are read from the store at once.
const READS: usize = 3;
/// Seconds between samples of a host that has sent none to this controller process.
const USUAL_STEP: u32 = 10;

static NAMES: [SeriesName; 2] = [SeriesName::of("loss_percent"), SeriesName::of("rtt_ms")];

const SHAPE: &str = "an object such as {\"threshold\": 20, \"interval\": \"5s\", \"container\": \"web-*\", \"from\": \"-24h\"}";

/// Which policy, on which containers, over which span. What is absent is as an agent has it by default.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BacktestRequest {
    /// Only of this host.
    hostname: Option<String>,
    /// Only containers whose names match, e.g. `web-*`.
    container: Option<String>,
    /// From when: unix seconds, RFC 3339, or a span before now; 24 h before `to` when absent.
    from: Option<String>,
    /// Until when; now when absent.
    to: Option<String>,
    /// Loss above which a container is restarted, percent; the thresholds in force when absent.
    #[schema(value_type = Option<f64>)]
    threshold: Option<Threshold>,
    /// Between the starts of two sweeps, e.g. `5s`.
    interval: Option<String>,
    /// Probes of the check that confirms a failure; only whether it is 0, that is, none, makes a difference here.
    confirm_probes: Option<u32>,
    /// Time after a start in which failures do not count.
    grace: Option<String>,
    /// Restarts of one container before it is quarantined, e.g. `5/1h`.
    budget: Option<String>,
    /// Time between two restarts of one container, doubled by each.
    backoff: Option<String>,
    /// Where that doubling ends.
    backoff_max: Option<String>,
    /// Restarts on the whole host.
    host_budget: Option<String>,
    /// Restarts in a row that did not help, after which it is left alone; 0: never.
    futile_after: Option<u32>,
    /// What becomes of a container after a restart that was never made.
    assume: Assume,
}

/// The policy that was replayed.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct BacktestPolicy {
    /// Percent; null: the thresholds in force.
    threshold: Option<f64>,
    /// Between the starts of two sweeps.
    interval: String,
    /// Probes that confirm a failure.
    confirm_probes: u32,
    /// Time after a start in which failures do not count.
    grace: String,
    /// Restarts of one container before it is quarantined.
    budget: String,
    /// Time between two restarts of one container.
    backoff: String,
    /// Where its doubling ends.
    backoff_max: String,
    /// Restarts on the whole host.
    host_budget: String,
    /// Restarts in a row that did not help, after which it is left alone.
    futile_after: u32,
    /// What becomes of a container after a restart that was never made.
    assume: Assume,
}

/// The span that was replayed.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct BacktestSpan {
    /// From when.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// Seconds between two recorded figures, the longest of all hosts.
    resolution_seconds: u32,
}

/// What the policy would have done.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct Backtest {
    /// The policy.
    policy: BacktestPolicy,
    /// The span.
    span: BacktestSpan,
    /// What the answer rests on, each in one plain sentence.
    assumptions: Vec<String>,
    /// Each container, by host and name.
    containers: Vec<Replayed>,
    /// All of them together.
    totals: Totals,
}

/// Replay a policy over what was recorded.
///
/// Runs the agents' own decisions over recorded loss and events, and sets what they would have done beside what was done.
/// Changes nothing. At most 200 containers and 7 days.
#[utoipa::path(
    post, path = "/api/v1/backtest", tag = "metrics",
    request_body = BacktestRequest,
    responses(
        (status = 200, description = "What it would have done", body = Backtest),
        (status = 404, description = "No such host, or no monitored container of that name", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Others are being made", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn backtest(api: Arc<Api>, request: Request) -> Answer {
    let body: BacktestRequest =
        if request.body.is_empty() { BacktestRequest::default() } else { request.json(SHAPE)? };
    let now = api.clock.now().wall;
    let (policy, interval) = body.policy()?;
    let (from, to) = body.span(now)?;
    let chosen = body.choose(&api)?;
    let checks = (to - from).unsigned_abs() * 1000 / interval_millis(interval) * chosen.total() as u64;
    if checks > MAX_CHECKS {
        return Err(Problem::bad_request(format!(
            "{} containers checked every {} make {checks} checks, more than {MAX_CHECKS}; give a shorter span, a longer \
             interval or fewer containers",
            chosen.total(),
            format_span(interval)
        )));
    }
    let turn = tokio::time::timeout(TURN_WITHIN, AT_ONCE.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err(Problem::unavailable("other backtests are being made; try again in a minute".to_owned()));
    };
    let desired = if body.threshold.is_some() { DesiredState::default() } else { thresholds(&api)? };
    let (mut containers, mut resolution, mut cut) = (Vec::new(), 0, false);
    for (host, names) in &chosen.0 {
        let (record, step, is_cut) = read(&api, host, names, (from, to), now).await?;
        let plan = Plan {
            policy: policy.clone(),
            desired: desired.clone(),
            interval,
            from: Timestamp::from_millis(from * 1000),
            to: Timestamp::from_millis(to * 1000),
            resolution: Duration::from_secs(step.into()),
            assume: body.assume,
        };
        resolution = resolution.max(step);
        cut |= is_cut;
        let replayed = tokio::task::spawn_blocking(move || replay(&record, &plan)).await;
        containers.extend(replayed.map_err(|error| {
            tracing::error!("a backtest failed: {error}");
            Problem::internal()
        })?);
    }
    let totals = Totals::of(&containers);
    let span = BacktestSpan {
        from: Timestamp::from_millis(from * 1000),
        to: Timestamp::from_millis(to * 1000),
        resolution_seconds: resolution,
    };
    let assumptions = assumptions(body.assume, interval, resolution, cut);
    let policy = body.shown(&policy, interval);
    Ok(json(StatusCode::OK, &Backtest { policy, span, assumptions, containers, totals }))
}

/// The containers of each host, with the network that each is tallied in.
struct Chosen(BTreeMap<HostName, Vec<(ContainerName, Option<String>)>>);

impl Chosen {
    fn total(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

fn interval_millis(interval: Duration) -> u64 {
    u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl BacktestRequest {
    fn policy(&self) -> Result<(Policy, Duration), Problem> {
        let usual = Policy::default();
        let span = |name: &str, text: &Option<String>, bounds: (u64, u64), usual: Duration| match text {
            None => Ok(usual),
            Some(text) => {
                let (least, most) = (Duration::from_secs(bounds.0), Duration::from_secs(bounds.1));
                let span =
                    parse_span(text).map_err(|error| Problem::bad_request(format!("{name}: {error}")))?;
                if (least..=most).contains(&span) {
                    return Ok(span);
                }
                let (least, most) = (format_span(least), format_span(most));
                let text = quoted(text);
                Err(Problem::bad_request(format!(
                    "{name}: {text} is out of range: give from {least} to {most}"
                )))
            }
        };
        let rate = |name: &str, text: &Option<String>, usual: Rate| match text {
            None => Ok(usual),
            Some(text) => match text.parse::<Rate>() {
                Ok(rate) if (1..=10_000).contains(&rate.count) => Ok(rate),
                Ok(_) => Err(Problem::bad_request(format!(
                    "{name}: {} is out of range: give a count from 1 to 10000",
                    quoted(text)
                ))),
                Err(error) => Err(Problem::bad_request(format!("{name}: {error}"))),
            },
        };
        let interval = span("interval", &self.interval, (1, 3600), Duration::from_secs(10))?;
        let policy = Policy {
            threshold: self.threshold.unwrap_or_default(),
            confirm_probes: self.confirm_probes.unwrap_or(usual.confirm_probes).min(1_000),
            grace: span("grace", &self.grace, (0, WEEK), usual.grace)?,
            budget: rate("budget", &self.budget, usual.budget)?,
            backoff: span("backoff", &self.backoff, (0, WEEK), usual.backoff)?,
            backoff_max: span("backoff_max", &self.backoff_max, (0, WEEK), usual.backoff_max)?,
            host_budget: rate("host_budget", &self.host_budget, usual.host_budget)?,
            futile_after: self.futile_after.unwrap_or(usual.futile_after),
            ..usual
        };
        Ok((policy, interval))
    }

    fn span(&self, now: Timestamp) -> Result<(i64, i64), Problem> {
        let now = now.millis().div_euclid(1000);
        let read = |name: &str, text: &Option<String>| {
            let moment = |text: &String| {
                range::moment(text, now).map_err(|why| Problem::bad_request(format!("{name}: {why}")))
            };
            text.as_ref().map(moment).transpose()
        };
        let to = read("to", &self.to)?.unwrap_or(now).min(now);
        let from = read("from", &self.from)?.unwrap_or(to - DEFAULT_SPAN);
        if from >= to {
            return Err(Problem::bad_request("from must be earlier than to"));
        }
        if to - from > LONGEST_SPAN {
            return Err(Problem::bad_request("from: more than 7d before to; give a shorter span"));
        }
        Ok((from, to))
    }

    fn choose(&self, api: &Api) -> Result<Chosen, Problem> {
        let wrong =
            |name: &str, error: &dyn std::fmt::Display| Problem::bad_request(format!("{name}: {error}"));
        let pattern = self.container.as_deref().map(NamePattern::from_str).transpose();
        let pattern = pattern.map_err(|error| wrong("container", &error))?;
        let host = self.hostname.as_deref().map(HostName::from_str).transpose();
        let host = host.map_err(|error| wrong("hostname", &error))?;
        if let Some(host) = &host {
            api.known_host(host)?;
        }
        let view = api.fleet.view();
        let mut chosen = BTreeMap::new();
        for (name, snapshot) in view.iter().filter(|(name, _)| host.as_ref().is_none_or(|host| host == *name))
        {
            let of: Vec<_> = monitored(snapshot, pattern.as_ref()).collect();
            if !of.is_empty() {
                chosen.insert(name.clone(), of);
            }
        }
        let chosen = Chosen(chosen);
        match chosen.total() {
            0 => Err(Problem::not_found(
                "no monitored container matches; GET /api/v1/containers?monitored=true lists them",
            )),
            1..=MAX_CONTAINERS => Ok(chosen),
            many => Err(Problem::bad_request(format!(
                "{many} containers match, more than {MAX_CONTAINERS}; name a hostname or a pattern of containers"
            ))),
        }
    }

    fn shown(&self, policy: &Policy, interval: Duration) -> BacktestPolicy {
        BacktestPolicy {
            threshold: self.threshold.map(Threshold::percent),
            interval: format_span(interval),
            confirm_probes: policy.confirm_probes,
            grace: format_span(policy.grace),
            budget: policy.budget.to_string(),
            backoff: format_span(policy.backoff),
            backoff_max: format_span(policy.backoff_max),
            host_budget: policy.host_budget.to_string(),
            futile_after: policy.futile_after,
            assume: self.assume,
        }
    }
}

fn monitored<'a>(
    host: &'a HostSnapshot,
    pattern: Option<&'a NamePattern>,
) -> impl Iterator<Item = (ContainerName, Option<String>)> + 'a {
    let containers = host.report.iter().flat_map(|report| &report.containers);
    let chosen = containers
        .filter(move |one| one.monitored && pattern.is_none_or(|pattern| pattern.matches(&one.name)));
    chosen.map(|one| (one.name.clone(), one.networks.first().cloned()))
}

/// The thresholds in force, and nothing else of what is wanted now: freezes and maintenance are of today.
fn thresholds(api: &Api) -> Result<DesiredState, Problem> {
    let state = api.desired.state().ok_or(crate::controller::desired::ChangeError::NotRead)?;
    let of = |entry: &DesiredEntry| DesiredEntry { threshold: entry.threshold, ..DesiredEntry::default() };
    Ok(DesiredState {
        threshold: state.threshold,
        containers: state.containers.iter().map(|(key, entry)| (key.clone(), of(entry))).collect(),
        ..DesiredState::default()
    })
}

/// What was recorded of a host's containers, how finely, and whether there was more than is read.
async fn read(
    api: &Api,
    host: &HostName,
    names: &[(ContainerName, Option<String>)],
    (from, to): (i64, i64),
    now: Timestamp,
) -> Result<(HostRecord, u32, bool), Problem> {
    let native = api.ticks.of(host).map_or(USUAL_STEP, |latest| latest.tick.tick.step);
    let raw = now.millis().div_euclid(1000) - i64::try_from(RAW_SPAN.as_secs()).unwrap_or(i64::MAX);
    let native = if from < raw { native.max(60) } else { native };
    let points = Points::finest((from, to), native);
    let mut containers: BTreeMap<ContainerName, ContainerRecord> = names
        .iter()
        .map(|(name, net)| (name.clone(), ContainerRecord::new(name.clone(), net.clone())))
        .collect();
    let reads: Vec<_> = names.iter().map(|(name, _)| samples(api, host, name, points)).collect();
    let read: Vec<_> = stream::iter(reads).buffered(READS).try_collect().await?;
    for (record, samples) in names.iter().zip(read) {
        if let Some(one) = containers.get_mut(&record.0) {
            one.samples = samples;
        }
    }
    let mut cut = true;
    let mut events = Vec::new();
    let mut before = None;
    for _ in 0..EVENT_PAGES {
        let query = EventQuery {
            before,
            order: EventOrder::NewestFirst,
            kinds: ContainerRecord::KINDS.to_vec(),
            host: Some(host.clone()),
            limit: EVENT_PAGE,
            ..EventQuery::default()
        };
        let page = api.db.events(query).await?;
        before = page.last().map(|event| event.seq);
        let over =
            page.len() < EVENT_PAGE || page.last().is_some_and(|event| event.time.millis() < from * 1000);
        events.extend(page);
        if over {
            cut = false;
            break;
        }
    }
    events.sort_by_key(|event| event.time);
    let inside = |time: Timestamp| (from * 1000..=to * 1000).contains(&time.millis());
    for event in events.iter().filter(|event| inside(event.time)) {
        if let Some(one) = event.container.as_ref().and_then(|name| containers.get_mut(name)) {
            one.note(event);
        }
    }
    let record = HostRecord { host: host.clone(), containers: containers.into_values().collect() };
    Ok((record, points.step, cut))
}

async fn samples(
    api: &Api,
    host: &HostName,
    name: &ContainerName,
    points: Points,
) -> Result<Vec<Sample>, Problem> {
    let query = RangeQuery {
        subject: MetricSubject { host: host.clone(), container: Some(name.clone()) },
        names: NAMES.to_vec(),
        from: points.from,
        to: points.to,
        step: points.step,
        statistic: Statistic::Mean,
    };
    let read = api.metrics.range(query).await?;
    let (loss, rtt) = (read.series.get(&NAMES[0]), read.series.get(&NAMES[1]));
    let sample = |(index, time): (usize, &i64)| {
        let at = |series: Option<&Vec<Option<f64>>>| series.and_then(|all| all.get(index).copied().flatten());
        Some(Sample { time: Timestamp::from_millis(time * 1000), loss: at(loss)?, rtt_ms: at(rtt) })
    };
    Ok(read.times.iter().enumerate().filter_map(sample).collect())
}

fn assumptions(assume: Assume, interval: Duration, resolution: u32, cut: bool) -> Vec<String> {
    let effect = match assume {
        Assume::Heals => {
            "What a restart that was never made would have changed is unknown; it is assumed to heal the container until \
             the next recorded onset."
        }
        Assume::AsRecorded => {
            "What a restart that was never made would have changed is unknown; it is assumed to change nothing that was \
             recorded after it."
        }
    };
    let every = format_span(Duration::from_secs(resolution.into()));
    let mut all = vec![
        effect.to_owned(),
        format!(
            "Loss is known as the last check's, every {every}; each figure stands for every check until the next, and for \
             the one that confirms it."
        ),
        "Down and unhealthy are known from the agent's events; every end counts as a crash.".to_owned(),
        "The breaker and the host's budget count only the containers chosen here, in their present first network.".to_owned(),
        "Freezes, maintenance, label changes and an operator's restarts are left out.".to_owned(),
    ];
    if interval < Duration::from_secs(resolution.into()) {
        all.push(format!(
            "The interval of {} is shorter than {every}: how much sooner it finds loss cannot be seen.",
            format_span(interval)
        ));
    }
    if cut {
        all.push("There were more events than are read: the oldest part of the span lacks some.".to_owned());
    }
    all
}
