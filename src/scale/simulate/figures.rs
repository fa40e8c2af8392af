//! What a simulation came to.

use super::{Figures, Step};

/// One request that ended; seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served {
    pub(super) arrived: f64,
    pub(super) begun: f64,
    pub(super) ended: f64,
}

/// The figures of requests, at least one, and decisions; to thousandths of a second.
pub(super) fn figures(served: &[Served], steps: &[Step], container_s: f64, peak: u32) -> Figures {
    let count = served.len() as f64;
    let mut sojourns: Vec<f64> = served.iter().map(|one| one.ended - one.arrived).collect();
    sojourns.sort_by(f64::total_cmp);
    let waits: f64 = served.iter().map(|one| one.begun - one.arrived).sum();
    let last = served.iter().map(|one| one.ended).fold(0.0, f64::max);
    let directions: Vec<i32> =
        steps.iter().map(|step| step.decision.delta.signum()).filter(|sign| *sign != 0).collect();
    let reversals = directions.windows(2).filter(|pair| pair[0] != pair[1]).count();
    Figures {
        mean_wait_s: rounded(waits / count),
        mean_sojourn_s: rounded(sojourns.iter().sum::<f64>() / count),
        p95_sojourn_s: rounded(quantile(&sojourns, 0.95)),
        makespan_s: rounded(last),
        container_seconds: rounded(container_s),
        peak,
        reversals: u32::try_from(reversals).unwrap_or(u32::MAX),
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// The quantile of sorted values, between the two nearest; 0 of none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * sorted.len().saturating_sub(1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the last place")]
    let below = place.floor() as usize;
    let at = |place: usize| sorted.get(place).or(sorted.last()).copied().unwrap_or(0.0);
    at(below) + (at(below + 1) - at(below)) * (place - place.floor())
}
