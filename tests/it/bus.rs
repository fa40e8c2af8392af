//! The bus: one contract, kept by both adapters; a real nats-server for the second, once open to anyone and once with
//! the fleet's own configuration.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without, it may unwrap")]

mod contract;
mod fixtures;
mod fleet;
mod nats;
pub(crate) mod rig;
