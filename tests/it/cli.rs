//! The real binary, against a scripted controller and a scripted agent, and in the end a real one.

#![allow(clippy::unwrap_used, reason = "a test")]

mod errors;
mod local;
mod metrics;
mod real;
mod rig;
mod shown;
