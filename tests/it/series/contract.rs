//! What every `MetricStore` does, whatever it is made of.

use std::slice;

use dockhealth::model::{ContainerName, MetricSubject, MetricTick, SeriesName, Timestamp, Values};
use dockhealth::store::{
    HostTick, MetricStore, RangeQuery, SeriesRange, Statistic, Subjects, Summarized, Summary, SummaryQuery,
};

/// A store under test.
pub(crate) trait Bench {
    /// The store.
    fn store(&self) -> &dyn MetricStore;
    /// Makes what was written visible, where that takes a moment.
    fn settle(&self);
}

/// The tests, for the bench that `$start` makes.
macro_rules! contract {
    ($start:expr) => {
        crate::series::contract::contract!($start;
            what_was_written_is_read, gaps_stay_gaps, a_point_is_of_the_samples_up_to_it, late_samples_take_their_place,
            a_sample_that_comes_twice_is_there_once, a_metric_stands_for_its_parts, hosts_and_containers_are_apart,
            a_week_is_read_in_one_go, summaries_are_of_the_span_alone, the_latest_samples_are_seen);
    };
    ($start:expr; $($test:ident),*) => {
        $(#[tokio::test]
        async fn $test() {
            crate::series::contract::$test(&$start).await;
        })*
    };
}
pub(crate) use contract;

/// A full ten minutes, about an hour ago: no store has forgotten it, and none takes it for the present.
pub(crate) fn base() -> i64 {
    (Timestamp::now().millis() / 600_000 - 6) * 600
}

pub(crate) fn name(text: &str) -> SeriesName {
    text.parse().unwrap()
}

fn values(samples: &[(&str, f64)]) -> Values {
    samples.iter().map(|(series, value)| (name(series), *value)).collect()
}

/// A tick of host `h` with these samples of its container `web`.
pub(crate) fn web(time: i64, samples: &[(&str, f64)]) -> HostTick {
    let web: ContainerName = "web".parse().unwrap();
    let tick =
        MetricTick { time, step: 10, containers: [(web, values(samples))].into(), ..MetricTick::default() };
    HostTick { host: "h".parse().unwrap(), tick }
}

fn subject(host: &str, container: Option<&str>) -> MetricSubject {
    MetricSubject { host: host.parse().unwrap(), container: container.map(|name| name.parse().unwrap()) }
}

/// The mean of everything of container `web` on `h`.
pub(crate) fn all_of_web(from: i64, to: i64, step: u32) -> RangeQuery {
    let subject = subject("h", Some("web"));
    RangeQuery { subject, names: Vec::new(), from, to, step, statistic: Statistic::Mean }
}

/// The points of one series; empty where it is left out.
#[track_caller]
pub(crate) fn assert_series(range: &SeriesRange, series: &str, expected: &[Option<f64>]) {
    let found = range.series.get(&name(series)).cloned().unwrap_or_default();
    let alike = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * a.abs().max(1.0),
        (a, b) => a == b,
    };
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(alike),
        "{series}: {found:?}, not {expected:?}"
    );
}

pub(crate) async fn what_was_written_is_read(bench: &impl Bench) {
    let t = base();
    let ticks = [(t, 0.0), (t + 10, 1.0), (t + 20, 2.0)]
        .map(|(time, n)| web(time, &[("cpu_percent", 0.1 * n), ("memory_bytes", 1e12 + n), ("pids", 3.0)]));
    bench.store().write(ticks.into()).await.unwrap();
    bench.settle();
    let range = bench.store().range(all_of_web(t, t + 25, 10)).await.unwrap();
    assert_eq!(range.times, [t, t + 10, t + 20]);
    assert_eq!(range.series.len(), 3);
    assert_series(&range, "cpu_percent", &[Some(0.0), Some(0.1), Some(0.2)]);
    assert_series(&range, "memory_bytes", &[Some(1e12), Some(1e12 + 1.0), Some(1e12 + 2.0)]);
    let some =
        RangeQuery { names: [name("pids"), name("rtt_ms"), name("pids")].into(), ..all_of_web(t, t, 10) };
    let range = bench.store().range(some).await.unwrap();
    assert_eq!(range.series.keys().collect::<Vec<_>>(), [&name("pids")], "one without samples is left out");
    assert_series(&range, "pids", &[Some(3.0)]);
}

pub(crate) async fn gaps_stay_gaps(bench: &impl Bench) {
    let t = base();
    let ticks = [0, 10, 40].map(|after| web(t + after, &[("pids", 7.0)]));
    bench.store().write(ticks.into()).await.unwrap();
    bench.settle();
    let range = bench.store().range(all_of_web(t - 10, t + 50, 10)).await.unwrap();
    assert_series(&range, "pids", &[None, Some(7.0), Some(7.0), None, None, Some(7.0), None]);
    let nothing = bench.store().range(all_of_web(t + 50, t + 590, 10)).await.unwrap();
    assert_eq!((nothing.times.len(), nothing.series.len()), (55, 0));
}

