//! Who the containers of this host talk to, how much, how fast and with what loss, without touching them.
//!
//! ```text
//!  /proc, engine's facts ──► places: whose is which network namespace, cgroup, address
//!                                          │
//!  kernel's tables ──► deltas (pure) ──► roll (pure) ──► Interval ──► bus, series, `why`
//! ```
//!
//! Best first: programs at tracepoints; counts by classifiers at the host's ends of the containers' interfaces; the kernel's
//! counters in `/proc`. What a way cannot tell is named, with what would give it.

mod classified;
mod deltas;
#[cfg(test)]
mod fixtures;
mod measurements;
mod monitor;
mod places;
mod proc;
mod roll;
mod seen;
mod select;
mod series;
mod traced;

pub use monitor::{NetworkMonitor, NetworkSettings, NetworkView, NetworkWish, missing};
pub(crate) use seen::Seen;
pub(crate) use series::{NetworkSeries, series};
