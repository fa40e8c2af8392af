//! A pool that is not there: a host whose cores are shared by the containers at work, a queue, and a controller, event by
//! event. Pure; the same for the same plan.

mod figures;
mod host;
mod plot;
mod run;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::control::{ControlSettings, ControllerKind, Decision, Micros, Observation};
use super::workload::Arrival;

pub use plot::plot;
pub use run::{SimulateError, simulate};

/// No period is shorter, so that time goes on.
const SHORTEST: Micros = Micros(1_000);

/// When requests are handed to idle containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// As soon as there are both.
    Event,
    /// Only so often, and the controller is asked only then, as a loop that polls does.
    Slot(Micros),
}

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Who decides.
    pub controller: ControllerKind,
    /// What it is told. The pool begins with the least number of containers, ready.
    pub settings: ControlSettings,
    /// What comes, in order of time.
    pub arrivals: Vec<Arrival>,
    /// Cores of the host, thousandths.
    pub millicores: u32,
    /// Cores that others use all the time, thousandths; less than there are.
    pub others: u32,
    /// Cores that a request at work uses when it need not share them, thousandths; for the rest of its time it waits for
    /// something else.
    pub share: u32,
    /// How long a container takes to be ready on average; each takes 0.8 to 1.4 times that.
    pub boot: Micros,
    /// How requests come to containers.
    pub dispatch: Dispatch,
    /// From when to before when every start is refused.
    pub refused: Option<(Micros, Micros)>,
    /// What decides how long each container takes to be ready.
    pub seed: u64,
}

impl Plan {
    /// What the controller is told: a loop that polls decides once a slot.
    pub fn told(&self) -> ControlSettings {
        let period = match self.dispatch {
            Dispatch::Event => self.settings.period,
            Dispatch::Slot(slot) => slot,
        };
        ControlSettings { period: period.max(SHORTEST), ..self.settings.clone() }
    }
}

/// What a simulation came to. Waiting is from arrival to dispatch, sojourn from arrival to the end, makespan from the
/// beginning of all to the last end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Mean waiting, seconds.
    pub mean_wait_s: f64,
    /// Mean sojourn, seconds.
    pub mean_sojourn_s: f64,
    /// The sojourn that 95 of 100 requests do not exceed, seconds.
    pub p95_sojourn_s: f64,
    /// Makespan, seconds.
    pub makespan_s: f64,
    /// Time of containers, starting and draining ones included, summed, until the last request ended.
    pub container_seconds: f64,
    /// The most containers that counted at once.
    pub peak: u32,
    /// How often it turned from more to fewer or back.
    pub reversals: u32,
}

/// One decision, and how the pool stood.
#[derive(Debug, Clone)]
pub struct Step {
    /// What the controller saw.
    pub seen: Observation,
    /// What it decided.
    pub decision: Decision,
}

/// A simulation that ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What it came to.
    pub figures: Figures,
    /// Every decision, in order of time.
    pub steps: Vec<Step>,
    /// Starts that were tried.
    pub starts: u32,
    /// How many of them were refused.
    pub refused: u32,
}
