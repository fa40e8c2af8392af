//! Bursts of requests, and the requests of which they are made.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::scale::control::Micros;

/// Requests that come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// When, from the beginning.
    pub at: Micros,
    /// How many, at least 1.
    pub requests: u32,
    /// What each takes alone; `None`: as long as the load says.
    pub service: Option<Micros>,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it comes, from the beginning.
    pub at: Micros,
    /// What it takes in a container that need not share its core.
    pub service: Micros,
}

/// When requests come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What it is called.
    pub name: String,
    /// Its bursts, in order of time; at least one.
    pub bursts: Vec<Burst>,
}

/// The three runs whose arrivals are known of the system that `francis` comes from: seconds, and requests.
const FIX: &[(u64, u32)] = &[(0, 5), (50, 20), (100, 20), (150, 20), (200, 20), (250, 20)];
const P4: &[(u64, u32)] = &[(0, 10), (40, 20), (101, 18), (133, 19), (177, 29), (218, 15)];
const P5: &[(u64, u32)] =
    &[(0, 10), (120, 10), (201, 18), (263, 19), (327, 19), (428, 15), (490, 17), (564, 11)];

/// Static work of a random trace: requests at the beginning.
const AT_FIRST: u32 = 10;
/// Standard deviation of the service times, a share of their mean; and the least share of it.
const SPREAD: f64 = 0.05;
const LEAST: f64 = 0.2;

impl Trace {
    /// One that is known by name: `fix`, `p4`, `p5`; `None` for other names.
    pub fn named(name: &str) -> Option<Self> {
        let bursts = match name {
            "fix" => FIX,
            "p4" => P4,
            "p5" => P5,
            _ => return None,
        };
        let burst = |(second, requests): &(u64, u32)| Burst {
            at: Micros::from_secs(*second),
            requests: *requests,
            service: None,
        };
        Some(Self { name: name.to_owned(), bursts: bursts.iter().map(burst).collect() })
    }

    /// 10 requests at the beginning, then 4 to 8 rounds of 1 to 30, each 5 to 90 s after the one before, as `seed` draws
    /// them.
    pub fn random(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bursts = vec![Burst { at: Micros::ZERO, requests: AT_FIRST, service: None }];
        let mut at = 0.0;
        for _ in 0..rng.random_range(4..=8) {
            at += rng.random_range(5.0..=90.0);
            let requests = rng.random_range(1..=30);
            bursts.push(Burst { at: Micros::from_seconds(at), requests, service: None });
        }
        Self { name: "random".to_owned(), bursts }
    }

    /// How many requests it has.
    pub fn requests(&self) -> u64 {
        self.bursts.iter().map(|burst| u64::from(burst.requests)).sum()
    }

    /// Its requests in order of time. Where a burst does not say what they take, they take `service` on average, normally
    /// distributed by 5 %, as `seed` draws them.
    pub fn arrivals(&self, service: Micros, seed: u64) -> Vec<Arrival> {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5e7e_1ce5);
        let mut arrivals = Vec::new();
        for burst in &self.bursts {
            for _ in 0..burst.requests {
                let drawn = || {
                    let share = (1.0 + SPREAD * normal(&mut rng)).max(LEAST);
                    Micros::from_seconds(service.seconds() * share)
                };
                let service = burst.service.unwrap_or_else(drawn);
                arrivals.push(Arrival { at: burst.at, service: service.max(Micros(1)) });
            }
        }
        arrivals
    }
}

/// A draw of the normal distribution with mean 0 and deviation 1, by Box and Muller.
fn normal(rng: &mut StdRng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_traces_are_those_of_the_original_runs() {
        let requests = ["fix", "p4", "p5"].map(|name| Trace::named(name).unwrap().requests());
        assert_eq!(requests, [105, 111, 119]);
        assert!(Trace::named("p6").is_none());
    }

    #[test]
    fn draws_are_the_same_for_the_same_seed_and_spread_as_said() {
        assert_eq!(Trace::random(7), Trace::random(7));
        assert_ne!(Trace::random(7), Trace::random(8));
        let trace =
            Trace { name: "x".into(), bursts: vec![Burst { at: Micros(0), requests: 2000, service: None }] };
        let arrivals = trace.arrivals(Micros::from_secs(10), 1);
        assert_eq!(arrivals, trace.arrivals(Micros::from_secs(10), 1));
        let services: Vec<f64> = arrivals.iter().map(|one| one.service.seconds()).collect();
        let mean = services.iter().sum::<f64>() / 2000.0;
        let deviation = (services.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 2000.0).sqrt();
        assert!((mean - 10.0).abs() < 0.05 && (deviation - 0.5).abs() < 0.05, "{mean} {deviation}");
    }

    #[test]
    fn random_traces_keep_their_bounds() {
        for seed in 0..50 {
            let trace = Trace::random(seed);
            assert!((5..=9).contains(&trace.bursts.len()));
            for pair in trace.bursts.windows(2) {
                let apart = pair[1].at.saturating_sub(pair[0].at).seconds();
                assert!((5.0..=90.0).contains(&apart) && (1..=30).contains(&pair[1].requests));
            }
        }
    }
}
