//! The real engine.
//!
//! Requests carry no API version: engines from 20.10 on answer them with their newest, while every fixed version is
//! refused by some. The docker-api crate makes those calls whose answers it reads right on all of them; the rest goes
//! through [`raw`], each with its reason.

mod build;
mod list;
mod network;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use docker_api::Docker;
use docker_api::opts::{
    ContainerDisconnectionOpts, ContainerRemoveOpts, ContainerRestartOpts, ContainerStopOpts,
};
use futures_util::stream::BoxStream;
use serde_json::{Value, json};

use self::list::{Read, Reading};
use super::raw::{self, Ask, encode, within};
use super::{
    AddressError, AnonymousVolumes, ContainerActuator, ContainerBuilder, ContainerDisturber, ContainerSource,
    EngineAddress, EngineError, EngineEvent, EngineInfo, convert, events,
};
use crate::model::{ContainerFacts, ContainerId, ContainerName, Timestamp, clean};

/// For what the engine answers from memory.
const READ: Duration = Duration::from_secs(10);
/// For adding up what a container wrote.
const SIZES: Duration = Duration::from_mins(1);
/// For starting, creating, connecting and removing; also on top of a container's own time to stop.
const CHANGE: Duration = Duration::from_mins(1);
/// For an image, which is unpacked on the way.
const IMPORT: Duration = Duration::from_mins(10);
/// The engine's own time to stop where the container sets none.
const DEFAULT_STOP: Duration = Duration::from_secs(10);

/// A Docker engine. Cheap to clone; connects anew whenever that is needed, so it outlives the engine's restarts.
#[derive(Debug, Clone)]
pub struct Engine {
    address: EngineAddress,
    docker: Docker,
    /// What each container was when it was last read.
    last_read: Arc<Mutex<HashMap<ContainerId, Read>>>,
}

impl Engine {
    /// Speaks to nobody yet: whether an engine answers shows at the first call.
    pub fn connect(address: &EngineAddress) -> Result<Self, AddressError> {
        let docker = Docker::new(address.to_string())
            .map_err(|_| AddressError::Malformed(clean(&address.to_string(), 120)))?;
        Ok(Self { address: address.clone(), docker, last_read: Arc::default() })
    }

    /// Where it listens.
    pub fn address(&self) -> &EngineAddress {
        &self.address
    }

    /// Whether it answers at all.
    pub async fn ping(&self) -> Result<(), EngineError> {
        raw::bytes(&self.address, Ask::get("/_ping", READ)).await.map(drop)
    }

    /// Its versions, as it tells them.
    pub async fn version(&self) -> Result<Value, EngineError> {
        self.read("/version").await
    }

    /// What it answers to `docker info`.
    pub async fn info_raw(&self) -> Result<Value, EngineError> {
        self.read("/info").await
    }

    /// One sample of the container's counters, without the second one that percentages would take a second for.
    pub async fn stats(&self, id: &str) -> Result<Value, EngineError> {
        self.read(&format!("/containers/{}/stats?stream=false&one-shot=true", encode(id))).await
    }

    /// What the container has written into its own layer, and that with its image, bytes. The engine adds up files for
    /// it, which takes long when there are many.
    pub async fn sizes(&self, id: &str) -> Result<(Option<u64>, Option<u64>), EngineError> {
        let target = format!("/containers/{}/json?size=true", encode(id));
        let answer = raw::json(&self.address, Ask::get(target, SIZES)).await?;
        let bytes = |pointer| answer.pointer(pointer).and_then(Value::as_u64);
        Ok((bytes("/SizeRw"), bytes("/SizeRootFs")))
    }

    /// Runs a command in a running container and does not wait for it.
    pub async fn exec_detached(&self, id: &ContainerId, command: &[&str]) -> Result<(), EngineError> {
        let target = format!("/containers/{}/exec", encode(id.as_str()));
        let body = json!({ "Cmd": command, "AttachStdout": false, "AttachStderr": false });
        let answer = raw::json(&self.address, Ask::post(target, CHANGE).json(&body)).await?;
        let exec =
            convert::text(&answer, "/Id").ok_or_else(|| EngineError::Malformed("no exec id".into()))?;
        let target = format!("/exec/{}/start", encode(exec));
        raw::bytes(&self.address, Ask::post(target, CHANGE).json(&json!({ "Detach": true }))).await.map(drop)
    }

    /// Makes an image `repository:tag` of a root file system in a tar archive. `changes` are Dockerfile
    /// instructions, for example `ENTRYPOINT ["/dockhealth"]`. Returns the image's id.
    pub async fn import_image(
        &self,
        archive: Bytes,
        repository: &str,
        tag: &str,
        changes: &[&str],
    ) -> Result<String, EngineError> {
        let mut target = format!("/images/create?fromSrc=-&repo={}&tag={}", encode(repository), encode(tag));
        for change in changes {
            target.push_str("&changes=");
            target.push_str(&encode(change));
        }
        let body = raw::bytes(&self.address, Ask::post(target, IMPORT).tar(archive)).await?;
        // It answers before it knows how that ends, so the outcome is in the last line.
        let lines = serde_json::Deserializer::from_slice(&body).into_iter::<Value>().filter_map(Result::ok);
        let mut id = None;
        for line in lines {
            if let Some(error) = convert::text(&line, "/error") {
                return Err(raw::refusal(500, error));
            }
            id = convert::text(&line, "/status").map(str::to_owned).or(id);
        }
        id.ok_or_else(|| EngineError::Malformed("image import without an id".to_owned()))
    }

