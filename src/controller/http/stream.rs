//! One stream of server-sent events: what happens, as it happens.
//!
//! Events are read from the store behind the client's own cursor, so none is lost or told twice, however slow it is or
//! how often it comes back. What else is told (containers, hosts, desired state) is the present state, so a slow
//! client may miss some and is told that it did: `event: lagged`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use warp::Reply;
use warp::sse::Event as Sse;

use super::auth::{Pass, Shown};
use super::dto::{Container, DesiredNotice, Freshness, Host, HostContainers};
use super::pools::HostPools;
use super::problem::Problem;
use super::request::Request;
use super::watched::Watched;
use super::{Answer, Api};
use crate::bus::DesiredChange;
use crate::controller::Update;
use crate::controller::counters::Counter;
use crate::controller::fleet::HostSnapshot;
use crate::model::{Event, HostName};
use crate::store::{EventOrder, EventQuery, HostTick, StoreError};

/// How much one client may be behind before its own task waits for it.
const BUFFER: usize = 64;

/// How many events are read from the store at once.
const PAGE: usize = 200;

/// How often a comment is sent where there is nothing to tell, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// After how long a client should come back.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    Events,
    Containers,
    Hosts,
    Desired,
    Pools,
    Metrics,
}

impl Topic {
    const ALL: [Self; 6] =
        [Self::Events, Self::Containers, Self::Hosts, Self::Desired, Self::Pools, Self::Metrics];

    /// What is told when nobody says: samples are many, and few want them.
    const USUAL: [Self; 5] = [Self::Events, Self::Containers, Self::Hosts, Self::Desired, Self::Pools];

    fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Containers => "containers",
            Self::Hosts => "hosts",
            Self::Desired => "desired",
            Self::Pools => "pools",
            Self::Metrics => "metrics",
        }
    }
}

