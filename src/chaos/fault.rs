//! What can be done to a container, and how it is written: `stop`, `loss=100%`, `delay=100ms`, `partition=db`. Pure.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ContainerName, LossPercent, clean, format_span, parse_size, parse_span};

/// A fault without its strength: the word that begins it, and what `doctor` tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// `docker stop`.
    Stop,
    /// `docker kill`.
    Kill,
    /// `docker pause`.
    Pause,
    /// `docker restart`.
    Restart,
    /// Memory is taken from it, until the kernel kills in it.
    Oom,
    /// Its share of the processors is used up.
    Cpu,
    /// The disk below its writable layer is filled.
    Disk,
    /// Its packets are lost.
    Loss,
    /// Its packets are late.
    Delay,
    /// Its packets are late by different spans.
    Jitter,
    /// A bit of its packets is flipped.
    Corruption,
    /// It and another container do not reach each other.
    Partition,
    /// Its questions to name servers are lost.
    Dns,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Stop,
        Self::Kill,
        Self::Pause,
        Self::Restart,
        Self::Oom,
        Self::Cpu,
        Self::Disk,
        Self::Loss,
        Self::Delay,
        Self::Jitter,
        Self::Corruption,
        Self::Partition,
        Self::Dns,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::Oom => "oom",
            Self::Cpu => "cpu",
            Self::Disk => "disk",
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::Jitter => "jitter",
            Self::Corruption => "corruption",
            Self::Partition => "partition",
            Self::Dns => "dns",
        }
    }

    /// Whether it takes the container down, so that a healer brings it back; the others pass with their lease.
    pub fn takes_down(self) -> bool {
        matches!(self, Self::Stop | Self::Kill | Self::Restart)
    }

    /// Whether it is done to the container's network.
    pub fn is_of_network(self) -> bool {
        matches!(
            self,
            Self::Loss | Self::Delay | Self::Jitter | Self::Corruption | Self::Partition | Self::Dns
        )
    }

    /// How it is written, for errors.
    fn usage(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::Oom => "oom (up to the container's memory limit) or oom=64MiB (so much at most)",
            Self::Cpu => "cpu or cpu=2 (processors to use up, 1 to 64)",
            Self::Disk => "disk=256MiB (1MiB to 1TiB)",
            Self::Loss => "loss=100%, or loss=20-100% for a share chosen by the seed (1 to 100)",
            Self::Delay => "delay=100ms (1ms to 60s)",
            Self::Jitter => "jitter=50ms (1ms to 30s): each packet is late by 0 to twice that",
            Self::Corruption => "corruption=5% (above 0, to 100)",
            Self::Partition => {
                "partition=NAME (from that container), or partition (from another target, chosen by the seed)"
            }
            Self::Dns => "dns",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One fault, exactly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Fault {
    /// `docker stop`.
    Stop,
    /// `docker kill`: SIGKILL.
    Kill,
    /// `docker pause`.
    Pause,
    /// `docker restart`.
    Restart,
    /// Takes memory of the container's cgroup: bytes at most, else all that its limit leaves.
    Oom(Option<u64>),
    /// Uses so many processors, charged to the container.
    Cpu(u32),
    /// Fills the disk below its writable layer by so many bytes at most.
    Disk(u64),
    /// Loses this share of its packets.
    Loss(LossPercent),
    /// Delays what it sends.
    Delay(Duration),
    /// Delays what it sends by this span, more or less by as much.
    Jitter(Duration),
    /// Flips a bit in this share of what it sends.
    Corruption(LossPercent),
    /// Cuts it off from this container, in both directions.
    Partition(ContainerName),
    /// Loses its questions to name servers: all to port 53, over UDP and TCP.
    Dns,
}

impl Fault {
    /// Its kind.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Stop => FaultKind::Stop,
            Self::Kill => FaultKind::Kill,
            Self::Pause => FaultKind::Pause,
            Self::Restart => FaultKind::Restart,
            Self::Oom(_) => FaultKind::Oom,
            Self::Cpu(_) => FaultKind::Cpu,
            Self::Disk(_) => FaultKind::Disk,
            Self::Loss(_) => FaultKind::Loss,
            Self::Delay(_) => FaultKind::Delay,
            Self::Jitter(_) => FaultKind::Jitter,
            Self::Corruption(_) => FaultKind::Corruption,
            Self::Partition(_) => FaultKind::Partition,
            Self::Dns => FaultKind::Dns,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().word())?;
        match self {
            Self::Oom(Some(bytes)) | Self::Disk(bytes) => write!(f, "={}", exact_size(*bytes)),
            Self::Cpu(cores) => write!(f, "={cores}"),
            Self::Loss(share) | Self::Corruption(share) => write!(f, "={}%", share.percent()),
            Self::Delay(span) | Self::Jitter(span) => write!(f, "={}", format_span(*span)),
            Self::Partition(peer) => write!(f, "={peer}"),
            Self::Stop | Self::Kill | Self::Pause | Self::Restart | Self::Oom(None) | Self::Dns => Ok(()),
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;
    fn from_str(text: &str) -> Result<Self, FaultError> {
        match text.parse()? {
            FaultSpec::Exact(fault) => Ok(fault),
            FaultSpec::Loss(_) | FaultSpec::Partition => Err(FaultError::Inexact(clean(text, 60))),
        }
    }
}

impl TryFrom<String> for Fault {
    type Error = FaultError;
    fn try_from(text: String) -> Result<Self, FaultError> {
        text.parse()
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}

/// A fault as it is asked for: what is left open, the plan's seed decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FaultSpec {
    /// Nothing is open.
    Exact(Fault),
    /// Loss of a share within these, in whole percent.
    Loss(RangeInclusive<u8>),
    /// A partition from another of the targets.
    Partition,
}

impl FaultSpec {
    /// Its kind.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Exact(fault) => fault.kind(),
            Self::Loss(_) => FaultKind::Loss,
            Self::Partition => FaultKind::Partition,
        }
    }
}

