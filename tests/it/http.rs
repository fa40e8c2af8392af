//! The REST interface: a real listener, the local bus, agents that follow a script.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic too")]

mod backtest;
mod changes;
mod chaos;
mod client;
mod door;
mod drills;
mod history;
mod measured;
mod network_map;
mod notify;
mod pools;
mod prometheus;
mod proxy;
mod session;
mod ui;
mod views;
pub(crate) mod world;
