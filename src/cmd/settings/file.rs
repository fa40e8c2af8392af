//! The TOML file: flat keys, the same names as the flags.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use toml::Value;

/// Read when it exists and no `--config` names another.
pub const DEFAULT_FILE: &str = "/etc/dockhealth/dockhealth.toml";

/// No sensible file of settings is longer.
const LONGEST_BYTES: u64 = 1024 * 1024;

/// A file that was read; values are text as the flags would give them.
#[derive(Debug, Default)]
pub(super) struct SettingsFile {
    pub(super) path: PathBuf,
    values: BTreeMap<String, Vec<String>>,
}

impl SettingsFile {
    /// Reads `path`. Every value that has no text form is one error of its own; a file that is no TOML is one.
    pub(super) fn read(path: &Path) -> Result<(Self, Vec<String>), std::io::Error> {
        let mut text = String::new();
        std::fs::File::open(path)?.take(LONGEST_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > LONGEST_BYTES {
            return Err(std::io::Error::new(ErrorKind::InvalidData, "longer than 1 MiB"));
        }
        Ok(Self::parse(path, &text))
    }

    pub(super) fn parse(path: &Path, text: &str) -> (Self, Vec<String>) {
        let mut file = Self { path: path.to_owned(), values: BTreeMap::new() };
        let mut problems = Vec::new();
        match text.parse::<toml::Table>() {
            Err(error) => {
                let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
                problems.push(format!(
                    "{}, line {line}: not TOML: {}",
                    path.display(),
                    error.message().replace('\n', ", ")
                ));
            }
            Ok(table) => {
                for (key, value) in table {
                    match texts(&value) {
                        Some(texts) => drop(file.values.insert(key, texts)),
                        None => problems.push(format!(
                            "{}: {} must be a text, a number, true, false or a list of texts; keys stand at the top level, as in interval = \"10s\"",
                            path.display(),
                            crate::model::clean(&key, 60),
                        )),
                    }
                }
            }
        }
        (file, problems)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Vec<String>> {
        self.values.get(key)
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(scalar).collect(),
        scalar_value => scalar(scalar_value).map(|text| vec![text]),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(on) => Some(on.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}
