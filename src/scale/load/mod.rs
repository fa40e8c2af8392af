//! Load: plays arrivals against an HTTP server, as they come and whatever becomes of those before.

mod figures;
mod play;

pub use figures::LoadFigures;
pub use play::{LoadPlan, Work, play};

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Answered {
    /// When it was sent, from the beginning, seconds.
    pub(crate) sent: f64,
    /// From then to the end of the answer, seconds.
    pub(crate) sojourn: f64,
    /// How long it waited for a container, as the proxy says, seconds.
    pub(crate) wait: Option<f64>,
    /// The status; `None`: there was no answer, or it broke off.
    pub(crate) status: Option<u16>,
}
