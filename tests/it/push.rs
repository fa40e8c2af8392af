//! Metrics from an agent's lane to the controller's store: agent.db, bus, ingest, in one process.

#![allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "helpers of tests may panic too, and values are stored as they are"
)]

mod clock;
mod intake;
mod lane;
mod rig;
