//! What comes to a pool: when, and how much work it is. Pure: the same for the same seed, for the simulator and for load
//! on a real pool.

mod file;
mod trace;

pub use file::{MOST_REQUESTS, TraceError};
pub use trace::{Arrival, Burst, Trace};
