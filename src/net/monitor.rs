//! Measures the network of this host's containers by the best way there is, interval by interval.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::classified::Classified;
use super::measurements::{Lack, Lacks, Means, measurements};
use super::places::{Places, netns_of};
use super::proc::ProcTotals;
use super::roll::Rows;
use super::select::is_traced;
use super::traced::{Clock, Traced, to_wall};
use crate::bus::Capability;
use crate::ebpf::{self, EbpfError};
use crate::metrics::cgroups_are_v1;
use crate::model::{
    ContainerFacts, Flow, HopStage, Interval, MeasureRules, MeasureWay, Measurement, MeasurementStatus,
    NetworkRules, Timestamp, Traffic,
};

/// By what the network is to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkWish {
    /// By the best that works here.
    #[default]
    Auto,
    /// As on a kernel whose tracepoints cannot be used: by classifiers.
    Classifiers,
    /// By `/proc` alone: no program goes into the kernel.
    Proc,
    /// Not at all.
    Off,
}

/// How a host's network is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// By what.
    pub wish: NetworkWish,
    /// Names the clock that this host shares with others.
    pub clock: Option<String>,
    /// The root folder of the machine.
    pub root: PathBuf,
}

/// What the engine says of who is here, and what is wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkView {
    /// Every container.
    pub containers: Vec<ContainerFacts>,
    /// The machine's own addresses.
    pub addresses: Vec<IpAddr>,
    /// What is to be measured.
    pub rules: Arc<NetworkRules>,
}

/// How it is done now.
enum Way {
    Traced(Box<Traced>),
    /// Peers by classifiers, and retransmits from `/proc`.
    Classified(Box<Classified>, ProcTotals),
    Proc(ProcTotals),
    Off,
}

/// The sensors of a host's network.
pub struct NetworkMonitor {
    settings: NetworkSettings,
    places: Places,
    way: Way,
    /// Why it is not by tracepoints.
    instead: Option<Lack>,
    lacks: Lacks,
    rules: Arc<NetworkRules>,
    /// What loading the programs took; once they are attached, that too.
    took: Duration,
    attached: bool,
}

impl NetworkMonitor {
    /// Begins by the best way there is. Takes some 200 ms where programs are loaded.
    pub fn start(settings: NetworkSettings) -> Self {
        let begun = Instant::now();
        // An agent in a container has the host's processes, but perhaps a network of its own.
        let host_netns = netns_of(&settings.root, 1).or_else(|| netns_of(&settings.root, std::process::id()));
        let places = Places::new(host_netns.unwrap_or_default());
        let mut monitor = Self {
            places,
            way: Way::Proc(ProcTotals::default()),
            instead: None,
            lacks: Lacks::new(),
            rules: Arc::default(),
            took: Duration::ZERO,
            attached: false,
            settings,
        };
        match monitor.settings.wish {
            NetworkWish::Off => monitor.way = Way::Off,
            NetworkWish::Proc => monitor.instead = Some(Lack("--network proc".to_owned())),
            NetworkWish::Classifiers => {
                monitor.go_without_tracepoints(Lack("--network classifiers".to_owned()));
            }
            NetworkWish::Auto => match monitor.load(host_netns) {
                Ok(traced) => {
                    monitor.lacks = traced.lacks();
                    monitor.way = Way::Traced(Box::new(traced));
                }
                Err(why) => monitor.go_without_tracepoints(why),
            },
        }
        monitor.took = begun.elapsed();
        monitor
    }

    /// Counts by classifiers where those work, else reads `/proc` alone.
    fn go_without_tracepoints(&mut self, why: Lack) {
        let classified = ebpf::ability().and_then(|()| Classified::load());
        match classified {
            Ok(classified) => {
                self.way = Way::Classified(Box::new(classified), ProcTotals::default());
                self.instead = Some(why);
            }
            Err(error) if self.settings.wish == NetworkWish::Classifiers => {
                self.instead = Some(Lack(format!("no classifiers: {}", advice(&error))));
            }
            Err(_) => self.instead = Some(why),
        }
    }

    fn load(&self, host_netns: Option<u32>) -> Result<Traced, Lack> {
        let lack = |error: EbpfError| Lack(advice(&error));
        let host_netns = host_netns.ok_or_else(|| {
            Lack("/proc/1/ns/net cannot be read: the capability SYS_PTRACE, and in a container the host's processes \
                  (pid: host), give it"
                .to_owned())
        })?;
        ebpf::may_trace().map_err(lack)?;
        Traced::load(host_netns, cgroups_are_v1(&self.settings.root)).map_err(lack)
    }

    /// Learns who is here and what is wanted, and does it from now on.
    pub fn look(&mut self, view: &NetworkView) {
        self.rules = view.rules.clone();
        let trace = &self.rules.trace;
        self.places
            .look(&self.settings.root, &view.containers, &view.addresses, |facts| is_traced(trace, facts));
        let clock = match &self.settings.clock {
            Some(_) => Clock::Shared(to_wall()),
            None => Clock::Own,
        };
        let begun = Instant::now();
        let followed = match &mut self.way {
            Way::Traced(traced) => traced.follow(&self.rules, &self.places, clock),
            Way::Classified(classified, _) => {
                let refused = |error| EbpfError::Kernel("to attach it".to_owned(), error);
                classified.follow(&self.settings.root, &self.places).map_err(refused)
            }
            Way::Proc(_) | Way::Off => Ok(()),
        };
        if let Err(error) = followed {
            self.give_up(&error);
        }
        if !std::mem::replace(&mut self.attached, true) {
            self.took += begun.elapsed();
        }
    }

