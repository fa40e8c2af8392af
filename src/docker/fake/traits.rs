//! The fake engine behind the real one's traits.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Behaviour, Call, FakeEngine, World};
use crate::docker::{
    AnonymousVolumes, ContainerActuator, ContainerBuilder, ContainerDisturber, ContainerSource, EngineError,
    EngineEvent, EngineInfo, EngineMachine, convert,
};
use crate::model::{ContainerFacts, ContainerId, ContainerName, EngineId, Timestamp};

impl FakeEngine {
    /// Records `call`, behaves as scripted, and otherwise does `act`.
    async fn called<T>(
        &self,
        call: Call,
        act: impl FnOnce(&mut World) -> Result<T, EngineError> + Send,
    ) -> Result<T, EngineError> {
        const DEADLINE: Duration = Duration::from_mins(1);
        let op = call.op();
        let (behaviour, halted) = {
            let mut world = self.world();
            if !world.reachable {
                return Err(World::unreachable());
            }
            let (gone, last) = (world.halt_after == Some(0), world.halt_after == Some(1) && call.changes());
            if call.changes() {
                world.halt_after = world.halt_after.map(|left| left.saturating_sub(1));
            }
            if !gone {
                world.calls.push(call);
            }
            let scripted = world.behaviours.iter().position(|(kind, _)| *kind == op);
            (
                scripted.and_then(|at| world.behaviours.remove(at)).map(|(_, behaviour)| behaviour),
                (gone, last),
            )
        };
        if halted.0 {
            return std::future::pending().await;
        }
        let outcome = match behaviour {
            Some(Behaviour::Fail(error)) => Err(error),
            Some(Behaviour::Hang) => {
                tokio::time::sleep(DEADLINE).await;
                Err(EngineError::TimedOut(DEADLINE, format!("{op:?}")))
            }
            Some(Behaviour::ActThenFail(error)) => act(&mut self.world()).and(Err(error)),
            Some(Behaviour::Slow(span)) => {
                tokio::time::sleep(span).await;
                act(&mut self.world())
            }
            None => act(&mut self.world()),
        };
        if halted.1 {
            return std::future::pending().await;
        }
        outcome
    }
}

#[async_trait]
impl ContainerSource for FakeEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.called(Call::Info, |_| {
            let id = EngineId::new("FAKE:ENGINE").expect("printable");
            Ok(EngineInfo {
                id,
                name: "fake-host".to_owned(),
                version: "20.10.24".to_owned(),
                machine: EngineMachine::default(),
            })
        })
        .await
    }

    async fn list(&self) -> Result<Vec<ContainerFacts>, EngineError> {
        self.called(Call::List, World::list).await
    }

    async fn relist(&self) -> Result<Vec<ContainerFacts>, EngineError> {
        self.called(Call::Relist, World::list).await
    }

    async fn inspect(&self, id: &str) -> Result<ContainerFacts, EngineError> {
        convert::facts(&self.inspect_raw(id).await?)
    }

    async fn events(
        &self,
        since: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError> {
        self.called(Call::Events, |world| {
            let (sender, receiver) = mpsc::unbounded_channel();
            world.listeners.push(sender);
            let log = world.log.iter().filter(|event| since.is_some_and(|since| event.time >= since));
            let past: Vec<_> = log.cloned().map(Ok).collect();
            let live =
                stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
            Ok(stream::iter(past).chain(live).boxed())
        })
        .await
    }
}

#[async_trait]
impl ContainerActuator for FakeEngine {
    async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.called(Call::Start(id.clone()), |world| world.start(id)).await
    }

    async fn restart(&self, id: &ContainerId, stop_timeout: Option<Duration>) -> Result<(), EngineError> {
        self.called(Call::Restart(id.clone(), stop_timeout), |world| world.restart(id)).await
    }

    async fn stop(&self, id: &ContainerId, stop_timeout: Option<Duration>) -> Result<(), EngineError> {
        self.called(Call::Stop(id.clone(), stop_timeout), |world| world.stop(id)).await
    }
}

#[async_trait]
impl ContainerDisturber for FakeEngine {
    async fn kill(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.called(Call::Kill(id.clone()), |world| world.kill(id)).await
    }

    async fn pause(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.called(Call::Pause(id.clone()), |world| world.freeze(id, "running", "paused")).await
    }

    async fn unpause(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.called(Call::Unpause(id.clone()), |world| world.freeze(id, "paused", "running")).await
    }
}

#[async_trait]
impl ContainerBuilder for FakeEngine {
    async fn inspect_raw(&self, id: &str) -> Result<Value, EngineError> {
        self.called(Call::Inspect(id.to_owned()), |world| Ok(world.find(id)?.describe())).await
    }

    async fn image_id(&self, reference: &str) -> Result<Option<String>, EngineError> {
        self.called(Call::ImageId(reference.to_owned()), |world| Ok(world.image_id(reference))).await
    }

    async fn rename(&self, id: &ContainerId, name: &ContainerName) -> Result<(), EngineError> {
        self.called(Call::Rename(id.clone(), name.clone()), |world| world.rename(id, name)).await
    }

    async fn create(&self, name: &ContainerName, body: &Value) -> Result<ContainerId, EngineError> {
        self.called(Call::Create(name.clone()), |world| world.create(name, body)).await
    }

    async fn connect(&self, network: &str, id: &ContainerId, endpoint: &Value) -> Result<(), EngineError> {
        self.called(Call::Connect(network.to_owned(), id.clone()), |world| {
            let container = world.find(id.as_str())?;
            container.networks.insert(network.to_owned(), endpoint.clone());
            if container.runs() {
                world.attach(id);
            }
            Ok(())
        })
        .await
    }

    async fn disconnect(&self, network: &str, id: &ContainerId) -> Result<(), EngineError> {
        self.called(Call::Disconnect(network.to_owned(), id.clone()), |world| {
            let container = world.find(id.as_str())?;
            container.networks.remove(network);
            container.addresses.remove(network);
            Ok(())
        })
        .await
    }

    async fn remove(&self, id: &ContainerId, volumes: AnonymousVolumes) -> Result<(), EngineError> {
        self.called(Call::Remove(id.clone(), volumes), |world| {
            world.remove(id);
            Ok(())
        })
        .await
    }
}
