//! Prometheus' text format 0.0.4, and the catalogue's metrics in it, in base units.
//!
//! Their names follow from the catalogue's: `dockhealth_container_` or `dockhealth_host_`, then the metric's own name with
//! its unit made a base unit (`_percent` becomes `_ratio`, `_ms` becomes `_seconds`) and `_total` after a counter's.

use std::fmt::Write;

use crate::model::{Metric, MetricKind};

/// A text as it grows. All samples of a family follow its head.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Begins a family: `kind` is `gauge` or `counter`.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String takes all");
    }

    /// A sample of the family begun last.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        let mut before = '{';
        for (label, text) in labels {
            write!(self.0, "{before}{label}=\"").expect("a String takes all");
            self.escaped(text);
            self.0.push('"');
            before = ',';
        }
        if before == ',' {
            self.0.push('}');
        }
        writeln!(self.0, " {value}").expect("a String takes all");
    }

    /// A family of one sample without labels.
    pub(crate) fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn escaped(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '\\' => self.0.push_str(r"\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str(r"\n"),
                c => self.0.push(c),
            }
        }
    }

    /// All of it.
    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// A metric of the catalogue as a family.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Family {
    /// Its name.
    pub(crate) name: String,
    /// What a value is multiplied with to have the base unit.
    pub(crate) factor: f64,
}

impl Family {
    /// The family of `metric` as it is of hosts (`host`) or of containers (`container`).
    pub(crate) fn of(prefix: &str, metric: &Metric) -> Self {
        let name = metric.name;
        let (suffix, factor) = if let Some(stem) = name.strip_suffix("_percent") {
            (format!("{stem}_ratio"), 0.01)
        } else if let Some(stem) = name.strip_suffix("_ms") {
            (format!("{stem}_seconds"), 0.001)
        } else if metric.kind == MetricKind::Counter {
            (format!("{name}_total"), 1.0)
        } else {
            (name.to_owned(), 1.0)
        };
        Self { name: format!("dockhealth_{prefix}_{suffix}"), factor }
    }

    /// Writes its head.
    pub(crate) fn begin(&self, out: &mut Text, metric: &Metric) {
        let kind = if metric.kind == MetricKind::Counter { "counter" } else { "gauge" };
        out.family(&self.name, kind, &metric.help.replace("percent of", "as a share of"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metric;

    #[test]
    fn names_are_in_base_units_and_values_with_them() {
        for (name, suffix, factor) in [
            ("cpu_percent", "cpu_ratio", 0.01),
            ("rtt_ms", "rtt_seconds", 0.001),
            ("oom_kills", "oom_kills_total", 1.0),
            ("memory_bytes", "memory_bytes", 1.0),
            ("load1", "load1", 1.0),
        ] {
            let family = Family::of("x", metric(name).unwrap());
            assert_eq!(family, Family { name: format!("dockhealth_x_{suffix}"), factor });
        }
    }

    #[test]
    fn label_values_are_escaped() {
        let mut out = Text::default();
        out.sample("m", &[("a", "x\"\\\ny"), ("b", "")], 1.5);
        out.sample("n", &[], 0.0);
        assert_eq!(out.into_string(), "m{a=\"x\\\"\\\\\\ny\",b=\"\"} 1.5\nn 0\n");
    }
}
