//! The fleet and the controller as Prometheus text.

mod fleet;
mod text;

use std::collections::BTreeMap;

use super::super::counters::{Counter, Counters};
use super::super::fleet::{FleetView, HostSnapshot};
use super::super::ticks::LatestTicks;
use crate::model::{Health, HostName, Incident, IncidentKind, Timestamp};
use crate::store::Refusal;
use text::Text;

/// What is rendered.
pub(super) struct Figures<'a> {
    pub(super) view: &'a FleetView,
    pub(super) ticks: &'a LatestTicks,
    pub(super) now: Timestamp,
    pub(super) counters: &'a Counters,
    /// Samples that are not kept, by reason.
    pub(super) refused: &'a [(Refusal, u64)],
    /// Open incidents; `None` where the store cannot say.
    pub(super) incidents: Option<&'a [Incident]>,
    pub(super) bus_connected: bool,
    pub(super) store_writable: bool,
    /// How many clients follow the stream.
    pub(super) streams: usize,
}

/// The text format 0.0.4. Figures of silent hosts and unknown ones are left out: unknown is not 0.
pub(super) fn render(figures: &Figures<'_>) -> String {
    let mut out = Text::default();
    hosts(&mut out, figures.view);
    fleet::render(&mut out, &fleet::select(figures.view, figures.ticks, figures.now, fleet::MAX_SERIES));
    if let Some(incidents) = figures.incidents {
        open_incidents(&mut out, incidents);
    }
    own(&mut out, figures);
    out.into_string()
}

fn hosts(out: &mut Text, view: &FleetView) {
    let name = "dockhealth_hosts";
    out.family(name, "gauge", "Hosts that ever spoke, by whether they are live.");
    let live = view.values().filter(|host| host.is_live()).count();
    out.sample(name, &[("presence", "live")], live as f64);
    out.sample(name, &[("presence", "silent")], (view.len() - live) as f64);
    if !view.is_empty() {
        let name = "dockhealth_host_live";
        out.family(name, "gauge", "Whether the host spoke within the last 15 s.");
        for (host, seen) in view {
            out.sample(name, &[("host", host.as_str())], f64::from(u8::from(seen.is_live())));
        }
    }
    let offset = |host: &HostSnapshot| host.clock_offset_ms.filter(|_| host.is_live());
    let mut clocks = view.values().filter_map(|host| Some((host, offset(host)?))).peekable();
    let name = "dockhealth_host_clock_offset_seconds";
    if clocks.peek().is_some() {
        out.family(
            name,
            "gauge",
            "How far the host's clock is ahead of the controller's; negative where it is behind.",
        );
    }
    for (host, millis) in clocks {
        out.sample(name, &[("host", host.name.as_str())], millis as f64 / 1000.0);
    }
    let mut by_health: BTreeMap<&str, u64> = Health::ALL.iter().map(|h| (h.as_str(), 0)).collect();
    let live = view.values().filter(|host| host.is_live()).filter_map(|host| host.report.as_ref());
    for container in live.flat_map(|report| &report.containers) {
        *by_health.entry(container.health.as_str()).or_default() += 1;
    }
    let name = "dockhealth_containers";
    out.family(name, "gauge", "Containers of live hosts, by health.");
    for (health, count) in by_health {
        out.sample(name, &[("health", health)], count as f64);
    }
}

fn open_incidents(out: &mut Text, incidents: &[Incident]) {
    let mut open: BTreeMap<(&HostName, &str), u64> = BTreeMap::new();
    for incident in incidents {
        *open.entry((&incident.host, kind(incident.kind))).or_default() += 1;
    }
    if open.is_empty() {
        return;
    }
    let name = "dockhealth_incidents_open";
    out.family(name, "gauge", "Open incidents; a host and kind without any is left out.");
    for ((host, kind), count) in open {
        out.sample(name, &[("host", host.as_str()), ("kind", kind)], count as f64);
    }
}

fn kind(kind: IncidentKind) -> &'static str {
    match kind {
        IncidentKind::Container => "container",
        IncidentKind::Network => "network",
        IncidentKind::Shared => "shared",
        IncidentKind::Engine => "engine",
        IncidentKind::Host => "host",
        IncidentKind::Identity => "identity",
        IncidentKind::Clock => "clock",
    }
}

fn own(out: &mut Text, figures: &Figures<'_>) {
    let mut gauge = |name, help, value| out.one(name, "gauge", help, value);
    let yes = |value: bool| f64::from(u8::from(value));
    gauge("dockhealth_bus_connected", "Whether the bus is connected.", yes(figures.bus_connected));
    gauge("dockhealth_store_writable", "Whether the last write was stored.", yes(figures.store_writable));
    gauge("dockhealth_http_streams", "Clients that follow the stream.", figures.streams as f64);
    for counter in Counter::ALL {
        out.one(counter.name(), "counter", counter.help(), figures.counters.get(*counter) as f64);
    }
    let name = "dockhealth_events_stored_total";
    out.family(name, "counter", "Events stored, by kind.");
    for (kind, count) in figures.counters.events() {
        out.sample(name, &[("kind", kind.as_str())], count as f64);
    }
    let name = "dockhealth_samples_refused_total";
    if !figures.refused.is_empty() {
        out.family(name, "counter", "Samples that are not kept, by reason.");
    }
    for (why, count) in figures.refused {
        out.sample(name, &[("reason", why.as_str())], *count as f64);
    }
    let name = "dockhealth_build_info";
    out.family(name, "gauge", "The controller's version.");
    out.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventKind;

    #[test]
    fn an_empty_fleet_has_zeros_for_what_is_counted_and_no_lines_for_what_is_unknown() {
        let counters = Counters::default();
        counters.event(EventKind::ActionFailed);
        let figures = Figures {
            view: &FleetView::default(),
            ticks: &LatestTicks::default(),
            now: Timestamp::from_millis(0),
            counters: &counters,
            refused: &[(Refusal::Future, 3)],
            incidents: None,
            bus_connected: true,
            store_writable: false,
            streams: 2,
        };
        let text = render(&figures);
        for line in [
            "dockhealth_hosts{presence=\"live\"} 0",
            "dockhealth_samples_refused_total{reason=\"future\"} 3",
            "dockhealth_containers{health=\"failing\"} 0",
            "dockhealth_bus_connected 1",
            "dockhealth_store_writable 0",
            "dockhealth_http_streams 2",
            "dockhealth_events_stored_total{kind=\"action_failed\"} 1",
            "dockhealth_events_stored_total{kind=\"quarantined\"} 0",
            "dockhealth_series_left_out 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("dockhealth_container_") && !text.contains("dockhealth_incidents_open"));
    }
}
