//! From readings to samples: remembers each container's last reading, and adds what is known of it besides. Pure.

use std::collections::HashMap;

use super::reading::{Reading, set};
use super::subject::Subject;
use crate::model::{ContainerId, Timestamp, Values};

/// Measures containers from one sample to the next.
#[derive(Debug, Default)]
pub(super) struct Meter {
    before: HashMap<ContainerId, (Option<u32>, Reading)>,
}

impl Meter {
    /// What is known of each, in the order given. `readings` belong to `subjects`, `cores` is how many the host has, `now`
    /// the time by the clock that starts are told in. Rates need a reading before, of the same first process.
    pub(super) fn measure(
        &mut self,
        subjects: &[Subject],
        readings: &[Option<Reading>],
        cores: Option<u32>,
        now: Timestamp,
    ) -> Vec<Values> {
        let mut earlier = std::mem::take(&mut self.before);
        self.before.reserve(subjects.len());
        let samples = subjects.iter().zip(readings).map(|(subject, reading)| {
            let mut values = Values::new();
            told(subject, now, &mut values);
            let Some(reading) = reading else { return values };
            reading.gauges(&mut values);
            if let Some((pid, before)) = earlier.remove(&subject.id)
                && pid == subject.pid
            {
                reading.rates(&before, cores, &mut values);
            }
            self.before.insert(subject.id.clone(), (subject.pid, *reading));
            values
        });
        samples.collect()
    }
}

/// What the engine and the checks told.
fn told(subject: &Subject, now: Timestamp, values: &mut Values) {
    if subject.runs() {
        let since = subject.started_at.and_then(|at| now.millis().checked_sub(at.millis()));
        // An engine whose clock is ahead may have started it in what is our future.
        set(values, "uptime_seconds", since.filter(|since| *since >= 0).map(|ms| ms as f64 / 1000.0));
        set(values, "loss_percent", subject.loss_percent);
        set(values, "rtt_ms", subject.rtt_ms);
    } else {
        set(values, "exit_code", subject.exit_code.map(|code| code as f64));
    }
    set(values, "image_bytes", subject.sizes.image.map(|bytes| bytes as f64));
    set(values, "writable_layer_bytes", subject.sizes.writable.map(|bytes| bytes as f64));
    set(values, "restarts", subject.restarts.map(|restarts| restarts as f64));
}

#[cfg(test)]
#[path = "meter_tests.rs"]
mod tests;
