//! Connections to one container, kept for the next request.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The body of a request to a container: the client's own, or none when it is repeated.
pub(crate) type Outgoing = Either<Incoming, Empty<Bytes>>;

/// A connection that a request can be sent over.
pub(crate) type Sender = SendRequest<Outgoing>;

/// How long a container may take to accept a connection; it is on this host.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// The longest head of an answer, bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Connections that are kept, at most; a container rarely has more requests at once.
const KEPT: usize = 64;

/// Connections to one container that no request uses now.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<Vec<Sender>>);

impl Connections {
    /// One that is kept and still open. The container may have closed it at this very moment: what is sent then is
    /// handed back.
    pub(super) fn kept(&self) -> Option<Sender> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = kept.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps one for the next request.
    pub(super) fn keep(&self, sender: Sender) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !sender.is_closed() && kept.len() < KEPT {
            kept.push(sender);
        }
    }

    /// Opens one. Nothing was sent when this fails.
    pub(super) async fn open(address: SocketAddr) -> io::Result<Sender> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it accepts no connection");
        let stream = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await.map_err(late)??;
        stream.set_nodelay(true)?;
        let handshake = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        // Ends when the container closes it, or when nobody holds its sender and its answer any more.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "a connection to a container ended");
            }
        });
        Ok(sender)
    }
}