pub(crate) async fn a_point_is_of_the_samples_up_to_it(bench: &impl Bench) {
    let t = base();
    // The first is of the point before; the sixth is of its own.
    let ticks = (0..=12)
        .map(|n| web(t + n * 10, &[("cpu_percent", if n == 6 { 100.0 } else { n as f64 })]))
        .collect();
    bench.store().write(ticks).await.unwrap();
    bench.settle();
    let query = all_of_web(t, t + 120, 60);
    let mean = bench.store().range(query.clone()).await.unwrap();
    assert_series(&mean, "cpu_percent", &[Some(0.0), Some(115.0 / 6.0), Some(57.0 / 6.0)]);
    let max = bench.store().range(RangeQuery { statistic: Statistic::Max, ..query }).await.unwrap();
    assert_series(&max, "cpu_percent", &[Some(0.0), Some(100.0), Some(12.0)]);
}

pub(crate) async fn late_samples_take_their_place(bench: &impl Bench) {
    let t = base();
    let write = |from: i64| {
        let ticks = (from..from + 6).map(|n| web(t + n * 10, &[("pids", n as f64)])).collect();
        bench.store().write(ticks)
    };
    // The newest first, the oldest last, and each seen before the next comes.
    for (from, expected) in [(12, None), (6, None), (0, Some(0.0))] {
        write(from).await.unwrap();
        bench.settle();
        let range = bench.store().range(all_of_web(t, t + 170, 10)).await.unwrap();
        let column = &range.series[&name("pids")];
        assert_eq!((column[0], column[17]), (expected, Some(17.0)));
        assert_eq!(column.iter().flatten().count(), usize::try_from(18 - from).unwrap());
    }
    let hour = RangeQuery { names: vec![name("pids")], ..all_of_web(t + 180, t + 180, 180) };
    let range = bench.store().range(hour).await.unwrap();
    assert_series(&range, "pids", &[Some(9.0)]);
}

pub(crate) async fn a_sample_that_comes_twice_is_there_once(bench: &impl Bench) {
    let t = base();
    let first = web(t + 10, &[("cpu_percent", 90.0)]);
    for _ in 0..3 {
        bench.store().write(vec![first.clone(), first.clone()]).await.unwrap();
    }
    bench.store().write(vec![web(t + 20, &[("cpu_percent", 10.0)]), first]).await.unwrap();
    bench.settle();
    let range = bench.store().range(all_of_web(t + 20, t + 20, 20)).await.unwrap();
    assert_series(&range, "cpu_percent", &[Some(50.0)]);
}

pub(crate) async fn a_metric_stands_for_its_parts(bench: &impl Bench) {
    let t = base();
    let samples =
        [("filesystem_used_bytes//", 1.0), ("filesystem_used_bytes//srv/\"ü\" \\x", 2.0), ("load1", 3.0)];
    let tick = MetricTick { time: t, step: 10, host: values(&samples), ..MetricTick::default() };
    bench.store().write(vec![HostTick { host: "h".parse().unwrap(), tick }]).await.unwrap();
    bench.settle();
    let of = |names: &[&str]| {
        let names = names.iter().map(|text| name(text)).collect();
        bench.store().range(RangeQuery { subject: subject("h", None), names, ..all_of_web(t, t, 10) })
    };
    let parts = of(&["filesystem_used_bytes"]).await.unwrap();
    assert_eq!(parts.series.len(), 2);
    assert_series(&parts, samples[1].0, &[Some(2.0)]);
    let one = of(&[samples[1].0]).await.unwrap();
    assert_eq!(one.series.keys().collect::<Vec<_>>(), [&name(samples[1].0)]);
    assert_eq!(of(&[]).await.unwrap().series.len(), 3);
}

pub(crate) async fn hosts_and_containers_are_apart(bench: &impl Bench) {
    let t = base();
    let tick = |own: f64| MetricTick {
        time: t,
        step: 10,
        host: values(&[("memory_bytes", own)]),
        containers: ["web", "web.2"]
            .map(|c| (c.parse().unwrap(), values(&[("memory_bytes", own + 1.0)])))
            .into(),
    };
    let ticks = [("h", 1.0), ("h2", 3.0)]
        .map(|(host, own)| HostTick { host: host.parse().unwrap(), tick: tick(own) });
    bench.store().write(ticks.into()).await.unwrap();
    bench.settle();
    for (host, container, expected) in
        [("h", None, 1.0), ("h", Some("web"), 2.0), ("h2", None, 3.0), ("h2", Some("web.2"), 4.0)]
    {
        let query = RangeQuery { subject: subject(host, container), ..all_of_web(t, t, 10) };
        assert_series(&bench.store().range(query).await.unwrap(), "memory_bytes", &[Some(expected)]);
    }
    let query = RangeQuery { subject: subject("h3", None), ..all_of_web(t, t, 10) };
    assert!(bench.store().range(query).await.unwrap().series.is_empty());
}

