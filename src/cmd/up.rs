//! `dockhealth up`: its arguments and what becomes of them.

use super::config::{self, AgentConfig, ControllerConfig, LogConfig};
use super::settings::{BadSettings, Resolver, table as t, with_settings};

/// All that controller and agent in one process are told; data directory and threshold are the same in both.
#[derive(Debug, Clone)]
pub struct Config {
    /// The agent.
    pub agent: AgentConfig,
    /// The controller.
    pub controller: ControllerConfig,
    /// Their log.
    pub log: LogConfig,
}

/// Its arguments.
pub fn command() -> clap::Command {
    let about = "Run controller and agent in one process, for a single host";
    with_settings(
        clap::Command::new("up").about(about),
        &[t::COMMON, t::DOOR, t::INSECURE, t::HOST, t::CHECKS, t::HEALING, t::LOG],
    )
}

/// What the arguments, variables and file say, or everything that is wrong with them.
pub fn config(mut r: Resolver) -> Result<Config, BadSettings> {
    let agent = config::agent(&mut r);
    let controller = config::controller(&mut r);
    let log = config::log(&mut r);
    r.finish(Config { agent, controller, log })
}
