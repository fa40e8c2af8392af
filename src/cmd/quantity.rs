//! Values of metrics as people read them, and their course as a line of blocks.

use std::time::Duration;

use crate::model::{format_size, format_span};

/// A value with the unit that its series' name ends with.
pub(super) fn quantity(series: &str, value: f64) -> String {
    let metric = series.split_once('/').map_or(series, |(metric, _)| metric);
    if metric.ends_with("_percent") {
        format!("{} %", figure(value))
    } else if metric.ends_with("_bytes_per_second") {
        format!("{}/s", format_size(value))
    } else if metric.ends_with("_bytes") {
        format_size(value)
    } else if metric.ends_with("_ms") {
        format!("{value:.2} ms")
    } else if metric == "uptime_seconds" {
        uptime(value)
    } else if metric.ends_with("_celsius") {
        format!("{} °C", figure(value))
    } else if metric.ends_with("_per_second") {
        format!("{}/s", figure(value))
    } else {
        figure(value)
    }
}

/// A number with as many decimals as matter: two below 10, one below 100, then none.
fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let text = if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".into() } else { text.to_owned() }
}

/// Seconds in the two largest units.
fn uptime(seconds: f64) -> String {
    let span = Duration::try_from_secs_f64(seconds.max(0.0).round()).unwrap_or_default().as_secs();
    let (days, hours, minutes) = (span / 86_400, span / 3600 % 24, span / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format_span(Duration::from_secs(span)),
        (0, 0, minutes) => format!("{minutes}m {}s", span % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The course of `values` in at most `width` blocks from zero to the largest; a blank where there is no value.
pub(super) fn sparkline(values: &[Option<f64>], width: usize) -> String {
    let per_block = values.len().div_ceil(width.max(1)).max(1);
    let means: Vec<Option<f64>> = values.chunks(per_block).map(mean).collect();
    let known = || means.iter().flatten().copied();
    let (low, high) = known().fold((0.0_f64, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
    let block = |value: f64| {
        let share = if high > low { (value - low) / (high - low) } else { 0.0 };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 7, and what is no number becomes 0"
        )]
        let index = (share * (BLOCKS.len() - 1) as f64).round() as usize;
        BLOCKS[index.min(BLOCKS.len() - 1)]
    };
    means.iter().map(|mean| mean.map_or(' ', block)).collect()
}

/// The mean of what is known; `None` where nothing is.
pub(super) fn mean(values: &[Option<f64>]) -> Option<f64> {
    let known = values.iter().flatten();
    let count = known.clone().count();
    (count > 0).then(|| known.sum::<f64>() / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_have_the_unit_of_their_name() {
        for (series, value, expected) in [
            ("cpu_percent", 123.4, "123 %"),
            ("cpu_percent", 0.0, "0 %"),
            ("loss_percent", 12.34, "12.3 %"),
            ("memory_bytes", 1_610_612_736.0, "1.5 GiB"),
            ("filesystem_used_bytes//", 512.0, "512 B"),
            ("net_rx_bytes_per_second", 2048.0, "2.0 KiB/s"),
            ("rtt_ms", 0.123, "0.12 ms"),
            ("uptime_seconds", 93_784.0, "1d 2h"),
            ("uptime_seconds", 61.0, "1m 1s"),
            ("temperature_celsius/cpu", 45.5, "45.5 °C"),
            ("block_reads_per_second", 1.5, "1.5/s"),
            ("load1", 0.07, "0.07"),
            ("pids", 12.0, "12"),
            ("load1", -0.001, "0"),
        ] {
            assert_eq!(quantity(series, value), expected, "{series}");
        }
    }

    #[test]
    fn a_line_goes_from_zero_to_the_largest_and_has_gaps() {
        assert_eq!(sparkline(&[Some(0.0), Some(5.0), None, Some(10.0)], 10), "▁▅ █");
        assert_eq!(sparkline(&[Some(3.0); 4], 10), "████");
        assert_eq!(sparkline(&[Some(0.0); 3], 10), "▁▁▁");
        assert_eq!(sparkline(&[Some(1.0), Some(3.0), Some(4.0), None], 2), "▅█");
        assert_eq!(sparkline(&[], 10), "");
    }

    proptest! {
        #[test]
        fn no_values_panic(values in proptest::collection::vec(proptest::option::of(proptest::num::f64::ANY), 0..100), width in 0_usize..50) {
            let line = sparkline(&values, width);
            prop_assert!(line.chars().count() <= width.max(1));
            for value in values.into_iter().flatten() {
                for series in ["cpu_percent", "memory_bytes", "uptime_seconds", "rtt_ms", "load1"] {
                    let _ = quantity(series, value);
                }
            }
        }
    }
}
