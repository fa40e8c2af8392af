//! Where campaigns are played: a host, or a scripted one in tests.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::chaos::{Arena, AttackMode, Keeper, Ledger, NetAbility, Nowhere, Scenario, Swept, sweep};
use crate::docker::{ContainerSource, EngineAddress, own_container_id};
use crate::model::ContainerId;

/// Where campaigns are played.
#[async_trait]
pub trait Ground: Send + Sync + 'static {
    /// Who has the containers.
    fn engine(&self) -> Arc<dyn ContainerSource>;

    /// The container we run in ourselves.
    fn own(&self) -> Option<ContainerId>;

    /// Whether `scenario` can be played here; else why not.
    async fn check(&self, scenario: &Scenario) -> Result<(), String>;

    /// Where the attacks of one campaign are made.
    fn arena(&self, mode: AttackMode) -> Result<Box<dyn Arena>, String>;

    /// Undoes what earlier runs left.
    async fn sweep(&self) -> Vec<Swept>;
}

/// A host and its engine.
pub struct HostGround {
    /// Its engine.
    pub engine: Arc<dyn ContainerSource>,
    /// Where that is.
    pub address: EngineAddress,
    /// Where the ledger is kept.
    pub data_dir: PathBuf,
}

#[async_trait]
impl Ground for HostGround {
    fn engine(&self) -> Arc<dyn ContainerSource> {
        self.engine.clone()
    }

    fn own(&self) -> Option<ContainerId> {
        own_container_id()
    }

    async fn check(&self, scenario: &Scenario) -> Result<(), String> {
        let kinds = scenario.kinds();
        // The kernel is asked, which may take a moment.
        let asked = tokio::task::spawn_blocking(move || NetAbility::refusals(&kinds));
        asked.await.map_err(|error| error.to_string())??;
        self.engine.list().await.map(drop).map_err(|error| error.to_string())
    }

    fn arena(&self, mode: AttackMode) -> Result<Box<dyn Arena>, String> {
        if mode == AttackMode::DryRun {
            return Ok(Box::new(Nowhere));
        }
        let ledger = Ledger::open(&self.data_dir).map_err(|error| error.to_string())?;
        Ok(Box::new(Keeper::new(ledger, self.address.clone(), None)))
    }

    async fn sweep(&self) -> Vec<Swept> {
        // Where nothing was ever done, no folder is made.
        if !Ledger::exists(&self.data_dir) {
            return Vec::new();
        }
        let swept = async { sweep(&Ledger::open(&self.data_dir)?).await };
        swept.await.unwrap_or_else(|error| vec![Swept { lease: None, outcome: Err(error.to_string()) }])
    }
}
