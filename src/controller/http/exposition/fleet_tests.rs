//! What of the fleet is shown, and how much of it.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::controller::fleet::Presence;
use crate::model::{HostName, MetricTick, SeriesName};
use crate::store::HostTick;

const NOW: i64 = 1_000_000;

/// A fleet in which host `n` has `sizes[n]` containers of three samples each, and two of its own.
fn fleet(sizes: &[usize]) -> (FleetView, LatestTicks) {
    let mut view = FleetView::default();
    let mut ticks = LatestTicks::default();
    for (n, containers) in sizes.iter().enumerate() {
        let name: HostName = format!("h{n:02}").parse().unwrap();
        let values = |names: &[&'static str]| names.iter().map(|name| (SeriesName::of(name), 1.0)).collect();
        let container = |c: usize| {
            (format!("c{c}").parse().unwrap(), values(&["cpu_percent", "pids", "rtt_ms", "oom_kills"]))
        };
        let tick = MetricTick {
            time: NOW / 1000,
            step: 10,
            host: values(&["load1", "load5"]),
            containers: (0..*containers).map(container).collect(),
        };
        let tick = Arc::new(HostTick { host: name.clone(), tick });
        ticks.insert(name.clone(), LatestTick { tick, received: Timestamp::from_millis(NOW) });
        view.insert(name.clone(), Arc::new(host(name, Presence::Live)));
    }
    (view, ticks)
}

fn host(name: HostName, presence: Presence) -> HostSnapshot {
    let seen = Timestamp::from_millis(NOW);
    HostSnapshot {
        name,
        presence,
        first_seen: seen,
        last_seen: seen,
        conflict: None,
        clock_offset_ms: None,
        clock_skewed: false,
        report: None,
    }
}

fn shown(selection: &Selection<'_>) -> usize {
    selection.hosts.iter().chain(&selection.containers).map(Subject::cost).sum()
}

fn text(view: &FleetView, ticks: &LatestTicks, now: i64, limit: usize) -> String {
    let mut out = Text::default();
    render(&mut out, &select(view, ticks, Timestamp::from_millis(now), limit));
    out.into_string()
}

#[test]
fn each_family_is_written_once_and_a_part_is_a_label() {
    let (view, mut ticks) = fleet(&[1, 1]);
    let of_host = [
        ("filesystem_used_bytes//", 1.0),
        ("filesystem_used_bytes//srv", 2.0),
        ("load1/odd", 9.0),
        ("new_metric", 9.0),
    ];
    let latest = ticks.get_mut(&"h00".parse().unwrap()).unwrap();
    let tick = Arc::make_mut(&mut latest.tick);
    tick.tick.host = of_host.map(|(name, value)| (name.parse().unwrap(), value)).into();
    let text = text(&view, &ticks, NOW, 100);
    let expected = "\
# HELP dockhealth_host_filesystem_used_bytes space in use
# TYPE dockhealth_host_filesystem_used_bytes gauge
dockhealth_host_filesystem_used_bytes{host=\"h00\",mount=\"/\"} 1
dockhealth_host_filesystem_used_bytes{host=\"h00\",mount=\"/srv\"} 2
";
    assert!(text.contains(expected), "{text}");
    assert_eq!(text.matches("# TYPE dockhealth_container_pids gauge").count(), 1);
    assert!(text.contains("# HELP dockhealth_container_cpu_ratio CPU time used, as a share of one core\n"));
    assert!(!text.contains("odd") && !text.contains("new_metric"), "only the catalogue is shown: {text}");
    assert!(!text.contains("rtt_seconds"), "probes are told by reports: {text}");
}

#[test]
fn silent_hosts_and_old_samples_are_not_shown() {
    let (mut view, ticks) = fleet(&[1, 1]);
    let silent: HostName = "h00".parse().unwrap();
    view.insert(silent.clone(), Arc::new(host(silent, Presence::Silent)));
    let now = text(&view, &ticks, NOW + 60_000, 100);
    assert!(now.contains("dockhealth_host_load1{host=\"h01\"} 1") && !now.contains("h00"), "{now}");
    assert!(!text(&view, &ticks, NOW + 60_001, 100).contains("h01"));
}

#[test]
fn where_there_is_no_room_each_host_has_its_share_and_comes_first_itself() {
    let (view, ticks) = fleet(&[100, 1, 0]);
    let now = Timestamp::from_millis(NOW);
    let selection = select(&view, &ticks, now, 30);
    let containers = |host: &str| selection.containers.iter().filter(|s| s.labels[0].1 == host).count();
    // 30 are 10 each; the second needs 5 and the third 2, so the first has 23 and itself needs 2 of them.
    assert_eq!((selection.hosts.len(), containers("h00"), containers("h01")), (3, 7, 1));
    assert_eq!(selection.left_out, 93 * 3);
    assert_eq!(text(&view, &ticks, NOW, 30).lines().last(), Some("dockhealth_series_left_out 279"));
}

proptest! {
    #[test]
    fn the_bound_holds_and_nothing_is_lost_count_of(sizes in proptest::collection::vec(0_usize..30, 0..12), limit in 0_usize..400) {
        let (view, ticks) = fleet(&sizes);
        let selection = select(&view, &ticks, Timestamp::from_millis(NOW), limit);
        let all: usize = sizes.iter().map(|containers| 2 + 3 * containers).sum();
        prop_assert!(shown(&selection) <= limit);
        prop_assert_eq!(shown(&selection) + selection.left_out, all);
        if all <= limit {
            prop_assert_eq!(selection.left_out, 0);
        }
    }
}
