//! dockhealth keeps fleets of Docker hosts healthy: it pings containers, heals what is down or lossy, and
//! says why.
//!
//! Data flows one way through each program: sensors, then pure decisions, then actuators. `docs/architecture.md`
//! is the map.

pub mod backtest;
pub mod bus;
pub mod chaos;
pub mod client;
pub mod cmd;
pub mod controller;
pub mod docker;
mod ebpf;
mod exposition;
pub mod metrics;
pub mod model;
pub mod monitor;
pub mod net;
mod netlink;
pub mod notify;
mod outbound;
pub mod scale;
pub mod simulate;
pub mod store;
