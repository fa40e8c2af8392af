//! From an agent's configuration to its parts: engine, ICMP socket, database, and who must never be touched.

use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::config::AgentConfig;
use crate::bus::{Bus, Capability};
use crate::chaos::{Campaigns, HostGround};
use crate::docker::{ContainerSource, Engine, own_container_id};
use crate::metrics::{Machine, is_inner, raise_file_limit};
use crate::model::{Consent, FaultNote, HostName};
use crate::monitor::agent::{
    AgentParts, AgentSettings, FaultAsk, FaultPlayer, PoolKeeper, PoolLines, Sampling,
};
use crate::monitor::decide::OwnContainers;
use crate::monitor::ping::{IcmpPinger, Pinger};
use crate::net::NetworkSettings;
use crate::scale::hosting::{Hosting, HostingLines};
use crate::store::{AgentDb, OutboxBounds};

/// The `meta` key of the name this host was last known by.
const HOST_NAME: &str = "host_name";
/// Between two attempts to ask the engine for its name.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The local socket's file in the data directory.
pub(super) const SOCKET: &str = "agent.sock";

/// A host that is ready to be watched, but for its bus.
pub(super) struct Host {
    config: AgentConfig,
    engine: Engine,
    db: AgentDb,
    pub(super) name: HostName,
}

