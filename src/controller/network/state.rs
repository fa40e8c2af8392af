//! What is known of the fleet's network: a pure function of what agents said and when.
//!
//! ```text
//!   reports ──► open intervals ──(all hosts have spoken, or 3 s later)──► projected ──► slots of an hour
//! ```
//!
//! What hosts say of the same seconds is projected together, for what one end sent is compared with what the other received.
//! What comes later is projected by itself: it counts, but is compared with nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::project::{Traffics, project};
use super::resolve::{Addresses, Proven};
use super::window::Windows;
use crate::bus::NetworkReport;
use crate::controller::fleet::FleetView;
use crate::model::{Endpoint, HostName, Interval, MeasureWay, Measurement, Mono, Now, Overflow, Timestamp};

/// How long after the first word of some seconds others are waited for.
const GRACE: Duration = Duration::from_secs(3);

/// How often in a row a host is waited for in vain.
const PATIENCE: u8 = 3;

/// How far a host's clock and the arrival of what it says may be apart for its time to be believed.
const PROMPT: Duration = Duration::from_secs(8);

/// The most intervals that wait for others, and the most rows in them together.
const MAX_OPEN: usize = 32;
const MAX_OPEN_ROWS: usize = 1_000_000;

/// The longest interval.
const LONGEST: Duration = Duration::from_mins(10);

/// The most measurements that a host tells of.
const MAX_MEASUREMENTS: usize = 64;

/// What a host last said of its own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HostNetwork {
    pub(crate) received: Timestamp,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) way: MeasureWay,
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) clock: Option<String>,
    pub(crate) overflow: Overflow,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Reports of this process that did not arrive.
    pub(crate) missed: u64,
    nonce: uuid::Uuid,
    seq: u64,
}

impl HostNetwork {
    /// How long an interval is.
    pub(crate) fn length(&self) -> Duration {
        self.end.since(self.start)
    }

    /// Whether it still speaks at `now`.
    pub(crate) fn is_current(&self, now: Timestamp) -> bool {
        now.since(self.received) <= self.length() * 2 + GRACE
    }
}

/// The same seconds by the clocks of several hosts, unix time.
type Span = (i64, i64);

#[derive(Debug, Clone)]
struct Open {
    since: Mono,
    arrived: Timestamp,
    intervals: BTreeMap<HostName, Interval>,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct NetworkState {
    open: BTreeMap<Span, Open>,
    windows: Windows,
    proven: Proven,
    hosts: BTreeMap<HostName, Arc<HostNetwork>>,
    /// How often in a row hosts were waited for in vain; after [`PATIENCE`] not again before they speak.
    missing: BTreeMap<HostName, u8>,
}

/// What views read.
#[derive(Debug, Clone, Default)]
pub(crate) struct NetworkView {
    pub(crate) windows: Windows,
    pub(crate) hosts: BTreeMap<HostName, Arc<HostNetwork>>,
}

impl NetworkState {
    /// Takes in what a host said; the error says why not.
    pub(crate) fn hear(&mut self, report: NetworkReport, fleet: &FleetView, now: Now) -> Result<(), String> {
        let NetworkReport { host, nonce, seq, interval, .. } = report;
        let known = fleet.get(&host).and_then(|seen| seen.report.as_ref());
        if known.is_none_or(|known| known.nonce != nonce) {
            return Err(format!("host {host} is not known to report with that nonce"));
        }
        check(&interval)?;
        self.missing.remove(&host);
        let before = self.hosts.get(&host).filter(|before| before.nonce == nonce);
        let (mut missed, mut newest) = (0, true);
        if let Some(before) = before {
            if before.seq == seq {
                return Err(format!("report {seq} of host {host} came twice"));
            }
            newest = seq > before.seq;
            missed = before.missed + seq.saturating_sub(before.seq).saturating_sub(1);
        }
        let Interval { start, end, .. } = interval;
        if newest {
            let status = HostNetwork {
                received: now.wall,
                start,
                end,
                way: interval.way,
                measurements: interval.measurements.clone(),
                clock: interval.clock.clone(),
                overflow: interval.overflow,
                endpoints: interval.endpoints.clone(),
                missed,
                nonce,
                seq,
            };
            self.hosts.insert(host.clone(), Arc::new(status));
        }
        let second = |time: Timestamp| (time.millis() + 500).div_euclid(1000);
        let span = (second(start), second(end));
        let open = self.open.entry(span).or_insert_with(|| Open {
            since: now.mono,
            arrived: now.wall,
            intervals: BTreeMap::new(),
        });
        open.intervals.insert(host, interval);
        Ok(())
    }