/// Why a text is no fault, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No such word.
    #[error("there is no fault {0:?}: give one of {words}", words = FaultKind::ALL.map(FaultKind::word).join(", "))]
    Unknown(String),
    /// The value does not fit the word.
    #[error("{text:?} is not right for {kind}: write {usage}", usage = kind.usage())]
    Value {
        /// What was written.
        text: String,
        /// The fault that was meant.
        kind: FaultKind,
    },
    /// Something is left open where nothing may be.
    #[error("{0:?} leaves open what is to be done: name one share, or one container")]
    Inexact(String),
}

impl FromStr for FaultSpec {
    type Err = FaultError;
    fn from_str(text: &str) -> Result<Self, FaultError> {
        let trimmed = text.trim();
        let (word, value) = match trimmed.split_once('=') {
            Some((word, value)) => (word.trim(), Some(value.trim())),
            None => (trimmed, None),
        };
        let kind = FaultKind::ALL.into_iter().find(|kind| kind.word() == word);
        let kind = kind.ok_or_else(|| FaultError::Unknown(clean(word, 40)))?;
        read(kind, value).ok_or_else(|| FaultError::Value { text: clean(trimmed, 60), kind })
    }
}

/// `None` when the value does not fit.
fn read(kind: FaultKind, value: Option<&str>) -> Option<FaultSpec> {
    use FaultKind as K;
    let exact = |fault| Some(FaultSpec::Exact(fault));
    match (kind, value) {
        (K::Stop, None) => exact(Fault::Stop),
        (K::Kill, None) => exact(Fault::Kill),
        (K::Pause, None) => exact(Fault::Pause),
        (K::Restart, None) => exact(Fault::Restart),
        (K::Dns, None) => exact(Fault::Dns),
        (K::Oom, None) => exact(Fault::Oom(None)),
        (K::Oom, Some(text)) => exact(Fault::Oom(Some(size(text)?))),
        (K::Disk, Some(text)) => exact(Fault::Disk(size(text)?)),
        (K::Cpu, None) => exact(Fault::Cpu(1)),
        (K::Cpu, Some(text)) => exact(Fault::Cpu(text.parse().ok().filter(|n| (1..=64).contains(n))?)),
        (K::Delay, Some(text)) => exact(Fault::Delay(span(text, 60_000)?)),
        (K::Jitter, Some(text)) => exact(Fault::Jitter(span(text, 30_000)?)),
        (K::Loss, Some(text)) => match text.split_once('-') {
            Some((low, high)) => {
                let (low, high) = (whole_percent(low)?, whole_percent(high)?);
                if low == high {
                    return exact(Fault::Loss(LossPercent::new(f64::from(low)).ok()?));
                }
                (low < high).then_some(FaultSpec::Loss(low..=high))
            }
            None => exact(Fault::Loss(share(text)?)),
        },
        (K::Corruption, Some(text)) => exact(Fault::Corruption(share(text)?)),
        (K::Partition, None) => Some(FaultSpec::Partition),
        (K::Partition, Some(text)) => exact(Fault::Partition(text.parse().ok()?)),
        _ => None,
    }
}

