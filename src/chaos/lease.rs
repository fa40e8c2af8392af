//! A fault that is in force, or about to be: what is written down of it before anything is done.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Attack, Fault};
use crate::docker::EngineAddress;
use crate::model::{ContainerId, ContainerName, Timestamp, clean};

/// Names one lease: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LeaseId(u64);

impl LeaseId {
    /// One that no other lease has, but by a chance of 2^-64.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for LeaseId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{:?} is no lease: 16 hexadecimal digits name one", clean(text, 40));
        let plain =
            text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = u64::from_str_radix(text, 16).ok().filter(|_| plain).ok_or_else(wrong)?;
        Ok(Self(number))
    }
}

impl TryFrom<String> for LeaseId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<LeaseId> for String {
    fn from(id: LeaseId) -> Self {
        id.to_string()
    }
}

/// All that is needed to do a fault and to undo it, by whoever is left to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Which.
    pub id: LeaseId,
    /// Whom, by id: a successor of the same name is not meant.
    pub container: ContainerId,
    /// Its name, for people.
    pub name: ContainerName,
    /// What.
    pub fault: Fault,
    /// The engine that has the container.
    pub engine: String,
    /// When it was written down.
    pub recorded: Timestamp,
    /// How long after it was done it is undone, milliseconds; null: when it was seen healed, or the antagonist ends.
    pub lasts_ms: Option<u64>,
    /// The drill it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<String>,
}

impl Lease {
    /// A lease for `attack`, not yet begun.
    pub fn of(attack: &Attack, engine: &EngineAddress, drill: Option<String>) -> Self {
        Self {
            id: LeaseId::random(),
            container: attack.id.clone(),
            name: attack.name.clone(),
            fault: attack.fault.clone(),
            engine: engine.to_string(),
            recorded: Timestamp::now(),
            lasts_ms: attack.lease.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
            drill,
        }
    }

    /// After how long it is undone.
    pub fn lasts(&self) -> Option<Duration> {
        self.lasts_ms.map(Duration::from_millis)
    }

    /// The name of its nftables table.
    pub(super) fn table(&self) -> String {
        format!("dockhealth_{}", self.id)
    }
}

/// How far a fault has come, as the ledger has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// It is written down; nothing was done.
    Recorded,
    /// It is being done: it may have been, or may yet be by whoever was asked.
    Acting,
    /// It is done.
    Held,
}

impl Progress {
    /// Its word in the ledger.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Acting => "acting",
            Self::Held => "held",
        }
    }
}

/// What came of undoing a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undone {
    /// It was undone by us.
    ByUs,
    /// There was nothing left to undo: it was healed, had passed, or never came true.
    Already,
    /// The container is gone, and the fault with it.
    Gone,
}
