//! The REST server and what it knows of the fleet.
//!
//! Four owners, each a task with a handle: [`fleet`] of what agents report, [`network`] of what they measure between
//! containers, [`desired`] of what is wanted, [`history`] of what is stored. `http` asks their handles and never touches Docker.

mod clock;
mod config;
mod counters;
mod desired;
mod fleet;
mod history;
mod http;
mod ingest;
mod listen;
mod network;
mod notifier;
mod placement;
mod ticks;
mod writes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::{Bus, DesiredChange};
use crate::model::{EventKind, Rate, Timestamp};
use crate::store::{ControllerDb, EventOrder, EventQuery, MetricStore, StoreError};
use clock::Clock;
use desired::DesiredParts;
use fleet::{COUNTED_LONGER, FleetParts, HostSnapshot};
use history::History;
use ingest::IngestParts;
use network::NetworkParts;
use notifier::NotifierParts;
use ticks::Ticks;
use writes::Writes;

pub use config::{Agents, ControllerConfig, FirstThreshold, InsecureHttp, InsecureListen, Outboxes};
pub(crate) use counters::Counters;
pub use fleet::Presence;
pub use http::{
    Accepted, Agent, Container, ContainerDetails, DeliveryView, DesiredNotice, FreezeEntry, Host,
    HostContainers, MaintenanceRequest, Monitoring, NetworkHints, NewToken, Notification, NotificationList,
    Problem, Readiness, Receiver, TlsError, TlsFiles, TlsReload, Token, TokenRequest, has_ui, mint_token,
};
pub(crate) use http::{Arrival, Gate, Query, check_door, serve};
pub use notifier::NotifySettings;

/// How many updates the slowest follower of the stream may be behind before it misses some.
const UPDATES: usize = 1024;

/// The queue group of controllers that share the metrics of the outboxes.
const OUTBOX_GROUP: &str = "controllers";

/// How often old history is forgotten.
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// Something that changed, for followers of the stream.
#[derive(Debug, Clone)]
enum Update {
    /// What is known of a host.
    Host(Arc<HostSnapshot>),
    /// Its containers.
    Containers(Arc<HostSnapshot>),
    /// Its pools.
    Pools(Arc<HostSnapshot>),
    /// What is wanted.
    Desired(DesiredChange),
}

/// Why the controller does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It would listen beyond this machine without TLS.
    #[error(transparent)]
    Insecure(#[from] InsecureListen),
    /// The certificate or key is bad.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The authorities of the notifications' receivers are bad.
    #[error("--notify-ca-file: {0}")]
    Notify(String),
    /// The file system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        source: std::io::Error,
    },
}

/// A controller at work. It ends with the token it was started with.
pub struct Controller {
    address: SocketAddr,
    tls: Option<TlsReload>,
    tasks: TaskTracker,
}

