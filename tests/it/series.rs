//! What keeps metrics: one contract, kept by the embedded store and by the remote one on a real VictoriaMetrics.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without, it may unwrap")]

mod contract;
mod embedded;
mod remote;
