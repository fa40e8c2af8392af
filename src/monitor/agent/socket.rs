//! The agent's own unix socket: it answers when bus and controller are gone. One JSON command a line in, one JSON
//! reply a line out; only who may open the socket (mode 0600) can ask.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Asker;
use crate::bus::{AgentReply, CommandError, decode, encode};

/// Connections at once, and the longest line; what is more is refused.
const CONNECTIONS: usize = 16;
const LONGEST_LINE: u64 = 64 * 1024;
/// After a failed accept (no file descriptor is free).
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

pub(super) fn spawn(tracker: &TaskTracker, path: PathBuf, asker: Asker, shutdown: &CancellationToken) {
    let listener = match listen(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "no local socket: `why --local` and `freeze --local` will not work");
            return;
        }
    };
    let (shutdown, connections) = (shutdown.clone(), tracker.clone());
    tracker.spawn(async move {
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        let accept = async {
            loop {
                let permit = free.clone().acquire_owned().await.expect("never closed");
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let (asker, ending) = (asker.clone(), shutdown.clone());
                        connections.spawn(async move {
                            // A client that goes away in the middle is its own affair.
                            let _ = ending.run_until_cancelled(serve(stream, &asker)).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "local socket");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = shutdown.cancelled() => {}
        }
        let _ = std::fs::remove_file(&path);
    });
}

/// Makes the socket in the place of one that a killed predecessor left: the data directory's lock says that it is dead.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn serve(stream: UnixStream, asker: &Asker) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return Ok(());
        }
        let whole = line.last() == Some(&b'\n') || (read as u64) < LONGEST_LINE;
        let reply = match decode(&line) {
            _ if !whole => malformed("the line is longer than 64 KiB"),
            Err(error) => malformed(&error.to_string()),
            Ok(command) => {
                let ending = CommandError::Refused { reason: "the agent is ending".to_owned() };
                asker.ask(command).await.unwrap_or(AgentReply::Error(ending))
            }
        };
        writer.write_all(&encode(&reply)).await?;
        writer.write_all(b"\n").await?;
        if !whole {
            return Ok(());
        }
    }
}

fn malformed(reason: &str) -> AgentReply {
    AgentReply::Error(CommandError::Malformed { reason: reason.to_owned() })
}
