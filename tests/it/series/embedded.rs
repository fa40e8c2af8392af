//! The embedded store keeps the same contract.

use dockhealth::store::{ControllerDb, DEFAULT_RETENTION, EmbeddedStore, MetricStore};

use super::contract::{Bench, contract};

struct Embedded {
    store: EmbeddedStore,
    _dir: tempfile::TempDir,
}

impl Embedded {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = ControllerDb::open(dir.path()).unwrap();
        Self { store: EmbeddedStore::open(&db, DEFAULT_RETENTION).unwrap(), _dir: dir }
    }
}

impl Bench for Embedded {
    fn store(&self) -> &dyn MetricStore {
        &self.store
    }

    fn settle(&self) {}
}

contract!(Embedded::start());
