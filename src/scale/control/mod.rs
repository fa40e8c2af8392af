//! The controllers: from what was seen in one period to how many containers more or fewer. Pure in their state and what
//! they see: no clock, no engine, no randomness, so that a recorded log of observations gives the same decisions, bit by
//! bit.
//!
//! ```text
//! every period:   Observation ──► Controller::decide ──► Decision {delta, rule, reason, forecast}
//!                                                            │
//!                 members of the pool ──► changes() ◄────────┘
//!                                            │ undrain, start, cancel, remove, drain; never kill a busy one
//!                 StartBackoff ──────────────┘ how many starts may be tried now
//! ```
//!
//! Spans are [`Micros`], cores are millicores: whole numbers, which survive JSON exactly.

mod arrivals;
mod backoff;
mod changes;
mod decision;
mod fixed;
mod francis;
mod held;
mod hpa;
mod kind;
mod kpa;
mod load;
mod micros;
mod observation;
mod outlook;
mod record;
mod regulator;
mod settings;
#[cfg(test)]
mod tests;

pub use backoff::StartBackoff;
pub use changes::{Change, Member, Phase, changes};
pub use decision::{Decision, Forecast, Rule};
pub use kind::{ControllerKind, KindError};
pub use micros::Micros;
pub use observation::Observation;
pub use record::{Record, Replay, ReplayError, Replayer};
pub use settings::{Bounds, BoundsError, ControlSettings, MOST_CONTAINERS};

/// Decides how many containers a pool should have, once a period.
///
/// Its state is made of the observations it was given and its settings, and of nothing else: the same ones in the same
/// order give the same decisions, bit by bit. It never fails: with nothing seen yet it keeps to the least number.
pub trait Controller: Send {
    /// What to do after what was seen in the last period. To be called once for each period, also when nothing came.
    ///
    /// `seen.containers() + delta` is always within the [`Bounds`] of the settings it was built with.
    fn decide(&mut self, seen: &Observation) -> Decision;
}
