//! What a load came to. Pure.

use serde::Serialize;

use super::Answered;

/// What a load came to. Times are seconds; `None` is what nobody told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadFigures {
    /// What arrivals were played.
    pub trace: String,
    /// How many times faster than they are written.
    pub scale_time: f64,
    /// Requests sent.
    pub requests: u64,
    /// Answered with less than 500.
    pub answered: u64,
    /// Answered that there is no place (503).
    pub refused: u64,
    /// Answered with any other 5xx.
    pub failed: u64,
    /// Not answered, or not to the end.
    pub lost: u64,
    /// Mean time until a container took a request, of those answered.
    pub mean_wait_s: Option<f64>,
    /// Mean time until the end of the answer, of those answered.
    pub mean_sojourn_s: Option<f64>,
    /// 95 % of those answered took no longer.
    pub p95_sojourn_s: Option<f64>,
    /// From the first request to the end of the last answer.
    pub makespan_s: Option<f64>,
}

impl LoadFigures {
    /// Of these answers.
    pub(super) fn of(trace: &str, scale_time: f64, all: &[Answered]) -> Self {
        let count =
            |is: &dyn Fn(u16) -> bool| all.iter().filter(|one| one.status.is_some_and(is)).count() as u64;
        let well: Vec<&Answered> = all.iter().filter(|one| one.status.is_some_and(|s| s < 500)).collect();
        let mut sojourns: Vec<f64> = well.iter().map(|one| one.sojourn).collect();
        sojourns.sort_by(f64::total_cmp);
        let waits: Vec<f64> = well.iter().filter_map(|one| one.wait).collect();
        let first = all.iter().map(|one| one.sent).min_by(f64::total_cmp);
        let last = all.iter().map(|one| one.sent + one.sojourn).max_by(f64::total_cmp);
        Self {
            trace: trace.to_owned(),
            scale_time,
            requests: all.len() as u64,
            answered: well.len() as u64,
            refused: count(&|status| status == 503),
            failed: count(&|status| status >= 500 && status != 503),
            lost: all.iter().filter(|one| one.status.is_none()).count() as u64,
            // A server that does not tell of all has not told.
            mean_wait_s: mean(&waits).filter(|_| waits.len() == well.len()),
            mean_sojourn_s: mean(&sojourns),
            p95_sojourn_s: (sojourns.len() * 95).div_ceil(100).checked_sub(1).map(|at| sojourns[at]),
            makespan_s: last.zip(first).map(|(last, first)| last - first),
        }
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_sojourns_and_makespan_are_told_apart() {
        let of = |sent, sojourn, wait, status| Answered { sent, sojourn, wait, status };
        let all = [
            of(1.0, 2.0, Some(0.5), Some(200)),
            of(2.0, 6.0, Some(1.5), Some(404)),
            of(2.0, 0.1, None, Some(503)),
            of(2.0, 9.0, None, Some(502)),
            of(3.0, 1.0, None, None),
        ];
        let figures = LoadFigures::of("x", 1.0, &all);
        assert_eq!((figures.requests, figures.answered, figures.refused), (5, 2, 1));
        assert_eq!((figures.failed, figures.lost), (1, 1));
        assert_eq!((figures.mean_wait_s, figures.mean_sojourn_s), (Some(1.0), Some(4.0)));
        assert_eq!((figures.p95_sojourn_s, figures.makespan_s), (Some(6.0), Some(10.0)));
        let silent =
            LoadFigures::of("x", 1.0, &[of(0.0, 1.0, Some(0.1), Some(200)), of(0.0, 1.0, None, Some(200))]);
        assert_eq!(silent.mean_wait_s, None);
        let nothing = LoadFigures::of("x", 1.0, &[]);
        assert_eq!((nothing.mean_sojourn_s, nothing.p95_sojourn_s, nothing.makespan_s), (None, None, None));
    }
}
