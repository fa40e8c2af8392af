//! By programs at tracepoints: all there is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::deltas::Deltas;
use super::measurements::{Lack, Lacks};
use super::places::Places;
use super::roll::{Came, Measured, Rows, TcpParts, roll};
use crate::ebpf::{
    Count, Counts, DropKey, EbpfError, EpochKey, FlowKey, LatencyCounts, LostCounts, NetPrograms,
    NetSettings, OwnerId, PairKey, Stale, StampCounts, Switch, Tap, TcpCounts, TcpKey, TrafficCounts,
    enum_values,
};
use crate::model::{HopStage, NetworkRules, Timestamp};

/// An entry of nobody that is known is forgotten when nothing came of it for so many intervals.
const IDLE_UNKNOWN: u64 = 3;
/// Any other when its table fills up.
const IDLE_FULL: u64 = 6;
/// How many entries either table of flows has room for, and that of TCP; those of latencies and drops: `bpf/net.bpf.c`.
/// Idle flows are forgotten when both tables together have half of what one has room for.
const ROOM: usize = 16_384;
const LESS_ROOM: usize = 8_192;

/// The programs and what was read of them.
pub(super) struct Traced {
    programs: NetPrograms,
    reasons: BTreeMap<u32, String>,
    settings: Option<NetSettings>,
    selected: Vec<OwnerId>,
    cgroups: Vec<u64>,
    ports: Vec<u16>,
    flows: Deltas<FlowKey, TrafficCounts>,
    latency: Deltas<PairKey, LatencyCounts>,
    tcp: Deltas<TcpKey, TcpCounts>,
    drops: Deltas<DropKey, Count>,
    stamps: Deltas<EpochKey, StampCounts>,
    lost: LostCounts,
}

/// What packets are stamped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// One that other hosts share; what `CLOCK_MONOTONIC` lacks to it, nanoseconds.
    Shared(u64),
    /// The host's own.
    Own,
}

impl Traced {
    /// Loads what this kernel takes; nothing is attached yet.
    ///
    /// # Errors
    /// When it does not take even the programs that count packets.
    pub(super) fn load(host_netns: u32, cgroups_v1: bool) -> Result<Self, EbpfError> {
        let mut programs = NetPrograms::load(host_netns, u32::from(cgroups_v1))?;
        for tap in [Tap::Sent, Tap::Received] {
            if let Some(error) = programs.take_failure(tap) {
                return Err(error);
            }
        }
        Ok(Self {
            programs,
            // Without names drops have numbers.
            reasons: enum_values("skb_drop_reason").unwrap_or_default(),
            settings: None,
            selected: Vec::new(),
            cgroups: Vec::new(),
            ports: Vec::new(),
            flows: Deltas::new(),
            latency: Deltas::new(),
            tcp: Deltas::new(),
            drops: Deltas::new(),
            stamps: Deltas::new(),
            lost: LostCounts::default(),
        })
    }

    /// What of it this kernel does not take.
    pub(super) fn lacks(&self) -> Lacks {
        self.programs.failed().iter().map(|(tap, error)| (*tap, Lack(error.to_string()))).collect()
    }

    /// Does from now on what the rules say; what they say already is left as it is, so no packet is missed.
    pub(super) fn follow(
        &mut self,
        rules: &NetworkRules,
        places: &Places,
        clock: Clock,
    ) -> Result<(), EbpfError> {
        let (traced, cgroups) = (sorted(places.traced()), sorted(places.cgroups()));
        if rules.trace.selects() && traced != self.selected {
            self.programs.select(&traced)?;
            self.selected = traced;
        }
        if cgroups != self.cgroups {
            self.programs.watch_cgroups(&cgroups)?;
            self.cgroups = cgroups;
        }
        if rules.trace.ports != self.ports {
            self.programs.want_ports(&rules.trace.ports)?;
            self.ports.clone_from(&rules.trace.ports);
        }
        let settings = settings(rules, clock);
        if self.settings != Some(settings) {
            self.programs.set(settings)?;
            self.settings = Some(settings);
        }
        for tap in Tap::ALL {
            // Calls are looked at only while somebody is on the host's network.
            let calls = matches!(tap, Tap::CallSent | Tap::CallReceived);
            let idle = calls && self.cgroups.is_empty();
            self.programs.switch(tap, if idle { Switch::Off } else { wanted(rules, tap) })?;
        }
        Ok(())
    }

