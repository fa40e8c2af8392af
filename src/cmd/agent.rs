//! `dockhealth agent`: watches and heals the containers of one host of a fleet.

use std::sync::Arc;

use clap::ArgMatches;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::config::{self, AgentConfig, LogConfig, NatsConfig, RuntimeConfig};
use super::host::Host;
use super::runtime::serve;
use super::settings::{BadSettings, Resolver, table as t, with_settings};
use crate::bus::{NatsBus, Role};
use crate::monitor::agent;

/// All that the agent is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The agent itself.
    pub agent: AgentConfig,
    /// Its bus.
    pub nats: NatsConfig,
    /// Its log.
    pub log: LogConfig,
    /// Its process.
    pub runtime: RuntimeConfig,
}

/// Its arguments.
pub fn command() -> clap::Command {
    let about = "Watch and heal the containers of this host";
    with_settings(
        clap::Command::new("agent").about(about),
        &[t::COMMON, t::MACHINE, t::NATS, t::HOST, t::CHECKS, t::HEALING, t::LOG],
    )
}

/// What the arguments, variables and file say, or everything that is wrong with them.
pub fn config(mut r: Resolver) -> Result<Config, BadSettings> {
    let (agent, log) = (config::agent(&mut r), config::log(&mut r));
    let nats = config::nats(&mut r);
    let runtime = config::runtime(&mut r);
    r.finish(Config { agent, nats, log, runtime })
}

/// Runs it until it is told to end.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Config { agent, nats, log, runtime } = config(Resolver::new(matches))?;
    serve(&log, runtime, |shutdown| watch(agent, nats, shutdown))
}

async fn watch(config: AgentConfig, nats: NatsConfig, shutdown: CancellationToken) -> Result<(), Failure> {
    let Some(host) = Host::open(config, &shutdown).await? else { return Ok(()) };
    let bus = NatsBus::connect(nats.options(Role::Agent(host.name.clone())))
        .await
        .map_err(|e| Failure::Usage(e.to_string()))?;
    let (settings, parts) = host.agent(Arc::new(bus), &nats.urls);
    agent::run(settings, parts, shutdown).await.map_err(|e| Failure::Failed(e.to_string()))
}
