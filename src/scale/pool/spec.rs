//! What a pool's containers are made from, and how they are known again. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::model::{ContainerFacts, ContainerName, PoolName, PoolSpec, clean};
use crate::scale::control::{Bounds, ControlSettings, ControllerKind, Micros};

/// Whose pool a container is of.
pub const POOL_LABEL: &str = ContainerFacts::POOL_LABEL;
/// Its number there.
const SLOT_LABEL: &str = "dockhealth.pool.slot";
/// What it was made from.
const SPEC_LABEL: &str = "dockhealth.pool.spec";
/// What the labels of a pool's containers must not begin with, besides our own.
const OURS: &str = "dockhealth.";
/// Requests that may wait in one pool.
const MOST_QUEUED: u32 = 100_000;

/// A pool that can be run: a specification that was checked, and what only this host knows.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    pub(super) name: PoolName,
    pub(super) spec: PoolSpec,
    pub(super) controller: ControllerKind,
    pub(super) bounds: Bounds,
    env: BTreeMap<String, String>,
}

/// What is wrong with a specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PoolSpecError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl PoolConfig {
    /// Checks `spec`. `env` is the environment of each container; it is told to the engine and to nobody else.
    pub fn new(name: PoolName, spec: PoolSpec, env: BTreeMap<String, String>) -> Result<Self, PoolSpecError> {
        let wrong = |field, problem: String| Err(PoolSpecError { field, problem });
        let named =
            |field, error: &dyn std::fmt::Display| PoolSpecError { field, problem: error.to_string() };
        let controller: ControllerKind =
            spec.controller.parse().map_err(|error| named("controller", &error))?;
        let bounds = Bounds::new(spec.min, spec.max).map_err(|error| named("max", &error))?;
        let bounds = controller.bounds(bounds);
        if spec.image.is_empty() || clean(&spec.image, 400) != spec.image {
            return wrong("image", "give the name or id of an image".to_owned());
        }
        let most = u32::from(u16::MAX) - 3 * bounds.max();
        if spec.port_base.is_some_and(|base| base == 0 || u32::from(base) > most) {
            let why =
                format!("there must be {} ports from it on: give one from 1 to {most}", 3 * bounds.max());
            return wrong("port_base", why);
        }
        if let Some(network) = &spec.network
            && (network == "host" || network == "none" || network.contains(':') || network.is_empty())
        {
            let network = clean(network, 60);
            return wrong(
                "network",
                format!("{network:?} is no network of containers: give the name of one"),
            );
        }
        if let Some(label) = spec.labels.keys().find(|key| key.starts_with(OURS)) {
            return wrong("labels", format!("{:?} begins with {OURS:?}, which is ours", clean(label, 60)));
        }
        if spec.queue > MOST_QUEUED {
            return wrong("queue", format!("at most {MOST_QUEUED}"));
        }
        if spec.concurrency == 0 {
            return wrong("concurrency", "at least 1".to_owned());
        }
        if spec.port == 0 {
            return wrong("port", "from 1 to 65535".to_owned());
        }
        let is_path = |path: &String| path.starts_with('/') && path.parse::<http::Uri>().is_ok();
        if !spec.ready_path.as_ref().is_none_or(is_path) {
            return wrong("ready_path", "give a path that begins with /".to_owned());
        }
        if spec.period_ms < 100 {
            return wrong("period_ms", "at least 100".to_owned());
        }
        if spec.cpus.is_some_and(|cpus| !(0.01..=1024.0).contains(&cpus)) {
            return wrong("cpus", "from 0.01 to 1024".to_owned());
        }
        if !(spec.load > 0.0 && spec.load <= 1.0) {
            return wrong("load", "a share above 0 and at most 1".to_owned());
        }
        Ok(Self { name, spec, controller, bounds, env })
    }

    /// The pool's name.
    pub fn name(&self) -> &PoolName {
        &self.name
    }

    /// What it is to be.
    pub fn spec(&self) -> &PoolSpec {
        &self.spec
    }

    /// What its controller is told before it begins.
    pub fn control(&self) -> ControlSettings {
        let mut settings = ControlSettings::new(self.bounds);
        settings.period = Micros(self.spec.period_ms.saturating_mul(1000));
        settings.service_guess = Micros(self.spec.service_guess_ms.saturating_mul(1000));
        settings.boot_guess = Micros(self.spec.boot_guess_ms.saturating_mul(1000));
        settings.load = self.spec.load;
        settings.concurrency = self.spec.concurrency;
        settings.container_millicores =
            self.spec.cpus.and_then(|cpus| u32::try_from(Micros::from_seconds(cpus).0 / 1000).ok());
        settings
    }

    /// Whether a pool that is `now` can become this while it runs: only its controller and its bounds differ.
    pub(super) fn is_near(&self, now: &PoolSpec) -> bool {
        let like_now = PoolSpec {
            controller: now.controller.clone(),
            load: now.load,
            service_guess_ms: now.service_guess_ms,
            boot_guess_ms: now.boot_guess_ms,
            min: now.min,
            max: now.max,
            ..self.spec.clone()
        };
        like_now == *now
    }

    pub(super) fn period(&self) -> Duration {
        Duration::from_millis(self.spec.period_ms)
    }

    pub(super) fn stop_timeout(&self) -> Duration {
        Duration::from_millis(self.spec.stop_timeout_ms)
    }

    pub(super) fn ready_timeout(&self) -> Duration {
        Duration::from_millis(self.spec.ready_timeout_ms)
    }

    /// The name of the container with this number.
    pub(super) fn container_name(&self, slot: u32) -> ContainerName {
        ContainerName::new(format!("dockhealth-pool-{}-{slot}", self.name)).expect("made of valid parts")
    }

    /// Where the container with this number is reached, once it runs.
    pub(super) fn address(&self, slot: u32, facts: &ContainerFacts) -> Option<SocketAddr> {
        match self.port(slot) {
            Some(port) => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
            None => facts.addresses().first().map(|address| SocketAddr::new(*address, self.spec.port)),
        }
    }

    fn port(&self, slot: u32) -> Option<u16> {
        self.spec.port_base.and_then(|base| u16::try_from(u32::from(base) + slot).ok())
    }

    /// What tells containers that were made as they would be made now from others. `image` is the id that the image has.
    pub(super) fn fingerprint(&self, image: &str) -> String {
        let mut hasher = Sha256::new();
        hasher.update(image);
        hasher.update(self.body(0, "").to_string());
        hasher.finalize().iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// The engine's create body. There is nothing in it that gives a container more than its own: no privileges, no mounts of
    /// the host, no host network.
    pub(super) fn body(&self, slot: u32, fingerprint: &str) -> Value {
        let spec = &self.spec;
        let port = format!("{}/tcp", spec.port);
        let mut labels = json!({
            POOL_LABEL: self.name.as_str(), SLOT_LABEL: slot.to_string(), SPEC_LABEL: fingerprint,
            // Who ails is replaced by its pool; nobody else is to start or restart it.
            "dockhealth.monitor": "false",
        });
        for (key, value) in &spec.labels {
            labels[key] = json!(value);
        }
        let env: Vec<String> = self.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut host = json!({
            "AutoRemove": true, "Privileged": false, "NetworkMode": spec.network.as_deref().unwrap_or("default"),
            "RestartPolicy": { "Name": "no" }, "SecurityOpt": ["no-new-privileges"],
        });
        if let Some(cpus) = spec.cpus {
            host["NanoCpus"] = json!(Micros::from_seconds(cpus).0.saturating_mul(1000));
        }
        if let Some(memory) = spec.memory_bytes {
            host["Memory"] = json!(memory);
        }
        if let Some(published) = self.port(slot) {
            let binding = json!([{ "HostIp": "127.0.0.1", "HostPort": published.to_string() }]);
            host["PortBindings"] = json!({ port.as_str(): binding });
        }
        let mut body = json!({
            "Image": spec.image, "Env": env, "Labels": labels, "ExposedPorts": { port: {} }, "HostConfig": host,
        });
        if !spec.command.is_empty() {
            body["Cmd"] = json!(spec.command);
        }
        body
    }

    /// Whether a container is of this pool, and its number there.
    pub(super) fn slot_of(&self, facts: &ContainerFacts) -> Option<u32> {
        let ours = facts.labels.get(POOL_LABEL).is_some_and(|pool| pool == self.name.as_str());
        // A number that somebody else wrote makes no difference: it goes by its id.
        ours.then(|| facts.labels.get(SLOT_LABEL).and_then(|slot| slot.parse().ok()).unwrap_or(u32::MAX))
    }
}

/// Whether a container was made from what has this fingerprint.
pub(super) fn is_made_from(facts: &ContainerFacts, fingerprint: &str) -> bool {
    facts.labels.get(SPEC_LABEL).is_some_and(|made| made == fingerprint)
}
