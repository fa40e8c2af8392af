//! What a controller is told before it begins.

use serde::{Deserialize, Serialize};

use super::Micros;

/// The most containers a pool may have.
pub const MOST_CONTAINERS: u32 = 256;

/// The least and the most containers: 1 <= least <= most <= [`MOST_CONTAINERS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawBounds", into = "RawBounds")]
pub struct Bounds {
    min: u32,
    max: u32,
}

/// Why two numbers are no bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "from {0} to {1} containers is no range: give 1 to {MOST_CONTAINERS}, and not more at least than at most"
)]
pub struct BoundsError(u32, u32);

#[derive(Serialize, Deserialize)]
struct RawBounds {
    min: u32,
    max: u32,
}

impl TryFrom<RawBounds> for Bounds {
    type Error = BoundsError;

    fn try_from(raw: RawBounds) -> Result<Self, BoundsError> {
        Self::new(raw.min, raw.max)
    }
}

impl From<Bounds> for RawBounds {
    fn from(bounds: Bounds) -> Self {
        Self { min: bounds.min, max: bounds.max }
    }
}

impl Bounds {
    /// From `min` to `max` containers.
    pub fn new(min: u32, max: u32) -> Result<Self, BoundsError> {
        if 1 <= min && min <= max && max <= MOST_CONTAINERS {
            Ok(Self { min, max })
        } else {
            Err(BoundsError(min, max))
        }
    }

    /// The least, kMin.
    pub fn min(self) -> u32 {
        self.min
    }

    /// The most, kMax.
    pub fn max(self) -> u32 {
        self.max
    }

    /// The nearest number within.
    pub fn clamp(self, containers: u32) -> u32 {
        containers.clamp(self.min, self.max)
    }
}

/// What a controller is told before it begins. The same settings and observations give the same decisions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlSettings {
    /// How many containers there may be.
    pub bounds: Bounds,
    /// How often it is asked, T. What a period really was is in each observation.
    pub period: Micros,
    /// Requests that one container works on at once; at least 1.
    pub concurrency: u32,
    /// The CPU quota of each container in thousandths of a core; `None`: as many cores as there are.
    pub container_millicores: Option<u32>,
    /// What a request takes, as long as none has ended. A guess four times too long or too short does little harm.
    pub service_guess: Micros,
    /// What a container takes to be ready, as long as none has started.
    pub boot_guess: Micros,
    /// The share of the host's free cores that the pool may load, rho, above 0 and at most 1: 1 for work in batches, 0.9
    /// where people wait.
    pub load: f64,
    /// For how long a larger number that was wanted holds up a smaller one.
    pub stabilisation: Micros,
    /// What a start costs, in request-seconds of waiting for each second of service, cs.
    pub start_cost: f64,
    /// What a second of a container costs, in request-seconds of waiting, cp.
    pub container_cost: f64,
    /// How many standard deviations of the requests at work are held in reserve (square-root staffing), beta.
    pub reserve: f64,
}

impl ControlSettings {
    /// The defaults, for these bounds.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            period: Micros::from_secs(2),
            concurrency: 1,
            container_millicores: None,
            service_guess: Micros::from_secs(5),
            boot_guess: Micros(1_500_000),
            load: 1.0,
            stabilisation: Micros::from_secs(40),
            start_cost: 0.3,
            container_cost: 0.1,
            reserve: 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_a_range() {
        let bounds = Bounds::new(2, 16).unwrap();
        assert_eq!([0, 2, 9, 16, 17].map(|n| bounds.clamp(n)), [2, 2, 9, 16, 16]);
        for (min, max) in [(0, 3), (4, 3), (1, MOST_CONTAINERS + 1)] {
            let error = Bounds::new(min, max).unwrap_err().to_string();
            assert!(error.contains("give 1 to 256"), "{error}");
        }
        assert!(serde_json::from_str::<Bounds>("{\"min\":3,\"max\":2}").is_err());
    }

    #[test]
    fn settings_survive_json() {
        let settings = ControlSettings::new(Bounds::new(2, 16).unwrap());
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<ControlSettings>(&text).unwrap(), settings);
    }
}
