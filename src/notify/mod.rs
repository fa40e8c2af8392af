//! Telling people outside of incidents: which, when, how grouped, in which words, and over HTTP.
//!
//! [`Planner`] decides (pure), [`Notice`] says it, [`Target`] names a receiver, [`Poster`] sends. What waits for whom is
//! kept by the controller.

mod backoff;
#[cfg(test)]
mod fixtures;
mod message;
mod plan;
mod policy;
mod post;
mod target;
mod template;

pub(crate) use backoff::pause;
pub use message::{Notice, NoticeIncident, Severity, Stamp};
pub use plan::{ContainerFacts, Facts, NoticeScope, Plan, Planned, Planner};
pub use policy::{Cause, Policy};
pub use post::{Answer, PostVerdict, Poster};
pub use target::{Target, Template};
