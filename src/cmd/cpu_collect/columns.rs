//! Which metrics are shown, in what order, and which one sorts.

use crate::metrics::ContainerSample;
use crate::model::{METRICS, MetricScope, SeriesName, clean};

use super::super::settings::nearest;

/// Words for several metrics that belong together.
const GROUPS: [(&str, &[&str]); 5] = [
    ("cpu", &["cpu_percent"]),
    ("memory", &["memory_bytes", "memory_limit_bytes", "memory_percent"]),
    ("net", &["net_rx_bytes_per_second", "net_tx_bytes_per_second"]),
    ("block", &["block_read_bytes_per_second", "block_write_bytes_per_second"]),
    ("pids", &["pids"]),
];
/// What only an agent knows.
const NOT_HERE: [&str; 5] = ["loss_percent", "rtt_ms", "restarts", "image_bytes", "writable_layer_bytes"];
const ALL: &str = "all";
const NAME: &str = "name";

/// The metrics that are shown, in their order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns(Vec<&'static str>);

impl Columns {
    /// Every metric of containers that is measured here.
    pub(super) fn all() -> Self {
        Self(known().collect())
    }

    /// As they are typed: words and names of metrics, separated by commas.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut columns = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            for metric in metrics(word, &[ALL])? {
                if !columns.contains(&metric) {
                    columns.push(metric);
                }
            }
        }
        if columns.is_empty() { Err(unknown("", &[ALL])) } else { Ok(Self(columns)) }
    }

    /// Their metrics.
    pub(super) fn metrics(&self) -> &[&'static str] {
        &self.0
    }

    /// Whether a series is shown.
    pub(super) fn has(&self, name: &SeriesName) -> bool {
        self.0.contains(&name.as_str())
    }
}

/// The order of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sort {
    /// By name.
    Name,
    /// By the sum of these, the largest first; those of which none is known last.
    Most(Vec<&'static str>),
}

impl Sort {
    /// As it is typed: `name`, or a word or the name of a metric.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            NAME => Ok(Self::Name),
            // Used and allowed memory must not be added up.
            "memory" => Ok(Self::Most(vec!["memory_bytes"])),
            word => metrics(word, &[NAME]).map(Self::Most),
        }
    }

    /// The metrics that it compares.
    pub(super) fn metrics(&self) -> &[&'static str] {
        match self {
            Self::Name => &[],
            Self::Most(metrics) => metrics,
        }
    }

    /// Sorts `rows` by it; `name` and `value` read them.
    pub(super) fn sort<T>(
        &self,
        rows: &mut [T],
        name: impl Fn(&T) -> &str,
        value: impl Fn(&T, &'static str) -> Option<f64>,
    ) {
        let sum = |row: &T| {
            let values = self.metrics().iter().filter_map(|metric| value(row, metric));
            values.reduce(|a, b| a + b)
        };
        rows.sort_by(|a, b| {
            let (x, y) = (sum(a), sum(b));
            let known_first = y.is_some().cmp(&x.is_some());
            let largest = y.unwrap_or(0.0).total_cmp(&x.unwrap_or(0.0));
            known_first.then(largest).then_with(|| name(a).cmp(name(b)))
        });
    }

    /// Sorts a sample.
    pub(super) fn sample(&self, rows: &mut [ContainerSample]) {
        self.sort(rows, |row| row.name.as_str(), ContainerSample::value);
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    let of_containers = METRICS.iter().filter(|metric| metric.scope != MetricScope::Host);
    of_containers.map(|metric| metric.name).filter(|name| !NOT_HERE.contains(name))
}

fn metrics(word: &str, others: &[&'static str]) -> Result<Vec<&'static str>, String> {
    if word == ALL && others.contains(&ALL) {
        return Ok(known().collect());
    }
    if let Some((_, metrics)) = GROUPS.iter().find(|(group, _)| *group == word) {
        return Ok(metrics.to_vec());
    }
    known().find(|name| *name == word).map(|name| vec![name]).ok_or_else(|| unknown(word, others))
}

fn unknown(word: &str, others: &[&'static str]) -> String {
    let words: Vec<&str> = GROUPS.iter().map(|(group, _)| *group).chain(others.iter().copied()).collect();
    let meant = nearest(word, words.iter().copied().chain(known()));
    let hint = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
    let words = words.join(", ");
    format!(
        "{:?} is none of {words}, nor a metric of containers such as cpu_throttled_percent{hint}",
        clean(word, 64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_metrics_are_columns_once_each() {
        let columns = Columns::parse("pids, cpu,cpu_percent,net").unwrap();
        let names = ["pids", "cpu_percent", "net_rx_bytes_per_second", "net_tx_bytes_per_second"];
        assert_eq!(columns.metrics(), names);
        let all = Columns::parse("all").unwrap();
        assert_eq!(all, Columns::all());
        assert!(all.has(&SeriesName::of("io_pressure_percent")) && !all.has(&SeriesName::of("loss_percent")));
        assert!(all.has(&SeriesName::of("uptime_seconds")) && !all.has(&SeriesName::of("load1")));
    }

    #[test]
    fn others_are_refused_with_what_would_be_right() {
        let error = Columns::parse("cpu,memroy").unwrap_err();
        let expected = "\"memroy\" is none of cpu, memory, net, block, pids, all, nor a metric of containers such as \
                        cpu_throttled_percent; did you mean memory?";
        assert_eq!(error, expected);
        assert!(Columns::parse(" ,").is_err() && Columns::parse("load1").is_err());
        assert!(Sort::parse("all").is_err() && Sort::parse("loss_percent").is_err());
        assert!(Sort::parse("nmae").unwrap_err().ends_with("did you mean name?"));
    }

    #[test]
    fn the_most_comes_first_then_the_unknown_by_name() {
        let mut rows = vec![("c", None), ("b", Some(1.0)), ("a", None), ("d", Some(1.0)), ("e", Some(2.0))];
        let sort = |sort: &Sort, rows: &mut Vec<(&'static str, Option<f64>)>| {
            sort.sort(rows, |row| row.0, |row, _| row.1);
            rows.iter().map(|row| row.0).collect::<String>()
        };
        assert_eq!(sort(&Sort::parse("cpu").unwrap(), &mut rows), "ebdac");
        assert_eq!(sort(&Sort::Name, &mut rows), "abcde");
        let net = Sort::parse("net").unwrap();
        let mut rows = [("a", [1.0, 5.0]), ("b", [4.0, 3.0])];
        net.sort(
            &mut rows,
            |row| row.0,
            |row, metric| Some(row.1[usize::from(metric.starts_with("net_tx"))]),
        );
        assert_eq!(rows[0].0, "b", "both directions count");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = (Columns::parse(&text), Sort::parse(&text));
        }
    }
}