    /// Removes the image `repository:tag`, or just that name where it has others. One that is not there, or that a
    /// container uses, is no error: the latter stays.
    pub async fn remove_image(&self, repository: &str, tag: &str) -> Result<(), EngineError> {
        let target = format!("/images/{}:{}", encode(repository), encode(tag));
        match raw::bytes(&self.address, Ask::delete(target, CHANGE)).await {
            Ok(_) => Ok(()),
            Err(EngineError::Refused(words)) => {
                let words = words.to_ascii_lowercase();
                let harmless = words.contains("no such image") || words.contains("conflict");
                if harmless { Ok(()) } else { Err(EngineError::Refused(words)) }
            }
            Err(error) => Err(error),
        }
    }

    async fn read(&self, target: &str) -> Result<Value, EngineError> {
        raw::json(&self.address, Ask::get(target, READ)).await
    }

    /// How long the engine lets the container stop by itself, with our own margin.
    async fn stop_deadline(
        &self,
        id: &ContainerId,
        stop_timeout: Option<Duration>,
    ) -> Result<Duration, EngineError> {
        let stop = match stop_timeout {
            Some(stop) => stop,
            None => {
                match self.inspect_raw(id.as_str()).await?.pointer("/Config/StopTimeout").map(Value::as_i64) {
                    // A negative one means for ever; ours must end, and the engine goes on regardless.
                    Some(Some(seconds)) => Duration::from_secs(u64::try_from(seconds).unwrap_or(3600)),
                    _ => DEFAULT_STOP,
                }
            }
        };
        Ok(stop.saturating_add(CHANGE))
    }
}

#[async_trait]
impl ContainerSource for Engine {
    /// Raw: the crate's model of `/info` refuses what newer engines write.
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        convert::info(&self.info_raw().await?)
    }

    async fn list(&self) -> Result<Vec<ContainerFacts>, EngineError> {
        self.all(Reading::All).await
    }

    async fn relist(&self) -> Result<Vec<ContainerFacts>, EngineError> {
        self.all(Reading::News).await
    }

    async fn inspect(&self, id: &str) -> Result<ContainerFacts, EngineError> {
        self.read_facts(id).await
    }

    /// Raw: the crate's stream begins only when it is first polled, knows whole seconds, and ends at the first event
    /// that it cannot read.
    async fn events(
        &self,
        since: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError> {
        let since = match since {
            Some(since) => since,
            // The engine sends the head of its answer a moment before it subscribes us. It keeps its last events, so
            // naming the present closes that gap; by its own clock, for it may be elsewhere.
            None => convert::time(&self.info_raw().await?, "/SystemTime").unwrap_or_else(Timestamp::now),
        };
        let body = raw::open(&self.address, Ask::get(events::target(since), READ)).await?;
        Ok(events::read(body))
    }
}

#[async_trait]
impl ContainerActuator for Engine {
    async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
        let container = self.docker.containers().get(id.as_str());
        call(CHANGE, "start", unless_already(container.start())).await
    }

    async fn restart(&self, id: &ContainerId, stop_timeout: Option<Duration>) -> Result<(), EngineError> {
        let deadline = self.stop_deadline(id, stop_timeout).await?;
        let mut options = ContainerRestartOpts::builder();
        if let Some(stop) = stop_timeout {
            options = options.wait(whole_seconds(stop));
        }
        let container = self.docker.containers().get(id.as_str());
        call(deadline, "restart", container.restart(&options.build())).await
    }

    async fn stop(&self, id: &ContainerId, stop_timeout: Option<Duration>) -> Result<(), EngineError> {
        let deadline = self.stop_deadline(id, stop_timeout).await?;
        let mut options = ContainerStopOpts::builder();
        if let Some(stop) = stop_timeout {
            options = options.wait(whole_seconds(stop));
        }
        let container = self.docker.containers().get(id.as_str());
        call(deadline, "stop", unless_already(container.stop(&options.build()))).await
    }
}

#[async_trait]
impl ContainerDisturber for Engine {
    async fn kill(&self, id: &ContainerId) -> Result<(), EngineError> {
        let container = self.docker.containers().get(id.as_str());
        so_already(call(CHANGE, "kill", container.kill(None)).await, "is not running")
    }

    async fn pause(&self, id: &ContainerId) -> Result<(), EngineError> {
        let container = self.docker.containers().get(id.as_str());
        so_already(call(CHANGE, "pause", container.pause()).await, "already paused")
    }

