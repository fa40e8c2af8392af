//! The record of what a pool's controller saw and decided, which `dockhealth autoscale replay` plays again.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::scale::control::Record;

/// A record in a file. It ends at a size, and says so, rather than fill the disk.
#[derive(Debug)]
pub struct PoolLog {
    to: File,
    left: u64,
}

/// The largest record, bytes: about a week at a decision every 2 s.
const MOST: u64 = 256 << 20;

impl PoolLog {
    /// Begins a record anew in the file `path`.
    pub fn begin(path: &Path) -> io::Result<Self> {
        Ok(Self { to: File::create(path)?, left: MOST })
    }

    /// Adds a line; false when the record is full.
    pub(super) fn add(&mut self, record: &Record) -> io::Result<bool> {
        let line = record.line();
        let Some(left) = self.left.checked_sub(line.len() as u64) else { return Ok(false) };
        self.left = left;
        self.to.write_all(line.as_bytes())?;
        Ok(true)
    }
}
