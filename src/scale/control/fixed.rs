//! A fixed number of containers: what the others are compared with.

use super::{Bounds, Controller, Decision, Observation, Rule};

/// Always the same number.
#[derive(Debug)]
pub(super) struct Fixed {
    count: u32,
}

impl Fixed {
    /// The least of these bounds, whose ends are alike.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { count: bounds.min() }
    }
}

impl Controller for Fixed {
    fn decide(&mut self, seen: &Observation) -> Decision {
        let reason = format!("{} containers, whatever comes", self.count);
        Decision::to(self.count, seen, Rule::Fixed, reason, None)
    }
}