    /// What came since the last look.
    pub(super) fn rows(
        &mut self,
        rules: &NetworkRules,
        places: &Places,
        now: Timestamp,
    ) -> Result<Rows, EbpfError> {
        let lost = self.programs.lost()?;
        let ended = u64::try_from(now.millis()).unwrap_or(0).saturating_mul(1_000_000);
        let epoch = epoch_ns(rules);
        let came = Came {
            flows: self.flows.advance(self.programs.flows()?),
            latency: self.latency.advance(self.programs.latency()?),
            tcp: self.tcp.advance(self.programs.tcp()?),
            drops: self.drops.advance(self.programs.drops()?),
            // An epoch is told once, when it is over.
            stamps: {
                let mut all = self.programs.stamps()?;
                all.retain(|key, _| key.begins.saturating_add(epoch) <= ended);
                self.stamps.advance(all)
            },
            lost: lost.since(&self.lost).unwrap_or(lost),
        };
        self.lost = lost;
        self.forget(places, ended.saturating_sub(epoch.saturating_mul(2)))?;
        let runs = |tap: Tap| {
            let runs = wanted(rules, tap) == Switch::On && !self.programs.failed().contains_key(&tap);
            if runs { Measured::Yes } else { Measured::No }
        };
        let tcp = TcpParts { retransmits: runs(Tap::Retransmits), connections: runs(Tap::States) };
        Ok(roll(&came, places, tcp, &self.reasons))
    }

    /// Makes room: entries of nobody known that are idle, of the idle when there is little left, and of epochs long over.
    fn forget(&mut self, places: &Places, before: u64) -> Result<(), EbpfError> {
        let known = |owner: OwnerId| places.owner(owner).is_some();
        let netns_known = |netns: u32| netns == places.host_netns() || known(OwnerId::Netns(netns));
        let patience = |known: bool, length: usize, room: usize| match known {
            _ if length > room / 2 => IDLE_FULL,
            false => IDLE_UNKNOWN,
            true => u64::MAX,
        };
        let flows = self.flows.idle(|key| patience(known(key.owner), self.flows.len(), ROOM));
        let pairs = self.latency.idle(|key| {
            let known = netns_known(key.from) && (key.to == 0 || netns_known(key.to));
            patience(known, self.latency.len(), LESS_ROOM)
        });
        let tcp = self.tcp.idle(|key| patience(known(key.owner), self.tcp.len(), ROOM));
        // Most are of the host's own traffic, which is nobody's here.
        let drops =
            self.drops.idle(|key| patience(known(OwnerId::Netns(key.netns)), self.drops.len(), LESS_ROOM));
        self.programs.forget(&Stale {
            flow: &|key| flows.contains(key),
            pair: &|key| pairs.contains(key),
            tcp: &|key| tcp.contains(key),
            drop: &|key| drops.contains(key),
            epoch: &|key| key.begins < before,
        })?;
        self.flows.forget(&flows);
        self.latency.forget(&pairs);
        self.tcp.forget(&tcp);
        self.drops.forget(&drops);
        Ok(())
    }
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list
}

/// How long an epoch is: an interval.
fn epoch_ns(rules: &NetworkRules) -> u64 {
    u64::try_from(rules.interval.as_nanos()).unwrap_or(u64::MAX)
}

fn settings(rules: &NetworkRules, clock: Clock) -> NetSettings {
    let measure = &rules.measure;
    let hops = measure.hops.iter().any(|hop| *hop != HopStage::Overlay);
    let flags = [
        (measure.latency, NetSettings::LATENCY),
        (hops, NetSettings::HOPS),
        (measure.hops.contains(&HopStage::Overlay), NetSettings::OVERLAY),
        (clock != Clock::Own, NetSettings::STAMPS),
        (rules.trace.selects(), NetSettings::SELECTED),
        (!rules.trace.ports.is_empty(), NetSettings::PORTS),
    ];
    NetSettings {
        flags: flags.into_iter().filter(|(on, _)| *on).fold(0, |flags, (_, flag)| flags | flag),
        latency_mask: rules.sampling.latency.saturating_sub(1),
        rtt_mask: rules.sampling.rtt.saturating_sub(1),
        unused: 0,
        to_wall_ns: match clock {
            Clock::Shared(to_wall) => to_wall,
            Clock::Own => 0,
        },
        epoch_ns: epoch_ns(rules),
    }
}

/// Whether the rules ask for a program.
fn wanted(rules: &NetworkRules, tap: Tap) -> Switch {
    let measure = &rules.measure;
    let on = match tap {
        Tap::Sent | Tap::Received => measure.flows,
        Tap::Rtt => measure.rtt,
        Tap::Retransmits => measure.retransmits,
        Tap::States => measure.connections,
        Tap::CallSent | Tap::CallReceived => measure.host_network,
        Tap::Drops => measure.drops,
    };
    if on { Switch::On } else { Switch::Off }
}

/// What `CLOCK_MONOTONIC` lacks to unix time now, nanoseconds.
pub(super) fn to_wall() -> u64 {
    let read = |clock: libc::clockid_t| {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: clock_gettime writes one timespec to a valid pointer.
        unsafe { libc::clock_gettime(clock, &raw mut time) };
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
    };
    let (wall, since_boot) = (read(libc::CLOCK_REALTIME), read(libc::CLOCK_MONOTONIC));
    u64::try_from(wall.saturating_sub(since_boot).as_nanos()).unwrap_or_default()
}
