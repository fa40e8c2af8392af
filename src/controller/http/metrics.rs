//! The fleet and the controller as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::controller::counters::{Counter, Counters};
use crate::controller::fleet::FleetView;
use crate::model::Health;

/// What is rendered.
pub(super) struct Figures<'a> {
    pub(super) view: &'a FleetView,
    pub(super) counters: &'a Counters,
    pub(super) bus_connected: bool,
    pub(super) store_writable: bool,
    /// How many clients follow the stream.
    pub(super) streams: usize,
}

/// The text format 0.0.4. Figures of silent hosts and unknown ones are left out: unknown is not 0.
pub(super) fn render(figures: &Figures<'_>) -> String {
    let mut out = String::new();
    let live = figures.view.values().filter(|host| host.is_live());
    head(&mut out, "dockhealth_hosts", "gauge", "Hosts that ever spoke, by whether they are live.");
    let count = live.clone().count();
    line(&mut out, "dockhealth_hosts", &[("presence", "live")], count as f64);
    line(&mut out, "dockhealth_hosts", &[("presence", "silent")], (figures.view.len() - count) as f64);

    let mut by_health: BTreeMap<&str, u64> = Health::ALL.iter().map(|h| (h.as_str(), 0)).collect();
    let containers: Vec<_> = live
        .flat_map(|host| host.report.iter().flat_map(|r| &r.containers).map(|c| (host.name.as_str(), c)))
        .collect();
    for (_, container) in &containers {
        *by_health.entry(container.health.as_str()).or_default() += 1;
    }
    head(&mut out, "dockhealth_containers", "gauge", "Containers of live hosts, by health.");
    for (health, count) in by_health {
        line(&mut out, "dockhealth_containers", &[("health", health)], count as f64);
    }
    let monitored = || containers.iter().filter(|(_, c)| c.monitored);
    let name = "dockhealth_container_loss_percent";
    head(&mut out, name, "gauge", "Packet loss of the last check of a monitored container, percent.");
    for (host, c) in monitored() {
        if let Some(loss) = c.loss_percent {
            line(&mut out, name, &labels(host, c.name.as_str()), loss.percent());
        }
    }
    let name = "dockhealth_container_rtt_seconds";
    head(&mut out, name, "gauge", "Median round trip of the last check of a monitored container.");
    for (host, c) in monitored() {
        if let Some(rtt) = c.rtt_ms {
            line(&mut out, name, &labels(host, c.name.as_str()), rtt / 1000.0);
        }
    }
    let name = "dockhealth_container_restarts_total";
    head(&mut out, name, "counter", "Restarts of a monitored container by dockhealth.");
    for (host, c) in monitored() {
        if let Some(restarts) = c.restarts {
            line(&mut out, name, &labels(host, c.name.as_str()), restarts as f64);
        }
    }

    gauge(&mut out, "dockhealth_bus_connected", "Whether the bus is connected.", figures.bus_connected);
    gauge(
        &mut out,
        "dockhealth_store_writable",
        "Whether the last write was stored.",
        figures.store_writable,
    );
    head(&mut out, "dockhealth_http_streams", "gauge", "Clients that follow the stream.");
    line(&mut out, "dockhealth_http_streams", &[], figures.streams as f64);
    for counter in Counter::ALL {
        head(&mut out, counter.name(), "counter", counter.help());
        line(&mut out, counter.name(), &[], figures.counters.get(*counter) as f64);
    }
    head(&mut out, "dockhealth_build_info", "gauge", "The controller's version.");
    line(&mut out, "dockhealth_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    out
}

fn labels<'a>(host: &'a str, container: &'a str) -> [(&'static str, &'a str); 2] {
    [("host", host), ("container", container)]
}

fn gauge(out: &mut String, name: &str, help: &str, value: bool) {
    head(out, name, "gauge", help);
    line(out, name, &[], f64::from(u8::from(value)));
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String takes all");
}

fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    let labels: Vec<_> =
        labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    writeln!(out, "{name}{labels} {value}").expect("a String takes all");
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_fleet_has_zeros_for_what_is_counted_and_no_lines_for_what_is_unknown() {
        let counters = Counters::default();
        counters.add(Counter::Events, 3);
        let view = FleetView::default();
        let figures = Figures {
            view: &view,
            counters: &counters,
            bus_connected: true,
            store_writable: false,
            streams: 2,
        };
        let text = render(&figures);
        for line in [
            "dockhealth_hosts{presence=\"live\"} 0",
            "dockhealth_containers{health=\"failing\"} 0",
            "dockhealth_bus_connected 1",
            "dockhealth_store_writable 0",
            "dockhealth_http_streams 2",
            "dockhealth_events_stored_total 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("\ndockhealth_container_loss_percent{"));
    }

    #[test]
    fn label_values_are_escaped() {
        let mut out = String::new();
        line(&mut out, "m", &[("a", "x\"\\\ny")], 1.5);
        assert_eq!(out, "m{a=\"x\\\"\\\\\\ny\"} 1.5\n");
    }
}
