//! The newest values of hosts and containers, in base units, within a bound.

use std::collections::BTreeMap;

use crate::bus::ContainerReport;
use crate::controller::fleet::{FleetView, HostSnapshot};
use crate::controller::ticks::{LatestTick, LatestTicks};
use crate::exposition::{Family, Text};
use crate::model::{ContainerName, Effect, METRICS, Metric, MetricScope, Timestamp, Values};

/// The most samples of hosts and containers in one answer: about 15 MB of text.
pub(super) const MAX_SERIES: usize = 100_000;

/// For how long samples that stopped coming are shown, milliseconds, or for three steps where that is longer.
const FRESH_MS: i64 = 60_000;

/// What a container's report says already, and says without any metrics too.
const REPORTED: [&str; 3] = ["loss_percent", "rtt_ms", "restarts"];

/// A host or container with what is shown of it.
#[derive(Debug, Default)]
struct Subject<'a> {
    /// Host, container, project, service.
    labels: Vec<(&'static str, &'a str)>,
    values: Option<&'a Values>,
    /// Of a monitored container.
    report: Option<&'a ContainerReport>,
}

impl<'a> Subject<'a> {
    /// How many samples it makes.
    fn cost(&self) -> usize {
        let said = self.report.map_or(0, |report| {
            1 + usize::from(report.loss_percent.is_some())
                + usize::from(report.rtt_ms.is_some())
                + usize::from(report.restarts.is_some())
                + report.outcomes.map_or(0, |_| Effect::ALL.len())
        });
        let measured =
            |values: &Values| values.keys().filter(|name| !REPORTED.contains(&name.metric())).count();
        self.values.map_or(0, measured) + said
    }

    /// Its samples of one metric, each with its part.
    fn of(&self, metric: &'static Metric) -> impl Iterator<Item = (Option<&'a str>, f64)> {
        let own = self.values.into_iter().flat_map(|values| values.of(metric.name));
        own.filter(|(name, _)| name.part().is_some() == metric.part.is_some())
            .map(|(name, value)| (name.part(), *value))
    }
}

/// What is shown of the fleet, and how much is not.
#[derive(Debug, Default)]
pub(super) struct Selection<'a> {
    hosts: Vec<Subject<'a>>,
    containers: Vec<Subject<'a>>,
    /// Samples beyond the bound.
    left_out: usize,
}

/// Chooses at most `limit` samples of live hosts. Each host has an equal share, and what one does not need is the
/// others'; within a host it comes first, then its monitored containers, then the rest, each whole or not at all.
pub(super) fn select<'a>(
    view: &'a FleetView,
    ticks: &'a LatestTicks,
    now: Timestamp,
    limit: usize,
) -> Selection<'a> {
    let mut hosts: Vec<(usize, Vec<Subject<'a>>)> = view
        .values()
        .filter(|host| host.is_live())
        .map(|host| subjects(host, ticks.get(&host.name).filter(|latest| is_fresh(latest, now))))
        .map(|subjects| (subjects.iter().map(Subject::cost).sum(), subjects))
        .collect();
    hosts.sort_by_key(|(cost, _)| *cost);
    let mut selection = Selection::default();
    let (mut room, mut others) = (limit, hosts.len());
    for (_, subjects) in hosts {
        let mut share = room / others;
        others -= 1;
        for subject in subjects {
            let cost = subject.cost();
            if cost > share {
                // What follows is not shown in its place: that would change from one scrape to the next.
                share = 0;
                selection.left_out += cost;
                continue;
            }
            share -= cost;
            room -= cost;
            let among =
                if subject.labels.len() == 1 { &mut selection.hosts } else { &mut selection.containers };
            among.push(subject);
        }
    }
    let by_name = |subjects: &mut Vec<Subject<'a>>| subjects.sort_by(|a, b| a.labels.cmp(&b.labels));
    by_name(&mut selection.hosts);
    by_name(&mut selection.containers);
    selection
}

fn is_fresh(latest: &LatestTick, now: Timestamp) -> bool {
    let steps = i64::from(latest.tick.tick.step).saturating_mul(3_000);
    now.millis() - latest.received.millis() <= steps.max(FRESH_MS)
}

