//! ICMP echo to many addresses at once, over one socket per address family.

mod driver;
#[cfg(test)]
pub(crate) mod fake;
mod flight;
mod inbox;
mod packet;
mod socket;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::model::Threshold;

pub use driver::IcmpPinger;

/// Which kind of ICMP socket the kernel grants us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketMode {
    /// Raw: needs CAP_NET_RAW.
    Raw,
    /// Datagram, which needs no capability but a group id within `net.ipv4.ping_group_range` (icmp(7)).
    Datagram,
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Raw => "raw",
            Self::Datagram => "datagram",
        })
    }
}

/// How one check probes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbePlan {
    /// How many echo requests go to each address.
    pub count: u32,
    /// The time between two requests to one address.
    pub spacing: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// The loss that fails the check: an address whose loss is certain to end above it is reported at once;
    /// `None` always probes to the end.
    pub threshold: Option<Threshold>,
}

/// What came of probing one address. `sent` counts only probes that say something of the address: those that
/// could not be sent, or whose answers were waited for by a starved process, are in `void`.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeOutcome {
    /// The address.
    pub address: IpAddr,
    /// Probes that count.
    pub sent: u32,
    /// Distinct answers in time.
    pub received: u32,
    /// Probes that do not count, for the agent's own fault.
    pub void: u32,
    /// Round trips of the answers, in order of arrival.
    pub rtts: Vec<Duration>,
}

/// Why nothing can be probed at all.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PingError {
    /// Neither raw nor unprivileged ICMP sockets are allowed.
    #[error("no ICMP socket: {0}; run with CAP_NET_RAW, or widen net.ipv4.ping_group_range")]
    NotPermitted(String),
    /// Anything else the kernel refused.
    #[error("ICMP socket: {0}")]
    Io(String),
}

/// Probing many addresses concurrently: the edge between the agent and the network.
#[async_trait]
pub trait Pinger: Send + Sync + 'static {
    /// Probes every address by `plan`, all at once; as long as the slowest. Answers come in the order of
    /// `addresses`, which holds each address once.
    async fn probe(&self, addresses: &[IpAddr], plan: ProbePlan) -> Result<Vec<ProbeOutcome>, PingError>;

    /// As [`Pinger::probe`], but tells of each address as soon as all its probes have ended: the slowest keeps nobody
    /// waiting. `outcomes` has room for as many as there are addresses.
    async fn probe_each(
        &self,
        addresses: &[IpAddr],
        plan: ProbePlan,
        outcomes: mpsc::Sender<ProbeOutcome>,
    ) -> Result<(), PingError>;
}
