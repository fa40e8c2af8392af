//! The life of a container of the fake engine.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{EngineError, World};
use crate::docker::convert;
use crate::model::{ContainerId, ContainerName, Timestamp};

pub(super) struct Container {
    pub(super) id: ContainerId,
    pub(super) name: ContainerName,
    /// As it was created.
    pub(super) body: Value,
    image: String,
    pub(super) status: &'static str,
    exit_code: i64,
    oom: bool,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    pub(super) health: Option<String>,
    /// Endpoint settings by network.
    pub(super) networks: BTreeMap<String, Value>,
    pub(super) addresses: BTreeMap<String, String>,
    attachments: u32,
}

impl Container {
    pub(super) fn runs(&self) -> bool {
        matches!(self.status, "running" | "paused")
    }

    /// What it holds alone while it runs: host ports and static addresses.
    fn claims(&self) -> Vec<String> {
        let ports = convert::members(&self.body, "/HostConfig/PortBindings")
            .flat_map(|(_, bindings)| bindings.as_array().into_iter().flatten())
            .filter_map(|binding| Some(format!("port {}", convert::text(binding, "/HostPort")?)));
        let addresses = self.networks.iter().filter_map(|(network, endpoint)| {
            Some(format!("{network} {}", convert::text(endpoint, "/IPAMConfig/IPv4Address")?))
        });
        ports.chain(addresses).collect()
    }

    /// As the engine describes it.
    pub(super) fn describe(&self) -> Value {
        let time =
            |time: Option<Timestamp>| time.map_or("0001-01-01T00:00:00Z".to_owned(), |time| time.to_string());
        let mut config = self.body.clone();
        let mut host_config = json!({ "NetworkMode": "default", "RestartPolicy": { "Name": "no" } });
        if let Some(config) = config.as_object_mut() {
            config.remove("NetworkingConfig");
            if let Some(Value::Object(given)) = config.remove("HostConfig") {
                host_config.as_object_mut().expect("made above").extend(given);
            }
            config.entry("Hostname").or_insert_with(|| json!(self.id.short()));
        }
        let mut networks = json!({});
        for (network, endpoint) in &self.networks {
            let mut endpoint = endpoint.clone();
            endpoint["EndpointID"] =
                json!(self.addresses.get(network).map(|_| format!("{:064x}", self.attachments)));
            endpoint["IPAddress"] = json!(self.addresses.get(network).map_or("", String::as_str));
            networks[network] = endpoint;
        }
        let mut state = json!({
            "Status": self.status, "Running": self.runs(), "Paused": self.status == "paused",
            "OOMKilled": self.oom, "Pid": if self.runs() { 4242 } else { 0 }, "ExitCode": self.exit_code,
            "StartedAt": time(self.started_at), "FinishedAt": time(self.finished_at),
        });
        if let Some(health) = &self.health {
            state["Health"] = json!({ "Status": health });
        }
        json!({
            "Id": self.id.as_str(), "Name": format!("/{}", self.name), "Image": self.image, "RestartCount": 0,
            "State": state, "Config": config, "HostConfig": host_config, "Mounts": [],
            "NetworkSettings": { "Ports": {}, "Networks": networks },
        })
    }
}

impl World {
    pub(super) fn create(&mut self, name: &ContainerName, body: &Value) -> Result<ContainerId, EngineError> {
        if self.containers.values().any(|c| c.name == *name) {
            return Err(EngineError::Refused(format!(
                "Conflict. The container name \"/{name}\" is already in use"
            )));
        }
        let reference = convert::text(body, "/Image").unwrap_or("busybox").to_owned();
        let image = self
            .image_id(&reference)
            .ok_or_else(|| EngineError::Refused(format!("No such image: {reference}")))?;
        self.made += 1;
        let id =
            ContainerId::new(format!("{:016x}{:048x}", self.made, 0xfa_6e)).expect("64 hexadecimal digits");
        let mut body = body.clone();
        body["Image"] = json!(reference);
        let mode = convert::text(&body, "/HostConfig/NetworkMode").unwrap_or("default");
        let own = mode != "host" && mode != "none" && !mode.starts_with("container:");
        let home = if mode == "default" { "bridge" } else { mode }.to_owned();
        let mut networks: BTreeMap<String, Value> =
            convert::members(&body, "/NetworkingConfig/EndpointsConfig")
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
        if networks.len() > 1 {
            return Err(EngineError::Refused(
                "Container cannot be connected to network endpoints".to_owned(),
            ));
        }
        if own {
            networks.entry(home).or_insert_with(|| json!({}));
        }
        let container = Container {
            id: id.clone(),
            name: name.clone(),
            body,
            image,
            status: "created",
            exit_code: 0,
            oom: false,
            started_at: None,
            finished_at: None,
            health: None,
            networks,
            addresses: BTreeMap::new(),
            attachments: 0,
        };
        self.containers.insert(id.to_string(), container);
        self.emit(&id, "create", &[]);
        Ok(id)
    }