    /// What was measured since the last time.
    pub fn roll(&mut self, start: Timestamp, end: Timestamp) -> Interval {
        let rows = match &mut self.way {
            Way::Traced(traced) => traced.rows(&self.rules, &self.places, end),
            Way::Classified(classified, totals) => {
                let again = totals.flows(&self.settings.root, &self.places);
                classified.rows(&self.places).map(|mut rows| {
                    rows.flows.extend(again.into_iter().map(|flow| Flow {
                        sent: Traffic::ZERO,
                        received: Traffic::ZERO,
                        ..flow
                    }));
                    rows
                })
            }
            Way::Proc(totals) => {
                Ok(Rows { flows: totals.flows(&self.settings.root, &self.places), ..Rows::default() })
            }
            Way::Off => Ok(Rows::default()),
        };
        let rows = rows.unwrap_or_else(|error| {
            self.give_up(&error);
            Rows::default()
        });
        let interval = Interval {
            start,
            end,
            way: self.measured_by(),
            measurements: measurements(&self.means(), &self.rules),
            clock: self.settings.clock.clone().filter(|_| self.measured_by() == MeasureWay::Tracepoints),
            endpoints: self.places.endpoints().to_vec(),
            flows: rows.flows,
            latency: rows.latency,
            drops: rows.drops,
            stamps: rows.stamps,
            overflow: rows.overflow,
        };
        self.places.next_interval();
        interval
    }

    /// The kernel refuses what it took before: what is left is `/proc`.
    fn give_up(&mut self, error: &EbpfError) {
        tracing::warn!(%error, "the network's tables cannot be read any more: only totals are measured from now on");
        self.instead = Some(Lack(advice(error)));
        self.way = Way::Proc(ProcTotals::default());
    }

    fn means(&self) -> Means<'_> {
        Means {
            way: self.measured_by(),
            instead: self.instead.as_ref(),
            lacks: &self.lacks,
            clock: self.settings.clock.as_deref(),
        }
    }

    /// By what it is measured now.
    pub fn measured_by(&self) -> MeasureWay {
        match self.way {
            Way::Traced(_) => MeasureWay::Tracepoints,
            Way::Classified(..) => MeasureWay::Classifiers,
            Way::Proc(_) => MeasureWay::Proc,
            Way::Off => MeasureWay::Off,
        }
    }

    /// The memory of the kernel's tables, bytes; none without tables.
    pub fn table_bytes(&self) -> Option<u64> {
        matches!(self.way, Way::Traced(_) | Way::Classified(..)).then(ebpf::table_memory)
    }

    /// What can be measured here, what not, and why, whatever the rules leave out.
    pub fn measurements(&self) -> Vec<Measurement> {
        let all = NetworkRules {
            measure: MeasureRules { hops: vec![HopStage::Bridge], ..MeasureRules::default() },
            ..NetworkRules::default()
        };
        measurements(&self.means(), &all)
    }

    /// What is to be said of it among what works here.
    pub fn capability(&self) -> Capability {
        let (works, detail) = match self.way {
            Way::Traced(_) => {
                (true, format!("tracepoints, loaded and attached in {} ms", self.took.as_millis()))
            }
            Way::Classified(..) => {
                (true, "classifiers at the host's ends of the containers' interfaces".to_owned())
            }
            Way::Proc(_) => (
                self.settings.wish == NetworkWish::Proc,
                "the totals of each container, from /proc".to_owned(),
            ),
            Way::Off => (true, "not measured: --network off".to_owned()),
        };
        let missing = missing(&self.measurements());
        let detail = if missing.is_empty() || self.measured_by() == MeasureWay::Off {
            detail
        } else {
            format!("{detail}; missing: {missing}")
        };
        Capability { name: "network".to_owned(), works, detail }
    }
}

/// What of these is missing, with the reasons, each told once. That a host shares its clock with no other is no lack.
pub fn missing(all: &[Measurement]) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for one in all.iter().filter(|one| one.status == MeasurementStatus::Missing && one.name != "one_way") {
        match reasons.iter_mut().find(|(reason, _)| *reason == one.detail) {
            Some((_, names)) => names.push(&one.name),
            None => reasons.push((&one.detail, vec![&one.name])),
        }
    }
    let told = reasons.into_iter().map(|(reason, names)| format!("{} ({reason})", names.join(", ")));
    told.collect::<Vec<_>>().join("; ")
}

/// Why it cannot be, and what would give it.
fn advice(error: &EbpfError) -> String {
    let would = match error {
        EbpfError::NotPermitted(_) => {
            "; deploy/network has them for systemd and compose, where network monitoring is wanted"
        }
        EbpfError::NotBuilt(_) => "; a build with clang has it",
        _ => "",
    };
    format!("{error}{would}")
}
