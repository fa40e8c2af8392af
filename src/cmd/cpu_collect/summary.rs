//! What a span comes to, as text.

use std::fmt::Write as _;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::columns::{Columns, Sort};
use super::page::{Format, Page, Place, cell, field, json, table};
use crate::metrics::{ContainerSample, Spread, Summary, Tallied, Tally};
use crate::model::{ContainerName, SeriesName, Timestamp};

/// One container's figures over the span.
struct Row<'a> {
    name: &'a ContainerName,
    of: &'a Tallied<Spread>,
    columns: &'a Columns,
}

impl Row<'_> {
    fn summary(&self, metric: &'static str) -> Option<Summary> {
        self.of.series.get(&SeriesName::of(metric))?.summary()
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, Option<Summary>)> {
        self.columns.metrics().iter().map(|metric| (*metric, self.summary(metric)))
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("name", self.name)?;
        map.serialize_entry("id", &self.of.id)?;
        for (metric, summary) in self.all() {
            map.serialize_entry(metric, &summary)?;
        }
        map.end()
    }
}

/// The span's end, and how its figures are to be shown.
pub(super) struct View<'a> {
    pub(super) ended: Timestamp,
    pub(super) host: &'a str,
    pub(super) columns: &'a Columns,
    pub(super) sort: &'a Sort,
}

/// The summary of a span. As Prometheus' text it is the means.
pub(super) fn render(tally: &Tally<Spread>, view: &View<'_>, format: Format) -> String {
    let columns = view.columns;
    let mut rows: Vec<Row<'_>> =
        tally.containers().iter().map(|(name, of)| Row { name, of, columns }).collect();
    let mean = |row: &Row<'_>, metric| row.summary(metric).map(|summary| summary.mean);
    view.sort.sort(&mut rows, |row| row.name.as_str(), mean);
    match format {
        Format::Table => people(&rows),
        Format::Json => json(&rows),
        Format::Csv => csv(&rows),
        Format::Prom => {
            let sample = |row: &Row<'_>| {
                let values = columns.metrics().iter();
                let values = values.filter_map(|metric| Some((SeriesName::of(metric), mean(row, metric)?)));
                ContainerSample {
                    name: row.name.clone(),
                    id: row.of.id.clone(),
                    image: row.of.image.clone(),
                    project: row.of.project.clone(),
                    service: row.of.service.clone(),
                    values: values.collect(),
                }
            };
            let rows: Vec<ContainerSample> = rows.iter().map(sample).collect();
            Page { time: view.ended, host: view.host, rows: &rows, columns }.render(format, Place::First)
        }
    }
}

fn people(rows: &[Row<'_>]) -> String {
    let headings = ["NAME", "METRIC", "SAMPLES", "MEAN", "P50", "P95", "P99", "MAX"].map(str::to_owned);
    let line = |row: &Row<'_>, (metric, summary): (&'static str, Option<Summary>)| {
        let shown = |read: fn(Summary) -> f64| cell(metric, summary.map(read));
        vec![
            row.name.to_string(),
            metric.to_owned(),
            summary.map_or(0, |summary| summary.samples).to_string(),
            shown(|s| s.mean),
            shown(|s| s.p50),
            shown(|s| s.p95),
            shown(|s| s.p99),
            shown(|s| s.max),
        ]
    };
    let lines = rows.iter().flat_map(|row| row.all().map(move |of| line(row, of)));
    table(headings.into(), lines.collect(), 2)
}

fn csv(rows: &[Row<'_>]) -> String {
    let mut out = "name,id,metric,samples,mean,p50,p95,p99,max\n".to_owned();
    for row in rows {
        for (metric, summary) in row.all() {
            let samples = summary.map_or(0, |summary| summary.samples);
            let figures = |s: Summary| [s.mean, s.p50, s.p95, s.p99, s.max].map(Some);
            let figures = summary.map_or([None; 5], figures).map(field).join(",");
            writeln!(out, "{},{},{metric},{samples},{figures}", row.name, row.of.id)
                .expect("a String takes all");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::page::tests::sample;
    use super::*;

    fn render_as(format: Format, sort: &str) -> String {
        let mut tally = Tally::default();
        for n in 1..=100_u32 {
            let cpu = [("cpu_percent", f64::from(n)), ("memory_bytes", 1024.0)];
            tally.add(
                &[sample("web", &cpu), sample("db", &cpu[1..]), sample("zap", &[("cpu_percent", 200.0)])],
                |_| true,
            );
        }
        let (columns, sort) = (Columns::parse("cpu,memory_bytes").unwrap(), Sort::parse(sort).unwrap());
        let view = View { ended: Timestamp::from_millis(0), host: "vm", columns: &columns, sort: &sort };
        render(&tally, &view, format)
    }

    #[test]
    fn a_line_a_container_and_metric() {
        insta::assert_snapshot!(render_as(Format::Table, "cpu"), @"
        NAME  METRIC        SAMPLES      MEAN       P50       P95       P99       MAX
        zap   cpu_percent       100   200.00%   200.00%   200.00%   200.00%   200.00%
        zap   memory_bytes        0         -         -         -         -         -
        web   cpu_percent       100    50.50%    50.00%    95.00%    99.00%   100.00%
        web   memory_bytes      100  1.000KiB  1.000KiB  1.000KiB  1.000KiB  1.000KiB
        db    cpu_percent         0         -         -         -         -         -
        db    memory_bytes      100  1.000KiB  1.000KiB  1.000KiB  1.000KiB  1.000KiB
        ");
    }

    #[test]
    fn programs_get_the_same() {
        let json: serde_json::Value = serde_json::from_str(&render_as(Format::Json, "name")).unwrap();
        assert_eq!((&json[0]["name"], &json[0]["cpu_percent"]), (&"db".into(), &serde_json::Value::Null));
        assert_eq!(json[1]["cpu_percent"]["p99"], 99.0);
        let csv = render_as(Format::Csv, "name");
        assert_eq!(csv.lines().nth(1), Some("db,0123456789abcdef,cpu_percent,0,,,,,"));
        assert_eq!(csv.lines().nth(3), Some("web,0123456789abcdef,cpu_percent,100,50.5,50,95,99,100"));
        let prom = render_as(Format::Prom, "name");
        assert!(
            prom.contains("dockhealth_container_cpu_ratio{host=\"vm\",container=\"web\"} 0.505\n"),
            "{prom}"
        );
    }
}
