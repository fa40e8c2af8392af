//! How a command ends when it does not do what was asked, and the exit codes that say so.

use std::fmt;
use std::process::ExitCode;

use super::settings::BadSettings;
use crate::docker::EngineError;

/// The exit codes, as help shows them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  not done, or what was looked at is not well
  2  wrong usage or settings; nothing was started
  3  controller, agent or Docker engine cannot be reached
  4  no such host, container or other thing
  5  refused: the access token is missing, unknown or too weak";

/// Why a command failed, by its exit code.
#[derive(Debug)]
pub enum Failure {
    /// Not done.
    Failed(String),
    /// Wrong usage or settings.
    Usage(String),
    /// Someone who is needed cannot be reached.
    Unreachable(String),
    /// There is no such thing.
    NotFound(String),
    /// Not allowed.
    Refused(String),
    /// The reader of our output went away (`dockhealth ps | head`): nothing is wrong.
    OutputClosed,
}

impl Failure {
    /// Its exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::OutputClosed => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::NotFound(_) => 4,
            Self::Refused(_) => 5,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(what)
            | Self::Usage(what)
            | Self::Unreachable(what)
            | Self::NotFound(what)
            | Self::Refused(what) => f.write_str(what),
            Self::OutputClosed => Ok(()),
        }
    }
}

impl From<BadSettings> for Failure {
    fn from(bad: BadSettings) -> Self {
        Self::Usage(bad.to_string())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let text = error.to_string();
        match error {
            EngineError::Unreachable(_) | EngineError::TimedOut(..) => Self::Unreachable(text),
            EngineError::NoSuchContainer(_) => Self::NotFound(text),
            EngineError::Refused(_) | EngineError::Malformed(_) => Self::Failed(text),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}
