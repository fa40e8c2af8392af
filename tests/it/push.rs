//! Metrics from an agent's lane to the controller's store: agent.db, bus, ingest, in one process.

mod clock;
mod intake;
mod lane;
mod rig;
