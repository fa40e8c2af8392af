//! The proxy's listener.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Proxy;
use super::stall::Patient;

/// The most connections of clients at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 8192;
/// How long a client may take to send a request's head, or to stay idle between two.
const HEAD_WITHIN: Duration = Duration::from_mins(1);
/// The longest request head, bytes.
const MAX_HEAD: usize = 64 * 1024;
/// How long a client may take nothing of an answer.
const STALLED: Duration = Duration::from_mins(1);
/// The pause after a failure to accept, e.g. for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// How long clients may take to read that their request was given up.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Serves until `shutdown`; then what was accepted goes on for `grace`. What is left is answered that it was given up.
pub(crate) async fn serve(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    shutdown: CancellationToken,
    grace: Duration,
) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let graceful = GracefulShutdown::new();
    let begin = |stream: TcpStream, permit| {
        let (proxy, watcher, cut) = (proxy.clone(), graceful.watcher(), cut.clone());
        tasks.spawn(async move {
            let Ok(peer) = stream.peer_addr() else { return };
            // Answers are written whole or as they come; neither waits for more.
            let _ = stream.set_nodelay(true);
            let service = service_fn(move |request| {
                let proxy = proxy.clone();
                async move { Ok::<_, Infallible>(proxy.answer(request, peer.ip()).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(Patient::new(stream, STALLED)), service);
            if let Some(Err(error)) = cut.run_until_cancelled(watcher.watch(connection)).await {
                tracing::trace!(%peer, %error, "a client's connection ended");
            }
            drop(permit);
        });
    };
    loop {
        let permit = connections.clone().acquire_owned();
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = async {
                let permit = permit.await.expect("the semaphore is never closed");
                listener.accept().await.map(|(stream, _)| (stream, permit))
            } => accepted,
        };
        match accepted {
            Ok((stream, permit)) => begin(stream, permit),
            Err(error) => {
                tracing::debug!(%error, "connections cannot be accepted; trying on");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // Whose connection the kernel accepted for us already is served too.
    while let Ok(permit) = connections.clone().try_acquire_owned()
        && let Some(Ok((stream, _))) = listener.accept().now_or_never()
    {
        begin(stream, permit);
    }
    drop(listener);
    tasks.close();
    let mut drained = std::pin::pin!(async {
        graceful.shutdown().await;
        tasks.wait().await;
    });
    if timeout(grace, drained.as_mut()).await.is_err() {
        tracing::warn!("requests were given up that did not end within {} s", grace.as_secs_f64());
        proxy.give_up();
        if timeout(LAST_WORDS, drained).await.is_err() {
            cut.cancel();
            tasks.wait().await;
        }
    }
}
