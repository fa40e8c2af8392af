//! How long a decision takes: `francis` at 64 containers, in the middle of a burst, where most plans are compared. Prints
//! JSON; fails when one takes longer than a millisecond.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use dockhealth::scale::control::{Bounds, ControlSettings, Controller, ControllerKind, Micros, Observation};
use serde_json::json;

const CONTAINERS: u32 = 64;
const ALLOWED: Duration = Duration::from_millis(1);

/// A pool of `ready` containers, all at work, with a backlog that grows to 400 requests, of which few came lately: all numbers of
/// containers may be right.
fn backlog(step: u32, ready: u32) -> Observation {
    let busy = Micros(u64::from(ready) * 2_000_000);
    Observation {
        at: Micros::from_secs(u64::from(step) * 2),
        period: Micros::from_secs(2),
        queued: (step % 50) * 8,
        in_flight: ready,
        arrivals: u32::from(step.is_multiple_of(20)),
        completions: ready / 6,
        in_service: busy,
        ready,
        starting: vec![Micros(700_000); (step % 5) as usize],
        cpu: Some(busy),
        host_cpu: Some(busy),
        millicores: 80_000,
        boot: Some(Micros(9_000_000)),
        ..Observation::default()
    }
}

fn main() {
    let settings = ControlSettings::new(Bounds::new(2, CONTAINERS).unwrap());
    let mut slow = false;
    for kind in ["francis", "regulator", "hpa", "kpa"].map(|name| name.parse::<ControllerKind>().unwrap()) {
        // The best of several that decide alike: what is measured is the decision, not who else runs.
        let mut controllers: Vec<_> = (0..5).map(|_| kind.build(&settings)).collect();
        let mut times: Vec<Duration> = (0..1_000)
            .map(|step| {
                let seen = backlog(step, 2 + (step * 3) % (CONTAINERS - 1));
                let decide = |controller: &mut Box<dyn Controller>| {
                    let begun = Instant::now();
                    black_box(controller.decide(black_box(&seen)));
                    begun.elapsed()
                };
                controllers.iter_mut().map(decide).min().unwrap()
            })
            .collect();
        times.sort_unstable();
        let micros = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e6;
        let (median, most) = (micros(50), micros(100));
        println!(
            "{}",
            json!({"controller": kind, "median_us": median, "p99_us": micros(99), "max_us": most})
        );
        slow |= most > ALLOWED.as_secs_f64() * 1e6;
    }
    assert!(!slow, "every decision takes less than {ALLOWED:?}");
}