pub(crate) async fn a_week_is_read_in_one_go(bench: &impl Bench) {
    let t = base();
    bench.store().write(vec![web(t, &[("pids", 4.0)])]).await.unwrap();
    bench.settle();
    let from = t - 7 * 86_400;
    let range = bench.store().range(all_of_web(from, t, 60)).await.unwrap();
    assert_eq!((range.times.len(), range.times[0]), (10_081, from));
    let column = &range.series[&name("pids")];
    assert_eq!((column.iter().flatten().count(), column[10_080]), (1, Some(4.0)));
}

pub(crate) async fn summaries_are_of_the_span_alone(bench: &impl Bench) {
    let t = base();
    let tick = |time: i64, own: f64, web: f64| MetricTick {
        time,
        step: 10,
        host: values(&[("cpu_percent", own), ("disk_read_bytes_per_second/sda", 5.0)]),
        containers: [("web".parse().unwrap(), values(&[("cpu_percent", web), ("pids", 1.0)]))].into(),
    };
    let ticks =
        [("h", t, 99.0, 99.0), ("h", t + 10, 1.0, 2.0), ("h", t + 20, 3.0, 1.0), ("g", t + 20, 7.0, 8.0)]
            .map(|(host, time, own, web)| HostTick {
                host: host.parse().unwrap(),
                tick: tick(time, own, web),
            });
    bench.store().write(ticks.into()).await.unwrap();
    bench.settle();
    let of = async |subjects: Subjects, names: &[&str], from: i64, to: i64| {
        let names = names.iter().map(|text| name(text)).collect();
        let mut all = bench.store().summarize(SummaryQuery { subjects, names, from, to }).await.unwrap();
        all.sort_by(|a, b| (&a.subject, &a.name).cmp(&(&b.subject, &b.name)));
        all
    };
    let expected = |host: &str, container: Option<&str>, series: &str, (mean, max, last): (f64, f64, f64)| {
        let (subject, name) = (subject(host, container), name(series));
        Summarized { subject, name, summary: Summary { mean, max, last } }
    };
    let (cpu, disk) = ("cpu_percent", "disk_read_bytes_per_second/sda");
    let one = Subjects::ContainersOf("h".parse().unwrap());
    let web = expected("h", Some("web"), cpu, (1.5, 2.0, 1.0));
    assert_eq!(
        of(one.clone(), &[cpu], t, t + 20).await,
        slice::from_ref(&web),
        "the earlier moment is left out"
    );
    let of_g = expected("g", Some("web"), cpu, (8.0, 8.0, 8.0));
    assert_eq!(of(Subjects::Containers, &[cpu], t, t + 20).await, [of_g, web]);
    let hosts = [
        expected("g", None, cpu, (7.0, 7.0, 7.0)),
        expected("g", None, disk, (5.0, 5.0, 5.0)),
        expected("h", None, cpu, (2.0, 3.0, 3.0)),
        expected("h", None, disk, (5.0, 5.0, 5.0)),
    ];
    assert_eq!(of(Subjects::Hosts, &[cpu, disk, "pids"], t, t + 20).await, hosts);
    assert_eq!(of(one, &[disk], t, t + 20).await, []);
    assert_eq!(of(Subjects::Hosts, &[], t, t + 20).await, []);
    assert_eq!(of(Subjects::Hosts, &[cpu], t + 20, t + 30).await, []);
    assert_eq!(of(Subjects::Hosts, &[cpu], t + 20, t + 20).await, []);
}

pub(crate) async fn the_latest_samples_are_seen(bench: &impl Bench) {
    let now = Timestamp::now().millis() / 10_000 * 10;
    let ticks = [40, 30, 10, 0].map(|ago| web(now - ago, &[("pids", ago as f64)]));
    bench.store().write(ticks.into()).await.unwrap();
    bench.settle();
    let range = bench.store().range(all_of_web(now - 40, now, 10)).await.unwrap();
    assert_series(&range, "pids", &[Some(40.0), Some(30.0), None, Some(10.0), Some(0.0)]);
    let query =
        SummaryQuery { subjects: Subjects::Containers, names: vec![name("pids")], from: now - 60, to: now };
    let summary = bench.store().summarize(query).await.unwrap();
    let last: Vec<f64> = summary.iter().map(|found| found.summary.last).collect();
    assert_eq!(last, [0.0]);
}
