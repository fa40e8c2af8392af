//! What the programs share: the runtime, the log, and an orderly end.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::config::{LogConfig, RuntimeConfig};
use super::{Failure, logging, pages};

/// Runs `future` on this thread, to its end.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(not_started)?.block_on(future)
}

/// Begins the log and runs a server until it ends; SIGTERM and SIGINT cancel the token it is given.
pub(super) fn serve<F>(
    log: &LogConfig,
    runtime: RuntimeConfig,
    server: impl FnOnce(CancellationToken) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    logging::init(log)?;
    let mut builder = match runtime.threads {
        // The only one is this one: no work is handed from thread to thread.
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(runtime.threads).enable_all().build().map_err(not_started)?;
    runtime.block_on(async {
        let told = until_told_to_stop()?;
        tokio::spawn(pages::give_back());
        server(told).await
    })
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn not_started(error: std::io::Error) -> Failure {
    Failure::Failed(format!("the runtime does not start: {error}"))
}

/// A token that is cancelled by SIGTERM or SIGINT; from then on they end nothing by themselves.
pub(super) fn until_told_to_stop() -> Result<CancellationToken, Failure> {
    let failed = |error| Failure::Failed(format!("signals cannot be heard: {error}"));
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    let token = CancellationToken::new();
    let told = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        told.cancel();
    });
    Ok(token)
}
