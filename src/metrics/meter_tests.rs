use std::time::Duration;

use super::*;
use crate::metrics::fixtures::{ID, facts, value};
use crate::metrics::reading::CpuReading;
use crate::metrics::sizes::Sizes;
use crate::metrics::subject::NetworkUse;
use crate::model::RunState;

fn subject(state: RunState) -> Subject {
    let started_at = Some(Timestamp::from_millis(40_000));
    let facts = crate::model::ContainerFacts { started_at, exit_code: Some(137), ..facts(ID, state) };
    Subject {
        restarts: Some(2),
        loss_percent: Some(20.0),
        rtt_ms: Some(0.5),
        sizes: Sizes { image: Some(1000), writable: Some(0) },
        ..Subject::new(&facts, NetworkUse::Namespace)
    }
}

fn reading(seconds: u64) -> Reading {
    let at = Duration::from_secs(seconds);
    let cpu = Some(CpuReading { used: at / 10, clock: at, cores: 1 });
    Reading { at, cpu, pids: Some(3), ..Reading::default() }
}

fn measure(meter: &mut Meter, subject: &Subject, reading: Option<&Reading>) -> Values {
    let now = Timestamp::from_millis(100_000);
    meter.measure(std::slice::from_ref(subject), &[reading.copied()], Some(2), now).remove(0)
}

#[test]
fn rates_need_a_sample_before_of_the_same_first_process() {
    let mut meter = Meter::default();
    let subject = subject(RunState::Running);
    assert_eq!(value(&measure(&mut meter, &subject, Some(&reading(10))), "cpu_percent"), None);
    let second = measure(&mut meter, &subject, Some(&reading(20)));
    assert!((value(&second, "cpu_percent").unwrap() - 10.0).abs() < 1e-9);
    assert!((value(&second, "cpu_host_percent").unwrap() - 5.0).abs() < 1e-9);
    let restarted = Subject { pid: Some(78), ..subject };
    assert_eq!(value(&measure(&mut meter, &restarted, Some(&reading(30))), "cpu_percent"), None);
    measure(&mut meter, &restarted, None);
    assert_eq!(
        value(&measure(&mut meter, &restarted, Some(&reading(40))), "cpu_percent"),
        None,
        "one is missing"
    );
}

#[test]
fn what_the_engine_and_the_checks_told_is_added() {
    let values = measure(&mut Meter::default(), &subject(RunState::Running), Some(&reading(10)));
    let expected = [
        ("image_bytes", 1000.0),
        ("loss_percent", 20.0),
        ("pids", 3.0),
        ("restarts", 2.0),
        ("rtt_ms", 0.5),
        ("uptime_seconds", 60.0),
        ("writable_layer_bytes", 0.0),
    ];
    assert_eq!(values.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>(), expected);
}

#[test]
fn what_ended_has_an_exit_code_and_nothing_that_only_runs() {
    let values = measure(&mut Meter::default(), &subject(RunState::Exited), None);
    let names: Vec<&str> = values.keys().map(crate::model::SeriesName::as_str).collect();
    assert_eq!(names, ["exit_code", "image_bytes", "restarts", "writable_layer_bytes"]);
}

#[test]
fn a_start_in_the_future_has_no_uptime() {
    let mut ahead = subject(RunState::Running);
    ahead.started_at = Some(Timestamp::from_millis(200_000));
    assert_eq!(value(&measure(&mut Meter::default(), &ahead, None), "uptime_seconds"), None);
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut meter = Meter::default();
    measure(&mut meter, &subject(RunState::Running), Some(&reading(10)));
    meter.measure(&[], &[], None, Timestamp::from_millis(0));
    assert!(meter.before.is_empty());
}
