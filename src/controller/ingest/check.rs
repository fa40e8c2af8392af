//! Which ticks are taken in: pure.

use crate::model::{MetricTick, Timestamp};

/// Containers in one tick at most.
const CONTAINERS: usize = 4096;

/// Series of one container, or of the host, at most.
const SERIES: usize = 1024;

/// Samples in one tick at most.
const SAMPLES: usize = 200_000;

/// The longest step, seconds: a day.
const LONGEST_STEP: u32 = 86_400;

/// No tick is older, unix seconds: 2001. Machines without a clock begin in 1970.
const EARLIEST: i64 = 1_000_000_000;

/// How far ahead of the controller's clock a tick may be, seconds: a day.
const AHEAD: i64 = 86_400;

/// Why a tick that came at `received` is refused.
pub(super) fn tick(tick: &MetricTick, received: Timestamp) -> Result<(), String> {
    let MetricTick { time, step, .. } = *tick;
    let now = received.millis() / 1000;
    if !(1..=LONGEST_STEP).contains(&step) {
        return Err(format!("step {step}: give 1 to {LONGEST_STEP} s"));
    }
    if time % i64::from(step) != 0 {
        return Err(format!("time {time} is no multiple of its step, {step} s"));
    }
    if time < EARLIEST || time > now.saturating_add(AHEAD) {
        return Err(format!(
            "time {time} is before 2001 or more than a day ahead of the controller's, {now}: set the host's clock"
        ));
    }
    if tick.containers.len() > CONTAINERS {
        return Err(format!(
            "{} containers at time {time}: at most {CONTAINERS} are taken",
            tick.containers.len()
        ));
    }
    if tick.host.len() > SERIES {
        return Err(format!(
            "{} series of the host at time {time}: at most {SERIES} are taken",
            tick.host.len()
        ));
    }
    if let Some((name, values)) = tick.containers.iter().find(|(_, values)| values.len() > SERIES) {
        let series = values.len();
        return Err(format!(
            "{series} series of container {name} at time {time}: at most {SERIES} are taken"
        ));
    }
    let samples = tick.samples();
    if samples > SAMPLES {
        return Err(format!("{samples} samples at time {time}: at most {SAMPLES} are taken"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SeriesName, Values};

    const NOW: i64 = 1_800_000_000;

    fn values(count: usize) -> Values {
        (0..count).map(|n| (SeriesName::part_of("load1", &n.to_string()).unwrap(), 1.0)).collect()
    }

    fn containers(count: usize, series: usize) -> MetricTick {
        let containers = (0..count).map(|n| (format!("c{n}").parse().unwrap(), values(series))).collect();
        MetricTick { time: NOW, step: 10, host: Values::new(), containers }
    }

    #[test]
    fn what_is_taken_is_bounded_and_the_reason_names_what_is_not() {
        let plain = MetricTick { time: NOW, step: 10, ..MetricTick::default() };
        let refused: [(MetricTick, &str); 9] = [
            (MetricTick { step: 0, ..plain.clone() }, "step 0"),
            (MetricTick { step: 86_401, ..plain.clone() }, "step 86401"),
            (MetricTick { time: NOW + 3, ..plain.clone() }, "time 1800000003 is no multiple"),
            (MetricTick { time: 1_790, ..plain.clone() }, "set the host's clock"),
            (MetricTick { time: NOW + 86_410, ..plain.clone() }, "set the host's clock"),
            (MetricTick { host: values(SERIES + 1), ..plain.clone() }, "1025 series of the host"),
            (containers(CONTAINERS + 1, 0), "4097 containers"),
            (containers(1, SERIES + 1), "1025 series of container c0"),
            (containers(200, 1001), "200200 samples"),
        ];
        let received = Timestamp::from_millis(NOW * 1000);
        for (bad, why) in refused {
            let reason = tick(&bad, received).unwrap_err();
            assert!(reason.contains(why), "{why}: {reason}");
        }
        for good in [
            MetricTick { time: i64::MIN / 10 * 10, ..plain.clone() },
            MetricTick { time: i64::MAX / 10 * 10, ..plain.clone() },
        ] {
            assert!(tick(&good, received).is_err());
        }
        for good in [
            plain.clone(),
            MetricTick { time: NOW + 120, ..plain.clone() },
            MetricTick { time: NOW - 30 * 86_400, step: 1, ..plain },
            containers(195, SERIES),
        ] {
            assert_eq!(tick(&good, received), Ok(()));
        }
    }
}
