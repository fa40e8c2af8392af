//! The health loop of one host: pings, pure decisions, and the task that owns both.

pub mod agent;
pub mod decide;
pub mod detect;
pub mod ping;
