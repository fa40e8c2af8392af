//! What is sampled of pools. Pure.

use std::collections::BTreeMap;

use crate::model::{PoolName, PoolStatus, PoolTotals, SeriesName, Timestamp, Values};

/// Makes samples of what pools tell; rates need the sample before.
#[derive(Debug, Default)]
pub(super) struct PoolMeter {
    before: BTreeMap<PoolName, Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    /// When its runner was started: counters begin there.
    since: Timestamp,
    /// When it was so.
    time: Timestamp,
    totals: PoolTotals,
}

impl PoolMeter {
    /// Adds what `statuses` say to `out`.
    pub(super) fn sample(&mut self, statuses: &[PoolStatus], out: &mut Values) {
        let before = std::mem::take(&mut self.before);
        for status in statuses {
            let reading = Reading { since: status.since, time: status.time, totals: status.totals };
            let mut put = |metric: &str, value: Option<f64>| {
                let name = SeriesName::part_of(metric, status.name.as_str());
                out.extend(name.zip(value.filter(|value| value.is_finite())));
            };
            let whole = |count: u32| Some(f64::from(count));
            put("pool_containers_wanted", whole(status.wanted));
            put("pool_containers_starting", whole(status.counts.starting));
            put("pool_containers_ready", whole(status.counts.ready));
            put("pool_containers_busy", whole(status.counts.busy));
            put("pool_containers_draining", whole(status.counts.draining));
            put("pool_waiting", whole(status.waiting));
            put("pool_in_flight", whole(status.in_flight));
            let rate = |of: fn(&PoolTotals) -> u64| before.get(&status.name)?.rate(&reading, of);
            put("pool_arrivals_per_second", rate(|totals| totals.arrivals));
            put("pool_refused_per_second", rate(|totals| totals.refused));
            put("pool_failed_per_second", rate(|totals| totals.failed));
            if let Some(decision) = &status.decision {
                let period = status.spec.period_ms as f64 / 1000.0;
                put("pool_forecast_per_second", decision.forecast.map(|forecast| forecast / period));
                put("pool_wait_seconds", decision.period.wait_mean);
                put("pool_sojourn_seconds", decision.period.sojourn_mean);
            }
            self.before.insert(status.name.clone(), reading);
        }
    }
}

impl Reading {
    /// How often something happened a second from this to `later`; `None` where the counters began anew between.
    fn rate(&self, later: &Self, of: impl Fn(&PoolTotals) -> u64) -> Option<f64> {
        let seconds = later.time.since(self.time).as_secs_f64();
        let more = of(&later.totals).checked_sub(of(&self.totals))?;
        (self.since == later.since && seconds > 0.0).then(|| more as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rates_are_since_the_sample_before_and_none_where_counters_began_anew() {
        let recorded = include_str!("../../../tests/fixtures/protocol/v1/agent_reply_pool.json");
        let reply: serde_json::Value = serde_json::from_str(recorded).unwrap();
        let mut status: PoolStatus = serde_json::from_value(reply["status"].clone()).unwrap();
        let mut meter = PoolMeter::default();
        let mut sample = |status: &PoolStatus| {
            let mut out = Values::new();
            meter.sample(std::slice::from_ref(status), &mut out);
            move |metric: &str| out.get(&SeriesName::part_of(metric, "shop").unwrap())
        };
        let first = sample(&status);
        assert_eq!((first("pool_containers_ready"), first("pool_arrivals_per_second")), (Some(2.0), None));
        assert_eq!((first("pool_forecast_per_second"), first("pool_wait_seconds")), (Some(1.2), Some(0.002)));
        status.time = status.time.after(Duration::from_secs(10));
        status.totals.arrivals += 25;
        status.decision.as_mut().unwrap().period.wait_mean = None;
        let second = sample(&status);
        assert_eq!(
            (second("pool_arrivals_per_second"), second("pool_refused_per_second")),
            (Some(2.5), Some(0.0))
        );
        assert_eq!(second("pool_wait_seconds"), None, "nobody waited: that is not zero");
        (status.since, status.time) = (status.time, status.time.after(Duration::from_secs(10)));
        assert_eq!(sample(&status)("pool_arrivals_per_second"), None);
    }
}
