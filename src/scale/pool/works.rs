//! What is done to one container: made and waited for, looked at, removed. Each runs as a task of its own and tells the owner
//! what came of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::dispatch::MemberId;
use super::runner::Happened;
use super::spec::{POOL_LABEL, PoolConfig};
use crate::docker::{AnonymousVolumes, EngineError, PoolEngine};
use crate::model::{ContainerFacts, ContainerId, RunState, clean};

/// How long one readiness check may take.
const CHECK_WITHIN: Duration = Duration::from_secs(2);
/// The pause between two of them: it doubles from the first to the last of these.
const CHECK_EVERY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How often a removal is tried; what is left then is found by the next look at the engine.
const REMOVALS: u32 = 5;
/// The longest part of the engine's words that is passed on, characters.
const LONGEST: usize = 200;

/// What the tasks work with.
pub(super) struct Hands {
    pub(super) engine: Arc<dyn PoolEngine>,
    pub(super) config: PoolConfig,
    pub(super) tell: mpsc::Sender<Happened>,
}

impl Hands {
    /// Makes, starts and waits for a container. `give_up` ends the waiting.
    pub(super) async fn bring_up(
        self: Arc<Self>,
        member: MemberId,
        slot: u32,
        fingerprint: Arc<str>,
        give_up: CancellationToken,
    ) {
        let id = match self.create(slot, &fingerprint).await {
            Ok(id) => id,
            Err(error) => {
                self.tell(Happened::Failed(member, clean(&error.to_string(), LONGEST))).await;
                return self.tell(Happened::Removed(member)).await;
            }
        };
        self.tell(Happened::Created(member, id.clone())).await;
        if !give_up.is_cancelled() {
            match self.engine.start(&id).await {
                Ok(()) => match self.engine.inspect(id.as_str()).await {
                    Ok(facts) => {
                        if self.wait_for(member, slot, facts, &give_up).await {
                            return;
                        }
                    }
                    Err(error) => self.failed(member, &error).await,
                },
                Err(error) => self.failed(member, &error).await,
            }
        }
        self.take_down(member, id).await;
    }

    /// Waits for a container that runs; false when it is to be removed.
    pub(super) async fn wait_for(
        &self,
        member: MemberId,
        slot: u32,
        facts: ContainerFacts,
        give_up: &CancellationToken,
    ) -> bool {
        let Some(address) = self.config.address(slot, &facts) else {
            self.tell(Happened::Failed(member, "it runs and has no address".to_owned())).await;
            return false;
        };
        let ready = give_up.run_until_cancelled(self.until_ready(address)).await;
        match ready {
            Some(Ok(())) => {
                self.tell(Happened::Ready(member, Box::new(facts), address)).await;
                true
            }
            Some(Err(why)) => {
                let within = self.config.ready_timeout().as_secs_f64();
                self.tell(Happened::Failed(member, format!("not ready within {within} s: {why}"))).await;
                false
            }
            None => false,
        }
    }

    /// Asks again and again; at last why it is not ready.
    pub(super) async fn until_ready(&self, address: SocketAddr) -> Result<(), String> {
        let deadline = Instant::now() + self.config.ready_timeout();
        let mut pause = CHECK_EVERY.0;
        loop {
            let path = self.config.spec.ready_path.as_deref();
            let checked = timeout(CHECK_WITHIN, check(address, path)).await;
            match checked.unwrap_or_else(|_| Err("it does not answer".to_owned())) {
                Ok(()) => return Ok(()),
                Err(why) if Instant::now() + pause >= deadline => return Err(why),
                Err(_) => sleep(pause).await,
            }
            pause = (pause * 2).min(CHECK_EVERY.1);
        }
    }

    /// Stops and removes a container.
    pub(super) async fn take_down(&self, member: MemberId, id: ContainerId) {
        let mut pause = Duration::from_secs(1);
        for left in (0..REMOVALS).rev() {
            // Its end may be orderly; where it can't be asked for, it is removed all the same.
            let stopped = self.engine.stop(&id, Some(self.config.stop_timeout())).await;
            let removed = match stopped {
                Err(EngineError::NoSuchContainer(_)) => Ok(()),
                _ => self.engine.remove(&id, AnonymousVolumes::Remove).await,
            };
            match removed {
                Ok(()) | Err(EngineError::NoSuchContainer(_)) => break,
                Err(error) if left == 0 => {
                    tracing::warn!(container = id.short(), %error, "a container of the pool cannot be removed");
                }
                Err(_) => sleep(pause).await,
            }
            pause *= 2;
        }
        self.tell(Happened::Removed(member)).await;
    }

    /// Creates it; what is left of an earlier one of that name goes first, if it is ours.
    async fn create(&self, slot: u32, fingerprint: &str) -> Result<ContainerId, EngineError> {
        let (name, body) = (self.config.container_name(slot), self.config.body(slot, fingerprint));
        match self.engine.create(&name, &body).await {
            Err(EngineError::Refused(words)) if words.contains("already in use") => {
                let old = self.engine.inspect(name.as_str()).await;
                let ours = |old: &ContainerFacts| {
                    old.labels.get(POOL_LABEL).is_some_and(|pool| *pool == *self.config.name.as_str())
                        && old.state != RunState::Running
                };
                match old {
                    Ok(old) if ours(&old) => self.engine.remove(&old.id, AnonymousVolumes::Remove).await?,
                    Err(EngineError::NoSuchContainer(_)) => {}
                    _ => return Err(EngineError::Refused(words)),
                }
                self.engine.create(&name, &body).await
            }
            created => created,
        }
    }

    async fn failed(&self, member: MemberId, error: &EngineError) {
        self.tell(Happened::Failed(member, clean(&error.to_string(), LONGEST))).await;
    }

    /// Tells the owner; without one nobody wants to know.
    pub(super) async fn tell(&self, happened: Happened) {
        let _ = self.tell.send(happened).await;
    }
}

/// Whether it accepts a connection and, with a path, answers a request there with less than 500.
async fn check(address: SocketAddr, path: Option<&str>) -> Result<(), String> {
    let refused = |error: std::io::Error| format!("it accepts no connection: {error}");
    let stream = TcpStream::connect(address).await.map_err(refused)?;
    let Some(path) = path else { return Ok(()) };
    let broke = |error: hyper::Error| format!("it does not answer: {error}");
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(broke)?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::USER_AGENT, concat!("dockhealth/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(broke);
    connection.abort();
    let status = answer?.status();
    if status.is_server_error() { Err(format!("it answers {status}")) } else { Ok(()) }
}
