//! Two recorded runs side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::super::Failure;
use super::super::output::{print, time};
use super::columns::{Columns, Sort};
use super::page::{Format, cell, field, json, table};
use crate::metrics::{RecordedMachine, Recording, Spread, Summary};
use crate::model::{ContainerName, NamePattern, SeriesName, Timestamp, clean, format_size, format_span};

/// What stands for all containers together. No container can be called so.
const TOTAL: &str = "(total)";

/// What is compared, and how it is shown.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) files: [PathBuf; 2],
    /// Only containers of these names, where any are given.
    pub(super) names: Vec<NamePattern>,
    pub(super) columns: Columns,
    pub(super) sort: Sort,
    pub(super) format: Format,
}

/// One run, told of in a few words.
#[derive(Debug, Serialize)]
struct Run {
    file: String,
    host: String,
    machine: RecordedMachine,
    started: Timestamp,
    /// From its begin to its last sample, seconds.
    seconds: f64,
    interval_ms: u64,
    samples: u64,
    /// Whether it ended in order, and was not cut.
    whole: bool,
}

/// One metric of one container, or of all together, in both runs.
#[derive(Debug, Clone, Copy, Serialize)]
struct Pair {
    a: Option<Summary>,
    b: Option<Summary>,
    /// B's mean by A's; unknown where either is, or where A's is zero.
    ratio: Option<f64>,
    /// B's mean less A's.
    difference: Option<f64>,
}

impl Pair {
    fn new(a: Option<&Spread>, b: Option<&Spread>) -> Self {
        let (a, b) = (a.and_then(Spread::summary), b.and_then(Spread::summary));
        let means = a.zip(b).map(|(a, b)| (a.mean, b.mean));
        Self {
            a,
            b,
            ratio: means.filter(|(a, _)| *a > 0.0).map(|(a, b)| b / a).filter(|ratio| ratio.is_finite()),
            difference: means.map(|(a, b)| b - a),
        }
    }
}

/// A container, or all together, with the metrics that either run knows.
#[derive(Debug)]
struct Row {
    name: String,
    pairs: Vec<(&'static str, Pair)>,
}

impl Row {
    fn new(name: &str, columns: &Columns, of: [Option<&BTreeMap<SeriesName, Spread>>; 2]) -> Self {
        let pair = |metric: &&'static str| {
            let series = SeriesName::of(metric);
            let [a, b] = of.map(|of| of.and_then(|of| of.get(&series)));
            (a.is_some() || b.is_some()).then(|| (*metric, Pair::new(a, b)))
        };
        Self { name: name.to_owned(), pairs: columns.metrics().iter().filter_map(pair).collect() }
    }

    /// What sorts it: B's mean, or A's where only that is known.
    fn mean(&self, metric: &'static str) -> Option<f64> {
        let (_, pair) = self.pairs.iter().find(|(name, _)| *name == metric)?;
        pair.b.or(pair.a).map(|summary| summary.mean)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        for (metric, pair) in &self.pairs {
            map.serialize_entry(metric, pair)?;
        }
        map.end()
    }
}

/// All that is shown.
#[derive(Debug, Serialize)]
struct Compared {
    a: Run,
    b: Run,
    /// Those that are in both.
    containers: Vec<Row>,
    /// All containers of each run together, by metrics that can be added up.
    total: Row,
    only_in_a: Vec<ContainerName>,
    only_in_b: Vec<ContainerName>,
}

/// Reads both and prints what they come to.
pub(super) fn compare(of: &Comparison) -> Result<(), Failure> {
    let read = |path: &Path| {
        Recording::open(path, |name| of.columns.has(name))
            .map_err(|error| Failure::Failed(format!("{}: {error}", shown(path))))
    };
    let [a, b] = &of.files;
    let compared = of.compared(&read(a)?, &read(b)?);
    print(&match of.format {
        Format::Json => json(&compared),
        Format::Csv => compared.csv(),
        Format::Table | Format::Prom => compared.people(),
    })
}

fn shown(path: &Path) -> String {
    clean(&path.display().to_string(), 200)
}

