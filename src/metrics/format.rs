//! Usage as text: a table for people, JSON and CSV for programs.

use std::fmt;
use std::str::FromStr;

use comfy_table::{CellAlignment, Table, presets};

use super::ContainerUsage;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UsageFormat {
    /// Aligned columns, as `docker stats` shows them; `-` is what is not known.
    #[default]
    Table,
    /// One array on one line; null is what is not known.
    Json,
    /// A header and one line each (RFC 4180, but lines end in `\n`); an empty field is what is not known.
    Csv,
}

/// Why a word names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a format: give table, json or csv")]
pub struct ParseUsageFormatError(String);

impl FromStr for UsageFormat {
    type Err = ParseUsageFormatError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            other => Err(ParseUsageFormatError(crate::model::clean(other, 40))),
        }
    }
}

impl fmt::Display for UsageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Csv => "csv",
        })
    }
}

/// All rows as text that ends with a newline.
pub fn render(rows: &[ContainerUsage], format: UsageFormat) -> String {
    match format {
        UsageFormat::Table => table(rows),
        UsageFormat::Json => {
            let array =
                serde_json::to_string(rows).expect("rows have string keys and finite numbers or nulls");
            array + "\n"
        }
        UsageFormat::Csv => csv(rows),
    }
}

fn table(rows: &[ContainerUsage]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAME", "CONTAINER ID", "CPU %", "MEM USAGE", "LIMIT", "MEM %"]);
    let percent = |value: Option<f64>| value.map_or("-".to_owned(), |percent| format!("{percent:.2}%"));
    let size = |value: Option<u64>| value.map_or("-".to_owned(), binary_size);
    for row in rows {
        table.add_row([
            row.name.to_string(),
            row.id.short().to_owned(),
            percent(row.cpu_percent),
            size(row.memory_bytes),
            size(row.memory_limit_bytes),
            percent(row.memory_percent),
        ]);
    }
    for number in table.column_iter_mut().skip(2) {
        number.set_cell_alignment(CellAlignment::Right);
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

/// Names and ids hold no comma, quote or line break, so nothing needs quoting.
fn csv(rows: &[ContainerUsage]) -> String {
    fn field<T: fmt::Display>(value: Option<T>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let header = "name,id,cpu_percent,memory_bytes,memory_limit_bytes,memory_percent\n".to_owned();
    let lines = rows.iter().map(|row| {
        format!(
            "{},{},{},{},{},{}\n",
            row.name,
            row.id,
            field(row.cpu_percent),
            field(row.memory_bytes),
            field(row.memory_limit_bytes),
            field(row.memory_percent)
        )
    });
    std::iter::once(header).chain(lines).collect()
}

/// Bytes in the largest binary unit of which there is at least one, to four digits.
fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        value if value < 9.9995 => 3,
        value if value < 99.995 => 2,
        value if value < 999.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerId, ContainerName};

    fn rows() -> Vec<ContainerUsage> {
        let known = ContainerUsage {
            name: ContainerName::new("web").unwrap(),
            id: ContainerId::new("0123456789abcdef").unwrap(),
            cpu_percent: Some(101.25),
            memory_bytes: Some(622_592),
            memory_limit_bytes: Some(25_276_502_016),
            memory_percent: Some(0.5),
        };
        let unknown = ContainerUsage {
            name: ContainerName::new("a-longer-name").unwrap(),
            cpu_percent: None,
            memory_bytes: None,
            memory_limit_bytes: None,
            memory_percent: None,
            ..known.clone()
        };
        vec![known, unknown]
    }

    #[test]
    fn a_table_for_people() {
        insta::assert_snapshot!(render(&rows(), UsageFormat::Table), @"
        NAME           CONTAINER ID    CPU %  MEM USAGE     LIMIT  MEM %
        web            0123456789ab  101.25%   608.0KiB  23.54GiB  0.50%
        a-longer-name  0123456789ab        -          -         -      -
        ");
    }

    #[test]
    fn json_and_csv_for_programs() {
        insta::assert_snapshot!(render(&rows()[1..], UsageFormat::Json), @r#"[{"name":"a-longer-name","id":"0123456789abcdef","cpu_percent":null,"memory_bytes":null,"memory_limit_bytes":null,"memory_percent":null}]"#);
        insta::assert_snapshot!(render(&rows(), UsageFormat::Csv), @"
        name,id,cpu_percent,memory_bytes,memory_limit_bytes,memory_percent
        web,0123456789abcdef,101.25,622592,25276502016,0.5
        a-longer-name,0123456789abcdef,,,,
        ");
        assert_eq!(render(&[], UsageFormat::Json), "[]\n");
        assert_eq!(
            serde_json::from_str::<Vec<ContainerUsage>>(&render(&rows(), UsageFormat::Json)).unwrap(),
            rows()
        );
    }

    #[test]
    fn formats_are_named_and_others_refused() {
        for format in [UsageFormat::Table, UsageFormat::Json, UsageFormat::Csv] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        let error = "yaml".parse::<UsageFormat>().unwrap_err().to_string();
        assert_eq!(error, "\"yaml\" is not a format: give table, json or csv");
    }

    #[test]
    fn sizes_have_four_digits() {
        let sizes = [0, 1023, 1024, 622_592, 10_485_760, 25_276_502_016, u64::MAX].map(binary_size);
        assert_eq!(sizes, ["0B", "1023B", "1.000KiB", "608.0KiB", "10.00MiB", "23.54GiB", "16.00EiB"]);
    }
}