    async fn unpause(&self, id: &ContainerId) -> Result<(), EngineError> {
        let container = self.docker.containers().get(id.as_str());
        so_already(call(CHANGE, "unpause", container.unpause()).await, "is not paused")
    }
}

#[async_trait]
impl ContainerBuilder for Engine {
    /// Raw: the crate's models know neither fields of newer engines nor every null of older ones.
    async fn inspect_raw(&self, id: &str) -> Result<Value, EngineError> {
        self.read(&format!("/containers/{}/json", encode(id))).await
    }

    /// Raw: `images` of the crate cannot be read on newer engines.
    async fn image_id(&self, reference: &str) -> Result<Option<String>, EngineError> {
        match self.read(&format!("/images/{}/json", encode(reference))).await {
            Ok(image) => Ok(convert::text(&image, "/Id").map(str::to_owned)),
            Err(EngineError::Refused(words)) if words.to_ascii_lowercase().contains("no such image") => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn rename(&self, id: &ContainerId, name: &ContainerName) -> Result<(), EngineError> {
        let container = self.docker.containers().get(id.as_str());
        call(CHANGE, "rename", container.rename(name.as_str())).await
    }

    /// Raw: the crate's options are a part of what a container may have.
    async fn create(&self, name: &ContainerName, body: &Value) -> Result<ContainerId, EngineError> {
        let target = format!("/containers/create?name={}", encode(name.as_str()));
        let answer = raw::json(&self.address, Ask::post(target, CHANGE).json(body)).await?;
        let id = convert::text(&answer, "/Id").unwrap_or_default();
        ContainerId::new(id).map_err(|error| EngineError::Malformed(error.to_string()))
    }

    /// Raw: so is its endpoint configuration.
    async fn connect(&self, network: &str, id: &ContainerId, endpoint: &Value) -> Result<(), EngineError> {
        let target = format!("/networks/{}/connect", encode(network));
        let body = json!({ "Container": id.as_str(), "EndpointConfig": endpoint });
        raw::bytes(&self.address, Ask::post(target, CHANGE).json(&body)).await.map(drop)
    }

    async fn disconnect(&self, network: &str, id: &ContainerId) -> Result<(), EngineError> {
        let network = self.docker.networks().get(encode(network));
        let options = ContainerDisconnectionOpts::builder(id.as_str()).build();
        call(CHANGE, "disconnect", network.disconnect(&options)).await
    }

    async fn remove(&self, id: &ContainerId, volumes: AnonymousVolumes) -> Result<(), EngineError> {
        let anonymous = volumes == AnonymousVolumes::Remove;
        let options = ContainerRemoveOpts::builder().force(true).volumes(anonymous).build();
        let container = self.docker.containers().get(id.as_str());
        match call(CHANGE, "remove", container.remove(&options)).await {
            Ok(_) | Err(EngineError::NoSuchContainer(_)) => Ok(()),
            // Someone else is at it; the caller wants to know when it is gone. Raw: the crate lacks the condition.
            Err(EngineError::Refused(words)) if words.contains("already in progress") => {
                let target = format!("/containers/{id}/wait?condition=removed");
                match raw::bytes(&self.address, Ask::post(target, CHANGE)).await {
                    Ok(_) | Err(EngineError::NoSuchContainer(_)) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// What a call of the docker-api crate comes to within `deadline`.
async fn call<T>(
    deadline: Duration,
    what: &str,
    work: impl Future<Output = docker_api::Result<T>>,
) -> Result<T, EngineError> {
    within(deadline, what, async { work.await.map_err(explained) }).await
}

/// With "304 Not Modified", which says that nothing had to be done, as the success it is.
async fn unless_already(work: impl Future<Output = docker_api::Result<()>>) -> docker_api::Result<()> {
    match work.await {
        Err(docker_api::Error::Fault { code, .. }) if code.as_u16() == 304 => Ok(()),
        outcome => outcome,
    }
}

/// With the refusal that holds `words`, which say that nothing had to be done, as the success it is.
fn so_already(outcome: Result<(), EngineError>, words: &str) -> Result<(), EngineError> {
    match outcome {
        Err(EngineError::Refused(said)) if said.to_ascii_lowercase().contains(words) => Ok(()),
        outcome => outcome,
    }
}

fn explained(error: docker_api::Error) -> EngineError {
    use docker_api::Error as Api;
    use docker_api::conn::Error as Conn;
    match error {
        Api::Fault { code, message } | Api::Error(Conn::Fault { code, message }) => {
            raw::refusal(code.as_u16(), &message)
        }
        Api::SerdeJsonError(error) | Api::Error(Conn::SerdeJsonError(error)) => {
            EngineError::Malformed(clean(&error.to_string(), 200))
        }
        Api::Error(Conn::Hyper(error)) | Api::Hyper(error) => raw::lost(error),
        Api::Error(Conn::IO(error)) | Api::IO(error) => raw::lost(error),
        other => EngineError::Malformed(clean(&other.to_string(), 200)),
    }
}

/// The engine takes whole seconds; a part of one counts as one, for zero means at once.
fn whole_seconds(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs() + u64::from(span.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests;
