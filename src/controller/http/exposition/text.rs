//! Prometheus' text format 0.0.4.

use std::fmt::Write;

/// A text as it grows. All samples of a family follow its head.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// Begins a family: `kind` is `gauge` or `counter`.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String takes all");
    }

    /// A sample of the family begun last.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
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
    pub(super) fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
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
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut out = Text::default();
        out.sample("m", &[("a", "x\"\\\ny"), ("b", "")], 1.5);
        out.sample("n", &[], 0.0);
        assert_eq!(out.into_string(), "m{a=\"x\\\"\\\\\\ny\",b=\"\"} 1.5\nn 0\n");
    }
}