/// Follow what happens.
///
/// Server-sent events named `event` (an Event, with `id` = its `seq`), `containers` (HostContainers), `host` (Host),
/// `desired` (DesiredNotice), `pools` (HostPools), `metrics` (HostMetrics: each host's newest samples, then
/// further ones as they come) and `lagged` (`{"missed": n}`:
/// read anew what you follow besides events). A client that comes back with `Last-Event-ID` gets every event since;
/// samples in between are read from the history of metrics. The stream of a token ends when the token is revoked, that of
/// a session when it ends.
#[utoipa::path(
    get, path = "/api/v1/stream", tag = "history",
    params(
        ("topics" = Option<String>, Query, description = "Of events, containers, hosts, desired, pools, metrics, separated by commas; all but metrics when absent"),
        ("metrics_of" = Option<String>, Query, description = "`hosts`: the samples of hosts alone, not of their containers; `all` when absent"),
        ("metrics_host" = Option<String>, Query, description = "Only samples of this host and its containers"),
        ("metrics_container" = Option<String>, Query, description = "Of that host's containers only this one's samples"),
        ("metrics_names" = Option<String>, Query, description = "Only these metrics, separated by commas"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The last event seen"),
    ),
    responses(
        (status = 200, description = "The stream", body = String, content_type = "text/event-stream"),
        (status = 503, description = "Too many clients follow already", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn stream(api: Arc<Api>, request: Request) -> Answer {
    let topics = request.query.words("topics", &Topic::ALL, Topic::as_str)?;
    let topics = topics.unwrap_or_else(|| Topic::USUAL.to_vec());
    let watched = Watched::read(&request.query)?;
    let seen = last_seen(&request)?;
    let permit = api.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::unavailable(format!("{} clients follow the stream already", super::MAX_STREAMS))
    })?;
    // Followed before the cursor is read: nothing falls between.
    let (updates, grew) = (api.updates.subscribe(), api.history.follow());
    let ticks = api.ticks.follow();
    let newest = newest(&api).await?;
    // One that is not reached yet is of a history that is gone; waiting for it would skip events.
    let cursor = seen.map_or(newest, |seen| seen.min(newest));
    let (out, told) = mpsc::channel(BUFFER);
    let pass = if let Shown::Token(_, pass) = request.shown { Some(pass) } else { None };
    let follower = Follower { api, topics, watched, cursor, updates, ticks, grew, out };
    tokio::spawn(async move {
        let shutdown = follower.api.shutdown.clone();
        // Ends at once with the controller, with the client, and with what let the client in.
        let revoked = revoked(follower.api.clone(), pass);
        let told = async {
            tokio::select! {
                () = follower.run() => {}
                () = revoked => {}
            }
        };
        shutdown.run_until_cancelled(told).await;
        drop(permit);
    });
    let told = warp::sse::keep_alive().interval(KEEP_ALIVE).stream(ReceiverStream::new(told));
    let mut response = warp::sse::reply(told).into_response();
    // nginx and those like it hand on what they get as it comes, instead of collecting it first.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The last event that the client has seen.
fn last_seen(request: &Request) -> Result<Option<u64>, Problem> {
    let Some(id) = request.headers.get("last-event-id") else { return Ok(None) };
    let seen = id.to_str().ok().and_then(|id| id.trim().parse().ok());
    seen.map(Some).ok_or_else(|| {
        Problem::bad_request("the header Last-Event-ID must be the seq of an event, a whole number")
    })
}

async fn newest(api: &Api) -> Result<u64, StoreError> {
    let query = EventQuery { order: EventOrder::NewestFirst, limit: 1, ..EventQuery::default() };
    Ok(api.db.events(query).await?.first().map_or(0, |event| event.seq))
}

/// Returns when `pass` holds no more. What the store cannot tell counts as revoked: the client comes back and is
/// asked anew.
async fn revoked(api: Arc<Api>, pass: Option<Pass>) {
    let Some(pass) = pass else { return std::future::pending().await };
    let mut changes = api.revoked.subscribe();
    let mut times = tokio::time::interval(KEEP_ALIVE);
    while pass.holds(&api.db, api.clock.now().wall).await.unwrap_or(false) {
        tokio::select! {
            _ = times.tick() => {}
            _ = changes.changed() => {}
        }
    }
}

/// The client has gone, or the store failed: the stream ends, and the client comes back.
struct Ended;

struct Follower {
    api: Arc<Api>,
    topics: Vec<Topic>,
    watched: Watched,
    cursor: u64,
    updates: broadcast::Receiver<Update>,
    ticks: broadcast::Receiver<Arc<HostTick>>,
    grew: watch::Receiver<u64>,
    out: mpsc::Sender<Result<Sse, Infallible>>,
}

impl Follower {
    async fn run(mut self) {
        // An error means that the client has gone.
        let _ = self.follow().await;
    }

    async fn follow(&mut self) -> Result<(), Ended> {
        self.out.send(Ok(Sse::default().comment("dockhealth").retry(RETRY))).await.map_err(|_| Ended)?;
        let events = self.topics.contains(&Topic::Events);
        let metrics = self.topics.contains(&Topic::Metrics);
        if metrics {
            for latest in self.api.ticks.all().into_values() {
                self.tell_tick(&latest.tick).await?;
            }
        }
        if events {
            self.tell_events().await?;
        }
        loop {
            tokio::select! {
                () = self.out.closed() => return Err(Ended),
                Ok(()) = self.grew.changed(), if events => self.tell_events().await?,
                update = self.updates.recv() => match update {
                    Ok(update) => self.tell_update(update).await?,
                    Err(RecvError::Lagged(missed)) => self.tell_lagged(missed).await?,
                    Err(RecvError::Closed) => return Ok(()),
                },
                tick = self.ticks.recv(), if metrics => match tick {
                    Ok(tick) => self.tell_tick(&tick).await?,
                    Err(RecvError::Lagged(missed)) => self.tell_lagged(missed).await?,
                    Err(RecvError::Closed) => return Ok(()),
                },
            }
        }
    }

    async fn tell_events(&mut self) -> Result<(), Ended> {
        loop {
            let query = EventQuery { after: Some(self.cursor), limit: PAGE, ..EventQuery::default() };
            let events: Vec<Event> = self.api.db.events(query).await.map_err(|error| {
                tracing::warn!(%error, "a stream ends: events cannot be read");
                Ended
            })?;
            let last_page = events.len() < PAGE;
            for event in events {
                self.cursor = event.seq;
                let sse = named("event", &event).id(event.seq.to_string());
                self.out.send(Ok(sse)).await.map_err(|_| Ended)?;
            }
            if last_page {
                return Ok(());
            }
        }
    }

    async fn tell_tick(&self, tick: &HostTick) -> Result<(), Ended> {
        match self.watched.of(tick) {
            Some(samples) => self.tell("metrics", &samples).await,
            None => Ok(()),
        }
    }

    async fn tell_lagged(&self, missed: u64) -> Result<(), Ended> {
        self.api.counters.count(Counter::StreamsLagged);
        self.tell("lagged", &serde_json::json!({"missed": missed})).await
    }

    async fn tell_update(&self, update: Update) -> Result<(), Ended> {
        match update {
            Update::Containers(host) if self.topics.contains(&Topic::Containers) => {
                let report = host.report.iter().flat_map(|report| &report.containers);
                let containers = report.map(|c| Container::new(&host.name, c, Freshness::Fresh)).collect();
                self.tell("containers", &HostContainers { hostname: host.name.clone(), containers }).await
            }
            Update::Host(host) if self.topics.contains(&Topic::Hosts) => {
                self.tell("host", &Host::new(&host)).await
            }
            Update::Pools(host) if self.topics.contains(&Topic::Pools) => {
                self.tell_pools(&host.name, Some(&host)).await
            }
            Update::Desired(change) => {
                let pool =
                    if let DesiredChange::Pool(key, _) = &change { Some(key.host.clone()) } else { None };
                if let Some(host) = pool.filter(|_| self.topics.contains(&Topic::Pools)) {
                    let seen = self.api.fleet.host(&host);
                    self.tell_pools(&host, seen.as_deref()).await?;
                }
                if self.topics.contains(&Topic::Desired) {
                    self.tell("desired", &DesiredNotice::from(change)).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn tell_pools(&self, host: &HostName, seen: Option<&HostSnapshot>) -> Result<(), Ended> {
        let Some(desired) = self.api.desired.state() else { return Ok(()) };
        self.tell("pools", &HostPools::of(host, &desired, seen)).await
    }

    async fn tell<T: Serialize>(&self, name: &str, data: &T) -> Result<(), Ended> {
        self.out.send(Ok(named(name, data))).await.map_err(|_| Ended)
    }
}

fn named<T: Serialize>(name: &str, data: &T) -> Sse {
    Sse::default().event(name).json_data(data).expect("plain data becomes JSON")
}
