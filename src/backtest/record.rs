//! What was recorded of a host: figures of loss, and what happened to its containers.

use super::Deed;
use crate::model::{ActionKind, Actor, ContainerName, Event, EventKind, HostName, Timestamp};

/// One recorded figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Of the check before this moment.
    pub time: Timestamp,
    /// Percent lost.
    pub loss: f64,
    /// Round trip, milliseconds.
    pub rtt_ms: Option<f64>,
}

/// What happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It went down.
    Down,
    /// Its HEALTHCHECK failed it.
    Unhealthy,
    /// A new run began.
    Run,
    /// It was well again.
    Well,
}

/// What was recorded of one container.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerRecord {
    /// Its name.
    pub name: ContainerName,
    /// The network it is tallied in, as it is known now.
    pub network: Option<String>,
    /// Figures, oldest first.
    pub samples: Vec<Sample>,
    /// What happened, oldest first.
    pub changes: Vec<(Timestamp, Change)>,
    /// What was done to it, oldest first.
    pub did: Vec<Deed>,
}

/// What was recorded of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostRecord {
    /// Which.
    pub host: HostName,
    /// Its containers.
    pub containers: Vec<ContainerRecord>,
}

impl ContainerRecord {
    /// Nothing yet.
    pub fn new(name: ContainerName, network: Option<String>) -> Self {
        Self { name, network, samples: Vec::new(), changes: Vec::new(), did: Vec::new() }
    }

    /// The kinds of events that say something here.
    pub const KINDS: [EventKind; 5] = [
        EventKind::ContainerFailing,
        EventKind::ContainerRecovered,
        EventKind::ContainerStarted,
        EventKind::ContainerRestarted,
        EventKind::ContainerRecreated,
    ];

    /// Takes in an event about it; they come oldest first.
    pub fn note(&mut self, event: &Event) {
        let kind = match event.kind {
            EventKind::ContainerFailing => {
                let change = match event.data.get("ailment").and_then(|ailment| ailment.as_str()) {
                    Some("down") => Change::Down,
                    Some("unhealthy") => Change::Unhealthy,
                    _ => return,
                };
                self.changes.push((event.time, change));
                return;
            }
            EventKind::ContainerRecovered => {
                self.changes.push((event.time, Change::Well));
                return;
            }
            EventKind::ContainerStarted => ActionKind::Start,
            EventKind::ContainerRestarted => ActionKind::Restart,
            EventKind::ContainerRecreated => ActionKind::Recreate,
            _ => return,
        };
        self.changes.push((event.time, Change::Run));
        if event.by == Actor::Agent {
            self.did.push(Deed { time: event.time, kind, reason: event.reason.clone() });
        }
    }
}