impl Comparison {
    fn compared(&self, a: &Recording, b: &Recording) -> Compared {
        let wanted = |name: &&ContainerName| {
            self.names.is_empty() || self.names.iter().any(|pattern| pattern.matches(name))
        };
        let [in_a, in_b] =
            [a, b].map(|run| run.series.keys().filter(wanted).collect::<BTreeSet<&ContainerName>>());
        let row = |name: &&ContainerName| {
            Row::new(name.as_str(), &self.columns, [a.series.get(*name), b.series.get(*name)])
        };
        let mut containers: Vec<Row> = in_a.intersection(&in_b).map(row).collect();
        self.sort.sort(&mut containers, |row| &row.name, Row::mean);
        let only = |these: &BTreeSet<&ContainerName>, others: &BTreeSet<&ContainerName>| {
            these.difference(others).map(|name| (*name).clone()).collect()
        };
        Compared {
            total: Row::new(TOTAL, &self.columns, [Some(&a.total), Some(&b.total)]),
            containers,
            only_in_a: only(&in_a, &in_b),
            only_in_b: only(&in_b, &in_a),
            a: Run::new(&self.files[0], a),
            b: Run::new(&self.files[1], b),
        }
    }
}

impl Run {
    fn new(file: &Path, run: &Recording) -> Self {
        let header = &run.header;
        Self {
            file: shown(file),
            host: clean(&header.host, 253),
            machine: header.machine.clone(),
            started: header.started,
            seconds: run.last.map_or(0.0, |last| last.since(header.started).as_secs_f64()),
            interval_ms: header.interval_ms,
            samples: run.samples,
            whole: run.whole,
        }
    }

