//! `dockhealth controller`: the REST server of a fleet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use clap::ArgMatches;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::config::{self, ControllerConfig, LogConfig, NatsConfig, RuntimeConfig};
use super::runtime::serve;
use super::settings::{BadSettings, Resolver, table as t, with_settings};
use crate::bus::{Bus, NatsBus, Role};
use crate::controller::{self, Agents, Controller, FirstThreshold, InsecureHttp, Outboxes, TlsFiles, has_ui};
use crate::model::HostName;
use crate::store::{ControllerDb, EmbeddedStore, MetricStore, RemoteStore};

/// All that the controller is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The controller itself.
    pub controller: ControllerConfig,
    /// What becomes of its threshold where none is stored.
    pub first_threshold: FirstThreshold,
    /// Its bus.
    pub nats: NatsConfig,
    /// Its log.
    pub log: LogConfig,
    /// Its process.
    pub runtime: RuntimeConfig,
}

/// Its arguments.
pub fn command() -> clap::Command {
    let about = "Serve the REST interface and tell the agents what is wanted";
    with_settings(
        clap::Command::new("controller").about(about),
        &[t::COMMON, t::NATS, t::FLEET, t::DOOR, t::INSECURE, t::STORE, t::NOTIFY, t::LOG],
    )
}

/// What the arguments, variables and file say, or everything that is wrong with them.
pub fn config(mut r: Resolver) -> Result<Config, BadSettings> {
    let controller = config::controller(&mut r);
    let config = Config {
        controller: ControllerConfig { fleet_budget: config::fleet_budget(&mut r), ..controller },
        first_threshold: FirstThreshold::Stored { given: r.is_given(&t::THRESHOLD) },
        nats: config::nats(&mut r),
        log: config::log(&mut r),
        runtime: config::runtime(&mut r),
    };
    r.finish(config)
}

/// Runs it until it is told to end.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Config { controller, first_threshold, nats, log, runtime } = config(Resolver::new(matches))?;
    serve(&log, runtime, |shutdown| async move {
        let bus = NatsBus::connect(nats.options(Role::Controller)).await;
        let bus = Arc::new(bus.map_err(|error| Failure::Usage(error.to_string()))?);
        let db = open(&controller)?;
        let listener = listen(&controller).await?;
        start(controller, first_threshold, machine_name(), bus, db, listener, shutdown).await
    })
}

pub(super) fn open(config: &ControllerConfig) -> Result<ControllerDb, Failure> {
    ControllerDb::open(&config.data_dir).map_err(|error| Failure::Failed(error.to_string()))
}

pub(super) async fn listen(config: &ControllerConfig) -> Result<TcpListener, Failure> {
    TcpListener::bind(config.listen).await.map_err(|error| {
        Failure::Failed(format!("cannot listen on {}: {error}; give another --listen address", config.listen))
    })
}

/// Serves until `shutdown`; `name` is whom events about no host in particular come from.
pub(super) async fn start(
    config: ControllerConfig,
    first_threshold: FirstThreshold,
    name: HostName,
    bus: Arc<dyn Bus>,
    db: ControllerDb,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let mut hangup = signal(SignalKind::hangup()).map_err(|error| Failure::Failed(error.to_string()))?;
    let metrics = metrics(&config, &db)?;
    let outboxes = if config.remote_store.is_some() { Outboxes::Shared } else { Outboxes::Own };
    let agents = match first_threshold {
        FirstThreshold::Shared => Agents::Within,
        FirstThreshold::Stored { .. } => Agents::Elsewhere,
    };
    let config = controller::ControllerConfig {
        name,
        agents,
        default_threshold: config.threshold,
        first_threshold,
        response_window: config.response_window,
        allowed_hosts: config.allowed_hosts,
        tls: config.tls.map(|files| TlsFiles { cert: files.cert, key: files.key }),
        insecure_http: if config.insecure_http { InsecureHttp::Allowed } else { InsecureHttp::Refused },
        outboxes,
        notify: config.notify,
        fleet_budget: config.fleet_budget,
        data_dir: config.data_dir,
    };
    let token = config.data_dir.join("token");
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let running = Controller::start(config, bus, db, metrics, listener, shutdown.clone()).await;
    let running = running.map_err(|error| Failure::Failed(error.to_string()))?;
    tracing::info!("listening on {scheme}://{}", running.address());
    if has_ui() {
        let (here, token) = (on_this_machine(running.address()), token.display());
        tracing::info!("the web UI is at {scheme}://{here}/ and takes the token in {token}");
    } else {
        tracing::info!("this build has no web UI; scripts/build makes one that has");
    }
    let reload = async {
        while hangup.recv().await.is_some() {
            // What is wrong with new files was logged; the old ones stay in use.
            let _ = running.tls().map(controller::TlsReload::reload);
        }
    };
    tokio::select! {
        () = running.ended() => {}
        () = reload => {}
    }
    Ok(())
}

fn metrics(config: &ControllerConfig, db: &ControllerDb) -> Result<Arc<dyn MetricStore>, Failure> {
    Ok(match config.remote_store.clone() {
        Some(options) => Arc::new(RemoteStore::new(options).map_err(Failure::Usage)?),
        None => Arc::new(
            EmbeddedStore::open(db, config.retention).map_err(|error| Failure::Failed(error.to_string()))?,
        ),
    })
}

/// An address that leads from this machine to what listens on `address`.
fn on_this_machine(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => {}
        IpAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
    }
    address
}

/// This machine's own name.
pub(super) fn machine_name() -> HostName {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    HostName::new(name.trim()).unwrap_or_else(|_| HostName::new("controller").expect("a valid name"))
}
