//! Temperatures: the files of hwmon, or the thermal zones where there are none (the kernel's `hwmon/sysfs-interface.rst`
//! and `thermal/sysfs-api.rst`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::metrics::held::Scratch;
use crate::metrics::text::number;
use crate::model::{SeriesName, clean};

/// Sensors that are told of at most.
const SENSORS: usize = 64;
/// What is no temperature of a machine, degrees Celsius: sensors that are not connected say such things.
const POSSIBLE: std::ops::RangeInclusive<f64> = -100.0..=250.0;

/// The sensors found, held open.
pub(super) struct Temperatures(Vec<(SeriesName, File)>);

impl Temperatures {
    /// Looks for them below `root`.
    pub(super) fn find(root: &Path) -> Self {
        let mut sensors = Vec::new();
        for chip in folders(&root.join("sys/class/hwmon")) {
            let name = word(&chip.join("name")).unwrap_or_else(|| "hwmon".to_owned());
            for input in folders(&chip).into_iter().filter(|path| is_input(path)) {
                let file = input.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let of = file.trim_end_matches("_input");
                let label = word(&chip.join(format!("{of}_label"))).unwrap_or_else(|| of.to_owned());
                add(&mut sensors, &format!("{name} {label}"), &input);
            }
        }
        if sensors.is_empty() {
            for zone in folders(&root.join("sys/class/thermal")) {
                if let Some(kind) = word(&zone.join("type")).filter(|_| zone.join("temp").exists()) {
                    add(&mut sensors, &kind, &zone.join("temp"));
                }
            }
        }
        Self(sensors)
    }

    /// What each says, degrees Celsius.
    pub(super) fn read(&self, scratch: &mut Scratch, mut put: impl FnMut(&SeriesName, f64)) {
        for (name, file) in &self.0 {
            let Ok(text) = scratch.piece(file) else { continue };
            let millis = text.trim().strip_prefix('-').map_or_else(
                || number(text).map(|millis| millis as f64),
                |below| number(below).map(|millis| -(millis as f64)),
            );
            if let Some(celsius) = millis.map(|millis| millis / 1000.0).filter(|c| POSSIBLE.contains(c)) {
                put(name, celsius);
            }
        }
    }
}

fn is_input(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("temp") && name.ends_with("_input")
}

/// Two sensors of one name are numbered.
fn add(sensors: &mut Vec<(SeriesName, File)>, name: &str, path: &Path) {
    let Ok(file) = File::open(path) else { return };
    let name = clean(name, 80);
    let numbered = (1..=SENSORS).find_map(|n| {
        let name = if n == 1 { name.clone() } else { format!("{name} {n}") };
        let series = SeriesName::part_of("temperature_celsius", &name)?;
        sensors.iter().all(|(other, _)| *other != series).then_some(series)
    });
    if sensors.len() < SENSORS {
        sensors.extend(numbered.map(|name| (name, file)));
    }
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn word(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensors_are_named_by_chip_and_label_and_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let read = || {
            let mut found = Vec::new();
            Temperatures::find(root.path()).read(&mut Scratch::new(), |name, celsius| {
                found.push((name.part().unwrap().to_owned(), celsius));
            });
            found
        };
        assert!(read().is_empty());
        write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        write("sys/class/thermal/thermal_zone0/temp", "48250\n");
        write("sys/class/thermal/cooling_device0/type", "fan\n");
        assert_eq!(read(), [("cpu-thermal".to_owned(), 48.25)]);
        for chip in ["hwmon0", "hwmon1"] {
            write(&format!("sys/class/hwmon/{chip}/name"), "coretemp\n");
            write(&format!("sys/class/hwmon/{chip}/temp1_input"), "-5000\n");
            write(&format!("sys/class/hwmon/{chip}/temp1_label"), "Package id 0\n");
        }
        write("sys/class/hwmon/hwmon0/temp2_input", "61000\n");
        write("sys/class/hwmon/hwmon0/temp3_input", "-273200\n");
        write("sys/class/hwmon/hwmon0/fan1_input", "900\n");
        let expected =
            [("coretemp Package id 0", -5.0), ("coretemp temp2", 61.0), ("coretemp Package id 0 2", -5.0)];
        assert_eq!(read(), expected.map(|(name, celsius)| (name.to_owned(), celsius)));
    }
}
