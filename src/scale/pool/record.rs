//! The log of what a controller was told and what it decided, one JSON object a line: the same controller, given the same
//! lines, decides the same.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::{PoolName, Timestamp};
use crate::scale::control::{ControlSettings, ControllerKind, Decision, Observation};

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolLogHead {
    /// The version of the format: 1.
    pub version: u32,
    /// The pool.
    pub pool: PoolName,
    /// When it was begun.
    pub time: Timestamp,
    /// The controller.
    pub controller: ControllerKind,
    /// What it was told before it began.
    pub settings: ControlSettings,
}

/// Every other line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolLogLine {
    /// When.
    pub time: Timestamp,
    /// What it was told.
    pub seen: Observation,
    /// What it decided.
    pub decision: Decision,
}

/// Writes such a log; begins anew what was there. It ends at a size, and says so, rather than fill the disk.
#[derive(Debug)]
pub struct PoolLog {
    to: BufWriter<File>,
    left: u64,
}

/// The largest log, bytes: about a week at 2 s.
const MOST: u64 = 256 << 20;

impl PoolLog {
    /// Begins a log.
    pub fn begin(path: &Path, head: &PoolLogHead) -> io::Result<Self> {
        let mut log = Self { to: BufWriter::new(File::create(path)?), left: MOST };
        log.line(head)?;
        Ok(log)
    }

    /// Adds a line, which is on its way to the disk when this returns. False when the log is full.
    pub fn add(&mut self, line: &PoolLogLine) -> io::Result<bool> {
        self.line(line)
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<bool> {
        let mut text = serde_json::to_vec(value)?;
        text.push(b'\n');
        let Some(left) = self.left.checked_sub(text.len() as u64) else { return Ok(false) };
        self.left = left;
        self.to.write_all(&text)?;
        self.to.flush()?;
        Ok(true)
    }
}
