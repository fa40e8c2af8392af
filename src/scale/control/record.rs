//! What a controller saw and decided, written down; and whether it decides the same again.

use serde::{Deserialize, Serialize};

use super::{ControlSettings, Controller, ControllerKind, Decision, Observation};

/// One line of a record. A record begins with `begins`, and may begin anew any number of times, with the same or another
/// controller that has seen nothing yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A controller begins.
    Begins {
        /// Which.
        controller: ControllerKind,
        /// What it is told.
        settings: ControlSettings,
    },
    /// It decided.
    Decided {
        /// What it saw.
        seen: Observation,
        /// What it decided.
        decision: Decision,
    },
}

impl Record {
    /// It as one line of JSON, with the end of the line.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("plain data becomes JSON") + "\n"
    }
}

/// What a record came to when it was played again.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Replay {
    /// Decisions that were made again.
    pub decisions: u64,
    /// How many of them came out otherwise, in whatever detail.
    pub different: u64,
    /// The first of those: its line from 1, what was recorded, and what comes out now.
    pub first: Option<(u64, Decision, Decision)>,
}

/// Why a record cannot be played again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// A line that is no record.
    #[error("line {0} is no record of a controller: {1}")]
    Line(u64, String),
    /// A decision of nobody.
    #[error("line {0} is a decision, but no controller began before it")]
    Nobody(u64),
}

/// A record that is played again, line by line.
#[derive(Default)]
pub struct Replayer {
    controller: Option<Box<dyn Controller>>,
    lines: u64,
    replay: Replay,
}

impl Replayer {
    /// Takes in the next line; empty ones don't count.
    pub fn line(&mut self, line: &str) -> Result<(), ReplayError> {
        self.lines += 1;
        if line.trim().is_empty() {
            return Ok(());
        }
        let record = serde_json::from_str(line).map_err(|e| ReplayError::Line(self.lines, e.to_string()))?;
        match record {
            Record::Begins { controller, settings } => self.controller = Some(controller.build(&settings)),
            Record::Decided { seen, decision } => {
                let controller = self.controller.as_mut().ok_or(ReplayError::Nobody(self.lines))?;
                let again = as_written(&controller.decide(&seen));
                self.replay.decisions += 1;
                if again != decision {
                    self.replay.different += 1;
                    self.replay.first.get_or_insert((self.lines, decision, again));
                }
            }
        }
        Ok(())
    }

    /// What it came to.
    pub fn end(self) -> Replay {
        self.replay
    }
}

/// What becomes of a decision that is written and read: figures beyond 2^53 millionths lose their last digit in JSON.
fn as_written(decision: &Decision) -> Decision {
    let text = serde_json::to_string(decision).expect("plain data becomes JSON");
    serde_json::from_str(&text).expect("what was written is read")
}
