//! What a container's counters say at one moment, and what two such readings come to. Pure.

use std::time::Duration;

use super::text::{Block, Flow};
use crate::model::{SeriesName, Values};

/// The CPU time a container has used so far, beside the clock it is measured against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CpuReading {
    /// Used so far, on all cores together.
    pub(super) used: Duration,
    /// What the clock shows: time itself, or the host's CPU time on all its cores.
    pub(super) clock: Duration,
    /// How many cores the clock counts the time of.
    pub(super) cores: u32,
}

impl CpuReading {
    /// The percentage of one core used since `before`; `None` when the counter was reset or the clock stood still.
    pub(super) fn percent_since(&self, before: &Self) -> Option<f64> {
        let used = self.used.checked_sub(before.used)?.as_secs_f64();
        let passed = self.clock.checked_sub(before.clock)?.as_secs_f64();
        (passed > 0.0 && self.cores == before.cores).then(|| used / passed * f64::from(self.cores) * 100.0)
    }
}

/// How a CPU limit held a container back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Throttle {
    /// Scheduling periods in which it wanted to run.
    pub(super) periods: u64,
    /// Those in which it used its quota up.
    pub(super) throttled: u64,
    /// How long its threads were held back, together.
    pub(super) held: Duration,
}

/// What a container holds in memory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct MemoryReading {
    pub(super) used: Option<u64>,
    pub(super) limit: Option<u64>,
    pub(super) cache: Option<u64>,
    pub(super) swap: Option<u64>,
}

impl MemoryReading {
    /// All that is charged, less what could be dropped at once. The two are not read at the same moment; where the
    /// second seems to exceed the first, it is not taken off.
    pub(super) fn used(charged: u64, inactive_file: u64) -> u64 {
        if inactive_file < charged { charged - inactive_file } else { charged }
    }
}

/// What went over a network namespace's interfaces, loopback left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) received: Flow,
    pub(super) sent: Flow,
    /// Tells one set of interfaces from another: counters are not compared across a change of it.
    pub(super) interfaces: u64,
}

/// Time in which some threads waited for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pressure {
    pub(super) cpu: Option<Duration>,
    pub(super) memory: Option<Duration>,
    pub(super) io: Option<Duration>,
}

/// Where a reading is from. Counters of one are not compared with those of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Source {
    /// The kernel's files.
    #[default]
    Files,
    /// The engine's statistics.
    Engine,
}

/// All of one container at one moment; `None` is what could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Reading {
    pub(super) source: Source,
    /// When, by a clock that only goes forward.
    pub(super) at: Duration,
    pub(super) cpu: Option<CpuReading>,
    /// The CPU it may use, cores; `None` also where nothing bounds it.
    pub(super) cpu_limit: Option<f64>,
    pub(super) throttle: Option<Throttle>,
    pub(super) memory: MemoryReading,
    pub(super) oom_kills: Option<u64>,
    pub(super) traffic: Option<Traffic>,
    pub(super) block: Option<Block>,
    pub(super) pids: Option<u64>,
    pub(super) pressure: Pressure,
}

/// Takes what is known, and only that.
pub(super) fn set(values: &mut Values, name: &'static str, value: Option<f64>) {
    if let Some(value) = value.filter(|value| value.is_finite()) {
        values.insert(SeriesName::of(name), value);
    }
}

/// What a counter grew by in a second; `None` when it was reset.
pub(super) fn rate(now: u64, before: u64, passed: Duration) -> Option<f64> {
    per_second(now.checked_sub(before)? as f64, passed)
}

/// The share of time, percent, that a clock of waiting grew by.
pub(super) fn share(now: Option<Duration>, before: Option<Duration>, passed: Duration) -> Option<f64> {
    // The two clocks are not read at once, so a share may come out a little above all of it.
    per_second(now?.checked_sub(before?)?.as_secs_f64() * 100.0, passed).map(|percent| percent.min(100.0))
}

fn per_second(grown: f64, passed: Duration) -> Option<f64> {
    (!passed.is_zero()).then(|| grown / passed.as_secs_f64())
}

