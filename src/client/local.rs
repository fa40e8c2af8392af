//! The agent's unix socket: one command a line in, one reply a line out, as JSON.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bus::{AgentCommand, AgentReply, CommandError, decode, encode};

/// A host of thousands of containers reports less, bytes.
const LONGEST_REPLY: u64 = 64 * 1024 * 1024;
/// The agent answers from memory; more than this is a fault.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Why the agent of this machine did not do as told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LocalError {
    /// No agent listens there.
    #[error("no agent answers at {0}: {1}")]
    Unreachable(String, String),
    /// It may not be asked by this user.
    #[error("{0}: permission denied; run as root, or as the agent's own user")]
    Denied(String),
    /// It said no.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Its reply cannot be read, or is of another kind.
    #[error("the agent's reply cannot be read: {0}")]
    Malformed(String),
}

/// The agent of this machine.
#[derive(Debug, Clone)]
pub struct AgentSocket(PathBuf);

impl AgentSocket {
    /// The socket of the agent that keeps its state in `data_dir`.
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("agent.sock"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Sends a command and waits for the reply; an error it replies with is an `Err`.
    pub fn ask(&self, command: &AgentCommand) -> Result<AgentReply, LocalError> {
        let shown = || self.0.display().to_string();
        let io = |error: std::io::Error| match error.kind() {
            ErrorKind::PermissionDenied => LocalError::Denied(shown()),
            _ => LocalError::Unreachable(shown(), error.to_string()),
        };
        let mut stream = UnixStream::connect(&self.0).map_err(io)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(io)?;
        stream.set_write_timeout(Some(ANSWER_WITHIN)).map_err(io)?;
        let mut line = encode(command).to_vec();
        line.push(b'\n');
        stream.write_all(&line).map_err(io)?;
        let mut reply = Vec::new();
        BufReader::new(stream.take(LONGEST_REPLY)).read_until(b'\n', &mut reply).map_err(io)?;
        match decode(&reply) {
            Ok(AgentReply::Error(error)) => Err(error.into()),
            Ok(reply) => Ok(reply),
            Err(_) if reply.is_empty() => Err(LocalError::Malformed("it hung up".into())),
            Err(error) => Err(LocalError::Malformed(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn ask_one_that_says(reply: &'static [u8]) -> Result<AgentReply, LocalError> {
        let dir = tempfile::tempdir().unwrap();
        let socket = AgentSocket::of(dir.path());
        let listener = UnixListener::bind(socket.path()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                assert_eq!(line, "{\"command\":\"unfreeze\"}\n");
                stream.write_all(reply).unwrap();
            });
            socket.ask(&AgentCommand::Unfreeze)
        })
    }

    #[test]
    fn replies_and_everything_else() {
        assert_eq!(ask_one_that_says(b"{\"reply\":\"done\"}\n").unwrap(), AgentReply::Done);
        let refused = b"{\"reply\":\"error\",\"error\":\"refused\",\"reason\":\"not now\"}\n";
        assert_eq!(ask_one_that_says(refused).unwrap_err().to_string(), "not now");
        assert!(matches!(ask_one_that_says(b"").unwrap_err(), LocalError::Malformed(_)));
        assert!(matches!(ask_one_that_says(b"hello\n").unwrap_err(), LocalError::Malformed(_)));
        let nobody = AgentSocket::of(Path::new("/nonexistent")).ask(&AgentCommand::Report).unwrap_err();
        assert!(matches!(nobody, LocalError::Unreachable(..)), "{nobody}");
    }
}
