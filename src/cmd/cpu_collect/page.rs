//! One sample as text: a table for people, JSON, CSV and Prometheus' text for programs.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, presets};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::super::quantity::quantity;
use super::columns::Columns;
use crate::exposition::{Family, Text};
use crate::metrics::ContainerSample;
use crate::model::{Timestamp, metric};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Aligned columns; `-` is what is not known.
    Table,
    /// One value on one line; null is what is not known.
    Json,
    /// A header and one line each (RFC 4180, but lines end in `\n`); an empty field is what is not known.
    Csv,
    /// Prometheus' text format; what is not known is left out.
    Prom,
}

/// The words for them.
pub(super) const FORMATS: [(&str, Format); 4] =
    [("table", Format::Table), ("json", Format::Json), ("csv", Format::Csv), ("prom", Format::Prom)];

/// Whether a page comes first, or after others of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    First,
    Later,
}

/// All containers at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page<'a> {
    pub(super) time: Timestamp,
    pub(super) host: &'a str,
    pub(super) rows: &'a [ContainerSample],
    pub(super) columns: &'a Columns,
}

impl Page<'_> {
    /// As text that ends with a newline. CSV has its header once.
    pub(super) fn render(&self, format: Format, place: Place) -> String {
        match format {
            Format::Table => self.table(),
            Format::Json => {
                let rows: Vec<Row<'_>> = self.rows.iter().map(|sample| Row { page: self, sample }).collect();
                json(&rows)
            }
            Format::Csv => self.csv(place),
            Format::Prom => self.prom(),
        }
    }

    fn table(&self) -> String {
        let headings = ["NAME".to_owned(), "CONTAINER ID".to_owned()];
        let headings = headings.into_iter().chain(self.columns.metrics().iter().map(|name| heading(name)));
        let row = |of: &ContainerSample| {
            let cells = self.columns.metrics().iter().map(|name| cell(name, of.value(name)));
            [of.name.to_string(), of.id.short().to_owned()].into_iter().chain(cells).collect()
        };
        table(headings.collect(), self.rows.iter().map(row).collect(), 2)
    }

    /// Names and ids hold no comma, quote or line break, so nothing needs quoting.
    fn csv(&self, place: Place) -> String {
        let mut out = String::new();
        if place == Place::First {
            out = format!("time,name,id,{}\n", self.columns.metrics().join(","));
        }
        for of in self.rows {
            let values = self.columns.metrics().iter().map(|name| field(of.value(name)));
            let values = values.collect::<Vec<_>>().join(",");
            writeln!(out, "{},{},{},{values}", self.time, of.name, of.id).expect("a String takes all");
        }
        out
    }

    /// The names are those of the controller's `/metrics`.
    fn prom(&self) -> String {
        let mut out = Text::default();
        for of in self.columns.metrics().iter().filter_map(|name| metric(name)) {
            let family = Family::of("container", of);
            let mut begun = false;
            for row in self.rows {
                let Some(value) = row.value(of.name) else { continue };
                if !std::mem::replace(&mut begun, true) {
                    family.begin(&mut out, of);
                }
                let mut labels = vec![("host", self.host), ("container", row.name.as_str())];
                labels.extend(row.project.as_deref().map(|project| ("project", project)));
                labels.extend(row.service.as_deref().map(|service| ("service", service)));
                out.sample(&family.name, &labels, value * family.factor);
            }
        }
        out.into_string()
    }
}

/// One container of a page, as JSON.
struct Row<'a> {
    page: &'a Page<'a>,
    sample: &'a ContainerSample,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("time", &self.page.time)?;
        map.serialize_entry("name", &self.sample.name)?;
        map.serialize_entry("id", &self.sample.id)?;
        for name in self.page.columns.metrics() {
            map.serialize_entry(name, &self.sample.value(name))?;
        }
        map.end()
    }
}

/// A value as JSON on one line.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("string keys, and finite numbers or nulls") + "\n"
}

