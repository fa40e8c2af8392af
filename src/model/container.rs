//! A container as the engine describes it, converted once at the adapter.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ContainerId, ContainerName, OnStop, Timestamp};

/// What the engine says a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Created, never started.
    Created,
    /// Running.
    Running,
    /// Frozen by `docker pause`.
    Paused,
    /// The engine's own restart policy is about to start it again.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// Half removed.
    Dead,
    /// A word this version does not know.
    #[serde(other)]
    Unknown,
}

impl RunState {
    /// The engine's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }

    /// Reads the engine's word; what is new to us is [`RunState::Unknown`].
    pub fn from_word(word: &str) -> Self {
        match word {
            "created" => Self::Created,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "restarting" => Self::Restarting,
            "removing" => Self::Removing,
            "exited" => Self::Exited,
            "dead" => Self::Dead,
            _ => Self::Unknown,
        }
    }
}

/// What the container's own HEALTHCHECK says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthcheckStatus {
    /// Within its start period.
    Starting,
    /// Its last checks passed.
    Healthy,
    /// As many checks in a row failed as it allows.
    Unhealthy,
}

/// The container's HEALTHCHECK, when it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Healthcheck {
    /// Its present word.
    pub status: HealthcheckStatus,
    /// How long after a start failures do not count; zero when none is set.
    pub start_period: Duration,
}

/// Where a container's network stack lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// In a network namespace of its own.
    Own,
    /// In the host's.
    Host,
    /// It has none (`--network none`).
    None,
    /// In another container's, named by id or name as the engine wrote it.
    Container(String),
}

/// One of the container's networks and its addresses there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkAttachment {
    /// The network's name.
    pub network: String,
    /// The engine's id of this attachment; changes when the container is connected anew.
    pub endpoint_id: String,
    /// Its IPv4 address, when it has one now.
    pub ipv4: Option<Ipv4Addr>,
    /// Its global IPv6 address, when it has one now.
    pub ipv6: Option<Ipv6Addr>,
    /// Where it sends what leaves the network: on a bridge, an address of the host's own.
    pub gateways: Vec<IpAddr>,
}

/// The engine's own restart policy for the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// None: the engine leaves it down.
    No,
    /// Restarted when it ends with an error.
    OnFailure,
    /// Always restarted unless stopped on purpose.
    Always,
    /// Like `Always`, also across a restart of the engine.
    UnlessStopped,
}

/// What a container waits for in one that it depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// That it runs.
    Started,
    /// That its HEALTHCHECK passes, where it has one.
    Healthy,
    /// That it ran to its end without an error.
    Completed,
}

impl Needs {
    /// Reads compose's word for it; what is new to us is the least of them.
    fn from_word(word: &str) -> Self {
        match word {
            "service_healthy" => Self::Healthy,
            "service_completed_successfully" => Self::Completed,
            _ => Self::Started,
        }
    }
}

/// A service of the same compose project that a container needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency<'a> {
    /// The service.
    pub service: &'a str,
    /// What of it.
    pub needs: Needs,
}

/// What a container's label says of maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance<'a> {
    /// It is being maintained, with no end.
    Open,
    /// Until then.
    Until(Timestamp),
    /// It is not.
    Over,
    /// Neither yes, no nor a time.
    Unreadable(&'a str),
}

/// Everything decisions need to know of one container. `None` means that the engine did not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Its id, new at each creation.
    pub id: ContainerId,
    /// Its name, without the leading `/`.
    pub name: ContainerName,
    /// The image it was created from, as written then.
    pub image: String,
    /// What it is doing.
    pub state: RunState,
    /// How it ended, when it has.
    pub exit_code: Option<i64>,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// Its own HEALTHCHECK.
    pub healthcheck: Option<Healthcheck>,
    /// When it was last started.
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    pub finished_at: Option<Timestamp>,
    /// How often the engine's own policy restarted it.
    pub restart_count: Option<u64>,
    /// The engine's own restart policy.
    pub restart_policy: RestartPolicy,
    /// Its labels; keys and values are hostile text.
    pub labels: BTreeMap<String, String>,
    /// Where its network stack lives.
    pub namespace: Namespace,
    /// Its networks.
    pub networks: Vec<NetworkAttachment>,
    /// Ports of its own that are published on the host: (host port, container port).
    pub published: Vec<(u16, u16)>,
    /// The process id of its first process on the host, while it runs.
    pub pid: Option<u32>,
    /// Whether the engine removes it when it ends (`--rm`).
    pub auto_remove: bool,
    /// Names of containers it is linked to (`--link`), which it needs.
    pub links: Vec<String>,
}