impl Reading {
    /// What is so at this moment.
    pub(super) fn gauges(&self, values: &mut Values) {
        let number = |value: Option<u64>| value.map(|value| value as f64);
        let memory = &self.memory;
        set(values, "memory_bytes", number(memory.used));
        set(values, "memory_limit_bytes", number(memory.limit));
        let percent = memory.used.zip(memory.limit).filter(|(_, limit)| *limit > 0);
        set(values, "memory_percent", percent.map(|(used, limit)| used as f64 / limit as f64 * 100.0));
        set(values, "memory_cache_bytes", number(memory.cache));
        set(values, "memory_swap_bytes", number(memory.swap));
        set(values, "oom_kills", number(self.oom_kills));
        set(values, "pids", number(self.pids));
    }

    /// What happened since `before`; `cores` is how many the host has. A counter that was reset gives nothing.
    pub(super) fn rates(&self, before: &Self, cores: Option<u32>, values: &mut Values) {
        let passed = self.at.saturating_sub(before.at);
        if passed.is_zero() || self.source != before.source {
            return;
        }
        let cpu = self.cpu.zip(before.cpu).and_then(|(now, before)| now.percent_since(&before));
        set(values, "cpu_percent", cpu);
        let of = |cores: f64| cpu.filter(|_| cores > 0.0).map(|percent| percent / cores);
        set(values, "cpu_host_percent", cores.and_then(|cores| of(f64::from(cores))));
        set(values, "cpu_limit_percent", self.cpu_limit.and_then(of));
        if let Some((now, before)) = self.throttle.zip(before.throttle) {
            now.rates(&before, passed, values);
        }
        if let Some((now, before)) = self.traffic.zip(before.traffic) {
            now.rates(&before, passed, values);
        }
        if let Some((now, before)) = self.block.zip(before.block) {
            let mut put = |name, now, before| set(values, name, rate(now, before, passed));
            put("block_read_bytes_per_second", now.read_bytes, before.read_bytes);
            put("block_write_bytes_per_second", now.written_bytes, before.written_bytes);
            put("block_reads_per_second", now.reads, before.reads);
            put("block_writes_per_second", now.writes, before.writes);
        }
        self.pressure.rates(&before.pressure, passed, values);
    }
}

impl Throttle {
    fn rates(&self, before: &Self, passed: Duration, values: &mut Values) {
        let grown =
            self.periods.checked_sub(before.periods).zip(self.throttled.checked_sub(before.throttled));
        // Without a period in which it wanted to run, nothing held it back.
        let percent = grown.map(|(all, held)| if all == 0 { 0.0 } else { held as f64 / all as f64 * 100.0 });
        set(values, "cpu_throttled_percent", percent.map(|percent| percent.min(100.0)));
        let held = self.held.checked_sub(before.held);
        set(
            values,
            "cpu_throttled_seconds_per_second",
            held.and_then(|held| per_second(held.as_secs_f64(), passed)),
        );
    }
}

impl Traffic {
    fn rates(&self, before: &Self, passed: Duration, values: &mut Values) {
        if self.interfaces != before.interfaces {
            return;
        }
        let mut put = |name, now, before| set(values, name, rate(now, before, passed));
        put("net_rx_bytes_per_second", self.received.bytes, before.received.bytes);
        put("net_rx_packets_per_second", self.received.packets, before.received.packets);
        put("net_rx_errors_per_second", self.received.errors, before.received.errors);
        put("net_rx_drops_per_second", self.received.drops, before.received.drops);
        put("net_tx_bytes_per_second", self.sent.bytes, before.sent.bytes);
        put("net_tx_packets_per_second", self.sent.packets, before.sent.packets);
        put("net_tx_errors_per_second", self.sent.errors, before.sent.errors);
        put("net_tx_drops_per_second", self.sent.drops, before.sent.drops);
    }
}

impl Pressure {
    pub(super) fn rates(&self, before: &Self, passed: Duration, values: &mut Values) {
        set(values, "cpu_pressure_percent", share(self.cpu, before.cpu, passed));
        set(values, "memory_pressure_percent", share(self.memory, before.memory, passed));
        set(values, "io_pressure_percent", share(self.io, before.io, passed));
    }
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