/// A table as text; the columns after the first `words` hold numbers.
pub(super) fn table(headings: Vec<String>, rows: Vec<Vec<String>>, words: usize) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for number in table.column_iter_mut().skip(words) {
        number.set_cell_alignment(CellAlignment::Right);
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A field of CSV.
pub(super) fn field<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// The heading over a metric: as `docker stats` has it, or in the metric's own words.
fn heading(name: &str) -> String {
    match name {
        "cpu_percent" => "CPU %".to_owned(),
        "memory_bytes" => "MEM USAGE".to_owned(),
        "memory_limit_bytes" => "LIMIT".to_owned(),
        "memory_percent" => "MEM %".to_owned(),
        "net_rx_bytes_per_second" => "NET IN".to_owned(),
        "net_tx_bytes_per_second" => "NET OUT".to_owned(),
        "block_read_bytes_per_second" => "BLOCK READ".to_owned(),
        "block_write_bytes_per_second" => "BLOCK WRITE".to_owned(),
        name => name.replace('_', " ").to_uppercase(),
    }
}

/// A value as a table shows it: percentages and sizes as `docker stats` does.
pub(super) fn cell(name: &str, value: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    if name.ends_with("_percent") {
        format!("{value:.2}%")
    } else if name.ends_with("_bytes_per_second") {
        binary_size(value) + "/s"
    } else if name.ends_with("_bytes") {
        binary_size(value)
    } else {
        quantity(name, value)
    }
}

/// Bytes in the largest binary unit of which there is at least one, to four digits.
fn binary_size(bytes: f64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value.abs() {
        _ if unit == 0 => 0,
        value if value < 9.9995 => 3,
        value if value < 99.995 => 2,
        value if value < 999.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{}", UNITS[unit])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{ContainerId, ContainerName, SeriesName};

    /// A container that uses something.
    pub(in super::super) fn sample(name: &str, values: &[(&'static str, f64)]) -> ContainerSample {
        ContainerSample {
            name: ContainerName::new(name).unwrap(),
            id: ContainerId::new("0123456789abcdef").unwrap(),
            image: "img".to_owned(),
            project: None,
            service: None,
            values: values.iter().map(|(name, value)| (SeriesName::of(name), *value)).collect(),
        }
    }

    fn rows() -> Vec<ContainerSample> {
        let web = [
            ("cpu_percent", 101.25),
            ("memory_bytes", 622_592.0),
            ("memory_limit_bytes", 25_276_502_016.0),
            ("memory_percent", 0.5),
            ("net_rx_bytes_per_second", 2048.0),
            ("oom_kills", 1.0),
        ];
        vec![sample("web", &web), sample("a-longer-name", &[])]
    }

    fn render(rows: &[ContainerSample], columns: &str, format: Format, place: Place) -> String {
        let columns = Columns::parse(columns).unwrap();
        let time = Timestamp::from_millis(1_795_336_200_000);
        Page { time, host: "vm", rows, columns: &columns }.render(format, place)
    }

    #[test]
    fn a_table_for_people() {
        insta::assert_snapshot!(render(&rows(), "cpu,memory", Format::Table, Place::First), @"
        NAME           CONTAINER ID    CPU %  MEM USAGE     LIMIT  MEM %
        web            0123456789ab  101.25%   608.0KiB  23.54GiB  0.50%
        a-longer-name  0123456789ab        -          -         -      -
        ");
        insta::assert_snapshot!(render(&rows(), "net,pids,oom_kills", Format::Table, Place::First), @"
        NAME           CONTAINER ID      NET IN  NET OUT  PIDS  OOM KILLS
        web            0123456789ab  2.000KiB/s        -     -          1
        a-longer-name  0123456789ab           -        -     -          -
        ");
    }

    #[test]
    fn json_and_csv_for_programs() {
        insta::assert_snapshot!(render(&rows()[1..], "cpu,memory", Format::Json, Place::First), @r#"[{"time":"2026-11-22T08:30:00.000Z","name":"a-longer-name","id":"0123456789abcdef","cpu_percent":null,"memory_bytes":null,"memory_limit_bytes":null,"memory_percent":null}]"#);
        insta::assert_snapshot!(render(&rows(), "cpu,memory", Format::Csv, Place::First), @"
        time,name,id,cpu_percent,memory_bytes,memory_limit_bytes,memory_percent
        2026-11-22T08:30:00.000Z,web,0123456789abcdef,101.25,622592,25276502016,0.5
        2026-11-22T08:30:00.000Z,a-longer-name,0123456789abcdef,,,,
        ");
        assert_eq!(render(&[], "cpu", Format::Json, Place::First), "[]\n");
        assert_eq!(render(&[], "cpu", Format::Csv, Place::Later), "", "the header comes once");
    }

    #[test]
    fn prometheus_text_is_in_base_units_and_escaped() {
        let mut rows = rows();
        rows[0].project = Some("a\"b\\\n".to_owned());
        insta::assert_snapshot!(render(&rows, "cpu,pids,oom_kills", Format::Prom, Place::First), @r#"
        # HELP dockhealth_container_cpu_ratio CPU time used, as a share of one core
        # TYPE dockhealth_container_cpu_ratio gauge
        dockhealth_container_cpu_ratio{host="vm",container="web",project="a\"b\\\n"} 1.0125
        # HELP dockhealth_container_oom_kills_total processes killed for want of memory since the container started
        # TYPE dockhealth_container_oom_kills_total counter
        dockhealth_container_oom_kills_total{host="vm",container="web",project="a\"b\\\n"} 1
        "#);
    }

    #[test]
    fn sizes_have_four_digits() {
        let sizes = [0.0, 1023.0, 1024.0, 622_592.0, 10_485_760.0, 25_276_502_016.0, 18e18].map(binary_size);
        assert_eq!(sizes, ["0B", "1023B", "1.000KiB", "608.0KiB", "10.00MiB", "23.54GiB", "15.61EiB"]);
    }
}
