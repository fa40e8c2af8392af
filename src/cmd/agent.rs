//! `dockhealth agent`: its arguments and what becomes of them.

use super::config::{self, AgentConfig, LogConfig, NatsConfig};
use super::settings::{BadSettings, Resolver, table as t, with_settings};

/// All that the agent is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The agent itself.
    pub agent: AgentConfig,
    /// Its bus.
    pub nats: NatsConfig,
    /// Its log.
    pub log: LogConfig,
}

/// Its arguments.
pub fn command() -> clap::Command {
    let about = "Watch and heal the containers of this host";
    with_settings(
        clap::Command::new("agent").about(about),
        &[t::COMMON, t::NATS, t::HOST, t::CHECKS, t::HEALING, t::LOG],
    )
}

/// What the arguments, variables and file say, or everything that is wrong with them.
pub fn config(mut r: Resolver) -> Result<Config, BadSettings> {
    let config =
        Config { agent: config::agent(&mut r), nats: config::nats(&mut r), log: config::log(&mut r) };
    r.finish(config)
}
