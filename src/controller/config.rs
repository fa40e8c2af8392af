//! What the controller is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::http::TlsFiles;
use super::notifier::NotifySettings;
use crate::model::{HostName, Rate, Threshold};

/// Whether plain HTTP may be spoken beyond this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsecureHttp {
    /// It may not: TLS is needed there.
    Refused,
    /// The administrator said that it may (`--insecure-http`).
    Allowed,
}

/// What becomes of the configured threshold where none is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstThreshold {
    /// Nothing: the only agent was given the same (`up`).
    Shared,
    /// It is stored once the desired state was read, so that every agent of the fleet keeps to it.
    Stored {
        /// Whether someone gave it, and is told when another is stored already.
        given: bool,
    },
}

/// Who takes the metrics of the agents' outboxes in; events are every controller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outboxes {
    /// This controller, all of them.
    Own,
    /// Each batch one of the controllers that say this, whose metrics are kept in one place.
    Shared,
}

/// Where the agents are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agents {
    /// One is within this process (`up`): a list that is asked before its first report waits for it.
    Within,
    /// On other machines, or nowhere.
    Elsewhere,
}

/// What the controller is told.
#[derive(Debug, Clone)]
pub struct ControllerConfig {
    /// The name that events about no host in particular carry: this machine's.
    pub name: HostName,
    /// Where the agents are.
    pub agents: Agents,
    /// The fleet's threshold until one is stored.
    pub default_threshold: Threshold,
    /// What becomes of it where none is stored.
    pub first_threshold: FirstThreshold,
    /// How long a list waits for the hosts' answers.
    pub response_window: Duration,
    /// Names that this server answers to besides loopback ones and its own address.
    pub allowed_hosts: Vec<String>,
    /// The server's certificate and key; `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Whether plain HTTP may be spoken beyond this machine.
    pub insecure_http: InsecureHttp,
    /// Who takes the metrics of the agents' outboxes in.
    pub outboxes: Outboxes,
    /// Who is told of incidents.
    pub notify: NotifySettings,
    /// How many restarts all hosts together may do; `None`: as many as their own budgets allow.
    pub fleet_budget: Option<Rate>,
    /// Where the first token is written.
    pub data_dir: PathBuf,
}

impl ControllerConfig {
    /// The defaults: agents elsewhere, threshold 50 %, not stored, lists wait 4 s, plain HTTP on this machine only,
    /// nobody told.
    pub fn new(name: HostName, data_dir: PathBuf) -> Self {
        Self {
            name,
            agents: Agents::Elsewhere,
            default_threshold: Threshold::default(),
            first_threshold: FirstThreshold::Shared,
            response_window: Duration::from_secs(4),
            allowed_hosts: Vec::new(),
            tls: None,
            insecure_http: InsecureHttp::Refused,
            outboxes: Outboxes::Own,
            notify: NotifySettings::default(),
            fleet_budget: None,
            data_dir,
        }
    }

    /// Whether the controller may listen on `address` with this configuration.
    pub fn check_listen(&self, address: SocketAddr) -> Result<(), InsecureListen> {
        let safe = address.ip().to_canonical().is_loopback()
            || self.tls.is_some()
            || self.insecure_http == InsecureHttp::Allowed;
        if safe { Ok(()) } else { Err(InsecureListen(address)) }
    }
}

/// Tokens would cross the network in plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "listening on {0} without TLS would send tokens in plain text: give --tls-cert and --tls-key, listen on 127.0.0.1, \
     or say --insecure-http where the network itself is trusted"
)]
pub struct InsecureListen(pub SocketAddr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_this_machine_tls_is_needed_unless_waived() {
        let plain = ControllerConfig::new("c".parse().unwrap(), PathBuf::new());
        for local in ["127.0.0.1:1", "[::1]:1", "127.9.9.9:1"] {
            assert_eq!(plain.check_listen(local.parse().unwrap()), Ok(()), "{local}");
        }
        let files = TlsFiles { cert: "c".into(), key: "k".into() };
        let tls = ControllerConfig { tls: Some(files), ..plain.clone() };
        let waived = ControllerConfig { insecure_http: InsecureHttp::Allowed, ..plain.clone() };
        for beyond in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            let address = beyond.parse().unwrap();
            assert_eq!(plain.check_listen(address), Err(InsecureListen(address)), "{beyond}");
            assert!(tls.check_listen(address).is_ok() && waived.check_listen(address).is_ok());
        }
    }
}
