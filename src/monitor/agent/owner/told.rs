//! What the owner tells of the host, of its containers and why they are as they are.

use super::Owner;
use crate::bus::{FleetReport, HostReport, PROTOCOL_VERSION, WhyReport};
use crate::model::{ContainerName, HostIdentity};
use crate::monitor::decide::FleetQuestion;
use crate::net::NetworkView;

impl Owner {
    pub(super) fn report(&mut self) -> HostReport {
        let now = self.wiring.clock.now();
        self.reports += 1;
        HostReport {
            v: PROTOCOL_VERSION,
            host: self.settings.host.clone(),
            instance: self.parts.db.instance(),
            nonce: self.nonce,
            seq: self.reports,
            time: now.wall,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            addresses: self.settings.addresses.clone(),
            engine: self.engine.clone(),
            capabilities: self.settings.capabilities.clone(),
            freeze: self.state.freeze_in_force(now.wall),
            dry_run: self.settings.policy.dry_run,
            threshold: self.state.threshold_in_force(),
            desired_synced: self.desired_synced,
            outbox: None,
            identity: Some(self.identity()),
            fleet: Some(self.fleet_question()),
            containers: self.state.reports(now),
            pools: self.wiring.pools.statuses(),
        }
    }

    fn fleet_question(&self) -> FleetReport {
        let FleetQuestion { budget, asked, wanted } = self.state.fleet_question();
        FleetReport { budget, asked, wanted }
    }

    /// The identity card; what no file tells here, the engine may.
    fn identity(&self) -> HostIdentity {
        let (card, engine) = (self.identity.clone(), self.engine_machine.clone());
        HostIdentity {
            cores: card.cores.or(engine.cores),
            memory_bytes: card.memory_bytes.or(engine.memory_bytes),
            kernel: card.kernel.or(engine.kernel),
            os: card.os.or(engine.os),
            architecture: card.architecture.or(engine.architecture),
            engine_version: self.engine.version.clone(),
            ..card
        }
    }

    pub(super) fn network_view(&self) -> NetworkView {
        let (containers, rules) = self.state.network();
        NetworkView { containers, addresses: self.settings.addresses.clone(), rules }
    }

    pub(super) fn why(&self, name: &ContainerName) -> Option<WhyReport> {
        let told = self.state.explain(name, self.wiring.clock.now())?;
        let events = self.stories.get(name).map(|story| story.events.iter().cloned().collect());
        Some(WhyReport {
            container: told.container,
            threshold: told.threshold,
            monitored_by: told.monitored_by,
            checks: told.checks,
            events: events.unwrap_or_default(),
            brakes: told.brakes,
            efficacy: told.efficacy,
            network: self.wiring.network.borrow().why(name),
        })
    }
}