/// From 1 MiB to 1 TiB.
fn size(text: &str) -> Option<u64> {
    parse_size(text).ok().filter(|bytes| (1 << 20..=1 << 40).contains(bytes))
}

/// From 1 ms on.
fn span(text: &str, most_millis: u64) -> Option<Duration> {
    let allowed = Duration::from_millis(1)..=Duration::from_millis(most_millis);
    parse_span(text).ok().filter(|span| allowed.contains(span))
}

fn percent(text: &str) -> &str {
    text.strip_suffix('%').unwrap_or(text).trim()
}

fn share(text: &str) -> Option<LossPercent> {
    let share: f64 = percent(text).parse().ok()?;
    LossPercent::new(share).ok().filter(|share| share.percent() > 0.0)
}

fn whole_percent(text: &str) -> Option<u8> {
    percent(text.trim()).parse().ok().filter(|share| (1..=100).contains(share))
}

/// Bytes in the largest unit that tells them exactly.
fn exact_size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size));
    unit.map_or_else(|| bytes.to_string(), |(size, name)| format!("{}{name}", bytes / size))
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(fault) => fault.fmt(f),
            Self::Loss(range) => write!(f, "loss={}-{}%", range.start(), range.end()),
            Self::Partition => f.write_str("partition"),
        }
    }
}

impl TryFrom<String> for FaultSpec {
    type Error = FaultError;
    fn try_from(text: String) -> Result<Self, FaultError> {
        text.parse()
    }
}

impl From<FaultSpec> for String {
    fn from(fault: FaultSpec) -> Self {
        fault.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_fault_is_written_as_it_is_read() {
        for text in [
            "stop",
            "kill",
            "pause",
            "restart",
            "oom",
            "oom=64MiB",
            "cpu=2",
            "disk=1GiB",
            "disk=1048577",
            "loss=100%",
            "loss=12.5%",
            "loss=20-100%",
            "delay=100ms",
            "jitter=2s",
            "corruption=5%",
            "partition",
            "partition=db.1",
            "dns",
        ] {
            let fault: FaultSpec = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
        }
        let same = [
            ("loss=50", "loss=50%"),
            (" cpu ", "cpu=1"),
            ("loss=20%-20%", "loss=20%"),
            ("oom= 1m", "oom=1MiB"),
        ];
        for (text, shown) in same {
            assert_eq!(text.parse::<FaultSpec>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_what_would_be_right() {
        for (text, right) in [
            ("stop=1", "write stop"),
            ("loss", "loss=100%"),
            ("loss=0", "loss=100%"),
            ("loss=101%", "1 to 100"),
            ("loss=80-20%", "loss=20-100%"),
            ("loss=0.5-20%", "loss=20-100%"),
            ("delay=100", "delay=100ms"),
            ("delay=2m", "60s"),
            ("jitter=0", "1ms to 30s"),
            ("disk", "disk=256MiB"),
            ("disk=1", "1MiB to 1TiB"),
            ("oom=2TiB", "oom=64MiB"),
            ("cpu=0", "1 to 64"),
            ("corruption=NaN", "above 0"),
            ("partition=a/b", "partition=NAME"),
            ("dns=1", "write dns"),
        ] {
            let error = text.parse::<FaultSpec>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains(right), "{text}: {error}");
        }
        let unknown = "los=5%".parse::<FaultSpec>().unwrap_err().to_string();
        assert!(
            unknown.contains("there is no fault \"los\"") && unknown.contains("loss, delay"),
            "{unknown}"
        );
        assert!("loss=20-100%".parse::<Fault>().unwrap_err().to_string().contains("leaves open"));
    }

    #[test]
    fn kinds_are_told_apart() {
        let words: std::collections::BTreeSet<_> = FaultKind::ALL.map(FaultKind::word).into();
        assert_eq!(words.len(), FaultKind::ALL.len());
        assert!(FaultKind::Kill.takes_down() && !FaultKind::Pause.takes_down());
        assert!(FaultKind::Dns.is_of_network() && !FaultKind::Disk.is_of_network());
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_reads_back(
            word in "[a-z]{0,10}|stop|loss|oom|cpu|disk|delay|partition|corruption", value in ".{0,12}"
        ) {
            for text in [format!("{word}={value}"), word] {
                if let Ok(fault) = text.parse::<FaultSpec>() {
                    prop_assert_eq!(fault.to_string().parse::<FaultSpec>(), Ok(fault));
                }
            }
        }
    }
}