    fn people(&self) -> String {
        let machine = &self.machine;
        let parts = [
            Some(format!("host {}", self.host)),
            machine.cores.map(|cores| format!("{cores} cores")),
            machine.memory_bytes.map(|bytes| format_size(bytes as f64)),
            machine.kernel.as_deref().map(|kernel| format!("Linux {}", clean(kernel, 60))),
            machine.engine_version.as_deref().map(|version| format!("engine {}", clean(version, 60))),
            Some(format!(
                "{} samples each {} from {} for {:.0}s",
                self.samples,
                format_span(Duration::from_millis(self.interval_ms)),
                time(self.started),
                self.seconds
            )),
            (!self.whole).then(|| "ended early".to_owned()),
        ];
        format!("{}: {}", self.file, parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl Compared {
    fn rows(&self) -> impl Iterator<Item = (&str, &'static str, &Pair)> {
        let rows = self.containers.iter().chain([&self.total]);
        rows.flat_map(|row| row.pairs.iter().map(|(metric, pair)| (row.name.as_str(), *metric, pair)))
    }

    fn people(&self) -> String {
        let headings =
            ["NAME", "METRIC", "A MEAN", "A P95", "A MAX", "B MEAN", "B P95", "B MAX", "B / A", "B - A"];
        let line = |(name, metric, pair): (&str, &'static str, &Pair)| {
            let of = |summary: Option<Summary>| {
                let figures = summary.map(|s| [s.mean, s.p95, s.max].map(Some)).unwrap_or_default();
                figures.map(|figure| cell(metric, figure))
            };
            let difference = pair.difference.map_or("-".to_owned(), |by| {
                let sign = if by < 0.0 { "-" } else { "+" };
                format!("{sign}{}", cell(metric, Some(by.abs())))
            });
            let ratio = pair.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            let mut cells = vec![name.to_owned(), metric.to_owned()];
            cells.extend(of(pair.a).into_iter().chain(of(pair.b)).chain([ratio, difference]));
            cells
        };
        let mut out = format!("A  {}\nB  {}\n\n", self.a.people(), self.b.people());
        out.push_str(&table(headings.map(str::to_owned).into(), self.rows().map(line).collect(), 2));
        for (run, names) in [("A", &self.only_in_a), ("B", &self.only_in_b)] {
            if !names.is_empty() {
                let names: Vec<&str> = names.iter().map(ContainerName::as_str).collect();
                writeln!(out, "\nonly in {run}: {}", names.join(", ")).expect("a String takes all");
            }
        }
        out
    }

    /// Containers that are in one run only have the fields of that run alone.
    fn csv(&self) -> String {
        let mut out = "name,metric,a_mean,a_p95,a_max,b_mean,b_p95,b_max,ratio,difference\n".to_owned();
        for (name, metric, pair) in self.rows() {
            let of = |summary: Option<Summary>| {
                summary.map(|s| [s.mean, s.p95, s.max].map(Some)).unwrap_or_default().map(field)
            };
            let fields = of(pair.a).into_iter().chain(of(pair.b));
            let fields: Vec<String> = fields.chain([field(pair.ratio), field(pair.difference)]).collect();
            writeln!(out, "{name},{metric},{}", fields.join(",")).expect("a String takes all");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::tests::sample;
    use super::*;
    use crate::metrics::{Overwrite, Recorder, RecordingHeader};
    use crate::model::HostIdentity;

    fn record(path: &Path, containers: &[(&str, f64)]) {
        let machine = HostIdentity { cores: Some(4), ..HostIdentity::default() };
        let start = Timestamp::from_millis(0);
        let header = RecordingHeader::new("vm", &machine, 1000, start);
        let mut recorder = Recorder::create(path, Overwrite::Refuse, header).unwrap();
        for second in 1..=10_u32 {
            let factor = f64::from(second) / 5.5;
            let rows: Vec<_> = containers
                .iter()
                .map(|(name, cpu)| sample(name, &[("cpu_percent", cpu * factor), ("memory_percent", 5.0)]))
                .collect();
            recorder.sample(start.after(Duration::from_secs(second.into())), &rows, |_| true).unwrap();
        }
        if containers.len() > 2 {
            recorder.end(start).unwrap();
        }
    }

    fn compared(names: &[&str], sort: &str) -> Compared {
        let dir = tempfile::tempdir().unwrap();
        let files = ["a.jsonl", "b.jsonl"].map(|name| dir.path().join(name));
        record(&files[0], &[("web", 10.0), ("db", 40.0), ("old", 1.0)]);
        record(&files[1], &[("web", 30.0), ("db", 20.0)]);
        let [a, b] = [&files[0], &files[1]].map(|path| Recording::open(path, |_| true).unwrap());
        let comparison = Comparison {
            files: ["a.jsonl".into(), "b.jsonl".into()],
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            columns: Columns::parse("cpu,memory_percent,pids").unwrap(),
            sort: Sort::parse(sort).unwrap(),
            format: Format::Table,
        };
        comparison.compared(&a, &b)
    }

    #[test]
    fn containers_are_matched_by_name_and_added_up() {
        let text = compared(&[], "cpu").people();
        let (runs, rest) = text.split_once("\n\n").unwrap();
        assert!(runs.starts_with("A  a.jsonl: host vm, 4 cores, 10 samples each 1s from "), "{runs}");
        assert!(
            !runs.lines().next().unwrap().contains("early") && runs.ends_with("for 10s, ended early"),
            "{runs}"
        );
        insta::assert_snapshot!(rest, @"
        NAME     METRIC          A MEAN   A P95   A MAX  B MEAN   B P95   B MAX  B / A    B - A
        web      cpu_percent     10.00%  18.18%  18.18%  30.00%  54.55%  54.55%   3.00  +20.00%
        web      memory_percent   5.00%   5.00%   5.00%   5.00%   5.00%   5.00%   1.00   +0.00%
        db       cpu_percent     40.00%  72.73%  72.73%  20.00%  36.36%  36.36%   0.50  -20.00%
        db       memory_percent   5.00%   5.00%   5.00%   5.00%   5.00%   5.00%   1.00   +0.00%
        (total)  cpu_percent     51.00%  92.73%  92.73%  50.00%  90.91%  90.91%   0.98   -1.00%

        only in A: old
        ");
    }

    #[test]
    fn programs_get_the_same_and_names_choose() {
        let compared = compared(&["d?"], "name");
        let csv = compared.csv();
        assert!(csv.lines().nth(1).unwrap().starts_with("db,cpu_percent,40,"), "{csv}");
        assert!(csv.lines().last().unwrap().starts_with("(total),cpu_percent,51"), "{csv}");
        let json = serde_json::to_value(&compared).unwrap();
        assert_eq!(
            (&json["containers"][0]["name"], json["only_in_a"].as_array().unwrap().len()),
            (&"db".into(), 0)
        );
        assert!((json["containers"][0]["cpu_percent"]["ratio"].as_f64().unwrap() - 0.5).abs() < 1e-9);
        assert_eq!((&json["a"]["whole"], &json["b"]["whole"]), (&true.into(), &false.into()));
    }

    #[test]
    fn nothing_is_divided_by_zero_or_by_the_unknown() {
        let spread = |value: f64| {
            let mut spread = Spread::default();
            crate::metrics::Gather::add(&mut spread, value);
            spread
        };
        let (zero, one) = (spread(0.0), spread(1.0));
        let pair = Pair::new(Some(&zero), Some(&one));
        assert_eq!((pair.ratio, pair.difference), (None, Some(1.0)));
        let pair = Pair::new(None, Some(&one));
        assert_eq!((pair.ratio, pair.difference, pair.a), (None, None, None));
    }
}
