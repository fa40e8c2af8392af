//! `dockhealth controller`: its arguments and what becomes of them.

use super::config::{self, ControllerConfig, LogConfig, NatsConfig};
use super::settings::{BadSettings, Resolver, table as t, with_settings};

/// All that the controller is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The controller itself.
    pub controller: ControllerConfig,
    /// Its bus.
    pub nats: NatsConfig,
    /// Its log.
    pub log: LogConfig,
}

/// Its arguments.
pub fn command() -> clap::Command {
    let about = "Serve the REST interface and tell the agents what is wanted";
    with_settings(
        clap::Command::new("controller").about(about),
        &[t::COMMON, t::NATS, t::DOOR, t::INSECURE, t::LOG],
    )
}

/// What the arguments, variables and file say, or everything that is wrong with them.
pub fn config(mut r: Resolver) -> Result<Config, BadSettings> {
    let config = Config {
        controller: config::controller(&mut r),
        nats: config::nats(&mut r),
        log: config::log(&mut r),
    };
    r.finish(config)
}
