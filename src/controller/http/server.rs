//! The listener: accepts, speaks TLS where configured, and hands each connection to a warp filter.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::request::{Arrival, Link, Scheme};
use super::tls::TlsReload;
use crate::controller::counters::{Counter, Counters};

/// The most connections at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;

/// How long a client may take to send a request's head, or to stay idle between two.
const HEAD_WITHIN: Duration = Duration::from_secs(15);

/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// After how long without acknowledgement of what was sent a connection is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// The longest request head, bytes.
const MAX_HEAD: usize = 32 * 1024;

/// The longest pause after a failure to accept, e.g. for want of file descriptors.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long requests under way may take to end at shutdown; then connections are cut.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// What a server needs besides its filter.
pub(crate) struct Gate {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsReload>,
    pub(crate) shutdown: CancellationToken,
}

/// Serves until shutdown, then lets requests under way end. Streams end by themselves at shutdown.
/// The filter finds an [`Arrival`] in each request's extensions.
pub(crate) async fn serve<F>(gate: Gate, counters: Arc<Counters>, filter: F)
where
    F: Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static,
{
    let Gate { listener, tls, shutdown } = gate;
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let graceful = GracefulShutdown::new();
    let mut pause = Duration::from_millis(10);
    loop {
        let next = accept(&listener, &connections);
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = next => accepted,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                counters.count(Counter::AcceptErrors);
                if pause >= LONGEST_PAUSE {
                    tracing::warn!(%error, "connections cannot be accepted; trying on");
                }
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        pause = Duration::from_millis(10);
        let connection = Connection {
            filter: filter.clone(),
            counters: counters.clone(),
            tls: tls.clone(),
            watcher: graceful.watcher(),
        };
        let (ends, cut) = (shutdown.clone(), cut.clone());
        tasks.spawn(async move {
            if let Some(Err(error)) = cut.run_until_cancelled(connection.speak(stream, ends)).await {
                tracing::debug!("a connection ended: {error}");
            }
            drop(permit);
        });
    }
    drop(listener);
    tasks.close();
    let drained = async {
        graceful.shutdown().await;
        tasks.wait().await;
    };
    if tokio::time::timeout(DRAIN_WITHIN, drained).await.is_err() {
        tracing::debug!("connections were cut that did not end within {} s", DRAIN_WITHIN.as_secs());
        cut.cancel();
        tasks.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

struct Connection<F> {
    filter: F,
    counters: Arc<Counters>,
    tls: Option<TlsReload>,
    watcher: hyper_util::server::graceful::Watcher,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl<F> Connection<F>
where
    F: Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static,
{
    async fn speak(self, stream: TcpStream, ends: CancellationToken) -> Result<(), Failure> {
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        give_up_on_the_dead(&stream)?;
        let Some(tls) = &self.tls else {
            return self.serve(stream, Link { peer, local, scheme: Scheme::Http }).await;
        };
        let handshake = tokio::time::timeout(HANDSHAKE_WITHIN, tls.acceptor().accept(stream));
        let Some(handshake) = ends.run_until_cancelled(handshake).await else { return Ok(()) };
        match handshake {
            Ok(Ok(stream)) => self.serve(stream, Link { peer, local, scheme: Scheme::Https }).await,
            Ok(Err(error)) => {
                self.counters.count(Counter::TlsErrors);
                Err(format!("{peer}: TLS handshake: {error}").into())
            }
            Err(_) => {
                self.counters.count(Counter::TlsErrors);
                Err(format!("{peer}: TLS handshake took too long").into())
            }
        }
    }

    async fn serve<S>(self, stream: S, link: Link) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let routes = TowerToHyperService::new(warp::service(self.filter));
        let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            let uri = request.uri().clone();
            request.extensions_mut().insert(Arrival { link, uri });
            routes.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        Ok(self.watcher.watch(connection).await?)
    }
}

/// A client that is gone without a word must not hold its connection for ever.
fn give_up_on_the_dead(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let every = TcpKeepalive::new().with_time(UNACKNOWLEDGED).with_interval(UNACKNOWLEDGED / 3);
    socket.set_tcp_keepalive(&every)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}
