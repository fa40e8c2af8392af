//! What the long-running programs share: the log, the runtime, and an orderly end.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::config::LogConfig;
use super::logging;

/// Threads that run tasks: what a host does is waiting, and each thread costs memory.
const THREADS: usize = 2;

/// Begins the log and runs `program` until it ends. SIGTERM and SIGINT cancel the token it is given.
pub(super) fn serve<P, F>(log: &LogConfig, program: P) -> Result<(), Failure>
where
    P: FnOnce(CancellationToken) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    logging::init(log)?;
    block_on(program)
}

/// The same without a log, for commands that speak to a person.
pub(super) fn block_on<P, F>(program: P) -> Result<(), Failure>
where
    P: FnOnce(CancellationToken) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime does not start: {error}")))?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let cancel = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            cancel.cancel();
        });
        program(shutdown).await
    })
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::Failed(format!("signals cannot be handled: {error}")))
}