    /// Projects what need not wait any longer; gives whether anything did, and how many pairs found no room.
    pub(crate) fn settle(&mut self, fleet: &FleetView, now: Now) -> Option<u64> {
        let mut settled = None;
        let live = || fleet.iter().filter(|(_, seen)| seen.is_live()).map(|(host, _)| host);
        while let Some(span) = self.due(live, now) {
            let open = self.open.remove(&span).expect("it is open");
            for host in live().filter(|host| !open.intervals.contains_key(*host)) {
                let times = self.missing.entry(host.clone()).or_default();
                *times = times.saturating_add(1);
            }
            let out = self.project(&open, fleet);
            settled = Some(settled.unwrap_or(0) + out.left_out);
            let end = Timestamp::from_millis(span.1.saturating_mul(1000));
            let prompt = end.since(open.arrived).max(open.arrived.since(end)) <= PROMPT;
            // Where the host's clock is off, or the report was late, it is of now.
            let second = if prompt { span.1 } else { open.arrived.millis().div_euclid(1000) };
            self.windows.add(second, &out, now.wall.millis().div_euclid(1000));
        }
        self.windows.age(now.wall.millis().div_euclid(1000));
        self.hosts.retain(|host, _| fleet.contains_key(host));
        self.missing.retain(|host, _| fleet.contains_key(host));
        settled
    }

    /// When [`Self::settle`] has something to do next.
    pub(crate) fn next(&self) -> Option<Mono> {
        self.open.values().map(|open| open.since + GRACE).min()
    }

    /// What views read.
    pub(crate) fn view(&self) -> NetworkView {
        NetworkView { windows: self.windows.clone(), hosts: self.hosts.clone() }
    }

    /// An open interval that is complete, or has waited long enough, or is one too many.
    fn due<'a, I: Iterator<Item = &'a HostName>>(&self, live: impl Fn() -> I, now: Now) -> Option<Span> {
        let rows = |open: &Open| open.intervals.values().map(rows).sum::<usize>();
        let full = self.open.len() > MAX_OPEN || self.open.values().map(rows).sum::<usize>() > MAX_OPEN_ROWS;
        let given_up = |host: &HostName| self.missing.get(host).is_some_and(|times| *times >= PATIENCE);
        let heard = |open: &Open, host| open.intervals.contains_key(host) || given_up(host);
        let ready = |open: &Open| now.mono - open.since >= GRACE || live().all(|host| heard(open, host));
        let oldest = self.open.iter().min_by_key(|(_, open)| open.since);
        let first = oldest.filter(|_| full).map(|(span, _)| *span);
        first.or_else(|| self.open.iter().find(|(_, open)| ready(open)).map(|(span, _)| *span))
    }

    fn project(&mut self, open: &Open, fleet: &FleetView) -> Traffics {
        let mut addresses = Addresses::default();
        for (host, interval) in &open.intervals {
            addresses.endpoints(host, &interval.endpoints);
        }
        for (host, seen) in fleet.iter().filter(|(_, seen)| seen.is_live()) {
            let Some(report) = &seen.report else { continue };
            addresses.host(host, &report.addresses);
            // Where the containers of the others are is known all the same.
            if open.intervals.contains_key(host) {
                continue;
            }
            match self.hosts.get(host) {
                Some(told) => addresses.endpoints(host, &told.endpoints),
                None => addresses.reported(host, &report.containers),
            }
        }
        let agree = |host: &&HostName| fleet.get(*host).is_some_and(|seen| !seen.clock_skewed);
        let agree: BTreeSet<HostName> = open.intervals.keys().filter(agree).cloned().collect();
        project(&open.intervals, &addresses, &agree, &mut self.proven)
    }
}

fn rows(interval: &Interval) -> usize {
    interval.flows.len() + interval.latency.len() + interval.drops.len() + interval.stamps.len()
}

/// Why an interval is refused.
fn check(interval: &Interval) -> Result<(), String> {
    let length = interval.end.since(interval.start);
    if length.is_zero() || length > LONGEST {
        return Err(format!("it is of {} to {}, not of up to 10 min", interval.start, interval.end));
    }
    for (list, rows, most) in [
        ("flows", interval.flows.len(), Interval::MAX_ROWS),
        ("latency", interval.latency.len(), Interval::MAX_ROWS),
        ("drops", interval.drops.len(), Interval::MAX_ROWS),
        ("stamps", interval.stamps.len(), Interval::MAX_ROWS),
        ("endpoints", interval.endpoints.len(), Interval::MAX_ROWS),
        ("measurements", interval.measurements.len(), MAX_MEASUREMENTS),
    ] {
        if rows > most {
            return Err(format!("{list} has {rows} rows, more than {most}"));
        }
    }
    Ok(())
}
