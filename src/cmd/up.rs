//! `dockhealth up`: controller and agent in one process on the local bus, for a single host.

use std::sync::Arc;

use async_trait::async_trait;
use clap::ArgMatches;
use tokio_util::sync::CancellationToken;

use super::config::{self, AgentConfig, ControllerConfig, LogConfig, RuntimeConfig};
use super::host::Host;
use super::runtime::serve;
use super::settings::{BadSettings, Resolver, table as t, with_settings};
use super::{Failure, controller};
use crate::bus::{Bus, DesiredChange, DesiredStore, LocalBus};
use crate::controller::FirstThreshold;
use crate::monitor::agent;
use crate::store::ControllerDb;

/// All that controller and agent in one process are told; data directory and threshold are the same in both.
#[derive(Debug, Clone)]
pub struct Config {
    /// The agent.
    pub agent: AgentConfig,
    /// The controller.
    pub controller: ControllerConfig,
    /// Their log.
    pub log: LogConfig,
    /// Their process.
    pub runtime: RuntimeConfig,
}

/// Its arguments.
pub fn command() -> clap::Command {
    let about = "Run controller and agent in one process, for a single host";
    with_settings(
        clap::Command::new("up").about(about),
        &[
            t::COMMON,
            t::MACHINE,
            t::DOOR,
            t::INSECURE,
            t::STORE,
            t::NOTIFY,
            t::HOST,
            t::CHECKS,
            t::HEALING,
            t::LOG,
        ],
    )
}

/// What the arguments, variables and file say, or everything that is wrong with them.
pub fn config(mut r: Resolver) -> Result<Config, BadSettings> {
    let agent = config::agent(&mut r);
    let controller = config::controller(&mut r);
    let log = config::log(&mut r);
    let runtime = config::runtime(&mut r);
    r.finish(Config { agent, controller, log, runtime })
}

/// Runs both until told to end.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Config { agent, controller, log, runtime } = config(Resolver::new(matches))?;
    serve(&log, runtime, |shutdown| up(agent, controller, shutdown))
}

async fn up(agent: AgentConfig, door: ControllerConfig, shutdown: CancellationToken) -> Result<(), Failure> {
    let db = controller::open(&door)?;
    let listener = controller::listen(&door).await?;
    let desired = db.load_desired().await.map_err(|error| Failure::Failed(error.to_string()))?;
    let bus: Arc<dyn Bus> = Arc::new(LocalBus::new(desired, Stored(db.clone())));
    let name = agent.hostname.clone().unwrap_or_else(controller::machine_name);
    let serving =
        controller::start(door, FirstThreshold::Shared, name, bus.clone(), db, listener, shutdown.clone());
    // Beside the controller, not before it: an engine that is down keeps the host's name, not the answers.
    let watching = async {
        let Some(host) = Host::open(agent, &shutdown).await? else { return Ok(()) };
        let (settings, parts) = host.agent(bus, &[]);
        agent::run(settings, parts, shutdown.clone())
            .await
            .map_err(|error| Failure::Failed(error.to_string()))
    };
    // When one ends, the other is told to; what it ended with is what is reported.
    let ending = |done: Result<(), Failure>| {
        shutdown.cancel();
        done
    };
    let (served, watched) = tokio::join!(async { ending(serving.await) }, async { ending(watching.await) });
    served.and(watched)
}

/// The desired state of a single host is kept beside the events.
struct Stored(ControllerDb);

#[async_trait]
impl DesiredStore for Stored {
    async fn put(&self, change: &DesiredChange) -> Result<(), String> {
        self.0.put_desired(change.clone()).await.map_err(|error| error.to_string())
    }
}
