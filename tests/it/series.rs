//! What keeps metrics: one contract for every store, kept here by the remote one on a real VictoriaMetrics.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without, it may unwrap")]

mod contract;
mod remote;
