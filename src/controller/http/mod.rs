//! The REST interface: one table of routes, and what each does.

mod attempts;
mod auth;
mod backtest;
mod chaos;
mod containers;
mod door;
mod drills;
pub(crate) mod dto;
mod events;
mod exposition;
mod hosts;
mod network;
mod network_pair;
mod network_rules;
mod notifications;
mod openapi;
mod overview;
mod pack;
mod placement;
mod pools;
mod problem;
mod processes;
mod range;
mod report;
mod request;
mod routes;
mod series;
mod server;
mod session;
mod settings;
mod stream;
mod system;
mod tls;
mod tokens;
mod top;
mod ui;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;
use warp::reply::Response;

use super::clock::Clock;
use super::counters::Counters;
use super::desired::{ChangeError, Desired};
use super::fleet::{Fleet, HostSnapshot};
use super::history::History;
use super::network::Network;
use super::notifier::Notifications;
use super::ticks::Ticks;
use super::writes::Writes;
use super::{Agents, Update};
use crate::bus::{AgentCommand, AgentReply, Bus, BusError, BusStatus, CommandError, Subject, decode, encode};
use crate::model::HostName;
use crate::store::{ControllerDb, MetricStore, StoreError};

pub(crate) use auth::first_token;
pub use auth::mint_token;
pub(crate) use door::check as check_door;
pub use dto::{
    Accepted, Agent, Container, ContainerDetails, DesiredNotice, FreezeEntry, Host, HostContainers,
    MaintenanceRequest, Monitoring, NetworkHints, NewToken, Readiness, Token, TokenRequest,
};
pub use notifications::{DeliveryView, Notification, NotificationList, Receiver};
pub use problem::Problem;
pub(crate) use request::{Arrival, Query};
pub(crate) use routes::filter as api_filter;
pub(crate) use server::{Gate, serve};
pub(crate) use session::Logins;
pub use tls::{TlsError, TlsFiles, TlsReload};
pub use ui::has_ui;

/// How long an agent may take to answer a command.
const COMMAND_WITHIN: Duration = Duration::from_secs(5);

/// The most clients that follow the stream at once.
const MAX_STREAMS: usize = 128;

/// What a handler gives: a response, or a problem that becomes one.
type Answer = Result<Response, Problem>;

/// All that handlers work with.
pub(crate) struct Api {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) db: ControllerDb,
    pub(crate) fleet: Fleet,
    pub(crate) network: Network,
    pub(crate) agents: Agents,
    pub(crate) desired: Desired,
    pub(crate) history: History,
    pub(crate) metrics: Arc<dyn MetricStore>,
    /// How writing metrics goes.
    pub(crate) metric_writes: Writes,
    pub(crate) notifications: Notifications,
    pub(crate) ticks: Ticks,
    pub(crate) counters: Arc<Counters>,
    pub(crate) updates: broadcast::Sender<Update>,
    pub(crate) clock: Clock,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) streams: Arc<Semaphore>,
    /// Wrong tokens tried at logging in.
    pub(crate) logins: Logins,
    /// Told when a token was revoked, or a session ended.
    pub(crate) revoked: watch::Sender<()>,
    pub(crate) shutdown: CancellationToken,
}

impl Api {
    /// A bound on stream clients.
    pub(crate) fn stream_permits() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(MAX_STREAMS))
    }

    /// The host of this name, or 404.
    fn known_host(&self, name: &HostName) -> Result<Arc<HostSnapshot>, Problem> {
        let unknown = || {
            Problem::not_found(format!(
                "no host {name} ever spoke to this controller; `dockhealth hosts` and GET /api/v1/hosts list those that did"
            ))
        };
        self.fleet.host(name).ok_or_else(unknown)
    }

    /// 503 while the bus is down.
    fn need_bus(&self) -> Result<(), Problem> {
        match &*self.bus.status().borrow() {
            BusStatus::Connected => Ok(()),
            BusStatus::Disconnected(why) => Err(BusError::Disconnected(why.clone()).into()),
        }
    }

    /// Has the agent of `host` do `command`.
    async fn command(&self, host: &HostName, command: &AgentCommand) -> Result<AgentReply, Problem> {
        self.need_bus()?;
        let subject = Subject::Command(host.clone());
        let answer = self.bus.request(&subject, encode(command), COMMAND_WITHIN).await.map_err(|e| match e {
            BusError::NoAnswer(_) => Problem::new(
                StatusCode::GATEWAY_TIMEOUT,
                format!(
                    "the agent of host {host} did not answer within {} s; GET /api/v1/hosts/{host} says when \
                     it was last heard",
                    COMMAND_WITHIN.as_secs()
                ),
            ),
            other => other.into(),
        })?;
        match decode(&answer)? {
            AgentReply::Error(CommandError::NoSuchContainer { container }) => Err(Problem::not_found(
                format!("host {host} has no container {}", crate::model::clean(&container, 255)),
            )),
            AgentReply::Error(CommandError::Refused { reason }) => {
                Err(Problem::new(StatusCode::CONFLICT, crate::model::clean(&reason, 500)))
            }
            AgentReply::Error(error @ CommandError::Malformed { .. }) => Err(Problem::new(
                StatusCode::BAD_GATEWAY,
                format!("the agent of host {host} {}", crate::model::clean(&error.to_string(), 300)),
            )),
            reply => Ok(reply),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Bus(error) => error.into(),
            ChangeError::NotRead | ChangeError::Ending => Self::unavailable(format!("{error}; try again")),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(why) => Self::new(StatusCode::CONFLICT, why),
            StoreError::Full { .. } | StoreError::Locked { .. } | StoreError::Away { .. } => {
                Self::unavailable(error.to_string())
            }
            other => {
                tracing::error!("a request failed: {other}");
                Self::internal()
            }
        }
    }
}

/// `value` as JSON.
fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let body = serde_json::to_vec(value).expect("plain data becomes JSON");
    let mut response = typed("application/json", body);
    *response.status_mut() = status;
    response
}

/// 200 with `body` of a content type.
fn typed(content_type: &'static str, body: impl Into<Vec<u8>>) -> Response {
    let mut response = Response::new(body.into().into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// 204.
fn no_content() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