impl Controller {
    /// Starts the controller: its owners, then the server on `listener`. It ends when `shutdown` is cancelled.
    ///
    /// A bus that is not reachable yet does not keep it from starting: `/readyz` says so, and it goes on trying.
    pub async fn start(
        config: ControllerConfig,
        bus: Arc<dyn Bus>,
        db: ControllerDb,
        metrics: Arc<dyn MetricStore>,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let address = listener
            .local_addr()
            .map_err(|source| StartError::Io { what: "the listener has no address".into(), source })?;
        config.check_listen(address)?;
        let tls = config.tls.clone().map(TlsReload::open).transpose()?;
        let token = config.data_dir.join("token");
        http::first_token(&db, &token).await?;

        let (clock, counters) = (Clock::start(), Arc::new(Counters::default()));
        let (updates, ticks) = (broadcast::Sender::new(UPDATES), Ticks::default());
        let own_agent = (config.agents == Agents::Within).then(|| config.name.clone());
        let history = History::new(db.clone(), counters.clone(), config.name.clone());
        let parts = FleetParts {
            bus: bus.clone(),
            db: db.clone(),
            history: history.clone(),
            counters: counters.clone(),
            updates: updates.clone(),
            ticks: ticks.clone(),
            clock,
            known: fleet::known_hosts(&db).await?,
            own_agent,
            window: config.response_window,
            budget: config.fleet_budget,
            restarted: restarted(&db, config.fleet_budget).await?,
        };
        let (fleet, fleet_task) = fleet::fleet(parts, shutdown.clone());
        let parts = DesiredParts {
            bus: bus.clone(),
            copy: db.load_desired().await?,
            db: db.clone(),
            history: history.clone(),
            updates: updates.clone(),
            clock,
            default_threshold: config.default_threshold,
            first_threshold: config.first_threshold,
        };
        let (desired, desired_task) = desired::desired(parts, shutdown.clone());
        let parts = NotifierParts {
            db: db.clone(),
            history: history.clone(),
            fleet: fleet.clone(),
            desired: desired.clone(),
            counters: counters.clone(),
            clock,
            settings: config.notify,
            home: config.name,
        };
        let (notifications, notifier) =
            notifier::notifier(parts, shutdown.clone()).map_err(StartError::Notify)?;
        let metric_writes = Writes::new("the store of metrics", counters.clone());
        let parts = IngestParts {
            bus: bus.clone(),
            group: (config.outboxes == Outboxes::Shared).then_some(OUTBOX_GROUP),
            history: history.clone(),
            metrics: metrics.clone(),
            ticks: ticks.clone(),
            writes: metric_writes.clone(),
            counters: counters.clone(),
        };
        let upkeep = upkeep(metrics.clone(), shutdown.clone());
        let ingest = ingest::ingest(parts, shutdown.clone());
        let parts =
            NetworkParts { bus: bus.clone(), fleet: fleet.clone(), counters: counters.clone(), clock };
        let (network, network_task) = network::network(parts, shutdown.clone());
        let api = Arc::new(http::Api {
            bus,
            db: db.clone(),
            fleet,
            network,
            agents: config.agents,
            desired,
            history,
            metrics,
            metric_writes,
            notifications,
            ticks,
            counters,
            updates,
            clock,
            allowed_hosts: config.allowed_hosts,
            streams: http::Api::stream_permits(),
            logins: http::Logins::default(),
            revoked: watch::Sender::new(()),
            shutdown: shutdown.clone(),
        });
        let gate = http::Gate { listener, tls: tls.clone(), shutdown: shutdown.clone() };

        let tasks = TaskTracker::new();
        tasks.spawn(fleet_task);
        tasks.spawn(desired_task);
        tasks.spawn(network_task);
        tasks.spawn(ingest);
        tasks.spawn(notifier);
        tasks.spawn(upkeep);
        tasks.spawn(prune(db, shutdown));
        tasks.spawn(http::serve(gate, api.counters.clone(), http::api_filter(api)));
        tasks.close();
        Ok(Self { address, tls, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads certificate and key anew, on SIGHUP; `None` without TLS.
    pub fn tls(&self) -> Option<&TlsReload> {
        self.tls.as_ref()
    }

    /// Waits until every part has ended.
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }
}

/// How long ago each restart was that counts against the fleet's `budget`. The clocks are the hosts' own.
async fn restarted(db: &ControllerDb, budget: Option<Rate>) -> Result<Vec<Duration>, StoreError> {
    let Some(budget) = budget else { return Ok(Vec::new()) };
    let query = EventQuery {
        order: EventOrder::NewestFirst,
        kinds: vec![EventKind::ContainerRestarted, EventKind::ContainerRecreated],
        limit: usize::MAX,
        ..EventQuery::default()
    };
    let now = Timestamp::now();
    let lasting = db.events(query).await?.into_iter().filter(|event| event.drill_id.is_none());
    let ages = lasting.map(|event| now.since(event.time));
    Ok(ages.filter(|age| *age < budget.window + COUNTED_LONGER).collect())
}

async fn upkeep(metrics: Arc<dyn MetricStore>, shutdown: CancellationToken) {
    metrics.maintain(shutdown).await;
}

async fn prune(db: ControllerDb, shutdown: CancellationToken) {
    let mut times = tokio::time::interval(PRUNE_EVERY);
    while shutdown.run_until_cancelled(times.tick()).await.is_some() {
        match db.prune(Timestamp::now()).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!("{gone} old events were forgotten"),
            Err(error) => tracing::warn!(%error, "old events could not be forgotten"),
        }
    }
}
