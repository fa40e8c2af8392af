use proptest::prelude::*;

use super::super::{Overwrite, Recorder};
use super::*;
use crate::metrics::ContainerSample;
use crate::metrics::fixtures::sample;
use crate::model::HostIdentity;

fn header() -> RecordingHeader {
    let machine = HostIdentity { cores: Some(2), kernel: Some("6.1".to_owned()), ..HostIdentity::default() };
    RecordingHeader::new("vm", &machine, 1000, Timestamp::from_millis(0))
}

fn read(bytes: &[u8]) -> Result<Recording, RecordingError> {
    Recording::read(bytes, |name| name.as_str() != "oom_kills")
}

fn at(second: usize) -> Timestamp {
    Timestamp::from_millis(1000 * i64::try_from(second).unwrap())
}

/// A recording of these values of `cpu_percent` of two containers.
fn record(values: &[(f64, f64)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut recorder = Recorder::new(&mut out, header()).unwrap();
    for (n, (web, db)) in values.iter().enumerate() {
        let both = [("web", web), ("db", db)];
        let both = both.map(|(name, cpu)| {
            sample(
                name,
                "aaaaaaaaaaaa",
                &[("cpu_percent", *cpu), ("memory_percent", 1.0), ("oom_kills", 0.0), ("pids", 9.0)],
            )
        });
        recorder.sample(at(n + 1), &both, |name| name.as_str() != "pids").unwrap();
    }
    recorder.end(at(values.len())).unwrap();
    out
}

fn mean(series: &BTreeMap<SeriesName, Spread>, name: &'static str) -> Option<f64> {
    series.get(&SeriesName::of(name))?.summary().map(|summary| summary.mean)
}

#[test]
fn what_is_written_is_read_with_totals_of_what_can_be_added_up() {
    let recording = read(&record(&[(1.0, 10.0), (3.0, 30.0)])).unwrap();
    assert_eq!((&recording.header, recording.samples, recording.last), (&header(), 2, Some(at(2))));
    assert!(recording.whole);
    let web = &recording.series[&ContainerName::new("web").unwrap()];
    assert_eq!((mean(web, "cpu_percent"), mean(web, "pids")), (Some(2.0), None), "pids were not wanted");
    assert_eq!(mean(&recording.total, "cpu_percent"), Some(22.0));
    assert_eq!(mean(&recording.total, "memory_percent"), None, "shares of different wholes");
    assert_eq!(mean(web, "oom_kills"), None, "nobody asked for it");
    assert_eq!(recording.containers[&ContainerName::new("db").unwrap()].image, "img");
}

#[test]
fn a_container_is_told_of_when_it_is_new_or_another() {
    let mut out = Vec::new();
    let mut recorder = Recorder::new(&mut out, header()).unwrap();
    let mut write = |all: &[ContainerSample]| recorder.sample(at(1), all, |_| true).unwrap();
    let [old, new] = ["aaaaaaaaaaaa", "bbbbbbbbbbbb"].map(|id| sample("web", id, &[]));
    let one = std::slice::from_ref;
    for all in [one(&old), one(&old), one(&new), &[], one(&new)] {
        write(all);
    }
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches(r#""type":"container""#).count(), 3, "{text}");
    let recording = read(text.as_bytes()).unwrap();
    assert!(!recording.whole && recording.samples == 5);
}

#[test]
fn lines_of_later_versions_are_passed_over_and_other_files_refused() {
    let text = String::from_utf8(record(&[(1.0, 2.0)])).unwrap();
    let later = text.replacen('\n', "\n{\"type\":\"weather\",\"rain\":true}\n", 1);
    assert_eq!(read(later.as_bytes()).unwrap().samples, 1);
    for (text, says) in [
        (String::new(), "the file is empty"),
        ("{}".to_owned(), "ends within it"),
        ("hello\n".to_owned(), "it is no recording"),
        (text.lines().nth(1).unwrap().to_owned() + "\n", "another line of one"),
        (text.replace("\"version\":1", "\"version\":2"), "version 2"),
        (text.replacen('\n', "\n{\"type\":\"sample\"}\n", 1), "line 2 is broken: missing field"),
        (text.replacen('\n', "\nhello\n", 1), "line 2 is broken"),
    ] {
        let error = read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_file_that_is_there_is_only_replaced_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    Recorder::create(&path, Overwrite::Refuse, header()).unwrap();
    let refused = Recorder::create(&path, Overwrite::Refuse, header()).err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    Recorder::create(&path, Overwrite::Replace, header()).unwrap().end(at(1)).unwrap();
    assert!(Recording::open(&path, |_| true).unwrap().whole);
}

proptest! {
    #[test]
    fn a_recording_that_was_cut_is_read_up_to_there(
        values in proptest::collection::vec((0.0..400.0_f64, 0.0..400.0_f64), 0..20), cut in any::<prop::sample::Index>(),
    ) {
        let whole = record(&values);
        let head = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let cut = &whole[..head + cut.index(whole.len() - head + 1)];
        let recording = read(cut).unwrap();
        let lines = cut.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let samples = lines.filter(|line| line.starts_with(b"{\"type\":\"sample\"")).count();
        prop_assert_eq!(recording.samples, samples as u64);
        prop_assert_eq!(recording.whole, cut.len() == whole.len());
        let sum: f64 = values[..samples].iter().map(|(web, db)| web + db).sum();
        let expected = (samples > 0).then(|| sum / samples as f64);
        let total = mean(&recording.total, "cpu_percent");
        prop_assert!(total.zip(expected).is_none_or(|(a, b)| (a - b).abs() < 1e-6) && total.is_some() == expected.is_some());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let _ = read(&bytes);
        let mut broken = record(&[(1.0, 2.0)]);
        let at = at.index(broken.len());
        broken[at] = byte;
        let _ = read(&broken);
    }
}
