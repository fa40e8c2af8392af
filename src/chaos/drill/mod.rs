//! Drills: a campaign's faults joined with what the healer says of them, and the report that comes of it. Pure but for
//! the arena, which keeps those who take no part, or still recover, from being attacked.

mod arena;
mod html;
mod join;
mod plot;
mod report;
mod spread;

pub use arena::{DrillArena, Resting, Roster};
pub use html::page;
pub use join::{Injected, Story};
pub use report::{Header, report};