    pub(super) fn image_id(&self, reference: &str) -> Option<String> {
        let by_id = || self.images.values().find(|id| *id == reference);
        self.images.get(reference).or_else(by_id).cloned()
    }

    pub(super) fn start(&mut self, id: &ContainerId) -> Result<(), EngineError> {
        let container = self.find(id.as_str())?;
        if container.runs() {
            return Ok(());
        }
        let (id, claims) = (container.id.clone(), container.claims());
        let taken = |other: &&super::Container| {
            other.id != id && other.runs() && other.claims().iter().any(|c| claims.contains(c))
        };
        if self.containers.values().any(|other| taken(&other)) {
            return Err(EngineError::Refused("Address or port already in use".to_owned()));
        }
        self.attach(&id);
        let now = self.now();
        let container = self.find(id.as_str())?;
        container.status = "running";
        container.started_at = Some(now);
        container.oom = false;
        let health = convert::members(&container.body, "/Healthcheck").next().is_some();
        container.health = health.then(|| "starting".to_owned());
        self.emit(&id, "start", &[]);
        Ok(())
    }

    pub(super) fn attach(&mut self, id: &ContainerId) {
        self.made += 1;
        let made = self.made;
        let Some(container) = self.containers.get_mut(id.as_str()) else { return };
        container.attachments = made;
        container.addresses = container
            .networks
            .iter()
            .enumerate()
            .map(|(n, (network, endpoint))| {
                let dynamic = format!("172.{}.{}.{}", 18 + n, made >> 8, made & 0xff);
                let address =
                    convert::text(endpoint, "/IPAMConfig/IPv4Address").map_or(dynamic, str::to_owned);
                (network.clone(), address)
            })
            .collect();
        self.emit_network(id, "connect");
    }

    pub(super) fn detach(&mut self, id: &ContainerId) {
        if let Some(container) = self.containers.get_mut(id.as_str()) {
            container.addresses.clear();
        }
        self.emit_network(id, "disconnect");
    }

    /// Ends it without anyone's order.
    pub(super) fn die(&mut self, id: &ContainerId, exit_code: i64, oom: bool) {
        let now = self.now();
        if let Some(container) = self.containers.get_mut(id.as_str()) {
            container.status = "exited";
            container.exit_code = exit_code;
            container.oom = oom;
            container.finished_at = Some(now);
        }
        if oom {
            self.emit(id, "oom", &[]);
        }
        self.emit(id, "die", &[("exitCode", exit_code.to_string())]);
        self.detach(id);
    }

    pub(super) fn stop(&mut self, id: &ContainerId) -> Result<(), EngineError> {
        let container = self.find(id.as_str())?;
        if container.runs() {
            let id = container.id.clone();
            self.emit(&id, "kill", &[("signal", "15".to_owned())]);
            self.die(&id, 143, false);
            self.emit(&id, "stop", &[]);
        }
        Ok(())
    }

    pub(super) fn kill(&mut self, id: &ContainerId) -> Result<(), EngineError> {
        let container = self.find(id.as_str())?;
        if container.runs() {
            let id = container.id.clone();
            self.emit(&id, "kill", &[("signal", "9".to_owned())]);
            self.die(&id, 137, false);
        }
        Ok(())
    }

    /// Pauses, or unpauses: from one state to the other.
    pub(super) fn freeze(
        &mut self,
        id: &ContainerId,
        from: &str,
        to: &'static str,
    ) -> Result<(), EngineError> {
        let container = self.find(id.as_str())?;
        if container.status == from {
            container.status = to;
            let id = container.id.clone();
            self.emit(&id, if to == "paused" { "pause" } else { "unpause" }, &[]);
        } else if container.status != to {
            return Err(EngineError::Refused(format!("Container {id} is not running")));
        }
        Ok(())
    }

    pub(super) fn restart(&mut self, id: &ContainerId) -> Result<(), EngineError> {
        self.stop(id)?;
        self.start(id)?;
        let id = self.find(id.as_str())?.id.clone();
        self.emit(&id, "restart", &[]);
        Ok(())
    }

    pub(super) fn rename(&mut self, id: &ContainerId, name: &ContainerName) -> Result<(), EngineError> {
        if self.containers.values().any(|c| c.name == *name) {
            return Err(EngineError::Refused(format!(
                "Conflict. The container name \"/{name}\" is already in use"
            )));
        }
        let container = self.find(id.as_str())?;
        let before = std::mem::replace(&mut container.name, name.clone());
        let id = container.id.clone();
        self.emit(&id, "rename", &[("oldName", format!("/{before}"))]);
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &ContainerId) {
        let Ok(container) = self.find(id.as_str()) else { return };
        let (id, runs) = (container.id.clone(), container.runs());
        if runs {
            self.emit(&id, "kill", &[("signal", "9".to_owned())]);
            self.die(&id, 137, false);
        }
        let name = self.containers.remove(id.as_str()).map(|c| c.name.to_string()).unwrap_or_default();
        self.emit(&id, "destroy", &[("name", name)]);
    }
}