/// A host and its containers.
fn subjects<'a>(host: &'a HostSnapshot, latest: Option<&'a LatestTick>) -> Vec<Subject<'a>> {
    let tick = latest.map(|latest| &latest.tick.tick);
    let own = ("host", host.name.as_str());
    let mut all = vec![Subject { labels: vec![own], values: tick.map(|tick| &tick.host), report: None }];
    let mut containers: BTreeMap<&ContainerName, Subject<'a>> = BTreeMap::new();
    for (name, values) in tick.iter().flat_map(|tick| &tick.containers) {
        let labels = vec![own, ("container", name.as_str())];
        containers.insert(name, Subject { labels, values: Some(values), report: None });
    }
    for report in host.report.iter().flat_map(|report| &report.containers) {
        let subject = containers.entry(&report.name).or_default();
        subject.labels = vec![own, ("container", report.name.as_str())];
        let compose = [("project", &report.project), ("service", &report.service)];
        let compose = compose.into_iter().filter_map(|(label, text)| Some((label, text.as_deref()?)));
        subject.labels.extend(compose);
        subject.report = report.monitored.then_some(report);
    }
    let (monitored, rest): (Vec<_>, Vec<_>) =
        containers.into_values().partition(|subject| subject.report.is_some());
    all.extend(monitored);
    all.extend(rest);
    all
}

/// Writes what was selected.
pub(super) fn render(out: &mut Text, selection: &Selection<'_>) {
    reported(out, &selection.containers);
    for metric in METRICS {
        if metric.scope != MetricScope::Container {
            family(out, "host", metric, &selection.hosts);
        }
        if metric.scope != MetricScope::Host && !REPORTED.contains(&metric.name) {
            family(out, "container", metric, &selection.containers);
        }
    }
    let help = "Samples of hosts and containers left out of this answer, because it would be too long.";
    out.one("dockhealth_series_left_out", "gauge", help, selection.left_out as f64);
}

fn family(out: &mut Text, prefix: &str, metric: &'static Metric, subjects: &[Subject<'_>]) {
    let of = Family::of(prefix, metric);
    let mut begun = false;
    let mut labels = Vec::new();
    for subject in subjects {
        for (part, value) in subject.of(metric) {
            if !begun {
                of.begin(out, metric);
                begun = true;
            }
            labels.clone_from(&subject.labels);
            labels.extend(metric.part.zip(part));
            out.sample(&of.name, &labels, value * of.factor);
        }
    }
}

/// What reports say of monitored containers.
fn reported(out: &mut Text, containers: &[Subject<'_>]) {
    type Read = fn(&ContainerReport) -> Option<f64>;
    let families: [(&str, &str, &str, Read); 3] = [
        (
            "dockhealth_container_loss_ratio",
            "gauge",
            "Packets lost in the last check of a monitored container.",
            |report| report.loss_percent.map(|loss| loss.percent() / 100.0),
        ),
        (
            "dockhealth_container_rtt_seconds",
            "gauge",
            "Median round trip of the last check of a monitored container.",
            |report| report.rtt_ms.map(|rtt| rtt / 1000.0),
        ),
        (
            "dockhealth_container_restarts_total",
            "counter",
            "Restarts of a monitored container by dockhealth.",
            |report| report.restarts.map(|restarts| restarts as f64),
        ),
    ];
    let reports = || containers.iter().filter_map(|subject| Some((subject, subject.report?)));
    for (name, kind, help, read) in families {
        let mut samples = reports().filter_map(|(subject, report)| Some((subject, read(report)?))).peekable();
        if samples.peek().is_some() {
            out.family(name, kind, help);
        }
        for (subject, value) in samples {
            out.sample(name, &subject.labels, value);
        }
    }
    let name = "dockhealth_container_actions_total";
    let mut assessed = reports().filter_map(|(subject, report)| Some((subject, report.outcomes?))).peekable();
    if assessed.peek().is_some() {
        out.family(name, "counter", "Actions on a monitored container by what came of them.");
    }
    for (subject, outcomes) in assessed {
        for effect in Effect::ALL {
            let mut labels = subject.labels.clone();
            labels.push(("effect", effect.as_str()));
            out.sample(name, &labels, outcomes.of(effect) as f64);
        }
    }
    let name = "dockhealth_container_health";
    let mut reports = reports().peekable();
    if reports.peek().is_some() {
        out.family(name, "gauge", "1 with the label health: how a monitored container is.");
    }
    for (subject, report) in reports {
        let mut labels = subject.labels.clone();
        labels.push(("health", report.health.as_str()));
        out.sample(name, &labels, 1.0);
    }
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