impl ContainerFacts {
    /// Every address it can be pinged at, IPv4 first, in the order of its networks.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let v4 = self.networks.iter().filter_map(|n| n.ipv4.map(IpAddr::V4));
        let v6 = self.networks.iter().filter_map(|n| n.ipv6.map(IpAddr::V6));
        v4.chain(v6).collect()
    }

    /// The name of the network that holds `address`.
    pub fn network_of(&self, address: IpAddr) -> Option<&str> {
        let holds = |n: &&NetworkAttachment| match address {
            IpAddr::V4(v4) => n.ipv4 == Some(v4),
            IpAddr::V6(v6) => n.ipv6 == Some(v6),
        };
        self.networks.iter().find(holds).map(|n| n.network.as_str())
    }

    /// Whether `text` is its id or its name.
    pub fn is_called(&self, text: &str) -> bool {
        self.id.as_str() == text || self.name.as_str() == text
    }

    /// The compose project it belongs to.
    pub fn project(&self) -> Option<&str> {
        self.labels.get("com.docker.compose.project").map(String::as_str)
    }

    /// The compose service it is a replica of.
    pub fn service(&self) -> Option<&str> {
        self.labels.get("com.docker.compose.service").map(String::as_str)
    }

    /// The container that this one is about to replace, as compose marks it during a deploy.
    pub fn replaces(&self) -> Option<&str> {
        self.labels.get("com.docker.compose.replace").map(String::as_str)
    }

    /// The services of its project that it needs, as compose writes them down: `db:service_healthy:false,...`.
    pub fn depends_on(&self) -> Vec<Dependency<'_>> {
        let all = self.labels.get("com.docker.compose.depends_on").map_or("", String::as_str);
        all.split(',')
            .filter_map(|entry| {
                let mut parts = entry.trim().split(':');
                let service = parts.next().filter(|service| !service.is_empty())?;
                Some(Dependency { service, needs: Needs::from_word(parts.next().unwrap_or_default()) })
            })
            .collect()
    }

    /// What its label says of maintenance (`dockhealth.maintenance=true|false|TIME`); `None`: it has none.
    pub fn maintenance_label(&self) -> Option<Maintenance<'_>> {
        let text = self.labels.get("dockhealth.maintenance")?.trim();
        Some(match text {
            "true" | "1" | "yes" => Maintenance::Open,
            "false" | "0" | "no" | "" => Maintenance::Over,
            _ => text.parse().map_or(Maintenance::Unreadable(text), Maintenance::Until),
        })
    }

    /// Whether its label asks to be monitored (`dockhealth.monitor=true`), asks not to, or says nothing.
    pub fn monitor_label(&self) -> Option<bool> {
        match self.labels.get("dockhealth.monitor")?.as_str() {
            "true" | "1" | "yes" => Some(true),
            "false" | "0" | "no" => Some(false),
            _ => None,
        }
    }

    /// What its label says to do when it was told to stop (`dockhealth.on-stop=restart|leave`).
    pub fn on_stop_label(&self) -> Option<OnStop> {
        match self.labels.get("dockhealth.on-stop")?.as_str() {
            "restart" => Some(OnStop::Restart),
            "leave" => Some(OnStop::Leave),
            _ => None,
        }
    }

    /// The label that says whose pool a container is of.
    pub const POOL_LABEL: &str = "dockhealth.pool";

    /// The pool it is of. Who runs a pool replaces what ails there; nobody else is to start or restart it.
    pub fn pool(&self) -> Option<&str> {
        self.labels.get(Self::POOL_LABEL).map(String::as_str)
    }

    /// Whether it is a part of dockhealth itself (`dockhealth.role=agent|controller|broker|antagonist`), which is
    /// never healed or attacked.
    pub fn role(&self) -> Option<&str> {
        self.labels.get("dockhealth.role").map(String::as_str)
    }
}
