//! The demo's image and containers: made, looked at, removed.

use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use crate::cmd::{Failure, own_image};
use crate::docker::{AnonymousVolumes, ContainerActuator, ContainerBuilder, ContainerSource, Engine};
use crate::model::{ContainerFacts, ContainerId, ContainerName, RunState};

/// Every name of the demo begins with it.
const PREFIX: &str = "dockhealth-demo-";
/// The names after it.
const CAST: [&str; 5] = ["dummy-1", "dummy-2", "dummy-3", "crash-loop", "bystander"];
/// What its containers carry, and nobody else's: names alone may be anyone's. scripts/down knows it too.
const LABEL: (&str, &str) = ("dockhealth.demo", "cast");
const IMAGE: (&str, &str) = ("dockhealth", "demo");

/// The demo's part of the engine.
pub(super) struct Stage {
    pub(super) engine: Engine,
}

/// The full name of one of the cast.
pub(super) fn full(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// The cast's own word for a full name; `None` for everybody else's.
pub(super) fn short(name: &ContainerName) -> Option<&str> {
    name.as_str().strip_prefix(PREFIX).filter(|short| CAST.contains(short))
}

impl Stage {
    /// Makes an image from scratch that holds this very program, which is static.
    pub(super) async fn make_image(&self) -> Result<(), Failure> {
        own_image::make(&self.engine, IMAGE).await
    }

    /// Makes and starts the cast.
    pub(super) async fn raise(&self) -> Result<(), Failure> {
        let listed = json!({
            "dockhealth.monitor": "true", "dockhealth.on-stop": "restart", LABEL.0: LABEL.1,
        });
        let nobodys = json!({ LABEL.0: LABEL.1 });
        let plain = json!({});
        let net_admin = json!({ "CapAdd": ["NET_ADMIN"] });
        for (name, labels, command, host) in [
            ("dummy-1", &listed, &["dummy"][..], &plain),
            ("dummy-2", &listed, &["dummy"], &net_admin),
            ("dummy-3", &listed, &["dummy", "--loss", "8"], &net_admin),
            ("crash-loop", &listed, &["dummy", "--every", "never"], &plain),
            ("bystander", &nobodys, &["dummy"], &plain),
        ] {
            let body = json!({
                "Image": format!("{}:{}", IMAGE.0, IMAGE.1), "Cmd": command, "Labels": labels, "HostConfig": host,
            });
            self.start(name, &body).await?;
        }
        self.engine.stop(&self.id("bystander").await?, None).await?;
        Ok(())
    }

    async fn start(&self, name: &str, body: &Value) -> Result<(), Failure> {
        let name = ContainerName::new(full(name)).expect("made of valid parts");
        let id = self.engine.create(&name, body).await?;
        Ok(self.engine.start(&id).await?)
    }

    /// Removes what a demo made, this one or an earlier one.
    pub(super) async fn clear(&self) -> Result<(), Failure> {
        for facts in self.engine.list().await?.iter().filter(|facts| is_cast(facts)) {
            self.engine.remove(&facts.id, AnonymousVolumes::Remove).await?;
        }
        Ok(self.engine.remove_image(IMAGE.0, IMAGE.1).await?)
    }

    /// Fails where somebody else's container has a name of the cast's: it would be taken for one of them.
    pub(super) async fn refuse_strangers(&self) -> Result<(), Failure> {
        let all = self.engine.list().await?;
        let Some(name) = stranger(&all) else { return Ok(()) };
        Err(Failure::Failed(format!(
            "there is a container {name} that no demo made (it lacks the label {}={}): rename or remove it first",
            LABEL.0, LABEL.1
        )))
    }

    /// The id of one of the cast.
    pub(super) async fn id(&self, name: &str) -> Result<ContainerId, Failure> {
        Ok(self.engine.inspect(&full(name)).await?.id)
    }

    /// Whether one of the cast runs.
    pub(super) async fn runs(&self, name: &str) -> Result<bool, Failure> {
        Ok(self.engine.inspect(&full(name)).await?.state == RunState::Running)
    }

    /// Stops one of these at random, of those that run; which.
    pub(super) async fn stop_one_of(&self, names: &[&'static str]) -> Result<Option<&'static str>, Failure> {
        let mut running = Vec::new();
        for name in names {
            if self.runs(name).await? {
                running.push(*name);
            }
        }
        let Some(victim) = running.choose(&mut rand::rng()).copied() else { return Ok(None) };
        self.engine.stop(&self.id(victim).await?, None).await?;
        Ok(Some(victim))
    }
}

/// Whether a demo made it.
fn is_cast(facts: &ContainerFacts) -> bool {
    facts.labels.get(LABEL.0).is_some_and(|value| value == LABEL.1)
}

/// The first that is called like the cast and is none of it.
fn stranger(all: &[ContainerFacts]) -> Option<&ContainerName> {
    all.iter().find(|facts| short(&facts.name).is_some() && !is_cast(facts)).map(|facts| &facts.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_casts_own_names_are_the_casts() {
        let of = |name: &str| short(&ContainerName::new(name).unwrap()).map(str::to_owned);
        for name in CAST {
            assert_eq!(of(&full(name)).as_deref(), Some(name));
        }
        for other in ["dummy-1", "dockhealth-demo-", "dockhealth-demo-dummy-1-1", "dockhealth-demo-web"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