impl Host {
    /// Opens the database and learns the host's name: as told, else the engine's own, else the one it had before.
    /// Waits for the engine when only that can tell. `None`: ended before it was known.
    pub(super) async fn open(
        config: AgentConfig,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>, Failure> {
        let engine = Engine::connect(&config.docker_host).map_err(|e| Failure::Usage(e.to_string()))?;
        let bounds = OutboxBounds { metrics: config.outbox_max, ..OutboxBounds::default() };
        let db = AgentDb::open_with(&config.data_dir, bounds).map_err(|e| Failure::Failed(e.to_string()))?;
        let name = match &config.hostname {
            Some(name) => name.clone(),
            None => match shutdown.run_until_cancelled(learn_name(&engine, &db)).await {
                Some(name) => name,
                None => return Ok(None),
            },
        };
        if let Err(error) = db.set_meta(HOST_NAME, Some(name.to_string())).await {
            tracing::warn!(%error, "the host's name is not kept");
        }
        Ok(Some(Self { config, engine, db, name }))
    }

    /// Settings and parts of the agent that speaks on `bus`; `brokers` are the URLs of the NATS servers.
    pub(super) fn agent(self, bus: Arc<dyn Bus>, brokers: &[String]) -> (AgentSettings, AgentParts) {
        let addresses = machine_addresses();
        let (pinger, icmp) = pinger();
        let local = self.config.docker_host.is_local();
        let machine = if local { Machine::Here(PathBuf::from("/")) } else { Machine::Elsewhere };
        let settings = AgentSettings {
            host: self.name,
            policy: self.config.policy,
            interval: self.config.interval,
            report_interval: self.config.report_interval,
            stop_timeout: self.config.stop_timeout,
            anonymous_volumes: self.config.anonymous_volumes,
            socket: Some(self.config.data_dir.join(SOCKET)),
            own: own_containers(brokers, &addresses),
            addresses,
            capabilities: vec![icmp, chaos(self.config.chaos), pools(self.config.pools)],
            machine,
        };
        let engine = Arc::new(self.engine);
        let ground = HostGround {
            engine: engine.clone(),
            address: self.config.docker_host,
            data_dir: self.config.data_dir,
        };
        let campaigns =
            Campaigns { host: settings.host.clone(), consent: self.config.chaos, ground: Arc::new(ground) };
        let faults: Option<Arc<dyn FaultPlayer>> = Some(Arc::new(Player(campaigns)));
        let hosting = Hosting {
            consent: self.config.pools,
            engine: engine.clone(),
            stats: engine.clone(),
            machine: settings.machine.clone(),
        };
        let sampling = self.config.metrics_interval.map(|step| Sampling {
            step: step.get(),
            stats: engine.clone(),
            sizes: engine.clone(),
        });
        let network = NetworkSettings {
            wish: self.config.network,
            clock: self.config.network_clock,
            root: PathBuf::from("/"),
        };
        let parts = AgentParts {
            source: engine.clone(),
            builder: engine,
            pinger,
            bus,
            db: self.db,
            sampling,
            network: local.then_some(network),
            faults,
            pools: Some(Arc::new(Keeper(hosting))),
        };
        (settings, parts)
    }
}

async fn learn_name(engine: &Engine, db: &AgentDb) -> HostName {
    let mut said = false;
    loop {
        match engine.info().await.map(|info| HostName::new(info.name)) {
            Ok(Ok(name)) => return name,
            Ok(Err(error)) if !said => {
                tracing::error!(%error, "the engine's own name cannot be used: give --hostname");
            }
            Ok(Err(_)) => {}
            Err(error) => {
                let before = db.get_meta(HOST_NAME).await.ok().flatten().and_then(|name| name.parse().ok());
                if let Some(name) = before {
                    return name;
                }
                if !said {
                    tracing::warn!(%error, "waiting for the engine to learn this host's name; --hostname sets it");
                }
            }
        }
        said = true;
        sleep(ASK_AGAIN).await;
    }
}

fn pinger() -> (Option<Arc<dyn Pinger>>, Capability) {
    let name = "icmp".to_owned();
    match IcmpPinger::open() {
        Ok(pinger) => {
            let detail = format!("{} sockets", pinger.mode());
            (Some(Arc::new(pinger)), Capability { name, works: true, detail })
        }
        Err(error) => {
            tracing::error!(%error, "nothing can be pinged: containers are judged by state and HEALTHCHECK alone");
            (None, Capability { name, works: false, detail: error.to_string() })
        }
    }
}

/// Whether campaigns of faults may be ordered over the bus.
fn chaos(consent: Consent) -> Capability {
    let (works, detail) = match consent {
        Consent::Given => (true, "this host may be attacked by `dockhealth antagonist --host`"),
        Consent::Refused => (false, "this host does not allow it; --chaos of its agent does"),
    };
    Capability { name: "chaos".to_owned(), works, detail: detail.to_owned() }
}

/// Whether pools may be ordered over the bus.
fn pools(consent: Consent) -> Capability {
    let (works, detail) = match consent {
        Consent::Given => {
            raise_file_limit();
            (true, "this host runs the pools that `dockhealth pools` gives it")
        }
        Consent::Refused => (false, "this host does not allow it; --pools of its agent does"),
    };
    Capability { name: "pools".to_owned(), works, detail: detail.to_owned() }
}

/// Keeps the pools that the agent is told of, since `monitor` knows nothing of `scale`.
struct Keeper(Hosting);

#[async_trait]
impl PoolKeeper for Keeper {
    async fn keep(&self, lines: PoolLines, shutdown: CancellationToken) {
        let PoolLines { wanted, asks, told } = lines;
        self.0.host(HostingLines { wanted, asks, told }, shutdown).await;
    }
}

/// Plays what the agent is ordered to, since `monitor` knows nothing of `chaos`.
struct Player(Campaigns);

#[async_trait]
impl FaultPlayer for Player {
    async fn play(
        &self,
        asks: mpsc::Receiver<FaultAsk>,
        notes: mpsc::Sender<FaultNote>,
        shutdown: CancellationToken,
    ) {
        self.0.play(asks, notes, shutdown).await;
    }
}

/// This process's own container, and the broker's when it runs on this machine.
fn own_containers(brokers: &[String], machine: &[IpAddr]) -> OwnContainers {
    let mut own = OwnContainers { ids: own_container_id().into_iter().collect(), ..OwnContainers::default() };
    for broker in brokers {
        let Some((host, port)) = broker_endpoint(broker) else { continue };
        let resolved: BTreeSet<IpAddr> =
            (host.as_str(), port).to_socket_addrs().into_iter().flatten().map(|socket| socket.ip()).collect();
        if resolved.iter().any(|address| address.is_loopback() || machine.contains(address)) {
            own.broker_ports.insert(port);
        }
        own.broker_addresses.extend(resolved);
    }
    own
}

fn broker_endpoint(url: &str) -> Option<(String, u16)> {
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    Some((host, uri.port_u16().unwrap_or(4222)))
}

/// The machine's own addresses, without loopback and the bridges of containers.
fn machine_addresses() -> Vec<IpAddr> {
    pnet::datalink::interfaces()
        .into_iter()
        .filter(|interface| !interface.is_loopback() && !is_inner(&interface.name))
        .flat_map(|interface| interface.ips)
        .map(|network| network.ip())
        .filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_of_this_machine_is_known_by_its_port() {
        let own = own_containers(&["nats://127.0.0.1:4333".into(), "nats://192.0.2.1".into()], &[]);
        assert_eq!(own.broker_ports, BTreeSet::from([4333]));
        assert!(own.broker_addresses.contains(&IpAddr::from([192, 0, 2, 1])));
        assert_eq!(broker_endpoint("tls://[::1]:5"), Some(("::1".into(), 5)));
    }
}
